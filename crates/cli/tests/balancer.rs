//! `lb_enable` with real processes: an API server on each node, and connections to the VIP go to all that are well.

mod common;
#[macro_use]
#[path = "common/kinds.rs"]
mod kinds;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use kinds::Bed;
use mainstay_lab::apiserver::Fault;
use mainstay_lab::cluster::{Cluster, Layout, Outage, PORT, Plan, VIP, wait_for};
use mainstay_lab::probe::{self, Probe};
use serde_json::Value;

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// `backend_health_check_interval`.
const INTERVAL: Duration = Duration::from_secs(1);

on_either_kind![
    a_dead_api_server_costs_nothing_but_its_own_connections: Always,
    an_outage_a_restart_in_it_and_a_killed_agent_leave_the_balancer_as_it_was: Always,
    a_hand_over_and_a_death_find_the_next_holder_s_rules_there: Long,
];

/// Each node has an API server, all agents balance over all of them.
fn balanced(bed: &Bed) -> Cluster {
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &bed.scratch.0)
        .quick()
        .with_layout(Layout::OnEachNode)
        .with_backend(bed.backend.clone())
        .with_setting("lb_enable", "true")
        .with_setting("lb_fwdmethod", "masquerade")
        .with_setting("backend_health_check_interval", &INTERVAL.as_secs().to_string());
    let cluster = Cluster::up(plan).expect("a cluster that settles");
    wait_rotation(&cluster, &[0, 1, 2], &[0, 1, 2]);
    cluster
}

fn balancer(cluster: &Cluster, index: usize) -> Value {
    cluster.nodes[index].agent.whole_status()["balancer"].clone()
}

