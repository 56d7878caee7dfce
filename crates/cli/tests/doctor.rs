//! Faults that a person makes, one after another: each is found and named by `mainstay doctor`, with its remedy.

mod common;

use std::net::{IpAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Outage, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Host};
use serde_json::Value;

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// A user who is not root.
const ORDINARY: u32 = 65532;

/// Hosts and an API server without an agent, or nothing and the reason on stderr where that cannot be.
fn hosts(name: &str) -> Option<(Cluster, Scratch)> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let scratch = Scratch::new(&format!("doctor-{name}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    Some((Cluster::new(plan).expect("hosts and an API server"), scratch))
}

/// `mainstay doctor` on this host before any agent runs there, with these settings beside those of every agent.
struct Doctor<'a> {
    host: &'a Host,
    dir: &'a Path,
    settings: Vec<(&'a str, String)>,
    user: Option<u32>,
}

impl<'a> Doctor<'a> {
    fn on(host: &'a Host, dir: &'a Path) -> Self {
        let settings = [
            ("vip_interface", host.device().to_owned()),
            ("address", VIP.to_string()),
            ("cp_enable", "true".to_owned()),
            ("vip_arp", "true".to_owned()),
            ("vip_leaderelection", "true".to_owned()),
            ("MAINSTAY_STATE_DIR", dir.display().to_string()),
            ("MAINSTAY_ADMIN_SOCKET", dir.join("none.sock").display().to_string()),
        ];
        Self { host, dir, settings: settings.into(), user: None }
    }

    fn with(mut self, name: &'a str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command
            .arg("doctor")
            .args(arguments)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        self.host.enter(|| command.output()).expect("entered").expect("it runs")
    }

    /// What it says of one check that is not fine, each with its remedy; and its exit code.
    fn says(&self, check: &str) -> (String, Option<i32>) {
        let output = self.run(&["-o", "json"]);
        (complaints(&output, check), output.status.code())
    }
}

fn complaints(output: &Output, check: &str) -> String {
    let reply: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = reply["findings"].as_array().cloned().unwrap_or_default();
    let wanted = findings.iter().filter(|one| one["check"] == check && one["verdict"] != "fine");
    wanted
        .map(|one| {
            format!(
                "{} → {}\n",
                one["says"].as_str().unwrap_or_default(),
                one["remedy"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn each_fault_of_a_host_is_found_and_named() {
    let Some((cluster, scratch)) = hosts("host") else { return };
    let host = &cluster.nodes[0].host;
    let device = host.device();
    let ip = |arguments: &[&str]| host.output("ip", arguments).expect("ip");
    let set = |name: &str, value: &str| {
        host.output("sysctl", &["-qw", &format!("{name}={value}")]).expect("sysctl")
    };
    let doctor = || Doctor::on(host, &scratch.0);
    let found = |doctor: Doctor<'_>, check: &str, parts: &[&str], code: i32| {
        let (said, exit) = doctor.says(check);
        for part in parts {
            assert!(said.contains(part), "{check}: {part}: {said}");
        }
        assert_eq!(exit, Some(code), "{check}: {said}");
    };
    let page = doctor().run(&[]);
    let text = String::from_utf8_lossy(&page.stdout);
    assert_eq!(page.status.code(), Some(0), "nothing is wrong yet: {text}");
    assert!(text.contains("no agent answers on this node"), "{text}");

    found(doctor().with("vip_interface", "eth7"), "settings", &["eth7", "→"], 1);
    ip(&["address", "add", &format!("{VIP}/24"), "dev", device]);
    found(doctor(), "settings", &["is this host's own address"], 1);
    ip(&["address", "del", &format!("{VIP}/24"), "dev", device]);

    ip(&["link", "set", device, "down"]);
    found(doctor(), "link", &["is down", &format!("ip link set {device} up")], 1);
    ip(&["link", "set", device, "up"]);

    let taken = host.enter(|| TcpListener::bind("0.0.0.0:2112")).expect("entered").expect("a listener");
    found(doctor(), "ports", &["2112", "another port"], 1);
    drop(taken);

    let file = scratch.0.join("file");
    std::fs::write(&file, "no directory").expect("written");
    found(
        doctor().with("MAINSTAY_STATE_DIR", &file.display().to_string()),
        "state",
        &["MAINSTAY_STATE_DIR"],
        1,
    );

    set(&format!("net.ipv6.conf.{device}.disable_ipv6"), "1");
    found(doctor().with("address", "fd77::100"), "families", &["IPv6 is off", "disable_ipv6=0"], 1);
    set(&format!("net.ipv6.conf.{device}.disable_ipv6"), "0");

    ip(&["link", "add", "other0", "type", "bridge"]);
    ip(&["address", "add", "192.0.2.1/24", "dev", "other0"]);
    ip(&["link", "set", "other0", "up"]);
    set("net.ipv4.conf.all.rp_filter", "1");
    found(doctor(), "rp_filter", &["other0", "rp_filter=2"], 0);
    set("net.ipv4.conf.all.rp_filter", "0");
    set(&format!("net.ipv4.conf.{device}.rp_filter"), "0");
    set(&format!("net.ipv4.conf.{device}.proxy_arp"), "1");
    found(doctor(), "proxy ARP", &["proxy_arp=0"], 0);
    set(&format!("net.ipv4.conf.{device}.proxy_arp"), "0");

    let mut ordinary = doctor();
    ordinary.user = Some(ORDINARY);
    found(ordinary, "privileges", &["CAP_NET_ADMIN", "NET_RAW"], 1);
}

/// What is safe to mend is mended, and found no more.
#[test]
fn what_is_safe_is_mended() {
    let Some((cluster, scratch)) = hosts("mend") else { return };
    let host = &cluster.nodes[0].host;
    host.output("sysctl", &["-qw", "net.ipv4.ip_forward=0"]).expect("sysctl");
    host.output("ip", &["link", "add", "kube-ipvs0", "type", "bridge"]).expect("ip");
    let dir = scratch.0.join("state");
    let doctor = Doctor::on(host, &scratch.0)
        .with("lb_enable", "true")
        .with("MAINSTAY_STATE_DIR", &dir.display().to_string());
    let (arp, code) = doctor.says("ARP");
    assert!(arp.contains("strictARP") && code == Some(1), "{arp}");
    assert!(doctor.says("forwarding").0.contains("ip_forward=0"));
    assert!(doctor.says("state").0.contains("is not there yet"));
    let mended = doctor.run(&["--fix"]);
    let told = String::from_utf8_lossy(&mended.stderr);
    assert!(told.contains("made the directory") && told.contains("arp_ignore"), "{told}");
    for check in ["ARP", "forwarding", "state"] {
        assert_eq!(doctor.says(check), (String::new(), Some(0)), "{check}");
    }
    assert!(doctor.dir.join("state").is_dir());
}

/// An agent that runs is asked for its settings, and for what it met.
#[test]
fn what_an_agent_met_is_found_and_named() {
    let Some((mut cluster, scratch)) = hosts("agent") else { return };
    cluster.start(0).expect("started");
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("a holder");
    let socket = cluster.nodes[0].agent.socket();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(arguments).arg("--socket").arg(&socket).env_clear();
        cluster.nodes[0].host.enter(|| command.output()).expect("entered").expect("it runs")
    };
    let says = |check: &str| complaints(&run(&["doctor", "-o", "json"]), check);
    let page = run(&["doctor"]);
    let text = String::from_utf8_lossy(&page.stdout);
    assert!(page.status.success() && text.contains(&VIP.to_string()), "its own settings: {text}");

    // Another program that holds addresses, as it seems.
    let keepalived = scratch.0.join("keepalived");
    std::fs::copy("/bin/sleep", &keepalived).expect("copied");
    let mut other = Command::new(&keepalived).arg("600").spawn().expect("it runs");
    let seen = wait_for(PATIENCE, || Ok(Some(says("other agents")).filter(|said| !said.is_empty())));
    other.kill().and_then(|()| other.wait()).expect("ended");
    assert!(seen.expect("asked").expect("seen").contains(&format!("process {}", other.id())));

    cluster.api.fail(Outage::Refused).expect("an outage");
    let failing =
        wait_for(PATIENCE, || Ok(Some(says("API server")).filter(|said| said.contains("in a row"))));
    let failing = failing.expect("asked").expect("it fails");
    assert!(failing.contains("is the API server running"), "{failing}");
    let explained = run(&["explain"]);
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(explained.status.success() && text.contains("holds it"), "{text}");
    for part in ["an API server", "[rule 3]", "What would change it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let unknown = run(&["explain", "10.9.9.9"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("knows no 10.9.9.9"));

    // Nobody else on the wire, and one that claims to be there.
    let rogue: IpAddr = VIP.into();
    let client = &cluster.client;
    client.output("ip", &["address", "add", &format!("{rogue}/32"), "dev", client.device()]).expect("added");
    client
        .output("sysctl", &["-qw", &format!("net.ipv4.conf.{}.arp_notify=1", client.device())])
        .expect("sysctl");
    client.output("ip", &["link", "set", client.device(), "down"]).expect("down");
    client.output("ip", &["link", "set", client.device(), "up"]).expect("up");
    let conflicts = wait_for(PATIENCE, || Ok(Some(says("conflicts")).filter(|said| !said.is_empty())));
    let conflicts = conflicts.expect("asked").expect("heard");
    assert!(conflicts.contains("speaks in the name of"), "{conflicts}");
}
