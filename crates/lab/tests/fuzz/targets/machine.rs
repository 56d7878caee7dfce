//! The whole core, given what hostile neighbours, a hostile Lease and a confused kernel can say. Its own settings are
//! sound, as the agent's are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::authority::annotations::{ADDRESSES, FALSE_TAKEOVERS, GRANT, INVITATION, MEMBERS};
use mainstay_core::effect::{Effect, LeaseRequest};
use mainstay_core::input::{
    AddressChange, EffectId, Frame, Health, Input, LeaseOutcome, LeaseRecord, LeaseReport, Link, Outcome,
};
use mainstay_core::names::{ClaimId, InstanceId, Mac, NodeId, NodeName};
use mainstay_core::recording::{Extent, Recording, Start, Turn};
use mainstay_core::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
use mainstay_core::snapshot::{ClaimMemory, Member};
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Tenure};

use super::bytes::Bytes;

/// Inputs of one run.
const TURNS: usize = 200;
/// Orders that one input may bring; the members of a hostile Lease come on top.
const ORDERS: usize = 64;
/// How often the core may want to be called at one moment.
const CALLS: usize = 50;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));
const VIP6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x64));

/// The bytes as the start of a core and what happens to it.
pub(super) fn machine(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut run = Run::new(start(&mut bytes));
    while !bytes.is_empty() && run.turns.len() < TURNS {
        let now = moment(&mut bytes, &run);
        let input = input(&mut bytes, &run);
        run.turn(now, input);
        run.tick_until_it_sleeps();
    }
    // That costs ten times the run itself.
    if data.len().is_multiple_of(8) {
        run.replays();
    }
}

struct Run {
    start: Start,
    node: mainstay_core::node::Node,
    now: Moment,
    turns: Vec<Turn>,
    /// Effects whose outcome has not been told.
    open: Vec<EffectId>,
    assigned: BTreeSet<EffectId>,
    worn: bool,
    gone: BTreeSet<IpAddr>,
    /// The claim's addresses after the last turn, and all that it was ever told of.
    vips: Vec<IpAddr>,
    told: BTreeSet<IpAddr>,
    /// What a holder was remembered to wear: listened for, and never ordered.
    elsewhere: BTreeSet<IpAddr>,
    versions: BTreeSet<String>,
    holders: BTreeSet<Option<String>>,
    members: usize,
}

impl Run {
    fn new(start: Start) -> Self {
        let worn = !start.found.addresses.is_empty();
        let node = start.node();
        let vips = node.status(start.now).vips;
        let holders = BTreeSet::from([None, Some(start.settings.node.as_str().to_owned())]);
        Self {
            node,
            told: vips.iter().copied().collect(),
            elsewhere: start.found.memory.iter().flat_map(|memory| memory.told.iter().copied()).collect(),
            vips,
            now: start.now,
            turns: Vec::new(),
            open: Vec::new(),
            assigned: BTreeSet::new(),
            worn,
            gone: BTreeSet::new(),
            versions: BTreeSet::new(),
            holders,
            members: start.found.memory.as_ref().map_or(0, |memory| memory.members.len()),
            start,
        }
    }

    fn turn(&mut self, now: Moment, input: Input) {
        self.now = self.now.max(now);
        self.note(&input);
        let output = self.node.handle(now, &input);
        let most = ORDERS + 4 * self.members;
        assert!(output.effects.len() <= most, "{} orders of one input, {input:?}", output.effects.len());
        for effect in &output.effects {
            self.order(effect);
        }
        self.vips = self.node.status(now).vips;
        assert!(!self.vips.is_empty() && self.are_ours(&self.vips), "{:?}", self.vips);
        self.turns.push(Turn { at: now, input, effects: output.effects, events: output.events });
    }

    fn note(&mut self, input: &Input) {
        match input {
            Input::Outcome { id, outcome } => {
                self.open.retain(|open| open != id);
                if *outcome == Outcome::Done && self.assigned.contains(id) {
                    self.worn = true;
                    self.gone.clear();
                }
                if let Outcome::Lease(LeaseOutcome::Record(record)) = outcome {
                    self.see(record);
                }
            }
            Input::Vips(vips) | Input::Services(vips) => self.told.extend(vips),
            Input::Address(AddressChange::Removed { vip, .. }) if self.vips.contains(vip) => {
                self.removed(*vip);
            }
            Input::Lease(LeaseReport::Observed(record)) => self.see(record),
            _ => {}
        }
    }

    fn are_ours(&self, vips: &[IpAddr]) -> bool {
        vips.iter().all(|vip| self.told.contains(vip))
    }

