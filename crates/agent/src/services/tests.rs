//! What is held of what is known: the damper, and the words for refusals.

use std::collections::BTreeSet;

use super::decided::Facts;
use super::*;

fn vips(hosts: &[u8]) -> BTreeSet<Vip> {
    hosts.iter().map(|host| Vip::from([10, 1, 0, *host])).collect()
}

fn held(hosts: &[u8]) -> Vec<Vip> {
    vips(hosts).into_iter().collect()
}

#[test]
fn an_address_outlives_its_last_endpoint_by_a_second() {
    let (mut damper, start) = (Damper::default(), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    assert_eq!(damper.take(at(0), &vips(&[1, 2]), &vips(&[1])), held(&[1]), "2 never had any");
    assert_eq!(damper.next(), None);
    assert_eq!(damper.take(at(100), &vips(&[1, 2]), &vips(&[])), held(&[1]));
    assert_eq!(damper.next(), Some(at(1_100)));
    assert_eq!(damper.take(at(1_099), &vips(&[1, 2]), &vips(&[])), held(&[1]));
    assert_eq!(damper.take(at(1_100), &vips(&[1, 2]), &vips(&[])), held(&[]));
    assert_eq!(damper.next(), None);
    assert_eq!(damper.take(at(1_200), &vips(&[1, 2]), &vips(&[1, 2])), held(&[1, 2]), "and back at once");
}

#[test]
fn a_flap_counts_from_its_own_start_and_a_service_that_is_gone_goes_at_once() {
    let (mut damper, start) = (Damper::default(), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    damper.take(at(0), &vips(&[1, 2]), &vips(&[1, 2]));
    damper.take(at(100), &vips(&[1, 2]), &vips(&[2]));
    damper.take(at(600), &vips(&[1, 2]), &vips(&[1, 2]));
    assert_eq!(damper.take(at(1_000), &vips(&[1, 2]), &vips(&[2])), held(&[1, 2]), "bare anew since now");
    assert_eq!(damper.next(), Some(at(2_000)));
    assert_eq!(damper.take(at(1_050), &vips(&[2]), &vips(&[2])), held(&[2]), "nobody asks for it any more");
    assert_eq!(damper.next(), None);
}

// === whether this node may hold ===

use mainstay_core::intent::{
    Extent, Family, Intent, InterfaceWish, Kind, Listing, Named, NodeFacts, Port, Protocol, Published,
    Reading, Rules, Service, ServiceType, Wish,
};
use mainstay_core::ipam::Pools;
use mainstay_core::snapshot::Member;

fn listing<K, T>(kind: Kind, readings: Vec<Reading<K, T>>) -> Listing<K, T> {
    Listing { kind, extent: Extent::Complete, readings }
}

/// Whether `n1` may hold, where these nodes are excluded, and these have agents.
fn n1_may_hold(excluded: &[&str], agents: &[&str]) -> bool {
    let mut intent = Intent::default();
    let node = |name: &&str| {
        let facts = NodeFacts { excluded: excluded.contains(name), ..NodeFacts::default() };
        Reading::read(NodeName::new(name), facts, vec![])
    };
    intent.services.replace(listing(Kind::Service, vec![]));
    intent.slices.replace(listing(Kind::EndpointSlice, vec![]));
    intent.nodes.replace(listing(Kind::Node, ["n1", "n2", "n3"].iter().map(node).collect()));
    let agents: Members = agents.iter().map(|name| (NodeName::new(name), Member::default())).collect();
    decided_among(&intent, &agents).may_hold.is_ok()
}

fn decided(intent: &Intent) -> Decided {
    decided_among(intent, &Members::default())
}

/// What follows on `n1`, with these agents.
fn decided_among(intent: &Intent, agents: &Members) -> Decided {
    let (pools, rules, node) = (Pools::default(), Rules::default(), NodeName::new("n1"));
    let facts = Facts {
        intent,
        pools: &pools,
        rules: &rules,
        node: &node,
        agents,
        spread: false,
        filtered: false,
        asked: None,
    };
    Decided::of(&facts).expect("all was read")
}

/// What there is to say of a Service on `n1`, one after another, where `n1` and `n2` have agents.
fn explained(intent: &Intent, name: &str) -> String {
    let (pools, rules, node) = (Pools::default(), Rules::default(), NodeName::new("n1"));
    let agents: Members =
        ["n1", "n2"].map(|name| (NodeName::new(name), Member::default())).into_iter().collect();
    let name: ObjectName = name.parse().expect("a name");
    let facts = Facts {
        intent,
        pools: &pools,
        rules: &rules,
        node: &node,
        agents: &agents,
        spread: true,
        filtered: false,
        asked: Some(&name),
    };
    let explained = Decided::of(&facts).expect("all was read").explained.expect("it was asked for");
    let because: Vec<String> =
        explained.because.iter().map(|reason| format!("{}: {}", reason.source, reason.says)).collect();
    [explained.about, explained.conclusion, because.join("\n"), explained.would_change.join("\n")].join("\n")
}

#[test]
fn why_a_service_is_as_it_is() {
    let service = |name: &str, edit: fn(&mut Service)| {
        let mut service = Service {
            service_type: ServiceType::LoadBalancer,
            named: Named { annotation: vec![Wish::Address(Vip::from([10, 1, 0, 1]))], ..Named::default() },
            published: vec![Published {
                wish: Wish::Address(Vip::from([10, 1, 0, 1])),
                ports: BTreeSet::new(),
            }],
            ports: [Port { protocol: Protocol::Tcp, port: 80 }].into(),
            families: vec![Family::Ipv4],
            seat: Some(NodeName::new("n2")),
            ..Service::default()
        };
        edit(&mut service);
        Reading::read(name.parse().expect("a name"), service, vec![])
    };
    let services = vec![
        service("shop/a", |_| {}),
        service("shop/b", |service| service.ports = [Port { protocol: Protocol::Tcp, port: 443 }].into()),
        service("shop/c", |service| service.published.clear()),
        service("shop/d", |service| service.ignore = true),
    ];
    let node = |name: &&str| {
        let facts = NodeFacts { excluded: *name == "n2", ..NodeFacts::default() };
        Reading::read(NodeName::new(name), facts, vec![])
    };
    let mut intent = Intent::default();
    intent.services.replace(listing(Kind::Service, services));
    intent.slices.replace(listing(Kind::EndpointSlice, vec![]));
    intent.nodes.replace(listing(Kind::Node, ["n1", "n2"].iter().map(node).collect()));
    let text = explained(&intent, "shop/a");
    for part in [
        "Service shop/a\nit has 10.1.0.1, which is to be held",
        "its address: 10.1.0.1, on 80/TCP",
        "it shares: addresses with shop/b",
        "its annotations: mainstay.io/seat: placed at the seat of n2",
        "node n1: cannot hold it: no endpoint of service shop/a serves",
        "node n2: cannot hold it: the node has the label node.kubernetes.io/exclude-from-external-load-balancers",
        "a node with an agent that could hold it",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = explained(&intent, "shop/c");
    assert!(text.contains("it gets no address") && text.contains("refused: "), "{text}");
    assert!(explained(&intent, "shop/d").contains("not held: its annotation kube-vip.io/ignore says so"));
    assert!(explained(&intent, "shop/e").contains("no such Service"));
}

#[test]
fn an_excluded_node_holds_where_no_other_agent_is_on_a_better_one() {
    assert!(n1_may_hold(&[], &["n1", "n2"]));
    assert!(n1_may_hold(&["n2"], &["n1", "n2"]));
    assert!(!n1_may_hold(&["n1"], &["n1", "n2"]));
    assert!(n1_may_hold(&["n1", "n2"], &["n1", "n2"]), "kubeadm's control-plane nodes, and n3 has no agent");
    assert!(!n1_may_hold(&["n1", "n2"], &["n1", "n2", "n3"]));
    assert!(n1_may_hold(&["n1"], &[]), "nobody else is known");
}

#[test]
fn an_api_servers_url_names_its_address_or_none() {
    for (url, address) in [
        ("https://10.0.0.1:6443", Some("10.0.0.1")),
        ("https://10.0.0.1", Some("10.0.0.1")),
        ("https://[fd00::1]:6443/prefix", Some("fd00::1")),
        ("https://[fd00::1]", Some("fd00::1")),
        ("https://api.example.com:6443", None),
        ("nonsense", None),
    ] {
        assert_eq!(rules::host(url), address.map(|text| text.parse().expect("an address")), "{url}");
    }
}

#[test]
fn what_a_holder_wrote_is_left_to_the_next() {
    let name = |name: &str| name.parse::<mainstay_core::intent::ObjectName>().expect("a name");
    let wanted = Wanted {
        services: [(name("shop/a"), mainstay_kube::Publication::default())].into(),
        elsewhere: [name("shop/b")].into(),
    };
    let left = leave(&wanted);
    assert!(left.services.is_empty());
    assert_eq!(left.elsewhere, [name("shop/a"), name("shop/b")].into());
    assert_eq!(leave(&left), left);
}

/// One interface has the addresses of all Services: who asks for another is told so, and held.
#[test]
fn a_service_that_asks_for_another_interface_is_told_where_its_address_is() {
    let service = |name: &str, address: u8, interface| {
        let service = Service {
            service_type: ServiceType::LoadBalancer,
            named: Named {
                annotation: vec![Wish::Address(Vip::from([10, 1, 0, address]))],
                ..Named::default()
            },
            ports: [Port { protocol: Protocol::Tcp, port: 80 }].into(),
            families: vec![Family::Ipv4],
            interface,
            ..Service::default()
        };
        Reading::read(name.parse().expect("a name"), service, vec![])
    };
    let wish = |text: &str| InterfaceWish::of(text);
    let services = vec![
        service("shop/a", 1, wish("eth1")),
        service("shop/b", 2, wish("eth0")),
        service("shop/c", 3, wish("auto")),
        service("shop/d", 4, None),
    ];
    let mut intent = Intent::default();
    intent.services.replace(listing(Kind::Service, services));
    intent.slices.replace(listing(Kind::EndpointSlice, vec![]));
    intent.nodes.replace(listing(Kind::Node, vec![]));
    let decided = decided(&intent);
    assert_eq!(decided.wanted, vips(&[1, 2, 3, 4]), "all the same");
    let refused = decided.refused("eth0");
    assert_eq!(refused.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop/a"]);
    let why = refused.values().next().expect("one line");
    assert!(why.starts_with("10.1.0.1 is on eth0 (vip_servicesinterface), not on eth1"), "{why}");
}

// === what is told ===

use super::incumbents::Left;

/// What is told of the Service `shop/web`: by the node that holds, of what it holds and what is left.
fn told(held: Option<&str>, left: Option<Option<&str>>) -> Told {
    let web: ObjectName = "shop/web".parse().expect("a name");
    let held = held.map(|line| (web.clone(), line.to_owned())).into_iter().collect();
    let left: Left = left.map(|why| (web, why.map(str::to_owned))).into_iter().collect();
    Told { holds: true, refused: BTreeMap::new(), left, held }
}

#[test]
fn a_service_that_is_left_to_another_is_told_of_once_and_not_called_bare() {
    let mut last = told(Some("node n1 holds it"), None);
    let mut events_of = |now: Told| {
        let mut reasons = Vec::new();
        last.change_to(now, |said| reasons.push(said.reason()));
        reasons
    };
    assert_eq!(events_of(told(None, Some(None))), [""; 0], "nobody knows yet whether it is, and why");
    assert_eq!(events_of(told(None, Some(Some("held by n9")))), ["LeftToKubeVip"]);
    assert_eq!(events_of(told(None, Some(Some("held by n8")))), [""; 0]);
    assert_eq!(events_of(told(Some("node n1 holds it"), None)), ["AddressHeld"]);
    assert_eq!(events_of(told(None, None)), ["AddressNotHeld"]);
}
