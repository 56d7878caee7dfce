//! One request, one answer: faults first, then who asks, then what.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::access::Peer;
use super::account::{Reply, Verb, WriteRecord};
use super::discovery::{self, Answer};
use super::events;
use super::fault::Reach;
use super::front_end::{Front, Lost};
use super::patch::Patch;
use super::request::{self, Call};
use super::stall::{self, Need};
use super::status::ApiStatus;
use super::store::{At, Deleted, Preconditions, Store, Written};

/// Largest body accepted, as the real server's default.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A reply's body: whole, or a watch.
pub(super) type Body = UnsyncBoxBody<Bytes, Lost>;

/// Answers one request.
///
/// # Errors
/// [`Lost`] when the connection is to end without a reply.
pub(super) async fn respond(
    front: Arc<Front>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let call = request::parse(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
    if let Ok(call) = &call {
        front.account.count_one(call.verb, call.resource.plural);
        front.store.account().count_one(call.verb, call.resource.plural);
    }
    let admitted = admit(&front, peer, &parts, call.as_ref().ok()).await;
    match (admitted, call) {
        (Err(refusal), Ok(call)) => {
            if call.verb.is_write() {
                log(&front, &parts, &call, Outcome::refused(&refusal));
            }
            Ok(failure(&refusal))
        }
        (Err(refusal), Err(_)) => Ok(failure(&refusal)),
        (Ok(()), Ok(call)) if call.verb.is_write() => write(&front, &parts, &call, body).await,
        (Ok(()), Ok(call)) => Ok(read(&front, &call).await.unwrap_or_else(|refusal| failure(&refusal))),
        (Ok(()), Err(refusal)) => Ok(match discovery::answer(parts.uri.path()) {
            Some(Answer::Text(text)) => plain(text),
            Some(Answer::Json(value)) => json_reply(200, &value),
            None => failure(&refusal),
        }),
    }
}

/// Lets a request through the faults and the gate, or says why not.
async fn admit(front: &Front, peer: Peer, parts: &Parts, call: Option<&Call>) -> Result<(), ApiStatus> {
    let mut watched = front.faults.subscribe();
    // The sender lives in `front`, so waiting can only end with the fault. Whoever sent this after a fault was injected
    // sees the fault, also when the bytes were read in the moment in which the connection learned of it.
    drop(watched.wait_for(|faults| faults.reach == Reach::Open).await);
    let faults = watched.borrow().clone();
    if !faults.slow.is_zero() {
        tokio::time::sleep(faults.slow).await;
    }
    if let Some(status) = faults.status.as_ref().filter(|status| front.picks_status(status.rate)) {
        return Err(ApiStatus::injected(status.code, status.retry_after));
    }
    if !discovery::is_public(parts.uri.path()) && !front.access.admits(peer, &parts.headers) {
        return Err(ApiStatus::unauthorized());
    }
    match call {
        Some(call) if faults.denies(call.verb, call.resource.plural) => Err(forbidden(call)),
        _ => Ok(()),
    }
}

fn forbidden(call: &Call) -> ApiStatus {
    let (group, plural) = (call.resource.group, call.resource.plural);
    let place = match &call.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let name = if call.name.is_empty() { String::new() } else { format!(" \"{}\"", call.name) };
    let message = format!(
        "{}{name} is forbidden: User \"lab\" cannot {} resource \"{plural}\" in API group \"{group}\" {place}",
        call.resource.qualified(),
        call.verb.as_str(),
    );
    let mut refusal = ApiStatus::new(403, "Forbidden", message);
    refusal.details = json!({ "name": call.name, "group": group, "kind": plural });
    refusal
}

async fn read(front: &Front, call: &Call) -> Result<Response<Body>, ApiStatus> {
    if call.verb != Verb::Watch && !call.is_cached_read() {
        stall::pass(front.store.stall.subscribe(), Need::QuorumRead).await;
    }
    match call.verb {
        Verb::Watch => {
            let stream = events::stream(&front.store, front.faults.subscribe(), call)?;
            Ok(reply(200, "application/json", StreamBody::new(stream).boxed_unsync()))
        }
        Verb::List => list(&front.store, call).map(|list| json_reply(200, &list)),
        _ => get(&front.store, call).map(|object| json_reply(200, &object)),
    }
}

fn get(store: &Store, call: &Call) -> Result<Arc<Value>, ApiStatus> {
    if let Some(version) = call.query.number("resourceVersion")? {
        let current = store.revision();
        if version > current {
            return Err(ApiStatus::too_large(version, current));
        }
    }
    store.get(&call.target())
}

/// A list, in pages where `limit` asks for them. A continue token is `REVISION/NAMESPACE/NAME` of the last item sent;
/// the rest is listed at that revision, as long as the history reaches back to it.
fn list(store: &Store, call: &Call) -> Result<Value, ApiStatus> {
    let scan = call.scan()?;
    let token = call.query.text("continue");
    let (at, after) = if token.is_empty() { (call.at()?, None) } else { continued(token)? };
    let listed = store.list(&scan, at)?;
    let name = |object: &Value| {
        let field = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (field("namespace"), field("name"))
    };
    let rest: Vec<_> = listed
        .items
        .iter()
        .filter(|object| after.as_ref().is_none_or(|after| name(object) > *after))
        .collect();
    let limit =
        call.query.number("limit")?.filter(|limit| *limit > 0).and_then(|limit| usize::try_from(limit).ok());
    let page = &rest[..limit.unwrap_or(rest.len()).min(rest.len())];
    let mut metadata = json!({ "resourceVersion": listed.revision.to_string() });
    if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
        let (namespace, name) = name(last);
        metadata["continue"] = json!(format!("{}/{namespace}/{name}", listed.revision));
        metadata["remainingItemCount"] = json!(rest.len() - page.len());
    }
    let items: Vec<Value> = page.iter().map(|object| without_kind(object)).collect();
    let resource = call.resource;
    Ok(
        json!({ "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": metadata, "items": items }),
    )
}