    /// Of several addresses the others are there still, and may be announced.
    fn removed(&mut self, vip: IpAddr) {
        self.gone.insert(vip);
        if self.vips.iter().all(|vip| self.gone.contains(vip)) {
            self.unassign();
        }
    }

    /// What was ordered before says nothing about the address from now on.
    fn unassign(&mut self) {
        self.worn = false;
        self.assigned.clear();
    }

    fn see(&mut self, record: &LeaseRecord) {
        self.versions.insert(record.resource_version.clone());
        self.holders.insert(record.holder.clone());
        self.members = self.members.max(record.annotations.get(MEMBERS).map_or(0, String::len) / 16);
    }

    /// What the core must not order, whatever it was told.
    fn order(&mut self, effect: &Effect) {
        match effect {
            Effect::Assign { id, vips, lifetime, .. } => {
                assert!(self.are_ours(vips), "addresses that are not the claim's");
                assert!(*lifetime > Duration::ZERO, "an address that is gone at once");
                self.assigned.insert(*id);
                self.open.push(*id);
            }
            Effect::Withdraw { id, vips, .. } => {
                assert!(self.are_ours(vips), "addresses that are not the claim's");
                // Some of them: what its names mean no more.
                if *vips == self.vips {
                    self.unassign();
                }
                self.open.push(*id);
            }
            Effect::Announce { vips, mark, .. } => {
                assert!(self.are_ours(vips), "addresses that are not the claim's");
                assert!(self.worn, "announced before the kernel had it");
                assert_eq!(mark.node, self.start.settings.node.id(), "in another's name");
            }
            Effect::Probe { id, .. } => self.open.push(*id),
            Effect::Lease { id, request, deadline } => {
                assert!(*deadline <= Duration::from_secs(10), "a request for {deadline:?}");
                self.ask(request);
                self.open.push(*id);
            }
            Effect::Listen { vips, .. } => {
                let known = |vip: &IpAddr| self.told.contains(vip) || self.elsewhere.contains(vip);
                assert!(vips.iter().all(known) && !vips.is_empty(), "{vips:?}");
            }
            Effect::Save(snapshot) => assert_eq!(snapshot.boot_id, self.start.settings.boot_id),
            Effect::Silence { .. } | Effect::Stop => {}
        }
    }

    fn ask(&self, request: &LeaseRequest) {
        let draft = match request {
            LeaseRequest::Read => return,
            LeaseRequest::Create(draft) => draft,
            LeaseRequest::Update { resource_version, draft } => {
                assert!(self.versions.contains(resource_version), "a write upon what was never seen");
                draft
            }
        };
        assert!(self.holders.contains(&draft.holder), "the Lease given to {:?}", draft.holder);
    }

    /// As the loop does: until the next deadline lies ahead. A deadline in the past would keep it awake for ever.
    fn tick_until_it_sleeps(&mut self) {
        for _ in 0..CALLS {
            if self.node.next_deadline() > self.now {
                return;
            }
            self.turn(self.now, Input::Tick);
        }
        panic!("the core does not sleep at {:?}: its deadline is {:?}", self.now, self.node.next_deadline());
    }

    /// What happened is a recording, and the recording happens again.
    fn replays(self) {
        let recording = Recording {
            version: "0".to_owned(),
            start: self.start,
            turns: self.turns,
            end: Some("end".to_owned()),
        };
        let read = Recording::read(&recording.write(), Extent::Whole).expect("a whole recording");
        assert_eq!(read, recording);
        for replayed in read.replay() {
            assert!(!replayed.differs, "line {}: {}", replayed.line, replayed.difference());
        }
    }
}

fn start(bytes: &mut Bytes<'_>) -> Start {
    let kind = bytes.byte();
    let fast = LeaseTiming {
        duration: Duration::from_secs(3),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_secs(1),
    };
    let settings = Settings {
        node: NodeName::new("n1"),
        instance: InstanceId(1),
        boot_id: "boot".to_owned(),
        claim: ClaimId::control_plane(),
        vips: if kind & 1 == 0 { vec![VIP] } else { vec![VIP, VIP6] },
        own: Member { macs: vec![mac(1)], addresses: vec![host(1)] },
        witnesses: if kind & 2 == 0 { vec![host(254)] } else { vec![] },
        lease: if kind & 4 == 0 { LeaseTiming::default() } else { fast },
        authority: if kind & 8 == 0 { Authority::Lease } else { Authority::Standalone },
        detection: Detection::default(),
        on_authority_loss: match kind & 16 {
            0 => OnAuthorityLoss::Hold,
            _ => OnAuthorityLoss::ReleaseAfter(Duration::from_secs(12)),
        },
        lifetime: Duration::from_secs(10),
        restart_grace: Duration::from_secs(600),
        report_failures: false,
    };
    let memory = (kind & 32 != 0).then(|| ClaimMemory {
        uid: bytes.pick(&["u", "v", ""]).to_owned(),
        epoch: bytes.u32(),
        held: bytes.flag(),
        members: [(NodeName::new("n2"), Member { macs: vec![mac(2)], addresses: vec![host(2)] })].into(),
        leaving: if kind & 1 == 0 { vec![] } else { vec![host(101)] },
        told: if kind & 4 == 0 { vec![] } else { vec![host(103)] },
        services: if kind & 1 == 0 { vec![host(102)] } else { vec![] },
    });
    let addresses = if kind & 64 == 0 { vec![] } else { settings.vips.clone() };
    let found = Found { memory, addresses, link_up: kind & 128 == 0 };
    Start { settings, found, now: Moment::from_millis(81_000_000), seed: bytes.u64() }
}

