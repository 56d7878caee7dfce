//! One machine, a kernel that does as it is told, and an authority and a wire that say what the test wants.
//!
//! Whole clusters are the simulation's business; here stand the rules whose occasion is rare there.

mod adversity;
mod churn;
mod conflict;
mod failures;
mod handover;
mod memory;
mod resumption;
mod services;
mod taking;
mod two_grants;
mod vips;

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
        report_failures: false,
    }
}

/// Longer than a renewal answers for a grant.
const VERIFIED_LONG_AGO: Duration = Duration::from_millis(300);

/// What the test's authority does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Serves,
    Refuses,
    /// Says nothing at all.
    Hangs,
}

struct World {
    machine: Machine,
    now: Moment,
    api: Api,
    lease: Option<LeaseRecord>,
    version: u64,
    worn: bool,
    /// What is on the interface.
    wears: BTreeSet<Vip>,
    announces: Vec<Vip>,
    announcing: Option<Mark>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    stopped: bool,
    peer_answers: bool,
    vip_answers: bool,
    /// Further addresses for which the peer's kernel answers.
    peer_wears: BTreeSet<Vip>,
    /// Further hosts that answer.
    hosts: BTreeMap<IpAddr, Mac>,
    kernel_refuses: bool,
    /// No probe leaves the device.
    probes_fail: bool,
    /// Orders for addresses stay with it.
    kernel_hangs: bool,
    /// Addresses that the kernel refuses among others.
    refuses: BTreeSet<Vip>,
    /// From which address the API server is reached, where that is told.
    api_reached_from: Option<IpAddr>,
}

impl World {
    fn new(settings: Settings, found: Found) -> Self {
        Self::under(Api::Serves, settings, found)
    }

    fn under(api: Api, settings: Settings, found: Found) -> Self {
        let now = Moment::from_millis(5_000_000);
        let wears: BTreeSet<Vip> = found.addresses.iter().copied().collect();
        let mut world = Self {
            machine: Machine::new(settings, found, now, 7),
            now,
            api,
            lease: None,
            version: 0,
            worn: !wears.is_empty(),
            wears,
            announces: vec![],
            announcing: None,
            events: vec![],
            effects: vec![],
            stopped: false,
            peer_answers: true,
            vip_answers: false,
            peer_wears: BTreeSet::new(),
            hosts: BTreeMap::new(),
            kernel_refuses: false,
            probes_fail: false,
            kernel_hangs: false,
            refuses: BTreeSet::new(),
            api_reached_from: None,
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
            Effect::Assign { .. } if self.kernel_hangs => vec![],
            Effect::Assign { id, vips, .. } if vips.iter().all(|vip| self.refuses.contains(vip)) => {
                done(id, Outcome::Failed("refused".to_owned()))
            }
            Effect::Assign { id, vips, .. } => {
                let (refused, taken): (Vec<Vip>, Vec<Vip>) =
                    vips.iter().partition(|vip| self.refuses.contains(vip));
                self.wears.extend(taken);
                self.worn = true;
                // Inputs are given from the last on.
                let news = refused.into_iter().map(|vip| Input::Address(AddressChange::Refused { vip }));
                news.chain(done(id, Outcome::Done)).collect()
            }
            Effect::Withdraw { id, vips, .. } => {
                assert!(
                    !vips.iter().any(|vip| self.announces.contains(vip)),
                    "silenced before it is withdrawn"
                );
                self.wears.retain(|vip| !vips.contains(vip));
                self.worn = !self.wears.is_empty();
                done(id, Outcome::Done)
            }
            Effect::Announce { mark, vips, .. } => {
                // Of several, which are there is the data plane's to know.
                let worn = vips.iter().all(|vip| self.wears.contains(vip) || self.refuses.contains(vip));
                assert!(worn, "the address is present before it is announced");
                (self.announcing, self.announces) = (Some(*mark), vips.clone());
                vec![]
            }
            Effect::Silence { .. } => {
                (self.announcing, self.announces) = (None, vec![]);
                vec![]
            }
            Effect::Probe { id, .. } if self.probes_fail => {
                done(id, Outcome::Failed("no buffer space".to_owned()))
            }
            Effect::Probe { id, target, .. } => {
                let mut inputs = done(id, Outcome::Sent(self.now));
                if self.peer_answers && *target == IpAddr::from([10, 0, 0, 2]) {
                    inputs.insert(0, self.frame(PEER_MAC, *target, None));
                }
                if (self.vip_answers && *target == VIP) || self.peer_wears.contains(target) {
                    inputs.insert(0, self.frame(PEER_MAC, *target, None));
                }
                if let Some(mac) = self.hosts.get(target) {
                    inputs.insert(0, self.frame(*mac, *target, None));
                }
                inputs
            }
            Effect::Lease { .. } if self.api == Api::Hangs => vec![],
            Effect::Lease { id, request, .. } => {
                let mut inputs = done(id, Outcome::Lease(self.serve(request)));
                let remote = IpAddr::from([10, 0, 0, 200]);
                let reached = |local| Input::Lease(LeaseReport::Reached { local, remote });
                inputs.extend(self.api_reached_from.map(reached));
                inputs
            }
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
