//! Objects as `kubectl get -o yaml` prints them, and what they come to in the core's words.

use std::collections::BTreeMap;

use mainstay_core::intent::{
    Change, Extent, Family, FamilyPolicy, Flaw, Intent, InterfaceWish, Kind, Listing, Named, NamedBy,
    NodeFacts, ObjectName, Port, Problem, Protocol, Published, Reading, Rules, Service, ServiceType, Slice,
    Survey, Tally, TrafficPolicy, Wish, decide,
};
use mainstay_core::ipam::Pools;
use mainstay_core::names::NodeName;
use serde_json::{Value, json};

use crate::convert;

mod any;

/// The objects of one fixture: one, or the items of a `List`.
fn fixture(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/services/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let object: Value = serde_saphyr::from_str(&text).expect(&path);
    object["items"].as_array().cloned().unwrap_or_else(|| vec![object])
}

fn one(name: &str) -> Value {
    fixture(name).remove(0)
}

fn name(text: &str) -> ObjectName {
    text.parse().expect("a name")
}

fn tcp(port: u16) -> Port {
    Port { protocol: Protocol::Tcp, port }
}

/// What stands in the annotation.
fn annotated(list: &str) -> Named {
    Named { annotation: Wish::list(list), ..Named::default() }
}

/// What stands in the spec alone.
fn specified(address: &str) -> Named {
    Named { spec: Some(Wish::of(address)), ..Named::default() }
}

fn published(addresses: &[&str]) -> Vec<Published> {
    addresses.iter().map(|text| Published { wish: Wish::of(text), ports: [].into() }).collect()
}

/// `metadata.uid` of an object.
fn uid(object: &Value) -> Option<String> {
    object["metadata"]["uid"].as_str().map(str::to_owned)
}

/// What the fixtures have in common.
fn web() -> Service {
    Service {
        // 2026-03-02T08:15:30Z
        created: 1_772_439_330,
        service_type: ServiceType::LoadBalancer,
        named: annotated("192.0.2.10"),
        families: vec![Family::Ipv4],
        ports: [tcp(80)].into(),
        ..Service::default()
    }
}

fn remark(field: &str, value: &str, expected: &str) -> Flaw {
    Flaw::Remark { field: field.to_owned(), value: value.to_owned(), expected: expected.to_owned() }
}

#[test]
fn services_that_can_be_read() {
    use Family::{Ipv4, Ipv6};
    let dual = vec![Ipv4, Ipv6];
    let node = |name| NodeName::new(name);
    let no_balancer = |service_type| Service {
        service_type,
        named: Named::default(),
        families: vec![],
        ports: [].into(),
        ..web()
    };
    let dhcp = Named { annotation: vec![Wish::Dhcp(Ipv4), Wish::Dhcp(Ipv6)], ..Named::default() };
    let dns = Named { annotation: vec![Wish::Name("web.example.org".into())], ..Named::default() };
    let both = annotated("192.0.2.10,2001:db8::10");
    let twice = Named { spec: Some(Wish::of("192.0.2.10")), ..annotated("192.0.2.10") };
    let by_provider = Named { by: NamedBy::CloudProvider, ..twice.clone() };
    let with_ports = || Published { wish: Wish::of("192.0.2.10"), ports: [tcp(80)].into() };
    let diameter = Port { protocol: Protocol::Sctp, port: 3868 };
    let dns_udp = Port { protocol: Protocol::Udp, port: 53 };
    let status = || published(&["192.0.2.10"]);
    let status_only = || Service { named: Named::default(), published: status(), ..web() };
    let table: Vec<(&str, Service)> = vec![
        ("plain", Service { named: twice, published: status(), vip_host: Some(node("node-2")), ..web() }),
        ("by-cloud-provider", Service { named: by_provider, published: vec![with_ports()], ..web() }),
        (
            "dual-stack",
            Service {
                named: both,
                published: published(&["192.0.2.10", "2001:db8::10"]),
                families: dual.clone(),
                family_policy: FamilyPolicy::RequireDualStack,
                ..web()
            },
        ),
        ("status-only", status_only()),
        ("spec-only", Service { named: specified("192.0.2.10"), ..web() }),
        (
            "spec-changed",
            Service {
                named: specified("192.0.2.11"),
                published: published(&["192.0.2.10", "2001:db8::10"]),
                ..web()
            },
        ),
        ("spec-of-the-other-family", Service { named: specified("2001:db8::10"), ..status_only() }),
        (
            "no-address",
            Service {
                named: Named::default(),
                families: dual,
                family_policy: FamilyPolicy::PreferDualStack,
                ..web()
            },
        ),
        (
            "dhcp",
            Service { named: dhcp, leased: ["192.0.2.77".parse().expect("an address")].into(), ..web() },
        ),
        ("dns-name", Service { named: dns, published: published(&["web.example.org"]), ..web() }),
        ("blank-annotation", status_only()),
        (
            "class-set",
            Service { named: Named::default(), class: Some("example.org/other-balancer".into()), ..web() },
        ),
        ("ignored", Service { ignore: true, ..web() }),
        ("protocols", Service { ports: [diameter, dns_udp, tcp(53)].into(), ..web() }),
        ("external-name", no_balancer(ServiceType::ExternalName)),
        ("turned-load-balancer", web()),
        ("headless", no_balancer(ServiceType::ClusterIP)),
        (
            "every-annotation",
            Service {
                interface: Some(InterfaceWish::Named("eth1.200".into())),
                lease: Some(name("leases/shared")),
                vip_host: Some(node("node-1")),
                seat: Some(node("node-2.example.org")),
                without_endpoints: true,
                unfiltered: true,
                force_election: true,
                preferred_nodes: [(node("node-1"), 100), (node("node-2"), 1)].into(),
                node_selector: "zone=a,node-role.kubernetes.io/edge".parse().expect("a selector"),
                ..web()
            },
        ),
        ("being-deleted", Service { deleting: true, published: status(), ..web() }),
    ];
    for (file, expected) in table {
        let object = one(file);
        let reading = convert::service(&object);
        let named = format!("shop/{}", object["metadata"]["name"].as_str().expect("a name"));
        assert_eq!(reading, Reading::read(name(&named), expected, vec![]).of_uid(uid(&object)), "{file}");
    }
}

