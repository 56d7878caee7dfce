//! What a run showed: figures of each phase, the promises, and how both are told.

use std::collections::BTreeSet;
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
const API_VERSION: &str = "mainstay.io/demo-services-report/v1";

/// From being made until the VIP answers.
const UP: (Op, f64, &str) = (Op::AtMost, 2_000.0, "ms");
/// The same of what was made in an outage, from its end on.
const CAUGHT_UP: (Op, f64, &str) = (Op::AtMost, 10_000.0, "ms");
/// After the death of the holder's node.
const DEATH_DARK: (Op, f64, &str) = (Op::AtMost, 700.0, "ms");

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
    /// Who had the addresses when it began, and when it ended.
    pub(super) holders: [BTreeSet<String>; 2],
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
            holders: [BTreeSet::new(), BTreeSet::new()],
            failure: None,
        }
    }

    /// The phase in one line.
    pub(super) fn line(&self, promises: &[Promise]) -> String {
        let broken = promises.iter().find(|promise| !promise.kept);
        let sign = if broken.is_none() { '\u{2714}' } else { '\u{2718}' };
        let failure = broken.map(|promise| format!("; BROKEN: {}", promise.line())).unwrap_or_default();
        format!(
            "{sign} {:<18} {:5.1} s  holder {}, {} of {} probes lost, dark for {} ms{failure}",
            self.name,
            self.seconds,
            self.moved(),
            self.lost,
            self.sent,
            shown(&self.dark_ms),
        )
    }

    fn moved(&self) -> String {
        let [before, after] = &self.holders;
        if before == after { names(after) } else { format!("{} \u{2192} {}", names(before), names(after)) }
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

/// Nodes, as people write them.
pub(super) fn names(nodes: &BTreeSet<String>) -> String {
    if nodes.is_empty() {
        return "nobody".to_owned();
    }
    nodes.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

/// What is promised of a phase, and whether it was kept. `late` is what was lost from a second after the pivot on.
pub(super) fn judge(figures: &Figures, late: usize) -> Vec<Promise> {
    let one = |what: &str, measured: Option<f64>, bound| promise(figures.name, what, measured, bound);
    let number = |of: usize| Some(f64::from(u32::try_from(of).unwrap_or(u32::MAX)));
    let [before, after] = &figures.holders;
    let failed = figures.failure.as_deref().unwrap_or("steps that failed");
    let mut promises = vec![
        one(failed, number(usize::from(figures.failure.is_some())), (Op::Exactly, 0.0, "")),
        one("holders of the Services at its end", number(after.len()), (Op::Exactly, 1.0, "")),
    ];
    match figures.name {
        "bring-up" | "new-service" => promises.push(one("up", figures.up_ms.map(|up| up[2]), UP)),
        "api-returns" => promises.push(one("up after the outage", figures.up_ms.map(|up| up[2]), CAUGHT_UP)),
        _ => {}
    }
    promises.push(match figures.name {
        "node-death" => one("longest dark", Some(figures.dark_ms[2]), DEATH_DARK),
        "heal" => one("probes lost from a second after it on", number(late), (Op::Exactly, 0.0, "")),
        _ => one("probes lost", number(figures.lost), (Op::Exactly, 0.0, "")),
    });
    if !matches!(figures.name, "bring-up" | "node-death" | "heal") {
        promises.push(one(
            "holders that changed",
            number(usize::from(before != after)),
            (Op::Exactly, 0.0, ""),
        ));
    }
    promises
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
        "{:<18} {:>7} {:>6}  {:<20} {:<12} {}\n",
        "phase", "probes", "lost", "dark min/median/max", "holder", "up min/median/max"
    );
    for phase in phases {
        let up = phase.up_ms.map(|up| format!("{} ms", shown(&up))).unwrap_or_default();
        let dark = format!("{} ms", shown(&phase.dark_ms));
        let _ = writeln!(
            text,
            "{:<18} {:>7} {:>6}  {dark:<20} {:<12} {up}",
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

    fn figures(name: &'static str) -> Figures {
        let node = || BTreeSet::from(["n1".to_owned()]);
        Figures { holders: [node(), node()], up_ms: Some([1.0; 3]), ..Figures::of(name, &[]) }
    }

    fn kept(figures: &Figures, late: usize) -> bool {
        judge(figures, late).iter().all(|promise| promise.kept)
    }

    #[test]
    fn each_promise_can_be_broken() {
        let lost = Figures { lost: 1, ..figures("outage") };
        let two = BTreeSet::from(["n1".to_owned(), "n2".to_owned()]);
        let moved =
            Figures { holders: [two.clone(), BTreeSet::from(["n1".to_owned()])], ..figures("outage") };
        let shared = Figures { holders: [two.clone(), two], ..figures("outage") };
        let failed = Figures { failure: Some("it failed".to_owned()), ..figures("outage") };
        for broken in [lost, moved, shared, failed] {
            assert!(!kept(&broken, 0), "{broken:?}");
        }
        assert!(kept(&figures("outage"), 0));
        for (name, late) in [("bring-up", 0), ("new-service", 0), ("api-returns", 0)] {
            let slow = Figures { up_ms: Some([1.0, 1.0, 99_999.0]), ..figures(name) };
            let never = Figures { up_ms: None, ..figures(name) };
            assert!(kept(&figures(name), late) && !kept(&slow, late) && !kept(&never, late), "{name}");
        }
    }

    #[test]
    fn a_death_may_lose_and_a_heal_may_only_lose_at_once() {
        let death = Figures { lost: 99, dark_ms: [1.0, 1.0, 700.0], ..figures("node-death") };
        assert!(kept(&death, 0) && !kept(&Figures { dark_ms: [1.0, 1.0, 700.1], ..death }, 0));
        let heal = Figures { lost: 99, ..figures("heal") };
        assert!(kept(&heal, 0) && !kept(&heal, 1));
    }
}
