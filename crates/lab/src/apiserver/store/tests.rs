//! Revisions, lists in the past, watches through selectors, compaction, and optimistic concurrency.

use serde_json::json;

use super::*;
use crate::apiserver::patch::Patch;
use crate::apiserver::resource::{CONFIG_MAP, ENDPOINT_SLICE, LEASE, NODE};

fn lease(name: &str, holder: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "holder": holder } }, "spec": { "holderIdentity": holder } })
}

fn at(name: &str) -> Target {
    Target::new(LEASE, "kube-system", name)
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn with_holder(object: &Value, holder: &str) -> Value {
    let mut next = object.clone();
    next["spec"]["holderIdentity"] = json!(holder);
    next["metadata"]["labels"]["holder"] = json!(holder);
    next
}

fn selected(labels: &str) -> Scan {
    Scan { selector: Selector::parse(LEASE, labels, "").unwrap(), ..Scan::all(LEASE) }
}

#[test]
fn an_update_needs_the_newest_version() {
    let store = Store::default();
    let first = store.create(LEASE, "kube-system", lease("a", "n1")).unwrap();
    let second = store.update(&at("a"), with_holder(&first, "n2"), Part::Main).unwrap();
    assert!(version(&second.object).parse::<u64>().unwrap() > version(&first).parse::<u64>().unwrap());
    let stale = store.update(&at("a"), with_holder(&first, "n3"), Part::Main).unwrap_err();
    assert_eq!((stale.code, stale.reason), (409, "Conflict"));
    assert_eq!(store.get(&at("a")).unwrap()["spec"]["holderIdentity"], "n2");
}

#[test]
fn a_write_that_changes_nothing_makes_no_revision() {
    let store = Store::default();
    let first = store.create(LEASE, "kube-system", lease("a", "n1")).unwrap();
    let revision = store.revision();
    let again = store.update(&at("a"), (*first).clone(), Part::Main).unwrap();
    assert_eq!((version(&again.object), store.revision()), (version(&first), revision));
}

#[test]
fn a_selector_turns_changes_into_comings_and_goings() {
    let store = Store::default();
    let start = store.revision();
    let first = store.create(LEASE, "kube-system", lease("a", "n1")).unwrap();
    let second = store.update(&at("a"), with_holder(&first, "n2"), Part::Main).unwrap().object;
    store.update(&at("a"), with_holder(&second, "n1"), Part::Main).unwrap();
    store.delete(&at("a"), &Preconditions::default()).unwrap();
    let kinds = |labels: &str| {
        store.changes(&selected(labels), start).unwrap().0.iter().map(|seen| seen.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(""), ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]);
    assert_eq!(kinds("holder=n1"), ["ADDED", "DELETED", "ADDED", "DELETED"]);
    assert_eq!(kinds("holder=n2"), ["ADDED", "DELETED"]);
    let gone = &store.changes(&selected(""), start).unwrap().0[3];
    assert_eq!(version(&gone.object), gone.revision.to_string());
}

#[test]
fn a_list_can_be_of_the_past_until_it_is_compacted() {
    let store = Store::default();
    let first = store.create(LEASE, "kube-system", lease("a", "n1")).unwrap();
    let then = store.revision();
    store.update(&at("a"), with_holder(&first, "n2"), Part::Main).unwrap();
    store.create(LEASE, "kube-system", lease("b", "n3")).unwrap();
    store.delete(&at("a"), &Preconditions::default()).unwrap();
    let past = store.list(&Scan::all(LEASE), At::Exactly(then)).unwrap();
    assert_eq!(past.items, [first]);
    store.compact();
    assert_eq!(store.list(&Scan::all(LEASE), At::Exactly(then)).unwrap_err().code, 410);
    assert_eq!(store.changes(&Scan::all(LEASE), then).unwrap_err().reason, "Expired");
    assert_eq!(store.list(&Scan::all(LEASE), At::NotOlderThan(then)).unwrap().items.len(), 1);
    assert_eq!(store.list(&Scan::all(LEASE), At::NotOlderThan(then + 100)).unwrap_err().code, 504);
}

#[test]
fn the_history_is_bounded() {
    let store = Store::new(StoreOptions { history: 8, ..StoreOptions::default() });
    let mut object = store.create(LEASE, "kube-system", lease("a", "n0")).unwrap();
    let start = store.revision();
    for round in 0..8 {
        object =
            store.update(&at("a"), with_holder(&object, &format!("m{round}")), Part::Main).unwrap().object;
    }
    assert_eq!(store.changes(&Scan::all(LEASE), start).unwrap().0.len(), 8);
    store.update(&at("a"), with_holder(&object, "last"), Part::Main).unwrap();
    assert_eq!(store.changes(&Scan::all(LEASE), start).unwrap_err().code, 410);
    assert_eq!(store.changes(&Scan::all(LEASE), start + 1).unwrap().0.len(), 8);
}

#[test]
fn generation_counts_content_and_not_metadata() {
    let store = Store::default();
    let body = json!({ "metadata": { "name": "s" }, "addressType": "IPv4", "endpoints": [] });
    store.create(ENDPOINT_SLICE, "default", body).unwrap();
    let target = Target::new(ENDPOINT_SLICE, "default", "s");
    let generation = |patch: Value| {
        let written = store.patch(&target, &Patch::Merge(patch), Part::Main).unwrap();
        written.object["metadata"]["generation"].as_u64().unwrap()
    };
    assert_eq!(generation(json!({ "metadata": { "annotations": { "a": "b" } } })), 1);
    assert_eq!(generation(json!({ "endpoints": [{ "addresses": ["10.0.0.1"] }] })), 2);
    assert_eq!(generation(json!({ "metadata": { "labels": { "a": "b" } } })), 3);
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let store = Store::default();
    store.create(NODE, "", json!({ "metadata": { "name": "n1" }, "status": { "phase": "a" } })).unwrap();
    let target = Target::new(NODE, "", "n1");
    let both = Patch::Merge(json!({ "spec": { "unschedulable": true }, "status": { "phase": "b" } }));
    let main = store.patch(&target, &both, Part::Main).unwrap().object;
    assert_eq!((&main["spec"]["unschedulable"], &main["status"]["phase"]), (&json!(true), &json!("a")));
    let other = Patch::Merge(json!({ "spec": { "unschedulable": false }, "status": { "phase": "c" } }));
    let status = store.patch(&target, &other, Part::Status).unwrap().object;
    assert_eq!((&status["spec"]["unschedulable"], &status["status"]["phase"]), (&json!(true), &json!("c")));
}

#[test]
fn finalizers_hold_a_deletion() {
    let store = Store::default();
    store
        .create(CONFIG_MAP, "default", json!({ "metadata": { "name": "c", "finalizers": ["x/y"] } }))
        .unwrap();
    let target = Target::new(CONFIG_MAP, "default", "c");
    assert!(matches!(store.delete(&target, &Preconditions::default()).unwrap(), Deleted::Pending(_)));
    assert!(store.get(&target).unwrap()["metadata"]["deletionTimestamp"].is_string());
    store.patch(&target, &Patch::Merge(json!({ "metadata": { "finalizers": null } })), Part::Main).unwrap();
    assert_eq!(store.get(&target).unwrap_err().code, 404);
}

#[test]
fn a_deleted_namespace_takes_its_objects_along() {
    let store = Store::default();
    store.create(NAMESPACE, "", json!({ "metadata": { "name": "team" } })).unwrap();
    store.create(LEASE, "team", lease("a", "n1")).unwrap();
    store.delete(&Target::new(NAMESPACE, "", "team"), &Preconditions::default()).unwrap();
    assert!(store.list(&Scan::all(LEASE), At::Newest).unwrap().items.is_empty());
    assert_eq!(store.create(LEASE, "team", lease("a", "n1")).unwrap_err().code, 404);
}
