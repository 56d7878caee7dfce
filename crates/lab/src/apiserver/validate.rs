//! What the server checks of an object before it stores it: that it is one of its kind, names, and the values that the
//! agents live by.

use serde_json::{Map, Value, json};

use super::decode::fit_object;
use super::field::FieldError;
use super::resource::{Resource, Scope};
use super::status::ApiStatus;
use super::store::Target;

mod change;
mod content;
mod metadata;
pub(super) mod names;
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
        return Err(ApiStatus::bad_request(unrecognized(resource, &body)));
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

/// What Go's decoder says of a body that is no object.
fn unrecognized(resource: &Resource, body: &Value) -> String {
    let form = match body {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        _ => "array",
    };
    let text = body.to_string();
    let hex: String = text.bytes().take(30).map(|byte| format!("{byte:02x}")).collect();
    let more = if text.len() > 30 { " ..." } else { "" };
    let into = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: cannot unmarshal {form} into Go value of type {into} ({hex}{more})",
        resource.kind
    )
}

fn set_kind(resource: &Resource, fields: &mut Map<String, Value>) -> Result<(), ApiStatus> {
    let (api_version, kind) = (resource.api_version(), resource.kind);
    let given = fields.entry("apiVersion").or_insert_with(|| json!(api_version));
    if *given != api_version.as_str() {
        let given = given.as_str().unwrap_or_default();
        let message = format!(
            "the API version in the data ({given}) does not match the expected API version ({api_version})"
        );
        return Err(ApiStatus::bad_request(message));
    }
    let given = fields.entry("kind").or_insert_with(|| json!(kind));
    if *given != kind {
        let (given, version) = (given.as_str().unwrap_or_default(), resource.version);
        let message = format!(
            "{given} in version \"{version}\" cannot be handled as a {kind}: no kind \"{given}\" is registered for version \"{api_version}\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        );
        return Err(ApiStatus::bad_request(message));
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

/// Checks a new object, decoded and with its defaults.
///
/// # Errors
/// 422 with all that is not valid.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), ApiStatus> {
    let mut errors = metadata::of_new(resource, object);
    errors.extend(content::check(resource, object));
    refuse(resource, object, &errors)
}

/// Kinds whose changes are checked as new objects are, metadata included.
const CHECKED_AS_NEW: [&str; 4] = ["ConfigMap", "Endpoints", "EndpointSlice", "Service"];

/// Checks what an object is to become. What is wrong with its metadata is found as in a new object, then as in a changed
/// one, and then by its own kind: the real server tells it as often.
///
/// # Errors
/// 422 with all that is not valid, or may not change.
pub(super) fn check_update(resource: &Resource, old: &Value, next: &Value) -> Result<(), ApiStatus> {
    let mut errors = metadata::of_new(resource, next);
    errors.extend(metadata::of_changed(old, next));
    if resource.kind != "EndpointSlice" {
        errors.extend(metadata::of_changed(old, next));
    }
    errors.extend(change::check(resource, old, next));
    if CHECKED_AS_NEW.contains(&resource.kind) {
        errors.extend(metadata::of_new(resource, next));
    }
    errors.extend(content::check(resource, next));
    refuse(resource, old, &errors)
}

fn refuse(resource: &Resource, object: &Value, errors: &[FieldError]) -> Result<(), ApiStatus> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if errors.is_empty() { Ok(()) } else { Err(ApiStatus::invalid(resource, name, errors)) }
}
