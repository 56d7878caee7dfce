//! Writes what is decided about Services on them: addresses in their status, annotations; and Events about them.
//!
//! ```text
//!  Wanted (whole, latest wins) ──┐
//!                                ├─► due: what differs ─► queue, 8 under way at most ─► PATCH
//!  ObservedServices (the watch) ─┘                            └─ refused, slow, 429: rests, for itself
//! ```
//!
//! Nothing waits for it, and nothing depends on it: what is kept is a desired state, and a write is only what lacks of it.
//! A Service that says already what it shall say costs nothing; one that somebody changed is mended, ever more slowly if
//! they go on. A write names the Service by its uid: one that was made anew never gets what was meant for its predecessor. And
//! it names the version that was seen: of two that write at one moment, and of one that has not seen the other's, one is
//! refused (409), and looks at what is there by then.
//!
//! Both are merged in ([RFC 7386](https://www.rfc-editor.org/rfc/rfc7386)) with the field manager `mainstay`. Not applied on
//! the server's side: that would make a Service that is not there, and is refused whole by a server that does not know one
//! field of it (`ipMode` before 1.29); from a merge patch such a server leaves the field out.

mod desk;
mod due;
pub(crate) mod events;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mainstay_core::intent::{ObjectName, Port};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use desk::PublishStatus;

use crate::answer::{Answer, Trouble};
use crate::fleet::Fleet;
use crate::reflect::ObservedServices;
use desk::{Desk, Look};
use due::Write;

/// Writes under way at once.
const AT_ONCE: usize = 8;

/// All that Services shall say.
///
/// A Service that leaves both maps is cleaned of what was written on it here, as far as it still says so. One that is
/// served by another agent of ours belongs into `elsewhere`: what it says is left to that agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What we write.
    pub services: BTreeMap<ObjectName, Publication>,
    /// What another agent of ours writes.
    pub elsewhere: BTreeSet<ObjectName>,
}

/// What one Service shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Of the Service that is meant.
    pub uid: String,
    /// `status.loadBalancer.ingress`, in this order, each in mode VIP (KEP-1860).
    pub ingress: Vec<IpAddr>,
    /// The `ports` of each of them (KEP-1435), by which is told later which of the Service's ports are new.
    pub ports: BTreeSet<Port>,
    /// Annotations, of those that [`crate::Following`] names. Others are written once, for they are not seen. One that is
    /// not wanted any more goes when the Service leaves. Thousands of Services share them.
    pub annotations: Arc<BTreeMap<String, String>>,
}

/// Writes on Services by way of a lease adapter's API servers.
pub struct Publisher {
    fleet: Arc<Fleet>,
    observed: ObservedServices,
    wanted: watch::Receiver<Arc<Wanted>>,
    /// What is wanted as it was looked at last.
    now: Arc<Wanted>,
    desk: Desk,
    status: watch::Sender<PublishStatus>,
    /// The server that left a request without a good end: asked after the others.
    avoid: Option<String>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

/// A write that came to its end.
struct Landed {
    name: ObjectName,
    write: Write,
    answer: Answer<Value>,
    by: Option<String>,
}

impl Publisher {
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        observed: ObservedServices,
        wanted: watch::Receiver<Arc<Wanted>>,
    ) -> (Self, watch::Receiver<PublishStatus>) {
        let (status, seen) = watch::channel(PublishStatus::default());
        let (now, desk) = (Arc::default(), Desk::new(crate::chance::rng()));
        (Self { fleet, observed, wanted, now, desk, status, avoid: None }, seen)
    }

    /// Writes until cancelled, or until nobody says any more what is wanted; what is written then stays.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut flights = FuturesUnordered::new();
        self.observed.listen();
        self.adopt();
        loop {
            self.take_off(&mut flights);
            self.tell(flights.len());
            let next = self.desk.wake_at();
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.adopt(),
                    Err(_) => return,
                },
                names = self.observed.changed() => self.desk.look_at(names),
                Some(landed) = flights.next(), if !flights.is_empty() => self.land(landed),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.desk.wake(),
            }
        }
    }

    /// Takes in what is wanted now.
    fn adopt(&mut self) {
        let next = Arc::clone(&self.wanted.borrow_and_update());
        self.desk.adopt(&self.now, &next);
        self.now = next;
    }

    /// Sends what is due, as much as may be under way.
    fn take_off(&mut self, flights: &mut FuturesUnordered<BoxFuture<'static, Landed>>) {
        while flights.len() < AT_ONCE {
            match self.desk.next(&self.now, &self.observed) {
                Look::Write(name, write) => flights.push(self.flight(name, write)),
                Look::Nothing => return,
            }
        }
    }

    fn flight(&self, name: ObjectName, write: Write) -> BoxFuture<'static, Landed> {
        let fleet = Arc::clone(&self.fleet);
        let mut ask = request::ask(&name, &write);
        ask.last.clone_from(&self.avoid);
        Box::pin(async move {
            let (answer, by) = fleet.in_turn(&ask).await;
            Landed { name, write, answer, by }
        })
    }

    fn land(&mut self, landed: Landed) {
        let Landed { name, write, answer, by } = landed;
        if let Answer::Success(object) = &answer {
            // What the watch says of it comes later, and is the same.
            let seen = self.observed.read(object);
            self.desk.learn(&write, seen.as_ref());
            self.observed.note(&name, seen);
        }
        self.avoid = by.filter(|_| matches!(answer, Answer::Unknown(_)));
        self.desk.landed(&name, &write, &answer.without_payload().unwrap_or(Answer::Success(())));
    }

    fn tell(&self, under_way: usize) {
        let status = self.desk.status(self.now.services.len(), under_way);
        self.status.send_if_modified(|told| {
            let changed = *told != status;
            *told = status;
            changed
        });
    }
}

/// How trouble reads in the log, once for each kind of it.
fn remedy(trouble: &Trouble) -> &'static str {
    match trouble.class {
        crate::ErrorClass::Forbidden => {
            "; grant what manifests/rbac-services.yaml has, or set disable_service_updates=true"
        }
        _ => "; trying on",
    }
}

#[cfg(test)]
mod tests;
