//! What the load balancer behind the VIP costs and does, beside haproxy and the direct connection, in one run:
//! `make bench-lb`.
//!
//! A client, the VIP's holder with the agent (release build) and Debian's haproxy in TCP mode, and three backends, each a
//! network namespace on one bridge. All share the same cores, so rates are compared and not promised. Without the privilege
//! to make network namespaces nothing is measured, and it says why.
#![expect(clippy::print_stdout, reason = "the table is the benchmark's data")]

mod load;
mod scene;
mod server;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_lab::bench::{Bound, Figure, table, write};
use mainstay_lab::netns;

use load::{Asked, burst, paced, paced_for, shares, stream};
use scene::{BACKENDS, INTERVAL, RISE, Scene};

/// How often each rate is measured, and for how long.
const ROUNDS: usize = 5;
const LONG: Duration = Duration::from_secs(3);
/// Connections a second, while a backend dies.
const RATE: f64 = 500.0;
/// How often a backend dies, and is back.
const DEATHS: usize = 3;
/// What the agent adds to its own interval: a check that confirms, and the kernel's transaction.
const BEYOND: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, serve, number, port] = &arguments[..]
        && serve == "--serve"
    {
        let number = number.parse().unwrap_or_default();
        let served = server::serve(number, port.parse().unwrap_or_default());
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = netns::become_privileged() {
        eprintln!("skipped: {reason:#}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut scene = Scene::open()?;
    let mut figures = Vec::new();
    rates(&scene, &mut figures)?;
    streams(&scene, &mut figures)?;
    balance(&scene, &mut figures)?;
    scene.end_haproxy()?;
    deaths(&mut scene, &mut figures)?;
    without_agent(&mut scene, &mut figures)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let file = target.join("bench/lb.json");
    write(&file, &figures)?;
    println!("{}\nwritten to {}", table(&figures), file.display());
    Ok(figures.iter().all(|figure| figure.ok))
}

/// One way to the backends: its name, and where a client connects.
fn ways(scene: &Scene) -> [(&'static str, Vec<SocketAddr>); 4] {
    [
        ("direct", scene.direct()),
        ("nftables", vec![scene.vip()]),
        ("haproxy", vec![scene.haproxy()]),
        ("routed", scene.routed()),
    ]
}

/// What was measured of the ways, in their order.
type Each = [f64; 4];

/// New connections a second, what one costs all cores together, and how long one takes at half of haproxy's peak.
fn rates(scene: &Scene, figures: &mut Vec<Figure>) -> Result<()> {
    let (mut rates, mut costs, mut tails): (Vec<Each>, Vec<Each>, Vec<Each>) = Default::default();
    for round in 1..=ROUNDS {
        let (mut rate, mut cost, mut tail) = ([0.0; 4], [0.0; 4], [0.0; 4]);
        for (at, (name, targets)) in ways(scene).iter().enumerate() {
            let (busy, begin) = (busy_seconds()?, Instant::now());
            let asked = burst(&scene.client, targets, LONG)?;
            let answered = count(asked.iter().filter(|one| one.answer.is_ok()).count());
            ensure!(answered > 0.0, "{name}: {:?}", asked.first().map(|one| &one.answer));
            rate[at] = answered / begin.elapsed().as_secs_f64();
            cost[at] = (busy_seconds()? - busy) / answered * 1e6;
            let failed = asked.iter().filter(|one| one.answer.is_err()).count();
            scene.say(&format!(
                "{round} {name}: {:.0}/s, {:.0} us of all cores, {failed} failed",
                rate[at], cost[at]
            ));
        }
        for (at, (name, targets)) in ways(scene).iter().enumerate() {
            tail[at] = percentile(&paced_for(&scene.client, targets, rate[2] / 2.0, LONG)?, 0.99);
            scene.say(&format!("{round} {name}: {:.0} us, 99 of 100, at {:.0}/s", tail[at], rate[2] / 2.0));
        }
        rates.push(rate);
        costs.push(cost);
        tails.push(tail);
    }
    let ratio = |all: &[Each], over: usize| all.iter().map(|one| one[1] / one[over]).collect::<Vec<_>>();
    let own = |all: &[Each]| all.iter().map(|one| (one[1] - one[0]).max(0.0) / (one[2] - one[0])).collect();
    figures.extend([
        Figure::of("lb_conn_ratio_haproxy", "x", ratio(&rates, 2), &[Bound::median_at_least(1.8)]),
        Figure::of("lb_conn_ratio_direct", "x", ratio(&rates, 0), &[Bound::median_at_least(0.75)]),
        Figure::of("lb_cpu_ratio_haproxy", "x", own(&costs), &[Bound::median(0.25)]),
        Figure::of("lb_p99_ratio_direct", "x", ratio(&tails, 0), &[Bound::median(1.2)]),
        Figure::of("lb_p99_ratio_routed", "x", ratio(&tails, 3), &[]),
    ]);
    let names = [
        ["lb_conn_direct_per_s", "lb_conn_nftables_per_s", "lb_conn_haproxy_per_s", "lb_conn_routed_per_s"],
        ["lb_p99_direct_us", "lb_p99_nftables_us", "lb_p99_haproxy_us", "lb_p99_routed_us"],
    ];
    for (names, all, unit) in [(names[0], &rates, "1/s"), (names[1], &tails, "us")] {
        let each = names.into_iter().enumerate();
        figures.extend(
            each.map(|(at, name)| Figure::of(name, unit, all.iter().map(|one| one[at]).collect(), &[])),
        );
    }
    Ok(())
}

/// One large stream.
fn streams(scene: &Scene, figures: &mut Vec<Figure>) -> Result<()> {
    let mut all: Vec<Each> = Vec::new();
    for round in 1..=ROUNDS {
        let mut each = [0.0; 4];
        for (at, (name, targets)) in ways(scene).iter().enumerate() {
            each[at] = stream(&scene.client, targets[0], LONG / 2)? / 1e6;
            scene.say(&format!("{round} {name}: {:.0} MB/s", each[at]));
        }
        all.push(each);
    }
    let over = |over: usize| all.iter().map(|one| one[1] / one[over]).collect::<Vec<_>>();
    figures.push(Figure::of("lb_stream_ratio_direct", "x", over(0), &[Bound::median_at_least(0.85)]));
    figures.push(Figure::of("lb_stream_ratio_haproxy", "x", over(2), &[]));
    Ok(())
}

/// How far any backend's part of 10,000 connections is from the mean.
fn balance(scene: &Scene, figures: &mut Vec<Figure>) -> Result<()> {
    let mut asked = Vec::new();
    while asked.len() < 10_000 {
        asked.extend(burst(&scene.client, &[scene.vip()], LONG / 3)?);
    }
    let shares = shares(&asked);
    let mean = count(shares.values().sum()) / f64::from(BACKENDS);
    let off = shares.values().map(|share| (count(*share) - mean).abs() / mean * 100.0).fold(0.0, f64::max);
    scene.say(&format!("{} connections: {shares:?}", asked.len()));
    ensure!(shares.len() == usize::from(BACKENDS), "each has a part");
    figures.push(Figure::of("lb_balance_spread_percent", "%", vec![off], &[Bound::max(5.0)]));
    Ok(())
}

/// A backend is killed, and is back.
fn deaths(scene: &mut Scene, figures: &mut Vec<Figure>) -> Result<()> {
    let (mut late, mut lost, mut last, mut back): (Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>) =
        Default::default();
    for death in 0..DEATHS {
        let victim = death % usize::from(BACKENDS);
        let (died, asked) = under_load(scene, 3 * INTERVAL, |scene| scene.kill(victim))?;
        let failures: Vec<Duration> =
            failures(&asked).map(|one| (one.at + one.took).saturating_duration_since(died)).collect();
        let latest = failures.iter().max().copied().unwrap_or_default();
        late.push(count(failures.iter().filter(|after| **after > INTERVAL + BEYOND).count()));
        lost.push(count(failures.len()));
        last.push(latest.as_secs_f64() * 1e3);
        scene.say(&format!(
            "a backend died: {} of {} lost, the last after {latest:?}",
            failures.len(),
            asked.len()
        ));
        let number = u8::try_from(victim)? + 1;
        let rise = INTERVAL * (RISE + 1);
        let (listens, asked) = under_load(scene, rise, |scene| scene.revive(victim))?;
        let first = asked.iter().filter(|one| matches!(one.answer, Ok(found) if found == number));
        let first = first.map(|one| one.at).min().context("it was never in rotation again")?;
        back.push(first.saturating_duration_since(listens).as_secs_f64() * 1e3);
        scene.say(&format!("it is back after {:.0} ms", back[death]));
        scene.wait_all(scene.vip())?;
    }
    let rise = f64::from(RISE) * INTERVAL.as_secs_f64() * 1e3;
    figures.extend([
        Figure::of("lb_failed_after_kill", "", late, &[Bound::max(0.0)]),
        Figure::of("lb_lost_by_kill", "", lost, &[]),
        Figure::of("lb_last_failure_after_kill_ms", "ms", last, &[Bound::max(1_200.0)]),
        Figure::of("lb_back_in_rotation_ms", "ms", back, &[Bound::max(rise + 100.0)]),
    ]);
    Ok(())
}

/// The agent is killed: how many connections fail of those that begin in the next seconds.
fn without_agent(scene: &mut Scene, figures: &mut Vec<Figure>) -> Result<()> {
    let (_, asked) = under_load(scene, 3 * INTERVAL, Scene::kill_agent)?;
    let failed = failures(&asked).count();
    scene.say(&format!("the agent was killed: {failed} of {} failed", asked.len()));
    figures.push(Figure::of("lb_failed_without_agent", "", vec![count(failed)], &[Bound::max(0.0)]));
    Ok(())
}

/// Does it in the midst of load, which goes on for so long; when it was done, and what was asked.
fn under_load(
    scene: &mut Scene,
    long: Duration,
    work: impl FnOnce(&mut Scene) -> Result<()>,
) -> Result<(Instant, Vec<Asked>)> {
    let (stop, client, target) = (AtomicBool::new(false), scene.client.clone(), scene.vip());
    scope(|threads| {
        let loaded = threads.spawn(|| paced(&client, &[target], RATE, &stop));
        sleep(INTERVAL / 2);
        let done = work(scene);
        let at = Instant::now();
        sleep(long);
        stop.store(true, Ordering::Relaxed);
        let asked = loaded.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        done.map(|()| (at, asked))
    })
}

fn failures(asked: &[Asked]) -> impl Iterator<Item = &Asked> {
    asked.iter().filter(|one| one.answer.is_err())
}

/// In microseconds, of those that were answered.
fn percentile(asked: &[Asked], part: f64) -> f64 {
    let mut took: Vec<f64> =
        asked.iter().filter(|one| one.answer.is_ok()).map(|one| one.took.as_secs_f64() * 1e6).collect();
    took.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let at = (count(took.len()) * part) as usize;
    took.get(at.min(took.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Seconds that all cores together were busy since the start (`man 5 proc_stat`).
fn busy_seconds() -> Result<f64> {
    /// `USER_HZ`, on every architecture that matters.
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/stat")?;
    let numbers: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|one| one.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, irq, soft, ..] = numbers[..] else {
        anyhow::bail!("/proc/stat begins with no processors")
    };
    Ok((user + nice + system + irq + soft) / TICKS)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
