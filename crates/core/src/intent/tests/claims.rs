//! From Services to claims.

use super::super::*;
use super::world::{World, name, node, port, service, wish};

fn with_ports(addresses: &str, ports: &[u16]) -> Service {
    Service { ports: ports.iter().copied().map(port).collect(), ..service(addresses) }
}

fn why(decisions: &Decisions, text: &str) -> Vec<Refusal> {
    decisions.refused.get(&name(text)).into_iter().flatten().map(|refused| refused.why.clone()).collect()
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
fn of_two_that_want_one_port_the_older_has_it() {
    let young = Service { created: 200, ..with_ports("10.0.0.1 10.0.0.2", &[80, 81]) };
    let world = World::new(&[]).service("a-young", young).service("z-old", with_ports("10.0.0.1", &[80]));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=z-old", "svc/10.0.0.2 10.0.0.2=a-young"]);
    let refused = Refusal::PortClash { port: port(80), with: name("z-old") };
    assert_eq!(why(&world.decide(), "a-young"), std::slice::from_ref(&refused));
    let text = "service default/z-old, which is older, has 80/TCP there: use another port or another address";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn among_equally_old_services_the_name_decides() {
    let world = World::new(&[]).service("b", service("10.0.0.1")).service("a", service("10.0.0.1"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=a"]);
    let world = world.service("a/z", service("10.0.0.1"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=z"], "namespaces come before names");
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
    let rules = Rules { reserved: ["10.0.0.100".parse().unwrap()].into(), ..Rules::default() };
    let ipv4 = |addresses: &str| Service { families: vec![Family::Ipv4], ..service(addresses) };
    for (address, expected) in [
        ("0.0.0.0", Refusal::Dhcp),
        ("::", Refusal::Dhcp),
        ("web.example.org", Refusal::DnsName),
        ("127.0.0.1", Refusal::NotUnicast),
        ("224.0.0.1", Refusal::NotUnicast),
        ("255.255.255.255", Refusal::NotUnicast),
        ("ff02::1", Refusal::NotUnicast),
        ("fd00::1", Refusal::Family(Family::Ipv6)),
        ("10.0.0.100", Refusal::Reserved),
        ("10.0.0.1", Refusal::Twice),
    ] {
        let world = World::new(&[]).service("web", ipv4(&format!("10.0.0.1 {address}")));
        let decisions = decide(&world.0, &rules).expect("all is listed");
        assert_eq!(why(&decisions, "web"), [expected], "{address}");
        assert_eq!(decisions.claims.len(), 1, "the other address stays: {address}");
        assert!(decisions.needs.is_empty(), "{address}");
    }
}

/// k3s's servicelb publishes the nodes' own addresses (kube-vip 836); a kubelet reports a VIP that its node holds as the
/// node's own (kube-vip 741).
#[test]
fn a_nodes_own_address_is_refused_where_nobody_asked_for_it() {
    let from = |source| Service { wishes: vec![wish(source, "10.0.0.11")], ..service("") };
    let nodes = World::new(&[])
        .node("n1", |facts| facts.addresses.extend(["10.0.0.11".parse::<std::net::IpAddr>().unwrap()]));
    let published = nodes.clone().service("web", from(AddressSource::Status)).decide();
    assert_eq!(why(&published, "web"), [Refusal::NodeAddress(node("n1"))]);
    assert!(published.needs.is_empty(), "two would write its status");
    for asked in [AddressSource::Annotation, AddressSource::Spec] {
        assert_eq!(nodes.clone().service("web", from(asked)).decide().claims.len(), 1, "{asked:?}");
    }
    let held = Service { vip_host: Some(node("n1")), ..from(AddressSource::Status) };
    assert_eq!(nodes.service("web", held).decide().claims.len(), 1, "it is held already");
}

#[test]
fn a_service_that_names_no_address_needs_one_of_each_family() {
    use Family::{Ipv4, Ipv6};
    let from =
        |source, addresses: &str| addresses.split_whitespace().map(|text| wish(source, text)).collect();
    for (families, wishes, needed) in [
        (vec![], vec![], Some(vec![])),
        (vec![], from(AddressSource::Status, "10.0.0.1"), None),
        (vec![Ipv6, Ipv4], vec![], Some(vec![Ipv6, Ipv4])),
        (vec![Ipv4, Ipv6], from(AddressSource::Status, "10.0.0.1"), Some(vec![Ipv6])),
        (vec![Ipv4, Ipv6], from(AddressSource::Status, "10.0.0.1 fd00::1"), None),
        (vec![Ipv4, Ipv6], from(AddressSource::Annotation, "10.0.0.1"), None),
        (vec![Ipv4, Ipv6], from(AddressSource::Spec, "10.0.0.1"), None),
        (vec![Ipv4], from(AddressSource::Status, "a.example"), None),
        (vec![Ipv4], from(AddressSource::Annotation, "0.0.0.0"), None),
    ] {
        let policy = FamilyPolicy::PreferDualStack;
        let asked = Service { families: families.clone(), family_policy: policy, wishes, ..service("") };
        let deleted = Service { deleting: true, ..asked.clone() };
        let needs = World::new(&[]).service("web", asked.clone()).service("gone", deleted).decide().needs;
        let expected = needed.map(|families| AddressNeed { families, policy });
        assert_eq!(needs.get(&name("web")), expected.as_ref(), "{asked:?}");
        assert_eq!(needs.get(&name("gone")), None, "nothing new for what is being deleted");
    }
}

#[test]
fn the_oldest_service_that_names_an_interface_has_its_way() {
    let on = |created, port, interface: Option<&str>| Service {
        created,
        interface: interface.map(|name| InterfaceWish::Named(name.into())),
        ..with_ports("10.0.0.1", &[port])
    };
    let world = World::new(&[])
        .service("c", on(1, 1, None))
        .service("b", on(2, 2, Some("eth1")))
        .service("a", on(3, 3, Some("eth2")));
    let claims = world.decide().claims;
    let address = claims.values().flat_map(|claim| claim.addresses.values()).next().expect("an address");
    assert_eq!(address.interface, Some(InterfaceWish::Named("eth1".into())));
}
