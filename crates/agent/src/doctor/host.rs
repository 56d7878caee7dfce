//! What there is to see of the host.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use mainstay_core::input::Link;
use mainstay_core::vip::Vip;
use mainstay_dataplane::{balancer, clock, describe, ipvs, loose_arp};

use super::{Fix, Found};
use crate::admin::reply::Verdict;
use crate::config::{Balancer, BalancerBackend, Config, Host};
use crate::privileges;

/// Programs that hold virtual addresses as well, as the kernel names their processes (the first fifteen bytes).
const OTHERS: [(&str, &str); 6] = [
    ("kube-vip", "kube-vip"),
    ("keepalived", "keepalived"),
    ("ucarp", "ucarp"),
    ("speaker", "MetalLB's speaker"),
    ("lbnodeagent", "PureLB's agent"),
    ("loxilb", "loxilb"),
];

pub(super) fn listed<T: Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything that depends on the settings. `running`: an agent runs already, and has what it needs to itself.
pub(super) fn look(config: &Config, running: bool, found: &mut Found) {
    if !running {
        privileges_of_this_process(found);
        ports(config, found);
    }
    let interfaces: BTreeSet<&str> =
        [config.interface.as_str(), config.features.services.interface.name(&config.interface)].into();
    for interface in interfaces {
        link(interface, found);
        arp((interface, &config.reserved), found);
        paths(interface, found);
    }
    families(config, found);
    state_dir(config, found);
    synchronised(found);
    if config.features.balancer.enabled && config.holds_control_plane() {
        load_balancer(&config.features.balancer, found);
    }
}

fn privileges_of_this_process(found: &mut Found) {
    match privileges::missing() {
        missing if missing.is_empty() => found.fine("privileges", "NET_ADMIN and NET_RAW are there"),
        missing => found.wrong(
            "privileges",
            format!("this process lacks {}", listed(&missing)),
            "run it as root, or add NET_ADMIN and NET_RAW to the container's capabilities",
        ),
    }
}

/// Those that the agent is to listen on.
fn ports(config: &Config, found: &mut Found) {
    let health = config.health_port.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    for address in config.metrics.into_iter().chain(health) {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => found.wrong(
                "ports",
                format!("somebody listens on {address} already"),
                "prometheus_server or health_check_port: give the agent another port, or end the other program",
            ),
            _ => found.fine("ports", format!("{address} is free")),
        }
    }
}

fn link(interface: &str, found: &mut Found) {
    match describe(interface) {
        Ok(link) if link.state == Link::Up => {
            found.fine("link", format!("{interface} is up, {}, MTU {}, {}", link.mac(), link.mtu, listed(&link.addresses)));
        }
        Ok(_) => found.wrong(
            "link",
            format!("{interface} is down, or has no carrier"),
            format!("ip link set {interface} up; look at the cable, the switch, or the bridge that it is a port of"),
        ),
        Err(error) => found.wrong("link", format!("{interface}: {error}"), "vip_interface: name the interface that the VIP's network is on"),
    }
}

fn families(config: &Config, found: &mut Found) {
    let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", config.interface);
    if config.vips.iter().any(Vip::is_ipv6) && read(&path) != Some(0) {
        found.wrong(
            "families",
            format!("IPv6 is off on {}, and a VIP is of IPv6", config.interface),
            format!("set net.ipv6.conf.{}.disable_ipv6=0", config.interface),
        );
    }
}

fn arp((interface, vips): (&str, &[Vip]), found: &mut Found) {
    match loose_arp(interface, &vips.iter().copied().collect()) {
        Ok(None) => {
            found.fine("ARP", format!("this host speaks on {interface} for its own addresses there alone"))
        }
        Ok(Some(loose)) => {
            let strict = |name: &str, value| Fix { path: conf("all", name), value: Some(value) };
            let fixes = vec![strict("arp_ignore", "1"), strict("arp_announce", "2")];
            found.add(Verdict::Problem, ("ARP", loose.to_string()), String::new(), fixes);
        }
        Err(error) => found.warn(
            "ARP",
            format!("cannot be looked at: {error}"),
            "mount /proc, and run it on the host's network",
        ),
    }
    if greater(interface, "proxy_arp") > 0 {
        found.warn(
            "proxy ARP",
            format!("this host answers ARP on {interface} for whatever it has a route to"),
            format!("unless something needs it, set net.ipv4.conf.{interface}.proxy_arp=0 and that of all"),
        );
    }
}

