//! Small API servers on loopback, below the real thing: one store, several front ends, faults on command.
#![expect(clippy::unwrap_used, reason = "a double that fails should fail the test")]
#![expect(dead_code, reason = "each test file uses a part of this")]
#![expect(unreachable_pub, reason = "shared by test files, each of which is a crate")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use mainstay_core::effect::{LeaseDraft, LeaseRequest, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_kube::{Handles, LeaseAdapter, LeaseCall, LeaseName, Settings, Source, Timing};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);
const COLLECTION: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// What a front end does with requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Answers.
    Serve,
    /// Takes requests and never answers.
    Hang,
    /// Answers with this status and, if given, Retry-After.
    Status(u16, Option<u32>),
    /// Does what is asked and closes the connection instead of answering.
    LoseReply,
}

/// What all front ends share.
#[derive(Default)]
pub struct Store {
    version: u64,
    lease: Option<Value>,
    slices: Vec<Value>,
    /// What every request for EndpointSlices is answered with, if not with them.
    pub slices_refused: Option<u16>,
    /// Events by resource version.
    history: Vec<(u64, String)>,
    /// Watches from before this version get 410.
    pub compacted: u64,
    watchers: Vec<mpsc::Sender<String>>,
    muted: Vec<mpsc::Sender<String>>,
    /// The token that is accepted; any, while empty.
    pub token: String,
    /// How many connections came with a client certificate that we trust.
    pub client_certificates: usize,
    /// Method and path of each request, by front end.
    pub requests: Vec<(usize, String)>,
}

impl Store {
    /// Puts the lease in, as another client would.
    pub fn put(&mut self, mut object: Value) {
        self.version += 1;
        let kind = if self.lease.is_some() { "MODIFIED" } else { "ADDED" };
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.emit(&json!({"type": kind, "object": object}));
        self.lease = Some(object);
    }

    pub fn delete(&mut self) {
        self.version += 1;
        let mut object = self.lease.take().unwrap();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.emit(&json!({"type": "DELETED", "object": object}));
    }

    pub fn lease(&self) -> Value {
        self.lease.clone().unwrap_or_default()
    }

    /// Sends a raw event to all watchers, without a place in the history.
    pub fn emit_raw(&mut self, event: &Value) {
        self.watchers.retain(|watcher| watcher.try_send(format!("{event}\n")).is_ok());
    }

    pub fn watchers(&mut self) -> usize {
        self.watchers.retain(|watcher| !watcher.is_closed());
        self.watchers.len()
    }

    /// Ends all watches, as a server does after their time-out.
    pub fn drop_watches(&mut self) {
        self.watchers.clear();
    }

    /// Takes the watchers out, so that they stay open and hear nothing.
    pub fn mute(&mut self) -> Vec<mpsc::Sender<String>> {
        std::mem::take(&mut self.watchers)
    }

    /// Keeps muted watchers open.
    pub fn keep(&mut self, watchers: Vec<mpsc::Sender<String>>) {
        self.muted.extend(watchers);
    }

    pub fn slice(&mut self, slice: Value) {
        self.slices.push(slice);
    }

    /// How many requests so far contain all of these words.
    pub fn count(&self, words: &[&str]) -> usize {
        self.requests.iter().filter(|(_, line)| words.iter().all(|word| line.contains(word))).count()
    }

    /// How many lists of leases.
    pub fn lists(&self) -> usize {
        let listed = |line: &str| line.contains("/leases?fieldSelector") && !line.contains("watch=true");
        self.requests.iter().filter(|(_, line)| listed(line)).count()
    }

    fn emit(&mut self, event: &Value) {
        self.history.push((self.version, format!("{event}\n")));
        self.emit_raw(event);
    }

