//! Follows a few objects for ever: a quorum list, then a watch from its resource version, whatever happens.
//!
//! ```text
//!            ┌──── all servers refuse, time out, err ────┐
//!            ▼                                           │
//!   (outage: lost, backoff) ──► list ──► watch ──────────┤
//!                                ▲         │ closed, broken: open again from the last version
//!                                └─────────┘ 410, or silent for too long
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mainstay_core::backoff::Backoff;
use mainstay_core::rng::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::access::Traffic;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::chance;
use crate::fleet::{Ask, Fleet, JSON, stream, whole};
use crate::race::Pace;
use crate::servers::Report;
use crate::watch_stream::{Lines, WatchEvent, version};

/// A watch that lived for this long did its work, even if nothing happened in it.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// A server that lets a watch live longer than asked for has forgotten it.
const OVERTIME: Duration = Duration::from_secs(30);
/// Backoff starts here.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// The wait for a silent watch doubles this often while lists keep proving that nothing had happened.
const PATIENCE: u32 = 3;

/// What to follow, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The collection's path.
    pub(crate) path: String,
    /// `fieldSelector=...` or `labelSelector=...`, percent-encoded.
    pub(crate) selector: String,
    /// A watch without any event for this long is checked by a list at another server. `None`: never.
    pub(crate) silence: Option<Duration>,
    /// How long a watch is asked to live.
    pub(crate) watch_for: Duration,
    /// The longest backoff.
    pub(crate) backoff_cap: Duration,
    /// Where following is a mere convenience: the wait after a refusal (403, or 404 from a server that is too old for
    /// the kind), which then does not count against the server.
    pub(crate) refusal_pause: Option<Duration>,
    /// The pace of lists and of opening watches.
    pub(crate) pace: Pace,
}

/// Who wants to know.
pub(crate) trait Observer: Send {
    /// All objects there are.
    fn listed(&mut self, items: Vec<Value>) -> impl Future<Output = ()> + Send;
    /// One was added or changed.
    fn present(&mut self, object: Value) -> impl Future<Output = ()> + Send;
    /// One was deleted; its last state.
    fn deleted(&mut self, object: Value) -> impl Future<Output = ()> + Send;
    /// No server lets us list or watch.
    fn lost(&mut self) -> impl Future<Output = ()> + Send;
}

/// Follows by a plan.
pub(crate) struct Engine<O> {
    fleet: Arc<Fleet>,
    plan: Plan,
    observer: O,
    backoff: Backoff,
    rng: Rng,
    /// The server whose watch was silent for too long, and what we knew then.
    suspect: Option<(String, BTreeMap<String, String>)>,
    /// Name and resource version of each object.
    known: BTreeMap<String, String>,
    /// Silences in a row that turned out to be the truth.
    quiet: u32,
}

/// How a watch ended.
enum End {
    /// By the server, or by the connection.
    Closed,
    /// With 410.
    Gone,
    /// It said nothing for too long.
    Silent,
}

/// Why there is no list or no watch.
struct Outage {
    cause: String,
    /// A wait of our own, on top of the backoff.
    pause: Duration,
    /// The server's Retry-After.
    throttled: Duration,
}