#[test]
fn services_with_something_to_be_told_though_they_count() {
    let switch = |field, value| remark(field, value, "true or false");
    let lease = |value| {
        let expected = "[NAMESPACE/]NAME, with spec.externalTrafficPolicy Cluster";
        remark("kube-vip.io/leaseName", value, expected)
    };
    let local = Service { traffic_policy: TrafficPolicy::Local, ..web() };
    let status = Service { named: Named::default(), published: published(&["192.0.2.10"]), ..web() };
    let auto = Service { interface: Some(InterfaceWish::Auto), ..web() };
    let form = "addresses (192.0.2.10, 2001:db8::10) or a host's name";
    let weights = "NODE[=WEIGHT], separated by commas, with weights from 1 to 100";
    for (file, expected, flaws) in [
        ("local", local, vec![lease("shared")]),
        ("spec-unreadable", status, vec![remark("spec.loadBalancerIP", "192.0.2", form)]),
        (
            "odd-annotations",
            auto,
            vec![
                lease("a/b/c"),
                remark(
                    "mainstay.io/seat",
                    "node-1, node-2",
                    "a node's name, or nothing: the agents write it",
                ),
                switch("kube-vip.io/forcePerServiceElection", "yes"),
                remark("mainstay.io/preferred-nodes", "node-1=0", weights),
            ],
        ),
    ] {
        let object = one(file);
        let reading = convert::service(&object);
        let told = |flaw| Problem { kind: Kind::Service, name: Some("shop/web".into()), flaw };
        assert_eq!(
            reading,
            Reading::read(name("shop/web"), expected, flaws.into_iter().map(told).collect())
                .of_uid(uid(&object)),
            "{file}"
        );
    }
}

