//! Writes: the body read, the change made, the outcome logged.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Response;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::account::{Reply, Verb, WriteRecord};
use super::attributes::Attributes;
use super::front_end::{Front, Lost};
use super::patch::Patch;
use super::rbac;
use super::reply::{Body, json_reply, with_retry_after};
use super::request::Call;
use super::resource::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Resource};
use super::respond::without_kind;
use super::stall::{self, Need};
use super::status::ApiStatus;
use super::store::{Deleted, Preconditions, Store, Written};
use super::user::UserInfo;

/// Largest body accepted, as the real server's default.
pub(super) const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What a write came to.
struct Outcome {
    code: u16,
    body: Value,
    retry_after: Option<u64>,
    holder: Option<String>,
    name: Option<String>,
    version: Option<u64>,
}

impl Outcome {
    fn refused(refusal: &ApiStatus) -> Self {
        Self {
            code: refusal.code,
            body: refusal.to_json(),
            retry_after: refusal.retry_after_seconds(),
            holder: None,
            name: None,
            version: None,
        }
    }

    fn object(code: u16, object: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            code,
            body: object.clone(),
            retry_after: None,
            holder: text(&object["spec"]["holderIdentity"]),
            name: text(&object["metadata"]["name"]),
            version: object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()),
        }
    }
}

/// Does a write and answers it.
///
/// # Errors
/// [`Lost`] when the reply is to be lost.
pub(super) async fn write(
    front: &Front,
    user: &UserInfo,
    (parts, call): (&Parts, &Call),
    body: Incoming,
) -> Result<Response<Body>, Lost> {
    let outcome = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            stall::pass(front.store.stall.subscribe(), Need::Write).await;
            perform(&front.store, user, (parts, call), &body.to_bytes())
                .unwrap_or_else(|refusal| Outcome::refused(&refusal))
        }
        Err(wrong) => Outcome::refused(&ApiStatus::new(413, "RequestEntityTooLarge", wrong.to_string())),
    };
    let rate = front.faults.borrow().lose_reply;
    let lost = rate > 0.0 && front.picks_lost(rate);
    let answer = with_retry_after(json_reply(outcome.code, &outcome.body), outcome.retry_after);
    record(front, parts, call, outcome, if lost { Reply::Lost } else { Reply::Sent });
    if lost { Err(Lost) } else { Ok(answer) }
}

/// Logs a write that the gate refused.
pub(super) fn refused(front: &Front, parts: &Parts, call: &Call, refusal: &ApiStatus) {
    record(front, parts, call, Outcome::refused(refusal), Reply::Sent);
}

fn record(front: &Front, parts: &Parts, call: &Call, outcome: Outcome, reply: Reply) {
    let who = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let record = WriteRecord {
        at: Instant::now(),
        wall: SystemTime::now(),
        front_end: front.name.clone(),
        who: who.to_owned(),
        verb: call.verb,
        resource: call.resource.plural,
        namespace: call.namespace.clone().unwrap_or_default(),
        name: outcome.name.unwrap_or_else(|| call.name.clone()),
        holder_identity: outcome.holder,
        code: outcome.code,
        resource_version: outcome.version,
        reply,
    };
    front.account.record(record.clone());
    front.store.account().record(record);
}

fn perform(
    store: &Store,
    user: &UserInfo,
    (parts, call): (&Parts, &Call),
    body: &[u8],
) -> Result<Outcome, ApiStatus> {
    let target = call.target();
    check_escalation(store, user, (parts, call), body)?;
    match call.verb {
        Verb::Create => {
            let object = store.create(call.resource, &target.namespace, parse_body(parts, body)?)?;
            Ok(Outcome::object(201, &object))
        }
        Verb::Update => Ok(written(&store.update(&target, parse_body(parts, body)?, call.part)?)),
        Verb::Patch => {
            Ok(written(&store.patch(&target, &Patch::parse(content_type(parts), body)?, call.part)?))
        }
        Verb::Delete => Ok(deleted(call, &store.delete(&target, &preconditions(body)?)?)),
        _ => {
            let items: Vec<Value> =
                store.delete_collection(&call.scan()?).iter().map(|gone| without_kind(gone)).collect();
            let kind = format!("{}List", call.resource.kind);
            let version = json!({ "resourceVersion": store.revision().to_string() });
            Ok(Outcome::object(
                200,
                &json!({ "kind": kind, "apiVersion": call.resource.api_version(), "metadata": version, "items": items }),
            ))
        }
    }
}

