//! What the server checks of an object before it stores it: shape, names, and a Lease's fields to the letter.
//!
//! The Lease is what the agents live by, so its decoding is as strict as the real one's: unknown fields are dropped,
//! and a `MicroTime` without exactly six fractional digits is refused.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::resource::{LEASE, RBAC, Resource, Scope};
use super::status::ApiStatus;
use super::store::Target;

#[cfg(test)]
mod tests;

/// Brings a body into the form the store keeps.
///
/// # Errors
/// 400 for what is no object of this kind or names another namespace.
pub(super) fn decode(resource: &'static Resource, namespace: &str, body: Value) -> Result<Value, ApiStatus> {
    let Value::Object(mut fields) = body else {
        return Err(ApiStatus::bad_request(format!("{} must be a JSON object", resource.kind)));
    };
    set_kind(resource, &mut fields)?;
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else {
        return Err(ApiStatus::bad_request("metadata must be a JSON object"));
    };
    metadata
        .retain(|field, value| !value.is_null() && !["managedFields", "selfLink"].contains(&field.as_str()));
    set_namespace(resource, namespace, metadata)?;
    if std::ptr::eq(resource, LEASE) {
        decode_lease(&mut fields)?;
    }
    Ok(Value::Object(fields))
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
    let spec = &object["spec"];
    if std::ptr::eq(resource, LEASE)
        && spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0)
    {
        return invalid("spec.leaseDurationSeconds", "Invalid value: must be greater than 0");
    }
    if std::ptr::eq(resource, LEASE) && spec["leaseTransitions"].as_i64().is_some_and(|count| count < 0) {
        return invalid("spec.leaseTransitions", "Invalid value: must be greater than or equal to 0");
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

/// The fields of `LeaseSpec` and how each is decoded.
fn decode_lease(fields: &mut Map<String, Value>) -> Result<(), ApiStatus> {
    let Some(spec) = fields.get_mut("spec") else { return Ok(()) };
    let Value::Object(spec) = spec else {
        return Err(ApiStatus::bad_request(
            "Lease in version \"v1\" cannot be handled as a Lease: spec is no object",
        ));
    };
    let mut decoded = Map::new();
    for (field, value) in std::mem::take(spec) {
        let kept = match field.as_str() {
            _ if value.is_null() => continue,
            "holderIdentity" | "strategy" | "preferredHolder" => value.is_string().then_some(value),
            "leaseDurationSeconds" | "leaseTransitions" => is_int32(&value).then_some(value),
            "acquireTime" | "renewTime" => value.as_str().and_then(micro_time).map(Value::String),
            _ => continue,
        };
        let refused =
            || format!("Lease in version \"v1\" cannot be handled as a Lease: cannot decode spec.{field}");
        let kept = kept.ok_or_else(|| ApiStatus::bad_request(refused()))?;
        decoded.insert(field, kept);
    }
    *spec = decoded;
    Ok(())
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// `metav1.MicroTime`: RFC 3339 with exactly six fractional digits, stored in UTC.
fn micro_time(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let exact = bytes.get(10) == Some(&b'T')
        && bytes.get(19) == Some(&b'.')
        && bytes.get(20..26)?.iter().all(u8::is_ascii_digit)
        && bytes.get(26).is_some_and(|zone| b"Z+-".contains(zone));
    let moment: Timestamp = exact.then(|| text.parse().ok())??;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}
