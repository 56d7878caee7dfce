//! A recording of a real agent's real run, replayed: same effects and events, or the difference is shown.

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Outage, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Process};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts an agent that records on the first node's host, as the cluster starts the others.
fn record(cluster: &Cluster, place: &Path, file: &Path) -> Process {
    let host = &cluster.nodes[0].host;
    let kubeconfig = place.join(host.name()).join("kubeconfig");
    let log = std::fs::File::create(place.join("recorded.log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.env_clear().args(["run", "--controlplane", "--arp", "--leaderElection"]);
    command.args(["--interface", host.device(), "--address", &VIP.to_string(), "--nodeName", host.name()]);
    command.args(["--leaseDuration", "5", "--leaseRenewDuration", "3", "--leaseRetry", "1"]);
    command.arg("--k8sConfigPath").arg(kubeconfig).arg("--record").arg(file);
    command.arg("--stateDir").arg(place.join("state")).arg("--adminSocket").arg(place.join("agent.sock"));
    command.stderr(log).stdin(std::process::Stdio::null());
    host.run(command).expect("it starts")
}

fn replay(arguments: &[&str]) -> (Output, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("replay").args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn a_real_run_with_an_outage_and_a_hand_over_replays_the_same() {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return;
    }
    let scratch = Scratch::new("record");
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let mut cluster = Cluster::new(plan).expect("hosts and an API server");
    let file = scratch.0.join("run.jsonl");
    let mut recorded = record(&cluster, &scratch.0, &file);
    cluster.wait_holder(&[0, 1, 2], PATIENCE).expect("the recorded one holds");
    (1..3).for_each(|index| cluster.start(index).expect("started"));
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    let has = |what: &'static str| wait_for(PATIENCE, || Ok(text().contains(what).then_some(())));
    cluster.api.fail(Outage::Refused).expect("the API is gone");
    has(r#""to":"detached""#).expect("a file").expect("it recorded the outage");
    cluster.api.heal().expect("the API is back");
    has("authority-returned").expect("a file").expect("it recorded the return");
    // A holder that never heard another member keeps the VIP for its own restart: members first.
    has(r#"\"n3\""#).expect("a file").expect("it recorded its members");
    recorded.terminate().expect("told to stop");
    wait_for(PATIENCE, || recorded.try_wait()).expect("its state").expect("it ends");

    let path = file.to_str().expect("a path");
    let (output, said) = replay(&[path]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(page.contains("same effects and events; the recording ends because: the agent ended"), "{page}");
    assert!(page.contains("* took control-plane"), "{page}");
    let (output, _) = replay(&[path, "-o", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let lines = text().lines().count();
    assert_eq!(
        found["replayed"].as_u64(),
        u64::try_from(lines - 2).ok(),
        "each line but the first and the last"
    );

    // One decision changed in the middle: found, and shown where it is.
    let forged = scratch.0.join("forged.jsonl");
    std::fs::write(&forged, text().replacen(r#""to":"detached""#, r#""to":"confirmed""#, 1)).expect("a file");
    let (output, said) = replay(&[forged.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("differs from what was recorded") && said.contains("event 1 recorded:"), "{said}");

    // Cut in the middle: refused in one line, and replayed as far as it goes when asked.
    let cut = scratch.0.join("cut.jsonl");
    std::fs::write(&cut, &text()[..text().len() / 2]).expect("a file");
    let cut = cut.to_str().expect("a path");
    let (output, said) = replay(&[cut]);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("cut.jsonl: line ") && said.contains("--partial"), "{said}");
    assert_eq!(replay(&[cut, "--partial"]).0.status.code(), Some(0));
}
