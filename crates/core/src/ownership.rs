//! One claim on one node: who may hold it, and what the holder does. The rules are docs/ownership.md's.
//!
//! ```text
//!             granted (3), or silent without an authority (8)
//!   Released ─────────────────────────────────────────────────► Holding(confirmed | detached | provisional)
//!      ▲  ▲                                                      │   ▲   │
//!      │  └──────── another was granted it, or is worn ─────┐    │   │   │ frozen, link up again (9, 13)
//!      │                                                    │    │   │   ▼
//!      │ withdrawn                                      Probing ◄┼───┴── Probing: worn, refreshed, not announced
//!      └──────────── Yielding ◄── denied (4), handed over (11) ──┘
//! ```
//!
//! Everything is level-triggered: an input changes facts, then [`Machine::step`] looks at all of them. Effects that
//! another depends on are acknowledged first: an address is present before it is announced.

mod duties;
mod failures;
mod fingerprint;
mod following;
mod frames;
mod members;
mod memory;
mod seat;
mod services;
mod status;
mod transitions;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::authority::Standing;
use crate::authority::annotations;
use crate::authority::lease::{LeaseMachine, Reach, Source};
use crate::effect::{Effect, ProbeTo};
use crate::event::{Event, TakeReason, Verdict, YieldReason};
use crate::input::{AddressChange, EffectId, Health, Input, LeaseOutcome, LeaseReport, Link, Outcome};
use crate::names::{Mac, NodeId, NodeName};
use crate::node::Output;
use crate::rng::Rng;
use crate::settings::{Authority, Found, OnAuthorityLoss, Settings, lifetime_for};
use crate::snapshot::{ClaimMemory, Member};
use crate::time::Moment;
use crate::vip::{Mark, Tenure, Vip};
use crate::watcher::Watcher;
use failures::Failures;
use services::Services;
use vips::{Addresses, watched_vip};

/// Rule 4: how long a denied holder waits to hear its successor.
const SUCCESSOR_WAIT: Duration = Duration::from_millis(500);
/// Rule 13: how long the link may be down before the holder resigns.
const LINK_PATIENCE: Duration = Duration::from_secs(1);
/// Rule 8: the step between two ranks.
const RANK_STEP: Duration = Duration::from_millis(200);
/// Rule 8: between the last three probes.
const ASK_STEP: Duration = Duration::from_millis(20);
/// How long a marked announcement proves that its sender holds or held the claim.
const CLAIMANT_MEMORY: Duration = Duration::from_secs(10);
/// How long an unmarked answer of a member can keep a restarted holder from announcing.
const PROBING_LIMIT: Duration = Duration::from_secs(1);
/// Rule 5: the verification of a grant against a mark of a lower epoch. With a rival's question before it
/// ([`crate::watcher`]) and the frames after it, two holders that hear each other end within a second.
const WINDOW_OF_LATER: Duration = Duration::from_millis(600);
/// The same against a mark of a higher epoch: of two that are not answered the earlier has to show itself as detached
/// well before the later does, or the later yields to it. It cannot wait to be told that nobody answers: with several
/// API servers, asked 150 ms apart, that takes longer than any window here.
const WINDOW_OF_EARLIER: Duration = Duration::from_millis(400);
/// After the kernel refused an address.
const ASSIGN_RETRY: Duration = Duration::from_secs(1);
/// How long a holder tries to get its address from a kernel that refuses it, while others could hold.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(3);
/// How long a new holder may not have heard the members listed: one that was never heard is asked once a second.
const COMPANY_WAIT: Duration = Duration::from_secs(3);
/// How long a holder hears nothing of a member before it drops it from the Lease: the list is finite, and nodes are
/// replaced. One that returns joins again by itself.
const MEMBER_FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long ago a neighbour may have answered to count as alive.
const NEIGHBOUR_MEMORY: Duration = Duration::from_secs(25);

