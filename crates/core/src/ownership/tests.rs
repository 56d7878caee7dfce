//! One machine, a kernel that does as it is told, and an authority and a wire that say what the test wants.
//!
//! Whole clusters are the simulation's business; here stand the rules whose occasion is rare there.

mod adversity;
mod conflict;
mod taking;

use super::*;
use crate::authority::annotations::Grant;
use crate::effect::{LeaseRequest, Pace};
use crate::input::{Frame, LeaseRecord};
use crate::names::{ClaimId, InstanceId};
use crate::settings::{Detection, LeaseTiming};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));
const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 99]);

fn member(mac: Mac, host: u8) -> Member {
    Member { macs: vec![mac], addresses: vec![IpAddr::from([10, 0, 0, host])] }
}

fn settings() -> Settings {
    Settings {
        node: NodeName::new("n1"),
        instance: InstanceId(1),
        boot_id: "boot".to_owned(),
        claim: ClaimId::control_plane(),
        vips: vec![VIP],
        own: member(OWN_MAC, 1),
        witnesses: vec![],
        lease: LeaseTiming::default(),
        authority: Authority::Lease,
        detection: Detection::default(),
        on_authority_loss: OnAuthorityLoss::Hold,
        lifetime: Duration::from_secs(15),
        restart_grace: Duration::from_secs(600),
    }
}

/// Longer than a renewal answers for a grant.
const VERIFIED_LONG_AGO: Duration = Duration::from_millis(300);

/// What the test's authority does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Serves,
    Refuses,
}

struct World {
    machine: Machine,
    now: Moment,
    api: Api,
    lease: Option<LeaseRecord>,
    version: u64,
    worn: bool,
    announcing: Option<Mark>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    stopped: bool,
    peer_answers: bool,
    vip_answers: bool,
    kernel_refuses: bool,
}

impl World {
    fn new(settings: Settings, found: Found) -> Self {
        Self::under(Api::Serves, settings, found)
    }

    fn under(api: Api, settings: Settings, found: Found) -> Self {
        let now = Moment::from_millis(5_000_000);
        let worn = !found.addresses.is_empty();
        let mut world = Self {
            machine: Machine::new(settings, found, now, 7),
            now,
            api,
            lease: None,
            version: 0,
            worn,
            announcing: None,
            events: vec![],
            effects: vec![],
            stopped: false,
            peer_answers: true,
            vip_answers: false,
            kernel_refuses: false,
        };
        world.give(Input::Tick);
        world
    }

    /// A node that holds, confirmed, and knows a peer that answers.
    fn holder() -> Self {
        Self::holder_with(settings())
    }

    fn holder_with(settings: Settings) -> Self {
        let mut world = Self::new(settings, Found { link_up: true, ..Found::default() });
        world.run(Duration::from_secs(3));
        assert_eq!(world.tenure(), Some(Tenure::Confirmed), "{:?}", world.events);
        world.list_peer();
        world.run(Duration::from_secs(3));
        world
    }

    /// A node that follows a peer which wears the VIP, announced, and does not renew.
    fn follower() -> Self {
        Self::follower_with(settings())
    }

    fn follower_with(settings: Settings) -> Self {
        let mut world = Self::new(settings, Found { link_up: true, ..Found::default() });
        world.grant_peer(3);
        world.vip_answers = true;
        world.peer_announces(Tenure::Confirmed, 3);
        world
    }

    fn renew_peer(&mut self) {
        let renewed = format!("peer-{}", self.version);
        self.lease.as_mut().expect("granted").renew_time = renewed;
        self.touch();
    }

    fn list_peer(&mut self) {
        let record = self.lease.as_mut().expect("held");
        annotations::join(&mut record.annotations, &NodeName::new("n2"), &member(PEER_MAC, 2));
        self.touch();
    }

    /// The record changed by another hand; the watch tells.
    fn touch(&mut self) {
        self.version += 1;
        let record = self.lease.as_mut().expect("exists");
        record.resource_version = self.version.to_string();
        let record = record.clone();
        self.give(Input::Lease(LeaseReport::Observed(record)));
    }