/// Refuses a role with more rules than its writer holds, and a binding of such a role. A patch is judged by what it
/// makes of the object that is there now.
fn check_escalation(
    store: &Store,
    user: &UserInfo,
    (parts, call): (&Parts, &Call),
    body: &[u8],
) -> Result<(), ApiStatus> {
    let is_one_of = |kinds: &[&'static Resource]| kinds.iter().any(|kind| std::ptr::eq(*kind, call.resource));
    let (roles, bindings) =
        (is_one_of(&[ROLE, CLUSTER_ROLE]), is_one_of(&[ROLE_BINDING, CLUSTER_ROLE_BINDING]));
    let grants = matches!(call.verb, Verb::Create | Verb::Update | Verb::Patch) && (roles || bindings);
    if user.is_administrator() || !grants {
        return Ok(());
    }
    let mut object = match call.verb {
        Verb::Patch => Patch::parse(content_type(parts), body)?.apply(&*store.get(&call.target())?)?,
        _ => parse_body(parts, body)?,
    };
    let namespace = call.namespace.as_deref().unwrap_or_default();
    object["metadata"]["namespace"] = json!(namespace);
    let role = if roles { Some(Arc::new(object)) } else { rbac::role_of(store, &object) };
    let rules = role.map(|role| role["rules"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
    let missing = rbac::not_held(store, user, namespace, &rules);
    if missing.is_empty() {
        return Ok(());
    }
    let rules: Vec<String> = missing.iter().map(Value::to_string).collect();
    let why = format!(
        "user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        rules.join("\n")
    );
    Err(Attributes::of(&parts.method, parts.uri.path(), "").refusal(&why))
}

fn written(written: &Written) -> Outcome {
    Outcome::object(if written.created { 201 } else { 200 }, &written.object)
}

/// The real server answers a finished deletion with a Status, and one that waits for finalizers with the object.
fn deleted(call: &Call, deleted: &Deleted) -> Outcome {
    match deleted {
        Deleted::Pending(object) => Outcome::object(200, object),
        Deleted::Gone(last) => Outcome {
            body: json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {
                    "name": call.name, "group": call.resource.group, "kind": call.resource.plural,
                    "uid": last["metadata"]["uid"],
                },
            }),
            ..Outcome::object(200, last)
        },
    }
}

fn content_type(parts: &Parts) -> &str {
    parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json")
}

pub(super) fn parse_body(parts: &Parts, body: &[u8]) -> Result<Value, ApiStatus> {
    let media = content_type(parts).split(';').next().unwrap_or_default().trim();
    if media != "application/json" {
        let message = format!(
            "the body of the request was in an unknown format ({media}) - accepted media types include: application/json"
        );
        return Err(ApiStatus::new(415, "UnsupportedMediaType", message));
    }
    serde_json::from_slice(body)
        .map_err(|wrong| ApiStatus::bad_request(format!("error decoding the body: {wrong}")))
}

fn preconditions(body: &[u8]) -> Result<Preconditions, ApiStatus> {
    if body.is_empty() {
        return Ok(Preconditions::default());
    }
    let options: Value = serde_json::from_slice(body)
        .map_err(|wrong| ApiStatus::bad_request(format!("error decoding the delete options: {wrong}")))?;
    let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Preconditions { uid: text("uid"), resource_version: text("resourceVersion") })
}