/// Where the claim stands on this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Released,
    /// Worn and refreshed, not announced, until it is known whether it is still ours (rule 9).
    Probing(Probing),
    Holding(Holding),
    /// Worn until the successor is heard (rules 4 and 11).
    Yielding(Yielding),
    /// The agent may end.
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Probing {
    since: Moment,
    /// By what right it was held before.
    before: Tenure,
    /// The highest epoch known when it was last held.
    basis: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Holding {
    tenure: Tenure,
    since: Moment,
    epoch: u32,
    /// A grant to another up to this epoch was known when we took the claim, and does not refute us.
    basis: u32,
    /// Our grant is being verified against a mark of another epoch.
    verifying: Option<Verification>,
    /// Not confirmed since then.
    unconfirmed_since: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Verification {
    since: Moment,
    /// Without an answer by then the grant is not confirmed any more.
    until: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Yielding {
    reason: YieldReason,
    since: Moment,
    until: Moment,
    epoch: u32,
    tenure: Tenure,
}

/// How far a succession without an authority has got (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Succession {
    Idle,
    Waiting { at: Moment },
    Asking { since: Moment, asked: u8, next: Moment },
}

/// What an effect under way was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Assign,
    /// Addresses of Services, beside others that are there.
    Services,
    Withdraw,
    Probe(IpAddr, ProbeTo),
}

/// What is known of the VIPs on our own interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Address {
    Absent,
    Ordered,
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Claimant {
    mark: Mark,
    at: Moment,
}

/// One claim's state machine on one node.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    settings: Settings,
    rng: Rng,
    lease: LeaseMachine,
    watcher: Watcher,
    state: State,
    state_since: Moment,
    succession: Succession,
    address: Address,
    refresh_due: Moment,
    /// The kernel has refused the address since then.
    refused_since: Option<Moment>,
    /// When to order the withdrawal again that the kernel refused.
    withdraw_due: Option<Moment>,
    /// When an address that somebody else put here was last sent away.
    expelled_at: Option<Moment>,
    announced: Option<Mark>,
    /// Whether the data plane was told what to listen for.
    listening: bool,
    saved: Option<ClaimMemory>,
    pending: BTreeMap<EffectId, Pending>,
    next_id: u64,
    promised: Option<Moment>,
    link_down_since: Option<Moment>,
    health: Option<Health>,
    /// When it became healthy again.
    recovered_at: Option<Moment>,
    service: Option<Health>,
    stay_out_until: Option<Moment>,
    stopping: bool,
    stop_after: Option<EffectId>,
    /// How the claim was held when the agent stopped and the VIP stayed.
    held_at_stop: Option<(u32, Tenure)>,
    claimants: BTreeMap<Mac, Claimant>,
    /// The Lease object under which this node last held, also before its restart.
    held_under: String,
    /// Another may hold the claim as well: ours is not confirmed, or was taken from one that was not seen to yield.
    may_have_rival: bool,
    forced_until: Option<Moment>,
    addresses: Addresses,
    services: Services,
    /// Deleted, and not put back yet.
    missing: BTreeSet<Vip>,
    /// Since when, and how often, deleted addresses were put back.
    restores: Option<(Moment, u32)>,
    /// The last to announce, by whatever right: during an outage the wire says who holds.
    announcer: Option<(Mac, Mark)>,
    members: BTreeMap<NodeName, Member>,
    campaign_reason: TakeReason,
    conflicts: u64,
    told_conflicts: BTreeMap<(Mac, Verdict), Moment>,
    defended_at: Option<Moment>,
    told_silent: bool,
    told_holder: Option<(Option<String>, u32)>,
    invited_at_epoch: Option<u32>,
    taken_from: Option<(NodeId, u32, Moment)>,
    false_takeovers: Option<u32>,
    /// The last lease request was answered over the VIP's link.
    authority_is_beyond_link: bool,
    /// When another node last asked for one of our addresses: it can reach us.
    asked_at: Option<Moment>,
    /// When somebody answered for the VIP of whom it cannot be known whether it holds: no member is known yet.
    stranger_at: Option<Moment>,
    failures: Failures,
}

