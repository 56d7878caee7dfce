//! Failures as Kubernetes says them: a `Status` object with code, reason, message and details.

use std::time::Duration;

use serde_json::{Value, json};

use super::field::{FieldError, told};
use super::resource::Resource;

/// A refused request, as the client will read it (`meta/v1.Status`).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// The machine-readable reason (`NotFound`, `Conflict`, ...), empty where the real server gives none.
    pub reason: &'static str,
    /// The message for people.
    pub message: String,
    /// The `details` object, or null.
    pub details: Value,
    /// Sent as `Retry-After` and in the details, in whole seconds.
    pub retry_after: Option<Duration>,
    /// `metadata.continue`: the token with which an expired list can go on.
    pub go_on: Option<String>,
}

impl ApiStatus {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after: None, go_on: None }
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401 `Unauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 404 `NotFound` for a path that names nothing the server serves.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about_nothing()
    }

    /// 405 `MethodNotAllowed`.
    pub fn no_such_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about_nothing()
    }

    /// 404 `NotFound` for an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    /// 409 `AlreadyExists`.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// 409 `Conflict`, with the cause in words.
    pub fn conflict(resource: &Resource, name: &str, cause: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {cause}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 422 `Invalid`: what is wrong with the fields of an object.
    pub(super) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_as((resource.group, resource.kind), name, errors)
    }

    /// 422 `Invalid` for options, such as `CreateOptions`.
    pub(super) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid_as(("meta.k8s.io", kind), "", errors)
    }

    /// 422 `Invalid` for what has this group and kind.
    pub(super) fn invalid_as((group, kind): (&str, &str), name: &str, errors: &[FieldError]) -> Self {
        let separator = if group.is_empty() { "" } else { "." };
        let message = format!("{kind}{separator}{group} \"{name}\" is invalid: {}", told(errors));
        let mut status = Self::new(422, "Invalid", message);
        let causes: Vec<Value> = errors.iter().map(FieldError::cause).collect();
        status.details = details((group, kind), name);
        status.details["causes"] = Value::Array(causes);
        status
    }

    /// 410 `Expired`: the resource version asked for is no longer kept.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504 `Timeout`: the resource version asked for does not exist yet.
    pub fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", message);
        status.details = json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }] });
        status.retry_after = Some(Duration::from_secs(1));
        status
    }

    /// The failure a fault injects under this HTTP code, in the words the real server uses for it.
    pub fn injected(code: u16, retry_after: Option<Duration>) -> Self {
        let (reason, message) = match code {
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden: injected fault"),
            429 => ("TooManyRequests", "too many requests, please try again later"),
            500 => ("InternalError", "Internal error occurred: etcdserver: leader changed"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "Timeout: request did not complete within the allotted time"),
            _ => ("", "injected fault"),
        };
        Self { retry_after, ..Self::new(code, reason, message) }
    }

    /// The same with `details` that name the object.
    pub(super) fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = details((resource.group, resource.plural), name);
        self
    }

    /// The same with `details` that say nothing, as the real server's answers that come from no object have them.
    pub(super) fn about_nothing(mut self) -> Self {
        self.details = json!({});
        self
    }

    /// The JSON body.
    pub fn to_json(&self) -> Value {
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after_seconds() {
            details["retryAfterSeconds"] = json!(seconds);
        }
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(token) = &self.go_on {
            body["metadata"]["continue"] = json!(token);
        }
        if !self.reason.is_empty() {
            body["reason"] = json!(self.reason);
        }
        if !details.is_null() {
            body["details"] = details;
        }
        body
    }

    /// `Retry-After` in whole seconds, rounded up.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }
}

fn details((group, kind): (&str, &str), name: &str) -> Value {
    let mut details = json!({ "kind": kind });
    for (field, value) in [("name", name), ("group", group)] {
        if !value.is_empty() {
            details[field] = json!(value);
        }
    }
    details
}
