//! The words themselves.

use std::collections::BTreeMap;

use super::super::*;
use super::world::{World, local, name, node, service, slice};

#[test]
fn an_object_has_a_namespace_and_a_name() {
    assert_eq!(name("default/web").to_string(), "default/web");
    assert!(name("a/z") < name("b/a"), "the namespace comes first");
    for text in ["", "web", "/web", "default/", "a/b/c"] {
        assert!(text.parse::<ObjectName>().is_err(), "{text:?}");
    }
    assert!(ObjectName::new("a/b", "c").is_err());
    let error = "web".parse::<ObjectName>().unwrap_err();
    assert_eq!(error.to_string(), r#""web" names no object: write NAMESPACE/NAME"#);
}

#[test]
fn an_intent_can_be_written_down_and_read_again() {
    let world =
        World::new(&["n1"]).service("web", local("10.0.0.1 :: a.example")).endpoints("web", "n1:ready");
    let text = serde_json::to_string(&world.0).expect("it has a JSON form");
    assert_eq!(serde_json::from_str::<Intent>(&text).expect("its own JSON"), world.0);
    let decisions = serde_json::to_string(&world.decide()).expect("it has a JSON form");
    assert_eq!(serde_json::from_str::<Decisions>(&decisions).expect("its own JSON"), world.decide());
}

#[test]
fn a_node_selector_wants_all_of_it() {
    let labels: BTreeMap<String, String> =
        [("zone", "a"), ("disk", "")].map(|(k, v)| (k.into(), v.into())).into();
    for (text, matches) in [
        ("", true),
        ("zone=a", true),
        ("zone", true),
        (" zone=a , disk ", true),
        ("disk=", true),
        ("zone=b", false),
        ("zone=a,ssd", false),
    ] {
        let selector: NodeSelector = text.parse().expect(text);
        assert_eq!(selector.matches(&labels), matches, "{text:?}");
    }
}

#[test]
fn what_could_select_more_than_was_meant_is_no_node_selector() {
    for text in ["=a", "zone!=a", "zone==a", "zone in (a)", "!zone", "a=b=c"] {
        assert!(text.parse::<NodeSelector>().is_err(), "{text:?}");
    }
}

#[test]
fn endpoints_are_those_of_all_slices() {
    let mut endpoints = Endpoints::default();
    endpoints.add(&slice("web", Family::Ipv4, "n1:draining n1:not"));
    endpoints.add(&slice("web", Family::Ipv4, "n1:ready n2:not"));
    endpoints.add(&slice("web", Family::Ipv4, "n1:draining"));
    endpoints.add(&slice("web", Family::Ipv6, "n3:draining :ready"));
    assert_eq!(endpoints.on(&node("n1"), Family::Ipv4), Some(Readiness::Ready));
    assert_eq!(endpoints.on(&node("n2"), Family::Ipv4), None);
    assert_eq!(endpoints.on(&node("n1"), Family::Ipv6), None);
    assert_eq!(endpoints.on(&node("n3"), Family::Ipv6), Some(Readiness::Draining));
    assert_eq!(endpoints.anywhere(Family::Ipv6), Some(Readiness::Ready), "one that says no node");
}

#[test]
fn kube_vips_lease_is_its_own_or_the_common_one() {
    let common = Service { lease: Some(name("leases/shared")), ..service("10.0.0.1") };
    assert_eq!(service("10.0.0.1").kube_vip_lease(&name("web")), name("default/kubevip-web"));
    assert_eq!(common.kube_vip_lease(&name("web")), name("leases/shared"));
    let local = Service { traffic_policy: TrafficPolicy::Local, ..common };
    assert_eq!(local.kube_vip_lease(&name("web")), name("default/kubevip-web"));
}