    /// The authority grants the claim to `n2`.
    fn grant_peer(&mut self, epoch: u32) {
        let grant = Grant { holder: "n2".to_owned(), epoch, instance: InstanceId(2) };
        let mut record = self.lease.clone().unwrap_or_else(|| LeaseRecord {
            uid: "uid".to_owned(),
            duration_seconds: 15,
            ..LeaseRecord::default()
        });
        record.holder = Some("n2".to_owned());
        record.transitions = epoch;
        record.duration_seconds = 15;
        record.renew_time = format!("peer-{}", self.version);
        record
            .annotations
            .insert(annotations::GRANT.to_owned(), serde_json::to_string(&grant).expect("plain data"));
        annotations::join(&mut record.annotations, &NodeName::new("n2"), &member(PEER_MAC, 2));
        self.lease = Some(record);
        self.touch();
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        let mut turns = 0;
        while let Some(input) = inputs.pop() {
            turns += 1;
            assert!(turns < 1_000, "at one moment it comes to rest: {:?}", self.events.last());
            let mut out = Output::default();
            self.machine.handle(self.now, &input, &mut out);
            self.events.extend(out.events);
            for effect in out.effects {
                inputs.extend(self.act(&effect));
                self.effects.push(effect);
            }
        }
    }

    fn act(&mut self, effect: &Effect) -> Vec<Input> {
        let done = |id: &EffectId, outcome| vec![Input::Outcome { id: *id, outcome }];
        match effect {
            Effect::Assign { id, .. } | Effect::Withdraw { id, .. } if self.kernel_refuses => {
                done(id, Outcome::Failed("refused".to_owned()))
            }
            Effect::Assign { id, .. } => {
                self.worn = true;
                done(id, Outcome::Done)
            }
            Effect::Withdraw { id, .. } => {
                assert_eq!(self.announcing, None, "silenced before it is withdrawn");
                self.worn = false;
                done(id, Outcome::Done)
            }
            Effect::Announce { mark, .. } => {
                assert!(self.worn, "the address is present before it is announced");
                self.announcing = Some(*mark);
                vec![]
            }
            Effect::Silence { .. } => {
                self.announcing = None;
                vec![]
            }
            Effect::Probe { id, target, .. } => {
                let mut inputs = done(id, Outcome::Sent(self.now));
                if self.peer_answers && *target == IpAddr::from([10, 0, 0, 2]) {
                    inputs.insert(0, self.frame(PEER_MAC, *target, None));
                }
                if self.vip_answers && *target == VIP {
                    inputs.insert(0, self.frame(PEER_MAC, VIP, None));
                }
                inputs
            }
            Effect::Lease { id, request, .. } => done(id, Outcome::Lease(self.serve(request))),
            Effect::Stop => {
                self.stopped = true;
                vec![]
            }
            Effect::Listen { .. } | Effect::Save(_) => vec![],
        }
    }

    fn serve(&mut self, request: &LeaseRequest) -> LeaseOutcome {
        if self.api == Api::Refuses {
            return LeaseOutcome::Unreachable;
        }
        let draft = match request {
            LeaseRequest::Read => {
                return self.lease.clone().map_or(LeaseOutcome::Absent, LeaseOutcome::Record);
            }
            LeaseRequest::Create(draft) => draft,
            LeaseRequest::Update { resource_version, draft } => {
                if self.lease.as_ref().is_none_or(|lease| lease.resource_version != *resource_version) {
                    return LeaseOutcome::Conflict;
                }
                draft
            }
        };
        self.version += 1;
        let record = LeaseRecord {
            uid: "uid".to_owned(),
            resource_version: self.version.to_string(),
            holder: draft.holder.clone(),
            duration_seconds: draft.duration_seconds,
            acquire_time: String::new(),
            renew_time: self.version.to_string(),
            transitions: draft.transitions,
            annotations: draft.annotations.clone(),
        };
        self.lease = Some(record.clone());
        LeaseOutcome::Record(record)
    }

    fn frame(&self, mac: Mac, sender: IpAddr, mark: Option<Mark>) -> Input {
        Input::Frame(Frame { heard_at: self.now, mac, sender: Some(sender), target: sender, mark })
    }

    fn hear(&mut self, mac: Mac, mark: Option<Mark>) {
        let frame = self.frame(mac, VIP, mark);
        self.give(frame);
    }

    fn peer_announces(&mut self, tenure: Tenure, epoch: u32) {
        self.hear(PEER_MAC, Some(Mark { tenure, epoch, node: NodeName::new("n2").id() }));
    }

