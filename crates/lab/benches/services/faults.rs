//! What scenarios have in common: what is read off a cluster with many Services, and how its nodes go dark.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_lab::apiserver::Account;
use mainstay_lab::bench::{Bound, Figure};
use mainstay_lab::cluster::wait_for;
use mainstay_lab::probe::{self, Sweep, SweepPlan};

use crate::scene::{PATIENCE, Scene, millis};

pub(crate) const SERVICES: usize = 1_000;
pub(crate) const NODES: u8 = 5;
/// How often each address is asked that is watched.
pub(crate) const SPACING: Duration = Duration::from_millis(40);
/// Between two looks at a sweep.
const LOOK: Duration = Duration::from_millis(100);
/// So long nothing is written any more.
const QUIET: Duration = Duration::from_secs(3);
/// For the writes, each.
const WINDOW: Duration = Duration::from_secs(30);

/// Waits until every Service says who holds it: the last of what is written.
pub(crate) fn wait_published(scene: &Scene<'_>) -> Result<()> {
    let began = Instant::now();
    let said = || {
        let all = (0..SERVICES).all(|place| scene.shop.host(&Scene::name(place)).is_some());
        Ok(all.then_some(()))
    };
    wait_for(PATIENCE, said)?.context("not every Service says who holds it")?;
    scene.bench.say(&format!("  all published {:.1} s later", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Writes to the API at rest, by everybody, the control plane's VIP included.
pub(crate) fn writes(scene: &Scene<'_>) -> Result<Figure> {
    let account = scene.cluster.api.embedded()?.cluster.store().account().clone();
    let mut values = Vec::new();
    for _ in 0..2 {
        account.reset();
        let began = Instant::now();
        rest(WINDOW)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut by_kind = BTreeMap::<String, u64>::new();
        for ((verb, kind), number) in account.counts() {
            *by_kind.entry(format!("{} {kind}", verb.as_str())).or_default() += number;
        }
        let written: u64 =
            account.counts().iter().filter(|((verb, _), _)| verb.is_write()).map(|(_, n)| n).sum();
        scene.bench.say(&format!("  requests in {seconds:.0} s: {by_kind:?}"));
        values.push(f64::from(u32::try_from(written)?) / seconds);
    }
    Ok(Figure::of("api_writes_steady_per_s", "1/s", values, &[Bound::max(1.5)]))
}

/// What was written, by kind; but for the Leases, which are renewed as ever.
pub(crate) fn writes_but_leases(account: &Account) -> BTreeMap<String, u64> {
    let counts = account.counts().into_iter();
    let written = counts.filter(|((verb, kind), _)| verb.is_write() && *kind != "leases");
    written.map(|((verb, kind), number)| (format!("{} {kind}", verb.as_str()), number)).collect()
}

/// Waits until nothing but Leases was written for a while.
pub(crate) fn wait_quiet(account: &Account) -> Result<()> {
    let mut last = (writes_but_leases(account), Instant::now());
    let quiet = || {
        std::thread::sleep(LOOK);
        let now = writes_but_leases(account);
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() > QUIET).then_some(()))
    };
    wait_for(PATIENCE, quiet)?.context("writes go on and on")
}

/// Lets time pass, and tells every so often what was lost since `began`.
pub(crate) fn watch(scene: &Scene<'_>, sweep: &Sweep, began: probe::Moment, length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    let mut next = Instant::now() + Duration::from_secs(20);
    let look = || {
        std::thread::sleep(LOOK);
        if Instant::now() >= next {
            next += Duration::from_secs(20);
            let lost: usize = sweep.reports(began, probe::now()).iter().map(|report| report.lost).sum();
            scene.bench.say(&format!("  {lost} probes lost so far"));
        }
        Ok((Instant::now() >= end).then_some(()))
    };
    wait_for(PATIENCE, look).map(drop)
}

/// How a node goes dark.
#[derive(Clone, Copy)]
pub(crate) enum Death {
    /// Its frames are dropped, and nothing tells anybody.
    Silent,
    /// Its cable is pulled.
    Unplugged,
}

impl Death {
    pub(crate) const BOTH: [Self; 2] = [Self::Silent, Self::Unplugged];

    pub(crate) fn strike(self, scene: &Scene<'_>, node: usize) -> Result<()> {
        let (segment, host) = (&scene.cluster.segment, &scene.cluster.nodes[node].host);
        match self {
            Self::Silent => segment.partition(host),
            Self::Unplugged => segment.port_down(host),
        }
    }

    /// The node is back.
    pub(crate) fn end(self, scene: &Scene<'_>, node: usize) -> Result<()> {
        let (segment, host) = (&scene.cluster.segment, &scene.cluster.nodes[node].host);
        match self {
            Self::Silent => segment.heal(host),
            Self::Unplugged => segment.port_up(host),
        }
    }
}

/// From the fault until each watched address is answered by another node, in ms.
pub(crate) fn dark_at(
    scene: &Scene<'_>,
    (node, death): (usize, Death),
    targets: Vec<Ipv4Addr>,
) -> Result<Vec<f64>> {
    let sweep = scene.sweep(SweepPlan::new(targets, SPACING).remembering())?;
    wait_answered(&sweep)?;
    let host = &scene.cluster.nodes[node].host;
    let fault = probe::now();
    death.strike(scene, node)?;
    let answers = || {
        std::thread::sleep(LOOK);
        Ok(sweep.first_answers(fault, Some(host.mac())).into_iter().collect::<Option<Vec<_>>>())
    };
    let answers = wait_for(PATIENCE, answers)?.context("not every address answers again")?;
    Ok(answers.into_iter().map(|at| millis(at.since(fault))).collect())
}

pub(crate) fn rest(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    wait_for(PATIENCE, || Ok((Instant::now() >= end).then_some(()))).map(drop)
}

/// Waits until every address of the sweep answers.
pub(crate) fn wait_answered(sweep: &Sweep) -> Result<()> {
    let all = || {
        std::thread::sleep(LOOK);
        let recent = probe::now() - Duration::from_millis(500);
        Ok(sweep.first_answers(recent, None).iter().all(Option::is_some).then_some(()))
    };
    wait_for(PATIENCE, all)?.context("the watched addresses do not answer")
}