#[test]
fn services_that_cannot_be_read() {
    for (file, expected) in [
        (
            "bad-address",
            r#"kube-vip.io/loadbalancerIPs="192.0.2.300" is not understood: write addresses (192.0.2.10, 2001:db8::10) or a host's name; what was known of it stays in force"#,
        ),
        (
            "bad-interface",
            r#"kube-vip.io/serviceInterface="a-name-that-is-too-long" is not understood: write auto or an interface's name; what was known of it stays in force"#,
        ),
        (
            "bad-selector",
            r#"mainstay.io/node-selector="zone!=a" is not understood: write LABEL or LABEL=VALUE, separated by commas; what was known of it stays in force"#,
        ),
        (
            "bad-port",
            r#"spec.ports[0].port="70000" is not understood: write a number from 1 to 65535; what was known of it stays in force"#,
        ),
        (
            "bad-form",
            r#"it cannot be read (invalid type: string "http", expected a sequence); what was known of it stays in force"#,
        ),
    ] {
        let object = one(file);
        let Reading { key, uid: read, value, problems, .. } = convert::service(&object);
        assert_eq!(read, uid(&object), "{file}");
        assert_eq!((key, value), (Some(name("shop/web")), None), "{file}");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("Service shop/web: {expected}")], "{file}");
    }
    let nameless = convert::service(&one("nameless"));
    let told = Problem { kind: Kind::Service, name: None, flaw: Flaw::Nameless };
    assert_eq!(nameless, Reading::unreadable(None, vec![told]));
}

#[test]
fn fields_of_the_spec_say_what_the_api_lets_them_say() {
    for (field, value, expected) in [
        ("type", "Cluster", "spec.type"),
        ("externalTrafficPolicy", "local", "spec.externalTrafficPolicy"),
        ("ipFamilyPolicy", "DualStack", "spec.ipFamilyPolicy"),
    ] {
        let mut object = one("plain");
        object["spec"][field] = value.into();
        let told = convert::service(&object).problems;
        let Some(Problem { flaw: Flaw::Value { field, .. }, .. }) = told.first() else { panic!("{told:?}") };
        assert_eq!(field, expected);
    }
    for (pointer, value) in [("/spec/ports/0/protocol", json!("tcp")), ("/spec/ipFamilies/0", json!("ipv4"))]
    {
        let mut object = one("plain");
        *object.pointer_mut(pointer).expect(pointer) = value;
        assert_eq!(convert::service(&object).value, None, "{pointer}");
    }
    let mut ancient = one("plain");
    let spec = ancient["spec"].as_object_mut().expect("a spec");
    spec.retain(|key, _| ["type", "ports"].contains(&key.as_str()));
    let expected = Service {
        families: vec![],
        published: published(&["192.0.2.10"]),
        vip_host: Some(NodeName::new("node-2")),
        ..web()
    };
    assert_eq!(convert::service(&ancient).value, Some(expected), "as a server without dual stack has it");
}

/// Its addresses are not to be given to others, and nothing else is known.
#[test]
fn of_a_service_that_cannot_be_read_its_addresses_are_saved() {
    let rest = |pointer: &str, value: Value| {
        let mut object = one("plain");
        *object.pointer_mut(pointer).expect(pointer) = value;
        let reading = convert::service(&object);
        assert_eq!(reading.value, None, "{pointer}");
        reading.rest
    };
    let saved = Service { unreadable: true, published: published(&["192.0.2.10"]), ..web() };
    let saved = Some(Service { named: Named::default(), families: vec![], ports: [].into(), ..saved });
    assert_eq!(rest("/spec/ports/0/port", json!("http")), saved);
    assert_eq!(rest("/spec/externalTrafficPolicy", json!("local")), saved);
    let nothing = saved.map(|one| Service { published: vec![], ..one });
    assert_eq!(rest("/status", json!("torn")), nothing);
    assert_eq!(rest("/spec/type", json!("Cluster")), None);
    assert_eq!(convert::service(&one("plain")).rest, None);
}

#[test]
fn a_weight_is_digits_and_no_sign() {
    for (weight, understood) in [("5", true), ("+5", false), ("-5", false), ("", false), ("101", false)] {
        let mut object = one("plain");
        object["metadata"]["annotations"]["mainstay.io/preferred-nodes"] = format!("n1={weight}").into();
        let preferred = convert::service(&object).value.expect("it can be read").preferred_nodes;
        assert_eq!(!preferred.is_empty(), understood, "{weight:?}");
    }
}

#[test]
fn a_seat_is_a_name_that_a_node_can_have() {
    let longest = ["n"; 127].join(".");
    let too_long = format!("{longest}.n");
    for (text, seat) in [
        ("n1", Some("n1")),
        (" Node-1.example.org ", Some("node-1.example.org")),
        (longest.as_str(), Some(longest.as_str())),
        (too_long.as_str(), None),
        ("-n1", None),
        ("n1-", None),
        ("n1..org", None),
        ("n1.", None),
        ("n_1", None),
        ("n 1", None),
        ("", None),
    ] {
        let mut object = one("plain");
        object["metadata"]["annotations"]["mainstay.io/seat"] = text.into();
        let read = convert::service(&object);
        assert_eq!(read.value.expect("it can be read").seat, seat.map(NodeName::new), "{text:?}");
        assert_eq!(read.problems.is_empty(), seat.is_some() || text.is_empty(), "{text:?}");
    }
}

