//! A VIP that is given as a DNS name, with real agents, real network stacks and a real name server (dnsmasq).
//!
//! The bounds are wide: an agent asks every ten seconds, wears what is new at once, and what is old for a minute yet.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Process};
use mainstay_lab::probe::{self, Probe};

const NAME: &str = "api.lab.test";
const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x100);
const NEW6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x101);
/// Where the name server is: beside the API server.
const SERVER: &str = "10.77.0.10";
const DNSMASQ: &str = "/usr/sbin/dnsmasq";
/// Two look-ups, and room for a busy machine.
const TWO_INTERVALS: Duration = Duration::from_secs(25);
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes whose resolver is the name server of the test's own.
struct Bench {
    // Ends before what it reads is removed.
    server: Option<Process>,
    cluster: Cluster,
    scratch: Scratch,
}

impl Bench {
    /// No agent runs yet; `None`, and why, where that cannot be.
    fn new(name: &str, nodes: u8) -> Option<Self> {
        Self::in_mode("first", name, nodes)
    }

    fn in_mode(mode: &str, name: &str, nodes: u8) -> Option<Self> {
        if let Err(reason) = netns::ensure_privilege() {
            eprintln!("skipped: {reason}");
            return None;
        }
        if !Path::new(DNSMASQ).exists() {
            eprintln!("skipped: {DNSMASQ} is missing: run scripts/setup.sh dnsmasq:dnsmasq-base");
            return None;
        }
        let scratch = Scratch::new(&format!("dns-{name}"));
        let plan = Plan { nodes, ..Plan::new(&with_resolver(&scratch.0), &scratch.0).quick() };
        let plan = plan.with_setting("address", NAME).with_setting("dns_mode", mode);
        let cluster = Cluster::new(plan).expect("a cluster");
        Some(Self { server: None, cluster, scratch })
    }

    /// One that holds, with a name server that answers.
    fn holding(name: &str) -> Option<(Self, usize)> {
        Self::holding_these("first", name, &[VIP.into()])
    }

    fn holding_these(mode: &str, name: &str, addresses: &[IpAddr]) -> Option<(Self, usize)> {
        let mut bench = Self::in_mode(mode, name, 3)?;
        bench.answer(addresses);
        bench.serve();
        (0..3).for_each(|node| bench.cluster.start(node).expect("started"));
        let settled = || Ok(bench.holder_of(addresses));
        let holder = wait_for(PATIENCE * 2, settled).expect("a look").expect("settled");
        Some((bench, holder))
    }

