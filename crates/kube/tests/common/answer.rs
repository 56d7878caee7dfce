//! What a front end answers to a request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Mode, Store};

const COLLECTION: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(super) async fn answer(
    store: Arc<Mutex<Store>>,
    mode: Mode,
    number: usize,
    request: Request<Incoming>,
) -> Result<Answer, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request broke off")?.to_bytes();
    let (answered, hangs) = {
        let mut store = store.lock().unwrap();
        let answered = decide(&mut store, &mode, number, &head, &body);
        (answered, store.nodes.hang && is_node(&head.uri))
    };
    match mode {
        _ if hangs => std::future::pending().await,
        Mode::Hang => std::future::pending().await,
        Mode::LoseReply => Err("the reply is lost"),
        _ => Ok(answered),
    }
}

fn decide(store: &mut Store, mode: &Mode, number: usize, head: &http::request::Parts, body: &[u8]) -> Answer {
    store.requests.push((number, format!("{} {}", head.method, head.uri)));
    let token = format!("Bearer {}", store.token);
    let authorized = head.headers.get("authorization").is_some_and(|value| *value == token);
    match mode {
        Mode::Status(code, retry_after) => status(*code, *retry_after),
        Mode::Hang => status(504, None),
        _ if !store.token.is_empty() && !authorized => status(401, None),
        _ if is_node(&head.uri) => {
            let content = head.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
            store
                .nodes
                .patches
                .push((content.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap()));
            match store.nodes.refused {
                Some(code) => status(code, None),
                None => reply(200, &json!({"kind": "Node"})),
            }
        }
        Mode::Serve | Mode::LoseReply => route(store, &head.method, &head.uri, body),
    }
}

fn is_node(uri: &http::Uri) -> bool {
    uri.path().starts_with("/api/v1/nodes/")
}

fn route(store: &mut Store, method: &Method, uri: &http::Uri, body: &[u8]) -> Answer {
    let query: BTreeMap<&str, &str> =
        uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let object = || serde_json::from_slice::<Value>(body).unwrap();
    if uri.path().contains("endpointslices") {
        if let Some(code) = store.slices_refused {
            return status(code, None);
        }
        if query.contains_key("watch") {
            let (sender, receiver) = mpsc::channel(1);
            store.muted.push(sender);
            return streamed(receiver);
        }
        let list = json!({"metadata": {"resourceVersion": store.version.to_string()}, "items": store.slices});
        return reply(200, &list);
    }
    match (method.as_str(), uri.path() == COLLECTION) {
        ("GET", true) if query.contains_key("watch") => {
            watch(store, query["resourceVersion"].parse().unwrap())
        }
        ("GET", true) => {
            let items: Vec<&Value> = store.lease.iter().collect();
            reply(200, &json!({"metadata": {"resourceVersion": store.version.to_string()}, "items": items}))
        }
        ("GET", false) => store.lease.as_ref().map_or_else(|| status(404, None), |lease| reply(200, lease)),
        _ => match store.write(object()) {
            Ok(lease) => reply(if method == Method::POST { 201 } else { 200 }, &lease),
            Err(code) => status(code, None),
        },
    }
}

fn watch(store: &mut Store, from: u64) -> Answer {
    if from < store.compacted {
        return status(410, None);
    }
    let (sender, receiver) = mpsc::channel(1024);
    for (_, line) in store.history.iter().filter(|(version, _)| *version > from) {
        sender.try_send(line.clone()).unwrap();
    }
    store.watchers.push(sender);
    streamed(receiver)
}

fn streamed(receiver: mpsc::Receiver<String>) -> Answer {
    let frames = futures::stream::unfold(receiver, async |mut receiver| {
        let line: String = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(line))), receiver))
    });
    Response::new(StreamBody::new(frames).boxed())
}

fn status(code: u16, retry_after: Option<u32>) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    let mut response = reply(code, &json!({"kind": "Status", "reason": reason, "code": code}));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn reply(code: u16, object: &Value) -> Answer {
    let body = Full::new(Bytes::from(object.to_string())).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
