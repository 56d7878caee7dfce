//! What the host does to an agent, or had done before it started: real agents in namespaces.

mod common;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::{LEASE, Target};
use mainstay_lab::cluster::{Cluster, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Host};
use mainstay_lab::probe::{self, Capture};
use serde_json::Value;

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// A user who is not root.
const ORDINARY: u32 = 65532;

/// Hosts and an API server without an agent, or nothing and the reason on stderr where that cannot be.
fn hosts(name: &str) -> Option<(Cluster, Scratch)> {
    hosts_as(name, |plan| plan)
}

fn hosts_as(name: &str, change: impl FnOnce(Plan) -> Plan) -> Option<(Cluster, Scratch)> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let scratch = Scratch::new(&format!("host-{name}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    Some((Cluster::new(change(plan)).expect("hosts and an API server"), scratch))
}

/// The kernel's description of the VIP on `host`; `Null` if it is not there.
fn vip_on(host: &Host) -> Value {
    let all = host.output("ip", &["-j", "-d", "address", "show", "dev", host.device()]).expect("ip answers");
    let all: Value = serde_json::from_str(&all).expect("ip writes JSON");
    let mut addresses = all[0]["addr_info"].as_array().into_iter().flatten();
    addresses.find(|one| one["local"] == VIP.to_string()).cloned().unwrap_or_default()
}

/// A VIP as kube-vip puts it there and leaves it when it is killed: for ever.
fn leave_vip(host: &Host) {
    host.output("ip", &["address", "add", &format!("{VIP}/32"), "dev", host.device()]).expect("added");
    assert!(vip_on(host)["valid_life_time"].as_u64() > Some(1_000_000), "for ever: {}", vip_on(host));
}

#[test]
fn a_vip_that_another_agent_left_is_taken_over_without_a_moment_away() {
    let Some((mut cluster, _scratch)) = hosts("left-over") else { return };
    let host = cluster.nodes[0].host.clone();
    leave_vip(&host);
    let watch = netns::HolderWatch::start(std::slice::from_ref(&host)).expect("a watch");
    let begin = probe::now();
    cluster.start(0).expect("started");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("taken over");
    let seen = vip_on(&host);
    assert!(seen["valid_life_time"].as_u64() <= Some(15), "the lifetime is ours: {seen}");
    assert_eq!(seen["prefixlen"], 32, "{seen}");
    let changes = watch.timeline_of(IpAddr::V4(VIP));
    assert!(changes.iter().all(|change| change.at < begin), "never away: {changes:?}");

    // What a node that does not hold was left with is withdrawn, which only an address with our mark is: it would
    // answer in the VIP's name.
    let follower = cluster.nodes[1].host.clone();
    leave_vip(&follower);
    cluster.start(1).expect("started");
    let withdrawn = || Ok((vip_on(&follower) == Value::Null).then_some(()));
    wait_for(PATIENCE, withdrawn).expect("ip answers").expect("the left-over goes");
    assert_eq!(cluster.holders().expect("kernels answer"), [0]);
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("and nothing moves");
}

/// By an administrator, a network manager or another agent, while ours runs.
#[test]
fn a_vip_that_somebody_puts_on_a_follower_goes_and_nothing_moves() {
    let Some((mut cluster, _scratch)) = hosts("put") else { return };
    (0..3).for_each(|node| cluster.start(node).expect("started"));
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let epoch = cluster.claim(holder)["epoch"].clone();
    let follower = cluster.nodes[(holder + 1) % 3].host.clone();
    follower
        .output("ip", &["address", "add", &format!("{VIP}/32"), "dev", follower.device()])
        .expect("added");
    let gone = || Ok((vip_on(&follower) == Value::Null).then_some(()));
    wait_for(PATIENCE, gone).expect("ip answers").expect("it goes: it would answer in the VIP's name");
    let host = cluster.nodes[holder].host.clone();
    let mac = wait_for(PATIENCE, || probe::ping(&cluster.client, VIP.into(), Duration::from_millis(100)));
    assert_eq!(mac.expect("pings"), Some(host.mac()), "clients find the holder");
    // On the holder itself: the lifetime is ours again, or it would outlive us.
    host.output(
        "ip",
        &["address", "change", &format!("{VIP}/32"), "dev", host.device(), "valid_lft", "forever"],
    )
    .expect("changed");
    let ours = || Ok(vip_on(&host)["valid_life_time"].as_u64().filter(|seconds| *seconds <= 15));
    wait_for(PATIENCE, ours).expect("ip answers").expect("its lifetime is limited again");
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), holder);
    assert_eq!(cluster.claim(holder)["epoch"], epoch, "nothing moved");
}