    /// The one node that has all of these, confirmed and with every agent among its members.
    fn holder_of(&self, addresses: &[IpAddr]) -> Option<usize> {
        let among = |node: &usize| addresses.iter().any(|address| self.holds(*node, *address));
        let [holder] = (0..3).filter(among).collect::<Vec<_>>()[..] else { return None };
        let claim = self.cluster.claim(holder);
        let members = claim["members"].as_array().map_or(0, Vec::len);
        let all = addresses.iter().all(|address| self.holds(holder, *address));
        (all && claim["tenure"] == "confirmed" && members == 3).then_some(holder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    fn serve(&mut self) {
        let host = self.cluster.api_host.as_ref().expect("apart");
        let mut command = Command::new(DNSMASQ);
        command.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
            "--bind-interfaces",
        ]);
        command.args(["--user=root", "--pid-file", "--log-queries", &format!("--listen-address={SERVER}")]);
        command.arg(format!("--addn-hosts={}", self.file("hosts").display()));
        command.arg(format!("--log-facility={}", self.file("queries").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(host.run(command).expect("a name server"));
    }

    /// What the name means from now on.
    fn answer(&mut self, addresses: &[IpAddr]) {
        let lines: String = addresses.iter().map(|address| format!("{address} {NAME}\n")).collect();
        std::fs::write(self.file("hosts"), lines).expect("written");
        if let Some(server) = &mut self.server {
            server.reload().expect("it runs");
        }
    }

    /// How often an agent has asked so far.
    fn questions(&self) -> usize {
        let log = std::fs::read_to_string(self.file("queries")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("query[A] {NAME}"))).count()
    }

    fn holds(&self, node: usize, address: impl Into<IpAddr>) -> bool {
        self.cluster.nodes[node].host.holds(address.into()).expect("the kernel answers")
    }

    fn name_of(&self, node: usize) -> serde_json::Value {
        self.cluster.nodes[node].agent.whole_status()["names"][0].clone()
    }

    fn probe(&self, address: impl Into<IpAddr>) -> Probe {
        Probe::start(&self.cluster.client, probe::Plan::new(address.into())).expect("a probe")
    }

    /// Waits until a client is answered at this address, and says by which node.
    fn reached(&self, address: IpAddr) -> usize {
        let ping = || probe::ping(&self.cluster.client, address, Duration::from_millis(100));
        let mac = wait_for(TWO_INTERVALS, ping).expect("pings");
        let mac = mac.unwrap_or_else(|| panic!("{address} is not reached within {TWO_INTERVALS:?}"));
        let node = self.cluster.nodes.iter().position(|node| node.host.mac() == mac);
        node.expect("a node's hardware address")
    }

    fn wait(&self, what: &str, limit: Duration, is_so: impl Fn(&Self) -> bool) {
        let look = || Ok(is_so(self).then_some(()));
        wait_for(limit, look).expect("a look").unwrap_or_else(|| panic!("not within {limit:?}: {what}"));
    }
}

/// The agent, in a mount namespace where the resolver is the test's: the network namespaces share the machine's files.
fn with_resolver(scratch: &Path) -> PathBuf {
    let write = |name: &str, text: &str| {
        let path = scratch.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let resolv = write("resolv.conf", &format!("nameserver {SERVER}\noptions timeout:1 attempts:1\n"));
    let switch = write("nsswitch.conf", "hosts: files dns\n");
    let mounts = write(
        "mounts.sh",
        &format!(
            "set -e\n/bin/mount --bind {resolv} /etc/resolv.conf\n\
             [ ! -e /etc/nsswitch.conf ] || /bin/mount --bind {switch} /etc/nsswitch.conf\nexec \"$@\"\n"
        ),
    );
    let agent = env!("CARGO_BIN_EXE_mainstay");
    let wrapper = write(
        "mainstay.sh",
        &format!("#!/bin/sh\nexec /usr/bin/unshare -m /bin/sh {mounts} {agent} \"$@\"\n"),
    );
    let mut permissions = std::fs::metadata(&wrapper).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&wrapper, permissions).expect("it is ours");
    PathBuf::from(wrapper)
}

/// The new address is reached within two intervals, the old one is served until a minute later, and the holder stays.
#[test]
fn a_new_answer_is_served_within_two_intervals_and_costs_nothing() {
    let Some((mut bench, holder)) = Bench::holding("change") else { return };
    let old = bench.probe(VIP);
    let begin = probe::now();
    bench.answer(&[NEW.into()]);
    let reached = || probe::ping(&bench.cluster.client, IpAddr::V4(NEW), Duration::from_millis(100));
    let mac = wait_for(TWO_INTERVALS, reached).expect("pings").expect("the new address is reached");
    assert_eq!(mac, bench.cluster.nodes[holder].host.mac(), "by the same holder");
    let new = bench.probe(NEW);
    let both = probe::now();
    bench.wait("every agent knows the new answer", TWO_INTERVALS, |bench| {
        (0..3).all(|node| bench.name_of(node)["addresses"] == serde_json::json!([NEW.to_string()]))
    });
    assert!(bench.holds(holder, VIP), "the old address is worn on");
    let known = probe::now();
    bench.wait("the old address is dropped", Duration::from_secs(75), |bench| !bench.holds(holder, VIP));
    assert!(probe::now().since(begin) > Duration::from_secs(55), "not before its time");
    let report = old.settled_report(begin, known);
    assert_eq!(report.lost, 0, "on the old address: {report:?}");
    // The others go by the new answer alone by now, and the holder by it as well.
    let settled = probe::now();
    bench.wait("some more seconds", PATIENCE, |_| probe::now().since(settled) > Duration::from_secs(3));
    let report = new.settled_report(both + Duration::from_millis(500), probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "on the new address: {report:?}");
    assert_eq!(bench.cluster.claim(holder)["tenure"], "confirmed");
    assert_eq!(bench.cluster.claim(holder)["vips"], serde_json::json!([NEW.to_string()]));
    let log = bench.cluster.nodes[holder].agent.log();
    assert_eq!(log.matches("took control-plane").count(), 1, "it was taken once:\n{log}");
}

/// What the name server said last is the last known state: without it nothing moves, and a restart goes on.
#[test]
fn without_a_name_server_nothing_moves_and_a_restart_keeps_the_vip() {
    let Some((mut bench, holder)) = Bench::holding("dead") else { return };
    let probe = bench.probe(VIP);
    let begin = probe::now();
    bench.server.take().expect("it runs").kill().expect("killed");
    bench.wait("look-ups fail", PATIENCE * 3, |bench| {
        bench.name_of(holder)["failuresInARow"].as_u64() >= Some(2)
    });
    bench.cluster.kill(holder).expect("killed");
    bench.cluster.start(holder).expect("started");
    bench.cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("it goes on");
    bench.wait("look-ups fail again", PATIENCE * 2, |bench| {
        bench.name_of(holder)["failuresInARow"].as_u64() >= Some(1)
    });
    assert_eq!(bench.name_of(holder)["addresses"], serde_json::json!([VIP.to_string()]));
    let agent = &bench.cluster.nodes[holder].agent;
    let metric = agent.counter("mainstay_name_failures_in_a_row", NAME).expect("metrics");
    assert!(metric >= 1, "{metric}");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    assert_eq!(bench.cluster.holders().expect("kernels answer"), [holder]);
    let log = agent.log();
    assert_eq!(log.matches("going on with its last good answer").count(), 2, "once in each run:\n{log}");
}

/// What was about to go goes on going, and nothing is left behind.
#[test]
fn a_holder_that_is_killed_in_the_middle_of_a_change_goes_on_with_it() {
    let Some((mut bench, holder)) = Bench::holding("middle") else { return };
    bench.answer(&[NEW.into()]);
    let both = |bench: &Bench| bench.holds(holder, NEW) && bench.holds(holder, VIP);
    bench.wait("it wears both", TWO_INTERVALS, both);
    let (probe, begin) = (bench.probe(NEW), probe::now());
    bench.cluster.kill(holder).expect("killed");
    bench.cluster.start(holder).expect("started");
    bench.cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("it goes on");
    assert!(both(&bench), "both are worn on");
    bench.wait("the old address is dropped", Duration::from_secs(90), |bench| !bench.holds(holder, VIP));
    assert!((0..3).all(|node| bench.holds(node, NEW) == (node == holder)), "nobody else took it");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "on the new address: {report:?}");
}

