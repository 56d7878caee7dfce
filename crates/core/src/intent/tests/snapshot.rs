//! What a restart goes on from.
#![expect(clippy::disallowed_types, reason = "what is asserted is time")]

use std::time::{Duration, Instant};

use super::super::*;
use super::world::{World, assigned, complete, local, name, node, pools, port, present, service, slice};
use crate::ipam::Pools;

fn through_text(intent: &Intent) -> Intent {
    let text = serde_json::to_string(&Snapshot::of(intent)).expect("it has a JSON form");
    serde_json::from_str::<Snapshot>(&text).expect("its own JSON").restore()
}

fn zoned(addresses: &str) -> Service {
    Service {
        node_selector: "zone=a".parse().expect("a selector"),
        ports: [port(81)].into(),
        ..local(addresses)
    }
}

#[test]
fn a_restart_goes_on_from_it() {
    let label = |facts: &mut NodeFacts| {
        facts.labels = [("zone", "a"), ("pool", "b")].map(|(key, value)| (key.into(), value.into())).into();
        facts.addresses.extend(["10.0.0.9".parse::<std::net::IpAddr>().expect("one")]);
    };
    let other = Service { class: Some("example.org/other".into()), ..assigned("10.0.0.2") };
    let plain = Service { service_type: ServiceType::ClusterIP, ..Service::default() };
    let world = World::new(&["n2"])
        .node("n1", label)
        .service("web", zoned("10.0.0.7 :: a.example 10.0.0."))
        .service("db", assigned("10.0.0.8 fd00::8"))
        .service("new", service(""))
        .service("other", other)
        .service("plain", plain)
        .endpoints("web", "n1:ready n2:ready")
        .endpoints("db", "n2:draining")
        .endpoints("plain", "n2:ready");
    let after = through_text(&world.0);
    let pools = pools(&[("range-global", "10.0.0.1-10.0.0.9")]);
    let mut before = world.decide_with(&pools);
    before.not_ours.remove(&name("plain"));
    let rules = Rules::default();
    let restored = decide(&after, &pools, &rules).expect("it was listed");
    assert_eq!(restored, before);
    for claim in restored.claims.values() {
        let of = |intent| Survey::new(intent, &rules).eligibility(claim);
        assert_eq!(of(&after), of(&world.0), "{claim:?}");
    }
    assert_eq!((after.services.len(), after.slices.len()), (4, 2), "what is no LoadBalancer is left out");
    let labels: Vec<&String> = after.nodes.get(&node("n1")).expect("it is known").labels.keys().collect();
    assert_eq!(labels, ["zone"], "that a Service selects by");
    let unlisted = through_text(&Intent::default());
    assert_eq!(unlisted, Intent::default(), "what was not listed is not listed");
}

#[test]
fn what_was_known_of_an_object_goes_on_too() {
    let mut world = World::new(&[]);
    let of_uid = |service, uid: &str| {
        Change::Present(Reading::read(name("web"), service, vec![]).of_uid(Some(uid.into())))
    };
    world.0.services.apply(of_uid(service("10.0.0.1"), "1"));
    let after = through_text(&world.0);
    assert_eq!(after, world.0);
    assert_eq!(after.services.uid(&name("web")), Some("1"));
}

/// As large as Mainstay is built for: 10,000 Services with three endpoints each in two slices, and 500 nodes with labels.
fn large(services: usize) -> Intent {
    let mut intent = World::new(&[]).0;
    let nodes = (0..500).map(|number| {
        let labels = (0..30).map(|label| (format!("example.org/label-{label}"), format!("value-{number}")));
        (node(&format!("node-{number}")), NodeFacts { labels: labels.collect(), ..NodeFacts::default() })
    });
    intent.nodes.replace(complete(Kind::Node, nodes.collect::<Vec<_>>()));
    for number in 0..services {
        let named = name(&format!("namespace-{}/service-{number}", number % 100));
        let addresses =
            format!("10.{}.{}.{} fd00::{number:x}", number / 62_500, number / 250 % 250, number % 250 + 1);
        let published = assigned(&addresses).published.into_iter();
        let published = published.map(|one| Published { ports: [port(80), port(443)].into(), ..one });
        let service = Service {
            created: i64::try_from(number).expect("few"),
            families: Family::ALL.to_vec(),
            family_policy: FamilyPolicy::PreferDualStack,
            ports: [port(80), port(443)].into(),
            published: published.collect(),
            vip_host: Some(node(&format!("node-{}", number % 500))),
            ..service("")
        };
        let uid = format!("5c1b7f3e-6a52-4f0e-9f6b-{number:012}");
        let reading = Reading::read(named.clone(), service, vec![]).of_uid(Some(uid));
        intent.services.apply(Change::Present(reading));
        for family in Family::ALL {
            let on = |one: usize| format!("node-{}:ready", (number * 7 + one) % 500);
            let mut slice = slice("default/one", family, &[on(0), on(1), on(2)].join(" "));
            slice.service = Some(named.clone());
            intent.slices.apply(present(name(&format!("{named}-{family}").to_lowercase()), slice));
        }
    }
    intent
}

/// Bounds that are far above what it takes (11.4 MB, 0.15 s to write and 0.12 s to read with the tests' profile), so that nothing is
/// written down twice or in the square.
#[test]
fn ten_thousand_services_are_written_down_and_read_again() {
    let intent = large(SERVICES_MAX);
    let begun = Instant::now();
    let text = serde_json::to_vec(&Snapshot::of(&intent)).expect("it has a JSON form");
    let written = begun.elapsed();
    let restored = serde_json::from_slice::<Snapshot>(&text).expect("its own JSON").restore();
    let read = begun.elapsed() - written;
    assert!(text.len() < 20_000_000, "{}", text.len());
    assert!(written + read < Duration::from_secs(20), "{written:?} {read:?}");
    let (before, after) =
        [&intent, &restored].map(|one| decide(one, &Pools::default(), &Rules::default())).into();
    assert!(before == after && before.is_ok_and(|decisions| decisions.claims.len() == SERVICES_MAX));
}

#[test]
fn of_more_the_oldest_are_kept() {
    let intent = large(SERVICES_MAX + 5);
    let kept = Snapshot::of(&intent).restore();
    assert_eq!((kept.services.len(), kept.slices.len()), (SERVICES_MAX, 2 * SERVICES_MAX));
    let oldest = |service: &Service| service.created < i64::try_from(SERVICES_MAX).expect("few");
    assert!(kept.services.iter().all(|(_, service)| oldest(service)));
}
