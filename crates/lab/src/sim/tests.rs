//! The judge judged: machines that break promises are caught, and the parts are as real ones are.

use std::time::Duration;

use mainstay_core::check::Invariant;
use mainstay_core::effect::{Effect, LeaseDraft, LeaseRequest, Pace, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_core::node::Output;
use mainstay_core::recording::{Extent, Recording};
use mainstay_core::settings::{Found, Settings};
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Tenure};

use super::*;

/// What a machine of the tests does wrong.
trait Flaw {
    /// It takes the VIP without a grant.
    const GREEDY: bool = false;
    /// It withdraws when the API fails, as kube-vip does.
    const TIMID: bool = false;
    /// It announces before the address is there.
    const HASTY: bool = false;
}

#[derive(Debug)]
struct Greedy;
impl Flaw for Greedy {
    const GREEDY: bool = true;
}

#[derive(Debug)]
struct Timid;
impl Flaw for Timid {
    const TIMID: bool = true;
}

#[derive(Debug)]
struct Hasty;
impl Flaw for Hasty {
    const HASTY: bool = true;
}

#[derive(Debug)]
struct Plain;
impl Flaw for Plain {}

/// A leader election as simple as it gets, by expiry alone. The first node that creates the Lease holds for ever.
#[derive(Debug)]
struct Naive<F> {
    settings: Settings,
    record: Option<LeaseRecord>,
    asked: bool,
    holds: bool,
    ids: u64,
    next: Moment,
    renewed: Moment,
    flaw: std::marker::PhantomData<F>,
}

impl<F: Flaw> Naive<F> {
    fn id(&mut self) -> EffectId {
        self.ids += 1;
        EffectId(self.ids)
    }

    fn mine(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.holder.as_deref() == Some(self.settings.node.as_str()))
    }

    fn announce(&self) -> Effect {
        let mark = Mark { tenure: Tenure::Confirmed, epoch: 0, node: self.settings.node.id() };
        Effect::Announce {
            claim: self.settings.claim.clone(),
            vips: self.settings.vips.clone(),
            mark,
            pace: if self.holds { Pace::Steady } else { Pace::Burst },
        }
    }

    fn assign(&mut self) -> Effect {
        Effect::Assign {
            id: self.id(),
            claim: self.settings.claim.clone(),
            vips: self.settings.vips.clone(),
            lifetime: self.settings.lifetime,
        }
    }

    fn request(&mut self) -> Effect {
        let draft = LeaseDraft {
            holder: Some(self.settings.node.as_str().to_owned()),
            duration_seconds: 5,
            acquire_time: Stamp::Now,
            renew_time: Stamp::Now,
            transitions: 0,
            annotations: Default::default(),
        };
        let request = match &self.record {
            Some(record) => LeaseRequest::Update { resource_version: record.resource_version.clone(), draft },
            None => LeaseRequest::Create(draft),
        };
        self.asked = true;
        Effect::Lease { id: self.id(), request, deadline: Duration::from_secs(2) }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.next = now + self.settings.lease.retry_period;
        if !self.asked && (self.mine() || self.record.is_none()) {
            out.push(self.request());
        }
        if self.mine() || F::GREEDY {
            out.push(self.assign());
            if F::HASTY || F::GREEDY {
                out.push(self.announce());
            }
        }
        if F::TIMID && self.holds && now.since(self.renewed) > self.settings.lease.renew_deadline {
            self.holds = false;
            out.push(Effect::Silence { claim: self.settings.claim.clone() });
            let (claim, vips) = (self.settings.claim.clone(), self.settings.vips.clone());
            out.push(Effect::Withdraw { id: self.id(), claim, vips });
        }
    }
}

impl<F: Flaw> Machine for Naive<F> {
    fn start(settings: Settings, _found: Found, now: Moment, _seed: u64) -> Self {
        let flaw = std::marker::PhantomData;
        Self { settings, record: None, asked: true, holds: false, ids: 0, next: now, renewed: now, flaw }
    }

