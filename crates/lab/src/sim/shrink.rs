//! From a failing schedule to the smallest that was found to fail in the same way (delta debugging: Zeller and
//! Hildebrandt, "Simplifying and isolating failure-inducing input", 2002), and the file that keeps it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_core::check::{Invariant, Violation};
use serde::{Deserialize, Serialize};

use super::schedule::{FrontEnds, Kind, Schedule, Whom};

/// Passes over all ways of making a schedule smaller; each pass opens ways for the next.
const PASSES: usize = 4;

/// A failure as it is kept: run it again with `MAINSTAY_SIM_SCHEDULE=FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What goes wrong, and the seed of all chance.
    pub schedule: Schedule,
    /// What it breaks.
    pub violations: Vec<Violation>,
}

impl Failure {
    /// The promises that are broken: shrinking keeps one of these broken.
    #[must_use]
    pub fn kinds(violations: &[Violation]) -> BTreeSet<Invariant> {
        violations.iter().map(|violation| violation.invariant).collect()
    }

    /// Writes it into `directory`, which is made, and beside it a recording of each agent's run; the file's path.
    ///
    /// # Errors
    /// When the directory cannot be made or the file not written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("seed-{}.json", self.schedule.seed));
        std::fs::write(&path, serde_json::to_string_pretty(self)?)?;
        let recordings = path.with_extension("");
        std::fs::create_dir_all(&recordings)?;
        for (name, text) in super::record(&self.schedule) {
            std::fs::write(recordings.join(name), text)?;
        }
        Ok(path)
    }

    /// Reads what [`Failure::write`] wrote.
    ///
    /// # Errors
    /// When there is no such file, or it holds something else.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }
}

/// Makes a schedule smaller for as long as `fails` says that it still fails: fewer faults, a shorter run, fewer nodes,
/// shorter faults, one API server, true clocks.
#[must_use]
pub fn shrink(schedule: &Schedule, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut smallest = schedule.clone();
    for _ in 0..PASSES {
        let before = smallest.clone();
        smallest = shorten_run(smallest, &fails);
        smallest = drop_faults(smallest, &fails);
        smallest = drop_nodes(smallest, &fails);
        smallest = simplify(smallest, &fails);
        smallest = shorten_faults(smallest, &fails);
        if smallest == before {
            break;
        }
    }
    smallest
}

/// `changed` if it still fails, else `before`.
fn keep(before: Schedule, changed: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    if changed != before && fails(&changed) { changed } else { before }
}

/// Bisects the run's length; faults that never begin go with it.
fn shorten_run(mut schedule: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    let mut step = schedule.duration / 2;
    while step >= 500 {
        let mut shorter = schedule.clone();
        shorter.duration = schedule.duration.saturating_sub(step);
        shorter.faults.retain(|fault| fault.from < shorter.duration);
        let kept = keep(schedule.clone(), shorter, fails);
        if kept == schedule {
            step /= 2;
        }
        schedule = kept;
    }
    schedule
}

/// Drops halves, quarters, ... of the faults, down to single ones.
fn drop_faults(mut schedule: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    let mut size = schedule.faults.len().div_ceil(2);
    while size > 0 && !schedule.faults.is_empty() {
        let mut end = schedule.faults.len();
        while end > 0 {
            let begin = end.saturating_sub(size);
            let mut fewer = schedule.clone();
            fewer.faults.drain(begin..end.min(fewer.faults.len()));
            schedule = keep(schedule, fewer, fails);
            end = begin;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    schedule
}

/// Takes the last node away, with what meets it.
fn drop_nodes(mut schedule: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    while schedule.nodes > 1 {
        let mut fewer = schedule.clone();
        fewer.nodes -= 1;
        fewer.faults.retain(|fault| fault.kind.nodes().all(|node| node < fewer.nodes));
        let kept = keep(schedule.clone(), fewer, fails);
        if kept == schedule {
            break;
        }
        schedule = kept;
    }
    schedule
}

fn simplify(schedule: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    let mut one_server = schedule.clone();
    one_server.front_ends = FrontEnds::One;
    one_server.faults.retain(|fault| !matches!(fault.kind, Kind::FrontEnd(..)));
    let schedule = keep(schedule, one_server, fails);
    let true_clocks = Schedule { drift_ppm: 0, ..schedule.clone() };
    keep(schedule, true_clocks, fails)
}

/// Halves each fault for as long as that goes.
fn shorten_faults(mut schedule: Schedule, fails: &impl Fn(&Schedule) -> bool) -> Schedule {
    for index in 0..schedule.faults.len() {
        loop {
            let mut shorter = schedule.clone();
            let fault = &mut shorter.faults[index];
            fault.until = fault.from + (fault.until - fault.from) / 2;
            let kept = keep(schedule.clone(), shorter, fails);
            if kept == schedule {
                break;
            }
            schedule = kept;
        }
    }
    schedule
}

impl Kind {
    /// The nodes it names.
    fn nodes(self) -> impl Iterator<Item = usize> {
        let (one, other) = match self {
            Self::OneWay(from, to) => (Some(from), Some(to)),
            Self::Api(Whom::Node(node), _)
            | Self::FrontEnd(node, _)
            | Self::WatchLate(node, _)
            | Self::WatchSilent(node)
            | Self::Isolated(node)
            | Self::Unplugged(node)
            | Self::Crash(node)
            | Self::PowerLoss(node)
            | Self::LinkDown(node)
            | Self::AgentFrozen(node)
            | Self::HostFrozen(node)
            | Self::AddressDeleted(node)
            | Self::Shutdown(node)
            | Self::Unhealthy(node)
            | Self::Misconfigured(node) => (Some(node), None),
            Self::Api(Whom::All, _)
            | Self::LeaseDeleted
            | Self::LeaseSetBack
            | Self::Loss(_)
            | Self::Delay(_)
            | Self::Rogue => (None, None),
        };
        one.into_iter().chain(other)
    }
}