#[test]
fn a_service_without_a_date_is_no_older_than_any() {
    let mut object = one("plain");
    object["metadata"].as_object_mut().expect("metadata").remove("creationTimestamp");
    assert_eq!(convert::service(&object).value.map(|service| service.created), Some(i64::MAX));
}

#[test]
fn a_node_without_a_name_is_none() {
    for nameless in [json!({"metadata": {}}), json!({"metadata": {"name": ""}}), json!(null)] {
        let told = Problem { kind: Kind::Node, name: None, flaw: Flaw::Nameless };
        assert_eq!(convert::node(&nameless), Reading::unreadable(None, vec![told]));
    }
}

/// kube-proxy sends nothing to one that serves and is not ready, unless it is ending (KEP-1672).
#[test]
fn what_serves_and_is_not_ready_does_not_count() {
    let mut object = one("slice-ending");
    object["endpoints"][0]["conditions"]["terminating"] = false.into();
    let slice = convert::endpoint_slice(&object).value.expect("it can be read");
    assert_eq!(slice.nodes[&NodeName::new("node-1")], tally(0, 0, 2));
}

fn tally(ready: u32, draining: u32, not_serving: u32) -> Tally {
    Tally { ready, draining, not_serving }
}

fn slice_of(service: Option<&str>, family: Family, nodes: &[(&str, Tally)], elsewhere: Tally) -> Slice {
    let nodes: BTreeMap<NodeName, Tally> =
        nodes.iter().map(|(name, tally)| (NodeName::new(name), *tally)).collect();
    Slice { service: service.map(name), family, nodes, elsewhere }
}

#[test]
fn slices_are_counted_by_node() {
    use Family::{Ipv4, Ipv6};
    let web = Some("shop/web");
    let none = Tally::default();
    let ending = [("node-1", tally(0, 1, 1)), ("node-2", tally(0, 0, 1))];
    let not_ready = [("node-1", tally(0, 1, 0)), ("node-2", tally(1, 0, 0))];
    for (file, expected) in [
        ("slice-ending", slice_of(web, Ipv4, &ending, none)),
        ("slice-published-not-ready", slice_of(web, Ipv4, &not_ready, none)),
        ("slice-empty", slice_of(web, Ipv4, &[], none)),
        ("slice-by-hand", slice_of(None, Ipv4, &[("node-3", tally(1, 0, 0))], tally(1, 0, 0))),
        ("slice-of-names", slice_of(web, Ipv4, &[], none)),
    ] {
        let reading = convert::endpoint_slice(&one(file));
        assert_eq!((reading.value, reading.problems), (Some(expected), vec![]), "{file}");
    }
    let several: Vec<Slice> =
        fixture("slices").iter().filter_map(|object| convert::endpoint_slice(object).value).collect();
    let expected = [
        slice_of(web, Ipv4, &[("node-1", tally(100, 0, 0))], none),
        slice_of(web, Ipv4, &[("node-2", tally(1, 0, 1))], none),
        slice_of(web, Ipv6, &[("node-2", tally(1, 0, 0))], none),
    ];
    assert_eq!(several, expected);
    let bad = convert::endpoint_slice(&one("slice-bad-family"));
    let text = r#"EndpointSlice shop/web-4x2bq: addressType="IPX" is not understood"#;
    assert!(bad.value.is_none() && bad.problems[0].to_string().starts_with(text), "{bad:?}");
}

