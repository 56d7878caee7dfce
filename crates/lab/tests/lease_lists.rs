//! Lists of Leases by which others hold single Services, at the embedded API server, over HTTPS, with the rights of an agent.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails the test")]

mod services;

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_core::input::LeaseRecord;
use mainstay_core::intent::ObjectName;
use mainstay_kube::{ErrorClass, LeaseLister};
use mainstay_lab::apiserver::{Fault, LEASE, StoreOptions, Verb};
use serde_json::json;
use services::{Bench, PATIENCE};

fn names(all: &[&str]) -> BTreeSet<ObjectName> {
    all.iter().map(|name| format!("shop/{name}").parse().unwrap()).collect()
}

/// A lister with an agent's rights, and its credentials loaded.
async fn lister(name: &str) -> (Bench, LeaseLister) {
    let bench = Bench::new(name, StoreOptions::default());
    bench.cluster.create_all(include_str!("../../../manifests/rbac-seats.yaml")).unwrap();
    let bench = bench.follow();
    bench.until("all was listed", |intent| intent.complete().is_ok()).await;
    let lister = bench.handles.objects.lease_lister();
    (bench, lister)
}

fn put(bench: &Bench, name: &str, holder: &str) {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 5, "leaseTransitions": 3});
    bench.put(LEASE, "shop", json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_found_on_every_page_and_nothing_else() {
    let (bench, mut lister) = lister("leases-pages").await;
    (0..600).for_each(|number| put(&bench, &format!("l{number:03}"), &format!("node-{number}")));
    let found = lister.list("shop", &names(&["l000", "l599", "none"])).await.unwrap();
    let holders: Vec<_> =
        found.iter().map(|(name, record)| (name.name(), record.holder.as_deref())).collect();
    assert_eq!(holders, [("l000", Some("node-0")), ("l599", Some("node-599"))]);
    let LeaseRecord { duration_seconds, transitions, .. } = found[&names(&["l599"]).pop_first().unwrap()];
    assert_eq!((duration_seconds, transitions), (5, 3));
    assert_eq!(lister.list("default", &names(&["l000"])).await.unwrap().len(), 0, "of that namespace alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_fails_is_no_empty_list_and_the_next_finds_it_again() {
    let (bench, mut lister) = lister("leases-faults").await;
    put(&bench, "kubevip-web", "node-a");
    let wanted = names(&["kubevip-web"]);
    let status = |code| Fault::Status { code, rate: 1.0, retry_after: None };
    for (fault, class) in [
        (status(500), ErrorClass::ServerError),
        (status(429), ErrorClass::Overloaded),
        (Fault::Deny { verb: Some(Verb::List), resource: Some("leases".to_owned()) }, ErrorClass::Forbidden),
        (Fault::Refuse, ErrorClass::Connect),
    ] {
        bench.fronts.iter().for_each(|front| front.inject(fault.clone()));
        let failed = lister.list("shop", &wanted).await.map_err(|trouble| trouble.class);
        // A connection that was open already breaks, and a new one is refused.
        let class = if failed == Err(ErrorClass::Broken) && fault == Fault::Refuse {
            ErrorClass::Broken
        } else {
            class
        };
        assert_eq!(failed, Err(class), "{fault:?}");
        bench.heal();
        let again = async {
            while lister.list("shop", &wanted).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, again).await.is_ok(), "{fault:?}");
    }
    assert_eq!(lister.list("shop", &wanted).await.unwrap().len(), 1);
}

/// The name comes from an annotation, and would be a part of a path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_namespace_can_be_called_is_not_asked_for() {
    let (_bench, mut lister) = lister("leases-names").await;
    for odd in ["kube system", "..", "shop?watch=true&x=", "Shop"] {
        assert_eq!(lister.list(odd, &names(&["kubevip-web"])).await.unwrap().len(), 0, "{odd:?}");
    }
    assert_eq!(lister.list("nowhere", &BTreeSet::new()).await.unwrap().len(), 0, "no such namespace");
}
