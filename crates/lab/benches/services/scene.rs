//! A cluster with Services, and what is read off it.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_lab::bench::{Bound, Figure};
use mainstay_lab::cluster::{Cluster, Plan, wait_for};
use mainstay_lab::probe::{Sweep, SweepPlan};
use mainstay_lab::shop::{self, Address, Shop};

use crate::faults;

/// Nothing here may take longer to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at what takes seconds.
const LOOK: Duration = Duration::from_millis(500);
/// How long the agents are left alone before their memory is read.
const REST: Duration = Duration::from_secs(20);
/// The pool's ends.
const POOL: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 78, 0, 0), Ipv4Addr::new(10, 78, 63, 255));

/// What every scenario needs.
pub(crate) struct Bench {
    pub(crate) target: PathBuf,
    mainstay: PathBuf,
    scratch: PathBuf,
    began: Instant,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.scratch));
    }
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let mainstay = target.join("release/mainstay");
        ensure!(
            mainstay.exists(),
            "{} is missing: run `make bench-services`, which builds it",
            mainstay.display()
        );
        let scratch = std::env::temp_dir().join(format!("mainstay-bench-{}", std::process::id()));
        Ok(Self { target, mainstay, scratch, began: Instant::now() })
    }

    pub(crate) fn say(&self, what: &str) {
        // A closed pipe is no reason to stop measuring.
        drop(writeln!(std::io::stderr(), "[{:>4} s] {what}", self.began.elapsed().as_secs()));
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Least, middle and greatest, for the progress lines.
pub(crate) fn at_a_time(values: &[f64]) -> String {
    let figure = Figure::of("", "", values.to_vec(), &[]);
    format!("{:.0} / {:.0} / {:.0} ms of {}", figure.min, figure.median, figure.max, figure.runs)
}

pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Who holds Services.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// One node all of them.
    OneHolder,
    /// `svc_election`.
    Spread,
}

/// A cluster that holds the control plane's VIP and Services, with client-go's timing.
pub(crate) struct Scene<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) cluster: Cluster,
    pub(crate) shop: Shop,
    election: Election,
}

impl<'a> Scene<'a> {
    /// No agent runs yet.
    pub(crate) fn new(bench: &'a Bench, nodes: u8, election: Election) -> Result<Self> {
        // What another cluster remembered is no state of this one.
        let mut unused = (1..).map(|time| bench.scratch.join(format!("of-{nodes}-{time}")));
        let scratch = unused.find(|directory| !directory.exists()).context("a directory")?;
        let plan = Plan { nodes, ..Plan::new(&bench.mainstay, &scratch) };
        let spread = if election == Election::Spread { "true" } else { "false" };
        let plan = plan.with_setting("svc_enable", "true").with_setting("svc_election", spread);
        let cluster = Cluster::new(plan)?;
        cluster.client.output("ip", &["route", "add", "10.78.0.0/18", "dev", cluster.client.device()])?;
        let shop = Shop::open(&cluster, POOL)?;
        Ok(Self { bench, cluster, shop, election })
    }

    /// The agents run, and hold.
    pub(crate) fn open(bench: &'a Bench, nodes: u8, election: Election) -> Result<Self> {
        let mut scene = Self::new(bench, nodes, election)?;
        scene.start()?;
        Ok(scene)
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        (0..self.cluster.nodes.len()).try_for_each(|node| self.cluster.start(node))?;
        self.cluster.wait_settled(PATIENCE)?;
        let seated =
            || Ok((self.election == Election::OneHolder || shop::seated(&self.cluster)).then_some(()));
        wait_for(PATIENCE, seated)?.context("not every node holds its seat")
    }

    /// The address that the pool gives to the Service in this place.
    pub(crate) fn address(place: usize) -> Ipv4Addr {
        shop::handed_out(POOL.0, place)
    }

    pub(crate) fn name(place: usize) -> String {
        format!("service-{place:05}")
    }

    pub(crate) fn add(&self, place: usize, address: Address) -> Result<()> {
        self.shop.add(&Self::name(place), address)
    }

    /// Makes the first `count` Services.
    pub(crate) fn fill(&self, count: usize, address: fn(Ipv4Addr) -> Address) -> Result<()> {
        (0..count).try_for_each(|place| self.add(place, address(Self::address(place))))?;
        self.bench.say(&format!("  {count} Services made"));
        Ok(())
    }

    pub(crate) fn sweep(&self, plan: SweepPlan) -> Result<Sweep> {
        Sweep::start(&self.cluster.client, plan)
    }

