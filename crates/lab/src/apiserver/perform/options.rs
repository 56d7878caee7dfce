//! The options of a write, from its query and, for a deletion, its body: kubernetes
//! `apimachinery/pkg/apis/meta/v1/validation`.

use http::header::USER_AGENT;
use http::request::Parts;
use serde_json::{Value, json};

use crate::apiserver::account::Verb;
use crate::apiserver::apply::OnConflict;
use crate::apiserver::field::FieldError;
use crate::apiserver::patch::Patch;
use crate::apiserver::request::{Call, Query};
use crate::apiserver::status::ApiStatus;
use crate::apiserver::store::{DeleteOptions, Mode, Preconditions, Propagation, Validation, Writing};

/// In whose name a write is done: `fieldManager`, or the user agent up to its first slash.
pub(in crate::apiserver) fn manager(parts: &Parts, query: &Query) -> String {
    let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
    match query.text("fieldManager") {
        "" => agent.split('/').next().unwrap_or_default().to_owned(),
        given => given.to_owned(),
    }
}

/// The circumstances of a write, from the query and the client's name.
pub(super) fn writing(parts: &Parts, call: &Call) -> Result<Writing, ApiStatus> {
    let mut writing = Writing::by(&manager(parts, &call.query));
    let mut errors = Vec::new();
    writing.mode = dry_run(call.query.text("dryRun")).unwrap_or_else(|wrong| {
        errors.push(wrong);
        Mode::Real
    });
    if call.query.is_set("force") {
        writing.on_conflict = OnConflict::Take;
    }
    writing.validation = match call.query.text("fieldValidation") {
        "" | "Warn" => Validation::Warn,
        "Ignore" => Validation::Ignore,
        "Strict" => Validation::Strict,
        other => {
            let (shown, known) = (json!(other).to_string(), ["Ignore", "Strict", "Warn"]);
            errors.push(FieldError::unsupported("fieldValidation", &shown, &known));
            Validation::Warn
        }
    };
    let kind = match call.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        _ => "DeleteOptions",
    };
    if errors.is_empty() { Ok(writing) } else { Err(ApiStatus::invalid_options(kind, &errors)) }
}

fn dry_run(text: &str) -> Result<Mode, FieldError> {
    match text {
        "" => Ok(Mode::Real),
        "All" => Ok(Mode::DryRun),
        other => {
            let shown = format!("[]string{{{}}}", json!(other));
            Err(FieldError::unsupported("dryRun", &shown, &["All"]))
        }
    }
}

/// An apply needs a manager, and nothing else may be forced.
pub(super) fn check_apply(patch: &Patch, call: &Call) -> Result<(), ApiStatus> {
    let applies = matches!(patch, Patch::Configuration(_));
    let invalid = |error: FieldError| Err(ApiStatus::invalid_options("PatchOptions", &[error]));
    if applies && call.query.text("fieldManager").is_empty() {
        return invalid(FieldError::required("fieldManager", "is required for apply patch"));
    }
    if !applies && call.query.is_set("force") {
        return invalid(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    Ok(())
}

/// `DeleteOptions`, from the body, or from the query where there is none.
pub(super) fn delete_options(call: &Call, body: &[u8]) -> Result<DeleteOptions, ApiStatus> {
    let options: Value = match body {
        [] => json!({}),
        body => serde_json::from_slice(body)
            .map_err(|wrong| ApiStatus::bad_request(format!("error decoding the delete options: {wrong}")))?,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut errors = Vec::new();
    let propagation = propagation(call, &options).unwrap_or_else(|wrong| {
        errors.push(wrong);
        Propagation::Background
    });
    let asked = options["dryRun"].get(0).and_then(Value::as_str);
    let mode = dry_run(asked.unwrap_or_else(|| call.query.text("dryRun"))).unwrap_or_else(|wrong| {
        errors.push(wrong);
        Mode::Real
    });
    if !errors.is_empty() {
        return Err(ApiStatus::invalid_options("DeleteOptions", &errors));
    }
    let preconditions = Preconditions {
        uid: text(&options["preconditions"]["uid"]),
        resource_version: text(&options["preconditions"]["resourceVersion"]),
    };
    let grace_seconds = match options["gracePeriodSeconds"].as_u64() {
        Some(seconds) => Some(seconds),
        None => call.query.number("gracePeriodSeconds")?,
    };
    Ok(DeleteOptions { preconditions, propagation, grace_seconds, mode })
}

/// `propagationPolicy`, or the older `orphanDependents`; not both.
fn propagation(call: &Call, options: &Value) -> Result<Propagation, FieldError> {
    let given = options["propagationPolicy"].as_str();
    let given = given.unwrap_or_else(|| call.query.text("propagationPolicy"));
    let orphans = options["orphanDependents"].as_bool();
    let at = "propagationPolicy";
    if orphans.is_some() && !given.is_empty() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        return Err(FieldError::invalid(at, &json!(given), why));
    }
    match given {
        "" if orphans == Some(true) => Ok(Propagation::Orphan),
        "" if orphans.is_none() => Ok(Propagation::Unsaid),
        "" | "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            Err(FieldError::unsupported(at, &json!(other).to_string(), &known))
        }
    }
}
