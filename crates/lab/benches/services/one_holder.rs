//! A thousand Services that one of five nodes holds, as without `svc_election`: what it takes, and its death.

use std::time::Duration;

use anyhow::Result;
use mainstay_lab::bench::{Bound, Figure};
use mainstay_lab::shop::Address;

use crate::faults::{self, Death, NODES, SERVICES, rest};
use crate::scene::{Bench, Election, PATIENCE, Scene};

/// How many addresses are watched at a death.
const WATCHED: usize = 200;
const DEATHS: usize = 4;

/// All of it.
pub(crate) fn all(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut scene = Scene::open(bench, NODES, Election::OneHolder)?;
    scene.fill(SERVICES, |_| Address::FromPool)?;
    scene.wait_one_holder(SERVICES)?;
    faults::wait_published(&scene)?;
    let names =
        ["one_holder_rss_1000_mib", "one_holder_rss_1000_holder_mib", "one_holder_rss_1000_follower_mib"];
    figures.extend(scene.memory(names, 25.0)?);
    figures.extend(deaths(&scene)?);
    Ok(())
}

/// The holder's node goes dark, by turns in either way, and comes back.
fn deaths(scene: &Scene<'_>) -> Result<Vec<Figure>> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (number, death) in Death::BOTH.into_iter().cycle().take(DEATHS).enumerate() {
        let holder = scene.wait_one_holder(SERVICES)?;
        rest(Duration::from_secs(5))?;
        let targets = (0..WATCHED).map(|sample| Scene::address(sample * SERVICES / WATCHED)).collect();
        let dark = Figure::of("", "ms", faults::dark_at(scene, (holder, death), targets)?, &[]);
        scene.bench.say(&format!(
            "  death {}: {:.0} / {:.0} / {:.0} ms",
            number + 1,
            dark.min,
            dark.median,
            dark.max
        ));
        first.push(dark.min);
        last.push(dark.max);
        death.end(scene, holder)?;
        scene.wait_one_holder(SERVICES)?;
        scene.cluster.wait_settled(PATIENCE)?;
    }
    Ok(vec![
        Figure::of("one_holder_death_first_ms", "ms", first, &[Bound::max(500.0)]),
        Figure::of("one_holder_death_last_ms", "ms", last, &[Bound::max(700.0)]),
    ])
}
