//! A cluster of five nodes with 1,000 Services: what it costs at rest, in an outage, and when the holder's node dies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_lab::bench::{Bound, Figure};
use mainstay_lab::cluster::{Outage, wait_for};
use mainstay_lab::probe::{self, Sweep, SweepPlan};
use mainstay_lab::shop::Address;

use crate::scene::{Bench, PATIENCE, Scene, at_a_time, count, millis};

const SERVICES: usize = 1_000;
/// So many more are made one by one.
const LATER: usize = 20;
const NODES: u8 = 5;
/// How many addresses are watched while nothing may be lost, and how often each is asked.
const SAMPLE: (usize, Duration) = (60, Duration::from_millis(40));
/// How many are watched at a death, and how often.
const AT_A_DEATH: (usize, Duration) = (200, Duration::from_millis(40));
const DEATHS: usize = 6;
/// Between two looks at a sweep.
const LOOK: Duration = Duration::from_millis(100);
/// For the writes, each.
const WINDOW: Duration = Duration::from_secs(30);
/// Half of the outage: before the restart, and after it.
const HALF_OUTAGE: Duration = Duration::from_secs(60);

/// All of it.
pub(crate) fn all(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut scene = Scene::open(bench, NODES)?;
    let began = Instant::now();
    scene.fill(SERVICES, |_| Address::FromPool)?;
    scene.wait_held(SERVICES)?;
    let all_up = began.elapsed().as_secs_f64();
    figures.push(Figure::of("thousand_services_up_s", "s", vec![all_up], &[]));
    wait_published(&scene)?;
    figures.extend(scene.memory(["rss_1000_mib", "rss_1000_holder_mib", "rss_1000_follower_mib"], 25.0)?);
    figures.push(writes(&scene)?);
    let later = crate::one_by_one(&scene, SERVICES, LATER)?;
    figures.push(Figure::of("service_up_with_1000_ms", "ms", later, &[]));
    figures.push(outage(&mut scene)?);
    figures.extend(deaths(&scene)?);
    Ok(())
}

/// Waits until every Service says who holds it: the last of what is written.
fn wait_published(scene: &Scene<'_>) -> Result<()> {
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
fn writes(scene: &Scene<'_>) -> Result<Figure> {
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

/// An outage of two minutes, in whose middle the holder's agent is killed and starts again; and its end.
fn outage(scene: &mut Scene<'_>) -> Result<Figure> {
    let held = SERVICES + LATER;
    let holder = scene.wait_held(held)?;
    let step = SERVICES / SAMPLE.0;
    let targets = (0..SAMPLE.0).map(|sample| Scene::address(sample * step)).collect();
    let sweep = scene.sweep(SweepPlan::new(targets, SAMPLE.1))?;
    wait_answered(&sweep)?;
    let began = probe::now();
    scene.cluster.api.fail(Outage::BlackHoled)?;
    watch(scene, &sweep, began, HALF_OUTAGE)?;
    scene.cluster.kill(holder)?;
    scene.cluster.start(holder)?;
    scene.bench.say("  the holder's agent was killed, and starts");
    watch(scene, &sweep, began, HALF_OUTAGE)?;
    ensure!(scene.wait_held(held)? == holder, "the Services moved");
    scene.cluster.api.heal()?;
    scene.wait_confirmed(holder)?;
    watch(scene, &sweep, began, Duration::from_secs(20))?;
    ensure!(scene.wait_held(held)? == holder, "the Services moved after the outage");
    let reports = sweep.settled_reports(began, probe::now());
    let (sent, lost): (usize, usize) =
        reports.iter().fold((0, 0), |(sent, lost), report| (sent + report.sent, lost + report.lost));
    let dark: Vec<f64> = reports.iter().map(|report| millis(report.longest_dark)).collect();
    scene.bench.say(&format!("  outage: {lost} of {sent} lost, longest dark {}", at_a_time(&dark)));
    let losses: Vec<f64> = reports.iter().map(|report| count(report.lost)).collect();
    Ok(Figure::of("outage_lost", "probes", losses, &[Bound::max(0.0)]))
}

/// Lets time pass, and tells every so often what was lost since `began`.
fn watch(scene: &Scene<'_>, sweep: &Sweep, began: probe::Moment, length: Duration) -> Result<()> {
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
enum Death {
    /// Its frames are dropped, and nothing tells anybody.
    Silent,
    /// Its cable is pulled.
    Unplugged,
}

/// The holder's node goes dark, by turns in either way, and comes back.
fn deaths(scene: &Scene<'_>) -> Result<Vec<Figure>> {
    let (mut first, mut last, mut middle) = (Vec::new(), Vec::new(), Vec::new());
    for (number, death) in [Death::Silent, Death::Unplugged].into_iter().cycle().take(DEATHS).enumerate() {
        let holder = scene.wait_held(SERVICES + LATER)?;
        rest(Duration::from_secs(5))?;
        let dark = dark_at(scene, holder, death)?;
        let figure = Figure::of("", "ms", dark, &[]);
        let Figure { min, median, max, .. } = figure;
        scene.bench.say(&format!("  death {}: {min:.0} / {median:.0} / {max:.0} ms", number + 1));
        first.push(min);
        middle.push(median);
        last.push(max);
        end(scene, holder, death)?;
    }
    Ok(vec![
        Figure::of("node_death_first_ms", "ms", first, &[Bound::max(500.0)]),
        Figure::of("node_death_median_ms", "ms", middle, &[]),
        Figure::of("node_death_last_ms", "ms", last, &[Bound::max(700.0)]),
    ])
}

/// From the fault until each watched address is answered by another node, in ms.
fn dark_at(scene: &Scene<'_>, holder: usize, death: Death) -> Result<Vec<f64>> {
    let step = SERVICES / AT_A_DEATH.0;
    let targets = (0..AT_A_DEATH.0).map(|sample| Scene::address(sample * step)).collect();
    let sweep = scene.sweep(SweepPlan::new(targets, AT_A_DEATH.1).remembering())?;
    wait_answered(&sweep)?;
    let (segment, host) = (&scene.cluster.segment, &scene.cluster.nodes[holder].host);
    let fault = probe::now();
    match death {
        Death::Silent => segment.partition(host)?,
        Death::Unplugged => segment.port_down(host)?,
    }
    let answers = || {
        std::thread::sleep(LOOK);
        Ok(sweep.first_answers(fault, Some(host.mac())).into_iter().collect::<Option<Vec<_>>>())
    };
    let answers = wait_for(PATIENCE, answers)?.context("not every address answers again")?;
    Ok(answers.into_iter().map(|at| millis(at.since(fault))).collect())
}

/// The node is back; waits until it has given up what another holds now.
fn end(scene: &Scene<'_>, node: usize, death: Death) -> Result<()> {
    let (segment, host) = (&scene.cluster.segment, &scene.cluster.nodes[node].host);
    match death {
        Death::Silent => segment.heal(host)?,
        Death::Unplugged => segment.port_up(host)?,
    }
    scene.wait_held(SERVICES + LATER).map(drop)?;
    scene.cluster.wait_settled(PATIENCE).map(drop)
}

fn rest(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    wait_for(PATIENCE, || Ok((Instant::now() >= end).then_some(()))).map(drop)
}

/// Waits until every address of the sweep answers.
fn wait_answered(sweep: &Sweep) -> Result<()> {
    let all = || {
        std::thread::sleep(LOOK);
        let recent = probe::now() - Duration::from_millis(500);
        Ok(sweep.first_answers(recent, None).iter().all(Option::is_some).then_some(()))
    };
    wait_for(PATIENCE, all)?.context("the watched addresses do not answer")
}
