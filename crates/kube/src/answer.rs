//! What one API server said to one request, told apart by what it means for the lease. Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::credentials::one_line;

/// What kind of trouble a server gives: one of a few words, by which troubles are counted and told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// Nothing was sent: we have no credentials, or cannot make the request.
    Access,
    /// No connection: refused, no route, a name that means nothing, a certificate that we do not trust.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection or the answer broke off.
    Broken,
    /// 401: it does not know us.
    Unauthorized,
    /// 403: it knows us, and we may not.
    Forbidden,
    /// Another 4xx.
    Rejected,
    /// 429, or 503 with Retry-After.
    Overloaded,
    /// Another 5xx.
    ServerError,
    /// An answer that makes no sense.
    Nonsense,
}

impl ErrorClass {
    /// The word, as in metrics and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server-error",
            Self::Nonsense => "nonsense",
        }
    }

    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::REQUEST_TIMEOUT => Self::Timeout,
            // From a proxy, or from a server that has not registered the API yet.
            StatusCode::NOT_FOUND => Self::Nonsense,
            status if status.is_client_error() => Self::Rejected,
            status if status.is_server_error() => Self::ServerError,
            _ => Self::Nonsense,
        }
    }
}

/// What went wrong: its kind, and words for people, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its kind.
    pub class: ErrorClass,
    /// The words.
    pub text: String,
}

impl Trouble {
    /// Trouble of that kind.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }
}

/// What one server's answer (or silence) means.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    /// Done.
    Success(T),
    /// 404 from the API itself: there is no such object.
    Absent,
    /// 409.
    Conflict,
    /// 410: the resource version is too old to watch from.
    Gone,
    /// 401, 403, or another 4xx: not done, and asking again does not help.
    Forbidden(Trouble),
    /// 429, or 503 with Retry-After: not done.
    Throttled(Option<Duration>),
    /// The connection was not made: nothing was sent.
    Refused(Trouble),
    /// Sent, and perhaps done: a 5xx, a broken connection, an answer that makes no sense.
    Unknown(Trouble),
}

impl<T> Answer<T> {
    /// Nobody knows whether it was done, because of this.
    pub(crate) fn unknown(class: ErrorClass, text: impl Into<String>) -> Self {
        Self::Unknown(Trouble::new(class, text))
    }

    /// How it reads in a status line, for answers that count against the server.
    pub fn complaint(&self) -> Option<Trouble> {
        let overloaded = |text: String| Some(Trouble::new(ErrorClass::Overloaded, text));
        match self {
            Self::Success(_) | Self::Absent | Self::Conflict | Self::Gone => None,
            Self::Forbidden(trouble) | Self::Refused(trouble) | Self::Unknown(trouble) => {
                Some(trouble.clone())
            }
            Self::Throttled(Some(wait)) => {
                overloaded(format!("overloaded; retry after {} s", wait.as_secs()))
            }
            Self::Throttled(None) => overloaded("overloaded".to_owned()),
        }
    }

    /// The same answer about another payload, where there is none.
    pub(crate) fn without_payload<U>(self) -> Option<Answer<U>> {
        Some(match self {
            Self::Success(_) => return None,
            Self::Absent => Answer::Absent,
            Self::Conflict => Answer::Conflict,
            Self::Gone => Answer::Gone,
            Self::Forbidden(trouble) => Answer::Forbidden(trouble),
            Self::Throttled(wait) => Answer::Throttled(wait),
            Self::Refused(trouble) => Answer::Refused(trouble),
            Self::Unknown(trouble) => Answer::Unknown(trouble),
        })
    }
}