/// The nodes whose API servers take connections, as the agent of `index` has it.
fn rotation(cluster: &Cluster, index: usize) -> Vec<String> {
    let balancer = balancer(cluster, index);
    let backends = balancer["backends"].as_array().cloned().unwrap_or_default();
    let takes = backends.iter().filter(|one| one["takesConnections"] == true && balancer["inForce"] == true);
    takes.map(|one| one["node"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until the agents of `at` all balance over the API servers of `nodes` alone.
fn wait_rotation(cluster: &Cluster, at: &[usize], nodes: &[usize]) {
    let wanted: Vec<String> = nodes.iter().map(|index| format!("n{}", index + 1)).collect();
    let so = || Ok(at.iter().all(|index| rotation(cluster, *index) == wanted).then_some(()));
    let came = wait_for(PATIENCE, so).expect("agents answer");
    let seen: Vec<Value> = at.iter().map(|index| balancer(cluster, *index)).collect();
    assert!(came.is_some(), "not {wanted:?}: {seen:#?}");
}

/// So many connections from the client to the VIP, one after another; why those that failed did.
fn failures(cluster: &Cluster, count: usize) -> Vec<String> {
    let to = SocketAddr::new(IpAddr::V4(VIP), PORT);
    let connect = |at| TcpStream::connect_timeout(&to, PATIENCE).err().map(|error| format!("{at}: {error}"));
    let failures = cluster.client.enter(|| (0..count).filter_map(connect).collect());
    failures.expect("the client's host")
}

/// None of so many fails.
fn all_answered(cluster: &Cluster, count: usize) {
    assert_eq!(failures(cluster, count), Vec::<String>::new(), "of {count}");
}

/// Two to each API server.
fn connections_to_the_vip(cluster: &Cluster) -> Vec<TcpStream> {
    let to = SocketAddr::new(IpAddr::V4(VIP), PORT);
    let connect = |_| TcpStream::connect_timeout(&to, PATIENCE).expect("it answers");
    cluster.client.enter(|| (0..6).map(connect).collect()).expect("the client's host")
}

/// Whether whoever is at the other end has anything to say of a request. (Of one without TLS: that this is none.)
fn ask(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    connection.read_exact(&mut [0])
}

/// Connections to each backend that the kernel of `index` remembers.
fn connections(cluster: &Cluster, index: usize) -> BTreeMap<String, u64> {
    let balancer = balancer(cluster, index);
    let backends = balancer["backends"].as_array().cloned().unwrap_or_default();
    let of = |one: &Value| {
        (one["node"].as_str().unwrap_or_default().to_owned(), one["connections"].as_u64().unwrap_or_default())
    };
    backends.iter().map(of).collect()
}

fn a_dead_api_server_costs_nothing_but_its_own_connections(bed: Bed) {
    let cluster = balanced(&bed);
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    for (setting, value) in [("net.ipv4.ip_forward", "1"), ("net.ipv4.conf.eth0.send_redirects", "0")] {
        let found = cluster.nodes[holder].host.output("sysctl", &["-n", setting]).expect("sysctl");
        assert_eq!(found.trim(), value, "{setting}: the agent sees to it");
    }
    let before = connections(&cluster, holder);
    all_answered(&cluster, 30);
    let after = connections(&cluster, holder);
    for (node, count) in &after {
        let new = count.saturating_sub(before[node]);
        assert!(new >= 10, "10 of 30, and perhaps some of others: {before:?}, then {after:?}");
    }

    // The holder's own: the VIP stays where it is, for others serve.
    let begin = probe::now();
    cluster.api.fronts()[holder].inject(Fault::Refuse);
    let others = cluster.others(holder);
    wait_rotation(&cluster, &[0, 1, 2], &others);
    all_answered(&cluster, 20);
    let why = balancer(&cluster, holder)["backends"][holder]["lastError"].clone();
    assert!(why.as_str().is_some_and(|why| !why.is_empty()), "{why}");
    let mut explain = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    explain
        .args(["explain", &format!("n{}", holder + 1)])
        .arg("--socket")
        .arg(cluster.nodes[holder].agent.socket());
    let explained = String::from_utf8(explain.output().expect("it runs").stdout).expect("text");
    assert!(explained.contains("out of rotation") && explained.contains("MAINSTAY_LB_RISE"), "{explained}");
    // Longer than rule 12 would take.
    while probe::now().since(begin) < 3 * INTERVAL {
        all_answered(&cluster, 1);
    }
    assert_eq!(cluster.holders().expect("kernels answer"), [holder], "it does not move");

    // None is left: connections go to those that were last, and it is said.
    others.iter().for_each(|index| cluster.api.fronts()[*index].inject(Fault::Refuse));
    let doubts = || Ok((balancer(&cluster, holder)["inDoubt"] == true).then_some(()));
    wait_for(PATIENCE, doubts).expect("agents answer").expect("it is in doubt");
    assert!(!rotation(&cluster, holder).is_empty(), "it fails open");
    let log = cluster.nodes[holder].agent.log();
    assert!(log.contains("no API server behind the VIP answers its checks"), "{log}");
    cluster.api.fronts().iter().for_each(|front| front.heal());
    wait_rotation(&cluster, &[0, 1, 2], &[0, 1, 2]);
    all_answered(&cluster, 20);
}

fn an_outage_a_restart_in_it_and_a_killed_agent_leave_the_balancer_as_it_was(bed: Bed) {
    let mut cluster = balanced(&bed);
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let rules = |cluster: &Cluster| {
        let host = &cluster.nodes[holder].host;
        host.output("nft", &["list", "chain", "inet", "mainstay-balancer", "arriving"])
    };
    // Killed, its kernel goes on.
    cluster.kill(holder).expect("killed");
    assert!(rules(&cluster).expect("nftables").contains("vips-ipv4"));
    let to = SocketAddr::new(IpAddr::V4(VIP), PORT);
    cluster.start(holder).expect("started");
    wait_rotation(&cluster, &[0, 1, 2], &[0, 1, 2]);
    let holder = cluster.wait_settled(PATIENCE).expect("settled");

    // No API server answers, and the agent begins anew: it remembers who they are, and nothing else can be true.
    cluster.api.fail(Outage::Refused).expect("an outage");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
    cluster.kill(holder).expect("killed");
    cluster.start(holder).expect("started");
    let doubts = || Ok((balancer(&cluster, holder)["inDoubt"] == true).then_some(()));
    wait_for(PATIENCE, doubts).expect("agents answer").expect("it knows all three, and none answers");
    assert_eq!(balancer(&cluster, holder)["backends"].as_array().map(Vec::len), Some(3));
    cluster.api.heal().expect("the API is back");
    wait_rotation(&cluster, &[0, 1, 2], &[0, 1, 2]);
    let connect = move || TcpStream::connect_timeout(&to, PATIENCE).map(drop);
    cluster.client.enter(connect).expect("the client's host").expect("it answers");
}

fn a_hand_over_and_a_death_find_the_next_holder_s_rules_there(bed: Bed) {
    let mut cluster = balanced(&bed);
    let first = cluster.wait_settled(PATIENCE).expect("settled");
    let plan = probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT);
    let probe = Probe::start(&cluster.client, plan).expect("a probe");
    let begin = probe::now();
    let open = connections_to_the_vip(&cluster);
    assert!(cluster.stop(first, PATIENCE).expect("it ends").success());
    let second = cluster.wait_holder(&cluster.others(first), PATIENCE).expect("another holds");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
    for (at, connection) in open.into_iter().enumerate() {
        ask(connection).unwrap_or_else(|error| panic!("what began before the hand-over ({at}): {error}"));
    }
    cluster.start(first).expect("started");
    wait_rotation(&cluster, &[0, 1, 2], &[0, 1, 2]);

    let open = connections_to_the_vip(&cluster);
    cluster.kill(second).expect("killed");
    cluster.segment.partition(&cluster.nodes[second].host).expect("partitioned");
    let third = cluster.wait_holder(&cluster.others(second), PATIENCE).expect("succeeded on evidence");
    wait_rotation(&cluster, &cluster.others(second), &cluster.others(second));
    all_answered(&cluster, 20);
    for connection in open {
        let error = ask(connection).expect_err("whoever knew it is dead");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "at once, instead of a long silence: {error}");
    }
    let ended = balancer(&cluster, third)["connectionsEnded"].clone();
    assert!(ended.is_u64(), "{ended}");
}
