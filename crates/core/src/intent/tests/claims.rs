//! From Services to claims.

use std::net::IpAddr;

use super::super::*;
use super::world::{World, assigned, name, node, pools, port, service};
use crate::ipam::{Note, Occupant, Pools, Why};

fn with_ports(addresses: &str, ports: &[u16]) -> Service {
    Service { ports: ports.iter().copied().map(port).collect(), ..service(addresses) }
}

/// One whose status has `addresses`, with `ports` as they were published.
fn had(addresses: &str, ports: &[u16]) -> Service {
    let ports: std::collections::BTreeSet<_> = ports.iter().copied().map(port).collect();
    let mut service = assigned(addresses);
    service.published.iter_mut().for_each(|one| one.ports = ports.clone());
    Service { ports, ..service }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn why(decisions: &Decisions, text: &str) -> Vec<Why> {
    decisions.refused.get(&name(text)).cloned().unwrap_or_default()
}

fn clash(address: &str, number: u16, by: &str) -> Why {
    Why::PortClash { address: ip(address), port: port(number), by: name(by) }
}

/// What a Service is granted, as `ADDRESS(BASIS)`.
fn granted(decisions: &Decisions, text: &str) -> String {
    let all = decisions.grants.get(&name(text)).into_iter().flatten();
    all.map(|one| format!("{}({:?})", one.address, one.basis)).collect::<Vec<_>>().join(" ")
}

#[test]
fn services_on_one_address_are_one_claim_until_the_last_goes() {
    let web = with_ports("10.0.0.1", &[80]);
    let tls = Service { created: 200, ..with_ports("10.0.0.1", &[443]) };
    let both = World::new(&[]).service("web", web).service("tls", tls);
    assert_eq!(both.claims(), ["svc/10.0.0.1 10.0.0.1=web+tls"], "the older first");
    let mut left = both.clone();
    left.0.services.apply(Change::Gone(name("web")));
    assert_eq!(left.claims(), ["svc/10.0.0.1 10.0.0.1=tls"], "under the same name");
    left.0.services.apply(Change::Gone(name("tls")));
    assert_eq!(left.claims(), Vec::<String>::new());
}

#[test]
fn addresses_joined_by_a_chain_are_one_claim() {
    let world = World::new(&[])
        .service("a", with_ports("10.0.0.3", &[1]))
        .service("b", with_ports("10.0.0.3 fd00::2", &[2]))
        .service("c", with_ports("fd00::2 10.0.0.1", &[3]))
        .service("d", with_ports("10.0.0.2", &[4]));
    let one = "svc/10.0.0.1 10.0.0.1=c 10.0.0.3=a+b fd00::2=b+c";
    assert_eq!(world.claims(), [one, "svc/10.0.0.2 10.0.0.2=d"]);
}

#[test]
fn a_dual_stack_service_is_one_claim() {
    let world = World::new(&[]).service("web", service("fd00::1 10.0.0.1"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=web fd00::1=web"]);
}

#[test]
fn of_two_newcomers_that_want_one_port_the_older_has_it() {
    let young = Service { created: 200, ..with_ports("10.0.0.1 10.0.0.2", &[80, 81]) };
    let world = World::new(&[]).service("a-young", young).service("z-old", with_ports("10.0.0.1", &[80]));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=z-old", "svc/10.0.0.2 10.0.0.2=a-young"]);
    assert_eq!(why(&world.decide(), "a-young"), [clash("10.0.0.1", 80, "z-old")]);
}

#[test]
fn among_equally_old_services_the_name_decides() {
    let world = World::new(&[]).service("b", service("10.0.0.1")).service("a", service("10.0.0.1"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=a"]);
    let world = world.service("a/z", service("10.0.0.1"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=z"], "namespaces come before names");
}

#[test]
fn who_has_it_in_the_status_goes_before_age() {
    let old = |ports: &[u16]| Service { created: 1, ..with_ports("10.0.0.1", ports) };
    let young = || Service { created: 200, ..had("10.0.0.1", &[80]) };
    let edited = World::new(&[]).service("a-old", old(&[80])).service("z-young", young());
    assert_eq!(edited.claims(), ["svc/10.0.0.1 10.0.0.1=z-young"], "it did not agree to share");
    let taken = Why::Taken { address: ip("10.0.0.1"), by: name("z-young") };
    assert_eq!(why(&edited.decide(), "a-old"), [taken]);
    let consenting = Service { named: service("10.0.0.1").named, ..young() };
    let shared = World::new(&[]).service("a-old", old(&[443])).service("z-young", consenting.clone());
    assert_eq!(shared.claims(), ["svc/10.0.0.1 10.0.0.1=z-young+a-old"], "in their order on it");
    let clashing = World::new(&[]).service("a-old", old(&[80])).service("z-young", consenting);
    assert_eq!(clashing.claims(), ["svc/10.0.0.1 10.0.0.1=z-young"]);
    assert_eq!(why(&clashing.decide(), "a-old"), [clash("10.0.0.1", 80, "z-young")]);
}

/// Its own edit costs the older one its address, and it asks the pools again; unless a person named it.
#[test]
fn an_older_service_that_gets_a_younger_ones_port_drives_nobody_out() {
    let old = Service { created: 1, ports: [port(80), port(443)].into(), ..had("10.0.0.1", &[80]) };
    let old = Service { ports: [port(80), port(443)].into(), ..old };
    let young = Service { created: 200, ..had("10.0.0.1", &[443]) };
    let world = World::new(&[]).service("a-old", old.clone()).service("z-young", young.clone());
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9")]);
    let decisions = world.decide_with(&pools);
    assert_eq!(granted(&decisions, "z-young"), "10.0.0.1(Published)");
    assert_eq!(granted(&decisions, "a-old"), "10.0.0.2(Pool)");
    assert_eq!(why(&decisions, "a-old"), [clash("10.0.0.1", 443, "z-young")]);
    let named = World::new(&[])
        .service("a-old", Service { named: service("10.0.0.1").named, ..old.clone() })
        .service("z-young", young.clone());
    assert_eq!(granted(&named.decide_with(&pools), "a-old"), "", "a person named it");
    // Where nobody published ports, nothing tells which are new, and age decides.
    let unsaid = |service: Service| Service { published: assigned("10.0.0.1").published, ..service };
    let world = World::new(&[]).service("a-old", unsaid(old)).service("z-young", unsaid(young));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=a-old"]);
}

#[test]
fn a_refused_service_takes_no_port_from_a_third() {
    let refused = Service { created: 200, ..with_ports("10.0.0.1", &[80, 443]) };
    let third = Service { created: 300, ..with_ports("10.0.0.1", &[443]) };
    let world = World::new(&[]).service("a", service("10.0.0.1")).service("b", refused).service("c", third);
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=a+c"]);
}

#[test]
fn one_number_of_two_protocols_is_no_clash() {
    let udp = Service { ports: [Port { protocol: Protocol::Udp, port: 80 }].into(), ..service("10.0.0.1") };
    let world = World::new(&[]).service("tcp", service("10.0.0.1")).service("udp", udp);
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=tcp+udp"]);
}

#[test]
fn each_wish_that_is_not_granted_has_its_reason() {
    let rules = Rules { reserved: [ip("10.0.0.100")].into(), ..Rules::default() };
    let ipv4 = |addresses: &str| Service { families: vec![Family::Ipv4], ..service(addresses) };
    for (address, expected) in [
        ("0.0.0.0", "IPv4 is to come from DHCP, which is not built yet"),
        ("::", "IPv6 is to come from DHCP"),
        (
            "web.example.org",
            r#"kube-vip.io/loadbalancerIPs="web.example.org": addresses by DNS name are not built"#,
        ),
        ("10.0.0", r#"kube-vip.io/loadbalancerIPs="10.0.0": is no IP address"#),
        ("127.0.0.1", "127.0.0.1 is loopback"),
        ("224.0.0.1", "224.0.0.1 is multicast"),
        ("255.255.255.255", "255.255.255.255 is reserved"),
        ("ff02::1", "ff02::1 is multicast"),
        ("fe80::1", "fe80::1 is link-local"),
        ("fd00::1", "fd00::1 is IPv6, which is not among its ipFamilies"),
        ("10.0.0.100", "10.0.0.100 is in use by the control plane"),
        ("10.0.0.11", "10.0.0.11 is in use by node n1"),
        ("10.0.0.12", "10.0.0.12 is in use by the Service default/other of another controller"),
    ] {
        let other = Service { class: Some("example.org/other".into()), ..assigned("10.0.0.12") };
        let world = World::new(&[])
            .node("n1", |facts| facts.addresses.extend([ip("10.0.0.11")]))
            .service("other", other)
            .service("web", ipv4(&format!("10.0.0.1 {address}")));
        let decisions = decide(&world.0, &Pools::default(), &rules).expect("all is listed");
        let told: Vec<String> = why(&decisions, "web").iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].starts_with(expected), "{address}: {told:?}");
        assert_eq!(granted(&decisions, "web"), "10.0.0.1(Named)", "the other address stays: {address}");
    }
}

/// Two claims on one address would be two holders (kube-vip 665, 947): also where a status has it.
#[test]
fn the_control_planes_address_is_no_services_whatever_the_status_says() {
    let rules = Rules { reserved: [ip("10.0.0.100")].into(), ..Rules::default() };
    let world = World::new(&[]).service("web", assigned("10.0.0.100"));
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9")]);
    let decisions = decide(&world.0, &pools, &rules).expect("all is listed");
    assert_eq!(granted(&decisions, "web"), "10.0.0.1(Pool)");
    let in_use = Why::InUse { address: ip("10.0.0.100"), by: Occupant::ControlPlane };
    assert_eq!(why(&decisions, "web"), [in_use]);
}

#[test]
fn loopback_in_a_status_is_not_kept() {
    let world = World::new(&[]).service("web", assigned("127.0.0.1 10.0.0.9"));
    let decisions = world.decide();
    assert_eq!(granted(&decisions, "web"), "10.0.0.9(Published)");
    assert!(decisions.unpublished.contains(&name("web")));
}

/// k3s's servicelb publishes the nodes' own addresses (kube-vip 836); a kubelet reports a VIP that its node holds as the
/// node's own (kube-vip 741).
#[test]
fn a_nodes_own_address_is_refused_where_nobody_asked_for_it() {
    let nodes = World::new(&[]).node("n1", |facts| facts.addresses.extend([ip("10.0.0.11")]));
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9")]);
    let published = nodes.clone().service("web", assigned("10.0.0.11")).decide_with(&pools);
    let node_address = Why::NodeAddress { address: ip("10.0.0.11"), node: node("n1") };
    assert_eq!(why(&published, "web"), [node_address]);
    assert!(published.grants.is_empty() && published.unpublished.is_empty(), "two would write its status");
    let asked = Service { published: assigned("10.0.0.11").published, ..service("10.0.0.11") };
    let asked = nodes.clone().service("web", asked).decide();
    assert_eq!(granted(&asked, "web"), "10.0.0.11(Published)");
    assert!(matches!(asked.notes[&name("web")][..], [Note::AlsoInUse { .. }]));
    let held = Service { vip_host: Some(node("n1")), ..assigned("10.0.0.11") };
    let held = nodes.clone().service("web", held).decide();
    assert_eq!((granted(&held, "web").as_str(), held.notes.len()), ("10.0.0.11(Published)", 0));
    let held = Service { vip_host: Some(node("n1")), ..service("10.0.0.11") };
    assert_eq!(
        granted(&nodes.service("web", held).decide(), "web"),
        "10.0.0.11(Named)",
        "it is held already"
    );
}

#[test]
fn a_name_in_the_status_is_another_load_balancers() {
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9")]);
    let decisions = World::new(&[]).service("web", assigned("lb.example.org")).decide_with(&pools);
    assert_eq!(why(&decisions, "web"), [Why::Published { name: "lb.example.org".into() }]);
    assert!(decisions.grants.is_empty() && decisions.unpublished.is_empty());
    let named = Service { named: service("10.0.0.7").named, ..assigned("lb.example.org") };
    let decisions = World::new(&[]).service("web", named).decide_with(&pools);
    assert_eq!(granted(&decisions, "web"), "10.0.0.7(Named)");
}

#[test]
fn who_names_nothing_gets_what_it_lacks_from_the_pools_and_holds_it_once_that_is_published() {
    use Family::{Ipv4, Ipv6};
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9,fd00::1-fd00::9")]);
    let prefers = |families: &[Family], service: Service| Service {
        families: families.to_vec(),
        family_policy: FamilyPolicy::PreferDualStack,
        ..service
    };
    for (asked, expected) in [
        (service(""), "10.0.0.1(Pool)"),
        (prefers(&[Ipv6, Ipv4], service("")), "fd00::1(Pool) 10.0.0.1(Pool)"),
        (prefers(&[Ipv4, Ipv6], assigned("10.0.0.7")), "10.0.0.7(Published) fd00::1(Pool)"),
        (prefers(&[Ipv4, Ipv6], assigned("10.0.0.7 fd00::7")), "10.0.0.7(Published) fd00::7(Published)"),
        (prefers(&[Ipv4, Ipv6], service("10.0.0.7")), "10.0.0.7(Named)"),
        (Service { deleting: true, ..service("") }, ""),
        (Service { deleting: true, ..assigned("10.0.0.7") }, "10.0.0.7(Published)"),
    ] {
        let world = World::new(&[]).service("web", asked.clone());
        let decisions = world.decide_with(&pools);
        assert_eq!(granted(&decisions, "web"), expected, "{asked:?}");
        let on_claims = decisions.claims.values().flat_map(|claim| claim.addresses.keys()).count();
        let all = decisions.grants.values().flatten();
        assert_eq!(on_claims, all.filter(|one| one.basis != Basis::Pool).count(), "{asked:?}");
        let after = world.published(&decisions).decide_with(&pools);
        let on_claims = after.claims.values().flat_map(|claim| claim.addresses.keys()).count();
        assert_eq!(on_claims, after.grants.values().flatten().count(), "once it is published");
        assert!(after.unpublished.is_empty(), "nothing more is to be written: {asked:?}");
    }
}

#[test]
fn a_status_without_ports_is_written_again_with_them() {
    let decisions = World::new(&[]).service("web", assigned("10.0.0.7")).decide();
    assert_eq!(decisions.grants[&name("web")][0].ports, [port(80)].into());
    assert!(decisions.unpublished.contains(&name("web")));
    let decisions = World::new(&[]).service("web", had("10.0.0.7", &[80])).decide();
    assert!(decisions.unpublished.is_empty());
}

#[test]
fn the_first_service_that_names_an_interface_has_its_way() {
    let on = |created, port, interface: Option<&str>| Service {
        created,
        interface: interface.map(|name| InterfaceWish::Named(name.into())),
        ..with_ports("10.0.0.1", &[port])
    };
    let interface = |world: &World, pools: &Pools| {
        let claims = world.decide_with(pools).claims;
        let address = claims.values().flat_map(|claim| claim.addresses.values()).next().cloned();
        address.expect("an address").interface
    };
    let named = |name: &str| Some(InterfaceWish::Named(name.into()));
    let pools = pools(&[("interface-global", "eth9")]);
    let silent = World::new(&[]).service("c", on(1, 1, None));
    assert_eq!(interface(&silent, &Pools::default()), None);
    assert_eq!(interface(&silent, &pools), named("eth9"), "as the ConfigMap has it");
    let world = silent.service("b", on(2, 2, Some("eth1"))).service("a", on(3, 3, Some("eth2")));
    assert_eq!(interface(&world, &pools), named("eth1"));
    let published = Service { published: assigned("10.0.0.1").published, ..on(3, 3, Some("eth2")) };
    assert_eq!(interface(&world.service("a", published), &pools), named("eth2"), "whose status has it");
}
