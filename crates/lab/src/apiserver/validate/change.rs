//! What may not change between two states of an object, kind by kind.

use serde_json::{Value, json};

use crate::apiserver::field::FieldError;
use crate::apiserver::resource::Resource;

const IMMUTABLE: &str = "field is immutable";
const FROZEN: &str = "field is immutable when `immutable` is set";

/// What is wrong with the change.
pub(super) fn check(resource: &Resource, old: &Value, next: &Value) -> Vec<FieldError> {
    let differs = |part: &str| old.get(part) != next.get(part);
    match resource.kind {
        "Service" => service(&old["spec"], &next["spec"]),
        "ConfigMap" if old["immutable"] == true => {
            let thawed = (next["immutable"] != true).then_some("immutable");
            let changed = ["data", "binaryData"].into_iter().filter(|part| differs(part));
            thawed.into_iter().chain(changed).map(|part| FieldError::forbidden(part, FROZEN)).collect()
        }
        "EndpointSlice" if differs("addressType") => {
            vec![FieldError::invalid("addressType", &next["addressType"], IMMUTABLE)]
        }
        "RoleBinding" | "ClusterRoleBinding" if differs("roleRef") => {
            let text = |field: &str| json!(next["roleRef"][field].as_str().unwrap_or_default()).to_string();
            let (group, kind, name) = (text("apiGroup"), text("kind"), text("name"));
            let shown = format!("rbac.RoleRef{{APIGroup:{group}, Kind:{kind}, Name:{name}}}");
            vec![FieldError::invalid_as("roleRef", &shown, "cannot change roleRef")]
        }
        _ => Vec::new(),
    }
}

fn service(old: &Value, next: &Value) -> Vec<FieldError> {
    let leaves = next["type"] == "ExternalName" || old["type"] == "ExternalName";
    if old["clusterIP"] == next["clusterIP"] || leaves || !old["clusterIP"].is_string() {
        return Vec::new();
    }
    let shown: Vec<String> =
        next["clusterIPs"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let shown = format!("[]string{{{}}}", shown.join(", "));
    vec![FieldError::invalid_as("spec.clusterIPs[0]", &shown, "may not change once set")]
}