#[test]
fn a_subnets_address_equal_to_the_vip_is_the_hosts_own() {
    let Some((mut cluster, scratch)) = hosts("own") else { return };
    let host = cluster.nodes[0].host.clone();
    host.output("ip", &["address", "add", &format!("{VIP}/24"), "dev", host.device()]).expect("added");
    cluster.start(0).expect("started");
    let process = cluster.agent(0).expect("it was started");
    let status = wait_for(PATIENCE, || process.try_wait()).expect("its state").expect("it ends");
    assert_eq!(status.code(), Some(2));
    let log = std::fs::read_to_string(scratch.0.join("agent-n1.log")).expect("a log");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&format!("{VIP} is this host's own address on {}", host.device())), "{log}");
    assert_eq!(vip_on(&host)["prefixlen"], 24, "and it stays as it was");
}

#[test]
fn a_vip_on_the_loopback_is_the_hosts_own() {
    let Some((mut cluster, scratch)) = hosts("loopback") else { return };
    let host = cluster.nodes[0].host.clone();
    host.output("ip", &["address", "add", &format!("{VIP}/32"), "dev", "lo"]).expect("added");
    cluster.start(0).expect("started");
    let process = cluster.agent(0).expect("it was started");
    let status = wait_for(PATIENCE, || process.try_wait()).expect("its state").expect("it ends");
    let log = std::fs::read_to_string(scratch.0.join("agent-n1.log")).expect("a log");
    assert_eq!((status.code(), log.lines().count()), (Some(2), 1), "{log}");
    assert!(log.contains(&format!("{VIP} is this host's own address on lo")), "{log}");
}

/// The whole answer to a request for /healthz on a port of this host.
fn ask_health(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
    std::io::read_to_string(stream)
}

/// What `mainstay status` with these arguments says of the first node's agent.
fn status(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("status").args(arguments).arg("--socket").arg(cluster.nodes[0].agent.socket());
    String::from_utf8(command.output().expect("it runs").stdout).expect("text")
}

/// What `mainstay status --config` says of `setting`.
fn in_force(cluster: &Cluster, setting: &str) -> Option<Value> {
    let reply: Value = serde_json::from_str(&status(cluster, &["--config", "-o", "json"])).ok()?;
    reply["settings"].as_array()?.iter().find(|one| one["setting"] == setting).cloned()
}

