//! What is asked of every object's metadata: kubernetes `apimachinery/pkg/api/validation/objectmeta.go`.

use serde_json::{Value, json};

use super::names;
use crate::apiserver::field::FieldError;
use crate::apiserver::resource::{RBAC, Resource};

/// What is wrong with the metadata of a new object.
pub(super) fn of_new(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = name(resource, metadata["name"].as_str().unwrap_or_default());
    errors.extend(of_any(metadata));
    errors.extend(texts(&metadata["finalizers"]).flat_map(|finalizer| {
        let wrong = names::qualified(finalizer).into_iter();
        wrong.map(move |why| FieldError::invalid("metadata.finalizers", &json!(finalizer), &why))
    }));
    errors
}

/// What is wrong with the metadata of a changed object.
pub(super) fn of_changed(old: &Value, next: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let before: Vec<&str> = texts(&old["metadata"]["finalizers"]).collect();
    let mut new: Vec<&str> =
        texts(&next["metadata"]["finalizers"]).filter(|one| !before.contains(one)).collect();
    if old["metadata"].get("deletionTimestamp").is_some() && !new.is_empty() {
        new.sort_unstable();
        let shown: Vec<String> = new.iter().map(|one| json!(one).to_string()).collect();
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            shown.join(", ")
        );
        errors.push(FieldError::forbidden("metadata.finalizers", &why));
    }
    errors.extend(of_any(&next["metadata"]));
    errors
}

/// The name, by the kind's own rule.
fn name(resource: &Resource, name: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required("metadata.name", "name or generateName is required")];
    }
    let wrong = match resource.kind {
        _ if resource.group == RBAC => names::path_segment(name),
        "Namespace" => names::label(name),
        "Service" => names::host_label(name),
        _ => names::subdomain(name),
    };
    wrong.iter().map(|why| FieldError::invalid("metadata.name", &json!(name), why)).collect()
}

/// Labels, annotations and owners.
fn of_any(metadata: &Value) -> Vec<FieldError> {
    let mut errors = labels("metadata.labels", &metadata["labels"]);
    for (key, _) in metadata["annotations"].as_object().into_iter().flatten() {
        let wrong = names::qualified(&key.to_lowercase());
        errors.extend(wrong.iter().map(|why| FieldError::invalid("metadata.annotations", &json!(key), why)));
    }
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        for (field, told) in [("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let (at, why) =
                    (format!("metadata.ownerReferences.{field}"), format!("{told} must not be empty"));
                errors.push(FieldError::invalid(at, &json!(""), &why));
            }
        }
    }
    errors
}

/// `ValidateLabels`, for labels and for a Service's selector.
pub(super) fn labels(at: &str, labels: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let wrong = names::qualified(key);
        errors.extend(wrong.iter().map(|why| FieldError::invalid(at, &json!(key), why)));
        let wrong = names::label_value(value.as_str().unwrap_or_default());
        errors.extend(wrong.iter().map(|why| FieldError::invalid(at, value, why)));
    }
    errors
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
