//! A thousand Services spread over five nodes (`svc_election`): how evenly, what that costs at rest, in an outage, and when
//! a node dies.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::bench::{Bound, Figure};
use mainstay_lab::cluster::Outage;
use mainstay_lab::probe::{self, Sweep, SweepPlan};
use mainstay_lab::shop::Address;

use crate::faults::{self, Death, NODES, SERVICES, SPACING, rest, wait_answered, watch};
use crate::scene::{Bench, Election, Scene, at_a_time, count, millis};

/// So many more are made one by one.
const LATER: usize = 20;
const ALL: usize = SERVICES + LATER;
/// How many addresses are watched while nothing may be lost.
const SAMPLE: usize = 60;
/// Half of the outage: before the restart and the death, and after them.
const HALF_OUTAGE: Duration = Duration::from_secs(60);
/// As many nodes die one after the other, of those that have their own seat alone.
const DEATHS: usize = 3;
/// Nobody has more or less than the mean by more than this.
const UNEVEN_PERCENT: f64 = 10.0;

/// All of it.
pub(crate) fn all(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut scene = Scene::open(bench, NODES, Election::Spread)?;
    let began = Instant::now();
    scene.fill(SERVICES, |_| Address::FromPool)?;
    let loads = scene.wait_held(SERVICES)?;
    figures.push(Figure::of("thousand_services_up_s", "s", vec![began.elapsed().as_secs_f64()], &[]));
    let uneven = loads.iter().map(|load| 100.0 * (count(*load) / mean(&loads) - 1.0).abs()).collect();
    figures.push(Figure::of("spread_percent", "%", uneven, &[Bound::max(UNEVEN_PERCENT)]));
    faults::wait_published(&scene)?;
    figures.extend(scene.memory(["rss_1000_mib", "rss_1000_holder_mib", "rss_1000_follower_mib"], 25.0)?);
    figures.push(faults::writes(&scene)?);
    let later = crate::one_by_one(&scene, SERVICES, LATER)?;
    figures.push(Figure::of("service_up_with_1000_ms", "ms", later, &[]));
    figures.extend(deaths(&scene)?);
    figures.extend(outage(&mut scene)?);
    Ok(())
}

fn mean(loads: &[usize]) -> f64 {
    count(loads.iter().sum()) / count(loads.len())
}

/// Nodes go dark, by turns in either way, and come back; what each death costs until the load is even again.
fn deaths(scene: &Scene<'_>) -> Result<Vec<Figure>> {
    let (mut first, mut last, mut middle, mut cost, mut even) = (vec![], vec![], vec![], vec![], vec![]);
    for death in Death::BOTH.into_iter().cycle().take(DEATHS) {
        let node = scene.wait_even(ALL)?;
        rest(Duration::from_secs(5))?;
        let held = scene.addresses_of(node)?;
        let account = scene.cluster.api.embedded()?.cluster.store().account().clone();
        account.reset();
        let began = Instant::now();
        let dark = Figure::of("", "ms", faults::dark_at(scene, (node, death), held.clone())?, &[]);
        scene.wait_even_but(node, ALL)?;
        even.push(began.elapsed().as_secs_f64());
        faults::wait_quiet(&account)?;
        let writes = faults::writes_but_leases(&account);
        scene.bench.say(&format!(
            "  n{} died with {}: {:.0} / {:.0} / {:.0} ms, {writes:?}",
            node + 1,
            held.len(),
            dark.min,
            dark.median,
            dark.max
        ));
        let written: u64 = writes.values().sum();
        cost.push(f64::from(u32::try_from(written)?) / count(held.len()));
        first.push(dark.min);
        middle.push(dark.median);
        last.push(dark.max);
        death.end(scene, node)?;
    }
    Ok(vec![
        Figure::of("node_death_first_ms", "ms", first, &[Bound::max(500.0)]),
        Figure::of("node_death_median_ms", "ms", middle, &[]),
        Figure::of("node_death_last_ms", "ms", last, &[Bound::max(700.0)]),
        Figure::of("node_death_even_again_s", "s", even, &[]),
        Figure::of("node_death_writes_per_claim", "writes", cost, &[Bound::max(2.0)]),
    ])
}

/// An outage of two minutes, in whose middle one agent is killed and starts again, and another node dies.
fn outage(scene: &mut Scene<'_>) -> Result<Vec<Figure>> {
    let dead = scene.wait_even(ALL)?;
    let restarted = (dead + 1) % usize::from(NODES);
    let lost_with_it = scene.addresses_of(dead)?;
    let others: Vec<Ipv4Addr> =
        (0..ALL).map(Scene::address).filter(|vip| !lost_with_it.contains(vip)).collect();
    let step = others.len() / SAMPLE;
    let sweep = scene.sweep(SweepPlan::new(others.into_iter().step_by(step).collect(), SPACING))?;
    wait_answered(&sweep)?;
    let began = probe::now();
    scene.cluster.api.fail(Outage::BlackHoled)?;
    watch(scene, &sweep, began, HALF_OUTAGE)?;
    scene.cluster.kill(restarted)?;
    scene.cluster.start(restarted)?;
    scene.bench.say(&format!("  the agent of n{} was killed, and starts; n{} dies", restarted + 1, dead + 1));
    let back = faults::dark_at(scene, (dead, Death::Silent), lost_with_it)?;
    scene.bench.say(&format!("  the dead node's are back: {}", at_a_time(&back)));
    watch(scene, &sweep, began, HALF_OUTAGE)?;
    scene.cluster.api.heal()?;
    scene.wait_even_but(dead, ALL)?;
    watch(scene, &sweep, began, Duration::from_secs(10))?;
    let lost = losses(scene, &sweep, began);
    Ok(vec![
        Figure::of("outage_lost", "probes", lost, &[Bound::max(0.0)]),
        Figure::of("outage_death_back_ms", "ms", back, &[Bound::max(3_000.0)]),
    ])
}

/// What each watched address lost.
fn losses(scene: &Scene<'_>, sweep: &Sweep, began: probe::Moment) -> Vec<f64> {
    let reports = sweep.settled_reports(began, probe::now());
    let (sent, lost): (usize, usize) =
        reports.iter().fold((0, 0), |(sent, lost), report| (sent + report.sent, lost + report.lost));
    let dark: Vec<f64> = reports.iter().map(|report| millis(report.longest_dark)).collect();
    scene.bench.say(&format!("  outage: {lost} of {sent} lost, longest dark {}", at_a_time(&dark)));
    reports.iter().map(|report| count(report.lost)).collect()
}
