//! What one node asks of its Lease: which request is due, and what it writes.

use std::time::Duration;

use super::{
    ACQUIRE_DEADLINE, Action, Campaign, FIRST_PUBLISH_PAUSE, Flight, GrantWish, Held, Known,
    LONGEST_PUBLISH_PAUSE, LeaseMachine, OUTCOME_FUSE, SHORTEST_DEADLINE, VERIFY_DEADLINE, WITNESS_PAUSE,
    Wants, request_deadline,
};
use crate::authority::annotations::{self, Grant};
use crate::effect::{LeaseDraft, LeaseRequest, Stamp};
use crate::input::{EffectId, LeaseRecord};
use crate::placement;
use crate::snapshot::Member;
use crate::time::Moment;

impl LeaseMachine {
    /// The request that is due now under `wants`, with its deadline. It is under way from then on as `id`.
    pub fn poll(&mut self, now: Moment, wants: &Wants, id: EffectId) -> Option<(LeaseRequest, Duration)> {
        self.give_up_lost_flight(now);
        let member = wants.publication.member.as_ref();
        if let Some(member) = member {
            self.namesakes.look(now, self.facts.members.get(&self.node), member);
        }
        if !self.publication_differs(wants) && !self.namesakes.is_recent(now) {
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
            self.publish_due = now + self.spread(self.publish_pause);
            self.publish_pause = (self.publish_pause * 2).min(LONGEST_PUBLISH_PAUSE);
        }
        if let Some(member) = member.filter(|_| action != Action::Read) {
            self.namesakes.remember(member);
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

    /// Another agent that runs under this node's name, as the Lease lists it; once an hour.
    pub fn take_namesake(&mut self, now: Moment) -> Option<Member> {
        self.namesakes.take_found(now)
    }

    /// `pause` and up to as much again, another part of it for each node: fifty that join together shall not meet again.
    fn spread(&self, pause: Duration) -> Duration {
        let [part, ..] = placement::mix(self.node.id().0 ^ u64::from(pause.subsec_nanos()) ^ pause.as_secs())
            .to_le_bytes();
        pause + pause * u32::from(part) / 256
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
        let silence = if wants.campaign == Campaign::Ask { WITNESS_PAUSE } else { self.longest_silence() };
        let read_due = self.contact.unwrap_or(self.known_at) + silence;
        if (self.membership_differs(wants) || self.count_differs(wants)) && self.publish_due <= read_due {
            return Some((self.publish_due, Action::Publish));
        }
        Some((read_due, Action::Read))
    }

    fn membership_differs(&self, wants: &Wants) -> bool {
        let lacks = |member| annotations::wants_member(&self.facts.members, &self.node, member);
        self.record().is_some() && wants.publication.member.as_ref().is_some_and(lacks)
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
        annotations::remember(&mut annotations, &wants.publication.remembered);
        if let Some(member) = &wants.publication.member {
            annotations::join(&mut annotations, &self.node, member);
        }
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

    /// The epoch of a new grant: above everything seen. The first of all is 0, as client-go's.
    fn next_epoch(&self) -> u32 {
        let seen = self.record().is_some() || self.highest > 0 || self.held.is_some();
        if seen { self.highest.saturating_add(1) } else { 0 }
    }

    pub(super) fn grant_of(&self, epoch: u32) -> Grant {
        Grant { holder: self.node.as_str().to_owned(), epoch, instance: self.instance }
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn update(record: &LeaseRecord, draft: LeaseDraft) -> LeaseRequest {
    LeaseRequest::Update { resource_version: record.resource_version.clone(), draft }
}
