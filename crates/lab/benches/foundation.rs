//! The promised figures, measured: `make bench`. A peer (keepalived) is measured beside, by the same probe.
//!
//! Arguments: `--long` for five times as many runs, `--only NAME` for the figures whose scenario has that name.
//! The agent is the release build without the `demo` feature, as it is in the container image.
#![expect(clippy::print_stdout, reason = "the table is the benchmark's data")]

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_core::time::Moment;
use mainstay_lab::apiserver::{Fault, Reads};
use mainstay_lab::bench::{Bound, Figure, table, write};
use mainstay_lab::cluster::{Cluster, Layout, PORT, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Addresses, HolderWatch, Host, Process, Segment};
use mainstay_lab::probe::{self, Probe, Report};

const PATIENCE: Duration = Duration::from_secs(40);
const ADDRESS: IpAddr = IpAddr::V4(VIP);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Scenario = fn(&Bench) -> Result<Vec<Figure>>;

const SCENARIOS: [(&str, Scenario); 9] = [
    ("binary", binary),
    ("idle", idle),
    ("hard-death", hard_death),
    ("keepalived", keepalived),
    ("death-with-api", death_with_api),
    ("outage", outage),
    ("outage-death", outage_death),
    ("hand-over", hand_over),
    ("agent-gone", agent_gone),
];

fn run(arguments: &[String]) -> Result<bool> {
    netns::become_privileged()?;
    let only =
        arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    let bench = Bench::new(if arguments.iter().any(|argument| argument == "--long") { 5 } else { 1 })?;
    let mut figures = Vec::new();
    for (name, scenario) in SCENARIOS {
        if only.is_none_or(|only| only == name) {
            bench.say(name);
            figures.extend(scenario(&bench).with_context(|| format!("scenario {name}"))?);
        }
    }
    println!("{}", table(&figures));
    let path = bench.target.join("bench/foundation.json");
    write(&path, &figures)?;
    println!("written to {}", path.display());
    Ok(figures.iter().all(|figure| figure.ok))
}

/// What every scenario needs.
struct Bench {
    target: PathBuf,
    mainstay: PathBuf,
    scratch: PathBuf,
    factor: usize,
    clusters: Cell<u32>,
    began: Instant,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.scratch));
    }
}

impl Bench {
    fn new(factor: usize) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let mainstay = target.join("release/mainstay");
        ensure!(mainstay.exists(), "{} is missing: run `make bench`, which builds it", mainstay.display());
        let scratch = std::env::temp_dir().join(format!("mainstay-bench-{}", std::process::id()));
        Ok(Self { target, mainstay, scratch, factor, clusters: Cell::new(0), began: Instant::now() })
    }

    fn say(&self, what: &str) {
        // A closed pipe is no reason to stop measuring.
        drop(writeln!(std::io::stderr(), "[{:>4} s] {what}", self.began.elapsed().as_secs()));
    }

    fn plan(&self) -> Plan {
        self.clusters.set(self.clusters.get() + 1);
        Plan::new(&self.mainstay, &self.scratch.join(self.clusters.get().to_string()))
    }

    /// Runs `measure` `count` times, and tells each value.
    fn repeat(&self, count: usize, mut measure: impl FnMut(usize) -> Result<f64>) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        for number in 0..count * self.factor {
            let value = measure(number)?;
            self.say(&format!("  run {}: {value:.1}", number + 1));
            values.push(value);
        }
        Ok(values)
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn probe_vip(client: &Host) -> Result<Probe> {
    Probe::start(client, probe::Plan::new(ADDRESS).with_tcp(PORT))
}

/// Waits until the client's probes are answered, so that what follows is no matter of starting up.
fn wait_answered(probe: &Probe) -> Result<()> {
    let from = probe::now();
    let answered = || {
        Ok(probe.report(from, probe::now()).answerers.first().map(|answerer| answerer.count))
            .map(|count| count.filter(|count| *count > 300))
    };
    wait_for(PATIENCE, answered)?.context("the VIP does not answer").map(drop)
}

/// From a fault until the VIP answers again without interruption. The window begins a moment earlier, so that it has
/// answers of the former holder, and the new one's are seen as a change.
fn dark_after(probe: &Probe, fault: Moment) -> Result<Report> {
    let fault = fault - Duration::from_millis(200);
    let recovered = || {
        let report = probe.report(fault, probe::now());
        let last = report.changes.last().map(|(at, _)| *at);
        Ok((report.changes.len() > 1
            && last.is_some_and(|at| probe::now().since(at) > Duration::from_millis(1_500)))
        .then_some(()))
    };
    wait_for(PATIENCE, recovered)?.context("nobody else answers for the VIP")?;
    Ok(probe.settled_report(fault, probe::now()))
}

