//! Which nodes could hold a claim.

use super::super::*;
use super::world::{World, local, name, node, port, service, slice};
use crate::placement::{Choice, Fitness, Why};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

#[test]
fn under_cluster_any_endpoint_makes_every_node_eligible() {
    for (endpoints, expected) in [
        ("n1:ready", "n1:fit n2:fit n3:fit"),
        ("n1:draining", "n1:fit n2:fit n3:fit"),
        (":ready", "n1:fit n2:fit n3:fit"),
        ("n1:not", "n1:NoEndpoints n2:NoEndpoints n3:NoEndpoints"),
        ("", "n1:NoEndpoints n2:NoEndpoints n3:NoEndpoints"),
    ] {
        let world = World::new(&NODES).service("web", service("10.0.0.1")).endpoints("web", endpoints);
        assert_eq!(world.eligible(), expected, "{endpoints:?}");
    }
}

/// Make before break: an endpoint that ends counts until another is ready.
#[test]
fn under_local_the_node_follows_the_endpoints() {
    for (endpoints, expected) in [
        ("n1:ready", "n1:fit n2:NoLocalEndpoint n3:NoLocalEndpoint"),
        ("n1:ready n2:ready", "n1:fit n2:fit n3:NoLocalEndpoint"),
        ("n1:draining n2:not", "n1:fit n2:NoLocalEndpoint n3:NoLocalEndpoint"),
        ("n1:draining n2:ready", "n1:Draining n2:fit n3:NoLocalEndpoint"),
        ("n1:draining n1:ready n2:ready", "n1:fit n2:fit n3:NoLocalEndpoint"),
        ("n1:draining n2:draining", "n1:fit n2:fit n3:NoLocalEndpoint"),
        (":ready", "n1:NoLocalEndpoint n2:NoLocalEndpoint n3:NoLocalEndpoint"),
        ("n1:not", "n1:NoEndpoints n2:NoEndpoints n3:NoEndpoints"),
    ] {
        let world = World::new(&NODES).service("web", local("10.0.0.1")).endpoints("web", endpoints);
        assert_eq!(world.eligible(), expected, "{endpoints:?}");
    }
}

#[test]
fn endpoints_of_one_family_serve_no_address_of_the_other() {
    let dual = World::new(&["n1", "n2"]).service("web", local("10.0.0.1 fd00::1"));
    let four = dual.clone().endpoints("web", "n1:ready n2:ready");
    assert_eq!(four.eligible(), "n1:fit n2:fit");
    let six = four.slice("web-6", slice("web", Family::Ipv6, "n2:ready"));
    assert_eq!(six.eligible(), "n1:ServesLess n2:fit");
    let only_six = World::new(&["n1"]).service("web", local("10.0.0.1"));
    let only_six = only_six.slice("web-6", slice("web", Family::Ipv6, "n1:ready"));
    assert_eq!(only_six.eligible(), "n1:NoEndpoints");
}

/// `allow-reconcile-without-endpoints`, as in kube-vip: under Cluster alone.
#[test]
fn a_service_may_do_without_endpoints() {
    let without = |service| Service { without_endpoints: true, ..service };
    let cluster = World::new(&["n1"]).service("web", without(service("10.0.0.1")));
    assert_eq!(cluster.eligible(), "n1:fit");
    let local = World::new(&["n1"]).service("web", without(local("10.0.0.1")));
    assert_eq!(local.eligible(), "n1:NoEndpoints");
}

#[test]
fn what_a_node_says_of_itself_counts() {
    let world = || World::new(&NODES).service("web", service("10.0.0.1")).endpoints("web", ":ready");
    for (set, expected) in [
        ((|n1| n1.not_ready = true) as fn(&mut NodeFacts), "n1:NotReady"),
        (|n1| n1.network_unavailable = true, "n1:NetworkUnavailable"),
        (|n1| n1.unschedulable = true, "n1:Unschedulable"),
        (|n1| n1.excluded = true, "n1:Excluded"),
        (|n1| n1.out_of_service = true, "n1:OutOfService"),
    ] {
        let world = world().node("n1", set);
        assert_eq!(world.eligible(), format!("{expected} n2:fit n3:fit"));
    }
    let excluded = world().node("n1", |n1| n1.excluded = true);
    let rules = Rules { exclude_label: ExcludeLabel::Ignored, ..Rules::default() };
    assert_eq!(excluded.eligible_by(&rules), "n1:fit n2:fit n3:fit");
}

#[test]
fn a_service_chooses_its_nodes() {
    let zone = Service { node_selector: "zone=a".parse().unwrap(), ..service("10.0.0.1") };
    let world = World::new(&NODES)
        .node("n1", |n1| drop(n1.labels.insert("zone".into(), "a".into())))
        .node("n2", |n2| drop(n2.labels.insert("zone".into(), "b".into())))
        .service("web", zone)
        .endpoints("web", ":ready");
    assert_eq!(world.eligible(), "n1:fit n2:NotSelected n3:NotSelected");
}

