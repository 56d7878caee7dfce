//! What a run showed: figures of each phase, the promises, and how both are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use crate::bench::Figure;
use crate::probe::Report;
use crate::report::promises::{Op, Promise, milliseconds, promise};

/// The version of the report's form.
const API_VERSION: &str = "mainstay.io/demo-services-report/v2";

/// From being made until the VIP answers.
const UP: (Op, f64, &str) = (Op::AtMost, 2_000.0, "ms");
/// The same of what was made in an outage, from its end on.
const CAUGHT_UP: (Op, f64, &str) = (Op::AtMost, 10_000.0, "ms");
/// After the death of a node, what it had.
const DEATH_DARK: (Op, f64, &str) = (Op::AtMost, 700.0, "ms");
/// Services on one of the three nodes at the begin, and when a node that was dead has its part again.
const BUSIEST: [(&str, (Op, f64, &str)); 2] =
    [("bring-up", (Op::AtMost, 4.0, "")), ("heal", (Op::AtMost, 5.0, ""))];

/// What one phase came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    /// Echoes, to all Services together.
    pub(super) sent: usize,
    pub(super) lost: usize,
    /// The longest darkness of each Service, in ms: least, middle, greatest.
    pub(super) dark_ms: [f64; 3],
    /// From being made, or from the end of the outage, until the VIP answers: the same, where Services were made.
    pub(super) up_ms: Option<[f64; 3]>,
    /// Of these, those lost of Services that a dead node had no part in.
    pub(super) bystanders_lost: usize,
    /// Who had the address of each Service when it began, and when it ended.
    pub(super) holders: [Vec<BTreeSet<String>>; 2],
    pub(super) failure: Option<String>,
}

impl Figures {
    /// Of these Services' probes.
    pub(super) fn of(name: &'static str, reports: &[Report]) -> Self {
        let dark: Vec<Duration> = reports.iter().map(|report| report.longest_dark).collect();
        Self {
            name,
            seconds: 0.0,
            sent: reports.iter().map(|report| report.sent).sum(),
            lost: reports.iter().map(|report| report.lost).sum(),
            dark_ms: spread(&dark).unwrap_or_default(),
            up_ms: None,
            bystanders_lost: 0,
            holders: [Vec::new(), Vec::new()],
            failure: None,
        }
    }

    /// The phase in one line.
    pub(super) fn line(&self, promises: &[Promise]) -> String {
        let broken = promises.iter().find(|promise| !promise.kept);
        let sign = if broken.is_none() { '\u{2714}' } else { '\u{2718}' };
        let failure = broken.map(|promise| format!("; BROKEN: {}", promise.line())).unwrap_or_default();
        format!(
            "{sign} {:<18} {:5.1} s  {}, {} of {} probes lost, dark for {} ms{failure}",
            self.name,
            self.seconds,
            self.moved(),
            self.lost,
            self.sent,
            shown(&self.dark_ms),
        )
    }

    /// How many Services each node has at its end, and how many moved.
    fn moved(&self) -> String {
        format!("{}, {} moved", shown_loads(&self.holders[1]), self.moves())
    }

    /// How many Services others had at its end than at its begin.
    fn moves(&self) -> usize {
        let [before, after] = &self.holders;
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }
}

/// Least, middle and greatest in ms, if there is anything.
pub(super) fn spread(values: &[Duration]) -> Option<[f64; 3]> {
    let values: Vec<f64> = values.iter().copied().map(milliseconds).collect();
    let figure = Figure::of("", "ms", values, &[]);
    (figure.runs > 0).then_some([figure.min, figure.median, figure.max])
}

fn shown(spread: &[f64; 3]) -> String {
    let [min, median, max] = spread;
    format!("{min:.0}/{median:.0}/{max:.0}")
}

/// How many Services each node has.
pub(super) fn loads(holders: &[BTreeSet<String>]) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    for name in holders.iter().flatten() {
        *loads.entry(name.as_str()).or_default() += 1;
    }
    loads
}

/// The same, as people write it.
pub(super) fn shown_loads(holders: &[BTreeSet<String>]) -> String {
    let loads: Vec<String> =
        loads(holders).into_iter().map(|(name, load)| format!("{name} {load}")).collect();
    if loads.is_empty() { "held by nobody".to_owned() } else { loads.join(", ") }
}

/// What is promised of a phase, and whether it was kept. `late` is what was lost from a second after the pivot on.
pub(super) fn judge(figures: &Figures, late: usize) -> Vec<Promise> {
    let one = |what: &str, measured: Option<f64>, bound| promise(figures.name, what, measured, bound);
    let number = |of: usize| Some(f64::from(u32::try_from(of).unwrap_or(u32::MAX)));
    let after = &figures.holders[1];
    let none = (Op::Exactly, 0.0, "");
    let failed = figures.failure.as_deref().unwrap_or("steps that failed");
    let not_once = after.iter().filter(|holders| holders.len() != 1).count();
    let mut promises = vec![
        one(failed, number(usize::from(figures.failure.is_some())), none),
        one("Services that not one node has, at its end", number(not_once), none),
    ];
    if let Some((_, bound)) = BUSIEST.iter().find(|(name, _)| *name == figures.name) {
        promises.push(one("Services on the busiest node", number(busiest(after)), *bound));
    }
    match figures.name {
        "bring-up" | "new-service" => promises.push(one("up", figures.up_ms.map(|up| up[2]), UP)),
        "api-returns" => promises.push(one("up after the outage", figures.up_ms.map(|up| up[2]), CAUGHT_UP)),
        "node-death" => promises.push(one("longest dark", Some(figures.dark_ms[2]), DEATH_DARK)),
        _ => {}
    }
    promises.push(match figures.name {
        "node-death" => one("probes lost of what others had", number(figures.bystanders_lost), none),
        "heal" => one("probes lost from a second after it on", number(late), none),
        _ => one("probes lost", number(figures.lost), none),
    });
    if !matches!(figures.name, "bring-up" | "node-death" | "heal") {
        // The one with the policy Local goes with its pod. Where that makes its new node's part too great, one more goes
        // to even it out; else nothing ever moves.
        let most = if figures.name == "pod-moves" { 2.0 } else { 0.0 };
        promises.push(one("Services that moved", number(figures.moves()), (Op::AtMost, most, "")));
    }
    promises
}