fn binary(bench: &Bench) -> Result<Vec<Figure>> {
    #[expect(clippy::cast_precision_loss, reason = "a file's size is far below 2^53")]
    let megabytes = fs::metadata(&bench.mainstay)?.len() as f64 / 1e6;
    Ok(vec![Figure::of("binary_mb", "MB", vec![megabytes], &[Bound::max(12.0)])])
}

/// Three idle agents, and what they cost the API server.
fn idle(bench: &Bench) -> Result<Vec<Figure>> {
    let mut cluster = Cluster::up(bench.plan())?;
    let settled = Instant::now() + Duration::from_secs(15);
    wait_for(PATIENCE, || Ok((Instant::now() >= settled).then_some(())))?;
    let account = cluster.api.embedded()?.cluster.store().account().clone();
    let (mut rss, mut cpu, mut writes, mut reads) = (vec![], vec![], vec![], vec![]);
    for _ in 0..2 * bench.factor {
        account.reset();
        let before = run_time(&mut cluster)?;
        let window = Instant::now();
        wait_for(PATIENCE, || Ok((window.elapsed() >= Duration::from_secs(30)).then_some(())))?;
        let seconds = window.elapsed().as_secs_f64();
        let per_second = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
        writes.push(per_second(
            account.writes().iter().filter(|write| write.resource == "leases").count() as u64
        ));
        reads.push(per_second(account.reads("leases")));
        for (before, after) in before.iter().zip(run_time(&mut cluster)?) {
            cpu.push(100.0 * (after - *before).as_secs_f64() / seconds);
        }
        for index in 0..cluster.nodes.len() {
            rss.push(resident_mib(&mut cluster, index)?);
        }
    }
    Ok(vec![
        Figure::of("idle_rss_mib", "MiB", rss, &[Bound::max(15.0)]),
        Figure::of("idle_cpu_percent", "%", cpu, &[Bound::max(0.3)]),
        Figure::of("api_writes_per_s", "1/s", writes, &[Bound::max(0.5)]),
        Figure::of("api_reads_per_s", "1/s", reads, &[Bound::max(0.0)]),
    ])
}

/// Time that each agent's threads have run, as the scheduler counts it (proc's schedstat, first field, nanoseconds).
fn run_time(cluster: &mut Cluster) -> Result<Vec<Duration>> {
    (0..cluster.nodes.len())
        .map(|index| {
            let id = cluster.agent(index).context("the agent runs")?.id();
            let mut total = 0;
            for task in fs::read_dir(format!("/proc/{id}/task"))? {
                let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
                total += schedstat.split_whitespace().next().context("a number")?.parse::<u64>()?;
            }
            Ok(Duration::from_nanos(total))
        })
        .collect()
}

fn resident_mib(cluster: &mut Cluster, index: usize) -> Result<f64> {
    let id = cluster.agent(index).context("the agent runs")?.id();
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}

/// The holder's node dies with the API up: by turns a silent partition and a port that goes down.
fn hard_death(bench: &Bench) -> Result<Vec<Figure>> {
    let values = bench.repeat(20, |number| {
        let cluster = Cluster::up(bench.plan())?;
        let holder = cluster.wait_settled(PATIENCE)?;
        let probe = probe_vip(&cluster.client)?;
        wait_answered(&probe)?;
        let fault = probe::now();
        let host = &cluster.nodes[holder].host;
        if number % 2 == 0 {
            cluster.segment.partition(host)?
        } else {
            cluster.segment.port_down(host)?
        }
        Ok(millis(dark_after(&probe, fault)?.longest_dark))
    })?;
    let bounds = [Bound::median(320.0), Bound::max(450.0)];
    Ok(vec![Figure::of("hard_death_dark_ms", "ms", values, &bounds)])
}

/// One API server on each node: the holder dies with its own, and writes stall for 1.5 s as while etcd elects.
fn death_with_api(bench: &Bench) -> Result<Vec<Figure>> {
    let values = bench.repeat(5, |_| {
        let cluster = Cluster::up(bench.plan().with_layout(Layout::OnEachNode))?;
        let holder = cluster.wait_settled(PATIENCE)?;
        let probe = probe_vip(&cluster.client)?;
        wait_answered(&probe)?;
        let fault = probe::now();
        cluster
            .api
            .embedded()?
            .cluster
            .store()
            .stall_writes_for(Duration::from_millis(1_500), Reads::Stalled);
        cluster.segment.partition(&cluster.nodes[holder].host)?;
        Ok(millis(dark_after(&probe, fault)?.longest_dark))
    })?;
    Ok(vec![Figure::of("death_with_api_dark_ms", "ms", values, &[Bound::max(2_500.0)])])
}