#[test]
fn the_older_kind_is_one_slice() {
    use Family::{Ipv4, Ipv6};
    let counted = [("node-1", tally(1, 0, 0)), ("node-2", tally(1, 0, 0)), ("node-3", tally(0, 0, 1))];
    let web = Some("shop/web");
    let truncated = Problem { kind: Kind::Endpoints, name: Some("shop/web".into()), flaw: Flaw::Truncated };
    for (file, expected, told) in [
        ("endpoints", slice_of(web, Ipv4, &counted, Tally::default()), vec![]),
        ("endpoints-none", slice_of(web, Ipv4, &[], Tally::default()), vec![]),
        (
            "endpoints-truncated",
            slice_of(web, Ipv6, &[("node-1", tally(1, 0, 0))], Tally::default()),
            vec![truncated],
        ),
    ] {
        let object = one(file);
        let expected = Reading::read(name("shop/web"), expected, told).of_uid(uid(&object));
        assert_eq!(convert::endpoints(&object), expected, "{file}");
    }
    let mut mixed = one("endpoints");
    mixed["subsets"][0]["addresses"][1]["ip"] = "fd00::1".into();
    let told = convert::endpoints(&mixed).problems;
    assert!(told[0].to_string().contains(r#"subsets="IPv6" counts as not set"#), "{told:?}");
}

#[test]
fn nodes_say_what_they_can_hold() {
    let facts = |name: &str, address: &str| {
        let labels = [("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux")];
        NodeFacts {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            addresses: [address.parse().expect("an address")].into(),
            ..NodeFacts::default()
        }
    };
    let mut control_plane = NodeFacts { excluded: true, ..facts("node-5", "2001:db8::5") };
    for label in
        ["node-role.kubernetes.io/control-plane", "node.kubernetes.io/exclude-from-external-load-balancers"]
    {
        control_plane.labels.insert(label.to_owned(), String::new());
    }
    let expected = [
        ("node-1", facts("Node-1", "192.0.2.1")),
        ("node-2", NodeFacts { unschedulable: true, ..facts("node-2", "192.0.2.2") }),
        ("node-3", NodeFacts { not_ready: true, ..facts("node-3", "192.0.2.3") }),
        ("node-4", NodeFacts { network_unavailable: true, ..facts("node-4", "192.0.2.4") }),
        ("node-5", control_plane),
        ("node-6", NodeFacts { not_ready: true, out_of_service: true, ..facts("node-6", "192.0.2.6") }),
    ];
    let read = fixture("nodes").into_iter().map(|object| convert::node(&object).of_uid(None));
    let read: Vec<_> = read.collect();
    assert_eq!(read, expected.map(|(name, facts)| Reading::read(NodeName::new(name), facts, vec![])));
    let new = convert::node(&one("node-new")).value.expect("it can be read");
    assert!(new.not_ready && new.addresses.is_empty(), "its kubelet has said nothing yet: {new:?}");
}

fn listing<K, T>(kind: Kind, readings: Vec<Reading<K, T>>) -> Listing<K, T> {
    Listing { kind, extent: Extent::Complete, readings }
}

/// All the way: two Services on one address and a third that wants a port of theirs; then an edit that went wrong.
#[test]
fn from_objects_to_decisions() {
    let mut intent = Intent::default();
    intent
        .services
        .replace(listing(Kind::Service, fixture("shared-address").iter().map(convert::service).collect()));
    let slices = fixture("slices").iter().map(convert::endpoint_slice).collect();
    intent.slices.replace(listing(Kind::EndpointSlice, slices));
    intent.nodes.replace(listing(Kind::Node, fixture("nodes").iter().map(convert::node).collect()));
    let rules = Rules::default();
    let decisions = decide(&intent, &Pools::default(), &rules).expect("all is listed");
    let claims: Vec<String> = decisions.claims.keys().map(ToString::to_string).collect();
    assert_eq!(claims, ["svc/192.0.2.20"]);
    let claim = decisions.claims.values().next().expect("it is one");
    assert_eq!(
        claim.services().into_iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["shop/web", "shop/web-tls"]
    );
    assert!(decisions.refused[&name("test/intruder")][0].to_string().contains("shop/web has 80/TCP on it"));
    let eligible = Survey::new(&intent, &rules).eligibility(claim).nodes;
    let eligible: Vec<&str> =
        eligible.iter().filter(|(_, one)| one.is_ok()).map(|(node, _)| node.as_str()).collect();
    assert_eq!(eligible, ["node-1", "node-2", "node-3", "node-4"]);

    let mut edited = fixture("shared-address").remove(0);
    edited["metadata"]["annotations"]["kube-vip.io/loadbalancerIPs"] = "192.0.2.".into();
    let told = intent.services.apply(Change::Present(convert::service(&edited)));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(decide(&intent, &Pools::default(), &rules), Ok(decisions), "what was known stays in force");
}
