//! One node's view of one Lease, and its part in the election.
//!
//! Wire-compatible with client-go's leader election: the same fields, optimistic updates under the resource version,
//! expiry counted on the local monotonic clock since the record was last seen to change. Beyond client-go:
//!
//! - A reply that is lost is resolved by reading back, never assumed.
//! - Expiry counts only through an unbroken chain of contacts, so an outage by itself expires nothing (rule 6).
//! - An instance id beside the holder's name tells two processes with one node name apart.
//! - A record that went back in time (another UID, a lower epoch) is contested, not obeyed (rule 4).
//!
//! The machine never acts by itself: [`LeaseMachine::poll`] says which request is due under the claim's [`Wants`].

mod knowledge;
mod namesakes;
mod requests;
mod settle;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::annotations::{self, Publication};
use crate::backoff::Backoff;
use crate::input::{EffectId, LeaseOutcome, LeaseRecord};
use crate::names::{InstanceId, NodeName};
use crate::rng::Rng;
use crate::settings::LeaseTiming;
use crate::time::Moment;

/// How long after a request's deadline its outcome is given up: the adapter always answers, so this is a fuse.
const OUTCOME_FUSE: Duration = Duration::from_secs(2);
/// The shortest time a request is given.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);
/// The longest time a renewal or a read is given, so that three fit into a lease.
const LONGEST_DEADLINE: Duration = Duration::from_secs(3);
/// The longest time an acquisition is given: writes stall while etcd elects.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(4);
/// What a renewal is given when another claims the grant by another epoch on the wire (rule 5).
const VERIFY_DEADLINE: Duration = Duration::from_millis(600);
/// Between attempts of a follower to write itself down.
const FIRST_PUBLISH_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PUBLISH_PAUSE: Duration = Duration::from_secs(60);
/// Between two reads of a follower that lacks a witness.
const WITNESS_PAUSE: Duration = Duration::from_millis(100);
/// The first pause after a failure.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// The longest pause after a failure is no shorter than this, however short the lease: a server that refuses at once
/// would otherwise be asked without end.
const BACKOFF_CAP_FLOOR: Duration = Duration::from_millis(400);

/// What is known of the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Known {
    Nothing,
    Absent,
    Record(Box<LeaseRecord>),
}

/// Our grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Held {
    uid: String,
    epoch: u32,
    /// When the last successful write of it was sent; `None` when it is only known by reading.
    renewed_at: Option<Moment>,
    /// When the next renewal is due.
    renew_due: Moment,
    /// The record no longer says so, by no right: it was reset, deleted or blanked.
    contested: bool,
}

/// A request under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Flight {
    id: EffectId,
    sent_at: Moment,
    given_up_at: Moment,
    write: bool,
    action: Action,
    /// What was known when it was sent.
    basis: Known,
}

/// A write whose reply was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unresolved {
    sent_at: Moment,
    /// What was known when it was sent: a record that still says so proves nothing.
    basis: Known,
}

impl Unresolved {
    /// Whether `record`, which is ours, shows that the write was done.
    fn is_done_in(&self, record: &LeaseRecord) -> bool {
        match &self.basis {
            Known::Record(basis) => !same_election(basis, record),
            Known::Absent => true,
            Known::Nothing => false,
        }
    }
}

/// Where a record came from: the order of watch events and replies is only known through resource versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A watch event or the list before it: may be late.
    Watch,
    /// A quorum read sent at this moment.
    Read(Moment),
    /// A write of ours, sent at this moment.
    Write(Moment),
}

/// What the claim wants of its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Take the lease now, over whatever the record says.
    pub campaign: Campaign,
    /// What to do with a grant of ours.
    pub grant: GrantWish,
    /// What to publish beside.
    pub publication: Publication,
}

/// Whether to take the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// By compare-and-swap, at once.
    Take,
    /// Read at once: the answer itself is what is lacking (rule 7).
    Ask,
    /// Not now.
    Stay,
}

/// What to do with a grant of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantWish {
    /// Renew it when due.
    Keep,
    /// Renew it now (rule 5: somebody claims a higher epoch).
    Verify,
    /// Release it.
    Release,
}

