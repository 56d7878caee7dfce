//! Events about Services, for `kubectl describe`: nothing waits for them, and an API server that is away for some minutes
//! costs none of the newest.
//!
//! ```text
//!  tell ─► limiter (one of a kind a minute, a few texts) ─► queue, 1,024 at most ─► POST, one at a time
//!                                                              └─ outage, 429, 5xx: again, up to five minutes
//! ```
//!
//! Core `v1` Events: every API server has them, `kubectl describe` finds them by the object that they are about, and one
//! rule on one resource allows them (`events`, `create`). kube-vip writes none and its role allows none, so that there is
//! no older rule to fit.

mod limiter;
mod queue;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use mainstay_core::backoff::Backoff;
use mainstay_core::intent::ObjectName;
use mainstay_core::rng::Rng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::request::{LIMIT, MANAGER, request};
use crate::answer::Answer;
use crate::chance;
use crate::fleet::{Ask, Fleet, JSON};
use crate::microtime::wall_text;
use queue::{Happening, Queue, Taken};

/// Between attempts, with full jitter: from this ...
const BACKOFF_BASE: Duration = Duration::from_millis(250);
/// ... to this.
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// An Event that could not be delivered for this long after it happened is dropped, and counted.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// The longest message; the API server takes 1,024 bytes.
const LONGEST: usize = 1000;
/// The longest name that a Service has, and an Event begins with.
const LONGEST_NAME: usize = 63;

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is as it should be.
    Normal,
    /// It is not.
    Warning,
}

/// Something that happened to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEvent {
    /// The Service.
    pub service: ObjectName,
    /// Its uid.
    pub uid: String,
    /// Whether somebody should look.
    pub kind: EventKind,
    /// What it is, in one word of CamelCase.
    pub reason: &'static str,
    /// What it is, for people.
    pub note: String,
}

/// Where Events are told. It never waits.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: Arc<Mutex<Queue>>,
    /// Wakes the writer; full is as good.
    bell: mpsc::Sender<()>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl EventSink {
    /// Tells an Event, as of now, if there is room.
    pub fn tell(&self, event: ServiceEvent) {
        let wall = wall_text(std::time::Instant::now());
        match lock(&self.queue).take(Instant::now(), wall, event) {
            Taken::Waits => drop(self.bell.try_send(())),
            Taken::CountedInTheNext => {}
            Taken::NoRoom => drop(self.counts.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Events that were delivered.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Events that could not be delivered, or for which there was no room. Those that the next one counts are none of them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

/// Delivers Events by way of a lease adapter's API servers, one after the other, in the order in which they happened.
pub struct EventWriter {
    fleet: Arc<Fleet>,
    courier: Courier,
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventWriter")
    }
}

impl EventWriter {
    pub(crate) fn new(fleet: Arc<Fleet>, node: &str) -> (EventSink, Self) {
        let (sink, courier) = Courier::new(node, chance::rng());
        (sink, Self { fleet, courier })
    }

    /// Delivers until cancelled, or until nobody tells any more and nothing waits.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.courier.deliver_all(&self.fleet) => {}
        }
    }
}

/// Who takes an Event to the API; a test has one of its own.
trait Post {
    /// The answer, and who gave it.
    async fn post(&self, ask: &Ask) -> (Answer<Value>, Option<String>);
}

impl Post for Arc<Fleet> {
    async fn post(&self, ask: &Ask) -> (Answer<Value>, Option<String>) {
        self.in_turn(ask).await
    }
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Delivered,
    /// It will never be.
    Dropped,
    /// Not yet; the server asks for this long a pause, if for any.
    Again(Duration),
}

/// Delivers what waits, one at a time.
struct Courier {
    node: String,
    queue: Arc<Mutex<Queue>>,
    bell: mpsc::Receiver<()>,
    counts: Arc<Counts>,
    backoff: Backoff,
    rng: Rng,
    /// The server that left a request without a good end: asked after the others.
    avoid: Option<String>,
}

impl Courier {
    fn new(node: &str, mut rng: Rng) -> (EventSink, Self) {
        let (bell, rung) = mpsc::channel(1);
        let counts = Arc::<Counts>::default();
        let queue = Arc::new(Mutex::new(Queue::new(Rng::new(rng.next_u64()))));
        let sink = EventSink { queue: Arc::clone(&queue), bell, counts: Arc::clone(&counts) };
        let backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        (sink, Self { node: node.to_owned(), queue, bell: rung, counts, backoff, rng, avoid: None })
    }

    async fn deliver_all(&mut self, post: &impl Post) {
        loop {
            let first = lock(&self.queue).first();
            match first {
                Some(happening) if happening.since.elapsed() >= KEPT => self.end(Attempt::Dropped),
                Some(happening) => self.attempt(&happening, post).await,
                None if self.bell.recv().await.is_some() => {}
                None => return,
            }
        }
    }

    async fn attempt(&mut self, happening: &Happening, post: &impl Post) {
        let mut ask = ask(happening, &self.node);
        ask.last.clone_from(&self.avoid);
        let (answer, by) = post.post(&ask).await;
        if let Some(trouble) = answer.complaint() {
            tracing::debug!(service = %happening.event.service, "an Event is not delivered: {}", trouble.text);
        }
        self.avoid = by.filter(|_| matches!(answer, Answer::Unknown(_)));
        match outcome(&answer, happening.attempts) {
            Attempt::Again(pause) => {
                lock(&self.queue).attempted();
                self.backoff.retry_after(pause);
                sleep(self.backoff.next(&mut self.rng)).await;
            }
            end => {
                self.backoff.reset();
                self.end(end);
            }
        }
    }

    /// The first has come to its end.
    fn end(&self, end: Attempt) {
        lock(&self.queue).pop();
        let counter = if end == Attempt::Delivered { &self.counts.sent } else { &self.counts.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the answer means for an Event that was sent that often before.
fn outcome(answer: &Answer<Value>, attempts: u32) -> Attempt {
    match answer {
        Answer::Success(_) => Attempt::Delivered,
        // One of this name is there: ours, for no other draws the same.
        Answer::Conflict if attempts > 0 => Attempt::Delivered,
        // Not allowed, not valid, or its namespace is gone: another time it is the same.
        Answer::Conflict | Answer::Forbidden(_) | Answer::Absent | Answer::Gone => Attempt::Dropped,
        Answer::Throttled(pause) => Attempt::Again(pause.unwrap_or_default()),
        Answer::Refused(_) | Answer::Unknown(_) => Attempt::Again(Duration::ZERO),
    }
}

fn ask(happening: &Happening, node: &str) -> Ask {
    let namespace = happening.event.service.namespace();
    let query = format!("fieldManager={MANAGER}&timeout={}s", LIMIT.as_secs());
    let path = format!("/api/v1/namespaces/{namespace}/events?{query}");
    request(Method::POST, path, &object(happening, node), JSON)
}

/// The Event as an object. Its name and its times are those of the happening, however often it is sent.
fn object(happening: &Happening, node: &str) -> Value {
    let Happening { event, tag, wall, count, .. } = happening;
    let (namespace, name) = (event.service.namespace(), event.service.name());
    let short: String = name.chars().take(LONGEST_NAME).collect();
    let message: String = event.note.chars().take(LONGEST).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{short}.{tag:016x}")},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": name, "uid": event.uid,
        },
        "type": if event.kind == EventKind::Normal { "Normal" } else { "Warning" },
        "reason": event.reason,
        "message": message,
        "source": {"component": MANAGER, "host": node},
        "firstTimestamp": wall,
        "lastTimestamp": wall,
        "count": count,
    })
}

#[cfg(test)]
mod tests;