#[test]
fn services_that_share_an_address_darken_none_of_each_other() {
    let other = Service { ports: [port(81)].into(), ..local("10.0.0.1") };
    let world = World::new(&NODES).service("a", local("10.0.0.1")).service("b", other.clone());
    let apart = world.clone().endpoints("a", "n1:ready").endpoints("b", "n2:ready");
    assert_eq!(apart.eligible(), "n1:fit n2:fit n3:NoLocalEndpoint", "each serves one of two");
    let together = apart.clone().slice("a-more", slice("a", Family::Ipv4, "n2:ready"));
    assert_eq!(together.eligible(), "n1:ServesLess n2:fit n3:NoLocalEndpoint");
    let ending = apart.slice("a-more", slice("a", Family::Ipv4, "n2:draining"));
    assert_eq!(ending.eligible(), "n1:ServesLess n2:fit n3:NoLocalEndpoint", "two for now are more than one");
    let dark = world.endpoints("b", "n2:ready");
    assert_eq!(
        dark.eligible(),
        "n1:NoEndpoints n2:fit n3:NoEndpoints",
        "what has no endpoints does not matter"
    );
}

#[test]
fn the_dead_keep_nothing_from_the_living() {
    let world = World::new(&NODES).service("web", local("10.0.0.1")).endpoints("web", "n1:draining n2:ready");
    let decisions = world.decide();
    let claim = decisions.claims.values().next().expect("a claim");
    let survey = Survey::among(&world.0, &Rules::default(), |live| *live != node("n2"));
    let nodes = survey.eligibility(claim).nodes;
    assert_eq!(nodes.get(&node("n1")), Some(&Ok(Fitness::Fit)));
    assert_eq!(nodes.get(&node("n2")), None);
}

fn choice(world: &World, holder: Option<&str>) -> Option<Choice> {
    let decisions = world.decide();
    let claim = decisions.claims.values().next().expect("a claim");
    Survey::new(&world.0, &Rules::default()).choose(claim, holder.map(node).as_ref())
}

#[test]
fn preferences_of_services_that_share_an_address_add_up() {
    let prefers = |port_number, nodes: &[(&str, u32)]| Service {
        ports: [port(port_number)].into(),
        preferred_nodes: nodes.iter().map(|(name, weight)| (node(name), *weight)).collect(),
        ..service("10.0.0.1")
    };
    let world = World::new(&NODES)
        .service("a", prefers(1, &[("n1", 50), ("n2", 30)]))
        .service("b", prefers(2, &[("n2", 30)]))
        .endpoints("a", ":ready");
    let n2 = Choice { node: node("n2"), why: Why::Preferred { weight: 60 } };
    assert_eq!(choice(&world, None), Some(n2));
    let n3 = Choice { node: node("n3"), why: Why::Holds };
    assert_eq!(choice(&world, Some("n3")), Some(n3), "nobody takes from a live holder");
}

#[test]
fn a_holder_that_could_not_any_more_is_followed_by_one_that_could() {
    let world = World::new(&NODES).service("web", local("10.0.0.1"));
    let ending = world.clone().endpoints("web", "n1:draining");
    assert_eq!(choice(&ending, Some("n1")).map(|choice| choice.why), Some(Why::Holds));
    let successor = ending.slice("web-new", slice("web", Family::Ipv4, "n3:ready"));
    let n3 = Choice { node: node("n3"), why: Why::First };
    assert_eq!(choice(&successor, Some("n1")), Some(n3));
    assert_eq!(choice(&world, Some("n1")), None, "nothing is behind it");
}

#[test]
fn a_reason_says_of_what() {
    let reason = Ineligible::NoLocalEndpoint(name("web"));
    let text =
        "no endpoint of service default/web on this node serves, and its externalTrafficPolicy is Local";
    assert_eq!(reason.to_string(), text);
}

/// One Service came to name addresses of several claims: of several holders one has to keep them all.
#[test]
fn of_several_holders_the_one_of_the_lowest_address_keeps_a_joined_claim() {
    let world = World::new(&NODES).service("web", local("10.0.0.3 10.0.0.1 10.0.0.2"));
    let decisions = world.decide();
    let claim = decisions.claims.values().next().expect("one claim");
    for (endpoints, holders, expected) in [
        ("n1:ready n2:ready n3:ready", "10.0.0.1=n2 10.0.0.2=n1 10.0.0.3=n1", Some("n2")),
        ("n1:ready n3:ready", "10.0.0.1=n2 10.0.0.2=n3 10.0.0.3=n1", Some("n3")),
        ("n1:ready n2:ready n3:ready", "10.0.0.2=n3 10.0.0.9=n1", Some("n3")),
        ("n1:ready n2:ready n3:ready", "10.0.0.3=gone", None),
        ("n1:ready n2:ready n3:ready", "", None),
    ] {
        let world = world.clone().endpoints("web", endpoints);
        let pairs = holders.split_whitespace().filter_map(|text| text.split_once('='));
        let holders = pairs.map(|(vip, on)| (vip.parse().expect("an address"), node(on))).collect();
        let survey = Survey::new(&world.0, &Rules::default());
        let expected = expected.map(|name| Choice { node: node(name), why: Why::Holds });
        let expected = expected.or_else(|| survey.choose(claim, None));
        assert_eq!(survey.choose_joined(claim, &holders), expected, "{holders:?}");
    }
}
