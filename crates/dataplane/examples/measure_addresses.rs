//! What a claim's loop costs with many addresses: `measure_addresses [ADDRESSES [RUNS]]`.
//!
//! The core as it is, with a kernel that does at once what it is told; and the pacer. Least, middle and greatest of what
//! one input takes, in microseconds.

#![expect(clippy::print_stdout, reason = "this is what a person runs it for")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mainstay_core::effect::{Effect, LeaseRequest, Pace};
use mainstay_core::input::{AddressChange, Frame, Input, LeaseOutcome, LeaseRecord, Outcome};
use mainstay_core::names::{ClaimId, InstanceId, Mac, NodeName};
use mainstay_core::node::Node;
use mainstay_core::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
use mainstay_core::snapshot::Member;
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Tenure, Vip};
use mainstay_dataplane::announce::Pacer;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (addresses, runs) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(200));
    core(addresses, runs);
    pacer(addresses, runs);
}

fn vips(count: u32) -> Vec<Vip> {
    (0..count).map(|place| IpAddr::from((0x0a02_0000 + place).to_be_bytes())).collect()
}

/// A holder, and the kernel that obeys it.
struct Holder {
    node: Node,
    now: Moment,
    /// The Lease's last.
    version: u64,
    /// Addresses ordered.
    ordered: usize,
}

impl Holder {
    fn new() -> Self {
        let settings = Settings {
            node: NodeName::new("n1"),
            instance: InstanceId(1),
            boot_id: "boot".to_owned(),
            claim: ClaimId::services(),
            vips: vec![IpAddr::from([169, 254, 200, 1])],
            own: Member { macs: vec![Mac([2, 0, 0, 0, 0, 1])], addresses: vec![IpAddr::from([10, 0, 0, 1])] },
            witnesses: vec![],
            lease: LeaseTiming::default(),
            authority: Authority::Lease,
            detection: Detection::default(),
            on_authority_loss: OnAuthorityLoss::Hold,
            lifetime: Duration::from_secs(15),
            restart_grace: Duration::from_secs(600),
            report_failures: false,
        };
        let found = Found { link_up: true, ..Found::default() };
        let now = Moment::from_millis(1_000_000);
        let mut holder = Self { node: Node::new(settings, found, now, 1), now, version: 0, ordered: 0 };
        holder.give(Input::Tick);
        holder.run(Duration::from_secs(120));
        assert!(holder.node.status(holder.now).tenure.is_some(), "it holds");
        holder
    }

    /// What the core alone needs for it.
    fn give(&mut self, input: Input) -> Duration {
        let (mut inputs, mut spent) = (vec![input], Duration::ZERO);
        while let Some(input) = inputs.pop() {
            let began = Instant::now();
            let output = self.node.handle(self.now, &input);
            spent += began.elapsed();
            inputs
                .extend(output.effects.into_iter().flat_map(|effect| self.obey(effect)).collect::<Vec<_>>());
        }
        spent
    }

    fn obey(&mut self, effect: Effect) -> Vec<Input> {
        let concluded = |id, outcome| vec![Input::Outcome { id, outcome }];
        match effect {
            Effect::Assign { id, vips, .. } => {
                self.ordered += vips.len();
                concluded(id, Outcome::Done)
            }
            Effect::Withdraw { id, .. } => concluded(id, Outcome::Done),
            Effect::Probe { id, .. } => concluded(id, Outcome::Sent(self.now)),
            Effect::Lease { id, request, .. } => concluded(id, Outcome::Lease(self.grant(request))),
            _ => vec![],
        }
    }

    /// Nobody else wants the Lease.
    fn grant(&mut self, request: LeaseRequest) -> LeaseOutcome {
        let (LeaseRequest::Create(draft) | LeaseRequest::Update { draft, .. }) = request else {
            return LeaseOutcome::Absent;
        };
        self.version += 1;
        LeaseOutcome::Record(LeaseRecord {
            uid: "uid".to_owned(),
            resource_version: self.version.to_string(),
            holder: draft.holder,
            duration_seconds: draft.duration_seconds,
            acquire_time: String::new(),
            renew_time: self.version.to_string(),
            transitions: draft.transitions,
            annotations: draft.annotations,
        })
    }

    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        while self.node.next_deadline() <= end {
            self.now = self.now.max(self.node.next_deadline());
            self.give(Input::Tick);
        }
        self.now = end;
    }
}

