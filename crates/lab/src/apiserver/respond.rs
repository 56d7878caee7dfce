//! One request, one answer: the gate first, then what is asked for.

use std::sync::Arc;

use http::header::{ACCEPT, HOST};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::Value;

use super::account::Verb;
use super::attributes::Attributes;
use super::discovery;
use super::events;
use super::front_end::{Front, Lost};
use super::gate::admit;
use super::page;
use super::perform::{self, BODY_LIMIT};
use super::relay;
use super::reply::{Body, failure, json_reply, reply, whole};
use super::request::{self, Call, Query};
use super::review;
use super::stall::{self, Need};
use super::status::ApiStatus;
use super::store::Store;
use super::table::Tables;
use super::user::UserInfo;

/// Answers one request. `peer` is the user whom a client certificate proved.
///
/// # Errors
/// [`Lost`] when the connection is to end without a reply.
pub(super) async fn respond(
    front: Arc<Front>,
    peer: Option<Arc<UserInfo>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let call = request::parse(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
    if let Ok(call) = &call {
        front.account.count_one(call.verb, call.resource.plural);
        front.store.account().count_one(call.verb, call.resource.plural);
    }
    if let Some(upstream) = &front.upstream {
        return relay::pass(&front, upstream, (parts, body), call.as_ref().ok()).await;
    }
    match (admit(&front, peer.as_deref(), &parts, call.as_ref().ok()).await, call) {
        (Err(refusal), Ok(call)) => {
            if call.verb.is_write() {
                perform::refused(&front, &parts, &call, &refusal);
            }
            Ok(failure(&refusal))
        }
        (Err(refusal), Err(_)) => Ok(failure(&refusal)),
        (Ok(user), Ok(call)) if call.verb.is_write() => {
            perform::write(&front, &user, (&parts, &call), body).await
        }
        (Ok(_), Ok(call)) => {
            Ok(read(&front, &parts, &call).await.unwrap_or_else(|refusal| failure(&refusal)))
        }
        (Ok(user), Err(refusal)) => Ok(other(&front, &user, &parts, body)
            .await
            .unwrap_or_else(|wrong| failure(&wrong.unwrap_or(refusal)))),
    }
}

/// What is asked for beside the objects: a review, or a document.
///
/// # Errors
/// A refusal, or nothing where the path names nothing.
async fn other(
    front: &Front,
    user: &UserInfo,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Option<ApiStatus>> {
    if let Some(review) = review::find(&Attributes::of(&parts.method, parts.uri.path(), "")) {
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|wrong| ApiStatus::bad_request(wrong.to_string()))?.to_bytes();
        let body = perform::parse_body(parts, &body, &review.type_name())?;
        let client = perform::manager(parts, &Query::parse(parts.uri.query().unwrap_or_default()));
        let asked = (user, client.as_str());
        return Ok(json_reply(201, &review::answer(review, (&front.store, &front.access), asked, body)?));
    }
    let path = parts.uri.path();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    if let Some(found) = discovery::answer(path, (accept(parts), host)) {
        return Ok(reply(200, found.media, whole(found.content)));
    }
    let nothing = discovery::nothing_there(path).ok_or(None)?;
    Ok(reply(404, nothing.media, whole(nothing.content)))
}

async fn read(front: &Front, parts: &Parts, call: &Call) -> Result<Response<Body>, ApiStatus> {
    if call.verb != Verb::Watch && !call.is_cached_read() {
        stall::pass(front.store.stall.subscribe(), Need::QuorumRead).await;
    }
    let tables = Tables::wanted(accept(parts), call.resource, call.query.text("includeObject"));
    let shown = |value: &Value| match tables {
        Some(tables) => json_reply(200, &tables.of(value)),
        None => json_reply(200, value),
    };
    match call.verb {
        Verb::Watch => {
            let stream = events::stream(&front.store, front.faults.subscribe(), call, tables)?;
            Ok(reply(200, "application/json", StreamBody::new(stream).boxed_unsync()))
        }
        Verb::List => page::list(&front.store, call).map(|list| shown(&list)),
        _ => get(&front.store, call).map(|object| shown(&object)),
    }
}

fn accept(parts: &Parts) -> &str {
    parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(super) fn get(store: &Store, call: &Call) -> Result<Arc<Value>, ApiStatus> {
    if let Some(version) = call.query.version()? {
        let current = store.revision();
        if version > current {
            return Err(ApiStatus::too_large(version, current));
        }
    }
    store.get(&call.target())
}

/// Items of a list of a built-in kind carry no kind of their own.
pub(super) fn without_kind(object: &Value) -> Value {
    let Value::Object(fields) = object else { return Value::Null };
    let kept = fields.iter().filter(|(field, _)| !["kind", "apiVersion"].contains(&field.as_str()));
    Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect())
}
