//! The API connection as an operator sees it, through an outage and back: status, metrics, readiness and log.

mod common;

use std::process::Command;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Outage, Plan, wait_for};
use mainstay_lab::netns;
use serde_json::Value;

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the agent's pause between two lines about one server.
const TOLD: Duration = Duration::from_secs(30);
/// The API server of the cluster, as its agents are told of it.
const SERVER: &str = "https://10.77.0.10:6443";

/// What node 0 knows of the API server.
fn server(cluster: &Cluster) -> Value {
    let mut status = cluster.nodes[0].agent.whole_status();
    let servers = status["apiServers"].as_array_mut().map(std::mem::take).unwrap_or_default();
    servers.into_iter().find(|server| server["url"] == SERVER).unwrap_or_default()
}

fn wait(cluster: &Cluster, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let found = || Ok(Some(server(cluster)).filter(|server| fits(server)));
    let found = wait_for(PATIENCE, found).expect("the agent answers");
    found.unwrap_or_else(|| panic!("never {what}: {}", server(cluster)))
}

/// Lines of the log about the API server with these words.
fn lines(cluster: &Cluster, words: &str) -> usize {
    let log = cluster.nodes[0].agent.log();
    log.lines().filter(|line| line.contains(SERVER) && line.contains(words)).count()
}

fn wait_line(cluster: &Cluster, words: &str) {
    let said = || Ok((lines(cluster, words) > 0).then_some(()));
    wait_for(TOLD, said)
        .expect("a log")
        .unwrap_or_else(|| panic!("the log never says {words:?}:\n{}", cluster.nodes[0].agent.log()));
}

fn status_for_people(cluster: &Cluster) -> String {
    let mut status = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    status.arg("status").arg("--socket").arg(cluster.nodes[0].agent.socket());
    let output = status.output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn an_outage_is_seen_everywhere_and_told_once() {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new("api-watch");
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let mut cluster = Cluster::up(plan).expect("a cluster that settles");
    let well = wait(&cluster, "answering", |server| server["state"] == "answering");
    assert_eq!((&well["failuresInARow"], &well["errorClass"]), (&0.into(), &Value::Null));
    assert!(well["lastSuccessSeconds"].as_f64().is_some_and(|ago| ago < 10.0), "{well}");
    wait_line(&cluster, "answers");

    cluster.api.fail(Outage::Refused).expect("an outage");
    let ill = wait(&cluster, "failing", |server| server["failuresInARow"].as_u64() > Some(5));
    assert_eq!((&ill["state"], &ill["errorClass"]), (&"failing".into(), &"connect".into()));
    assert!(ill["backoffSeconds"].is_number() && ill["lastSuccess"].is_string(), "{ill}");
    let people = status_for_people(&cluster);
    assert!(people.contains("BACKOFF") && people.contains("connect: "), "{people}");
    let ready = cluster.nodes[0].agent.page("/readyz").expect("an answer");
    assert!(ready.starts_with("HTTP/1.1 200"), "an outage is no reason for not being ready: {ready}");
    assert!(ready.contains(&format!("note: the API server {SERVER}")), "{ready}");
    let metrics = cluster.nodes[0].agent.page("/metrics").expect("an answer");
    let labels = format!(r#"{{server="{SERVER}",kind="configured""#);
    for (name, more, value) in [
        ("mainstay_api_server_reachable", "", " 0"),
        ("mainstay_api_server_error", ",class=\"connect\"", " 1"),
        ("mainstay_api_server_failures_in_a_row", "", " "),
        ("mainstay_api_server_backoff_seconds", "", " "),
        ("mainstay_api_server_last_success_seconds", "", " "),
    ] {
        let line = format!("{name}{labels}{more}}}{value}");
        assert!(metrics.contains(&line), "{line} is missing in:\n{metrics}");
    }
    wait_line(&cluster, "fails (connect)");

    cluster.api.heal().expect("the API is back");
    wait(&cluster, "answering again", |server| server["state"] == "answering");
    wait_line(&cluster, "answers again");
    // Hundreds of requests failed meanwhile.
    assert_eq!((lines(&cluster, "fails"), lines(&cluster, "answers again")), (1, 1));
}
