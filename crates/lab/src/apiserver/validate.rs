//! What the server checks of an object before it stores it: that it is one of its kind, names, and the values that the
//! agents live by.

use serde_json::{Map, Value, json};

use super::decode::fit_object;
use super::resource::{RBAC, Resource, Scope};
use super::status::ApiStatus;
use super::store::Target;

#[cfg(test)]
mod tests;

/// Brings a body into the form the store keeps. `unknown` gets the fields that the kind does not have.
///
/// # Errors
/// 400 for what is no object of this kind or names another namespace.
pub(super) fn decode(
    resource: &'static Resource,
    namespace: &str,
    body: Value,
    unknown: &mut Vec<String>,
) -> Result<Value, ApiStatus> {
    let Value::Object(mut fields) = body else {
        return Err(ApiStatus::bad_request(format!("{} must be a JSON object", resource.kind)));
    };
    set_kind(resource, &mut fields)?;
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else {
        return Err(ApiStatus::bad_request("metadata must be a JSON object"));
    };
    metadata.remove("selfLink");
    set_namespace(resource, namespace, metadata)?;
    fit_object(resource, fields, unknown)
}

fn set_kind(resource: &Resource, fields: &mut Map<String, Value>) -> Result<(), ApiStatus> {
    for (field, expected) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())] {
        let given = fields.entry(field).or_insert_with(|| json!(expected));
        if *given != expected.as_str() {
            let message =
                format!("{field} in the data ({given}) does not match the expected {field} ({expected})");
            return Err(ApiStatus::bad_request(message));
        }
    }
    Ok(())
}

fn set_namespace(
    resource: &Resource,
    namespace: &str,
    metadata: &mut Map<String, Value>,
) -> Result<(), ApiStatus> {
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if resource.scope == Scope::Cluster {
        metadata.remove("namespace");
    } else if given.is_empty() || given == namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    } else {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiStatus::bad_request(message));
    }
    Ok(())
}

/// Refuses an object whose name is not the URL's.
pub(super) fn same_name(target: &Target, object: &Value) -> Result<(), ApiStatus> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name == target.name {
        return Ok(());
    }
    let message =
        format!("the name of the object ({name}) does not match the name on the URL ({})", target.name);
    Err(ApiStatus::bad_request(message))
}

/// Checks a decoded object.
///
/// # Errors
/// 422 for what is not valid.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), ApiStatus> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let invalid = |field: &str, why: &str| Err(ApiStatus::invalid(resource, name, field, why));
    if name.is_empty() {
        return invalid("metadata.name", "Required value: name or generateName is required");
    }
    if resource.group == RBAC {
        if [".", ".."].contains(&name) || name.contains(['/', '%']) {
            return invalid("metadata.name", "Invalid value: may not be '.' or '..', nor contain '/' or '%'");
        }
    } else if resource.kind == "Namespace" && name.contains('.') {
        let why = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"
        );
        return invalid("metadata.name", &why);
    } else if !is_subdomain(name) {
        return invalid(
            "metadata.name",
            "Invalid value: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        );
    }
    for map in ["labels", "annotations"] {
        let entries = object["metadata"].get(map).and_then(Value::as_object);
        if entries.is_some_and(|entries| entries.values().any(|value| !value.is_string())) {
            return invalid(&format!("metadata.{map}"), "Invalid value: every value must be a string");
        }
    }
    match check_content(resource, object) {
        Some((field, why)) => invalid(&field, &why),
        None => Ok(()),
    }
}

/// The first field whose value the kind does not allow, and why.
fn check_content(resource: &Resource, object: &Value) -> Option<(String, String)> {
    let spec = &object["spec"];
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    match resource.kind {
        "Lease" => {
            if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|seconds| *seconds <= 0) {
                let why = format!("Invalid value: {seconds}: must be greater than 0");
                return Some(("spec.leaseDurationSeconds".to_owned(), why));
            }
            let count = spec["leaseTransitions"].as_i64().filter(|count| *count < 0)?;
            let why = format!("Invalid value: {count}: must be greater than or equal to 0");
            Some(("spec.leaseTransitions".to_owned(), why))
        }
        "Service" => {
            let portless = spec["type"] == "ExternalName" || spec["clusterIP"] == "None";
            if empty(&spec["ports"]) && !portless {
                return Some(("spec.ports".to_owned(), "Required value".to_owned()));
            }
            let ports = spec["ports"].as_array().into_iter().flatten().enumerate();
            let wrong = |port: &Value| port.as_i64().is_none_or(|port| !(1..=65_535).contains(&port));
            let (place, port) =
                ports.map(|(place, port)| (place, &port["port"])).find(|(_, port)| wrong(port))?;
            let why = format!("Invalid value: {port}: must be between 1 and 65535, inclusive");
            Some((format!("spec.ports[{place}].port"), why))
        }
        "Pod" => {
            empty(&spec["containers"]).then(|| ("spec.containers".to_owned(), "Required value".to_owned()))
        }
        _ => None,
    }
}

/// Checks what may not change between two states of an object.
///
/// # Errors
/// 422 when it does.
pub(super) fn check_change(resource: &Resource, old: &Value, next: &Value) -> Result<(), ApiStatus> {
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let immutable = |field: &str, why: &str| Err(ApiStatus::invalid(resource, name, field, why));
    let differs = |part: &str| old.get(part) != next.get(part);
    let shown =
        |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| json!(text).to_string());
    let finalizers =
        |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let new: Vec<Value> = finalizers(next).into_iter().filter(|one| !finalizers(old).contains(one)).collect();
    if old["metadata"].get("deletionTimestamp").is_some() && !new.is_empty() {
        let new: Vec<String> = new.iter().map(Value::to_string).collect();
        let why = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        return immutable("metadata.finalizers", &why);
    }
    match resource.kind {
        "Service" => {
            let (before, after) = (&old["spec"]["clusterIP"], &next["spec"]["clusterIP"]);
            let leaves = next["spec"]["type"] == "ExternalName" || old["spec"]["type"] == "ExternalName";
            if before != after && !leaves && before.is_string() {
                let why = format!("Invalid value: {}: field is immutable", shown(after));
                return immutable("spec.clusterIPs[0]", &why);
            }
        }
        "ConfigMap" if old["immutable"] == true && (differs("data") || differs("binaryData")) => {
            return immutable("data", "Forbidden: field is immutable when `immutable` is set");
        }
        "EndpointSlice" if differs("addressType") => {
            let why = format!("Invalid value: {}: field is immutable", shown(&next["addressType"]));
            return immutable("addressType", &why);
        }
        "RoleBinding" | "ClusterRoleBinding" if differs("roleRef") => {
            return immutable("roleRef", "Invalid value: cannot change roleRef");
        }
        _ => {}
    }
    Ok(())
}

/// RFC 1123 subdomain, at most 253 letters.
fn is_subdomain(name: &str) -> bool {
    let edge = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|first| edge(*first))
            && bytes.last().is_some_and(|last| edge(*last))
            && bytes.iter().all(|letter| edge(*letter) || *letter == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
