//! Failures as Kubernetes says them: a `Status` object with code, reason, message and details.

use std::time::Duration;

use serde_json::{Value, json};

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
}

impl ApiStatus {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after: None }
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
        Self::new(404, "NotFound", "the server could not find the requested resource")
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

    /// 422 `Invalid`: `field` of the object is wrong, and why.
    pub fn invalid(resource: &Resource, name: &str, field: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {field}: {why}", resource.qualified_kind());
        let mut status = Self::new(422, "Invalid", message).about(resource, name);
        status.details["kind"] = json!(resource.kind);
        let reason = match why {
            why if why.starts_with("Required value") => "FieldValueRequired",
            why if why.starts_with("Forbidden") => "FieldValueForbidden",
            why if why.starts_with("Unsupported value") => "FieldValueNotSupported",
            _ => "FieldValueInvalid",
        };
        status.details["causes"] = json!([{ "reason": reason, "message": why, "field": field }]);
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
    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({ "kind": resource.plural });
        for (field, value) in [("name", name), ("group", resource.group)] {
            if !value.is_empty() {
                self.details[field] = json!(value);
            }
        }
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
