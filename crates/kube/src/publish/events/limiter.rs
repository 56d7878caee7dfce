//! How often a Service is told of: one Event of a kind a minute, and a few more where their words differ. Pure.
//!
//! What did not pass is counted in the next of its kind that does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use mainstay_core::intent::ObjectName;
use tokio::time::Instant;

use super::ServiceEvent;

/// The same words about one Service pass once in this time.
pub(super) const ONE_EACH: Duration = Duration::from_secs(60);
/// Other words than the last pass at once, up to that many of a kind in a minute.
pub(super) const TEXTS: u32 = 5;
/// Kinds of Events of Services that are remembered for that. Policy when they are that many: what comes is dropped.
pub(super) const REMEMBERED: usize = 4096;

/// Whether an Event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    /// With how many of its kind.
    Now {
        count: u32,
    },
    CountedInTheNext,
    NoRoom,
}

/// What has last been told of one kind about one Service.
#[derive(Debug)]
struct Last {
    text: u64,
    at: Instant,
    /// When the minute began in which `told` are counted.
    minute: Instant,
    told: u32,
    /// Those that did not pass since.
    counted: u32,
}

impl Last {
    fn passes(&mut self, now: Instant, text: u64) -> Passes {
        if now.duration_since(self.minute) >= ONE_EACH {
            (self.minute, self.told) = (now, 0);
        }
        let is_news =
            if self.text == text { now.duration_since(self.at) >= ONE_EACH } else { self.told < TEXTS };
        if !is_news {
            self.counted = self.counted.saturating_add(1);
            return Passes::CountedInTheNext;
        }
        (self.text, self.at, self.told) = (text, now, self.told + 1);
        Passes::Now { count: std::mem::take(&mut self.counted).saturating_add(1) }
    }
}

/// Lets pass what is news.
#[derive(Debug, Default)]
pub(super) struct Limiter(BTreeMap<(ObjectName, &'static str), Last>);

impl Limiter {
    pub(super) fn passes(&mut self, now: Instant, event: &ServiceEvent) -> Passes {
        let (key, text) = ((event.service.clone(), event.reason), fingerprint(&event.note));
        if let Some(last) = self.0.get_mut(&key) {
            return last.passes(now, text);
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, last| now.duration_since(last.at) < ONE_EACH);
        }
        if self.0.len() >= REMEMBERED {
            return Passes::NoRoom;
        }
        self.0.insert(key, Last { text, at: now, minute: now, told: 1, counted: 0 });
        Passes::Now { count: 1 }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.0.len()
    }
}

/// Words are compared and not kept: two that differ have the same one time in 2^64.
fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
