//! What SPECIFICATION.md promises of each phase, and whether this run kept it.

use std::time::Duration;

use mainstay_core::vip::Tenure;
use serde::Serialize;

use super::figures::{self, Figures};
use super::timeline::{At, Connections, Phase, Timeline};

/// One promise, measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promise {
    /// The phase it is about.
    pub phase: String,
    /// What it is about: `probes lost`.
    pub what: String,
    /// What was measured; `None` when what should be measured never came.
    pub measured: Option<f64>,
    /// How it is compared with `value`.
    pub op: Op,
    /// The bound.
    pub value: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// Whether it was kept.
    pub kept: bool,
}

/// How a measured value is compared with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Op {
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// Exactly.
    #[serde(rename = "==")]
    Exactly,
}

impl Op {
    /// Its sign.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Exactly => "==",
        }
    }

    /// Whether the measured value is within the bound.
    #[must_use]
    pub fn holds(self, measured: f64, value: f64) -> bool {
        match self {
            Self::AtMost => measured <= value,
            Self::AtLeast => measured >= value,
            Self::Exactly => (measured - value).abs() < f64::EPSILON,
        }
    }
}

impl Promise {
    /// The promise in one line: `outage-hung: probes lost 0 (bound: == 0)`.
    #[must_use]
    pub fn line(&self) -> String {
        let measured = self.measured.map_or_else(|| "never".to_owned(), |value| number(value, self.unit));
        let bound = number(self.value, self.unit);
        format!("{}: {} {measured} (bound: {} {bound})", self.phase, self.what, self.op.sign())
    }
}