/// A change of reach worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every known server failed us.
    Lost,
    /// One answered again after this long.
    Returned(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Action {
    Read,
    Acquire,
    Renew,
    Verify,
    Release,
    Publish,
}

/// One node's view of one Lease.
#[derive(Clone, Debug, Hash)]
pub struct LeaseMachine {
    node: NodeName,
    instance: InstanceId,
    timing: LeaseTiming,
    backoff: Backoff,
    known: Known,
    known_at: Moment,
    observed_at: Moment,
    contact: Option<Moment>,
    chain_since: Moment,
    out_since: Option<Moment>,
    held: Option<Held>,
    highest: u32,
    flight: Option<Flight>,
    read_back: bool,
    /// A write whose reply was lost. It proves freshness if reading back finds it.
    unresolved: Option<Unresolved>,
    conflicts: u32,
    not_before: Moment,
    /// The pauses between acquisitions that were answered and brought no grant.
    futile: Backoff,
    acquire_due: Moment,
    /// A follower's own entry among the members is not written before: a server that drops it is not pressed.
    publish_due: Moment,
    /// The pause after the next attempt of that: it doubles, so that two that join together soon succeed both.
    publish_pause: Duration,
    /// Our last write gave the lease up.
    releasing: bool,
    false_takeovers_at: Moment,
    /// What the record's annotations say; nothing while there is no record.
    facts: annotations::Facts,
    /// Another elector than ours has held the lease since this node looks at it.
    other_elector: bool,
    namesakes: namesakes::Namesakes,
}

impl LeaseMachine {
    /// A machine that knows nothing yet but the highest epoch remembered.
    #[must_use]
    pub fn new(node: NodeName, instance: InstanceId, timing: LeaseTiming, highest: u32, now: Moment) -> Self {
        let longest_pause = (timing.duration / 3).saturating_sub(request_deadline(timing));
        let backoff = Backoff::new(BACKOFF_BASE, longest_pause.max(BACKOFF_CAP_FLOOR));
        Self {
            node,
            instance,
            timing,
            futile: backoff.clone(),
            backoff,
            known: Known::Nothing,
            known_at: now,
            observed_at: now,
            contact: None,
            chain_since: now,
            out_since: None,
            held: None,
            highest,
            flight: None,
            read_back: false,
            unresolved: None,
            conflicts: 0,
            not_before: now,
            acquire_due: now,
            publish_due: now,
            publish_pause: FIRST_PUBLISH_PAUSE,
            releasing: false,
            false_takeovers_at: now,
            facts: annotations::Facts::default(),
            other_elector: false,
            namesakes: namesakes::Namesakes::default(),
        }
    }

    // === what happens to it ===

    /// A record was seen.
    pub fn observe(&mut self, now: Moment, record: LeaseRecord, source: Source) -> Option<Reach> {
        let reach = self.contacted(now);
        if self.is_late(&record, source) {
            return reach;
        }
        self.highest = self.highest.max(record.transitions);
        if self.record().is_none_or(|known| !same_election(known, &record)) {
            self.observed_at = now;
        }
        self.learn_facts(now, &record);
        self.settle_grant(now, &record, source);
        self.known = Known::Record(Box::new(record));
        self.known_at = now;
        reach
    }

    /// What the annotations say, where they or the grant they speak of differ from those read before: a renewal seldom
    /// changes them, and every node sees every renewal.
    fn learn_facts(&mut self, now: Moment, record: &LeaseRecord) {
        let same = |known: &LeaseRecord| {
            (&known.holder, known.transitions) == (&record.holder, record.transitions)
                && known.annotations == record.annotations
        };
        if self.record().is_some_and(same) {
            return;
        }
        let facts = annotations::Facts::of(record);
        if self.record().is_none() || self.facts.false_takeovers != facts.false_takeovers {
            self.false_takeovers_at = now;
        }
        self.other_elector |= record.holder.is_some() && !facts.mainstay;
        self.facts = facts;
    }

    /// The authority says that there is no such object.
    pub fn observe_absent(&mut self, now: Moment) -> Option<Reach> {
        let reach = self.contacted(now);
        if self.known != Known::Absent {
            self.known = Known::Absent;
            self.facts = annotations::Facts::default();
            self.known_at = now;
            self.observed_at = now;
        }
        if let Some(held) = &mut self.held {
            held.contested = true;
        }
        reach
    }

    /// Every known server refused us, or left us unanswered.
    pub fn unreachable(&mut self, now: Moment) -> Option<Reach> {
        if self.out_since.is_some() {
            return None;
        }
        self.out_since = Some(now);
        Some(Reach::Lost)
    }

    /// Whether `id` is the request under way.
    #[must_use]
    pub fn awaits(&self, id: EffectId) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.id == id)
    }

    /// A request of ours ended.
    pub fn conclude(&mut self, now: Moment, outcome: LeaseOutcome, rng: &mut Rng) -> Option<Reach> {
        let flight = self.flight.take()?;
        let answered =
            matches!(outcome, LeaseOutcome::Record(_) | LeaseOutcome::Absent | LeaseOutcome::Conflict);
        let acquired = answered && flight.action == Action::Acquire;
        let reach = self.resolve(now, flight, outcome, rng);
        if acquired {
            self.pace_acquisitions(now, rng);
        }
        reach
    }

    fn resolve(
        &mut self,
        now: Moment,
        flight: Flight,
        outcome: LeaseOutcome,
        rng: &mut Rng,
    ) -> Option<Reach> {
        match outcome {
            LeaseOutcome::Record(record) => {
                self.succeed(now);
                let source =
                    if flight.write { Source::Write(flight.sent_at) } else { Source::Read(flight.sent_at) };
                self.observe(now, record, source)
            }
            LeaseOutcome::Absent => {
                self.succeed(now);
                self.observe_absent(now)
            }
            LeaseOutcome::Conflict => self.conflicted(now, rng),
            LeaseOutcome::Throttled { retry_after } => {
                if let Some(pause) = retry_after {
                    // A third of a lease is the longest pause of a holder (rule 6); the jitter takes the rest of it.
                    self.backoff.retry_after(pause.min(request_deadline(self.timing)));
                }
                self.fail(now, rng)
            }
            LeaseOutcome::Forbidden | LeaseOutcome::Unreachable => self.fail(now, rng),
            LeaseOutcome::Unknown => {
                self.lose_reply(flight);
                self.fail(now, rng)
            }
        }
    }

    /// An acquisition that was answered and brought no grant is tried once more at once, and then with growing
    /// pauses: in a namespace that does not exist, or where something strips our annotations, it never brings one.
    fn pace_acquisitions(&mut self, now: Moment, rng: &mut Rng) {
        let granted = self.held.as_ref().is_some_and(|held| !held.contested);
        if granted || now.since(self.acquire_due) >= self.timing.duration {
            self.futile.reset();
        }
        self.acquire_due = now;
        if !granted {
            let first = self.futile.failures() == 0;
            let pause = self.futile.next(rng);
            self.acquire_due = if first { now } else { now + pause };
        }
    }

    /// Forgets a grant that a mark of higher order refuted, and reads anew (rule 5).
    pub fn abandon(&mut self) {
        self.held = None;
        self.known = Known::Nothing;
    }

    /// What was read before a freeze proves nothing now: read again (rule 9).
    pub fn doubt(&mut self, now: Moment) {
        self.chain_since = now;
        self.read_back = true;
        self.not_before = now;
        if let Some(held) = &mut self.held {
            held.renewed_at = None;
            held.renew_due = now;
        }
    }

    /// Our grant could not be verified in time: it is no longer fresh (rule 5).
    pub fn unconfirm(&mut self) {
        if let Some(held) = &mut self.held {
            held.renewed_at = None;
        }
    }

    // === inside ===

    fn contacted(&mut self, now: Moment) -> Option<Reach> {
        let broken = self.contact.is_none_or(|contact| now.since(contact) > self.longest_gap());
        if broken || self.out_since.is_some() {
            self.chain_since = now;
        }
        self.contact = Some(now);
        self.out_since.take().map(|since| Reach::Returned(now.since(since)))
    }

    fn succeed(&mut self, now: Moment) {
        self.backoff.reset();
        self.conflicts = 0;
        self.not_before = now;
        self.read_back = false;
    }

    fn fail(&mut self, now: Moment, rng: &mut Rng) -> Option<Reach> {
        self.not_before = now + self.backoff.next(rng);
        self.unreachable(now)
    }

    /// 409: somebody else wrote. Read at once; when that goes on, give way.
    fn conflicted(&mut self, now: Moment, rng: &mut Rng) -> Option<Reach> {
        let reach = self.contacted(now);
        self.read_back = true;
        self.conflicts += 1;
        self.not_before =
            if self.conflicts > 1 { now + rng.duration(self.timing.retry_period / 2) } else { now };
        reach
    }

    fn lose_reply(&mut self, flight: Flight) {
        if flight.write {
            self.read_back = true;
            self.unresolved = Some(Unresolved { sent_at: flight.sent_at, basis: flight.basis });
        }
    }

    fn give_up_lost_flight(&mut self, now: Moment) {
        if let Some(flight) = self.flight.take_if(|flight| now >= flight.given_up_at) {
            self.lose_reply(flight);
        }
    }

    /// How long a follower of a live lease may hear nothing before it asks.
    fn longest_silence(&self) -> Duration {
        self.timing.retry_period * 5 / 2
    }

    /// The longest pause between two contacts that does not break the chain.
    fn longest_gap(&self) -> Duration {
        self.longest_silence() + request_deadline(self.timing)
    }
}

/// What a read or a renewal is given.
fn request_deadline(timing: LeaseTiming) -> Duration {
    (timing.duration / 5).clamp(SHORTEST_DEADLINE, LONGEST_DEADLINE)
}

/// Whether the election record is unchanged; other changes of the object prove no life.
fn same_election(a: &LeaseRecord, b: &LeaseRecord) -> bool {
    (&a.uid, &a.holder, a.duration_seconds, &a.acquire_time, &a.renew_time, a.transitions)
        == (&b.uid, &b.holder, b.duration_seconds, &b.acquire_time, &b.renew_time, b.transitions)
}

#[cfg(test)]
mod tests;
