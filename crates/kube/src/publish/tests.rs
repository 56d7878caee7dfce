//! What is due, and when, without a server and in virtual time.

#![expect(clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::intent::{ObjectName, Port, Protocol};
use mainstay_core::rng::Rng;
use serde_json::json;
use tokio::time::{Instant, advance};

use super::desk::{Desk, Look};
use super::due::{Ingress, Part, PortsAre, What, Write, lacks, leaves};
use super::{Publication, Wanted, request};
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::reflect::observed::Observed;
use crate::reflect::{ObservedServices, VIP_HOST};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("shop", text).expect("a name")
}

fn publication(address: &str) -> Publication {
    let annotations = Arc::new([(VIP_HOST.to_owned(), "node-1".to_owned())].into());
    Publication { uid: "u".to_owned(), ingress: vec![ip(address)], ports: BTreeSet::new(), annotations }
}

fn observed(version: u32, ingress: &[&str], host: Option<&str>) -> Observed {
    Observed {
        uid: "u".to_owned(),
        version: version.to_string(),
        ingress: ingress.iter().map(|text| text.parse().ok()).collect(),
        ports: Some(BTreeSet::new()),
        annotations: host.map(|host| (VIP_HOST.to_owned(), host.to_owned())).into_iter().collect(),
    }
}

fn set(host: &str) -> What {
    What::Annotations([(VIP_HOST.to_owned(), Some(host.to_owned()))].into())
}

fn status(addresses: &[&str]) -> What {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    What::Status(Ingress { addresses, ports: BTreeSet::new() })
}

fn ports(numbers: &[u16]) -> BTreeSet<Port> {
    numbers.iter().map(|port| Port { protocol: Protocol::Tcp, port: *port }).collect()
}

#[test]
fn only_what_lacks_is_written_and_the_holder_first() {
    let wanted = publication("192.0.2.1");
    let lack = |observed: &Observed| -> Vec<What> {
        let writes = lacks(&wanted, observed, PortsAre::Kept);
        assert!(writes.iter().all(|write| write.version == observed.version));
        writes.into_iter().map(|write| write.what).collect()
    };
    assert_eq!(lack(&observed(1, &["192.0.2.1"], Some("node-1"))), []);
    assert_eq!(lack(&observed(1, &[], None)), [set("node-1"), status(&["192.0.2.1"])]);
    assert_eq!(lack(&observed(1, &["192.0.2.1"], Some("node-2"))), [set("node-1")]);
    for ingress in [&[][..], &["192.0.2.2"], &["no address"], &["192.0.2.1", "192.0.2.2"]] {
        assert_eq!(lack(&observed(1, ingress, Some("node-1"))), [status(&["192.0.2.1"])], "{ingress:?}");
    }
    let another = Observed { uid: "another".to_owned(), ..observed(1, &[], None) };
    assert_eq!(lack(&another), [], "made anew");
}

#[test]
fn other_ports_are_written_anew_and_none_are_well_where_servers_drop_them() {
    let wanted = Publication { ports: ports(&[80, 443]), ..publication("192.0.2.1") };
    let write = What::Status(Ingress { addresses: wanted.ingress.clone(), ports: wanted.ports.clone() });
    for (seen, kept, dropped) in [
        (Some(&[80, 443][..]), false, false),
        (Some(&[80]), true, true),
        (Some(&[80, 443, 8080]), true, true),
        (Some(&[]), true, false),
        (None, true, true),
    ] {
        let seen_ports = seen.map(ports);
        let observed = Observed { ports: seen_ports, ..observed(1, &["192.0.2.1"], Some("node-1")) };
        for (are, lack) in [(PortsAre::Kept, kept), (PortsAre::Dropped, dropped)] {
            let writes: Vec<What> =
                lacks(&wanted, &observed, are).into_iter().map(|write| write.what).collect();
            assert_eq!(writes, Vec::from_iter(lack.then(|| write.clone())), "{seen:?} {are:?}");
        }
    }
    let nothing = Publication { ingress: vec![], ..wanted };
    assert_eq!(lacks(&nothing, &observed(1, &[], Some("node-1")), PortsAre::Kept), [], "ports of what?");
}