/// A value with its unit, as people write it.
#[must_use]
pub fn number(value: f64, unit: &str) -> String {
    let digits = usize::from(value.fract().abs() > 1e-9 && unit != "ms");
    let text = format!("{value:.digits$}");
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

/// The phases of a whole run, in order.
pub const PHASES: [&str; 14] = [
    "bring-up",
    "hand-over",
    "outage-refused",
    "outage-blackhole",
    "outage-hung",
    "outage-503",
    "restart-in-outage",
    "death-in-outage",
    "api-returns",
    "heal",
    "rogue-host",
    "death",
    "api-server-death",
    "death-with-api",
];

/// Longest darkness when the holder's node dies and the API is up: the worst case.
pub const DEATH_DARK: Duration = Duration::from_millis(450);
/// Longest darkness when the holder dies together with its API server and writes stall for 1.5 s.
pub const DEATH_WITH_API_DARK: Duration = Duration::from_millis(2_500);
/// Longest darkness when the holder's node dies during an API outage.
pub const OUTAGE_DEATH_DARK: Duration = Duration::from_secs(2);
/// Until the last connection failed that went to an API server that is dead: its check's interval of 1 s, and 200 ms.
pub const LAST_FAILURE: Duration = Duration::from_millis(1_200);
/// Longest time two nodes that can hear each other both hold.
pub const TWO_HOLDERS: Duration = Duration::from_secs(1);
/// Until the client's path is right again after a heal, or after the last rogue frame.
pub const PATH_RIGHT: Duration = Duration::from_millis(1_100);
/// Until a holder is confirmed again after the API returned.
pub const CONFIRMED: Duration = Duration::from_secs(5);
/// How much longer than its interval a gap between announcements may be.
pub const GAP_FACTOR: f64 = 1.25;
/// The shortest continuous API outage the demonstration must bring about.
pub const OUTAGE_LENGTH: Duration = Duration::from_secs(60);

/// Every promise about the phases this run came to, and about those it did not come to.
#[must_use]
pub fn judge(timeline: &Timeline) -> Vec<Promise> {
    let mut promises = Vec::new();
    for phase in &timeline.phases {
        promises.extend(judge_phase(timeline, phase));
    }
    promises.extend(outage_length(timeline));
    if !timeline.interrupted {
        promises.extend(PHASES.into_iter().filter(|name| timeline.phase(name).is_none()).map(missing));
    }
    promises
}

/// Every promise about one phase.
#[must_use]
pub fn judge_phase(timeline: &Timeline, phase: &Phase) -> Vec<Promise> {
    Judged { timeline, phase, figures: figures::of(timeline, phase) }.promises()
}

/// The promises that were broken, one line each.
#[must_use]
pub fn broken(promises: &[Promise]) -> Vec<String> {
    promises.iter().filter(|promise| !promise.kept).map(Promise::line).collect()
}

fn missing(name: &str) -> Promise {
    promise(name, "runs of the phase", Some(0.0), (Op::Exactly, 1.0, ""))
}

/// From the first outage phase's fault to the API's return to the first node, unbroken.
fn outage_length(timeline: &Timeline) -> Option<Promise> {
    let begin = timeline.phase("outage-refused")?.pivot;
    let end = timeline.phase("api-returns")?.span.from;
    let length = end.saturating_sub(begin).as_secs_f64();
    Some(promise("outage", "unbroken length", Some(length), (Op::AtLeast, OUTAGE_LENGTH.as_secs_f64(), "s")))
}

/// One promise, judged.
pub(crate) fn promise(
    phase: &str,
    what: &str,
    measured: Option<f64>,
    bound: (Op, f64, &'static str),
) -> Promise {
    let (op, value, unit) = bound;
    let kept = measured.is_some_and(|measured| op.holds(measured, value));
    Promise { phase: phase.to_owned(), what: what.to_owned(), measured, op, value, unit, kept }
}

/// One phase with its figures.
struct Judged<'a> {
    timeline: &'a Timeline,
    phase: &'a Phase,
    figures: Figures,
}

impl Judged<'_> {
    /// What is promised of this phase, by its name; and of every phase.
    fn promises(&self) -> Vec<Promise> {
        let mut promises = vec![self.two_holders(), self.done(), self.held()];
        promises.extend(match self.phase.name.as_str() {
            "hand-over" => vec![self.lost(), self.tcp_lost(), self.moves(1.0)],
            "outage-refused" | "outage-blackhole" | "outage-hung" | "outage-503" => self.outage(),
            "restart-in-outage" => vec![
                self.lost(),
                self.tcp_lost(),
                self.moves(0.0),
                self.api_silent(),
                self.tenure_after(Tenure::Detached),
            ],
            "death-in-outage" => vec![self.dark(OUTAGE_DEATH_DARK), self.moved(), self.api_silent()],
            "api-returns" => vec![self.lost(), self.tcp_lost(), self.moves(0.0), self.confirmed()],
            "heal" => vec![self.one_holder(), self.rightful_last(), self.path_after_pivot()],
            "rogue-host" => self.rogue(),
            "death" => vec![self.dark(DEATH_DARK), self.moved()],
            "api-server-death" => vec![self.lost(), self.moves(0.0), self.connections(), self.last_failure()],
            "death-with-api" => vec![self.dark(DEATH_WITH_API_DARK), self.moved()],
            _ => Vec::new(),
        });
        promises
    }

    fn outage(&self) -> Vec<Promise> {
        let bound = self.timeline.announce_interval.mul_f64(GAP_FACTOR);
        let gap =
            self.at_most("longest announcement gap", Some(self.figures.longest_announcement_gap), bound);
        vec![self.lost(), self.tcp_lost(), self.moves(0.0), gap, self.api_silent()]
    }

    fn rogue(&self) -> Vec<Promise> {
        let last_rogue = figures::last_rogue(self.timeline, self.phase);
        let right = figures::path_right_at(self.timeline, self.phase);
        let after = last_rogue.zip(right).map(|(rogue, right)| right.saturating_sub(rogue));
        let reported =
            self.timeline.conflicts.iter().filter(|conflict| self.phase.span.contains(conflict.at));
        vec![
            self.moves(0.0),
            self.at_most("client's path right after the last rogue frame", after, PATH_RIGHT),
            self.count("conflict events", Some(count(reported.count())), (Op::AtLeast, 1.0)),
            self.count(
                "conflicts in the metrics",
                self.phase.facts.conflict_metric.map(wide),
                (Op::AtLeast, 1.0),
            ),
        ]
    }

    /// There was a load, and more of it succeeded than failed.
    fn connections(&self) -> Promise {
        let of = |one: Connections| count(one.failed) / count(one.count.max(1)) * 100.0;
        let failed = self.phase.facts.connections.filter(|one| one.count > 0).map(of);
        promise(&self.phase.name, "connections that failed", failed, (Op::AtMost, 20.0, "%"))
    }

    fn last_failure(&self) -> Promise {
        let connections = self.phase.facts.connections;
        let last = connections.map(|one| one.last_failure.unwrap_or_default());
        self.at_most("the last connection that failed after", last, LAST_FAILURE)
    }

    fn two_holders(&self) -> Promise {
        self.at_most("two nodes that hear each other hold", Some(self.figures.two_holders), TWO_HOLDERS)
    }

    /// The phase did what it was to do.
    fn done(&self) -> Promise {
        let failures = f64::from(u8::from(self.phase.facts.failure.is_some()));
        let what = self.phase.facts.failure.as_deref().unwrap_or("steps that failed");
        self.count(what, Some(failures), (Op::Exactly, 0.0))
    }

    /// One node holds the VIP when the phase ends.
    fn held(&self) -> Promise {
        let at_end = self.phase.span.to.saturating_sub(Duration::from_nanos(1));
        let holders = figures::holders_at(self.timeline, at_end).len();
        self.count("holders at its end", Some(count(holders)), (Op::Exactly, 1.0))
    }

    fn lost(&self) -> Promise {
        self.count("probes lost", Some(count(self.figures.lost)), (Op::Exactly, 0.0))
    }

    fn tcp_lost(&self) -> Promise {
        self.count("TCP probes lost", Some(count(self.figures.tcp_lost)), (Op::Exactly, 0.0))
    }

    fn moves(&self, expected: f64) -> Promise {
        self.count("moves of the VIP", Some(count(self.figures.moves)), (Op::Exactly, expected))
    }

    /// Off the dead node. Twice is no breach: who took it provisionally yields to whom the API grants it.
    fn moved(&self) -> Promise {
        self.count("moves of the VIP", Some(count(self.figures.moves)), (Op::AtLeast, 1.0))
    }

    fn dark(&self, bound: Duration) -> Promise {
        self.at_most("dark", Some(self.figures.longest_dark), bound)
    }

    /// The outage was real: no agent had an answer from the API.
    fn api_silent(&self) -> Promise {
        self.count("API requests answered", self.phase.facts.api_answered.map(wide), (Op::Exactly, 0.0))
    }

    /// The holder's last word on its tenure in this phase.
    fn tenure_after(&self, expected: Tenure) -> Promise {
        let holder = self.figures.holder_after;
        let of_holder = |seen: &&super::timeline::TenureSeen| {
            Some(seen.node) == holder && seen.at >= self.phase.pivot && self.phase.span.contains(seen.at)
        };
        let last = self.timeline.tenures.iter().rfind(of_holder);
        let is = last.map(|seen| f64::from(u8::from(seen.tenure == expected)));
        self.count(&format!("tenure is {expected:?} (1 = yes)"), is, (Op::Exactly, 1.0))
    }

    /// From the API's return to the holder's next confirmed mark or word.
    fn confirmed(&self) -> Promise {
        let first = self.timeline.tenures.iter().find(|seen| {
            Some(seen.node) == self.figures.holder_after
                && seen.tenure == Tenure::Confirmed
                && seen.at >= self.phase.pivot
                && self.phase.span.contains(seen.at)
        });
        let after = first.map(|seen| seen.at.saturating_sub(self.phase.pivot));
        self.at_most("holder confirmed again after", after, CONFIRMED)
    }

    fn one_holder(&self) -> Promise {
        let at = figures::one_holder_at(self.timeline, self.phase);
        self.at_most("one holder after", Some(self.after_pivot(at)), TWO_HOLDERS)
    }

    fn rightful_last(&self) -> Promise {
        let last = figures::last_announcer(self.timeline, self.phase);
        let is = last.map(|node| f64::from(u8::from(Some(node) == self.figures.holder_after)));
        self.count("the rightful holder announced last (1 = yes)", is, (Op::Exactly, 1.0))
    }

    fn path_after_pivot(&self) -> Promise {
        let right = figures::path_right_at(self.timeline, self.phase).map(|at| self.after_pivot(at));
        self.at_most("client's path right after", right, PATH_RIGHT)
    }

    fn after_pivot(&self, at: At) -> Duration {
        at.saturating_sub(self.phase.pivot)
    }

    fn at_most(&self, what: &str, measured: Option<Duration>, bound: Duration) -> Promise {
        let measured = measured.map(milliseconds);
        promise(&self.phase.name, what, measured, (Op::AtMost, milliseconds(bound), "ms"))
    }

    fn count(&self, what: &str, measured: Option<f64>, (op, value): (Op, f64)) -> Promise {
        promise(&self.phase.name, what, measured, (op, value, ""))
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn count(of: usize) -> f64 {
    wide(u64::try_from(of).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run stay far below 2^52")]
fn wide(of: u64) -> f64 {
    of as f64
}
