//! Services that another elector may still hold: whether it does, by what is seen of its Lease.
//!
//! kube-vip's `svc_election` elects the holder of each Service by a Lease of its own. While a cluster goes over from kube-vip
//! node by node, agents of both kinds run, and a Service whose Lease is held is left to whoever holds it.
//!
//! ```text
//!   never there ────────────────────────────────────────────────► over
//!   held ──► unchanged for its duration ──┐
//!   released, deleted ────────────────────┴──► ELECTORS_FIRST ──► over
//! ```
//!
//! Judged as client-go does it (`tools/leaderelection`, `tryAcquireOrRenew`): a Lease that changes is held, and one that stays
//! the same for its duration is not, by this node's clock alone. Times written in it are compared for equality only.
//! Two things are added. Its own electors go first: when one lets go, another takes the Lease a moment later, and both
//! would wear the address. And time counts between two reads that were answered, never through an outage: whoever holds it
//! could not renew it either.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::input::LeaseRecord;
use crate::intent::{Claim, Intent, ObjectName};
use crate::time::Moment;

/// The duration of a Lease that says none: client-go's default.
const UNSAID_DURATION: Duration = Duration::from_secs(15);
/// What any other duration is cut to: nobody is waited for longer by a slip.
const SHORTEST_DURATION: Duration = Duration::from_secs(1);
/// As above.
const LONGEST_DURATION: Duration = Duration::from_secs(60);
/// For how long its own electors go first at a Lease that nobody holds. Each asks for it every retry period (2 s by default),
/// and up to 1.2 times that later (client-go's `JitterFactor`): after 4.4 s at the latest.
pub const ELECTORS_FIRST: Duration = Duration::from_secs(5);

/// The Leases by which kube-vip may hold Services of `claim`: of those that say who holds them (`kube-vip.io/vipHost`). None
/// where one of them is recorded at a seat: then all of the claim is ours.
#[must_use]
pub fn leases(claim: &Claim, intent: &Intent) -> BTreeSet<ObjectName> {
    let known = || claim.services().into_iter().filter_map(|name| Some((name, intent.services.get(name)?)));
    if known().any(|(_, service)| service.seat.is_some()) {
        return BTreeSet::new();
    }
    let held = known().filter(|(_, service)| service.vip_host.is_some());
    held.map(|(name, service)| service.kube_vip_lease(name)).collect()
}

/// Who has a Lease that others elect by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incumbency {
    /// This identity, as far as can be told.
    Holder(String),
    /// Nobody, and its own electors have their time to take it.
    Vacant,
    /// Nobody: what it is of may be placed.
    Over,
}

/// What is known of these Leases. Nothing is known of one before the first read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incumbents(BTreeMap<ObjectName, Sighting>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sighting {
    /// What it said last; `None` where that does not matter.
    record: Option<LeaseRecord>,
    /// Since when it has said that; `None` where the last read failed, and its time begins anew with the next.
    since: Option<Moment>,
    incumbency: Incumbency,
}

impl Incumbents {
    /// Forgets all others.
    pub fn retain(&mut self, leases: &BTreeSet<ObjectName>) {
        self.0.retain(|lease, _| leases.contains(lease));
    }

    /// A read that was asked for and answered at these moments found this; `None` if there is no such Lease.
    pub fn saw(
        &mut self,
        lease: &ObjectName,
        record: Option<&LeaseRecord>,
        (asked, answered): (Moment, Moment),
    ) {
        let known = self.0.get(lease);
        let before = known.and_then(|known| known.record.as_ref());
        // One that is not there any more is as good as released: an elector may make it anew.
        let Some(record) = record.map(renewed).or_else(|| before.map(|_| LeaseRecord::default())) else {
            return self.waive(lease);
        };
        let same = known.filter(|_| before == Some(&record));
        // It was so when the last answer had come, and still when this one was asked for.
        let since = same.and_then(|known| known.since).unwrap_or(answered);
        let incumbency = incumbency(&record, asked.since(since));
        self.0.insert(lease.clone(), Sighting { record: Some(record), since: Some(since), incumbency });
    }

    /// A read of it failed: whoever had it has it still, and what was over has to be looked at anew.
    pub fn missed(&mut self, lease: &ObjectName) {
        self.0.retain(|known, sighting| known != lease || sighting.incumbency != Incumbency::Over);
        if let Some(sighting) = self.0.get_mut(lease) {
            sighting.since = None;
        }
    }

    /// Nobody is waited for.
    pub fn waive(&mut self, lease: &ObjectName) {
        let over = Sighting { record: None, since: None, incumbency: Incumbency::Over };
        self.0.insert(lease.clone(), over);
    }

    /// Who has each of those that are known.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ObjectName, Incumbency> {
        self.0.iter().map(|(lease, sighting)| (lease.clone(), sighting.incumbency.clone())).collect()
    }
}

/// What an elector changes when it renews. Somebody else's annotation is no sign of life.
fn renewed(record: &LeaseRecord) -> LeaseRecord {
    LeaseRecord { resource_version: String::new(), annotations: BTreeMap::new(), ..record.clone() }
}

fn incumbency(record: &LeaseRecord, unchanged: Duration) -> Incumbency {
    let term = record.holder.as_ref().map_or(Duration::ZERO, |_| duration(record));
    match &record.holder {
        _ if unchanged >= term + ELECTORS_FIRST => Incumbency::Over,
        Some(holder) => Incumbency::Holder(holder.clone()),
        None => Incumbency::Vacant,
    }
}

fn duration(record: &LeaseRecord) -> Duration {
    match record.duration_seconds {
        0 => UNSAID_DURATION,
        seconds => Duration::from_secs(seconds.into()).clamp(SHORTEST_DURATION, LONGEST_DURATION),
    }
}

#[cfg(test)]
mod tests;
