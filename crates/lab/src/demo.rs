//! `mainstay demo`: three nodes hold a VIP through everything that takes it away elsewhere, and a report proves it.
//!
//! Real processes, real network stacks, real frames and a real HTTPS API, on this machine alone. A client's probes,
//! a capture and the nodes' kernels are the witnesses; the agents' own word only colours the picture.

mod load;
mod progress;
pub mod recorder;
mod script;
mod services;
pub mod stage;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns;
use crate::report::promises::{broken, judge};
use crate::report::{self, Timeline, figures};
use recorder::Recorder;
use script::Script;
use stage::{Interrupt, Stage};

/// Lease durations of the demonstration, in seconds.
const TIMING: (u32, u32, u32) = (5, 3, 1);

/// Where the report goes if nothing else is said.
const DIRECTORY: &str = "target/demo";

/// Flags of `mainstay demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is shown [default: the control plane's VIP]
    #[command(subcommand)]
    pub show: Option<Show>,
    /// Where the report and the agents' logs go [default: target/demo, of Services target/demo-services]
    #[arg(long, value_name = "DIR", global = true)]
    pub report: Option<PathBuf>,
    /// The mainstay program to run as agents [default: this one]
    #[arg(long, value_name = "FILE", global = true)]
    pub program: Option<PathBuf>,
}

/// What else there is to show.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Show {
    /// Twelve Services of type LoadBalancer: a node's death, an API outage with a restart in it. Under two minutes
    Services,
}

/// Every promise was kept.
const KEPT: u8 = 0;
/// A promise was broken, or the run was interrupted.
const BROKEN: u8 = 1;

/// Runs the demonstration and writes its report; the exit code.
///
/// Without root it starts this program again in a user namespace, where the kernel allows it.
///
/// # Errors
/// When the stage cannot be built; the message has the remedy.
pub fn run(args: &Args) -> Result<u8> {
    netns::become_privileged()?;
    match args.show {
        Some(Show::Services) => services::run(args),
        None => run_control_plane(args),
    }
}

fn run_control_plane(args: &Args) -> Result<u8> {
    let directory = args.report.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY));
    let interrupt = Interrupt::listen()?;
    make_directory(&directory)?;
    let program = stage::program(args.program.as_deref())?;
    let stage = Stage::build(&program, TIMING, &directory)?;
    let record = Recorder::start(&stage, script::PORT)?;
    record.observe_api(&stage)?;
    let timeline = Script::new(stage, record, interrupt).play()?;
    conclude(&timeline, &directory)
}

fn make_directory(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| {
        format!("cannot make the report's directory {}; choose one with --report", directory.display())
    })
}

fn conclude(timeline: &Timeline, directory: &Path) -> Result<u8> {
    let promises = judge(timeline);
    let broken = broken(&promises);
    let page = report::write(timeline, &promises, directory)?;
    let mut text = table(timeline);
    let verdict = match (broken.len(), timeline.interrupted) {
        (0, false) => format!("All {} promises kept.", promises.len()),
        (0, true) => "Interrupted: the promises of the phases above were kept.".to_owned(),
        (count, _) => format!("{count} of {} promises BROKEN:\n  {}", promises.len(), broken.join("\n  ")),
    };
    let _ = write!(text, "\n{verdict}\nReport: {}\n", page.display());
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if broken.is_empty() && !timeline.interrupted { KEPT } else { BROKEN })
}

/// The phases and their figures, for the terminal.
fn table(timeline: &Timeline) -> String {
    let mut text = format!(
        "\n{:<18} {:>7} {:>6} {:>9}  {:<10} {:>5} {:>12} {:>10}\n",
        "phase", "probes", "lost", "dark", "holder", "moves", "two holders", "gap"
    );
    let ms = |duration: Duration| format!("{} ms", duration.as_millis());
    for phase in &timeline.phases {
        let figures = figures::of(timeline, phase);
        let _ = writeln!(
            text,
            "{:<18} {:>7} {:>6} {:>9}  {:<10} {:>5} {:>12} {:>10}",
            phase.name,
            figures.sent,
            figures.lost,
            ms(figures.longest_dark),
            report::html::holders(timeline, &figures),
            figures.moves,
            ms(figures.two_holders),
            ms(figures.longest_announcement_gap)
        );
    }
    text
}