    fn write(&mut self, mut object: Value) -> Result<Value, u16> {
        let current = self.lease.as_ref();
        let given = object["metadata"]["resourceVersion"].clone();
        match current {
            Some(lease) if lease["metadata"]["resourceVersion"] != given => return Err(409),
            None if !given.is_null() => return Err(404),
            Some(lease) => object["metadata"]["uid"] = lease["metadata"]["uid"].clone(),
            None => object["metadata"]["uid"] = format!("uid-{}", self.version).into(),
        }
        self.put(object);
        Ok(self.lease())
    }
}

/// One front end.
pub struct Double {
    pub url: String,
    pub store: Arc<Mutex<Store>>,
    mode: Arc<Mutex<Mode>>,
    task: tokio::task::JoinHandle<()>,
    cut: CancellationToken,
    number: usize,
}

impl Double {
    pub async fn start() -> Self {
        Self::front(Arc::default(), 0).await
    }

    /// Another front end on the same store.
    pub async fn beside(&self) -> Self {
        Self::front(Arc::clone(&self.store), self.number + 1).await
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Refuses connections from now on, and breaks those that are open.
    pub fn stop(&self) {
        self.cut.cancel();
        self.task.abort();
    }

    async fn front(store: Arc<Mutex<Store>>, number: usize) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), store, number).await
    }

    /// A front end at an address that was in use before.
    pub async fn listen(address: SocketAddr, store: Arc<Mutex<Store>>, number: usize) -> Self {
        Self::listen_with(address, store, number, None).await
    }

    /// A front end of its own that speaks TLS.
    pub async fn secure(tls: TlsAcceptor) -> Self {
        Self::listen_with("127.0.0.1:0".parse().unwrap(), Arc::default(), 0, Some(tls)).await
    }

    async fn listen_with(
        address: SocketAddr,
        store: Arc<Mutex<Store>>,
        number: usize,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        // `SO_REUSEADDR`: connections of the old socket may still be in TIME_WAIT.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (mode, cut) = (Arc::new(Mutex::new(Mode::Serve)), CancellationToken::new());
        let accept = accept(
            listener,
            tls,
            Front { store: Arc::clone(&store), mode: Arc::clone(&mode), number },
            cut.clone(),
        );
        Self { url, store, mode, task: tokio::spawn(accept), cut, number }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address at which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[derive(Clone)]
struct Front {
    store: Arc<Mutex<Store>>,
    mode: Arc<Mutex<Mode>>,
    number: usize,
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, front: Front, cut: CancellationToken) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, front, cut) = (tls.clone(), front.clone(), cut.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return serve(stream, front, cut).await };
            // A client that does not trust us ends the handshake.
            if let Ok(stream) = tls.accept(stream).await {
                let known = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                front.store.lock().unwrap().client_certificates += usize::from(known);
                serve(stream, front, cut).await;
            }
        });
    }
}

async fn serve<S>(stream: S, front: Front, cut: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = hyper::service::service_fn(|request| {
        let mode = front.mode.lock().unwrap().clone();
        answer(Arc::clone(&front.store), mode, front.number, request)
    });
    let connection = hyper::server::conn::http1::Builder::new();
    tokio::select! {
        _ = connection.serve_connection(TokioIo::new(stream), service) => {}
        () = cut.cancelled() => {}
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    store: Arc<Mutex<Store>>,
    mode: Mode,
    number: usize,
    request: Request<Incoming>,
) -> Result<Answer, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request broke off")?.to_bytes();
    let answered = decide(&mut store.lock().unwrap(), &mode, number, &head, &body);
    match mode {
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
        Mode::Serve | Mode::LoseReply => route(store, &head.method, &head.uri, body),
    }
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

/// A lease held by `holder`.
pub fn lease(holder: &str) -> Value {
    json!({
        "metadata": {"name": "plndr-cp-lock", "namespace": "kube-system", "uid": "u-1", "labels": {"kept": "yes"}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 5, "leaseTransitions": 1},
    })
}

/// What node-b wants to write.
pub fn draft() -> LeaseDraft {
    LeaseDraft {
        holder: Some("node-b".to_owned()),
        duration_seconds: 5,
        acquire_time: Stamp::Now,
        renew_time: Stamp::Now,
        transitions: 2,
        annotations: BTreeMap::from([("mainstay.io/epoch".to_owned(), "2".to_owned())]),
    }
}

/// A kubeconfig in a directory of its own, removed at the end.
pub struct ConfigFile(pub PathBuf);

impl ConfigFile {
    /// A path at which there is no file yet.
    pub fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mainstay-kube-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory.join("config"))
    }

    pub fn write(&self, server: &str, token: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": token}}],
        });
        std::fs::write(&self.0, config.to_string()).unwrap();
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// A running adapter.
pub struct Rig {
    pub handles: Handles,
    pub config: ConfigFile,
    calls: mpsc::Sender<LeaseCall>,
    inputs: mpsc::Receiver<Input>,
    /// Reports that were passed over while waiting for another.
    pub reports: Vec<LeaseReport>,
    next: u64,
    cancel: CancellationToken,
}

