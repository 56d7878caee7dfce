//! Each case is a Lease's history in virtual time.

use super::*;
use crate::intent::{AddressUse, Change, Reading, Service, TrafficPolicy};
use crate::names::{ClaimId, NodeName};
use crate::vip::Vip;

fn lease() -> ObjectName {
    "shop/kubevip-web".parse().expect("a name")
}

/// Held by `holder`, renewed for the nth time, for so many seconds.
fn held(holder: &str, renewal: u32, seconds: u32) -> Option<LeaseRecord> {
    let holder = Some(holder.to_owned()).filter(|holder| !holder.is_empty());
    let renew_time = format!("renewal {renewal}");
    Some(LeaseRecord { holder, renew_time, duration_seconds: seconds, ..LeaseRecord::default() })
}

/// As client-go releases it (`release`): nobody, for one second.
fn released() -> Option<LeaseRecord> {
    held("", 9, 1)
}

/// What is known after each of these reads, at so many seconds; an error is one that failed.
fn history(reads: &[(u64, Result<Option<LeaseRecord>, ()>)]) -> String {
    let mut incumbents = Incumbents::default();
    let words = reads.iter().map(|(seconds, read)| {
        let now = Moment::from_millis(seconds * 1000);
        match read {
            Ok(record) => incumbents.saw(&lease(), record.as_ref(), (now, now)),
            Err(()) => incumbents.missed(&lease()),
        }
        match incumbents.all().remove(&lease()) {
            None => "unknown".to_owned(),
            Some(Incumbency::Holder(holder)) => holder,
            Some(Incumbency::Vacant) => "vacant".to_owned(),
            Some(Incumbency::Over) => "over".to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_renewed_is_held_for_as_long_as_it_is() {
    let reads: Vec<_> = (0..30).map(|read| (u64::from(2 * read), Ok(held("a", read, 3)))).collect();
    assert_eq!(history(&reads), ["a"; 30].join(" "));
}

#[test]
fn what_is_not_renewed_is_over_after_its_duration_and_its_electors_turn() {
    let at = |seconds| (seconds, Ok(held("a", 1, 15)));
    assert_eq!(history(&[at(100), at(102), at(119), at(120)]), "a a a over");
    let renewed = (119, Ok(held("a", 2, 15)));
    assert_eq!(history(&[at(100), renewed.clone(), (138, renewed.1.clone())]), "a a a", "counts anew");
    assert_eq!(history(&[at(100), renewed.clone(), (139, renewed.1)]), "a a over");
    let taken = |seconds| (seconds, Ok(held("b", 1, 15)));
    assert_eq!(history(&[at(100), taken(119), taken(121)]), "a b b", "by another of its electors");
}

/// What an elector may do to its record.
type Renewal = fn(&mut LeaseRecord);

#[test]
fn every_field_that_an_elector_changes_is_a_sign_of_life_and_no_other() {
    let quiet = LeaseRecord { duration_seconds: 5, ..held("a", 1, 5).expect("a record") };
    let changes: [(&str, Renewal); 8] = [
        ("holder", |one| one.holder = Some("b".to_owned())),
        ("renewTime", |one| one.renew_time = "later".to_owned()),
        ("acquireTime", |one| one.acquire_time = "later".to_owned()),
        ("leaseTransitions", |one| one.transitions += 1),
        ("leaseDurationSeconds", |one| one.duration_seconds += 1),
        ("uid", |one| one.uid = "another".to_owned()),
        ("-resourceVersion", |one| one.resource_version = "2".to_owned()),
        ("-annotations", |one| drop(one.annotations.insert("owner".to_owned(), "me".to_owned()))),
    ];
    for (field, change) in changes {
        let mut changed = quiet.clone();
        change(&mut changed);
        let reads =
            [(100, Ok(Some(quiet.clone()))), (109, Ok(Some(changed.clone()))), (111, Ok(Some(changed)))];
        let over = history(&reads).ends_with("over");
        assert_eq!(over, field.starts_with('-'), "{field}");
    }
}

#[test]
fn a_duration_that_is_not_said_is_15_s_and_others_are_bounded() {
    for (seconds, over_at) in [(0, 20), (1, 6), (15, 20), (60, 65), (61, 65), (u32::MAX, 65)] {
        let at = |at| (at, Ok(held("a", 1, seconds)));
        let begin = history(&[at(0), at(over_at - 1), at(over_at)]);
        assert_eq!(begin, "a a over", "leaseDurationSeconds {seconds}");
    }
}

/// The next node's elector takes it a moment later; there may be none.
#[test]
fn what_is_released_is_its_electors_first() {
    let at = |seconds| (seconds, Ok(released()));
    assert_eq!(history(&[at(0), at(2), at(4), at(5)]), "vacant vacant vacant over");
    let held = |seconds| (seconds, Ok(held("a", 1, 15)));
    assert_eq!(history(&[held(0), at(2), at(6), at(7)]), "a vacant vacant over");
    assert_eq!(history(&[held(0), at(2), held(4), at(6), at(10), at(11)]), "a vacant a vacant vacant over");
}

#[test]
fn what_was_never_there_is_over_at_once_and_what_is_deleted_is_as_if_released() {
    let (none, held) = (|seconds| (seconds, Ok(None)), |seconds| (seconds, Ok(held("a", 1, 15))));
    assert_eq!(history(&[none(0), none(2)]), "over over");
    assert_eq!(history(&[held(0), none(2), none(6), none(7), none(9)]), "a vacant vacant over over");
    assert_eq!(history(&[none(0), held(2), none(4)]), "over a vacant", "it was made in the meantime");
}

/// In an outage nobody can renew.
#[test]
fn time_counts_only_between_reads_that_were_answered() {
    let (at, failed) = (|seconds| (seconds, Ok(held("a", 1, 5))), |seconds| (seconds, Err(())));
    assert_eq!(history(&[failed(0), failed(100), at(102)]), "unknown unknown a");
    let outage = [at(0), at(8), failed(10), failed(1_000), at(1_002), at(1_011), at(1_012)];
    assert_eq!(history(&outage), "a a a a a a over", "who had it has it, and has its whole time");
    assert_eq!(history(&[at(0), at(10), failed(12), at(14), at(24)]), "a over unknown a over");
    assert_eq!(history(&[(0, Ok(None)), failed(2), (4, Ok(None))]), "over unknown over");
}

/// What was so when the answer came was so until the next was asked for, and nobody knows for how long before or after.
#[test]
fn a_slow_read_vouches_for_no_more_than_the_time_between_two() {
    let mut incumbents = Incumbents::default();
    let moment = |seconds: u64| Moment::from_millis(seconds * 1000);
    let mut read = |asked, answered| {
        incumbents.saw(&lease(), held("a", 1, 5).as_ref(), (moment(asked), moment(answered)));
        incumbents.all().remove(&lease()) == Some(Incumbency::Over)
    };
    assert!(!read(0, 5), "seen at 5");
    assert!(!read(14, 19), "asked 9 s later");
    assert!(read(15, 20));
}

#[test]
fn what_is_not_asked_for_any_more_is_forgotten() {
    let mut incumbents = Incumbents::default();
    incumbents.waive(&lease());
    incumbents.retain(&[lease()].into());
    assert_eq!(incumbents.all(), [(lease(), Incumbency::Over)].into());
    incumbents.retain(&BTreeSet::new());
    assert_eq!(incumbents.all(), BTreeMap::new());
}

// === which Leases ===

fn service(vip_host: Option<&str>, seat: Option<&str>) -> Service {
    let node = |name: &str| NodeName::new(name);
    Service { vip_host: vip_host.map(node), seat: seat.map(node), ..Service::default() }
}

/// The Leases of Services `a`, `b`, ... that share an address.
fn leases_of(services: Vec<Service>) -> Vec<String> {
    let mut intent = Intent::default();
    let names: Vec<ObjectName> = ('a'..).take(services.len()).map(|name| named(&name.to_string())).collect();
    for (name, service) in names.iter().zip(services) {
        intent.services.apply(Change::Present(Reading::read(name.clone(), service, vec![])));
    }
    let vip = Vip::from([10, 0, 0, 1]);
    let on = AddressUse { services: names, interface: None };
    let claim = Claim { id: ClaimId::service(vip), addresses: [(vip, on)].into() };
    leases(&claim, &intent).iter().map(ToString::to_string).collect()
}

fn named(name: &str) -> ObjectName {
    format!("shop/{name}").parse().expect("a name")
}

#[test]
fn only_what_says_a_holder_and_no_seat_is_looked_at() {
    assert_eq!(leases_of(vec![service(Some("n1"), None)]), ["shop/kubevip-a"]);
    assert_eq!(leases_of(vec![service(None, None)]), [""; 0], "nobody says that somebody holds it");
    assert_eq!(leases_of(vec![service(Some("n1"), Some("n1"))]), [""; 0], "it is ours");
    let beside = |first| leases_of(vec![first, service(None, None), service(Some("n2"), None)]);
    assert_eq!(beside(service(Some("n1"), None)), ["shop/kubevip-a", "shop/kubevip-c"]);
    assert_eq!(beside(service(None, Some("n1"))), [""; 0], "its address is worn already");
}

#[test]
fn a_lease_in_common_is_looked_at_in_its_own_place_under_the_policy_cluster_alone() {
    let common =
        Service { lease: Some("other/common".parse().expect("a name")), ..service(Some("n1"), None) };
    assert_eq!(leases_of(vec![common.clone(), common.clone()]), ["other/common"]);
    let local = Service { traffic_policy: TrafficPolicy::Local, ..common };
    assert_eq!(leases_of(vec![local]), ["shop/kubevip-a"]);
}