    fn handle(&mut self, now: Moment, input: &Input) -> Output {
        let mut effects = Vec::new();
        match input {
            Input::Tick if self.next <= now => self.tick(now, &mut effects),
            Input::Lease(LeaseReport::Observed(record)) => self.record = Some(record.clone()),
            Input::Lease(LeaseReport::Absent) => self.asked = false,
            Input::Outcome { outcome: Outcome::Lease(outcome), .. } => {
                self.asked = false;
                if let LeaseOutcome::Record(record) = outcome {
                    self.record = Some(record.clone());
                    self.renewed = now;
                }
            }
            Input::Outcome { outcome: Outcome::Done, .. }
                if self.mine() && now.since(self.renewed) < self.settings.lease.renew_deadline =>
            {
                effects.push(self.announce());
                self.holds = true;
            }
            _ => {}
        }
        Output { effects, events: Vec::new() }
    }

    fn next_deadline(&self) -> Moment {
        self.next
    }

    fn describe(&self, _now: Moment) -> String {
        format!("{self:?}", self = self.holds)
    }
}

fn broken<F: Flaw>(schedule: &Schedule) -> Vec<Invariant> {
    let report = run_with::<Naive<F>>(schedule, Tune::default());
    report.violations.iter().map(|violation| violation.invariant).collect()
}

fn outage() -> Schedule {
    let fault = Fault { from: 30_000, until: 55_000, kind: Kind::Api(Whom::All, ApiForm::Refused) };
    Schedule { faults: vec![fault], duration: 90_000, ..Schedule::calm(3, 3) }
}

#[test]
fn a_plain_election_in_calm_breaks_nothing() {
    for seed in 0..20 {
        assert_eq!(broken::<Plain>(&Schedule::calm(seed, 3)), [], "seed {seed}");
    }
}

#[test]
fn a_machine_that_takes_without_a_grant_is_caught() {
    assert!(broken::<Greedy>(&Schedule::calm(1, 3)).contains(&Invariant::OneHolder));
    assert!(broken::<Greedy>(&Schedule::calm(1, 3)).contains(&Invariant::OneConfirmed));
}

#[test]
fn a_machine_that_withdraws_in_an_outage_is_caught() {
    assert_eq!(broken::<Plain>(&outage()), []);
    assert!(broken::<Timid>(&outage()).contains(&Invariant::OutageMovesNothing));
}

#[test]
fn a_machine_that_announces_too_early_is_caught() {
    let mut schedule = Schedule::calm(1, 3);
    assert!(!broken::<Hasty>(&schedule).contains(&Invariant::DeadMan));
    // Its address is refreshed for ever, so only a host without a running agent loses it.
    schedule.faults = vec![Fault { from: 20_000, until: 59_000, kind: Kind::PowerLoss(0) }];
    let dark = broken::<Plain>(&Schedule {
        faults: (0..3).map(|h| Fault { from: 20_000, until: 58_000, kind: Kind::Crash(h) }).collect(),
        duration: 60_000,
        ..Schedule::calm(1, 3)
    });
    assert_eq!(dark, [], "with every agent dead nobody is to blame");
}

#[test]
fn a_run_is_its_schedule() {
    let schedule = Schedule::generate(77);
    let one = run_with::<Naive<Plain>>(&schedule, Tune::default());
    let two = run_with::<Naive<Plain>>(&schedule, Tune::default());
    assert_eq!((one.steps, &one.violations), (two.steps, &two.violations));
    let text = schedule.to_string();
    let back: Schedule = serde_json::from_str(&text).expect("a printed schedule reads back");
    assert_eq!(back, schedule);
}

/// An outage among ten faults that have nothing to do with it, with five nodes and drifting clocks.
fn crowded() -> Schedule {
    let mut schedule = Schedule { nodes: 5, drift_ppm: 5_000, front_ends: FrontEnds::PerNode, ..outage() };
    schedule.faults.insert(0, Fault { from: 1_000, until: 2_000, kind: Kind::WatchLate(1, 100) });
    for (node, from) in (0..5).zip((56_000..).step_by(500)) {
        schedule.faults.push(Fault { from, until: from + 300, kind: Kind::Misconfigured(node) });
        schedule.faults.push(Fault { from, until: from + 300, kind: Kind::Delay(3) });
    }
    schedule
}

