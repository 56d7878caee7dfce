use super::*;
use crate::apiserver::{CONFIG_MAP, LEASE, NODE, SERVICE};

fn fit(resource: &Resource, object: Value) -> (Result<Value, ApiStatus>, Vec<String>) {
    let mut unknown = Vec::new();
    let Value::Object(object) = object else { panic!("an object") };
    (fit_object(resource, object, &mut unknown), unknown)
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let object = json!({
        "kind": "Service", "extra": 1,
        "spec": { "ports": [{ "port": 80 }, { "port": 81, "prot": "TCP" }], "selector": { "any": "x" } },
    });
    let (fitted, unknown) = fit(SERVICE, object);
    assert_eq!(unknown, ["extra", "spec.ports[1].prot"]);
    assert_eq!(
        fitted.unwrap(),
        json!({ "kind": "Service", "spec": { "ports": [{ "port": 80 }, { "port": 81 }], "selector": { "any": "x" } } })
    );
}

#[test]
fn what_says_nothing_is_left_out() {
    let object = json!({
        "metadata": { "name": "a", "labels": {}, "finalizers": [], "generateName": "", "creationTimestamp": null },
        "data": {}, "immutable": null,
    });
    assert_eq!(fit(CONFIG_MAP, object).0.unwrap(), json!({ "metadata": { "name": "a" } }));
    let empty_holder = json!({ "spec": { "holderIdentity": "" } });
    assert_eq!(fit(LEASE, empty_holder.clone()).0.unwrap(), empty_holder);
}

#[test]
fn types_are_checked() {
    let table = [
        (
            LEASE,
            json!({ "spec": { "leaseDurationSeconds": "15" } }),
            "cannot unmarshal string into Go struct field LeaseSpec.spec.leaseDurationSeconds of type int32",
        ),
        (
            LEASE,
            json!({ "spec": { "leaseTransitions": 1.5 } }),
            "cannot unmarshal number 1.5 into Go struct field LeaseSpec.spec.leaseTransitions of type int32",
        ),
        (
            LEASE,
            json!({ "spec": [] }),
            "cannot unmarshal array into Go struct field Lease.spec of type v1.LeaseSpec",
        ),
        (
            SERVICE,
            json!({ "spec": { "ports": {} } }),
            "cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            CONFIG_MAP,
            json!({ "data": { "a": 1 } }),
            "cannot unmarshal number into Go struct field ConfigMap.data.a of type string",
        ),
        (LEASE, json!({ "spec": { "renewTime": "2026-01-02T03:04:05Z" } }), "parsing time"),
        (NODE, json!({ "status": { "capacity": { "cpu": "two" } } }), "quantities must match"),
    ];
    for (resource, object, expected) in table {
        let refusal = fit(resource, object).0.unwrap_err();
        assert_eq!(refusal.code, 400);
        assert!(refusal.message.contains(expected), "{}", refusal.message);
    }
}

#[test]
fn times_are_stored_in_utc() {
    let object = json!({
        "metadata": { "deletionTimestamp": "2026-01-02T05:04:05.9+02:00" },
        "spec": { "renewTime": "2026-01-02T05:04:05.000007+02:00" },
    });
    let fitted = fit(LEASE, object).0.unwrap();
    assert_eq!(fitted["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(fitted["spec"]["renewTime"], "2026-01-02T03:04:05.000007Z");
}

#[test]
fn quantities_and_ports_have_their_forms() {
    let object = json!({ "status": { "capacity": { "cpu": 2, "memory": "1.5Gi", "pods": "1e3" } } });
    let fitted = fit(NODE, object).0.unwrap();
    assert_eq!(fitted["status"]["capacity"]["cpu"], "2");
    let object = json!({ "spec": { "ports": [{ "port": 1, "targetPort": "http" }, { "port": 2, "targetPort": 8080 }] } });
    assert_eq!(fit(SERVICE, object.clone()).0.unwrap(), object);
}