/// An answer of a stranger's.
fn frame(heard_at: Moment, sender: IpAddr) -> Input {
    let mac = Mac([2, 0, 0, 0, 0, 99]);
    Input::Frame(Frame { heard_at, mac, sender: Some(sender), target: sender, mark: None })
}

fn core(addresses: u32, runs: u32) {
    let mut holder = Holder::new();
    let all = vips(addresses + 1);
    let many = &all[..all.len() - 1];
    holder.give(Input::Services(many.to_vec()));
    holder.run(Duration::from_secs(3));
    let stranger = IpAddr::from([10, 9, 0, 1]);
    let mut spent = |what: &str, runs: u32, mut input: Box<dyn FnMut(u32, Moment) -> Input + '_>| {
        let before = holder.ordered;
        let mut all = Vec::new();
        for run in 0..runs {
            holder.now = holder.now + Duration::from_millis(5);
            let input = input(run, holder.now);
            all.push(holder.give(input));
        }
        tell(what, all, &format!("{} addresses ordered", holder.ordered - before));
        holder.run(Duration::from_secs(3));
    };
    let middle = many[many.len() / 2];
    spent("a frame of a neighbour's", runs, Box::new(|_, now| frame(now, stranger)));
    spent("a frame about a Service", runs, Box::new(|_, now| frame(now, middle)));
    let change = |run| if run % 2 == 0 { all.clone() } else { many.to_vec() };
    spent("a Service comes or goes", runs, Box::new(|run, _| Input::Services(change(run))));
    let removed = |vip| Input::Address(AddressChange::Removed { vip, expired: false });
    spent("an address is deleted", 5, Box::new(|run, _| removed(many[run as usize])));
    let began = Instant::now();
    let total: Duration = many.iter().map(|vip| holder.give(removed(*vip))).sum();
    let before = holder.ordered;
    holder.run(Duration::from_secs(2));
    println!(
        "all are deleted: {total:?} in the core, {} ordered after them, {:?} in all",
        holder.ordered - before,
        began.elapsed()
    );
}

fn pacer(addresses: u32, runs: u32) {
    let (claim, all) = (ClaimId::services(), vips(addresses));
    let mark = Mark { tenure: Tenure::Confirmed, epoch: 1, node: NodeName::new("n1").id() };
    let mut pacer = Pacer::new(Duration::from_secs(3), 1);
    let mut now = Moment::from_millis(1_000_000);
    pacer.set(now, &claim, &all, mark, Pace::Burst);
    while now < Moment::from_millis(1_010_000) {
        now = pacer.next_deadline().unwrap_or(now);
        pacer.due(now);
    }
    let mut turns = Vec::new();
    for _ in 0..runs {
        now = pacer.next_deadline().unwrap_or(now);
        let began = Instant::now();
        pacer.due(now);
        let _ = pacer.next_deadline();
        turns.push(began.elapsed());
    }
    tell("a turn of the pacer", turns, "");
    let mut sets = Vec::new();
    for run in 0..runs {
        let fewer = &all[..all.len() - (run % 2) as usize];
        let began = Instant::now();
        pacer.set(now, &claim, fewer, mark, Pace::Steady);
        sets.push(began.elapsed());
    }
    tell("others are announced", sets, "");
}

fn tell(what: &str, mut spent: Vec<Duration>, more: &str) {
    spent.sort_unstable();
    let at = |place: usize| spent.get(place).map_or(0.0, |one| one.as_secs_f64() * 1e6);
    let runs = spent.len();
    println!("{what}: {:.1} / {:.1} / {:.1} us ({runs}) {more}", at(0), at(runs / 2), at(runs - 1));
}