fn busiest(holders: &[BTreeSet<String>]) -> usize {
    loads(holders).into_values().max().unwrap_or_default()
}

/// Who holds what, once all is up.
pub(super) fn who_holds(services: &[(String, Ipv4Addr, String, Duration)]) -> String {
    let mut text = format!("\n  {:<10} {:<14} {:<6} {:>8}\n", "Service", "address", "holder", "up after");
    for (name, address, holder, up) in services {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<10} {address:<14} {holder:<6} {:>5} ms", up.as_millis());
    }
    text + "\n"
}

/// The phases and their figures, for the terminal.
pub(super) fn table(phases: &[Figures]) -> String {
    let mut text = format!(
        "{:<18} {:>7} {:>6}  {:<20} {:<26} {}\n",
        "phase", "probes", "lost", "dark min/median/max", "Services on each node", "up min/median/max"
    );
    for phase in phases {
        let up = phase.up_ms.map(|up| format!("{} ms", shown(&up))).unwrap_or_default();
        let dark = format!("{} ms", shown(&phase.dark_ms));
        let _ = writeln!(
            text,
            "{:<18} {:>7} {:>6}  {dark:<20} {:<26} {up}",
            phase.name,
            phase.sent,
            phase.lost,
            phase.moved()
        );
    }
    text
}

/// Writes the report.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(
    file: &Path,
    (phases, promises): (&[Figures], &[Promise]),
    interrupted: bool,
) -> Result<()> {
    let report = json!({
        "apiVersion": API_VERSION, "interrupted": interrupted, "phases": phases, "promises": promises,
    });
    std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(name: &str) -> BTreeSet<String> {
        BTreeSet::from([name.to_owned()])
    }

    fn figures(name: &'static str) -> Figures {
        let both = || vec![on("n1"), on("n2")];
        Figures { holders: [both(), both()], up_ms: Some([1.0; 3]), ..Figures::of(name, &[]) }
    }

    fn kept(figures: &Figures, late: usize) -> bool {
        judge(figures, late).iter().all(|promise| promise.kept)
    }

    #[test]
    fn each_promise_can_be_broken() {
        let lost = Figures { lost: 1, ..figures("outage") };
        let moved = Figures { holders: [vec![on("n1")], vec![on("n2")]], ..figures("outage") };
        let two = || vec![BTreeSet::from(["n1".to_owned(), "n2".to_owned()])];
        let shared = Figures { holders: [two(), two()], ..figures("outage") };
        let nowhere =
            Figures { holders: [vec![BTreeSet::new()], vec![BTreeSet::new()]], ..figures("outage") };
        let failed = Figures { failure: Some("it failed".to_owned()), ..figures("outage") };
        for broken in [lost, moved, shared, nowhere, failed] {
            assert!(!kept(&broken, 0), "{broken:?}");
        }
        assert!(kept(&figures("outage"), 0));
        for (name, late) in [("bring-up", 0), ("new-service", 0), ("api-returns", 0)] {
            let slow = Figures { up_ms: Some([1.0, 1.0, 99_999.0]), ..figures(name) };
            let never = Figures { up_ms: None, ..figures(name) };
            assert!(kept(&figures(name), late) && !kept(&slow, late) && !kept(&never, late), "{name}");
        }
        for (name, most) in [("bring-up", 4), ("heal", 5)] {
            let on_one = |count| Figures { holders: [vec![], vec![on("n1"); count]], ..figures(name) };
            assert!(kept(&on_one(most), 0) && !kept(&on_one(most + 1), 0), "{name}");
        }
    }

    #[test]
    fn a_pod_takes_its_own_service_along_and_one_more_may_even_the_spread() {
        let holders = |moved: usize| {
            let after = (0..3).map(|place| if place < moved { on("n3") } else { on("n1") }).collect();
            move |name| Figures { holders: [vec![on("n1"); 3], after], ..figures(name) }
        };
        assert!(kept(&holders(1)("pod-moves"), 0) && kept(&holders(2)("pod-moves"), 0));
        assert!(!kept(&holders(3)("pod-moves"), 0) && !kept(&holders(1)("outage"), 0));
    }

    #[test]
    fn a_death_may_lose_what_the_dead_had_and_a_heal_may_only_lose_at_once() {
        let death = Figures { lost: 99, dark_ms: [1.0, 1.0, 700.0], ..figures("node-death") };
        assert!(kept(&death, 0) && !kept(&Figures { dark_ms: [1.0, 1.0, 700.1], ..death.clone() }, 0));
        assert!(!kept(&Figures { bystanders_lost: 1, ..death }, 0));
        let heal = Figures { lost: 99, ..figures("heal") };
        assert!(kept(&heal, 0) && !kept(&heal, 1));
    }
}
