//! From the body of a write to an object of its kind.

use serde_json::Value;

use super::{Part, Writing, metadata};
use crate::apiserver::resource::Resource;
use crate::apiserver::status::ApiStatus;
use crate::apiserver::validate;

/// What an apply to one part of an object may speak of.
pub(super) fn only(resource: &Resource, config: &mut Value, part: Part) {
    if !resource.has_status {
        return;
    }
    let Some(fields) = config.as_object_mut() else { return };
    match part {
        Part::Main => drop(fields.remove("status")),
        Part::Status => {
            fields.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            let kept = ["name", "namespace", "uid", "resourceVersion"];
            metadata(config).retain(|field, _| kept.contains(&field.as_str()));
        }
    }
}

/// Decodes a body; fields that the kind does not have are met as the write asks.
pub(super) fn decode(
    writing: &mut Writing,
    resource: &'static Resource,
    namespace: &str,
    body: Value,
) -> Result<Value, ApiStatus> {
    let mut unknown = Vec::new();
    let object = validate::decode(resource, namespace, body, &mut unknown)?;
    writing.meet_unknown(resource, unknown)?;
    Ok(object)
}

/// Decodes what is to be applied, which is read strictly: kubernetes `managedfields/structuredmerge.go`.
pub(super) fn configuration(
    resource: &'static Resource,
    namespace: &str,
    config: Value,
) -> Result<Value, ApiStatus> {
    let refuse = |why: String| ApiStatus::new(500, "", format!("failed to create typed patch object: {why}"));
    let (version, kind) = (resource.api_version(), config["kind"].as_str().unwrap_or_default().to_owned());
    let given = config["apiVersion"].as_str().unwrap_or_default();
    if given != version {
        return Err(ApiStatus::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {version}"
        )));
    }
    if kind != resource.kind {
        let group_version = if resource.group.is_empty() { format!("/{version}") } else { version };
        return Err(refuse(format!("no corresponding type for {group_version}, Kind={kind}")));
    }
    let mut unknown = Vec::new();
    let object = validate::decode(resource, namespace, config, &mut unknown)?;
    match unknown.first() {
        Some(path) => Err(refuse(format!(".{path}: field not declared in schema"))),
        None => Ok(object),
    }
}
