//! IP address management: which Service gets which address.
//!
//! Two pure functions. [`Configuration::of`] reads the `ConfigMap` of pools that kube-vip-cloud-provider has, and
//! [`allocate`] decides for all Services at once from what the API says and nothing else: there is no state to lose, a
//! Service that is deleted frees its addresses by that, and whoever runs it on the same facts comes to the same end.
//! [`crate::intent::decide`] asks it and makes claims of its verdicts: there is no other word on who is on an address.
//! The rules, with their reasons, are in `docs/ipam.md`.

use std::collections::BTreeMap;
use std::net::IpAddr;

mod address;
mod candidate;
mod ledger;
mod occupant;
mod overlap;
mod parse;
mod pools;
mod reason;
mod set;
mod shares;

pub use address::{SearchOrder, Span, Unusable};
pub use occupant::Occupant;
pub use overlap::PoolNote;
pub use parse::{Configuration, Fault, Problem};
pub use pools::{BuggyAddresses, Form, Pool, PoolKey, Pools, Scope};
pub use reason::{Decision, Note, Refusal, Verdict, Why};

use candidate::Candidate;
use ledger::Ledger;

use crate::intent::{AddressSource, Family, NAMED_MAX, NamedBy, ObjectName, Service, Wish, distinct};

/// Decides for every Service what it keeps, what it is assigned, and what it is refused.
///
/// `services` are those of ours, for as long as they have addresses also those that are being deleted; `in_use` is what
/// others are known to have. What is assigned is settled first, then what is asked for by name, then the pools are
/// asked: each time the older Service before the younger, and those of one age by namespace and name.
///
/// The decisions may be written in any order, and only in part: no address is given to a Service while the API says
/// that another one has it, unless both may share it.
#[must_use]
pub fn allocate<'a>(
    pools: &'a Pools,
    services: impl IntoIterator<Item = (&'a ObjectName, &'a Service)>,
    in_use: &'a BTreeMap<IpAddr, Occupant>,
) -> BTreeMap<&'a ObjectName, Decision> {
    let mut candidates: Vec<_> =
        services.into_iter().map(|(name, service)| Candidate::new(name, service)).collect();
    candidates.sort_by_key(|candidate| (candidate.service.created, candidate.name));
    let mut ledger = Ledger::new(pools, in_use);
    ledger.settle(&mut candidates);
    let (by_name, by_pool): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| candidate.request().is_some());
    let mut allocator = Allocator { pools, ledger };
    let mut decisions = BTreeMap::new();
    for candidate in by_name.into_iter().chain(by_pool) {
        let draft = allocator.draft(candidate);
        decisions.insert(candidate.name, allocator.conclude(candidate, draft));
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
        match (candidate.request(), candidate.serves_elsewhere()) {
            (Some((source, wishes)), _) => self.by_name(candidate, source, wishes),
            (None, Some(why)) => elsewhere(candidate, why),
            (None, None) if candidate.is_specified() || candidate.service.deleting => kept(candidate),
            (None, None) => self.by_pool(candidate),
        }
    }

    /// What the Service asks for by name. Where a part of it is refused, what the Service has stays for the families
    /// that the rest does not cover: a slip in an annotation takes nothing away. Nor does `spec.loadBalancerIP`, which
    /// has room for one family, say anything of the other.
    fn by_name(&mut self, candidate: &Candidate<'a>, named_in: AddressSource, wishes: &[Wish]) -> Draft {
        let named = wishes.iter().take(NAMED_MAX).map(|wish| self.named(candidate, named_in, wish));
        let (mut addresses, mut refused) = split(named);
        if wishes.len() > NAMED_MAX {
            refused.push(Why::TooMany { named_in, most: NAMED_MAX });
        }
        if named_in == AddressSource::Spec {
            addresses.extend(uncovered(candidate, &addresses));
        }
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
            addresses.extend(unrefused(candidate, &addresses, &refused));
        }
        Draft { addresses, refusals: candidate.refusals(refused), notes: vec![] }
    }

    /// What stands for one thing that `candidate` names.
    fn named(&self, candidate: &Candidate<'a>, named_in: AddressSource, wish: &Wish) -> Result<IpAddr, Why> {
        let address = match wish {
            Wish::Address(address) => *address,
            Wish::Dhcp(family) => {
                return candidate.leased(*family).ok_or(Why::Dhcp { family: *family });
            }
            Wish::Name(name) => return Err(Why::Name { named_in, name: name.clone() }),
            Wish::Unreadable(value) => return Err(Why::Malformed { named_in, value: value.clone() }),
        };
        if let Some(why) = candidate.lost.get(&address) {
            return Err(why.clone());
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
        if candidate.service.named.by == NamedBy::CloudProvider && names_others(candidate, &addresses) {
            notes.push(Note::NamedByCloudProvider { service: candidate.name.clone() });
        }
        let serves_elsewhere = candidate.request().is_none() && candidate.serves_elsewhere().is_some();
        let assigned = candidate.assigned.clone();
        let is_same = addresses.len() == assigned.len() && addresses.iter().all(|one| assigned.contains(one));
        let verdict = match addresses {
            none if none.is_empty() => Verdict::Refuse,
            _ if is_same => Verdict::Keep(assigned),
            rest if serves_elsewhere => Verdict::Keep(rest),
            addresses => Verdict::Assign(addresses),
        };
        Decision { verdict, refusals, notes, serves_elsewhere }
    }

    /// What is worth saying of an address that a Service has or gets.
    fn notes(&self, candidate: &Candidate<'a>, address: IpAddr) -> Vec<Note> {
        let service = || candidate.name.clone();
        let mut notes = vec![];
        if self.pools.is_outside(address) && !candidate.service.leased.contains(&address) {
            notes.push(Note::OutsideEveryPool { service: service(), address });
        }
        if let Some(by) = self.ledger.also_in_use(candidate, address) {
            notes.push(Note::AlsoInUse { service: service(), address, by: by.clone() });
        }
        if candidate.lacks(Family::of(address)) {
            notes.push(Note::FamilyUnused { service: service(), address });
        }
        if self.ledger.is_shared_unasked(candidate, address) {
            notes.push(Note::SharedUnasked { service: service(), address });
        }
        notes
    }
}

