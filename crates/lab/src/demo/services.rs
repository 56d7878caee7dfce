//! `mainstay demo services`: twelve Services are spread over three nodes, through a node's death and an outage of the API.
//!
//! As in the other demonstration everything is real but the pods, and the witnesses are a client's probes and the
//! nodes' kernels. One of the Services has the policy Local, and follows its pod.

mod acts;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::progress::Progress;
use super::stage::{self, Files, Interrupt, Interrupted, Node};
use super::{Args, BROKEN, KEPT, TIMING};
use crate::cluster::{Cluster, Plan};
use crate::netns::HolderWatch;
use crate::probe::{self, Moment, Report, Sweep, SweepPlan};
use crate::report::promises::{Promise, broken};
use crate::shop::{self, Shop};
use report::Figures;

/// How many Services there are from the begin.
const SERVICES: usize = 12;
/// One is made in the outage, and one after it.
const IN_ALL: usize = SERVICES + 2;
/// The pool's ends.
const POOL: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 77, 0, 160), Ipv4Addr::new(10, 77, 0, 180));
/// Between two echoes to one VIP.
const SPACING: Duration = Duration::from_millis(10);
/// Nothing of the demonstration may take longer than this to come about.
const LIMIT: Duration = Duration::from_secs(30);
/// Where the report goes if nothing else is said.
const DIRECTORY: &str = "target/demo-services";

/// Runs the demonstration and writes its report; the exit code.
pub(super) fn run(args: &Args) -> Result<u8> {
    let directory = args.report.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY));
    let interrupt = Interrupt::listen()?;
    super::make_directory(&directory)?;
    let program = stage::program(args.program.as_deref())?;
    let mut show = Show::build(&program, &directory, interrupt)?;
    let interrupted = show.play().is_err();
    show.conclude(&directory, interrupted)
}

/// The demonstration while it runs. Dropping it ends and removes everything.
#[derive(Debug)]
struct Show {
    // Before the hosts that they look at.
    sweep: Sweep,
    watch: HolderWatch,
    cluster: Cluster,
    shop: Shop,
    interrupt: Interrupt,
    progress: Progress,
    /// How many Services were made, in the order of the swept addresses.
    made: usize,
    /// How many of the swept addresses count in this phase.
    served: usize,
    cut: Option<Node>,
    /// From when on probes count in this phase.
    from: Moment,
    /// When the phase's fault was brought about or ended.
    pivot: Moment,
    /// How long the Services that were made in this phase took to answer.
    up: Vec<Duration>,
    phases: Vec<Figures>,
    promises: Vec<Promise>,
    _files: Files,
}

type Act = fn(&mut Show) -> Result<()>;

impl Show {
    fn build(program: &Path, logs: &Path, interrupt: Interrupt) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("mainstay-demo-{}", std::process::id()));
        let plan =
            Plan { logs: logs.to_owned(), name: "demo", timing: TIMING, ..Plan::new(program, &directory) };
        let files = Files(directory);
        let plan = plan.with_setting("svc_enable", "true").with_setting("svc_election", "true");
        let cluster = Cluster::new(plan)?;
        let shop = Shop::open(&cluster, POOL)?;
        let addresses = (0..IN_ALL).map(|place| shop::handed_out(POOL.0, place)).collect();
        Ok(Self {
            sweep: Sweep::start(&cluster.client, SweepPlan::new(addresses, SPACING))?,
            watch: HolderWatch::start(&cluster.hosts())?,
            cluster,
            shop,
            interrupt,
            progress: Progress::new(),
            made: 0,
            served: 0,
            cut: None,
            from: probe::now(),
            pivot: probe::now(),
            up: Vec::new(),
            phases: Vec::new(),
            promises: Vec::new(),
            _files: files,
        })
    }

    /// Plays it all, or up to the interruption.
    fn play(&mut self) -> Result<(), Interrupted> {
        acts::ACTS.iter().try_for_each(|(name, words, act)| self.phase(name, words, *act))
    }

    /// One phase. What goes wrong in it is written down; only an interruption ends the run.
    fn phase(&mut self, name: &'static str, words: &str, act: Act) -> Result<(), Interrupted> {
        let begin = probe::now();
        (self.from, self.pivot, self.served) = (begin, begin, self.made);
        self.up.clear();
        let before = self.holders();
        self.progress.begin(name, words);
        let result = act(self);
        if result.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
            self.progress.end(&format!("{name}: interrupted"));
            return Err(Interrupted);
        }
        let to = probe::now();
        let mut reports = self.sweep.settled_reports(self.from, to);
        reports.truncate(self.served);
        let figures = Figures {
            seconds: to.since(begin).as_secs_f64(),
            up_ms: report::spread(&self.up),
            bystanders_lost: self.lost_by_bystanders(&before, &reports),
            holders: [before, self.holders()],
            failure: result.err().map(|error| format!("{error:#}")),
            ..Figures::of(name, &reports)
        };
        let kept = report::judge(&figures, self.late_losses(to));
        self.progress.end(&figures.line(&kept));
        self.promises.extend(kept);
        self.phases.push(figures);
        Ok(())
    }

    /// Probes lost of Services that the node which is cut off had no part in.
    fn lost_by_bystanders(&self, before: &[BTreeSet<String>], reports: &[Report]) -> usize {
        let cut = self.cut.and_then(|node| self.cluster.nodes.get(node)).map(|node| node.host.name());
        let elsewhere = before
            .iter()
            .zip(reports)
            .filter(|(holders, _)| !holders.iter().any(|name| Some(name.as_str()) == cut));
        elsewhere.map(|(_, report)| report.lost).sum()
    }

    /// Probes of the phase lost from a second after its pivot on.
    fn late_losses(&self, to: Moment) -> usize {
        let reports = self.sweep.reports(self.pivot + Duration::from_secs(1), to);
        reports.iter().take(self.served).map(|report| report.lost).sum()
    }

    /// For each Service the nodes on the segment whose kernels have its address.
    fn holders(&self) -> Vec<BTreeSet<String>> {
        let cut = self.cut.and_then(|node| self.cluster.nodes.get(node)).map(|node| node.host.name());
        let of = |address: &Ipv4Addr| {
            let held = self.watch.holders((*address).into());
            held.into_iter().filter(|name| Some(name.as_str()) != cut).collect()
        };
        self.sweep.targets().iter().take(self.served).map(of).collect()
    }

    fn conclude(&self, directory: &Path, interrupted: bool) -> Result<u8> {
        let broken = broken(&self.promises);
        let file = directory.join("report.json");
        report::write(&file, (&self.phases, &self.promises), interrupted)?;
        let verdict = match (broken.len(), interrupted) {
            (0, false) => format!("All {} promises kept.", self.promises.len()),
            (0, true) => "Interrupted: the promises of the phases above were kept.".to_owned(),
            (count, _) => {
                format!("{count} of {} promises BROKEN:\n  {}", self.promises.len(), broken.join("\n  "))
            }
        };
        let table = report::table(&self.phases);
        let text = format!("\n{table}\n{verdict}\nReport: {}\n", file.display());
        std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
        Ok(if broken.is_empty() && !interrupted { KEPT } else { BROKEN })
    }
}