/// What a complete response that is not a success means.
pub(crate) fn failure<T>(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer<T> {
    let object: Option<Value> = serde_json::from_slice(body).ok();
    let trouble = Trouble::new(ErrorClass::of(status), describe(status, object.as_ref()));
    match status {
        StatusCode::NOT_FOUND if is_api_status(object.as_ref()) => Answer::Absent,
        // A bare 404 comes from a proxy, or from a server that has not registered the API yet.
        StatusCode::NOT_FOUND => Answer::Unknown(trouble),
        StatusCode::CONFLICT => Answer::Conflict,
        StatusCode::GONE => Answer::Gone,
        StatusCode::TOO_MANY_REQUESTS => Answer::Throttled(retry_after(headers)),
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => {
            Answer::Throttled(retry_after(headers))
        }
        StatusCode::REQUEST_TIMEOUT => Answer::Unknown(trouble),
        status if status.is_client_error() => Answer::Forbidden(trouble),
        _ => Answer::Unknown(trouble),
    }
}

/// What a complete response with a JSON object in it means.
pub(crate) fn object(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer<Value> {
    if !status.is_success() {
        return failure(status, headers, body);
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() => Answer::Success(value),
        Ok(_) => {
            Answer::unknown(ErrorClass::Nonsense, format!("HTTP {status}, and the body is no JSON object"))
        }
        Err(error) => {
            Answer::unknown(ErrorClass::Nonsense, format!("HTTP {status}, and the body is no JSON: {error}"))
        }
    }
}

/// Whole seconds of Retry-After (RFC 9110 section 10.2.3). Kubernetes never sends the date form; it counts as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn is_api_status(object: Option<&Value>) -> bool {
    object.is_some_and(|status| status["kind"] == "Status" && status["reason"] == "NotFound")
}

fn describe(status: StatusCode, object: Option<&Value>) -> String {
    match object.and_then(|object| object["message"].as_str()) {
        Some(message) => format!("HTTP {status}: {}", one_line(message)),
        None => format!("HTTP {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_FOUND: &str =
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;

    fn name(answer: &Answer<Value>) -> String {
        match answer {
            Answer::Success(_) => "success".to_owned(),
            Answer::Absent => "absent".to_owned(),
            Answer::Conflict => "conflict".to_owned(),
            Answer::Gone => "gone".to_owned(),
            Answer::Forbidden(trouble) => format!("forbidden, {}", trouble.class.word()),
            Answer::Throttled(wait) => format!("throttled {wait:?}"),
            Answer::Refused(trouble) => format!("refused, {}", trouble.class.word()),
            Answer::Unknown(trouble) => format!("unknown, {}", trouble.class.word()),
        }
    }

    #[test]
    fn every_status_code_has_one_meaning() {
        for (status, retry_after, body, expected) in [
            (200, None, "{}", "success"),
            (201, None, r#"{"kind":"Lease"}"#, "success"),
            (200, None, "", "unknown, nonsense"),
            (200, None, "[]", "unknown, nonsense"),
            (200, None, "<html>", "unknown, nonsense"),
            (302, None, "", "unknown, nonsense"),
            (400, None, "{}", "forbidden, rejected"),
            (401, None, "{}", "forbidden, unauthorized"),
            (403, None, "{}", "forbidden, forbidden"),
            (404, None, NOT_FOUND, "absent"),
            (404, None, "404 page not found", "unknown, nonsense"),
            (408, None, "", "unknown, timeout"),
            (409, None, "{}", "conflict"),
            (410, None, "{}", "gone"),
            (422, None, "{}", "forbidden, rejected"),
            (429, None, "", "throttled None"),
            (429, Some("7"), "", "throttled Some(7s)"),
            (429, Some("Fri, 31 Dec 1999 23:59:59 GMT"), "", "throttled None"),
            (500, None, "", "unknown, server-error"),
            (502, None, "", "unknown, server-error"),
            (503, None, "", "unknown, server-error"),
            (503, Some("1"), "", "throttled Some(1s)"),
            (504, None, "", "unknown, server-error"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = retry_after {
                headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            }
            let answer = object(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
            assert_eq!(name(&answer), expected, "{status} {retry_after:?} {body:?}");
        }
    }

    #[test]
    fn a_complaint_repeats_the_servers_words() {
        let body = br#"{"kind":"Status","message":"leases is forbidden"}"#;
        let answer: Answer<Value> = failure(StatusCode::FORBIDDEN, &HeaderMap::new(), body);
        let complaint = answer.complaint().expect("a complaint");
        assert_eq!(
            (complaint.class, complaint.text.as_str()),
            (ErrorClass::Forbidden, "HTTP 403 Forbidden: leases is forbidden")
        );
    }

    #[test]
    fn an_overloaded_server_is_told_apart_and_classes_have_one_spelling() {
        let wait = Some(Duration::from_secs(7));
        let complaint = Answer::<()>::Throttled(wait).complaint().expect("a complaint");
        assert_eq!(complaint, Trouble::new(ErrorClass::Overloaded, "overloaded; retry after 7 s"));
        for class in [ErrorClass::Access, ErrorClass::ServerError, ErrorClass::Unauthorized] {
            assert_eq!(serde_json::to_value(class).expect("a word"), class.word());
        }
    }

    /// Found by the fuzz target `answer`: the words of a server, or of a proxy before it, stand in `mainstay status`.
    #[test]
    fn a_complaint_is_one_line_whatever_the_servers_words() {
        let body = format!(r#"{{"message":"a\n\u001b[2Jb {}"}}"#, "c".repeat(100_000));
        let answer: Answer<Value> = failure(StatusCode::FORBIDDEN, &HeaderMap::new(), body.as_bytes());
        let complaint = answer.complaint().expect("a complaint").text;
        assert!(complaint.starts_with("HTTP 403 Forbidden: a ?[2Jb ccc"), "{complaint:?}");
        assert!(complaint.len() < 600);
    }
}