#[test]
fn a_running_agent_says_which_settings_it_has_and_from_where_and_acts_on_them() {
    let lease = |plan: Plan| plan.with_setting("vip_leasename", "default/another");
    let Some((mut cluster, scratch)) = hosts_as("settings", lease) else { return };
    let file = scratch.0.join("mainstay.yaml");
    std::fs::write(&file, "stateDir: /nonexistent\nlogFormat: json\nperServiceElectionOnDemand: true\n")
        .expect("written");
    let agent = &mut cluster.nodes[0].agent;
    agent.set("config_file", file.to_str().expect("a path"));
    agent.set("vip_leaseannotations", r#"{"example.com/team":"network"}"#);
    agent.set("bgp_peerpass", "hunter2");
    agent.set("health_check_port", "18080");
    cluster.start(0).expect("started");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("a holder");

    let said = |setting: &str| {
        let one = in_force(&cluster, setting).unwrap_or_default();
        [&one["value"], &one["origin"], &one["writtenAs"]]
            .map(|field| field.as_str().unwrap_or("-").to_owned())
    };
    let path = file.display();
    assert_eq!(said("MAINSTAY_LOG_FORMAT"), ["json", "file", &format!("{path}: logFormat")]);
    let state = said("MAINSTAY_STATE_DIR");
    assert_eq!(state[1..], ["environment", "MAINSTAY_STATE_DIR"], "the environment is over the file");
    assert_eq!(said("bgp_peerpass"), ["(secret)", "environment", "bgp_peerpass"]);
    assert_eq!(said("port"), ["6443", "default", "-"]);
    let table = status(&cluster, &["--config"]);
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(rows.any(|row| row.starts_with(&["bgp_peerpass", "(secret)", "environment"])), "{table}");
    assert_eq!(said("MAINSTAY_WITNESSES")[1], "default", "the laboratory's hosts have no gateway");

    let lease = Target::new(LEASE, "default", "another");
    let store = cluster.api.embedded().expect("an embedded server").cluster.store();
    let lease = store.get(&lease).expect("the Lease that was named");
    assert_eq!(lease["metadata"]["annotations"]["example.com/team"], "network");

    let host = &cluster.nodes[0].host;
    let answered = || Ok(host.enter(|| ask_health(18_080))?.ok());
    let answer = wait_for(PATIENCE, answered).expect("entered").expect("answered on health_check_port");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok\n"), "{answer}");

    let log = std::fs::read_to_string(scratch.0.join("agent-n1.log")).expect("a log");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warned = |text: &str| {
        lines.iter().any(|line| line["message"].as_str().is_some_and(|said| said.contains(text)))
    };
    assert!(
        warned("perServiceElectionOnDemand=\"true\" is ignored: Services are held by one node, or spread"),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
}

/// Another hardware address, as a bond has after a fail-over.
const OTHER: &str = "02:00:00:00:77:01";

/// The hardware address that the Lease lists for `node`.
fn listed_mac(cluster: &Cluster, node: &str) -> String {
    let lease = Target::new(LEASE, "kube-system", "plndr-cp-lock");
    let lease =
        cluster.api.embedded().expect("an embedded server").cluster.store().get(&lease).expect("a Lease");
    let members = lease["metadata"]["annotations"]["mainstay.io/members"].as_str().unwrap_or_default();
    let members: Value = serde_json::from_str(members).unwrap_or_default();
    members[node]["macs"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_holder_whose_hardware_address_changes_is_found_by_the_new_one() {
    let Some((mut cluster, _scratch)) = hosts("address") else { return };
    (0..3).for_each(|index| cluster.start(index).expect("started"));
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let host = cluster.nodes[holder].host.clone();
    let epoch = cluster.claim(holder)["epoch"].clone();
    let capture = Capture::start(&cluster.segment).expect("a capture");
    host.output("ip", &["link", "set", "dev", host.device(), "address", OTHER]).expect("set");
    let begin = probe::now();
    let vip = IpAddr::V4(VIP);
    let announced = || {
        let all = capture.announcements(vip, begin, probe::now());
        Ok(all.iter().find(|heard| heard.sender_mac.to_string() == OTHER).map(|heard| heard.at))
    };
    let first = wait_for(PATIENCE, announced).expect("a capture").expect("announced by the new address");
    assert!(first.since(begin) < Duration::from_secs(1), "{:?}", first.since(begin));
    let reached = || {
        let answered = probe::ping(&cluster.client, vip, Duration::from_millis(200))?;
        Ok((answered.map(|mac| mac.to_string()).as_deref() == Some(OTHER)).then_some(()))
    };
    wait_for(PATIENCE, reached).expect("pings").expect("the client's path is right");
    let listed = || Ok((listed_mac(&cluster, host.name()) == OTHER).then_some(()));
    wait_for(PATIENCE, listed).expect("a Lease").expect("the Lease follows");
    // Ten times the watchers' patience: nobody takes the new address for death or for a rogue.
    let looked = probe::now();
    wait_for(PATIENCE, || Ok((probe::now().since(looked) > Duration::from_secs(3)).then_some(())))
        .expect("time");
    let settled = cluster.wait_settled(PATIENCE).expect("settled");
    assert_eq!((settled, &cluster.claim(holder)["epoch"]), (holder, &epoch), "nothing moved");
}

/// The scheduling policy and priority of each thread of a process, by name.
fn scheduling(process: u32) -> BTreeMap<String, (u32, u32)> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = |file| std::fs::read_to_string(thread.as_ref().ok()?.path().join(file)).ok();
        let (name, stat) = (text("comm")?, text("stat")?);
        // proc_pid_stat(5): rt_priority and policy are fields 40 and 41; the name, in brackets, is field 2.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((name.trim().to_owned(), (fields[41 - 3].parse().ok()?, fields[40 - 3].parse().ok()?)))
    };
    threads.filter_map(of).collect()
}

#[test]
fn in_real_time_the_data_plane_alone_comes_before_ordinary_work() {
    let Some((mut cluster, scratch)) = hosts("realtime") else { return };
    let recording = scratch.0.join("recording");
    cluster.nodes[0].agent.set("MAINSTAY_REALTIME", "true");
    cluster.nodes[0].agent.set("MAINSTAY_RECORD", recording.to_str().expect("a path"));
    cluster.start(0).expect("started");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("held");
    cluster.start(1).expect("started");
    cluster.wait_settled(PATIENCE).expect("settled");
    const ORDINARY: (u32, u32) = (0, 0);
    const ROUND_ROBIN: (u32, u32) = (2, 1);
    let [first, second] = [0, 1].map(|node| cluster.agent(node).expect("it runs").id());
    let threads = scheduling(first);
    for (name, expected) in
        [("loop", ROUND_ROBIN), ("kernel", ROUND_ROBIN), ("control", ORDINARY), ("recording", ORDINARY)]
    {
        assert_eq!(threads.get(name), Some(&expected), "{name} of {threads:?}");
    }
    assert!(scheduling(second).values().all(|one| *one == ORDINARY), "nobody asked for it");
    let locked = |process: u32| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmLck:")).expect("memory").to_owned();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    let (locked, other) = (locked(first), locked(second));
    assert!(locked > 1_000 && other == 0, "{locked} and {other} KiB are locked");
}

/// A program that starts the agent as a user of its own, as a container's runtime does: with two capabilities, which last
/// where the binary has them as well, and with no way to gain others. `capabilities` are the binary's.
fn as_an_ordinary_user(scratch: &Scratch, capabilities: &str) -> PathBuf {
    let binary = scratch.0.join("mainstay");
    std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &binary).expect("copied");
    let capable = Command::new("setcap").arg(capabilities).arg(&binary).status();
    assert!(capable.expect("setcap runs").success(), "the temporary directory keeps capabilities of files");
    let program = scratch.0.join("start");
    let user = format!("--reuid={ORDINARY} --regid={ORDINARY} --clear-groups");
    let bounded = "--bounding-set=-all,+net_admin,+net_raw --no-new-privs";
    let text = format!("#!/bin/sh\nexec setpriv {user} {bounded} {} \"$@\"\n", binary.display());
    std::fs::write(&program, text).expect("written");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("executable");
    program
}

/// Hosts whose agents run as that user.
fn hosts_of_an_ordinary_user(name: &str, capabilities: &str) -> Option<(Cluster, Scratch)> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let scratch = Scratch::new(&format!("host-{name}"));
    let program = as_an_ordinary_user(&scratch, capabilities);
    let plan = Plan::new(&program, &scratch.0).quick();
    let cluster = Cluster::new(plan).expect("hosts and an API server");
    for node in &cluster.nodes {
        chown(scratch.0.join(node.host.name()), Some(ORDINARY), Some(ORDINARY)).expect("its own directory");
    }
    Some((cluster, scratch))
}

