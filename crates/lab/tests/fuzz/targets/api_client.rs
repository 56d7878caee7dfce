//! What API servers answer, and the credentials to ask them with.

use std::net::IpAddr;
use std::time::Instant;

use mainstay_core::backoff::RETRY_AFTER_MAX;
use mainstay_core::effect::{LeaseDraft, Stamp};
use mainstay_core::rng::Rng;
use mainstay_core::time::Moment;
use mainstay_kube::parsers::{self, Answer, Lines, WatchEvent};
use mainstay_kube::servers::{Book, Report, ServerKind, normalise};
use serde_json::{Map, Value, json};

use super::bytes::{Bytes, is_one_line};

const NAMED: (&str, &str) = ("kube-system", "plndr-cp-lock");
/// The longest line that a person is shown of one answer, in characters.
const LONGEST_COMPLAINT: usize = 600;
/// A watch's line may be this long, in bytes.
const LONGEST_EVENT: usize = 1 << 20;

/// The bytes as a Lease object: read, and written over.
pub(super) fn lease(data: &[u8]) {
    let Ok(object @ Value::Object(_)) = serde_json::from_slice(data) else { return };
    let record = parsers::lease(&object);
    assert_ne!(record.holder.as_deref(), Some(""), "nobody holds a Lease whose holder is empty");
    let mut annotations = record.annotations.clone();
    annotations.insert("mainstay.io/grant".to_owned(), "g".to_owned());
    let draft = LeaseDraft {
        holder: Some("n1".to_owned()),
        duration_seconds: record.duration_seconds,
        acquire_time: Stamp::Keep(record.acquire_time.clone()),
        renew_time: Stamp::Now,
        transitions: record.transitions,
        annotations,
    };
    let written = parsers::updated(&object, NAMED, &draft, "2026-01-02T03:04:05.000000Z");
    let mut expected = record.clone();
    expected.holder.clone_from(&draft.holder);
    expected.renew_time = "2026-01-02T03:04:05.000000Z".to_owned();
    expected.annotations.clone_from(&draft.annotations);
    assert_eq!(parsers::lease(&written), expected);
    assert_eq!(parsers::updated(&written, NAMED, &draft, &expected.renew_time), written, "written twice");
    let ours: [&[&str]; 3] = [
        &["apiVersion", "kind", "metadata", "spec"],
        &["namespace", "name", "resourceVersion", "annotations"],
        &["holderIdentity", "leaseDurationSeconds", "leaseTransitions", "acquireTime", "renewTime"],
    ];
    for (place, ours) in ["", "/metadata", "/spec"].into_iter().zip(ours) {
        let others = |object: &Value| -> Map<String, Value> {
            let fields = object.pointer(place).and_then(Value::as_object).cloned().unwrap_or_default();
            fields.into_iter().filter(|(name, _)| !ours.contains(&name.as_str())).collect()
        };
        assert_eq!(others(&written), others(&object), "not carried forward");
    }
}

/// The bytes as a watch's body, cut in two ways.
pub(super) fn watch(data: &[u8]) {
    let [size, body @ ..] = data else { return };
    let whole = events(body.chunks(body.len().max(1)));
    let pieces = events(body.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, pieces, "events depend on where the transport cut them");
    let ends = body.iter().filter(|byte| **byte == b'\n').count();
    assert!(whole.len() <= ends + 1);
}

/// The bytes as a page of a list: what is read of it is what stands there, object by object.
pub(super) fn page(data: &[u8]) {
    let Some((names, version, go_on)) = parsers::page(data) else { return };
    assert!(!version.is_empty() && go_on.as_deref() != Some(""));
    // What is passed over is not looked at so closely.
    let Ok(whole) = serde_json::from_slice::<Value>(data) else { return };
    let items = whole["items"].as_array().cloned().unwrap_or_default();
    let expected: Vec<Value> = items.iter().map(|object| object["metadata"]["name"].clone()).collect();
    assert_eq!(names, expected);
    assert_eq!(whole["metadata"]["resourceVersion"], version);
}

fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<WatchEvent> {
    let mut lines = Lines::default();
    let events: Vec<_> = chunks.flat_map(|chunk| lines.push(chunk)).collect();
    for event in &events {
        if let WatchEvent::Error(cause) = event {
            assert!(cause.len() <= LONGEST_EVENT, "{} bytes", cause.len());
        }
    }
    events
}

/// The bytes as an `EndpointSlice`, and as a server's address as people write it.
pub(super) fn endpoint_slices(data: &[u8]) {
    if let Some(url) = std::str::from_utf8(data).ok().and_then(normalise) {
        assert_eq!(normalise(&url).as_ref(), Some(&url), "a normal form that is not normal");
    }
    let Ok(slice) = serde_json::from_slice::<Value>(data) else { return };
    let urls = parsers::api_servers(&slice);
    assert!(urls.iter().map(String::len).sum::<usize>() <= data.len() * 40);
    let mut book = Book::new(vec![IpAddr::from([10, 0, 0, 100])], Rng::new(1));
    book.set(Moment::ZERO, ServerKind::Learned, &urls);
    let order = book.order(Moment::ZERO);
    let unique: std::collections::BTreeSet<_> = order.iter().collect();
    assert_eq!(unique.len(), order.len(), "one server twice");
    assert!(order.iter().all(|url| urls.iter().any(|said| normalise(said).as_ref() == Some(url))));
}

/// The bytes as a response: status, `Retry-After`, body.
pub(super) fn answer(data: &[u8]) {
    let mut bytes = Bytes(data);
    let status = bytes.u16() % 700;
    let wait = bytes.optional(Bytes::run);
    let body = bytes.rest();
    let Some(answer) = parsers::answer(status, wait, body) else { return };
    let is_object = serde_json::from_slice::<Value>(body).is_ok_and(|value| value.is_object());
    let success = matches!(answer, Answer::Success(_));
    assert_eq!(success, is_object && (200..300).contains(&status), "HTTP {status}");
    if let Some(complaint) = answer.complaint().map(|trouble| trouble.text) {
        assert!(is_one_line(&complaint), "{complaint:?}");
        assert!(complaint.chars().count() <= LONGEST_COMPLAINT, "{} characters", complaint.len());
    }
    if let Answer::Throttled(wait) = answer {
        comes_back_soon(wait);
    }
}

/// However long a server wants to be left alone, it is asked again.
fn comes_back_soon(wait: Option<std::time::Duration>) {
    let mut book = Book::new(vec![], Rng::new(1));
    book.set(Moment::ZERO, ServerKind::Configured, &["https://192.0.2.1:6443".to_owned()]);
    book.report(Moment::ZERO, "https://192.0.2.1:6443", Report::Throttled(wait));
    let start = Instant::now();
    let status = book.status(Moment::ZERO, |moment| start + moment.since(Moment::ZERO));
    let retry = status[0].next_retry.expect("it is tried again");
    assert!(retry - start <= RETRY_AFTER_MAX * 3, "{wait:?} is believed");
}

/// The bytes as a kubeconfig and as a token file.
pub(super) fn kubeconfig(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parsers::kubeconfig(&text) {
        Some(Ok(server)) => assert!(!server.is_empty()),
        Some(Err(cause)) => assert!(is_one_line(&cause), "{cause:?}"),
        None => {}
    }
    match parsers::token(&text) {
        Ok(header) => {
            assert!(header.is_sensitive(), "a token that logs may show");
            assert_eq!(header.as_bytes(), format!("Bearer {}", text.trim()).as_bytes());
        }
        Err(cause) => assert!(is_one_line(&cause), "{cause:?}"),
    }
    // JSON is YAML; a context is easier to reach by a change of these than from nothing.
    let skeleton = json!({
        "clusters": [{ "name": "c", "cluster": { "server": &text } }],
        "users": [{ "name": "u", "user": { "token": &text } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    if let Some(Err(cause)) = parsers::kubeconfig(&skeleton.to_string()) {
        assert!(is_one_line(&cause), "{cause:?}");
    }
}