impl Machine {
    pub(crate) fn new(mut settings: Settings, found: Found, now: Moment, seed: u64) -> Self {
        let memory = found.memory.clone().unwrap_or_default();
        let addresses = Addresses::new(now, &settings, &memory, &found.addresses);
        let mut services = Services::new(now, &settings, &memory);
        let watched = watched_vip(&settings.vips);
        settings.vips.extend(addresses.leaving());
        // Rule 1: a strict singleton's address must not outlive its agent's right to it.
        let few = settings.lifetime;
        settings.lifetime = lifetime_for(&settings, settings.vips.len(), few);
        services.live_for(&settings, few);
        settings.vips.extend(services.in_force());
        settings.own = settings.own.for_vips(&settings.vips);
        let mut lease =
            LeaseMachine::new(settings.node.clone(), settings.instance, settings.lease, memory.epoch, now);
        if settings.authority == Authority::Standalone {
            lease.unreachable(now);
        }
        let worn = !found.addresses.is_empty();
        let before = if memory.held { Tenure::Detached } else { Tenure::Provisional };
        let state = if worn {
            State::Probing(Probing { since: now, before, basis: memory.epoch })
        } else {
            State::Released
        };
        let watcher = Watcher::new(settings.detection, watched, now);
        let mut machine = Self {
            rng: Rng::new(seed),
            lease,
            watcher,
            state,
            state_since: now,
            succession: Succession::Idle,
            address: if worn { Address::Present } else { Address::Absent },
            refresh_due: now,
            refused_since: None,
            withdraw_due: None,
            expelled_at: None,
            announced: None,
            listening: false,
            members: memory.members.clone(),
            held_under: memory.uid.clone(),
            saved: Some(memory),
            pending: BTreeMap::new(),
            next_id: 1,
            promised: None,
            link_down_since: (!found.link_up).then_some(now),
            health: None,
            recovered_at: None,
            service: None,
            stay_out_until: None,
            stopping: false,
            stop_after: None,
            held_at_stop: None,
            claimants: BTreeMap::new(),
            may_have_rival: false,
            forced_until: None,
            addresses,
            services,
            missing: BTreeSet::new(),
            restores: None,
            announcer: None,
            campaign_reason: TakeReason::Free,
            conflicts: 0,
            told_conflicts: BTreeMap::new(),
            defended_at: None,
            told_silent: false,
            told_holder: None,
            invited_at_epoch: None,
            taken_from: None,
            false_takeovers: None,
            authority_is_beyond_link: false,
            asked_at: None,
            stranger_at: None,
            failures: Failures::default(),
            settings,
        };
        machine.watch_neighbours(now);
        machine
    }

    pub(crate) fn handle(&mut self, now: Moment, input: &Input, out: &mut Output) {
        self.notice_freeze(now, out);
        self.take_in(now, input, out);
        self.step(now, out);
        self.promised = self.next_deadline(now);
    }

    pub(crate) fn promised(&self) -> Option<Moment> {
        self.promised
    }

    /// Looks at all facts and does what they demand now.
    fn step(&mut self, now: Moment, out: &mut Output) {
        self.retarget(now, out);
        self.transit(now, out);
        self.follow_answer(now, out);
        self.follow_services(now, out);
        self.hold_duties(now, out);
        self.pursue(now, out);
        self.probe(now, out);
        self.look_for_failures(now, out);
        self.refresh(now, out);
        self.withdraw_again(now, out);
        self.announce(out);
        self.withdraw_dropped(out);
        self.listen(out);
        self.save(out);
    }

    fn take_in(&mut self, now: Moment, input: &Input, out: &mut Output) {
        match input {
            Input::Tick => {}
            Input::Frame(frame) => self.on_frame(now, frame, out),
            Input::Missed => self.on_missed(now),
            Input::Address(AddressChange::Removed { vip, expired }) => {
                self.on_removed(now, *vip, *expired, out)
            }
            Input::Address(AddressChange::Appeared { vip }) => self.on_appeared(now, *vip, out),
            Input::Address(AddressChange::Refused { vip }) => self.on_refused(*vip),
            Input::Address(AddressChange::Accepted { vip }) => self.addresses.accept(*vip),
            Input::Own(own) => self.on_own(own),
            Input::Vips(vips) => self.on_vips(vips),
            Input::Services(vips) => self.on_services(vips),
            Input::Link(link) => self.on_link(now, *link, out),
            Input::Lease(report) => self.on_report(now, report, out),
            Input::Outcome { id, outcome } => self.on_outcome(now, *id, outcome, out),
            Input::Health(health) => self.on_health(now, *health, out),
            Input::Service(health) => self.service = Some(*health),
            Input::Shutdown => self.on_shutdown(now, out),
            // Of a node that has several claims: each hears of its own as if there were no other.
            Input::Seats(_) | Input::SeatLease { .. } => {}
        }
    }

