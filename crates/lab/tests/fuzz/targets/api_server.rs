//! What clients send to the embedded API server.

use std::cell::RefCell;

use mainstay_lab::apiserver::{LEASE, Patch, RESOURCES, Resource, Selector, Store, StoreOptions, parsers};
use serde_json::{Value, json};

use super::bytes::Bytes;

/// What an answer may be at most, in bytes, however small the request: objects have a limit.
const LARGEST: usize = 16 << 20;
/// Requests of one conversation.
const REQUESTS: usize = 24;

fn resource(bytes: &mut Bytes<'_>) -> &'static Resource {
    &RESOURCES[usize::from(bytes.byte()) % RESOURCES.len()]
}

/// The bytes as an object of some kind, which is brought into its form.
pub(super) fn object(data: &[u8]) {
    let mut bytes = Bytes(data);
    let resource = resource(&mut bytes);
    let Ok(Value::Object(object)) = serde_json::from_slice(bytes.rest()) else { return };
    let Ok((fitted, _)) = parsers::fitted(resource, object) else { return };
    is_fitted(resource, &fitted);
}

fn is_fitted(resource: &Resource, fitted: &Value) {
    let fields = fitted.as_object().expect("an object").clone();
    let (again, unknown) = parsers::fitted(resource, fields).expect("what was fitted before");
    assert_eq!(again, *fitted, "{}", resource.kind);
    assert_eq!(unknown, Vec::<String>::new(), "{}", resource.kind);
}

/// The bytes as a protobuf body, with its envelope and without.
pub(super) fn protobuf(data: &[u8]) {
    let mut bytes = Bytes(data);
    let resource = resource(&mut bytes);
    let content = bytes.rest();
    read_protobuf(resource, content);
    let length = u32::try_from(content.len()).expect("libFuzzer's inputs are shorter");
    let mut whole = b"k8s\0\x12".to_vec();
    varint(u64::from(length), &mut whole);
    whole.extend(content);
    read_protobuf(resource, &whole);
}

fn read_protobuf(resource: &Resource, body: &[u8]) {
    let Ok(read) = parsers::from_protobuf(resource, body) else { return };
    let size = read.to_string().len();
    assert!(size <= 64 * body.len() + 1024, "{size} bytes of {} bytes", body.len());
    let fields = read.as_object().expect("an object").clone();
    let Ok((fitted, unknown)) = parsers::fitted(resource, fields) else { return };
    assert_eq!(unknown, Vec::<String>::new(), "protobuf knows a field that {} has not", resource.kind);
    is_fitted(resource, &fitted);
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number > 127 {
        to.push(u8::try_from(number & 127).expect("seven bits") | 128);
        number >>= 7;
    }
    to.push(u8::try_from(number).expect("seven bits"));
}

/// The bytes as an object and a patch of it, a line each.
pub(super) fn patch(data: &[u8]) {
    let mut bytes = Bytes(data);
    let media = bytes.pick(&[
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/json-patch+json",
        "application/apply-patch+yaml",
    ]);
    let resource = resource(&mut bytes);
    let rest = bytes.rest();
    let cut = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (object, patch) = rest.split_at(cut);
    let Ok(object @ Value::Object(_)) = serde_json::from_slice::<Value>(object) else { return };
    let Ok(patch) = Patch::parse(media, patch) else { return };
    let Ok(patched) = patch.apply(resource, &object) else { return };
    assert!(patched.to_string().len() <= LARGEST, "a small patch makes an object too large to keep");
    if matches!(patch, Patch::Merge(_)) {
        assert_eq!(patch.apply(resource, &patched).ok().as_ref(), Some(&patched), "patched twice");
    }
    // What comes of a patch is fitted like any object, and has to be readable again.
    let read: Result<Value, _> = serde_json::from_str(&patched.to_string());
    assert_eq!(read.ok().as_ref(), Some(&patched), "an object that nobody can read");
}

/// The bytes as selectors and as a text with percents.
pub(super) fn selector(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert_eq!(parsers::percent_decoded(&text), decoded(&text));
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(parsers::percent_decoded(&escaped), text);
    let (labels, fields) = text.split_once('\n').unwrap_or((&text, ""));
    let objects = [
        json!({ "metadata": { "name": "a", "namespace": "b", "labels": { "a": "b", "c": "" } } }),
        json!({ "metadata": { "name": "b", "labels": null } }),
        json!({}),
    ];
    let both = Selector::parse(LEASE, labels, fields);
    let (left, right) = (Selector::parse(LEASE, labels, ""), Selector::parse(LEASE, "", fields));
    assert_eq!(both.is_ok(), left.is_ok() && right.is_ok());
    let (Ok(both), Ok(left), Ok(right)) = (both, left, right) else { return };
    for object in &objects {
        assert_eq!(both.matches(object), left.matches(object) && right.matches(object));
    }
}

/// Percent decoding once more, the slow way (WHATWG URL, application/x-www-form-urlencoded; what is no escape is `?`).
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut at, mut decoded) = (0, Vec::new());
    while at < bytes.len() {
        match bytes[at] {
            b'+' => decoded.push(b' '),
            b'%' => {
                let value = digit(at + 1).zip(digit(at + 2)).map(|(high, low)| high * 16 + low);
                decoded.push(value.and_then(|value| u8::try_from(value).ok()).unwrap_or(b'?'));
                at += 2;
            }
            other => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The bytes as requests to one server, an empty line between them. The first line of each is method, path and content
/// type; the rest its body.
pub(super) fn requests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let store = Store::new(StoreOptions::default());
    let sent = RefCell::new(0);
    for request in text.split("\n\n").take(REQUESTS) {
        let (line, body) = request.split_once('\n').unwrap_or((request, ""));
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, path, media) = (word(), word(), word());
        let media = if media.is_empty() { "application/json" } else { media };
        *sent.borrow_mut() += body.len();
        let before = store.revision();
        let Some((code, answer)) = parsers::answer(&store, (method, path), media, body.as_bytes()) else {
            continue;
        };
        assert!((200..600).contains(&code), "{line}: {code}");
        assert!(answer.is_object(), "{line}: {answer}");
        let after = store.revision();
        assert!(
            after == before || (code < 300 && after > before),
            "{line}: {code}, revision {before} to {after}"
        );
        assert!(answer.to_string().len() <= LARGEST, "{line}: too large an answer");
        if code < 300 && answer["kind"] != "Status" {
            is_kept(&store, path, &answer);
        }
    }
}

/// What was written reads back the same, where the answer says which object it is of.
fn is_kept(store: &Store, path: &str, answer: &Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let Some(name) = answer["metadata"]["name"].as_str().filter(|_| query.is_empty()) else { return };
    let Some((_, last)) = path.rsplit_once('/') else { return };
    if last != name || answer["metadata"].get("deletionTimestamp").is_some() {
        return;
    }
    if let Some((200, read)) = parsers::answer(store, ("GET", path), "application/json", b"") {
        assert_eq!(read, *answer, "{path} reads back as another");
    }
}