/// Outages longer than three lease durations in every form, a restart in each, and the return.
fn outage(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut lost, mut restart_lost, mut confirm) = (vec![], vec![], vec![]);
    let forms: [(&str, Option<Fault>); 4] = [
        ("refused", Some(Fault::Refuse)),
        ("black-holed", None),
        ("hung", Some(Fault::Hang)),
        ("503", Some(Fault::Status { code: 503, rate: 1.0, retry_after: None })),
    ];
    for (form, fault) in forms.iter().cycle().take(4 * bench.factor) {
        let mut cluster = Cluster::up(bench.plan().quick())?;
        let holder = cluster.wait_settled(PATIENCE)?;
        let probe = probe_vip(&cluster.client)?;
        wait_answered(&probe)?;
        let api = cluster.api_host.clone().context("an API server apart")?;
        let begin = probe::now();
        match fault {
            Some(fault) => cluster.api.embedded()?.fronts[0].inject(fault.clone()),
            None => cluster.segment.drop_tcp(&api, PORT)?,
        }
        wait_for(PATIENCE, || Ok((probe::now().since(begin) > Duration::from_secs(16)).then_some(())))?;
        let middle = probe::now();
        lost.push(moved_or_lost(&cluster, holder, &probe.settled_report(begin, middle))?);
        cluster.kill(holder)?;
        cluster.start(holder)?;
        cluster.wait_tenure(holder, "detached", PATIENCE)?;
        let restarted = probe::now();
        restart_lost.push(moved_or_lost(&cluster, holder, &probe.settled_report(middle, restarted))?);
        let healed = probe::now();
        match fault {
            Some(_) => cluster.api.embedded()?.fronts[0].heal(),
            None => cluster.segment.lift_all()?,
        }
        cluster.wait_tenure(holder, "confirmed", PATIENCE)?;
        confirm.push(probe::now().since(healed).as_secs_f64());
        lost.push(moved_or_lost(&cluster, holder, &probe.settled_report(restarted, probe::now()))?);
        bench.say(&format!(
            "  {form}: lost {lost:?}, at restarts {restart_lost:?}, confirmed after {confirm:.1?} s"
        ));
    }
    Ok(vec![
        Figure::of("outage_lost", "probes", lost, &[Bound::max(0.0)]),
        Figure::of("outage_restart_lost", "probes", restart_lost, &[Bound::max(0.0)]),
        Figure::of("api_return_confirm_s", "s", confirm, &[Bound::max(5.0)]),
    ])
}

/// Probes lost; a VIP that moved is an error, whatever was lost.
fn moved_or_lost(cluster: &Cluster, holder: usize, report: &Report) -> Result<f64> {
    ensure!(cluster.holders()? == [holder], "the VIP moved");
    let lost = u32::try_from(report.lost + report.tcp.lost)?;
    Ok(f64::from(lost))
}

/// The holder's node dies during an outage; later the API returns, and then the node.
fn outage_death(bench: &Bench) -> Result<Vec<Figure>> {
    let mut pairs = vec![];
    let dark = bench.repeat(5, |_| {
        let cluster = Cluster::up(bench.plan().quick())?;
        let holder = cluster.wait_settled(PATIENCE)?;
        let probe = probe_vip(&cluster.client)?;
        wait_answered(&probe)?;
        cluster.api.embedded()?.fronts[0].inject(Fault::Refuse);
        cluster.wait_tenure(holder, "detached", PATIENCE)?;
        let fault = probe::now();
        cluster.segment.partition(&cluster.nodes[holder].host)?;
        let dark = millis(dark_after(&probe, fault)?.longest_dark);
        cluster.api.embedded()?.fronts[0].heal();
        let next = cluster.wait_holder(&cluster.others(holder), PATIENCE)?;
        cluster.wait_tenure(next, "confirmed", PATIENCE)?;
        pairs.push(heal(&cluster, holder, next)?);
        Ok(dark)
    })?;
    Ok(vec![
        Figure::of("outage_death_dark_ms", "ms", dark, &[Bound::max(2_000.0)]),
        Figure::of("two_holders_ms", "ms", pairs, &[Bound::max(1_000.0)]),
    ])
}

/// How long two kernels have the VIP after they can hear each other again.
fn heal(cluster: &Cluster, back: usize, rightful: usize) -> Result<f64> {
    let hosts: Vec<Host> = cluster.nodes.iter().map(|node| node.host.clone()).collect();
    let watch = HolderWatch::start(&hosts)?;
    let healed = probe::now();
    cluster.segment.heal(&cluster.nodes[back].host)?;
    let single = || Ok((watch.holders(ADDRESS).len() == 1).then(probe::now));
    let ended = wait_for(PATIENCE, single)?.context("two nodes hold for ever")?;
    ensure!(cluster.holders()? == [rightful], "the rightful holder lost");
    Ok(millis(ended.since(healed)))
}

