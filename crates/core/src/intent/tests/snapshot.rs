//! What a restart remembers of Services.

use super::super::*;
use super::world::{World, assigned, name, port, service};

/// What a run with the same state directory knows at its start.
fn after_a_restart(intent: &Intent) -> Intent {
    let text: Vec<String> = lines(&intent.services).collect();
    let (services, unreadable) = recall(text.iter().map(String::as_str));
    assert_eq!(unreadable, 0);
    Intent { services, ..Intent::default() }
}

fn of_uid(service: Option<Service>, uid: &str) -> Reading<ObjectName, Service> {
    Reading { value: service, ..Reading::unreadable(Some(name("web")), vec![]) }.of_uid(Some(uid.into()))
}

fn list(readings: Vec<Reading<ObjectName, Service>>) -> Listing<ObjectName, Service> {
    Listing { kind: Kind::Service, extent: Extent::Complete, readings }
}

fn known_as(service: Service) -> Intent {
    let mut world = World::new(&[]);
    world.0.services.apply(Change::Present(of_uid(Some(service), "1")));
    world.0
}

#[test]
fn a_service_that_cannot_be_read_after_a_restart_is_as_it_was() {
    let mut after = after_a_restart(&known_as(service("10.0.0.1")));
    after.services.replace(list(vec![of_uid(None, "1").or_rest(Some(Service::default()))]));
    assert_eq!(after.services.get(&name("web")), Some(&service("10.0.0.1")));
}

#[test]
fn what_is_remembered_decides_nothing_before_a_list_and_is_gone_where_the_list_does_not_name_it() {
    let mut after = after_a_restart(&known_as(service("10.0.0.1")));
    assert!(!after.services.is_listed());
    let other = Reading::read(name("other"), service("10.0.0.2"), vec![]);
    after.services.replace(list(vec![other]));
    assert_eq!(after.services.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [name("other")]);
}

#[test]
fn nothing_is_remembered_of_another_object_of_that_name() {
    let mut after = after_a_restart(&known_as(service("10.0.0.1")));
    after.services.replace(list(vec![of_uid(None, "2")]));
    assert!(after.services.is_empty());
}

#[test]
fn only_what_was_understood_of_load_balancers_is_remembered() {
    let plain = Service { service_type: ServiceType::ClusterIP, ..Service::default() };
    assert_eq!(lines(&known_as(plain).services).count(), 0);
    let mut torn = Known::default();
    torn.apply(Change::Present(of_uid(None, "1").or_rest(Some(service("10.0.0.1")))));
    assert_eq!((torn.len(), lines(&torn).count()), (1, 0));
}

#[test]
fn a_line_that_cannot_be_read_costs_that_line() {
    let line = lines(&known_as(service("10.0.0.1")).services).next().expect("one");
    let (known, unreadable) = recall(["{", &line[..line.len() - 1], "", &line].into_iter());
    assert_eq!((known.len(), unreadable), (1, 3));
}

/// As large as Mainstay is built for: each with two addresses.
fn large(services: usize) -> Known<ObjectName, Service> {
    let mut known = Known::default();
    for number in 0..services {
        let addresses =
            format!("10.{}.{}.{} fd00::{number:x}", number / 62_500, number / 250 % 250, number % 250 + 1);
        let published = assigned(&addresses).published.into_iter();
        let published = published.map(|one| Published { ports: [port(80), port(443)].into(), ..one });
        let service = Service {
            // The later by name is the older.
            created: -i64::try_from(number).expect("few"),
            ports: [port(80), port(443)].into(),
            published: published.collect(),
            ..service("")
        };
        let reading = Reading::read(name(&format!("default/service-{number:06}")), service, vec![]);
        known.apply(Change::Present(reading.of_uid(Some(format!("5c1b7f3e-6a52-4f0e-9f6b-{number:012}")))));
    }
    known
}

#[test]
fn of_too_many_the_oldest_are_remembered_as_they_are() {
    let before = large(SERVICES_MAX + 5);
    let text: Vec<String> = lines(&before).collect();
    assert!(text.iter().map(String::len).sum::<usize>() < 8_000_000, "half a kilobyte for each");
    let (after, _) = recall(text.iter().map(String::as_str));
    let oldest: Vec<_> = before.iter().skip(5).collect();
    assert!(after.iter().collect::<Vec<_>>() == oldest);
}
