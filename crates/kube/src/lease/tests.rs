//! Leases as other electors write them, and what we make of them.

use super::*;

fn kube_vip_lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "plndr-cp-lock", "namespace": "kube-system", "uid": "u-1", "resourceVersion": "41",
            "labels": {"team": "edge"},
            "annotations": {"mainstay.io/macs": "02:00:00:00:00:01"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "n-1"}],
            "managedFields": [{"manager": "kube-vip", "operation": "Update"}],
        },
        "spec": {
            "holderIdentity": "node-a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:05:05.123456Z",
            "strategy": "OldestEmulationVersion",
        },
    })
}

fn draft() -> LeaseDraft {
    LeaseDraft {
        holder: Some("node-b".to_owned()),
        duration_seconds: 5,
        acquire_time: Stamp::Keep("2026-01-02T03:04:05.000000Z".to_owned()),
        renew_time: Stamp::Now,
        transitions: 4,
        annotations: BTreeMap::from([("mainstay.io/epoch".to_owned(), "4".to_owned())]),
    }
}

const NOW: &str = "2026-01-02T03:06:00.000000Z";
const NAME: (&str, &str) = ("kube-system", "plndr-cp-lock");

#[test]
fn a_lease_is_read_as_it_was_written() {
    let record = record(&kube_vip_lease());
    assert_eq!(record.uid, "u-1");
    assert_eq!(record.resource_version, "41");
    assert_eq!(record.holder.as_deref(), Some("node-a"));
    assert_eq!((record.duration_seconds, record.transitions), (15, 3));
    assert_eq!(record.acquire_time, "2026-01-02T03:04:05.000000Z");
    assert_eq!(record.renew_time, "2026-01-02T03:05:05.123456Z");
    assert_eq!(record.annotations["mainstay.io/macs"], "02:00:00:00:00:01");
}

#[test]
fn whatever_is_absent_or_strange_reads_as_empty() {
    for (object, holder, transitions) in [
        (json!({}), None, 0),
        (json!({"metadata": null, "spec": null}), None, 0),
        (json!({"spec": {"holderIdentity": ""}}), None, 0),
        (json!({"spec": {"holderIdentity": "a", "leaseTransitions": -1}}), Some("a"), 0),
        (json!({"spec": {"holderIdentity": 7, "leaseTransitions": "9"}}), None, 0),
        (json!({"spec": {"holderIdentity": "a", "leaseTransitions": 4_294_967_296_u64}}), Some("a"), 0),
    ] {
        let record = record(&object);
        assert_eq!((record.holder.as_deref(), record.transitions), (holder, transitions), "{object}");
    }
}

#[test]
fn an_update_changes_what_the_draft_says_and_nothing_else() {
    let mut seen = Seen::default();
    seen.note(&kube_vip_lease());
    let mut expected = kube_vip_lease();
    expected["metadata"]["annotations"] = json!({"mainstay.io/epoch": "4"});
    expected["spec"]["holderIdentity"] = "node-b".into();
    expected["spec"]["leaseDurationSeconds"] = 5.into();
    expected["spec"]["leaseTransitions"] = 4.into();
    expected["spec"]["renewTime"] = NOW.into();
    assert_eq!(seen.updated(NAME, "41", &draft(), NOW), expected);
}

#[test]
fn an_update_builds_on_the_object_of_its_resource_version() {
    let mut seen = Seen::default();
    seen.note(&kube_vip_lease());
    let mut later = kube_vip_lease();
    later["metadata"]["resourceVersion"] = "42".into();
    later["metadata"]["labels"] = json!({"team": "core"});
    seen.note(&later);
    assert_eq!(seen.updated(NAME, "41", &draft(), NOW)["metadata"]["labels"]["team"], "edge");
    assert_eq!(seen.updated(NAME, "42", &draft(), NOW)["metadata"]["labels"]["team"], "core");
    let unseen = seen.updated(NAME, "99", &draft(), NOW);
    assert_eq!(unseen["metadata"]["labels"]["team"], "core", "the last one seen");
    assert_eq!(unseen["metadata"]["resourceVersion"], "99");
}

#[test]
fn what_nobody_saw_is_written_from_the_draft_alone() {
    let object = Seen::default().updated(NAME, "7", &draft(), NOW);
    assert_eq!(object["metadata"]["name"], "plndr-cp-lock");
    assert_eq!(object["metadata"]["resourceVersion"], "7");
    let object = created(NAME.0, NAME.1, &draft(), NOW);
    assert_eq!(object["kind"], "Lease");
    assert_eq!(object["metadata"]["namespace"], "kube-system");
    assert!(object["metadata"]["resourceVersion"].is_null());
}

#[test]
fn a_release_writes_the_empty_holder_and_keeps_times_as_text() {
    let odd = "2026-01-02T05:04:05+02:00";
    let release = LeaseDraft {
        holder: None,
        duration_seconds: 1,
        acquire_time: Stamp::Keep(odd.to_owned()),
        renew_time: Stamp::Keep(String::new()),
        ..draft()
    };
    let object = created(NAME.0, NAME.1, &release, NOW);
    assert_eq!(object["spec"]["holderIdentity"], "");
    assert_eq!(object["spec"]["leaseDurationSeconds"], 1);
    assert_eq!(object["spec"]["acquireTime"], odd);
    assert!(object["spec"]["renewTime"].is_null());
}

#[test]
fn few_objects_are_remembered() {
    let mut seen = Seen::default();
    for version in 0..20 {
        let mut object = kube_vip_lease();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        seen.note(&object);
        seen.note(&object);
    }
    assert_eq!(seen.0.len(), REMEMBERED);
}