/// Quick timing, so that tests are.
pub fn timing() -> Timing {
    Timing {
        watch_silence: Duration::from_secs(60),
        backoff_cap: Duration::from_millis(300),
        list_deadline: Duration::from_secs(2),
        ..Timing::for_retry_period(Duration::from_secs(1))
    }
}

impl Rig {
    pub fn start(server: &str, learned: &[&str]) -> Self {
        let config = ConfigFile::reserve();
        config.write(server, "t1");
        Self::with(config, learned, timing())
    }

    pub fn with(config: ConfigFile, learned: &[&str], timing: Timing) -> Self {
        let settings = Settings {
            source: Source::Kubeconfig(config.0.clone()),
            server: None,
            local: None,
            learned: learned.iter().map(|url| (*url).to_owned()).collect(),
            vips: Vec::new(),
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-cp-lock".to_owned() },
            annotations: [("example.com/team".to_owned(), "network".to_owned())].into(),
            timing,
        };
        let (adapter, handles) = LeaseAdapter::new(settings);
        let (calls, requests) = mpsc::channel(8);
        let (reports, inputs) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        tokio::spawn(adapter.run(requests, reports, cancel.clone()));
        Self { handles, config, calls, inputs, reports: Vec::new(), next: 0, cancel }
    }

    pub async fn send(&mut self, request: LeaseRequest, deadline: Duration) -> EffectId {
        self.next += 1;
        let id = EffectId(self.next);
        self.calls.send(LeaseCall { id, request, deadline }).await.unwrap();
        id
    }

    /// Asks and waits for the outcome.
    pub async fn ask(&mut self, request: LeaseRequest) -> LeaseOutcome {
        let id = self.send(request, Duration::from_secs(3)).await;
        self.outcome(id).await
    }

    pub async fn outcome(&mut self, wanted: EffectId) -> LeaseOutcome {
        loop {
            match self.input().await {
                Input::Outcome { id, outcome: Outcome::Lease(outcome) } if id == wanted => return outcome,
                Input::Lease(report) => self.reports.push(report),
                other => panic!("while waiting for {wanted:?}: {other:?}"),
            }
        }
    }

    /// Waits for a report that fits.
    pub async fn report(&mut self, what: &str, fits: impl Fn(&LeaseReport) -> bool) -> LeaseReport {
        let mut passed = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.inputs.recv()).await {
                Ok(Some(Input::Lease(report))) if fits(&report) => return report,
                Ok(Some(input)) => passed.push(input),
                _ => panic!("no report: {what}; but {passed:?}"),
            }
        }
    }

    /// Waits until the lease is seen to be held by `holder`.
    pub async fn observed(&mut self, holder: &str) -> LeaseRecord {
        let fits = |report: &LeaseReport| matches!(report, LeaseReport::Observed(record) if record.holder.as_deref() == Some(holder));
        match self.report(holder, fits).await {
            LeaseReport::Observed(record) => record,
            _ => unreachable!("only such reports fit"),
        }
    }

    async fn input(&mut self) -> Input {
        tokio::time::timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
