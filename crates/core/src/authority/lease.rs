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

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::Standing;
use crate::authority::annotations::{self, Grant, Publication};
use crate::backoff::Backoff;
use crate::effect::{LeaseDraft, LeaseRequest, Stamp};
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
/// What a renewal is given when another claims a higher epoch on the wire (rule 5).
const VERIFY_DEADLINE: Duration = Duration::from_secs(1);
/// Between attempts of a follower to write itself down.
const FIRST_PUBLISH_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PUBLISH_PAUSE: Duration = Duration::from_secs(60);
/// The first pause after a failure.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// The longest pause after a failure is no shorter than this, however short the lease: a server that refuses at once
/// would otherwise be asked without end.
const BACKOFF_CAP_FLOOR: Duration = Duration::from_millis(400);

/// What is known of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Known {
    Nothing,
    Absent,
    Record(Box<LeaseRecord>),
}

/// Our grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    Read,
    Acquire,
    Renew,
    Verify,
    Release,
    Publish,
}

/// One node's view of one Lease.
#[derive(Clone, Debug)]
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
        }
    }

    // === what it knows ===

    /// What the authority last told this node.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.held, &self.known) {
            (Some(held), _) => Standing::Granted { epoch: held.epoch },
            (None, Known::Nothing) => Standing::Unknown,
            (None, Known::Absent) => Standing::Absent,
            (None, Known::Record(record)) => match &record.holder {
                None => Standing::Vacant { epoch: record.transitions },
                Some(holder) => Standing::Denied { holder: holder.clone(), epoch: record.transitions },
            },
        }
    }

    /// What the record's annotations say.
    #[must_use]
    pub fn facts(&self) -> &annotations::Facts {
        &self.facts
    }

    /// The record as last known.
    #[must_use]
    pub fn record(&self) -> Option<&LeaseRecord> {
        match &self.known {
            Known::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Until when our grant is fresh: the last successful renewal plus the renew deadline.
    #[must_use]
    pub fn fresh_until(&self) -> Option<Moment> {
        let held = self.held.as_ref().filter(|held| !held.contested)?;
        held.renewed_at.map(|at| at + self.timing.renew_deadline)
    }

    /// Whether our grant is fresh.
    #[must_use]
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.fresh_until().is_some_and(|until| now < until)
    }

    /// Since when every known server has failed us, if that is so.
    #[must_use]
    pub fn out_since(&self) -> Option<Moment> {
        self.out_since
    }

    /// Whether the authority answers.
    #[must_use]
    pub fn in_reach(&self) -> bool {
        self.contact.is_some() && self.out_since.is_none()
    }

    /// The last successful contact.
    #[must_use]
    pub fn contact(&self) -> Option<Moment> {
        self.contact
    }

    /// Failed requests in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// The highest epoch ever seen.
    #[must_use]
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether the present holder proved itself a Mainstay node: only from such a one may evidence take (rule 7).
    #[must_use]
    pub fn holder_is_mainstay(&self) -> bool {
        self.facts.mainstay
    }

    /// When another's lease expires or has expired, as far as an unbroken chain of contacts can tell.
    /// A deleted Lease is an expired one.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        if self.held.is_some() || !self.in_reach() {
            return None;
        }
        match &self.known {
            Known::Nothing => None,
            Known::Absent => Some(self.observed_at.max(self.chain_since)),
            Known::Record(record) => {
                let duration = Duration::from_secs(u64::from(record.duration_seconds));
                record.holder.as_ref().map(|_| self.observed_at.max(self.chain_since) + duration)
            }
        }
    }

    /// Whether expiry may be acted on now: the last contact is recent enough to vouch for the chain.
    #[must_use]
    pub fn is_current(&self, now: Moment) -> bool {
        self.in_reach() && self.contact.is_some_and(|contact| now.since(contact) <= self.longest_gap())
    }

    /// The count of false takeovers now: as last written, halved every ten minutes since.
    #[must_use]
    pub fn false_takeovers(&self, now: Moment) -> u32 {
        let written = self.facts.false_takeovers;
        let halvings =
            u32::try_from(now.since(self.false_takeovers_at).as_secs() / 600).unwrap_or(31).min(31);
        written >> halvings
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
        let facts = annotations::Facts::of(&record);
        if self.record().is_none() || self.facts.false_takeovers != facts.false_takeovers {
            self.false_takeovers_at = now;
        }
        self.facts = facts;
        self.settle_grant(now, &record, source);
        self.known = Known::Record(Box::new(record));
        self.known_at = now;
        reach
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

    /// Whether nothing has to be read back before the standing can be believed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.read_back
    }

    /// Whether the record was seen to change since the authority last came into reach: its holder lives.
    #[must_use]
    pub fn renewed_in_reach(&self) -> bool {
        self.in_reach() && self.observed_at > self.chain_since
    }

    /// Whether the record was seen to change so lately, in reach, that its holder must be alive.
    #[must_use]
    pub fn renewed_lately(&self, now: Moment) -> bool {
        self.renewed_in_reach() && now.since(self.observed_at) <= self.longest_silence()
    }

    /// Whether there is a grant of ours to give back.
    #[must_use]
    pub fn owes_release(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.contested)
    }

    /// When the last successful write of our grant was sent.
    #[must_use]
    pub fn renewed_at(&self) -> Option<Moment> {
        self.held.as_ref().and_then(|held| held.renewed_at)
    }

    /// Our grant could not be verified in time: it is no longer fresh (rule 5).
    pub fn unconfirm(&mut self) {
        if let Some(held) = &mut self.held {
            held.renewed_at = None;
        }
    }

    // === what it asks for ===

    /// The request that is due now under `wants`, with its deadline. It is under way from then on as `id`.
    pub fn poll(&mut self, now: Moment, wants: &Wants, id: EffectId) -> Option<(LeaseRequest, Duration)> {
        self.give_up_lost_flight(now);
        if !self.publication_differs(wants) {
            self.publish_pause = FIRST_PUBLISH_PAUSE;
        }
        let (due, action) = self.next_action(wants)?;
        if due > now {
            return None;
        }
        let request = self.request(action, wants);
        match action {
            Action::Release => self.releasing = true,
            Action::Read | Action::Publish => {}
            Action::Acquire | Action::Renew | Action::Verify => self.releasing = false,
        }
        if matches!(action, Action::Publish | Action::Renew) && self.publication_differs(wants) {
            self.publish_due = now + self.publish_pause;
            self.publish_pause = (self.publish_pause * 2).min(LONGEST_PUBLISH_PAUSE);
        }
        let deadline = self.deadline(action);
        self.flight = Some(Flight {
            id,
            sent_at: now,
            given_up_at: now + deadline + OUTCOME_FUSE,
            write: !matches!(request, LeaseRequest::Read),
            action,
            basis: self.known.clone(),
        });
        Some((request, deadline))
    }

    /// When `poll` wants to be called next under `wants`.
    #[must_use]
    pub fn next_deadline(&self, wants: &Wants) -> Option<Moment> {
        match &self.flight {
            Some(flight) => Some(flight.given_up_at),
            None => self.next_action(wants).map(|(due, _)| due),
        }
    }

    fn next_action(&self, wants: &Wants) -> Option<(Moment, Action)> {
        if self.flight.is_some() {
            return None;
        }
        let (due, action) = self.next_wish(wants)?;
        Some((due.max(self.not_before), action))
    }

    fn next_wish(&self, wants: &Wants) -> Option<(Moment, Action)> {
        if self.read_back || self.known == Known::Nothing {
            return Some((self.not_before, Action::Read));
        }
        match &self.held {
            Some(held) => self.holder_wish(held, wants),
            None if wants.campaign == Campaign::Take => Some((self.acquire_due, Action::Acquire)),
            None => self.follower_wish(wants),
        }
    }

    fn holder_wish(&self, held: &Held, wants: &Wants) -> Option<(Moment, Action)> {
        match (wants.grant, held.contested) {
            (GrantWish::Release, true) => None,
            (GrantWish::Release, false) => Some((self.not_before, Action::Release)),
            (_, true) => Some((self.acquire_due, Action::Acquire)),
            (GrantWish::Verify, false) => Some((self.not_before, Action::Verify)),
            (GrantWish::Keep, false) if self.publication_differs(wants) => {
                Some((self.publish_due.min(held.renew_due), Action::Renew))
            }
            (GrantWish::Keep, false) => Some((held.renew_due, Action::Renew)),
        }
    }

    fn follower_wish(&self, wants: &Wants) -> Option<(Moment, Action)> {
        if self.out_since.is_some() {
            return Some((self.not_before, Action::Read));
        }
        let read_due = self.contact.unwrap_or(self.known_at) + self.longest_silence();
        if (self.membership_differs(wants) || self.count_differs(wants)) && self.publish_due <= read_due {
            return Some((self.publish_due, Action::Publish));
        }
        Some((read_due, Action::Read))
    }

    fn membership_differs(&self, wants: &Wants) -> bool {
        self.record().is_some()
            && annotations::wants_member(&self.facts.members, &self.node, &wants.publication.member)
    }

    fn publication_differs(&self, wants: &Wants) -> bool {
        if self.record().is_none() {
            return false;
        }
        self.membership_differs(wants)
            || self.facts.invited != (wants.publication.invite == annotations::Invite::Yes)
            || self.count_differs(wants)
    }

    fn count_differs(&self, wants: &Wants) -> bool {
        let written = self.facts.false_takeovers;
        self.record().is_some() && wants.publication.false_takeovers.is_some_and(|count| count != written)
    }

    fn request(&self, action: Action, wants: &Wants) -> LeaseRequest {
        match action {
            Action::Read => LeaseRequest::Read,
            Action::Acquire => self.acquisition(wants),
            Action::Renew | Action::Verify => self.renewal(wants),
            Action::Release => self.release(wants),
            Action::Publish => self.publish(wants),
        }
    }

    fn acquisition(&self, wants: &Wants) -> LeaseRequest {
        let epoch = self.next_epoch();
        let draft = |base| LeaseDraft {
            holder: Some(self.node.as_str().to_owned()),
            duration_seconds: whole_seconds(self.timing.duration),
            acquire_time: Stamp::Now,
            renew_time: Stamp::Now,
            transitions: epoch,
            annotations: annotations::compose(
                base,
                &self.node,
                Some(&self.grant_of(epoch)),
                &wants.publication,
            ),
        };
        match self.record() {
            None => LeaseRequest::Create(draft(&std::collections::BTreeMap::new())),
            Some(record) => update(record, draft(&record.annotations)),
        }
    }

    fn renewal(&self, wants: &Wants) -> LeaseRequest {
        let Some(record) = self.record() else { return LeaseRequest::Read };
        let draft = LeaseDraft {
            holder: record.holder.clone(),
            duration_seconds: whole_seconds(self.timing.duration),
            acquire_time: Stamp::Keep(record.acquire_time.clone()),
            renew_time: Stamp::Now,
            transitions: record.transitions,
            annotations: annotations::compose(
                &record.annotations,
                &self.node,
                Some(&self.grant_of(record.transitions)),
                &wants.publication,
            ),
        };
        update(record, draft)
    }

    /// client-go's release: no holder, a duration of one second, the transitions kept.
    fn release(&self, wants: &Wants) -> LeaseRequest {
        let Some(record) = self.record() else { return LeaseRequest::Read };
        let draft = LeaseDraft {
            holder: None,
            duration_seconds: 1,
            acquire_time: Stamp::Now,
            renew_time: Stamp::Now,
            transitions: record.transitions,
            annotations: annotations::compose(&record.annotations, &self.node, None, &wants.publication),
        };
        update(record, draft)
    }

    /// Adds this node to the members and changes nothing of the election.
    fn publish(&self, wants: &Wants) -> LeaseRequest {
        let Some(record) = self.record() else { return LeaseRequest::Read };
        let mut annotations = record.annotations.clone();
        annotations::join(&mut annotations, &self.node, &wants.publication.member);
        if let Some(count) = wants.publication.false_takeovers {
            annotations::count(&mut annotations, count);
        }
        let draft = LeaseDraft {
            holder: record.holder.clone(),
            duration_seconds: record.duration_seconds,
            acquire_time: Stamp::Keep(record.acquire_time.clone()),
            renew_time: Stamp::Keep(record.renew_time.clone()),
            transitions: record.transitions,
            annotations,
        };
        update(record, draft)
    }

    fn deadline(&self, action: Action) -> Duration {
        match action {
            Action::Acquire => ACQUIRE_DEADLINE.min(self.timing.renew_deadline).max(SHORTEST_DEADLINE),
            Action::Verify => VERIFY_DEADLINE,
            _ => request_deadline(self.timing),
        }
    }

    // === inside ===

    /// The epoch of a new grant: above everything seen. The first of all is 0, as client-go's.
    fn next_epoch(&self) -> u32 {
        let seen = self.record().is_some() || self.highest > 0 || self.held.is_some();
        if seen { self.highest.saturating_add(1) } else { 0 }
    }

    fn grant_of(&self, epoch: u32) -> Grant {
        Grant { holder: self.node.as_str().to_owned(), epoch, instance: self.instance }
    }

    /// A record older than what is known. Resource versions of one resource are comparable numbers (KEP-5504); where
    /// they are not numbers, the order of arrival counts.
    fn is_late(&self, record: &LeaseRecord, source: Source) -> bool {
        let Some(known) = self.record() else { return false };
        let (Ok(old), Ok(new)) =
            (known.resource_version.parse::<u64>(), record.resource_version.parse::<u64>())
        else {
            return false;
        };
        match source {
            Source::Watch => new < old,
            // A read sent after what is known was learned speaks of later: then going back is a reset.
            Source::Read(sent_at) | Source::Write(sent_at) => new < old && sent_at < self.known_at,
        }
    }

    fn settle_grant(&mut self, now: Moment, record: &LeaseRecord, source: Source) {
        if self.is_ours(record) {
            self.confirm_grant(now, record, source);
            return;
        }
        // Only what a quorum said settles an unresolved write; a late watch event proves nothing about it.
        if source != Source::Watch {
            self.unresolved = None;
        }
        if self.releasing && record.holder.is_none() {
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            let later = record.uid == held.uid && record.transitions > held.epoch;
            let other_in_same_epoch = record.uid == held.uid && record.transitions == held.epoch;
            if record.holder.is_some() && (later || other_in_same_epoch) {
                self.held = None;
            } else {
                held.contested = true;
            }
        }
    }

    fn is_ours(&self, record: &LeaseRecord) -> bool {
        annotations::grant(record) == Some(self.grant_of(record.transitions))
    }

    fn confirm_grant(&mut self, now: Moment, record: &LeaseRecord, source: Source) {
        let before =
            self.held.as_ref().filter(|held| held.uid == record.uid && held.epoch == record.transitions);
        let proven = match source {
            Source::Write(sent_at) => Some(sent_at),
            Source::Read(_) | Source::Watch => {
                let done = self.unresolved.as_ref().filter(|write| write.is_done_in(record));
                done.map(|write| write.sent_at)
            }
        };
        // A watch event from before the write says nothing about it; whatever else was said has settled it.
        if proven.is_some() || source != Source::Watch {
            self.unresolved = None;
        }
        let renewed_at = proven.max(before.and_then(|held| held.renewed_at));
        let renew_due = match (proven, before) {
            (Some(_), _) => now + self.timing.retry_period,
            (None, Some(held)) => held.renew_due,
            (None, None) => now,
        };
        self.held = Some(Held {
            uid: record.uid.clone(),
            epoch: record.transitions,
            renewed_at,
            renew_due,
            contested: false,
        });
    }

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

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn update(record: &LeaseRecord, draft: LeaseDraft) -> LeaseRequest {
    LeaseRequest::Update { resource_version: record.resource_version.clone(), draft }
}

/// Whether the election record is unchanged; other changes of the object prove no life.
fn same_election(a: &LeaseRecord, b: &LeaseRecord) -> bool {
    (&a.uid, &a.holder, a.duration_seconds, &a.acquire_time, &a.renew_time, a.transitions)
        == (&b.uid, &b.holder, b.duration_seconds, &b.acquire_time, &b.renew_time, b.transitions)
}

#[cfg(test)]
mod tests;