    /// Lets time pass, ticking whenever the machine asks for it.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            let next = self.machine.promised().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.give(Input::Tick);
        }
        self.now = end;
    }

    fn tenure(&self) -> Option<Tenure> {
        self.machine.status(self.now).tenure
    }

    fn happened(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event.kind() == kind).count()
    }
}

#[test]
fn a_restart_in_an_outage_goes_on_detached_and_with_the_old_epoch() {
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.run(Duration::from_millis(50));
    assert!(world.worn, "kept");
    assert_eq!(world.announcing, None, "but not announced before a probe");
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_millis(600));
    let mark = world.announcing.expect("announced after the probe found no other");
    assert_eq!((mark.tenure, mark.epoch), (Tenure::Detached, 4));
    assert_eq!(world.happened("Yielded"), 0);
}

#[test]
fn a_freeze_is_followed_by_questions_before_announcements() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.now = world.now + Duration::from_secs(12);
    world.give(Input::Tick);
    assert_eq!(world.happened("Resumed"), 1);
    assert!(world.worn && world.announcing.is_none());
    world.run(Duration::from_secs(2));
    assert_eq!(world.announcing.map(|mark| mark.tenure), Some(Tenure::Detached));
}

#[test]
fn a_frozen_holder_that_was_succeeded_never_announces_again() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.now = world.now + Duration::from_secs(12);
    let mut record = world.lease.clone().expect("held");
    record.holder = Some("n2".to_owned());
    record.transitions = epoch + 1;
    world.version += 1;
    record.resource_version = world.version.to_string();
    record.annotations.remove(annotations::GRANT);
    world.lease = Some(record);
    world.effects.clear();
    world.give(Input::Tick);
    world.run(Duration::from_secs(1));
    assert!(!world.worn);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
}

#[test]
fn an_address_deleted_by_hand_is_ordered_again_at_once() {
    let mut world = World::holder();
    world.effects.clear();
    world.worn = false;
    world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: false }));
    assert!(world.worn, "within the same step");
    assert_eq!(world.happened("AddressRestored"), 1);
}

#[test]
fn an_expired_address_is_not_restored_before_the_authority_was_asked() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.worn = false;
    world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: true }));
    assert!(!world.worn);
    assert_eq!(world.happened("AddressExpired"), 1);
    world.api = Api::Serves;
    world.run(Duration::from_secs(5));
    assert!(world.worn, "the grant was still ours");
}

#[test]
fn a_link_down_for_a_moment_moves_nothing_and_is_probed_before_announcing() {
    let mut world = World::holder();
    world.give(Input::Link(Link::Down));
    assert_eq!(world.announcing, None);
    world.run(Duration::from_millis(500));
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert!(world.announcing.is_some());
    assert_eq!(world.happened("Yielded"), 0);
}

#[test]
fn a_link_down_for_longer_resigns_where_the_authority_is_in_reach() {
    let mut world = World::holder();
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_millis(1_500));
    assert!(!world.worn);
    assert_eq!(world.lease.as_ref().expect("exists").holder, None, "released");
}

#[test]
fn a_link_down_in_an_outage_keeps_what_is_held() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(12));
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_secs(3));
    assert!(world.worn);
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_secs(2));
    assert!(world.announcing.is_some());
}

#[test]
fn a_strict_singleton_lets_go_and_does_not_come_back_by_itself() {
    let patience = Duration::from_secs(5);
    let strict = Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(patience), ..settings() };
    let mut world = World::holder_with(strict);
    world.api = Api::Refuses;
    world.run(Duration::from_millis(2_900));
    assert!(world.worn, "the last renewal is at most a retry period older than the outage");
    world.run(Duration::from_secs(3));
    assert!(!world.worn, "five seconds after the last renewal, not after it was missed");
    world.run(Duration::from_secs(60));
    assert!(!world.worn);
    assert_eq!(world.happened("Took"), 1, "no succession");
}

#[test]
fn an_unhealthy_holder_invites_holds_on_and_yields_to_the_guest() {
    let mut world = World::holder();
    world.give(Input::Health(Health::Unhealthy));
    world.run(Duration::from_secs(3));
    let record = world.lease.clone().expect("held");
    assert!(annotations::invited(&record) && world.worn, "invited, and still held");
    world.grant_peer(record.transitions + 1);
    world.peer_announces(Tenure::Confirmed, record.transitions + 1);
    assert!(!world.worn);
    world.run(Duration::from_millis(500));
    assert!(!world.worn);
}

