//! The judge judged: machines that break promises are caught, and the parts are as real ones are.

use std::time::Duration;

use mainstay_core::check::Invariant;
use mainstay_core::effect::{Effect, LeaseDraft, LeaseRequest, Pace, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_core::node::Output;
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

#[test]
fn shrinking_leaves_what_matters() {
    let mut schedule = outage();
    schedule.faults.insert(0, Fault { from: 1_000, until: 2_000, kind: Kind::WatchLate(1, 100) });
    schedule.faults.push(Fault { from: 56_000, until: 57_000, kind: Kind::Delay(3) });
    let fails = |schedule: &Schedule| broken::<Timid>(schedule).contains(&Invariant::OutageMovesNothing);
    let small = shrink(&schedule, fails);
    assert_eq!(small.faults.len(), 1, "{small}");
    assert_eq!(small.faults[0].kind.name(), "api-refused");
}

#[test]
fn every_kind_of_fault_is_generated() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..500 {
        kinds.extend(Schedule::generate(seed).faults.iter().map(|fault| fault.kind.name()));
    }
    assert_eq!(kinds.len(), 27, "{kinds:?}");
}