fn continued(token: &str) -> Result<(At, Option<(String, String)>), ApiStatus> {
    let mut parts = token.splitn(3, '/');
    let revision = parts.next().and_then(|revision| revision.parse().ok());
    match (revision, parts.next(), parts.next()) {
        (Some(revision), Some(namespace), Some(name)) => {
            Ok((At::Exactly(revision), Some((namespace.to_owned(), name.to_owned()))))
        }
        _ => Err(ApiStatus::bad_request("continue key is not valid")),
    }
}

/// Items of a list of a built-in kind carry no kind of their own.
fn without_kind(object: &Value) -> Value {
    let Value::Object(fields) = object else { return Value::Null };
    let kept = fields.iter().filter(|(field, _)| !["kind", "apiVersion"].contains(&field.as_str()));
    Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect())
}

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

async fn write(front: &Front, parts: &Parts, call: &Call, body: Incoming) -> Result<Response<Body>, Lost> {
    let outcome = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            stall::pass(front.store.stall.subscribe(), Need::Write).await;
            perform(&front.store, parts, call, &body.to_bytes())
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

fn log(front: &Front, parts: &Parts, call: &Call, outcome: Outcome) {
    record(front, parts, call, outcome, Reply::Sent);
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

fn perform(store: &Store, parts: &Parts, call: &Call, body: &[u8]) -> Result<Outcome, ApiStatus> {
    let target = call.target();
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

fn parse_body(parts: &Parts, body: &[u8]) -> Result<Value, ApiStatus> {
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

fn failure(refusal: &ApiStatus) -> Response<Body> {
    with_retry_after(json_reply(refusal.code, &refusal.to_json()), refusal.retry_after_seconds())
}

fn with_retry_after(mut response: Response<Body>, seconds: Option<u64>) -> Response<Body> {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json_reply(code: u16, value: &Value) -> Response<Body> {
    reply(code, "application/json", whole(value.to_string()))
}

fn plain(text: &'static str) -> Response<Body> {
    reply(200, "text/plain; charset=utf-8", whole(text.to_owned()))
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn reply(code: u16, media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    // An injected code outside HTTP's range becomes a plain 500.
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
