//! Tables of what is stored, changed or refused.

use super::*;
use crate::apiserver::defaults::fill;
use crate::apiserver::{LEASE, SERVICE};

fn lease(spec: Value) -> Result<Value, ApiStatus> {
    let body = json!({ "metadata": { "name": "a" }, "spec": spec });
    let decoded = decode(LEASE, "kube-system", body, &mut Vec::new())?;
    check(LEASE, &decoded)?;
    Ok(decoded["spec"].clone())
}

#[test]
fn a_lease_is_decoded_as_the_real_server_does() {
    let kept = json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0, "renewTime": "2026-01-02T03:04:05.000000Z" });
    assert_eq!(lease(kept.clone()).unwrap(), kept);
    let table = [
        (
            json!({ "renewTime": "2026-01-02T05:04:05.123456+02:00" }),
            json!({ "renewTime": "2026-01-02T03:04:05.123456Z" }),
        ),
        (json!({ "holderIdentity": null, "colour": "red" }), json!({})),
    ];
    for (given, stored) in table {
        assert_eq!(lease(given).unwrap(), stored);
    }
}

#[test]
fn bad_leases_are_refused() {
    let table = [
        (json!({ "leaseDurationSeconds": 0 }), 422),
        (json!({ "leaseTransitions": -1 }), 422),
        (json!({ "leaseDurationSeconds": "15" }), 400),
        (json!({ "leaseDurationSeconds": 1.5 }), 400),
        (json!({ "leaseDurationSeconds": 3_000_000_000_u64 }), 400),
        (json!({ "holderIdentity": 1 }), 400),
        (json!({ "renewTime": "2026-01-02T03:04:05Z" }), 400),
        (json!({ "renewTime": "2026-01-02T03:04:05.123Z" }), 400),
        (json!({ "renewTime": "2026-01-02T03:04:05.123456789Z" }), 400),
        (json!({ "renewTime": "2026-13-02T03:04:05.123456Z" }), 400),
        (json!("spec"), 400),
    ];
    for (spec, code) in table {
        assert_eq!(lease(spec.clone()).unwrap_err().code, code, "{spec}");
    }
}

#[test]
fn an_object_of_another_kind_or_namespace_is_refused() {
    let refused = |body: Value| decode(LEASE, "kube-system", body, &mut Vec::new()).unwrap_err().code;
    assert_eq!(refused(json!({ "kind": "Node" })), 400);
    assert_eq!(refused(json!({ "apiVersion": "v1" })), 400);
    assert_eq!(refused(json!({ "metadata": { "namespace": "default" } })), 400);
    assert_eq!(refused(json!([])), 400);
}

#[test]
fn what_a_kind_does_not_allow_is_named() {
    let table = [
        (json!({}), "spec.ports: Required value"),
        (
            json!({ "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 70_000, "targetPort": 1 }] }),
            "spec.ports[1].port: Invalid value: 70000",
        ),
    ];
    for (spec, expected) in table {
        let mut object = json!({ "metadata": { "name": "a" }, "spec": spec });
        fill(SERVICE, &mut object);
        let refusal = check(SERVICE, &object).unwrap_err();
        assert!(refusal.code == 422 && refusal.message.contains(expected), "{refusal}");
    }
    let mut headless = json!({ "metadata": { "name": "a" }, "spec": { "clusterIP": "None" } });
    fill(SERVICE, &mut headless);
    assert!(check(SERVICE, &headless).is_ok());
}