/// API servers before 1.24 take ports away from what they are given, and say so in their answer.
#[tokio::test(start_paused = true)]
async fn ports_that_a_server_drops_are_written_once_and_again_when_it_keeps_them() {
    let mut office = Office::new(&["a", "b"]);
    office.want_ports(&[80]);
    let Look::Write(_, write) = office.desk.next(&office.wanted, &office.observed) else { panic!("a write") };
    let come_back = |office: &mut Office, one: &str, write: &Write, version, numbers: &[u16]| {
        let seen =
            Observed { ports: Some(ports(numbers)), ..observed(version, &["192.0.2.1"], Some("node-1")) };
        office.desk.learn(write, Some(&seen));
        office.observed.note(&name(one), Some(seen));
        office.desk.landed(&name(one), write, &Answer::Success(()));
    };
    come_back(&mut office, "a", &write, 2, &[]);
    let Look::Write(next, write) = office.desk.next(&office.wanted, &office.observed) else { panic!("b") };
    assert_eq!(next, name("b"), "a says what it can");
    come_back(&mut office, "b", &write, 2, &[80]);
    office.desk.look_at([name("a")].into());
    let (_, next) = office.wait().await;
    assert_eq!(next.map(|next| next.0), Some("a".to_owned()), "they are kept now");
}

#[test]
fn only_what_is_ours_is_cleaned_the_status_first() {
    let was = publication("192.0.2.1");
    let left = |observed: &Observed| leaves(&was, observed).map(|write| (write.what, write.version));
    let gone = What::Annotations([(VIP_HOST.to_owned(), None)].into());
    let at = |what: What| Some((what, "7".to_owned()));
    assert_eq!(left(&observed(7, &["192.0.2.1"], Some("node-1"))), at(status(&[])));
    assert_eq!(
        left(&observed(7, &["192.0.2.2"], Some("node-1"))),
        at(gone.clone()),
        "somebody else's addresses"
    );
    assert_eq!(left(&observed(7, &[], Some("node-1"))), at(gone));
    assert_eq!(left(&observed(7, &["192.0.2.1"], Some("node-2"))), None, "somebody else holds it");
    assert_eq!(left(&observed(7, &["192.0.2.1"], None)), None);
    let another = Observed { uid: "another".to_owned(), ..observed(7, &["192.0.2.1"], Some("node-1")) };
    assert_eq!(left(&another), None, "made anew");
    let nameless = Publication { annotations: Arc::default(), ..was };
    let left = leaves(&nameless, &observed(7, &["192.0.2.1"], None)).map(|write| write.what);
    assert_eq!(left, Some(status(&[])), "where no holder is written");
}

