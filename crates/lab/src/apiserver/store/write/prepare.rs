//! What the server itself puts into a new object, in nobody's name: its strategy (`pkg/registry/*/*/strategy.go`), and
//! for pods what the admission plugins that every cluster has fill in.

use serde_json::{Value, json};

use crate::apiserver::resource::{NAMESPACE, POD, Resource};

/// Completes an object that is created.
pub(super) fn prepare(resource: &'static Resource, object: &mut Value) {
    if std::ptr::eq(resource, NAMESPACE) {
        object["spec"] = json!({ "finalizers": ["kubernetes"] });
    } else if std::ptr::eq(resource, POD) {
        object["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
        admit_pod(&mut object["spec"]);
    }
}

/// The plugins Priority and DefaultTolerationSeconds.
fn admit_pod(spec: &mut Value) {
    if spec.get("priority").is_none() {
        spec["priority"] = json!(0);
        spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |one: &Value| {
            (one["key"] == key || one.get("key").is_none())
                && (one["effect"] == "NoExecute" || one.get("effect").is_none())
        };
        if !tolerations.iter().any(tolerates) {
            let toleration = json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            });
            tolerations.push(toleration);
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}