/// Mostly a little later, sometimes much, sometimes when the core wants to be called; never earlier.
fn moment(bytes: &mut Bytes<'_>, run: &Run) -> Moment {
    let wait = match bytes.byte() % 10 {
        0..=2 => Duration::ZERO,
        3 => Duration::from_millis(1),
        4 => Duration::from_millis(u64::from(bytes.byte())),
        5 => Duration::from_millis(u64::from(bytes.u16())),
        6 => Duration::from_secs(u64::from(bytes.u16())),
        // Up to 208 days: a clock that counts from the boot does not overflow.
        7 => Duration::from_nanos(bytes.u64() >> 10),
        _ => return run.node.next_deadline().max(run.now),
    };
    run.now + wait
}

fn address_change(bytes: &mut Bytes<'_>) -> AddressChange {
    let vip = bytes.pick(&[VIP, VIP6, host(1)]);
    match bytes.byte() {
        0xf0 => AddressChange::Refused { vip },
        0xf1 => AddressChange::Accepted { vip },
        0xf2 => AddressChange::Appeared { vip },
        other => AddressChange::Removed { vip, expired: other & 1 == 1 },
    }
}

fn input(bytes: &mut Bytes<'_>, run: &Run) -> Input {
    match bytes.byte() % 16 {
        0 | 1 => Input::Tick,
        2..=5 => Input::Frame(frame(bytes, run)),
        6..=8 => Input::Lease(report(bytes, run)),
        9 => Input::Address(address_change(bytes)),
        10 => Input::Link(bytes.pick(&[Link::Up, Link::Down])),
        11 => Input::Health(bytes.pick(&[Health::Healthy, Health::Unhealthy])),
        12 => match bytes.byte() % 5 {
            0 => Input::Shutdown,
            1 => {
                Input::Own(Member { macs: vec![mac(bytes.byte())], addresses: vec![VIP, host(bytes.byte())] })
            }
            2 => {
                let any = [VIP, VIP6, host(101), host(102)];
                let some = (0..bytes.byte() % 4).map(|_| bytes.pick(&any)).collect();
                // A claim has its addresses from names, or Services beside its own.
                if run.start.settings.vips.len() > 1 { Input::Vips(some) } else { Input::Services(some) }
            }
            _ => Input::Service(bytes.pick(&[Health::Healthy, Health::Unhealthy])),
        },
        _ => Input::Outcome { id: id(bytes, run), outcome: outcome(bytes, run) },
    }
}

/// Mostly one that waits for its outcome.
fn id(bytes: &mut Bytes<'_>, run: &Run) -> EffectId {
    let choice = usize::from(bytes.byte());
    match run.open.len() {
        0 => EffectId(u64::from(bytes.byte())),
        open => run.open[choice % open],
    }
}

fn outcome(bytes: &mut Bytes<'_>, run: &Run) -> Outcome {
    Outcome::Lease(match bytes.byte() % 14 {
        0..=2 => return Outcome::Done,
        3 => return Outcome::Failed(bytes.text()),
        4 => return Outcome::Sent(run.now),
        5 => return Outcome::Sent(Moment::from_nanos(bytes.u64())),
        6 => LeaseOutcome::Absent,
        7 => LeaseOutcome::Conflict,
        8 => LeaseOutcome::Forbidden,
        9 => {
            LeaseOutcome::Throttled { retry_after: bytes.optional(|bytes| Duration::from_secs(bytes.u64())) }
        }
        10 => LeaseOutcome::Unreachable,
        11 => LeaseOutcome::Unknown,
        _ => LeaseOutcome::Record(record(bytes, run)),
    })
}

