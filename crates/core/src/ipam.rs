//! IP address management: which Service gets which address.
//!
//! Two pure functions. [`Configuration::of`] reads the `ConfigMap` of pools that kube-vip-cloud-provider has, and
//! [`allocate`] decides for all Services at once from what the API says and nothing else: there is no state to lose, a
//! Service that is deleted frees its addresses by that, and whoever runs it on the same facts comes to the same end.
//! The rules, with their reasons, are in `docs/ipam.md`.

use std::collections::BTreeMap;
use std::net::IpAddr;

mod address;
mod candidate;
mod ledger;
mod overlap;
mod parse;
mod pools;
mod reason;
mod service;
mod set;

pub use address::{SearchOrder, Span};
pub use overlap::PoolNote;
pub use parse::{Configuration, Fault, Problem};
pub use pools::{BuggyAddresses, Form, Pool, PoolKey, Pools, Scope};
pub use reason::{Decision, Note, Refusal, Source, Verdict, Why};
pub use service::{ANNOTATION, Occupant, Service};

use candidate::{Candidate, distinct};
use ledger::Ledger;

use crate::intent::{Family, ObjectName};

/// Decides for every Service what it keeps, what it is assigned, and what it is refused.
///
/// `services` are all that need addresses or have some, so that one that is being deleted is among them for as long as
/// it has some; `in_use` is what others are known to have. What is assigned is settled first, then what is asked for by
/// name, then the pools are asked: each time the older Service before the younger, and those of one age by namespace
/// and name.
///
/// The decisions may be written in any order, and only in part: no address is given to a Service while the API says
/// that another one has it, unless both may share it.
#[must_use]
pub fn allocate(
    pools: &Pools,
    services: &BTreeMap<ObjectName, Service>,
    in_use: &BTreeMap<IpAddr, Occupant>,
) -> BTreeMap<ObjectName, Decision> {
    let mut candidates: Vec<_> =
        services.iter().map(|(name, service)| Candidate::new(name, service)).collect();
    candidates.sort_by_key(|candidate| (candidate.service.created_after_epoch, candidate.name));
    let in_use = in_use.iter().map(|(address, by)| (address.to_canonical(), by.clone())).collect();
    let mut ledger = Ledger::new(pools, &in_use);
    candidates.iter_mut().for_each(|candidate| ledger.settle(candidate));
    ledger.open();
    let (by_name, by_pool): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| candidate.request().is_some());
    let mut allocator = Allocator { pools, ledger };
    let mut decisions = BTreeMap::new();
    for candidate in by_name.into_iter().chain(by_pool) {
        let draft = allocator.draft(candidate);
        decisions.insert(candidate.name.clone(), allocator.conclude(candidate, draft));
    }
    decisions
}

struct Allocator<'a> {
    pools: &'a Pools,
    ledger: Ledger<'a>,
}

/// A decision in the making.
#[derive(Default)]
struct Draft {
    addresses: Vec<IpAddr>,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
}

impl<'a> Allocator<'a> {
    fn draft(&mut self, candidate: &Candidate<'a>) -> Draft {
        match candidate.request() {
            Some((source, entries)) => self.by_name(candidate, source, entries),
            None if candidate.is_specified() => kept(candidate),
            None => self.by_pool(candidate),
        }
    }

    /// What the Service asks for by name. Where a part of it is refused, what the Service has stays for the families
    /// that the rest does not cover: a slip in an annotation takes nothing away.
    fn by_name(
        &mut self,
        candidate: &Candidate<'a>,
        named_in: Source,
        entries: &[Result<IpAddr, Why>],
    ) -> Draft {
        let (mut addresses, mut refused) =
            split(entries.iter().map(|entry| self.named(candidate, entry.clone()?)));
        if let Some(missing) = missing_family(candidate, &addresses) {
            // Of two families that are required one is not enough; what the Service has may be, to whoever uses it.
            if refused.is_empty() && candidate.held != addresses {
                refused.push(Why::OneFamily { named_in, missing });
            }
            addresses.retain(|address| candidate.held.contains(address));
        }
        for address in addresses.iter().filter(|address| !candidate.held.contains(address)) {
            self.ledger.assign(candidate, *address);
        }
        if !refused.is_empty() {
            addresses.extend(uncovered(candidate, &addresses, &refused));
        }
        Draft { addresses, refusals: candidate.refusals(refused), notes: vec![] }
    }

    /// What stands for `address`, which `candidate` names.
    fn named(&self, candidate: &Candidate<'a>, address: IpAddr) -> Result<IpAddr, Why> {
        if let Some(why) = candidate.lost.get(&address) {
            return Err(why.clone());
        }
        if address.is_unspecified() {
            return Ok(leased(candidate, Family::of(address)).unwrap_or(address));
        }
        if candidate.held.contains(&address) {
            return Ok(address);
        }
        self.ledger.check_named(candidate, address).map(|()| address)
    }

    /// What the Service has, and the families that it lacks from the pool that serves its namespace.
    fn by_pool(&mut self, candidate: &Candidate<'a>) -> Draft {
        let pool = self.pools.serving(candidate.name.namespace());
        let wanted = candidate.wanted(pool.map(|(_, pool)| pool));
        let refusals = candidate.refusals(candidate.lost.values().cloned());
        let mut draft = Draft { refusals, ..Draft::default() };
        let (found, failed) = self.missing(candidate, pool, &wanted);
        if failed.is_empty() || !candidate.requires_both() {
            found.iter().for_each(|address| self.ledger.assign(candidate, *address));
            draft.addresses = found;
        }
        keep_wanted(candidate, &wanted, &mut draft);
        let failed = candidate.refusals(failed);
        if candidate.prefers_both() && !draft.addresses.is_empty() {
            draft.notes.extend(failed.into_iter().map(|refusal| Note::OneFamily { refusal }));
        } else {
            draft.refusals.extend(failed);
        }
        draft
    }