#[test]
fn shrinking_leaves_what_matters() {
    let fails = |schedule: &Schedule| broken::<Timid>(schedule).contains(&Invariant::OutageMovesNothing);
    let small = shrink(&crowded(), fails);
    assert!(fails(&small), "{small}");
    let kinds: Vec<_> = small.faults.iter().map(|fault| fault.kind.name()).collect();
    assert_eq!(kinds, ["api-refused"], "{small}");
    assert_eq!((small.nodes, small.front_ends, small.drift_ppm), (1, FrontEnds::One, 0), "{small}");
    assert!(small.duration < 60_000, "{small}");
    let length = small.faults[0].until - small.faults[0].from;
    assert!(length < 25_000 / 2, "{small}");
}

#[test]
fn shrinking_what_fails_without_faults_leaves_none() {
    let fails = |schedule: &Schedule| broken::<Greedy>(schedule).contains(&Invariant::OneHolder);
    let small = shrink(&crowded(), fails);
    assert_eq!((small.faults.len(), small.nodes), (0, 2), "{small}");
    assert!(small.duration <= 5_000, "{small}");
}

#[test]
fn shrinking_what_does_not_fail_changes_nothing() {
    assert_eq!(shrink(&crowded(), |_| false), crowded());
}

#[test]
fn a_failure_is_kept_in_a_file() {
    let directory = std::env::temp_dir().join(format!("mainstay-sim-failure-{}", std::process::id()));
    let violations = run_with::<Naive<Timid>>(&outage(), Tune::default()).violations;
    let failure = Failure { schedule: outage(), violations };
    assert!(!failure.violations.is_empty());
    let path = failure.write(&directory).expect("a file in the temporary directory");
    let back = Failure::read(&path).expect("it reads back");
    std::fs::remove_dir_all(&directory).expect("it can be removed");
    assert_eq!(back, failure);
}

#[test]
fn the_recordings_of_a_run_replay() {
    let crash = Fault { from: 20_000, until: 25_000, kind: Kind::Crash(0) };
    let schedule = Schedule { faults: vec![crash], ..Schedule::calm(5, 2) };
    let recordings = record(&schedule);
    let names: Vec<_> = recordings.iter().map(|(name, _)| name.as_str()).collect();
    // A run's number also counts the end of the one before.
    assert_eq!(names, ["node-1-run-1.jsonl", "node-1-run-3.jsonl", "node-2-run-1.jsonl"]);
    for (name, text) in recordings {
        let recording = Recording::read(&text, Extent::Whole).expect("a whole recording");
        assert!(recording.turns.len() > 100, "{name}: {} turns", recording.turns.len());
        let different = recording.replay().find(|turn| turn.differs).map(|turn| turn.difference());
        assert_eq!(different, None, "{name}");
    }
}

#[test]
fn every_kind_of_fault_is_generated() {
    let kinds = |schedule: fn(u64) -> Schedule, seeds: u64| -> std::collections::BTreeSet<&str> {
        (0..seeds).flat_map(|seed| schedule(seed).kinds().into_keys()).collect()
    };
    let all = schedule::NAMES.into_iter().collect();
    assert_eq!(kinds(Schedule::generate, 500), all);
    assert_eq!(kinds(|seed| Schedule::long(seed, 3, Duration::from_secs(1_800)), 50), all);
    assert_eq!(kinds(|seed| Schedule::long(seed, 50, Duration::from_secs(600)), 50), all);
}

#[test]
fn a_long_schedule_leaves_time_to_heal_after_each_wave() {
    let schedule = Schedule::long(1, 3, Duration::from_secs(1_800));
    assert!(schedule.faults.len() > 60, "{}", schedule.faults.len());
    let mut calm = 0;
    let mut busy_until = 0;
    for fault in &schedule.faults {
        calm += u64::from(fault.from > busy_until + schedule.settle_millis());
        busy_until = busy_until.max(fault.until);
    }
    assert!(calm >= 20, "{calm} times of calm");
    assert!(busy_until + schedule.settle_millis() < schedule.duration);
}