impl<O: Observer> Engine<O> {
    pub(crate) fn new(fleet: Arc<Fleet>, plan: Plan, observer: O) -> Self {
        let backoff = Backoff::new(BACKOFF_BASE, plan.backoff_cap);
        let (rng, known) = (chance::rng(), BTreeMap::new());
        Self { fleet, plan, observer, backoff, rng, suspect: None, known, quiet: 0 }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(version) => {
                    if let Err(outage) = self.follow(version).await {
                        self.outage(outage).await;
                    }
                }
                Err(outage) => self.outage(outage).await,
            }
        }
    }

    /// Lists, tells, and returns the list's resource version.
    async fn list(&mut self) -> Result<String, Outage> {
        let suspect = self.suspect.take();
        let mut ask = self.ask(format!("{}?{}", self.plan.path, self.plan.selector));
        ask.last = suspect.as_ref().map(|(url, _)| url.clone());
        let observer = &mut self.observer;
        let (ended, _) = self.fleet.race(&ask, whole, async || observer.lost().await).await;
        let Answer::Success(mut list) = ended.answer else { return Err(self.explain(ended.answer)) };
        let from = version(&list).to_owned();
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        self.known = items.iter().map(entry).collect();
        self.judge(suspect);
        self.observer.listed(items).await;
        Ok(from)
    }

    /// Whether the silent watch had kept something from us.
    fn judge(&mut self, suspect: Option<(String, BTreeMap<String, String>)>) {
        let Some((url, before)) = suspect else { return };
        if before == self.known {
            self.quiet = (self.quiet + 1).min(PATIENCE);
        } else {
            self.quiet = 0;
            self.fleet
                .report(&url, Report::Failed(Trouble::new(ErrorClass::Timeout, "its watch fell silent")));
        }
    }

    /// Watches from `version` on. Returns when a list is needed.
    async fn follow(&mut self, mut version: String) -> Result<(), Outage> {
        loop {
            let Some((url, response)) = self.open(&version).await? else {
                // The first 410 after something went well is followed by a list at once.
                self.pause().await;
                return Ok(());
            };
            let opened = Instant::now();
            let end = self.pump(response, &mut version).await;
            if opened.elapsed() >= LONG_ENOUGH {
                self.backoff.reset();
            }
            match end {
                End::Silent => {
                    self.suspect = Some((url, self.known.clone()));
                    return Ok(());
                }
                End::Gone => {
                    self.pause().await;
                    return Ok(());
                }
                End::Closed => self.pause().await,
            }
        }
    }

    /// Opens a watch; `None` when the version is too old.
    async fn open(&mut self, version: &str) -> Result<Option<(String, Response<Incoming>)>, Outage> {
        let (path, selector, seconds) = (&self.plan.path, &self.plan.selector, self.plan.watch_for.as_secs());
        let ask = self.ask(format!(
            "{path}?{selector}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}"
        ));
        let (observer, mut told) = (&mut self.observer, false);
        let unanswered = async || {
            observer.lost().await;
            told = true;
        };
        let (ended, order) = self.fleet.race(&ask, stream, unanswered).await;
        match (ended.answer, ended.by.and_then(|place| order.into_iter().nth(place))) {
            (Answer::Success(response), Some(url)) => {
                // Slow, but not lost: a list takes the word back. What the watch repeats of it is left out.
                if told {
                    self.list().await?;
                }
                Ok(Some((url, response)))
            }
            (Answer::Gone, _) => Ok(None),
            (answer, _) => Err(self.explain(answer)),
        }
    }

    /// Takes events in until the watch ends.
    async fn pump(&mut self, response: Response<Incoming>, version: &mut String) -> End {
        let (mut body, mut lines) = (response.into_body(), Lines::default());
        let give_up = Instant::now() + self.plan.watch_for + OVERTIME;
        loop {
            let silence = self.plan.silence.map(|silence| silence * 2_u32.pow(self.quiet));
            let longest = give_up.saturating_duration_since(Instant::now());
            let wait = silence.map_or(longest, |silence| silence.min(longest));
            match timeout(wait, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    for event in frame.data_ref().map(|chunk| lines.push(chunk)).unwrap_or_default() {
                        if let Some(end) = self.take(event, version).await {
                            return end;
                        }
                    }
                }
                Ok(Some(Err(_)) | None) => return End::Closed,
                Err(_) if wait == longest => return End::Closed,
                Err(_) => return End::Silent,
            }
        }
    }

    async fn take(&mut self, event: WatchEvent, at: &mut String) -> Option<End> {
        match event {
            WatchEvent::Present(object) => {
                version(&object).clone_into(at);
                let (name, version) = entry(&object);
                if !self.knows(&name, &version) {
                    self.known.insert(name, version);
                    self.observer.present(object).await;
                }
            }
            WatchEvent::Deleted(object) => {
                version(&object).clone_into(at);
                self.known.remove(&entry(&object).0);
                self.observer.deleted(object).await;
            }
            WatchEvent::Bookmark(version) => *at = version,
            WatchEvent::Gone => return Some(End::Gone),
            WatchEvent::Error(cause) => {
                tracing::debug!(path = self.plan.path, "the watch ended with an error: {cause}");
                return Some(End::Closed);
            }
        }
        self.quiet = 0;
        self.backoff.reset();
        None
    }

    /// Whether we have seen this version of the object, or a later one. Resource versions of one kind are numbers that
    /// grow (KEP-5504); ones that are not are never known.
    fn knows(&self, name: &str, version: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        let known = self.known.get(name).and_then(|known| number(known));
        known.zip(number(version)).is_some_and(|(known, version)| version <= known)
    }

    /// Waits before going on, unless the last thing we did went well.
    async fn pause(&mut self) {
        let first = self.backoff.failures() == 0;
        let wait = self.backoff.next(&mut self.rng);
        if !first {
            sleep(wait).await;
        }
    }

    async fn outage(&mut self, outage: Outage) {
        tracing::debug!(path = self.plan.path, "cannot follow: {}", outage.cause);
        self.observer.lost().await;
        self.backoff.retry_after(outage.throttled);
        sleep(self.backoff.next(&mut self.rng) + outage.pause).await;
        self.fleet.freshen().await;
    }

    fn explain<T>(&self, answer: Answer<T>) -> Outage {
        let (mut pause, mut throttled) = (Duration::ZERO, Duration::ZERO);
        match &answer {
            Answer::Throttled(wait) => throttled = wait.unwrap_or_default(),
            Answer::Forbidden(_) | Answer::Absent => pause = self.plan.refusal_pause.unwrap_or_default(),
            _ => {}
        }
        let cause = match &answer {
            Answer::Absent => "HTTP 404: the server does not know the kind".to_owned(),
            answer => answer
                .complaint()
                .map_or_else(|| "an answer without sense".to_owned(), |trouble| trouble.text),
        };
        Outage { cause, pause, throttled }
    }

    fn ask(&self, path: String) -> Ask {
        let (method, body, traffic) = (Method::GET, Bytes::new(), Traffic::Watch);
        let refusal_is_fault = self.plan.refusal_pause.is_none();
        let pace = self.plan.pace;
        Ask { method, path, body, content: JSON, traffic, pace, last: None, refusal_is_fault }
    }
}

fn entry(object: &Value) -> (String, String) {
    (object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), version(object).to_owned())
}