#[test]
fn an_invitation_is_answered_by_the_healthy_only() {
    for (health, takes) in [(Some(Health::Unhealthy), false), (Some(Health::Healthy), true), (None, true)] {
        let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
        if let Some(health) = health {
            world.give(Input::Health(health));
        }
        world.grant_peer(3);
        world.peer_announces(Tenure::Confirmed, 3);
        let grant = Grant { holder: "n2".to_owned(), epoch: 3, instance: InstanceId(2) };
        let text = serde_json::to_string(&grant).expect("plain data");
        world.lease.as_mut().expect("granted").annotations.insert(annotations::INVITATION.to_owned(), text);
        world.touch();
        world.run(Duration::from_millis(100));
        assert_eq!(world.worn, takes, "{health:?}");
    }
}

#[test]
fn a_stop_hands_over_make_before_break() {
    let mut world = World::holder();
    world.give(Input::Shutdown);
    world.run(Duration::from_millis(200));
    let record = world.lease.clone().expect("exists");
    assert_eq!((record.holder.as_deref(), record.duration_seconds), (None, 1), "released");
    assert!(world.worn && world.announcing.is_some(), "until the successor is heard");
    world.grant_peer(record.transitions + 1);
    world.peer_announces(Tenure::Confirmed, record.transitions + 1);
    assert!(!world.worn);
    assert!(world.stopped);
}

#[test]
fn a_stop_right_after_the_take_over_hands_over_to_members_not_heard_yet() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.peer_answers = false;
    world.run(Duration::from_millis(1_500));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    world.list_peer();
    world.give(Input::Shutdown);
    world.run(Duration::from_millis(200));
    assert_eq!(world.lease.as_ref().expect("exists").holder, None, "released, not kept");
}

#[test]
fn a_stop_without_a_successor_leaves_the_vip_for_the_restart() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(11));
    world.effects.clear();
    world.give(Input::Shutdown);
    assert!(world.worn && world.stopped);
    let grace = Duration::from_secs(600);
    assert!(world.effects.iter().any(|e| matches!(e, Effect::Assign { lifetime, .. } if *lifetime == grace)));
    assert!(world.lease.as_ref().expect("exists").holder.is_some(), "and the grant is kept");
}

#[test]
fn a_stop_of_the_only_node_keeps_its_grant_and_waits_for_nobody() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.run(Duration::from_secs(3));
    world.give(Input::Shutdown);
    assert!(world.worn && world.stopped);
    assert!(world.lease.as_ref().expect("exists").holder.is_some());
}

#[test]
fn a_strict_singleton_withdraws_before_it_releases() {
    let strict =
        Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(Duration::from_secs(5)), ..settings() };
    let mut world = World::holder_with(strict);
    world.effects.clear();
    world.give(Input::Shutdown);
    world.run(Duration::from_secs(1));
    let place = |wanted: fn(&Effect) -> bool| world.effects.iter().position(wanted);
    let withdrawn = place(|effect| matches!(effect, Effect::Withdraw { .. }));
    let released = place(
        |effect| matches!(effect, Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } if draft.holder.is_none()),
    );
    assert!(withdrawn.is_some() && withdrawn < released, "{:?}", world.effects);
    assert!(world.stopped);
}

#[test]
fn a_rogue_is_answered_once_a_second_and_never_yielded_to() {
    let mut world = World::holder();
    world.effects.clear();
    for _ in 0..50 {
        world.hear(STRANGER, None);
        world.run(Duration::from_millis(100));
    }
    let defences =
        world.effects.iter().filter(|e| matches!(e, Effect::Announce { pace: Pace::Defend, .. })).count();
    assert!((4..=6).contains(&defences), "{defences} defences in 5 s");
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert_eq!(world.happened("Conflict"), 1, "one line, not fifty");
}

#[test]
fn a_misconfigured_member_is_told_and_otherwise_ignored() {
    let mut world = World::holder();
    world.effects.clear();
    world.hear(PEER_MAC, None);
    assert_eq!(world.happened("Conflict"), 1);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
    assert!(world.worn);
}