    /// An address of each family that is wanted and not there, and why there is none.
    fn missing(
        &mut self,
        candidate: &Candidate<'a>,
        pool: Option<(&'a PoolKey, &'a Pool)>,
        wanted: &[Family],
    ) -> (Vec<IpAddr>, Vec<Why>) {
        let missing: Vec<_> = wanted.iter().copied().filter(|family| !candidate.has(*family)).collect();
        let Some(pool) = pool else {
            let why = Why::NoPool { namespace: candidate.name.namespace().to_owned() };
            return (vec![], missing.first().map(|_| why).into_iter().collect());
        };
        split(missing.into_iter().map(|family| self.ledger.find(candidate, pool, family)))
    }

    fn conclude(&self, candidate: &Candidate<'a>, draft: Draft) -> Decision {
        let Draft { addresses, refusals, mut notes } = draft;
        notes.extend(addresses.iter().flat_map(|address| self.notes(candidate, *address)));
        let assigned = candidate.assigned.clone();
        let is_same = addresses.len() == assigned.len() && addresses.iter().all(|one| assigned.contains(one));
        let verdict = match addresses {
            none if none.is_empty() => Verdict::Refuse,
            _ if is_same => Verdict::Keep(assigned),
            addresses => Verdict::Assign(addresses),
        };
        Decision { verdict, refusals, notes }
    }

    /// What is worth saying of an address that a Service has or gets.
    fn notes(&self, candidate: &Candidate<'a>, address: IpAddr) -> Vec<Note> {
        let service = || candidate.name.clone();
        let mut notes = vec![];
        if self.pools.is_outside(address) && !self.is_leased(candidate, Family::of(address)) {
            notes.push(Note::OutsideEveryPool { service: service(), address });
        }
        if let Some(by) = self.ledger.in_use.get(&address) {
            notes.push(Note::AlsoInUse { service: service(), address, by: by.clone() });
        }
        if candidate.lacks(Family::of(address)) {
            notes.push(Note::FamilyUnused { service: service(), address });
        }
        notes
    }

    /// Whether a DHCP server gives the Service its addresses of `family`.
    fn is_leased(&self, candidate: &Candidate<'a>, family: Family) -> bool {
        let pool = self.pools.serving(candidate.name.namespace());
        candidate.names(family.unspecified()) || pool.is_some_and(|(_, pool)| pool.dhcp.contains(&family))
    }
}

/// What can be had, each once, and why the rest cannot.
fn split(all: impl Iterator<Item = Result<IpAddr, Why>>) -> (Vec<IpAddr>, Vec<Why>) {
    let (had, not): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
    (distinct(had.into_iter().flatten()), not.into_iter().filter_map(Result::err).collect())
}

/// What a DHCP server has given the Service: an address of `family` that it has without naming it.
fn leased(candidate: &Candidate<'_>, family: Family) -> Option<IpAddr> {
    let is_leased =
        |held: &IpAddr| Family::of(*held) == family && !held.is_unspecified() && !candidate.names(*held);
    candidate.held.iter().copied().filter(is_leased).min()
}

/// The family that is required and not among `addresses`.
fn missing_family(candidate: &Candidate<'_>, addresses: &[IpAddr]) -> Option<Family> {
    let is_missing = |family: &Family| !addresses.iter().any(|address| Family::of(*address) == *family);
    Family::ALL.into_iter().find(|family| candidate.requires_both() && is_missing(family))
}

/// What the Service has of the families that are not among `addresses`; and all that it has, where the list could not be
/// read whole: an entry that nobody can read may stand for any of it.
fn uncovered(candidate: &Candidate<'_>, addresses: &[IpAddr], refused: &[Why]) -> Vec<IpAddr> {
    if refused.iter().any(|why| matches!(why, Why::Malformed { .. } | Why::TooMany { .. })) {
        return candidate.held.iter().copied().filter(|address| !addresses.contains(address)).collect();
    }
    let covered: Vec<_> = addresses.iter().map(|address| Family::of(*address)).collect();
    let is_covered = |address: &IpAddr| covered.contains(&Family::of(*address));
    candidate.held.iter().copied().filter(|address| !is_covered(address)).collect()
}

/// What the Service has, whatever else it might want.
fn kept(candidate: &Candidate<'_>) -> Draft {
    let refusals = candidate.refusals(candidate.lost.values().cloned());
    Draft { addresses: candidate.held.clone(), refusals, notes: vec![] }
}

/// Adds what the Service has, and puts all in the order of families. What it no longer wants is given back, but not
/// before it has something that it wants.
fn keep_wanted(candidate: &Candidate<'_>, wanted: &[Family], draft: &mut Draft) {
    let is_unwanted = |address: &IpAddr| {
        let family = Family::of(*address);
        !candidate.service.ip_families.is_empty() && !wanted.contains(&family)
    };
    let (unwanted, held): (Vec<_>, Vec<_>) = candidate.held.iter().copied().partition(is_unwanted);
    draft.addresses.splice(0..0, held);
    if draft.addresses.is_empty() {
        draft.addresses.extend(unwanted);
    } else {
        let released = unwanted.into_iter();
        draft
            .notes
            .extend(released.map(|address| Note::Released { service: candidate.name.clone(), address }));
    }
    let place = |address: &IpAddr| wanted.iter().position(|family| *family == Family::of(*address));
    draft.addresses.sort_by_key(|address| place(address).unwrap_or(wanted.len()));
}

#[cfg(test)]
mod tests;