/// Strict reverse-path filtering drops what comes in by another interface than its answer would go out by.
fn paths(interface: &str, found: &mut Found) {
    let own = Host::read().own_addresses;
    let others: BTreeSet<&str> = own
        .iter()
        .map(|(_, name)| name.as_str())
        .filter(|name| !matches!(*name, "lo") && *name != interface)
        .collect();
    if greater(interface, "rp_filter") == 1 && !others.is_empty() {
        found.warn(
            "rp_filter",
            format!(
                "{interface} drops packets to the VIP from senders that this host answers by {}",
                others.into_iter().collect::<Vec<_>>().join(" or ")
            ),
            format!(
                "where clients may come by either, set net.ipv4.conf.{interface}.rp_filter=2 and that of all"
            ),
        );
    }
}

fn state_dir(config: &Config, found: &mut Found) {
    let dir = &config.state_dir;
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
    let remedy = "MAINSTAY_STATE_DIR: mount a directory of the host's there that outlives the container";
    match written {
        Ok(()) => found.fine("state", format!("{} can be written", dir.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fixes = vec![Fix { path: dir.clone(), value: None }];
            found.add(
                Verdict::Warning,
                ("state", format!("{} is not there yet", dir.display())),
                remedy.to_owned(),
                fixes,
            );
        }
        Err(error) => found.wrong("state", format!("{}: {error}", dir.display()), remedy),
    }
}

fn synchronised(found: &mut Found) {
    if clock::is_synchronised() == Some(false) {
        found.warn(
            "clock",
            "the kernel's clock is not synchronised",
            "run chrony or systemd-timesyncd: Mainstay measures time by itself, and others' Leases are read by the clock",
        );
    }
}

fn load_balancer(settings: &Balancer, found: &mut Found) {
    match balancer::check(settings.distribution) {
        Ok(()) => found.fine("nftables", "this kernel can balance"),
        Err(error) => found.wrong("nftables", error.to_string(), "lb_enable: leave it out to do without"),
    }
    if let (BalancerBackend::Ipvs, Err(error)) = (settings.backend, ipvs::available()) {
        found.warn("IPVS", error.to_string(), "load ip_vs on the host; nftables balances meanwhile");
    }
    if read("/proc/sys/net/ipv4/ip_forward") == Some(0) {
        let fix = Fix { path: PathBuf::from("/proc/sys/net/ipv4/ip_forward"), value: Some("1") };
        let says =
            "this host passes no packets on to other nodes' API servers (net.ipv4.ip_forward=0)".to_owned();
        found.add(
            Verdict::Warning,
            ("forwarding", says),
            "the agent switches it on where it may".to_owned(),
            vec![fix],
        );
    }
}

/// Programs that hold virtual addresses as well. They can be seen where the host's processes can.
pub(super) fn look_for_others(found: &mut Found) {
    let running = processes(Path::new("/proc"));
    for (name, what) in OTHERS {
        if let Some((process, _)) = running.iter().find(|(_, comm)| comm == name) {
            found.warn(
                "other agents",
                format!("{what} runs on this host (process {process})"),
                "see to it that no address is its and ours",
            );
        }
    }
}

/// Number and name of each process.
fn processes(proc: &Path) -> Vec<(u32, String)> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let process = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_to_string(entry.path().join("comm")).ok()?.trim().to_owned()))
    };
    entries.filter_map(process).collect()
}

fn conf(interface: &str, name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(interface).join(name)
}

/// The greater of the interface's own and that of all, as the kernel takes most of them.
fn greater(interface: &str, name: &str) -> u32 {
    [interface, "all"].iter().filter_map(|of| read(conf(of, name))).max().unwrap_or_default()
}

fn read(path: impl AsRef<Path>) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
