//! Follows the one Lease and says what it sees.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::input::LeaseReport;
use serde_json::Value;

use crate::adapter::Settings;
use crate::calls::Voice;
use crate::engine::{Observer, Plan};
use crate::lease::{Seen, record};

/// How long a watch is asked to live: as client-go's reflectors, 5 to 10 minutes.
pub(crate) const WATCH_FOR: Duration = Duration::from_secs(480);

/// Tells the core of the Lease.
pub(crate) struct LeaseObserver {
    pub(crate) name: String,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) voice: Voice,
}

impl LeaseObserver {
    fn is_ours(&self, object: &Value) -> bool {
        object["metadata"]["name"] == self.name.as_str()
    }
}

impl Observer for LeaseObserver {
    async fn listed(&mut self, items: Vec<Value>) {
        match items.into_iter().find(|object| self.is_ours(object)) {
            Some(object) => self.present(object).await,
            None => self.voice.say(LeaseReport::Absent).await,
        }
    }

    async fn present(&mut self, object: Value) {
        if self.is_ours(&object) {
            let record = record(&object);
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(&object);
            self.voice.say(LeaseReport::Observed(record)).await;
        }
    }

    async fn deleted(&mut self, object: Value) {
        if self.is_ours(&object) {
            self.voice.say(LeaseReport::Absent).await;
        }
    }

    async fn lost(&mut self) {
        self.voice.say(LeaseReport::WatchLost).await;
    }
}

/// How to follow the Lease.
pub(crate) fn plan(settings: &Settings) -> Plan {
    Plan {
        path: settings.lease.collection(),
        selector: format!("fieldSelector=metadata.name%3D{}", settings.lease.name),
        silence: Some(settings.timing.watch_silence),
        watch_for: WATCH_FOR,
        backoff_cap: settings.timing.backoff_cap,
        refusal_pause: None,
        pace: settings.timing.pace(settings.timing.list_deadline),
    }
}