#[test]
fn writes_name_the_uid_and_the_version() {
    let body = |what| {
        let write = Write { uid: "u".to_owned(), version: "7".to_owned(), what };
        let ask = request::ask(&name("a"), &write);
        let body: serde_json::Value = serde_json::from_slice(&ask.body).expect("JSON");
        (ask.path, ask.content, body)
    };
    let (path, content, object) = body(status(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(path, "/api/v1/namespaces/shop/services/a/status?fieldManager=mainstay&timeout=5s");
    assert_eq!(content, "application/merge-patch+json");
    let ingress = json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "2001:db8::1", "ipMode": "VIP"}]);
    assert_eq!(object["status"], json!({"loadBalancer": {"ingress": ingress}}));
    let metadata = json!({"uid": "u", "resourceVersion": "7"});
    assert_eq!(object["metadata"], metadata);
    let with_ports = Ingress { addresses: vec![ip("192.0.2.1")], ports: ports(&[80]) };
    let (_, _, object) = body(What::Status(with_ports));
    let ingress = json!([{"ip": "192.0.2.1", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP"}]}]);
    assert_eq!(object["status"], json!({"loadBalancer": {"ingress": ingress}}));
    let (_, _, object) = body(status(&[]));
    assert_eq!(object["status"], json!({"loadBalancer": {"ingress": null}}));
    let (path, content, object) = body(set("node-1"));
    assert_eq!(path, "/api/v1/namespaces/shop/services/a?fieldManager=mainstay&timeout=5s");
    assert_eq!(content, "application/merge-patch+json");
    let metadata = json!({"uid": "u", "resourceVersion": "7", "annotations": {VIP_HOST: "node-1"}});
    assert_eq!(object, json!({"metadata": metadata}));
}

/// A desk, what is wanted, and what is seen.
struct Office {
    desk: Desk,
    wanted: Wanted,
    observed: ObservedServices,
}

impl Office {
    fn new(names: &[&str]) -> Self {
        let (observed, mut desk) = (ObservedServices::default(), Desk::new(Rng::new(1)));
        let mut wanted = Wanted::default();
        for one in names {
            observed.note(&name(one), Some(super::tests::observed(1, &[], Some("node-1"))));
            wanted.services.insert(name(one), publication("192.0.2.1"));
        }
        desk.adopt(&Wanted::default(), &wanted);
        Self { desk, wanted, observed }
    }

    fn want_ports(&mut self, numbers: &[u16]) {
        let was = self.wanted.clone();
        self.wanted.services.values_mut().for_each(|one| one.ports = ports(numbers));
        self.desk.adopt(&was, &self.wanted);
    }

    fn next(&mut self) -> Option<(String, What)> {
        match self.desk.next(&self.wanted, &self.observed) {
            Look::Write(name, write) => Some((name.name().to_owned(), write.what)),
            Look::Nothing => None,
        }
    }

    fn landed(&mut self, one: &str, answer: &Answer<()>) {
        let write = Write { uid: "u".to_owned(), version: "1".to_owned(), what: status(&["192.0.2.1"]) };
        self.desk.landed(&name(one), &write, answer);
    }

    /// How long until the next write is due.
    async fn wait(&mut self) -> (Duration, Option<(String, What)>) {
        let began = Instant::now();
        for _ in 0..100 {
            if let Some(next) = self.next() {
                return (began.elapsed(), Some(next));
            }
            let Some(at) = self.desk.wake_at() else { return (began.elapsed(), None) };
            advance(at.saturating_duration_since(Instant::now())).await;
            self.desk.wake();
        }
        panic!("it wakes and does nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn one_write_at_a_time_for_each_service_and_none_that_is_not_seen() {
    let mut office = Office::new(&["a", "b"]);
    office.wanted.services.insert(name("unseen"), publication("192.0.2.1"));
    let wanted = office.wanted.clone();
    office.desk.adopt(&Wanted::default(), &wanted);
    assert_eq!(office.next(), Some(("a".to_owned(), status(&["192.0.2.1"]))));
    office.desk.look_at([name("a")].into());
    assert_eq!(office.next().map(|next| next.0), Some("b".to_owned()), "a is under way");
    assert_eq!(office.next(), None);
    office.observed.note(&name("a"), Some(observed(2, &["192.0.2.1"], Some("node-1"))));
    office.landed("a", &Answer::Success(()));
    assert_eq!(office.next(), None, "it says what it shall say");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_closes_the_gate_for_all_and_one_that_was_under_way_opens_nothing() {
    let mut office = Office::new(&["a", "b", "c"]);
    assert!(office.next().is_some() && office.next().is_some());
    office.landed("a", &Answer::Throttled(Some(Duration::from_secs(7))));
    office.observed.note(&name("b"), Some(observed(2, &["192.0.2.1"], Some("node-1"))));
    office.landed("b", &Answer::Success(()));
    let (waited, next) = office.wait().await;
    assert!(next.is_some() && waited >= Duration::from_secs(7), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn however_many_are_told_to_wait_they_wait_as_long_as_one() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut office = Office::new(&names);
    for _ in names {
        assert!(office.next().is_some());
    }
    names.iter().for_each(|one| office.landed(one, &Answer::Throttled(Some(Duration::from_secs(3)))));
    let (waited, next) = office.wait().await;
    assert!(next.is_some());
    assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_does_not_keep_the_others() {
    let mut office = Office::new(&["a", "b"]);
    assert_eq!(office.next().map(|next| next.0), Some("a".to_owned()));
    office.landed("a", &Answer::Unknown(Trouble::new(ErrorClass::ServerError, "HTTP 500")));
    assert_eq!(office.next().map(|next| next.0), Some("b".to_owned()));
    let (_, next) = office.wait().await;
    assert_eq!(next.map(|next| next.0), Some("a".to_owned()), "and it is tried again");
}

/// What another wrote is seen, and decided on, before it is written on again.
#[tokio::test(start_paused = true)]
async fn a_write_that_another_was_before_looks_again_after_a_moment() {
    let mut office = Office::new(&["a"]);
    assert!(office.next().is_some());
    office.landed("a", &Answer::Conflict);
    office.observed.note(&name("a"), Some(observed(2, &["192.0.2.7"], Some("node-1"))));
    office.desk.look_at([name("a")].into());
    let (waited, next) = office.wait().await;
    assert_eq!(next, Some(("a".to_owned(), status(&["192.0.2.1"]))));
    assert!((Duration::from_millis(500)..Duration::from_secs(1)).contains(&waited), "{waited:?}");
    office.landed("a", &Answer::Conflict);
    office.observed.note(&name("a"), Some(observed(3, &["192.0.2.1"], Some("node-1"))));
    assert_eq!(office.wait().await.1, None, "another has written the same");
}

/// Who conflicts on one part may have lost the Service, and hears of it in a moment: the other part waits as well.
#[tokio::test(start_paused = true)]
async fn a_conflict_on_one_part_holds_the_other_back_too() {
    let mut office = Office::new(&["a"]);
    office.observed.note(&name("a"), Some(observed(1, &[], None)));
    let write = Write { uid: "u".to_owned(), version: "1".to_owned(), what: set("node-1") };
    assert_eq!(office.next(), Some(("a".to_owned(), write.what.clone())));
    office.observed.note(&name("a"), Some(observed(2, &["192.0.2.7"], Some("node-2"))));
    office.desk.landed(&name("a"), &write, &Answer::Conflict);
    assert_eq!(office.next(), None, "nothing at once");
    let (waited, next) = office.wait().await;
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
    assert!(next.is_some(), "it is still wanted, and tried again");
}

#[tokio::test(start_paused = true)]
async fn who_changes_it_again_and_again_is_answered_ever_more_slowly() {
    let mut office = Office::new(&["a"]);
    assert!(office.next().is_some());
    let (mut version, mut waits) = (1, Vec::new());
    for _ in 0..40 {
        version += 2;
        office.observed.note(&name("a"), Some(observed(version - 1, &["192.0.2.1"], Some("node-1"))));
        office.landed("a", &Answer::Success(()));
        assert_eq!(office.next(), None);
        office.observed.note(&name("a"), Some(observed(version, &[], Some("node-1"))));
        office.desk.look_at([name("a")].into());
        let (waited, next) = office.wait().await;
        assert!(next.is_some());
        waits.push(waited);
    }
    let total: Duration = waits.iter().sum();
    assert!(total > Duration::from_secs(300), "{waits:?}");
    assert_eq!(office.desk.status(1, 0).contested, 40);
    // What is wanted newly is written at once.
    let was = office.wanted.clone();
    office.landed("a", &Answer::Success(()));
    office.wanted.services.insert(name("a"), publication("192.0.2.9"));
    let now = office.wanted.clone();
    office.desk.adopt(&was, &now);
    assert_eq!(office.next(), Some(("a".to_owned(), status(&["192.0.2.9"]))));
}

#[tokio::test(start_paused = true)]
async fn what_leaves_is_cleaned_once_whoever_else_owns_it() {
    let mut office = Office::new(&["a", "b"]);
    for one in ["a", "b"] {
        office.observed.note(&name(one), Some(observed(2, &["192.0.2.1"], Some("node-1"))));
    }
    assert_eq!(office.next(), None);
    let was = std::mem::take(&mut office.wanted);
    office.wanted.elsewhere.insert(name("b"));
    let now = office.wanted.clone();
    office.desk.adopt(&was, &now);
    assert_eq!(office.next(), Some(("a".to_owned(), status(&[]))), "b is another agent's");
    let write = Write { uid: "u".to_owned(), version: "2".to_owned(), what: status(&[]) };
    // It says the same still: kube-vip had written it too.
    office.desk.landed(&name("a"), &write, &Answer::Success(()));
    let gone = What::Annotations([(VIP_HOST.to_owned(), None)].into());
    let Some((one, what)) = office.next() else { panic!("the annotation") };
    assert_eq!((one.as_str(), &what), ("a", &gone));
    assert_eq!(Write { uid: String::new(), version: String::new(), what }.part(), Part::Annotations);
    office.observed.note(&name("a"), Some(observed(3, &["192.0.2.1"], None)));
    let write = Write { uid: "u".to_owned(), version: "2".to_owned(), what: gone };
    office.desk.landed(&name("a"), &write, &Answer::Success(()));
    assert_eq!(office.next(), None);
}