#[test]
fn an_ordinary_user_with_the_binarys_capabilities_holds_a_vip() {
    let Some((mut cluster, scratch)) = hosts_of_an_ordinary_user("ordinary", "cap_net_admin,cap_net_raw+p")
    else {
        return;
    };
    // Asked for and not permitted: said, and done without.
    cluster.nodes[0].agent.set("MAINSTAY_REALTIME", "true");
    cluster.start(0).expect("started");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("held");
    let log = std::fs::read_to_string(scratch.0.join("agent-n1.log")).expect("a log");
    for missing in ["SYS_NICE", "IPC_LOCK"] {
        assert_eq!(
            log.matches(&format!("add the capability {missing} to the container")).count(),
            1,
            "{log}"
        );
    }
    let process = cluster.agent(0).expect("it runs").id();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("Uid:").split_whitespace().skip(1).all(|uid| uid == ORDINARY.to_string()), "{status}");
    assert!(line("CapEff:").ends_with("0000000000003000"), "these two and no others: {status}");
    cluster.kill(0).expect("killed");
    cluster.start(0).expect("started again");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("its state is its own");
}

#[test]
fn an_ordinary_user_without_them_is_told_what_is_missing() {
    let Some((mut cluster, scratch)) = hosts_of_an_ordinary_user("missing", "cap_net_admin+p") else {
        return;
    };
    cluster.start(0).expect("started");
    let process = cluster.agent(0).expect("it was started");
    let status = wait_for(PATIENCE, || process.try_wait()).expect("its state").expect("it ends");
    assert_eq!(status.code(), Some(1));
    let log = std::fs::read_to_string(scratch.0.join("agent-n1.log")).expect("a log");
    assert!(log.contains("CAP_NET_RAW") && log.contains("add them to the container"), "{log}");
}