    /// That the Service in this place got the address that was probed.
    pub(crate) fn check_published(&self, place: usize) -> Result<()> {
        let published = || Ok(self.shop.address(&Self::name(place)));
        let address = wait_for(PATIENCE, published)?.context("no address is published")?;
        ensure!(address == Self::address(place), "{} got {address}", Self::name(place));
        Ok(())
    }

    /// Waits until `count` addresses of the pool are held in all; how many by each node.
    pub(crate) fn wait_held(&self, count: usize) -> Result<Vec<usize>> {
        self.wait_loads(&format!("all {count} are held"), |loads| loads.iter().sum::<usize>() == count)
    }

    /// Waits until one node has `count` addresses of the pool and the others have none; which one.
    pub(crate) fn wait_one_holder(&self, count: usize) -> Result<usize> {
        let one = |loads: &[usize]| loads.iter().filter(|load| **load > 0).eq([&count]);
        let loads = self.wait_loads(&format!("one node holds {count}"), one)?;
        loads.iter().position(|load| *load == count).context("one node")
    }

    /// Waits until each node has its part of `count`; the one that has the most.
    pub(crate) fn wait_even(&self, count: usize) -> Result<usize> {
        let loads = self.wait_loads("each node has its part", |loads| is_even(loads, count))?;
        (0..loads.len()).max_by_key(|node| loads[*node]).context("a node")
    }

    /// The same with a node whose kernel does not count.
    pub(crate) fn wait_even_but(&self, dead: usize, count: usize) -> Result<()> {
        let even = |loads: &[usize]| is_even(&[&loads[..dead], &loads[dead + 1..]].concat(), count);
        self.wait_loads("each of the others has its part", even).map(drop)
    }

    fn wait_loads(&self, what: &str, are_so: impl Fn(&[usize]) -> bool) -> Result<Vec<usize>> {
        let mut told = Instant::now();
        let look = || {
            let loads = shop::held(&self.cluster, POOL)?;
            if are_so(&loads) {
                return Ok(Some(loads));
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                self.bench.say(&format!("  until {what}: {loads:?}"));
            }
            std::thread::sleep(LOOK);
            Ok(None)
        };
        let loads = wait_for(PATIENCE, look)?.with_context(|| format!("never: {what}"))?;
        self.bench.say(&format!("  {what}: {loads:?}"));
        Ok(loads)
    }

    /// The pool's addresses that a node's kernel has.
    pub(crate) fn addresses_of(&self, node: usize) -> Result<Vec<Ipv4Addr>> {
        shop::addresses(&self.cluster.nodes[node].host, POOL)
    }

    /// Resident memory after a rest: of all agents, of the Services' holder, of the others. `bound` is in MiB.
    pub(crate) fn memory(&mut self, names: [&'static str; 3], bound: f64) -> Result<Vec<Figure>> {
        // Who holds is written on each, and until that is done nothing is at rest.
        faults::wait_quiet(self.cluster.api.embedded()?.cluster.store().account())?;
        let rest = Instant::now() + REST;
        wait_for(PATIENCE, || Ok((Instant::now() >= rest).then_some(())))?;
        let held = shop::held(&self.cluster, POOL)?;
        let (mut holder, mut followers) = (Vec::new(), Vec::new());
        for (node, held) in held.into_iter().enumerate() {
            let id = self.cluster.agent(node).context("the agent runs")?.id();
            let (resident, peak) = (status_mib(id, "VmRSS:")?, status_mib(id, "VmHWM:")?);
            self.bench
                .say(&format!("  n{}: {held} held, {resident:.1} MiB resident, {peak:.1} at most", node + 1));
            if held > 0 { holder.push(resident) } else { followers.push(resident) }
        }
        let all = [&holder[..], &followers].concat();
        let [name, of_holder, of_followers] = names;
        Ok(vec![
            Figure::of(name, "MiB", all, &[Bound::max(bound)]),
            Figure::of(of_holder, "MiB", holder, &[]),
            Figure::of(of_followers, "MiB", followers, &[]),
        ])
    }
}

/// Within a tenth of the mean, or one of it.
fn is_even(loads: &[usize], count: usize) -> bool {
    let near = |load: usize| {
        let off = (load * loads.len()).abs_diff(count);
        off * 10 <= count || off <= loads.len()
    };
    loads.iter().sum::<usize>() == count && loads.iter().all(|load| near(*load))
}

/// A field of a process's `status`, in MiB.
fn status_mib(id: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).with_context(|| field.to_owned())?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}
