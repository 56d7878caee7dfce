//! Replies: JSON, text and failures, with the headers that belong to them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::front_end::Lost;
use super::status::ApiStatus;

/// A reply's body: whole, or a watch.
pub(super) type Body = UnsyncBoxBody<Bytes, Lost>;

pub(super) fn failure(refusal: &ApiStatus) -> Response<Body> {
    with_retry_after(json_reply(refusal.code, &refusal.to_json()), refusal.retry_after_seconds())
}

pub(super) fn with_retry_after(mut response: Response<Body>, seconds: Option<u64>) -> Response<Body> {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Warnings as RFC 7234 section 5.5 has them, which clients show.
pub(super) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

pub(super) fn json_reply(code: u16, value: &Value) -> Response<Body> {
    reply(code, "application/json", whole(value.to_string()))
}

/// A body that is there at once.
pub(super) fn whole(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn reply(code: u16, media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    // An injected code outside HTTP's range becomes a plain 500.
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
