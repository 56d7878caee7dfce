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
use super::protobuf;
use super::rbac;
use super::reply::{Body, json_reply, with_retry_after, with_warnings};
use super::request::Call;
use super::resource::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Resource};
use super::respond::without_kind;
use super::schema::name_of;
use super::stall::{self, Need};
use super::status::ApiStatus;
use super::store::{Deleted, Store, Written};
use super::user::UserInfo;

mod options;

pub(super) use options::manager;

/// Largest body accepted, as the real server's default.
pub(super) const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What a write came to.
pub(super) struct Outcome {
    pub(super) code: u16,
    pub(super) body: Value,
    retry_after: Option<u64>,
    holder: Option<String>,
    name: Option<String>,
    version: Option<u64>,
    /// For `Warning` headers.
    warnings: Vec<String>,
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
            warnings: Vec::new(),
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
            warnings: Vec::new(),
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
    let lost = front.loses_reply();
    let answer = with_retry_after(json_reply(outcome.code, &outcome.body), outcome.retry_after);
    let answer = with_warnings(answer, &outcome.warnings);
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

pub(super) fn perform(
    store: &Store,
    user: &UserInfo,
    (parts, call): (&Parts, &Call),
    body: &[u8],
) -> Result<Outcome, ApiStatus> {
    let target = call.target();
    check_escalation(store, user, (parts, call), body)?;
    let mut writing = options::writing(parts, call)?;
    let outcome = match call.verb {
        Verb::Create => {
            let body = parse_body(parts, body, &name_of(call.resource))?;
            let object = store.create_as(&mut writing, call.resource, &target.namespace, body)?;
            Outcome::object(201, &object)
        }
        Verb::Update => written(&store.update_as(
            &mut writing,
            &target,
            parse_body(parts, body, &name_of(call.resource))?,
            call.part,
        )?),
        Verb::Patch => {
            let patch = Patch::parse(content_type(parts), body)?;
            options::check_apply(&patch, call)?;
            written(&store.patch_as(&mut writing, &target, &patch, call.part)?)
        }
        Verb::Delete => deleted(call, &store.delete_with(&target, &options::delete_options(call, body)?)?),
        _ => {
            let options = options::delete_options(call, body)?;
            let gone = store.delete_collection(&call.scan()?, &options);
            let items: Vec<Value> = gone.iter().map(|gone| without_kind(gone)).collect();
            let kind = format!("{}List", call.resource.kind);
            let version = json!({ "resourceVersion": store.revision().to_string() });
            Outcome::object(
                200,
                &json!({ "kind": kind, "apiVersion": call.resource.api_version(), "metadata": version, "items": items }),
            )
        }
    };
    Ok(Outcome { warnings: writing.warnings, ..outcome })
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
        Verb::Patch => {
            Patch::parse(content_type(parts), body)?.apply(call.resource, &*store.get(&call.target())?)?
        }
        _ => parse_body(parts, body, &name_of(call.resource))?,
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

/// The real server answers a finished deletion with a Status, and one that waits for something, or is of a pod, with the
/// object.
fn deleted(call: &Call, deleted: &Deleted) -> Outcome {
    match deleted {
        Deleted::Pending(object) => Outcome::object(200, object),
        Deleted::Gone(last) if call.resource.kind == "Pod" => Outcome::object(200, last),
        Deleted::Gone(last) => {
            let mut details =
                json!({ "name": call.name, "kind": call.resource.plural, "uid": last["metadata"]["uid"] });
            if !call.resource.group.is_empty() {
                details["group"] = json!(call.resource.group);
            }
            let body = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            Outcome { body, ..Outcome::object(200, last) }
        }
    }
}

fn content_type(parts: &Parts) -> &str {
    parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json")
}

/// A body: JSON, YAML, or the protobuf of the type with this full name.
///
/// # Errors
/// 415 for another form, 400 for what cannot be read.
pub(super) fn parse_body(parts: &Parts, body: &[u8], type_name: &str) -> Result<Value, ApiStatus> {
    let read = match content_type(parts).split(';').next().unwrap_or_default().trim() {
        "application/json" => serde_json::from_slice(body).map_err(|wrong| wrong.to_string()),
        "application/yaml" => {
            let text = std::str::from_utf8(body).map_err(|wrong| wrong.to_string());
            text.and_then(|text| serde_saphyr::from_str(text).map_err(|wrong| wrong.to_string()))
        }
        protobuf::MEDIA => protobuf::object(body, type_name),
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, {}",
                protobuf::MEDIA
            );
            return Err(ApiStatus::new(415, "UnsupportedMediaType", message));
        }
    };
    read.map_err(|wrong| ApiStatus::bad_request(format!("error decoding the body: {wrong}")))
}