/// Whether a Service names an address that is not among `addresses`.
fn names_others(candidate: &Candidate<'_>, addresses: &[IpAddr]) -> bool {
    let named = candidate.service.named.annotation.iter().chain(&candidate.service.named.spec);
    named.filter_map(Wish::address).any(|address| !addresses.contains(&address))
}

/// What can be had, each once, and why the rest cannot.
fn split(all: impl Iterator<Item = Result<IpAddr, Why>>) -> (Vec<IpAddr>, Vec<Why>) {
    let (had, not): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
    (distinct(had.into_iter().flatten()), not.into_iter().filter_map(Result::err).collect())
}

/// The family that is required and not among `addresses`.
fn missing_family(candidate: &Candidate<'_>, addresses: &[IpAddr]) -> Option<Family> {
    let is_missing = |family: &Family| !addresses.iter().any(|address| Family::of(*address) == *family);
    Family::ALL.into_iter().find(|family| candidate.requires_both() && is_missing(family))
}

/// What the Service has of the families that are not among `addresses`.
fn uncovered(candidate: &Candidate<'_>, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let covered: Vec<_> = addresses.iter().map(|address| Family::of(*address)).collect();
    let is_covered = |address: &IpAddr| covered.contains(&Family::of(*address));
    candidate.held.iter().copied().filter(|address| !is_covered(address)).collect()
}

/// What stays because of what is refused: what is [`uncovered`]; and all that the Service has, where the list could not
/// be read whole: an entry that nobody can read may stand for any of it.
fn unrefused(candidate: &Candidate<'_>, addresses: &[IpAddr], refused: &[Why]) -> Vec<IpAddr> {
    let is_unread = |why: &Why| matches!(why, Why::Malformed { .. } | Why::TooMany { .. } | Why::Name { .. });
    if !refused.iter().any(is_unread) {
        return uncovered(candidate, addresses);
    }
    candidate.held.iter().copied().filter(|address| !addresses.contains(address)).collect()
}

/// What the Service has, whatever else it might want.
fn kept(candidate: &Candidate<'_>) -> Draft {
    let refusals = candidate.refusals(candidate.lost.values().cloned());
    Draft { addresses: candidate.held.clone(), refusals, notes: vec![] }
}

/// What the Service has, and who else serves it.
fn elsewhere(candidate: &Candidate<'_>, why: Why) -> Draft {
    let others = candidate.lost.values().filter(|lost| **lost != why).cloned();
    let refusals = candidate.refusals(std::iter::once(why.clone()).chain(others));
    Draft { addresses: candidate.held.clone(), refusals, notes: vec![] }
}

/// Adds what the Service has, and puts all in the order of families. What it no longer wants is given back, but not
/// before it has something that it wants.
fn keep_wanted(candidate: &Candidate<'_>, wanted: &[Family], draft: &mut Draft) {
    let is_unwanted = |address: &IpAddr| {
        let family = Family::of(*address);
        !candidate.service.families.is_empty() && !wanted.contains(&family)
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