/// Make before break, announced by neighbour advertisements.
#[test]
fn a_new_answer_of_ipv6_costs_nothing() {
    let Some((mut bench, holder)) = Bench::holding_these("first", "ipv6", &[VIP6.into()]) else { return };
    assert_eq!(bench.reached(VIP6.into()), holder);
    let (old, begin) = (bench.probe(VIP6), probe::now());
    bench.answer(&[NEW6.into()]);
    assert_eq!(bench.reached(NEW6.into()), holder, "by the same holder");
    let (new, both) = (bench.probe(NEW6), probe::now());
    bench.wait("every agent knows the new answer", TWO_INTERVALS, |bench| {
        (0..3).all(|node| bench.name_of(node)["addresses"] == serde_json::json!([NEW6.to_string()]))
    });
    for (probe, from) in [(old, begin), (new, both + Duration::from_millis(500))] {
        let report = probe.settled_report(from, probe::now());
        assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    }
    assert!(bench.holds(holder, VIP6), "the old address is worn on");
    assert_eq!(bench.holder_of(&[NEW6.into()]), Some(holder));
}

/// One address of each family moves as one: what one family's change does, the other does not feel, a family that is
/// missing from an answer stays, and a death takes both to one successor.
#[test]
fn a_name_of_both_families_is_one_claim() {
    let vips = [VIP.into(), VIP6.into()];
    let Some((mut bench, holder)) = Bench::holding_these("dual", "dual", &vips) else { return };
    assert_eq!(vips.map(|vip| bench.reached(vip)), [holder; 2]);
    let (four, six, begin) = (bench.probe(VIP), bench.probe(VIP6), probe::now());
    bench.answer(&[VIP.into(), NEW6.into()]);
    assert_eq!(bench.reached(NEW6.into()), holder, "by the same holder");
    let changed = serde_json::json!([VIP.to_string(), NEW6.to_string()]);
    let all_know = |bench: &Bench| (0..3).all(|node| bench.name_of(node)["addresses"] == changed);
    bench.wait("every agent knows the new answer", TWO_INTERVALS, all_know);
    let known = probe::now();
    bench.answer(&[VIP.into()]);
    let before = bench.questions();
    bench.wait("every agent asks again", TWO_INTERVALS, |bench| bench.questions() >= before + 6);
    assert!(all_know(&bench), "one family's silence takes nothing: {}", bench.name_of(holder));
    for (probe, until) in [(four, probe::now()), (six, known)] {
        let report = probe.settled_report(begin, until);
        assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    }
    bench.cluster.segment.partition(&bench.cluster.nodes[holder].host).expect("partitioned");
    let others = bench.cluster.others(holder);
    let served = [IpAddr::from(VIP), NEW6.into()];
    bench.wait("one other node has both", PATIENCE, |bench| {
        others.iter().any(|node| served.iter().all(|vip| bench.holds(*node, *vip)))
    });
    let next = bench.reached(VIP.into());
    assert!(next != holder && bench.reached(NEW6.into()) == next);
}

