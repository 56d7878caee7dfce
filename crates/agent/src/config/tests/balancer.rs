//! The load balancer's settings: what is made of them, and what is refused.

use super::{config, run};
use mainstay_dataplane::ipvs::Forwarding;

use crate::config::{BackendCheck, BalancerBackend};

const ON: (&str, &str) = ("lb_enable", "true");
const NFTABLES: (&str, &str) = ("lb_backend", "nftables");

#[test]
fn a_backend_without_a_port_has_the_api_servers() {
    let config = config(&[ON, ("port", "7443"), ("MAINSTAY_LB_BACKENDS", "10.0.0.21, 10.0.0.22:6444")]);
    let balancer = config.features.balancer;
    let backends: Vec<String> = balancer.backends.iter().map(ToString::to_string).collect();
    assert_eq!(backends, ["10.0.0.21:7443", "10.0.0.22:6444"]);
    assert_eq!(balancer.forwarding, Forwarding::Local);
    assert_eq!((balancer.backend, balancer.check), (BalancerBackend::Auto, BackendCheck::Ready));
    assert!(balancer.keep_connections);
    assert_eq!((balancer.rise.get(), balancer.fall.get(), balancer.port), (2, 2, 6443));
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_with_its_remedy() {
    const WRITE: &str =
        "write IP or IP:PORT, such as 192.0.2.1:6443 or [2001:db8::1]:6443, separated by commas";
    let backends = |text: &'static str| ("MAINSTAY_LB_BACKENDS", text);
    for (setting, expected) in [
        (backends("10.0.0.21,10.0.0.21"), "10.0.0.21 is there twice; name each backend once".to_owned()),
        (backends("10.0.0.21,10.0.0.21:6443"), "10.0.0.21:6443 is there twice; name each backend once".to_owned()),
        (backends("10.0.0.21:0"), format!("10.0.0.21:0 has port 0, which nobody listens on; {WRITE}")),
        (backends("node-1:6443"), format!(r#""node-1:6443" is no address of a backend; {WRITE}"#)),
        (backends("127.0.0.1"), format!("127.0.0.1 is a loopback address and cannot be a backend; {WRITE}")),
        (
            backends("10.0.0.100,10.0.0.21"),
            "10.0.0.100 is the VIP itself: connections would go round in circles; name the API servers' own addresses".to_owned(),
        ),
        (
            backends("10.0.0.21,fd00::21"),
            "one is IPv6, and no VIP is; name backends of the VIPs' families, and of each of them".to_owned(),
        ),
        (
            backends("fd00::21"),
            "none is IPv4, and a VIP is; name backends of the VIPs' families, and of each of them".to_owned(),
        ),
        (
            ("MAINSTAY_LB_SCHEDULER", "lc"),
            r#""lc" is no scheduler of IPVS; write rr, wrr, sh or mh, or leave it out"#.to_owned(),
        ),
        (
            ("lb_fwdmethod", "tunnel"),
            "nftables cannot forward so; write local or masquerade, or set lb_backend to auto".to_owned(),
        ),
    ] {
        let (name, value) = setting;
        let refused = run(&[ON, NFTABLES, ("address", "10.0.0.100"), setting]).map(|resolved| resolved.config);
        assert_eq!(refused.expect_err(value).to_string(), format!("{name}={value:?}: {expected}"));
    }
}

#[test]
fn the_local_api_server_is_not_asked_behind_a_balancer_unless_somebody_says_so() {
    let lease = ("vip_leaderelection", "true");
    let asked = |changes: &[(&str, &str)]| config(changes).features.health_check.url;
    assert!(asked(&[lease]).is_some());
    assert_eq!(asked(&[lease, ON]), None);
    assert!(asked(&[lease, ON, ("control_plane_health_check_address", "https://10.0.0.9")]).is_some());
}
