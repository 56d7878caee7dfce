//! Events about Services, for `kubectl describe`: told if that costs nothing, and forgotten if it does.
//!
//! Core `v1` Events: every API server has them, `kubectl describe` finds them by the object that they are about, and one
//! rule on one resource allows them (`events`, `create`). kube-vip writes none and its role allows none, so that there is
//! no older rule to fit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use mainstay_core::intent::ObjectName;
use mainstay_core::rng::Rng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::request::{LIMIT, MANAGER, request};
use crate::answer::Answer;
use crate::chance;
use crate::fleet::{Fleet, JSON};
use crate::microtime::wall_text;

/// Events that wait. Policy when they are that many: the newest is dropped, and counted.
const WAITING: usize = 64;
/// At most one of a kind for each Service in this time; the others are counted in the next.
const ONE_EACH: Duration = Duration::from_secs(60);
/// Kinds of Events of Services that are remembered for that. Policy when they are that many: what comes is dropped.
const REMEMBERED: usize = 4096;
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
    events: mpsc::Sender<ServiceEvent>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl EventSink {
    /// Tells an Event, if there is room.
    pub fn tell(&self, event: ServiceEvent) {
        if self.events.try_send(event).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
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

/// Delivers Events by way of a lease adapter's API servers, one after the other.
pub struct EventWriter {
    fleet: Arc<Fleet>,
    node: String,
    events: mpsc::Receiver<ServiceEvent>,
    counts: Arc<Counts>,
    limiter: Limiter,
    rng: Rng,
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventWriter")
    }
}

impl EventWriter {
    pub(crate) fn new(fleet: Arc<Fleet>, node: &str) -> (EventSink, Self) {
        let (events, taken) = mpsc::channel(WAITING);
        let counts = Arc::<Counts>::default();
        let sink = EventSink { events, counts: Arc::clone(&counts) };
        let (limiter, rng) = (Limiter::default(), chance::rng());
        (sink, Self { fleet, node: node.to_owned(), events: taken, counts, limiter, rng })
    }

    /// Delivers until cancelled, or until nobody tells any more.
    pub async fn run(mut self, cancel: CancellationToken) {
        let deliver = async {
            while let Some(event) = self.events.recv().await {
                match self.limiter.passes(Instant::now(), &event) {
                    Passes::Now { count } => self.deliver(&event, count).await,
                    Passes::CountedInTheNext => {}
                    Passes::NoRoom => drop(self.counts.dropped.fetch_add(1, Ordering::Relaxed)),
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = deliver => {}
        }
    }

    async fn deliver(&mut self, event: &ServiceEvent, count: u32) {
        let namespace = event.service.namespace();
        let path = format!(
            "/api/v1/namespaces/{namespace}/events?fieldManager={MANAGER}&timeout={}s",
            LIMIT.as_secs()
        );
        let tag = self.rng.next_u64();
        let body = object(event, &self.node, (tag, count));
        let (answer, _) = self.fleet.in_turn(&request(Method::POST, path, &body, JSON)).await;
        let counter =
            if matches!(answer, Answer::Success(_)) { &self.counts.sent } else { &self.counts.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(trouble) = answer.complaint() {
            tracing::debug!(service = %event.service, "an Event is not delivered: {}", trouble.text);
        }
    }
}

/// The Event as an object.
fn object(event: &ServiceEvent, node: &str, (tag, count): (u64, u32)) -> Value {
    let (namespace, name) = (event.service.namespace(), event.service.name());
    let short: String = name.chars().take(LONGEST_NAME).collect();
    let message: String = event.note.chars().take(LONGEST).collect();
    let now = wall_text(std::time::Instant::now());
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
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": count,
    })
}

/// Whether an Event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    /// With how many like it.
    Now {
        count: u32,
    },
    CountedInTheNext,
    NoRoom,
}

/// Lets one of a kind pass for each Service and minute.
#[derive(Debug, Default)]
struct Limiter(BTreeMap<(ObjectName, &'static str), (Instant, u32)>);

impl Limiter {
    fn passes(&mut self, now: Instant, event: &ServiceEvent) -> Passes {
        let key = (event.service.clone(), event.reason);
        if let Some((told, counted)) = self.0.get_mut(&key) {
            if now.duration_since(*told) < ONE_EACH {
                *counted = counted.saturating_add(1);
                return Passes::CountedInTheNext;
            }
            let count = std::mem::take(counted).saturating_add(1);
            *told = now;
            return Passes::Now { count };
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (told, _)| now.duration_since(*told) < ONE_EACH);
        }
        if self.0.len() >= REMEMBERED {
            return Passes::NoRoom;
        }
        self.0.insert(key, (now, 0));
        Passes::Now { count: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, reason: &'static str) -> ServiceEvent {
        let service = format!("shop/{name}").parse().expect("a name");
        ServiceEvent { service, uid: "u".into(), kind: EventKind::Warning, reason, note: "x".repeat(2000) }
    }

    #[test]
    fn one_of_a_kind_passes_each_minute_and_counts_the_others() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let mut at = |seconds, name, reason| {
            limiter.passes(start + Duration::from_secs(seconds), &event(name, reason))
        };
        assert_eq!(at(0, "a", "Refused"), Passes::Now { count: 1 });
        assert_eq!(at(1, "a", "Refused"), Passes::CountedInTheNext);
        assert_eq!(at(1, "a", "Held"), Passes::Now { count: 1 });
        assert_eq!(at(1, "b", "Refused"), Passes::Now { count: 1 });
        assert_eq!(at(59, "a", "Refused"), Passes::CountedInTheNext);
        assert_eq!(at(60, "a", "Refused"), Passes::Now { count: 3 });
        assert_eq!(at(61, "a", "Refused"), Passes::CountedInTheNext);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_makes_room() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        for number in 0..REMEMBERED {
            let passes = limiter.passes(start, &event(&number.to_string(), "Refused"));
            assert_eq!(passes, Passes::Now { count: 1 });
        }
        assert_eq!(limiter.passes(start, &event("more", "Refused")), Passes::NoRoom);
        let later = start + ONE_EACH;
        assert_eq!(limiter.passes(later, &event("more", "Refused")), Passes::Now { count: 1 });
        assert_eq!(limiter.0.len(), 1);
    }

    #[test]
    fn an_event_names_its_service_and_fits() {
        let object = object(&event("a", "Refused"), "node-1", (7, 3));
        assert_eq!(object["metadata"]["name"], "a.0000000000000007");
        assert_eq!(object["involvedObject"]["uid"], "u");
        assert_eq!((&object["type"], &object["count"]), (&json!("Warning"), &json!(3)));
        assert_eq!(object["message"].as_str().map(str::len), Some(LONGEST));
    }
}
