use serde_json::json;

use super::*;
use crate::apiserver::{NODE, POD, Resource, SERVICE};

fn patched(resource: &Resource, target: Value, patch: Value) -> Result<Value, String> {
    let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else { panic!("objects") };
    apply(&mut target, &patch, Place::root(resource)).map(|()| Value::Object(target))
}

#[test]
fn lists_are_merged_by_the_key_of_their_kind() {
    let table = [
        (
            SERVICE,
            json!({ "spec": { "ports": [{ "port": 80, "name": "a" }, { "port": 443 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 22 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "name": "a", "nodePort": 30080 }, { "port": 22 }, { "port": 443 }] } }),
        ),
        (
            NODE,
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "ok" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "ok" }] } }),
        ),
        (
            POD,
            json!({ "spec": { "containers": [{ "name": "a", "env": [{ "name": "X", "value": "1" }, { "name": "Y", "value": "2" }] }] } }),
            json!({ "spec": { "containers": [{ "name": "a", "env": [{ "name": "X", "$patch": "delete" }], "image": "i" }] } }),
            json!({ "spec": { "containers": [{ "name": "a", "image": "i", "env": [{ "name": "Y", "value": "2" }] }] } }),
        ),
        (
            SERVICE,
            json!({ "spec": { "externalIPs": ["10.0.0.1"] }, "metadata": { "finalizers": ["a"] } }),
            json!({ "spec": { "externalIPs": ["10.0.0.2"] }, "metadata": { "finalizers": ["b", "a"] } }),
            json!({ "spec": { "externalIPs": ["10.0.0.2"] }, "metadata": { "finalizers": ["b", "a"] } }),
        ),
        (
            NODE,
            json!({ "spec": { "taints": [{ "key": "a" }] } }),
            json!({ "spec": { "taints": [{ "key": "b" }] } }),
            json!({ "spec": { "taints": [{ "key": "b" }] } }),
        ),
    ];
    for (resource, target, patch, expected) in table {
        assert_eq!(patched(resource, target, patch.clone()).unwrap(), expected, "{patch}");
    }
}

#[test]
fn directives_are_heeded() {
    let ports = || json!({ "spec": { "ports": [{ "port": 1 }, { "port": 2 }], "type": "NodePort" } });
    let replaced = json!({ "spec": { "ports": [{ "$patch": "replace" }, { "port": 3 }] } });
    assert_eq!(patched(SERVICE, ports(), replaced).unwrap()["spec"]["ports"], json!([{ "port": 3 }]));
    let whole = json!({ "spec": { "$patch": "replace", "type": "ClusterIP" } });
    assert_eq!(patched(SERVICE, ports(), whole).unwrap(), json!({ "spec": { "type": "ClusterIP" } }));
    let gone = json!({ "spec": { "$patch": "delete" } });
    assert_eq!(patched(SERVICE, ports(), gone).unwrap(), json!({}));
    let retained = json!({ "spec": { "$retainKeys": ["type"], "type": "ClusterIP" } });
    assert_eq!(patched(SERVICE, ports(), retained).unwrap(), json!({ "spec": { "type": "ClusterIP" } }));
    let finalizers = json!({ "metadata": { "finalizers": ["a", "b"] } });
    let fewer = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"] } });
    assert_eq!(patched(SERVICE, finalizers, fewer).unwrap(), json!({ "metadata": { "finalizers": ["b"] } }));
    assert!(
        patched(SERVICE, ports(), json!({ "$patch": "other" })).unwrap_err().contains("unknown patch type")
    );
}

#[test]
fn elements_come_in_the_order_that_was_asked_for() {
    let target = json!({ "spec": { "ports": [{ "port": 1 }, { "port": 2 }, { "port": 9 }, { "port": 3 }] } });
    let patch = json!({ "spec": {
        "$setElementOrder/ports": [{ "port": 3 }, { "port": 4 }, { "port": 1 }],
        "ports": [{ "port": 4 }, { "port": 2, "$patch": "delete" }],
    } });
    let ports = patched(SERVICE, target, patch).unwrap()["spec"]["ports"].clone();
    assert_eq!(ports, json!([{ "port": 9 }, { "port": 3 }, { "port": 4 }, { "port": 1 }]));
}

#[test]
fn an_element_needs_its_key() {
    let wrong = patched(SERVICE, json!({}), json!({ "spec": { "ports": [{ "name": "a" }] } })).unwrap_err();
    assert!(wrong.contains("does not contain declared merge key: port"), "{wrong}");
}

#[test]
fn nulls_remove_and_are_never_stored() {
    let target = json!({ "metadata": { "labels": { "a": "1", "b": "2" } } });
    let patch = json!({ "metadata": { "labels": { "a": null }, "annotations": { "x": null, "y": "1" } } });
    let expected = json!({ "metadata": { "labels": { "b": "2" }, "annotations": { "y": "1" } } });
    assert_eq!(patched(SERVICE, target, patch).unwrap(), expected);
}