fn hand_over(bench: &Bench) -> Result<Vec<Figure>> {
    let mut cluster = Cluster::up(bench.plan().quick())?;
    let probe = probe_vip(&cluster.client)?;
    wait_answered(&probe)?;
    let lost = bench.repeat(10, |_| {
        let holder = cluster.wait_settled(PATIENCE)?;
        let begin = probe::now();
        cluster.stop(holder, PATIENCE)?;
        let next = cluster.wait_holder(&cluster.others(holder), PATIENCE)?;
        cluster.wait_tenure(next, "confirmed", PATIENCE)?;
        cluster.start(holder)?;
        cluster.wait_settled(PATIENCE)?;
        moved_or_lost(&cluster, next, &probe.settled_report(begin, probe::now()))
    })?;
    Ok(vec![Figure::of("handover_lost", "probes", lost, &[Bound::max(0.0)])])
}

/// The agent dies and stays away: its kernel lets the VIP go, and the next holder follows.
fn agent_gone(bench: &Bench) -> Result<Vec<Figure>> {
    let mut gone = vec![];
    let next = bench.repeat(2, |_| {
        let mut cluster = Cluster::up(bench.plan().quick())?;
        let holder = cluster.wait_settled(PATIENCE)?;
        let hosts: Vec<Host> = cluster.nodes.iter().map(|node| node.host.clone()).collect();
        let watch = HolderWatch::start(&hosts)?;
        let killed = probe::now();
        cluster.kill(holder)?;
        let next = cluster.wait_holder(&cluster.others(holder), PATIENCE)?;
        let changes = watch.timeline_of(ADDRESS);
        let of = |index: usize| {
            let name = cluster.nodes[index].host.name().to_owned();
            changes.iter().rev().find(move |change| change.host == name).map(|change| change.at)
        };
        let lost_at = of(holder).context("the VIP left the dead agent's kernel")?;
        gone.push(lost_at.since(killed).as_secs_f64());
        Ok(millis(of(next).context("the next holder's address")?.since(lost_at)))
    })?;
    Ok(vec![
        Figure::of("agent_gone_vip_gone_s", "s", gone, &[Bound::max(10.5)]),
        Figure::of("agent_gone_next_holder_ms", "ms", next, &[Bound::max(1_000.0)]),
    ])
}

// === the peer ===

/// keepalived, VRRPv3 at its 100 ms adverts, under the same fault and the same probe.
fn keepalived(bench: &Bench) -> Result<Vec<Figure>> {
    if Command::new("keepalived").arg("--version").stderr(Stdio::null()).status().is_err() {
        bench.say("  skipped: keepalived is not installed (apt-get install keepalived)");
        return Ok(vec![]);
    }
    let values = bench.repeat(6, |number| {
        let segment = Segment::new("vrrp")?;
        let nodes =
            [segment.host("n1", Addresses::numbered(1))?, segment.host("n2", Addresses::numbered(2))?];
        let client = segment.host("client", Addresses::numbered(50))?;
        let directory = bench.scratch.join(format!("keepalived-{number}"));
        fs::create_dir_all(&directory)?;
        let _daemons = [vrrp(&nodes[0], 230, &directory)?, vrrp(&nodes[1], 210, &directory)?];
        let probe = probe_vip(&client)?;
        wait_for(PATIENCE, || Ok(nodes[0].holds(ADDRESS)?.then_some(())))?
            .context("keepalived does not start")?;
        let settled = probe::now();
        wait_for(PATIENCE, || Ok((probe::now().since(settled) > Duration::from_secs(3)).then_some(())))?;
        wait_answered(&probe)?;
        let fault = probe::now();
        if number % 2 == 0 {
            segment.partition(&nodes[0])?
        } else {
            segment.port_down(&nodes[0])?
        }
        Ok(millis(dark_after(&probe, fault)?.longest_dark))
    })?;
    Ok(vec![Figure::of("keepalived_hard_death_dark_ms", "ms", values, &[])])
}

fn vrrp(host: &Host, priority: u8, directory: &Path) -> Result<Process> {
    let device = host.device();
    let config = directory.join(format!("{}.conf", host.name()));
    let text = format!(
        "global_defs {{\n  router_id {name}\n}}\nvrrp_instance v {{\n  version 3\n  state BACKUP\n  interface {device}\n  \
         virtual_router_id 51\n  priority {priority}\n  advert_int 0.1\n  virtual_ipaddress {{ {VIP}/32 }}\n}}\n",
        name = host.name()
    );
    fs::write(&config, text)?;
    let pid = |kind: &str| directory.join(format!("{}.{kind}.pid", host.name()));
    let log = fs::File::create(directory.join(format!("{}.log", host.name())))?;
    let mut command = Command::new("keepalived");
    command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(&config);
    command.arg("--pid").arg(pid("main")).arg("--vrrp_pid").arg(pid("vrrp"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    host.run(command)
}
