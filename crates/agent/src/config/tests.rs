//! Every refused case with its exact line; precedence, defaults and warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mainstay_core::settings::{Authority, OnAuthorityLoss};

use super::table::{Key, settings};
use super::*;

mod balancer;
mod files;
mod health;
mod properties;
mod secrets;
mod table;

fn host() -> Host {
    Host {
        interfaces: vec!["eth0".into(), "lo".into()],
        not_ethernet: vec!["lo".into()],
        default_interface: Some("eth0".into()),
        gateways: vec![("eth0".into(), "10.0.0.1".parse().unwrap())],
        own_addresses: on(&[("10.0.0.5", "eth0"), ("10.0.0.6", "eth0"), ("10.0.0.7", "eth1")]),
        left_over: on(&[("10.0.0.6", "eth0"), ("10.0.0.7", "eth1")]),
        hostname: Some("Node-A".into()),
        namespace: None,
        home: Some("/home/op".into()),
    }
}

fn on(addresses: &[(&str, &str)]) -> BTreeSet<(IpAddr, String)> {
    let parsed = |ip: &str| ip.parse().expect("an address");
    addresses.iter().map(|(ip, interface)| (parsed(ip), (*interface).to_owned())).collect()
}

fn environment(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base =
        [("vip_interface", "eth0"), ("address", "10.0.0.100"), ("vip_arp", "true"), ("cp_enable", "true")];
    base.iter().chain(changes).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn run(changes: &[(&str, &str)]) -> Result<Resolved, Refusal> {
    resolve(layers(changes), Precedence::FlagsFirst, &host())
}

fn layers(changes: &[(&str, &str)]) -> Layers {
    Layers::new(Layer::default(), &environment(changes))
}

fn flags(key: Key, text: &str) -> Layers {
    Layers::new(Layer::default().with_flag(key, text), &environment(&[]))
}

fn without(name: &str, host: &Host) -> Result<Resolved, Refusal> {
    let mut variables = environment(&[]);
    variables.remove(name);
    resolve(Layers::new(Layer::default(), &variables), Precedence::FlagsFirst, host)
}

pub(crate) fn config(changes: &[(&str, &str)]) -> Config {
    run(changes).expect("settings that work").config
}

fn warnings(changes: &[(&str, &str)]) -> Vec<String> {
    run(changes).expect("settings that work").warnings.into_iter().map(|Warning(line)| line).collect()
}

#[test]
fn each_bad_value_is_refused_with_one_line_that_names_setting_value_and_remedy() {
    const VIP: &str = "write an unused IPv4 or IPv6 address of the interface's network, such as 192.0.2.10";
    let cases: &[(&[(&str, &str)], String)] = &[
        (&[("address", "10.0.0.300")], format!(r#"address="10.0.0.300": "10.0.0.300" is no IP address and no DNS name; {VIP}"#)),
        (&[("address", "0.0.0.0")], format!(r#"address="0.0.0.0": 0.0.0.0 is the unspecified address and cannot be a VIP; {VIP}"#)),
        (&[("address", "::")], format!(r#"address="::": :: is the unspecified address and cannot be a VIP; {VIP}"#)),
        (&[("address", "224.0.0.18")], format!(r#"address="224.0.0.18": 224.0.0.18 is a multicast address and cannot be a VIP; {VIP}"#)),
        (&[("address", "ff02::1")], format!(r#"address="ff02::1": ff02::1 is a multicast address and cannot be a VIP; {VIP}"#)),
        (&[("address", "127.0.0.1")], format!(r#"address="127.0.0.1": 127.0.0.1 is a loopback address and cannot be a VIP; {VIP}"#)),
        (&[("address", "255.255.255.255")], format!(r#"address="255.255.255.255": 255.255.255.255 is the broadcast address and cannot be a VIP; {VIP}"#)),
        (&[("address", "fe80::1")], format!(r#"address="fe80::1": fe80::1 is a link-local address and cannot be a VIP; {VIP}"#)),
        (&[("address", "10.0.0.5")], r#"address="10.0.0.5": 10.0.0.5 is this host's own address on eth0; choose an address that no host has, or remove what another agent left: ip address del 10.0.0.5 dev eth0"#.into()),
        (&[("address", "10.0.0.7")], r#"address="10.0.0.7": 10.0.0.7 is this host's own address on eth1; choose an address that no host has, or remove what another agent left: ip address del 10.0.0.7 dev eth1"#.into()),
        (&[("address", ",")], r#"address=",": no virtual address given; set address to the VIP, such as 192.0.2.10"#.into()),
        (&[("vip_interface", "lo")], r#"vip_interface="lo": it is no Ethernet, and a VIP is announced by ARP or ND; set vip_interface to one of: eth0"#.into()),
        (&[("vip_interface", "eth9")], r#"vip_interface="eth9": there is no such interface on this host; set vip_interface to one of: eth0"#.into()),
        (&[("port", "0")], r#"port="0": no whole number in the range allowed; write a whole number from 1 to 65535"#.into()),
        (&[("port", "65536")], r#"port="65536": no whole number in the range allowed; write a whole number from 1 to 65535"#.into()),
        (&[("port", "https")], r#"port="https": no whole number in the range allowed; write a whole number from 1 to 65535"#.into()),
        (&[("vip_arp", "yes")], r#"vip_arp="yes": neither true nor false; write true or false"#.into()),
        (&[("vip_arp", "false")], r#"vip_arp="false": there is no way to announce the VIP; set vip_arp to true"#.into()),
        (&[("cp_enable", "false")], r#"cp_enable="false": there is nothing to hold a VIP for; set cp_enable to true, or svc_enable"#.into()),
        (&[("vip_leaderelection", "on")], r#"vip_leaderelection="on": neither true nor false; write true or false"#.into()),
        (&[("vip_leaseduration", "10")], r#"vip_leaseduration="10": not longer than vip_renewdeadline=10; write at least 11"#.into()),
        (&[("vip_renewdeadline", "2")], r#"vip_renewdeadline="2": not longer than 1.2 x vip_retryperiod=2; write at least 3, and less than vip_leaseduration=15"#.into()),
        (&[("vip_retryperiod", "9")], r#"vip_renewdeadline="10": not longer than 1.2 x vip_retryperiod=9; write at least 11, and less than vip_leaseduration=15"#.into()),
        (&[("vip_retryperiod", "0")], r#"vip_retryperiod="0": no whole number in the range allowed; write a whole number from 1 to 86400"#.into()),
        (&[("vip_leaseduration", "15s")], r#"vip_leaseduration="15s": no whole number in the range allowed; write a whole number from 1 to 86400"#.into()),
        (&[("vip_leasename", "a/b/c")], r#"vip_leasename="a/b/c": "b/c" is no Kubernetes name; use lower-case letters, digits, - and ., beginning and ending with a letter or a digit"#.into()),
        (&[("cp_namespace", "Kube")], r#"cp_namespace="Kube": "Kube" is no Kubernetes name; use lower-case letters, digits, - and ., beginning and ending with a letter or a digit"#.into()),
        (&[("vip_nodename", "a b")], r#"vip_nodename="a b": "a b" is no Kubernetes name; use lower-case letters, digits, - and ., beginning and ending with a letter or a digit"#.into()),
        (&[("vip_arpRate", "fast")], r#"vip_arpRate="fast": no whole number in the range allowed; write a whole number from 1 to 3600000"#.into()),
        (&[("vip_loglevel", "debug")], r#"vip_loglevel="debug": no whole number in the range allowed; write a whole number from -100 to 100"#.into()),
        (&[("prometheus_server", "2112")], r#"prometheus_server="2112": no address to listen on; write :PORT or IP:PORT, such as :2112, or nothing to switch it off"#.into()),
        (&[("kubernetes_addr", "ftp://a")], r#"kubernetes_addr="ftp://a": no URL of an API server; write https://HOST:PORT, such as https://192.0.2.1:6443"#.into()),
        (&[("MAINSTAY_STATE_DIR", "state")], r#"MAINSTAY_STATE_DIR="state": not an absolute path; write a path that begins with /"#.into()),
        (&[("MAINSTAY_ON_AUTHORITY_LOSS", "release")], r#"MAINSTAY_ON_AUTHORITY_LOSS="release": neither hold nor release_after; write hold, or release_after:30s"#.into()),
        (&[("MAINSTAY_ON_AUTHORITY_LOSS", "release_after:5")], r#"MAINSTAY_ON_AUTHORITY_LOSS="release_after:5": no duration in the range allowed; write a number and a unit (ms, s, m, h), from 1s to 24h"#.into()),
        (&[("MAINSTAY_RESTART_GRACE", "0s")], r#"MAINSTAY_RESTART_GRACE="0s": no duration in the range allowed; write a number and a unit (ms, s, m, h), from 1s to 24h"#.into()),
        (&[("MAINSTAY_DETECTION_INTERVAL", "100")], r#"MAINSTAY_DETECTION_INTERVAL="100": no duration in the range allowed; write a number and a unit (ms, s, m, h), from 10ms to 10s"#.into()),
        (&[("MAINSTAY_DETECTION_MULTIPLIER", "1")], r#"MAINSTAY_DETECTION_MULTIPLIER="1": no whole number in the range allowed; write a whole number from 2 to 100"#.into()),
        (&[("MAINSTAY_WITNESSES", "10.0.0.1,router")], r#"MAINSTAY_WITNESSES="10.0.0.1,router": "router" is no IP address; write addresses separated by commas"#.into()),
        (&[("MAINSTAY_RECORD", "run.jsonl")], r#"MAINSTAY_RECORD="run.jsonl": not an absolute path; write a path that begins with /"#.into()),
        (&[("vip_subnet", "/33x")], r#"vip_subnet="/33x": "/33x" is no prefix length; leave it out, or write 32 or 128"#.into()),
        (&[("health_check_port", "80")], r#"health_check_port="80": no port for health checks; write a port from 1024 to 65535, or 0 for none"#.into()),
        (&[("vip_leaseannotations", "{\"mainstay.io/x\":\"\"}")], r#"vip_leaseannotations="{\"mainstay.io/x\":\"\"}": mainstay.io/x is the agents' own; leave out what begins with mainstay.io/"#.into()),
        (&[("dns_mode", "both")], r#"dns_mode="both": there is no such choice; write first, ipv4, ipv6 or dual"#.into()),
        (&[("bgp_routerid", "router")], r#"bgp_routerid="router": no IPv4 address; write one, such as 192.0.2.1"#.into()),
        (&[("egress_podcidr", "10.0.0.0/33")], r#"egress_podcidr="10.0.0.0/33": "10.0.0.0/33" is no network; write networks such as 10.244.0.0/16, with commas"#.into()),
        (&[("instance_name", "a b")], r#"instance_name="a b": no instance's name; write at most 243 letters, digits, ., _ and -"#.into()),
        (&[("vip_loseleadership", "30")], r#"vip_loseleadership="30": neither true nor false; write true or false"#.into()),
        (&[("bgp_enable", "true")], r#"bgp_enable="true": BGP is not built yet; remove it, or set it to false"#.into()),
        (&[("vip_routingtable", "true")], r#"vip_routingtable="true": routing-table mode is not built yet; remove it, or set it to false"#.into()),
        (&[("vip_wireguard", "true")], r#"vip_wireguard="true": WireGuard mode is not built yet; remove it, or set it to false"#.into()),
        (&[("vip_packet", "true")], r#"vip_packet="true": Equinix Metal's API is no more, and kube-vip has dropped it as well; remove it, or set it to false"#.into()),
        (&[("svc_enable", "true"), ("vip_servicesinterface", "auto")], r#"vip_servicesinterface="auto": choosing an interface for each Service is not built yet; set vip_servicesinterface to one of: eth0"#.into()),
        (&[("svc_enable", "true"), ("vip_servicesinterface", "eth9")], r#"vip_servicesinterface="eth9": there is no such interface on this host; set vip_servicesinterface to one of: eth0"#.into()),
        (&[("MAINSTAY_LOG_FORMAT", "xml")], r#"MAINSTAY_LOG_FORMAT="xml": there is no such choice; write text or json"#.into()),
    ];
    for (changes, line) in cases {
        let refused = run(changes).map(|resolved| resolved.config);
        assert_eq!(refused.expect_err(line).to_string(), *line);
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn what_another_agent_left_on_the_interface_is_taken_over() {
    let vip = "10.0.0.6".parse::<IpAddr>().expect("an address");
    assert_eq!(config(&[("address", "10.0.0.6")]).vips, [vip]);
}

#[test]
fn nothing_set_says_what_to_set() {
    let refused = resolve(Layers::default(), Precedence::FlagsFirst, &host()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"cp_enable="false": there is nothing to hold a VIP for; set cp_enable to true, or svc_enable"#
    );
}

#[test]
fn a_refused_flag_is_named_as_a_flag() {
    let refused = resolve(flags(Key::Port, "70000"), Precedence::FlagsFirst, &host()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"--port="70000": no whole number in the range allowed; write a whole number from 1 to 65535"#
    );
}

#[test]
fn defaults_are_kube_vips() {
    let config = config(&[]);
    assert_eq!(config.node.as_str(), "node-a");
    assert_eq!(config.port, 6443);
    assert_eq!(config.authority, Authority::Standalone);
    assert_eq!(config.lease, LeaseName { namespace: "kube-system".into(), name: "plndr-cp-lock".into() });
    assert_eq!(config.timing, LeaseTiming::default());
    assert_eq!(config.announce_every, Duration::from_secs(3));
    assert_eq!(config.metrics, Some("[::]:2112".parse::<SocketAddr>().unwrap()));
    assert_eq!(config.witnesses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let kubeconfigs = ["/etc/kubernetes/admin.conf", "/home/op/.kube/config"].map(PathBuf::from);
    assert_eq!(config.kubernetes, Kubernetes { kubeconfigs: kubeconfigs.into(), server: None });
    assert_eq!(config.on_authority_loss, OnAuthorityLoss::Hold);
    assert_eq!(config.lifetime(), Duration::from_secs(15));
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/mainstay"));
    assert!(warnings(&[]).is_empty());
}

#[test]
fn every_spelling_of_go_is_understood() {
    for (spelling, meaning) in
        [("1", true), ("t", true), ("TRUE", true), ("0", false), ("F", false), ("False", false)]
    {
        let authority = if meaning { Authority::Lease } else { Authority::Standalone };
        assert_eq!(config(&[("vip_leaderelection", spelling)]).authority, authority, "{spelling}");
    }
}

#[test]
fn the_interface_defaults_to_the_default_routes() {
    assert_eq!(without("vip_interface", &host()).expect("settings that work").config.interface, "eth0");

    let routeless = Host { default_interface: None, ..host() };
    let refused = without("vip_interface", &routeless).unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"vip_interface="": there is no default route to take it from; set vip_interface to one of: eth0"#
    );
}

#[test]
fn several_addresses_move_together() {
    let vips = config(&[("address", "10.0.0.100, fd00::100,10.0.0.100")]).vips;
    assert_eq!(vips, ["10.0.0.100", "fd00::100"].map(|vip| vip.parse::<IpAddr>().unwrap()));
}

#[test]
fn the_leases_namespace_is_the_pods_unless_the_name_carries_one() {
    let pod = Host { namespace: Some("vips".into()), ..host() };
    let lease = |changes: &[(&str, &str)]| {
        resolve(layers(changes), Precedence::FlagsFirst, &pod)
            .expect("settings that work")
            .config
            .lease
            .namespace
    };
    assert_eq!(lease(&[("cp_namespace", "elsewhere")]), "vips");
    assert_eq!(lease(&[("vip_leasename", "here/cp")]), "here");
    assert_eq!(config(&[("cp_namespace", "elsewhere")]).lease.namespace, "elsewhere");
}

#[test]
fn a_kubeconfig_that_somebody_names_is_the_only_one() {
    let files = |path| config(&[("k8s_config_file", path)]).kubernetes.kubeconfigs;
    assert_eq!(files("/etc/other.conf"), [PathBuf::from("/etc/other.conf")]);
    assert_eq!(files("/etc/kubernetes/admin.conf").len(), 2, "kube-vip's default is no choice");
}

#[test]
fn an_api_server_may_be_a_url_or_a_host() {
    for (text, url) in [
        ("https://10.0.0.9:6443/", "https://10.0.0.9:6443"),
        ("http://10.0.0.9:8080", "http://10.0.0.9:8080"),
        ("api.example.org:6443", "https://api.example.org:6443"),
        ("10.0.0.9", "https://10.0.0.9:6443"),
        ("fd00::9", "https://[fd00::9]:6443"),
    ] {
        assert_eq!(config(&[("kubernetes_addr", text)]).kubernetes.server.as_deref(), Some(url));
    }
}

#[test]
fn an_empty_metrics_address_switches_them_off() {
    assert_eq!(config(&[("prometheus_server", "")]).metrics, None);
    assert_eq!(config(&[("prometheus_server", "127.0.0.1:0")]).metrics, Some("127.0.0.1:0".parse().unwrap()));
}

#[test]
fn run_lets_flags_win_in_silence_and_manager_lets_the_environment_win_aloud() {
    let resolved = |precedence| {
        let flags = Layer::default().with_flag(Key::Port, "7443");
        resolve(Layers::new(flags, &environment(&[("port", "8443")])), precedence, &host())
            .expect("settings that work")
    };
    let run = resolved(Precedence::FlagsFirst);
    assert_eq!((run.config.port, run.warnings.len()), (7443, 0));
    let manager = resolved(Precedence::EnvironmentFirst);
    assert_eq!(manager.config.port, 8443);
    assert_eq!(
        manager.warnings,
        [Warning(r#"port="8443" is used and --port="7443" is not: set one of them only"#.into())]
    );
}

#[test]
fn a_misspelt_name_of_any_family_is_warned_of() {
    for (name, meant) in [
        ("control_plane_health_check_adress", "control_plane_health_check_address"),
        ("egress_podcdir", "egress_podcidr"),
        ("mpbgp_ipv5", "mpbgp_ipv4"),
        ("zebra_enabled", "zebra_enable"),
        ("dhcp_modus", "dhcp_mode"),
        ("lb_class_nam", "lb_class_name"),
    ] {
        let line = format!("{name} is no setting and is ignored: did you mean {meant}?");
        assert_eq!(warnings(&[(name, "x")]), [line]);
    }
}

#[test]
fn warnings_are_one_line_each() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("per_service_election_on_demand", "true")],
            r#"per_service_election_on_demand="true" is ignored: Services are held by one node, or spread over all of them (svc_election)"#,
        ),
        (&[("bgp_peerpass", "hunter2")], r#"bgp_peerpass="(secret)" is ignored: BGP is not built yet"#),
        (&[("vip_arpRate", "100")], "vip_arpRate=100 is below 500 ms: 3000 is used"),
        (
            &[("MAINSTAY_STATEDIR", "/x")],
            "MAINSTAY_STATEDIR is no setting and is ignored: did you mean MAINSTAY_STATE_DIR?",
        ),
        (
            &[("vip_interfce", "eth0")],
            "vip_interfce is no setting and is ignored: did you mean vip_interface?",
        ),
        (
            // Found by the fuzz target `settings`.
            &[("MAINSTAY_STATE\u{8}DIR", "/x")],
            "MAINSTAY_STATE\\u{8}DIR is no setting and is ignored: did you mean MAINSTAY_STATE_DIR?",
        ),
        (
            &[("vip_address", "10.0.0.101")],
            r#"address="10.0.0.100" is used and vip_address="10.0.0.101" is not: set one of them only"#,
        ),
    ];
    for (changes, line) in cases {
        assert_eq!(warnings(changes), [*line]);
    }
    for quiet in [
        ("vip_subnet", "/32,128"),
        ("vip_cidr", "24"),
        ("vip_ddns", "False"),
        ("bgp_as", "65000"),
        ("dns_mode", ""),
    ] {
        assert!(warnings(&[quiet]).is_empty(), "{quiet:?} asks for nothing");
    }
}

#[test]
fn the_old_name_of_the_address_will_do() {
    // An empty variable says nothing, as in kube-vip.
    let resolved = run(&[("vip_address", "10.0.0.101"), ("address", "")]).unwrap();
    assert_eq!(resolved.config.vips, ["10.0.0.101".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_vip_lives_for_a_lease_duration_and_ten_seconds_at_least() {
    assert_eq!(config(&[("vip_leaseduration", "40")]).lifetime(), Duration::from_secs(40));
    assert_eq!(
        config(&[("vip_leaseduration", "5"), ("vip_renewdeadline", "3"), ("vip_retryperiod", "1")])
            .lifetime(),
        Duration::from_secs(10)
    );
}

#[test]
fn what_is_in_force_names_its_source_and_hides_secrets() {
    let resolved =
        run(&[("bgp_peerpass", "hunter2"), ("bgp_peers", "192.0.2.1:65001:hunter2:false")]).unwrap();
    let text = format!("{resolved:?}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(
        resolved.config.features.bgp.peers,
        [features::Secret("192.0.2.1:65001:hunter2:false".into())]
    );
    let effective = |name| resolved.effective.iter().find(|one| one.setting == name).unwrap();
    assert_eq!(effective("bgp_peerpass").value, "(secret)");
    assert_eq!(
        (effective("vip_nodename").value.as_str(), effective("vip_nodename").origin),
        ("node-a", Origin::Host)
    );
    assert_eq!(effective("MAINSTAY_WITNESSES").value, "10.0.0.1");
    let agents = settings().filter(|setting| setting.is_for_agents()).count();
    assert_eq!(resolved.effective.len(), agents);
}

#[test]
fn names_and_addresses_are_told_apart() {
    let parse = |text| value::addresses_of(text).ok();
    let name = |text: &str| Address::Name(DnsName::parse(text).unwrap());
    assert_eq!(parse("API.example.com."), Some(vec![name("api.example.com")]));
    assert_eq!(parse("10.0.0.1, api"), Some(vec![Address::Ip("10.0.0.1".parse().unwrap()), name("api")]));
    for bad in ["10.0.0.300", "a..b", "-a.b", "a_b", "1.2.3", "", "http://a"] {
        assert_eq!(DnsName::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_name_is_taken_as_it_is_and_resolved_when_the_agent_runs() {
    let named = config(&[("address", "10.0.0.9,API.example.com,10.0.0.9")]);
    assert_eq!(named.vips, [IpAddr::from([10, 0, 0, 9])]);
    assert_eq!(named.names().map(DnsName::as_str).collect::<Vec<_>>(), ["api.example.com"]);
    let named = config(&[("address", "api.example.com")]);
    assert!(named.vips.is_empty());
    assert_eq!(named.witnesses, config(&[]).witnesses, "its addresses may be of any family");
    let shown = run(&[("address", "api.example.com,10.0.0.9")]).expect("settings that work").effective;
    let address = shown.into_iter().find(|one| one.setting == "address").expect("shown");
    assert_eq!((address.value.as_str(), address.verdict.as_str()), ("api.example.com,10.0.0.9", "works"));
}

#[test]
fn go_writes_durations_so() {
    for (text, milliseconds) in [("0", 0), ("0s", 0), ("200ms", 200), ("1.5s", 1_500), ("1m30s", 90_000)] {
        assert_eq!(value::go_duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
    }
    for bad in ["", "5", "s", "-1s", "1x", "1e3s", "99999999999999999999h"] {
        assert!(value::go_duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_label_without_a_lease_is_warned_of() {
    let label = ("enable_node_labeling", "true");
    let warned =
        |changes: &[(&str, &str)]| warnings(changes).iter().any(|line| line.contains("enable_node_labeling"));
    let (with, without) = (("vip_leaderelection", "true"), ("vip_leaderelection", "false"));
    assert!(warned(&[label, without]));
    assert!(!warned(&[label, with]) && !warned(&[without]));
}

#[test]
fn settings_of_features_are_typed_before_they_are_built() {
    let features = config(&[
        ("dns_mode", "dual"),
        ("control_plane_health_check_address", "https://localhost:6443/livez"),
        ("control_plane_health_check_period_seconds", "1"),
        ("enable_node_labeling", "true"),
        ("svc_election", "true"),
        ("svc_leasename", "vips/services"),
        ("lb_class_name", ""),
        ("vip_servicesinterface", "auto"),
        ("dhcp_backoff_attempts", "0"),
        ("vip_leaseannotations", r#"{"team":"network"}"#),
    ])
    .features;
    assert_eq!(features.dns_mode, features::DnsMode::Dual);
    assert_eq!((features.dhcp.mode, features.dhcp.attempts), (features::DhcpMode::Dual, None));
    assert_eq!(features.health_check.url.as_deref(), Some("https://localhost:6443/livez"));
    assert_eq!(features.health_check.period, Duration::from_secs(1));
    assert_eq!(features.health_check.failure_threshold, 3);
    assert!(features.label_node);
    assert_eq!(features.services.election, features::ServicesElection::PerService);
    assert_eq!(features.services.lease, LeaseName { namespace: "vips".into(), name: "services".into() });
    assert_eq!((features.services.class.name.as_str(), features.services.class.legacy), ("", true));
    assert_eq!(features.services.interface, features::ServicesInterface::Auto);
    assert_eq!(features.lease_annotations["team"], "network");
    assert_eq!(features.routing_table.table, 198);
}

#[test]
fn services_alone_need_no_address_and_have_witnesses_of_their_own_interface() {
    let alone = config(&[("cp_enable", "false"), ("address", ""), ("svc_enable", "true")]);
    assert!(!alone.holds_control_plane() && alone.vips.is_empty() && alone.reserved.is_empty());
    let beside = config(&[("cp_enable", "false"), ("address", "10.0.0.100"), ("svc_enable", "true")]);
    assert_eq!(
        beside.reserved,
        ["10.0.0.100".parse::<IpAddr>().expect("an address")],
        "another agent's to hold"
    );
    assert_eq!(alone.features.services.interface.name(&alone.interface), "eth0");
    assert!(!alone.features.services.witnesses.is_empty(), "the gateway");
    let elsewhere = config(&[("svc_enable", "true"), ("vip_servicesinterface", "lo")]);
    assert!(elsewhere.holds_control_plane());
    assert_eq!(elsewhere.features.services.interface.name(&elsewhere.interface), "lo");
    assert_ne!(elsewhere.features.services.witnesses, elsewhere.witnesses);
}
