//! What seats cost the API servers: `measure_seats MAINSTAY NODES...`, with the agent's binary, for so many nodes each.
//!
//! A cluster with a real agent on each node, each in a network namespace, and Services spread over them, though there are
//! none. It prints what was asked about Leases until each node knew every seat to be held, and in a minute after that.

#![expect(clippy::print_stdout, reason = "this is what a person runs it for")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mainstay_lab::apiserver::Verb;
use mainstay_lab::cluster::{Cluster, Plan, wait_for};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(300);
const MINUTE: Duration = Duration::from_secs(60);
/// What is counted, and what it is called.
const COUNTED: [(Verb, &str, &str); 7] = [
    (Verb::Watch, "leases", "watches of Leases"),
    (Verb::Watch, "endpointslices", "watches of EndpointSlices"),
    (Verb::Get, "leases", "reads of a Lease"),
    (Verb::List, "leases", "lists of Leases"),
    (Verb::Create, "leases", "Leases made"),
    (Verb::Update, "leases", "writes on a Lease"),
    (Verb::List, "endpointslices", "lists of EndpointSlices"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mainstay, nodes @ ..] = &arguments[..] else { bail!("measure_seats MAINSTAY NODES...") };
    for nodes in nodes {
        let directory = std::env::temp_dir().join(format!("mainstay-measure-seats-{}", std::process::id()));
        let measured = measure((mainstay.as_ref(), &directory), nodes.parse().context("a number of nodes")?);
        std::fs::remove_dir_all(directory)?;
        measured?;
    }
    Ok(())
}

fn measure((mainstay, directory): (&Path, &Path), nodes: u8) -> Result<()> {
    let plan = Plan::new(mainstay, directory)
        .with_setting("svc_enable", "true")
        .with_setting("svc_election", "true");
    let mut cluster = Cluster::new(Plan { nodes, ..plan })?;
    for node in 0..usize::from(nodes) {
        cluster.start(node)?;
    }
    let known = || Ok((0..usize::from(nodes)).all(|node| knows_all(&cluster, node)).then_some(()));
    let held = wait_for(PATIENCE, known)?;
    print(&cluster, &format!("{nodes} nodes, until all seats are held"))?;
    held.context("the seats are never all held: these are the figures until then")?;
    cluster.api.embedded().context("embedded")?.cluster.store().account().reset();
    std::thread::sleep(MINUTE);
    print(&cluster, &format!("{nodes} nodes, in the minute after that"))
}

/// Whether a node knows of each seat that its home holds it.
fn knows_all(cluster: &Cluster, node: usize) -> bool {
    let status = cluster.nodes[node].agent.whole_status();
    let claims = status["claims"].as_array().cloned().unwrap_or_default();
    let holder = |home: &str| -> Option<Value> {
        let claim = format!("seat/{home}");
        Some(claims.iter().find(|one| one["claim"] == claim.as_str())?["holder"].clone())
    };
    cluster.nodes.iter().all(|home| holder(home.host.name()).is_some_and(|holder| holder == home.host.name()))
}

fn print(cluster: &Cluster, when: &str) -> Result<()> {
    let account = cluster.api.embedded().context("embedded")?.cluster.store().account();
    println!("{when}:");
    for (verb, resource, name) in COUNTED {
        println!("  {:6} {name}", account.count(verb, resource));
    }
    Ok(())
}