fn report(bytes: &mut Bytes<'_>, run: &Run) -> LeaseReport {
    match bytes.byte() % 8 {
        0 => LeaseReport::Absent,
        1 => LeaseReport::WatchLost,
        2 => LeaseReport::Unanswered { id: id(bytes, run) },
        3 => LeaseReport::Reached { local: address(bytes), remote: address(bytes) },
        _ => LeaseReport::Observed(record(bytes, run)),
    }
}

fn frame(bytes: &mut Bytes<'_>, run: &Run) -> Frame {
    let tenures = [Tenure::Candidate, Tenure::Provisional, Tenure::Detached, Tenure::Confirmed];
    Frame {
        heard_at: if bytes.byte() < 240 { run.now } else { Moment::from_nanos(bytes.u64()) },
        mac: mac(bytes.byte()),
        sender: bytes.optional(address),
        target: address(bytes),
        mark: bytes.optional(|bytes| Mark {
            tenure: bytes.pick(&tenures),
            epoch: epoch(bytes),
            node: match bytes.byte() % 4 {
                0 => NodeId(bytes.u64()),
                node => NodeName::new(&format!("n{node}")).id(),
            },
        }),
    }
}

fn record(bytes: &mut Bytes<'_>, run: &Run) -> LeaseRecord {
    let holder = match bytes.byte() % 8 {
        0 => None,
        1..=3 => Some("n1".to_owned()),
        4..=6 => Some("n2".to_owned()),
        _ => Some(bytes.text()),
    };
    // Often as this core asked for it: then it is believed, and more of it is read.
    let asked = run.turns.iter().rev().flat_map(|turn| &turn.effects).find_map(|effect| match effect {
        Effect::Lease {
            request: LeaseRequest::Update { draft, .. } | LeaseRequest::Create(draft), ..
        } => Some(draft),
        _ => None,
    });
    let mut record = LeaseRecord {
        uid: bytes.pick(&["u", "u", "u", "v", ""]).to_owned(),
        resource_version: bytes.byte().to_string(),
        holder,
        duration_seconds: bytes.pick(&[15, 3, 1, 0, u32::MAX]),
        acquire_time: bytes.pick(&["2026-01-02T03:04:05.000000Z", "", "never"]).to_owned(),
        renew_time: format!("2026-01-02T03:04:05.{:06}Z", bytes.byte()),
        transitions: epoch(bytes),
        annotations: Default::default(),
    };
    if let Some(draft) = asked.filter(|_| bytes.flag()) {
        record.holder.clone_from(&draft.holder);
        record.transitions = draft.transitions;
        record.annotations.clone_from(&draft.annotations);
    }
    for key in [GRANT, MEMBERS, INVITATION, FALSE_TAKEOVERS, ADDRESSES] {
        if bytes.byte().is_multiple_of(3) {
            let value = annotation(bytes, key, &record);
            record.annotations.insert(key.to_owned(), value);
        }
    }
    record
}

fn annotation(bytes: &mut Bytes<'_>, key: &str, record: &LeaseRecord) -> String {
    if bytes.byte().is_multiple_of(4) {
        return bytes.text();
    }
    match key {
        FALSE_TAKEOVERS => bytes.u32().to_string(),
        MEMBERS => {
            let count = usize::from(bytes.byte() % 100);
            let member = |number: usize| {
                let place = u8::try_from(number % 256).unwrap_or_default();
                let name = NodeName::new(&format!("n{number}"));
                (name, Member { macs: vec![mac(place)], addresses: vec![host(place), VIP] })
            };
            let members: std::collections::BTreeMap<_, _> = (1..=count).map(member).collect();
            serde_json::to_string(&members).unwrap_or_default()
        }
        ADDRESSES => {
            let vip = bytes.pick(&[VIP, VIP6, host(101)]);
            format!(r#"{{"grant":{},"vips":["{vip}"]}}"#, grant(bytes, record))
        }
        _ => grant(bytes, record),
    }
}

fn grant(bytes: &mut Bytes<'_>, record: &LeaseRecord) -> String {
    let holder = serde_json::json!(record.holder.clone().unwrap_or_default());
    let instance = bytes.byte() % 3;
    format!(r#"{{"holder":{holder},"epoch":{},"instance":{instance}}}"#, record.transitions)
}

fn epoch(bytes: &mut Bytes<'_>) -> u32 {
    match bytes.byte() {
        255 => u32::MAX,
        254 => bytes.u32(),
        small => u32::from(small % 8),
    }
}

fn mac(place: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, place])
}

fn host(place: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, place])
}

fn address(bytes: &mut Bytes<'_>) -> IpAddr {
    match bytes.byte() {
        0..=99 => VIP,
        100..=120 => VIP6,
        121..=130 => IpAddr::from(bytes.array::<16>()),
        place => host(place),
    }
}