    fn on_report(&mut self, now: Moment, report: &LeaseReport, out: &mut Output) {
        let reach = match report {
            LeaseReport::Observed(record) => self.lease.observe(now, record.clone(), Source::Watch),
            LeaseReport::Absent => self.lease.observe_absent(now),
            LeaseReport::Unanswered { id } if self.lease.awaits(*id) => self.lease.unreachable(now),
            LeaseReport::Unanswered { .. } => None,
            LeaseReport::WatchLost => self.lease.unreachable(now),
            LeaseReport::Reached { local, remote } => {
                self.on_reached(now, *local, *remote);
                None
            }
        };
        self.tell_reach(reach, out);
        self.learn_members(now);
    }

    /// Rule 7: an answer that came in over the VIP's link is a witness that it works.
    fn on_reached(&mut self, now: Moment, local: IpAddr, remote: IpAddr) {
        let own = &self.settings.own.addresses;
        self.authority_is_beyond_link =
            own.contains(&local) && !own.contains(&remote) && !self.is_of_the_claim(remote);
        if self.authority_is_beyond_link {
            self.watcher.reached(now);
        }
    }

    fn on_outcome(&mut self, now: Moment, id: EffectId, outcome: &Outcome, out: &mut Output) {
        match outcome {
            Outcome::Lease(outcome) => self.on_lease_outcome(now, id, outcome, out),
            Outcome::Done => self.on_kernel_done(id, out),
            Outcome::Failed(cause) => self.on_kernel_failed(now, id, cause, out),
            Outcome::Sent(at) => {
                if let Some(Pending::Probe(target, to)) = self.pending.remove(&id) {
                    if target == self.watcher.vip() {
                        self.watcher.sent(*at, to);
                    }
                    self.question_left(target);
                }
            }
        }
    }

    fn on_lease_outcome(&mut self, now: Moment, id: EffectId, outcome: &LeaseOutcome, out: &mut Output) {
        if !self.lease.awaits(id) {
            return;
        }
        let reach = self.lease.conclude(now, outcome.clone(), &mut self.rng);
        self.tell_reach(reach, out);
        self.learn_members(now);
    }

    fn tell_reach(&self, reach: Option<Reach>, out: &mut Output) {
        let claim = self.settings.claim.clone();
        match reach {
            Some(Reach::Lost) => out.events.push(Event::AuthorityLost { claim }),
            Some(Reach::Returned(away)) => out.events.push(Event::AuthorityReturned { claim, away }),
            None => {}
        }
    }

    fn on_health(&mut self, now: Moment, health: Health, out: &mut Output) {
        let before = self.health.replace(health);
        if before != Some(health) {
            self.recovered_at = before.filter(|_| health == Health::Healthy).map(|_| now);
            out.events.push(Event::HealthChanged { healthy: health == Health::Healthy });
        }
    }

    fn on_link(&mut self, now: Moment, link: Link, out: &mut Output) {
        let was_up = self.link_up();
        match link {
            Link::Down if was_up => self.link_down_since = Some(now),
            Link::Up if !was_up => self.link_down_since = None,
            _ => return,
        }
        out.events.push(Event::Link { up: link == Link::Up });
        self.watcher.restart(now);
        if link == Link::Up {
            self.reconsider(now);
        }
    }

    /// Ids of effects from here on, for a node that has several claims.
    pub(crate) fn numbered_from(mut self, first: u64) -> Self {
        self.next_id = first;
        self
    }

    fn effect_id(&mut self) -> EffectId {
        let id = EffectId(self.next_id);
        self.next_id += 1;
        id
    }

    fn set_state(&mut self, now: Moment, state: State) {
        self.state = state;
        self.state_since = now;
        self.succession = Succession::Idle;
    }

    fn is_strict(&self) -> bool {
        self.settings.on_authority_loss != OnAuthorityLoss::Hold
    }

    fn link_up(&self) -> bool {
        self.link_down_since.is_none()
    }

    fn own_id(&self) -> NodeId {
        self.settings.node.id()
    }
}

#[cfg(test)]
mod tests;