/// Name servers give the addresses of one name in turns.
#[test]
fn answers_in_turns_move_nothing() {
    let Some((mut bench, holder)) = Bench::holding("turns") else { return };
    let probe = bench.probe(VIP);
    let begin = probe::now();
    for answer in [[NEW, VIP], [VIP, NEW], [NEW, VIP]] {
        bench.answer(&answer.map(IpAddr::V4));
        let before = bench.questions();
        bench.wait("every agent asks", TWO_INTERVALS, |bench| bench.questions() >= before + 3);
    }
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    assert_eq!(bench.cluster.holders().expect("kernels answer"), [holder]);
    assert!((0..3).all(|node| !bench.holds(node, NEW)), "what is held stays chosen");
}

/// Without any answer there is nothing to hold: the agent lives, says why it is not ready, ends when it is asked to, and
/// holds as soon as there is one.
#[test]
fn an_agent_waits_for_its_first_answer() {
    let Some(mut bench) = Bench::new("first", 1) else { return };
    bench.cluster.start(0).expect("started");
    let page = |bench: &Bench, path: &str| bench.cluster.nodes[0].agent.page(path).unwrap_or_default();
    let why = format!("no address of {NAME} is known yet: {NAME} cannot be resolved");
    bench.wait("it says why", PATIENCE, |bench| page(bench, "/readyz").contains(&why));
    assert!(page(&bench, "/healthz").contains("200 OK"), "{}", page(&bench, "/healthz"));
    assert!(page(&bench, "/readyz").contains("503"), "{}", page(&bench, "/readyz"));
    assert!(bench.cluster.stop(0, PATIENCE).expect("it ends").success());
    bench.cluster.start(0).expect("started");
    bench.wait("it waits", PATIENCE, |bench| page(bench, "/readyz").contains(&why));
    bench.answer(&[VIP.into()]);
    bench.serve();
    bench.cluster.wait_tenure(0, "confirmed", PATIENCE * 2).expect("it holds");
    assert!(bench.holds(0, VIP));
}