#[test]
fn a_higher_epoch_is_verified_with_the_authority_before_yielding() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.run(VERIFIED_LONG_AGO);
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "the authority says that it is ours");
    world.api = Api::Refuses;
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.run(Duration::from_millis(900));
    assert!(world.worn, "defending while the question is open");
    world.run(Duration::from_millis(300));
    assert_eq!(world.tenure(), Some(Tenure::Detached), "not verified is not confirmed");
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    assert!(!world.worn, "and a detached holder yields to a confirmed one");
}

#[test]
fn a_detached_holder_defends_once_against_a_foreign_elector() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.grant_peer(3);
    world.lease.as_mut().expect("granted").annotations.clear();
    world.touch();
    world.api = Api::Refuses;
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_secs(60));
    assert_eq!(world.tenure(), Some(Tenure::Provisional), "{:?}", world.events);
    world.hear(STRANGER, None);
    assert!(world.worn, "defended once");
    world.run(Duration::from_secs(2));
    world.hear(STRANGER, None);
    assert!(!world.worn, "it cannot read marks, and it is still there");
}

#[test]
fn a_denied_holder_waits_half_a_second_for_its_successor() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    world.grant_peer(epoch + 1);
    let shown =
        |effect: &Effect| matches!(effect, Effect::Probe { mark: Some(mark), .. } if mark.epoch == epoch);
    assert!(world.effects.iter().any(shown), "the successor is to see that we are here, and to announce");
    world.run(Duration::from_millis(400));
    assert!(world.worn && world.announcing.is_none());
    world.run(Duration::from_millis(200));
    assert!(!world.worn);
}

#[test]
fn an_address_the_kernel_refuses_is_never_announced() {
    let mut machine = Machine::new(settings(), Found { link_up: true, ..Found::default() }, Moment::ZERO, 1);
    let mut out = Output::default();
    machine.take(Moment::ZERO, (Tenure::Provisional, 0), TakeReason::Succession, &mut out);
    machine.handle(Moment::ZERO, &Input::Tick, &mut out);
    assert!(
        !out.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })),
        "nor before its word"
    );
    let id = out.effects.iter().find_map(|effect| match effect {
        Effect::Assign { id, .. } => Some(*id),
        _ => None,
    });
    let refused = Outcome::Failed("permission denied".to_owned());
    let mut out = Output::default();
    machine.handle(Moment::ZERO, &Input::Outcome { id: id.expect("ordered"), outcome: refused }, &mut out);
    assert!(out.events.iter().any(|event| event.kind() == "AddressFailed"));
    assert!(!out.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
    let mut out = Output::default();
    machine.handle(Moment::ZERO + ASSIGN_RETRY, &Input::Tick, &mut out);
    assert!(out.effects.iter().any(|effect| matches!(effect, Effect::Assign { .. })), "tried again");
}

#[test]
fn a_tool_that_deletes_the_address_in_a_loop_is_not_met_in_a_loop() {
    let mut world = World::holder();
    world.effects.clear();
    for _ in 0..1_000 {
        world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: false }));
        world.now = world.now + Duration::from_millis(1);
        world.run(Duration::ZERO);
    }
    let assigned = world.effects.iter().filter(|effect| matches!(effect, Effect::Assign { .. })).count();
    assert!((10..25).contains(&assigned), "{assigned} in a second");
    assert!(world.happened("AddressRestored") <= 3);
    world.run(Duration::from_secs(2));
    assert!(world.worn);
}

#[test]
fn marks_of_a_higher_epoch_in_a_storm_are_no_storm_of_requests() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    for _ in 0..1_000 {
        world.peer_announces(Tenure::Confirmed, epoch + 7);
        world.now = world.now + Duration::from_millis(1);
    }
    let requests = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
    assert!((2..10).contains(&requests), "{requests} in a second");
    assert!(world.worn, "the authority says that it is ours");
}

#[test]
fn what_is_remembered_is_not_asked_for_while_another_wears_it() {
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.api = Api::Serves;
    world.grant_peer(4);
    world.effects.clear();
    for _ in 0..40 {
        world.peer_announces(Tenure::Confirmed, 4);
        world.run(Duration::from_millis(50));
    }
    assert!(!world.worn, "the authority names another, and that one is there");
    let asked = |effect: &Effect| matches!(effect, Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } if draft.holder.as_deref() == Some("n1"));
    assert!(!world.effects.iter().any(asked));
}
