//! What was asked: counters per verb and resource, and a log of writes, so that a test can say "no polling reads".

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Writes kept in the log; older ones are forgotten (the counters are not).
const LOG_LENGTH: usize = 100_000;

/// What a request does, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
}

impl Verb {
    /// Whether it changes the store.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// The verb as RBAC spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// What became of the reply to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was sent.
    Sent,
    /// The connection was dropped instead, by the lose-reply fault.
    Lost,
}

/// One write that was answered (or whose reply was lost).
#[derive(Clone, Debug)]
pub struct WriteRecord {
    /// When the write was done, monotonic.
    pub at: Instant,
    /// When, by the wall clock.
    pub wall: SystemTime,
    /// The front end that took it.
    pub front_end: String,
    /// Who, by `User-Agent`.
    pub who: String,
    /// Create, update, patch or delete.
    pub verb: Verb,
    /// The plural of the kind.
    pub resource: &'static str,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    /// Empty for a collection, and for a creation without a name.
    pub name: String,
    /// `spec.holderIdentity` of what was written (of a Lease).
    pub holder_identity: Option<String>,
    /// The HTTP code.
    pub code: u16,
    /// The object's resource version after a write that was done.
    pub resource_version: Option<u64>,
    /// Whether the client got the answer.
    pub reply: Reply,
}

/// What somebody asked to do, as an authorizer sees it. Empty text where the request names nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Who, as the API server knows them.
    pub user: String,
    /// As RBAC spells it.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The plural; with a slash and the subresource where there is one.
    pub resource: String,
    /// Empty for what is cluster-scoped.
    pub namespace: String,
    /// Empty for a creation, and for a collection that no field selector narrows to one object.
    pub name: String,
    /// Whether it was allowed.
    pub allowed: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    counts: BTreeMap<(Verb, &'static str), u64>,
    asked: BTreeSet<Asked>,
    writes: VecDeque<WriteRecord>,
}

/// Counters and log of one front end, or of the whole store.
#[derive(Debug, Default)]
pub struct Account {
    ledger: Mutex<Ledger>,
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_one(&self, verb: Verb, plural: &'static str) {
        *self.lock().counts.entry((verb, plural)).or_default() += 1;
    }

    pub(super) fn note_asked(&self, asked: Asked) {
        self.lock().asked.insert(asked);
    }

    /// Everything that anybody who proved who they are asked for, each once.
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.lock().asked.clone()
    }

    pub(super) fn record(&self, write: WriteRecord) {
        let mut ledger = self.lock();
        if ledger.writes.len() == LOG_LENGTH {
            ledger.writes.pop_front();
        }
        ledger.writes.push_back(write);
    }

    /// Requests of this verb for this resource (plural), counted as they arrive, whatever became of them.
    pub fn count(&self, verb: Verb, plural: &str) -> u64 {
        self.counts()
            .iter()
            .filter(|((one, name), _)| *one == verb && *name == plural)
            .map(|(_, count)| count)
            .sum()
    }

    /// All counters that are not zero.
    pub fn counts(&self) -> BTreeMap<(Verb, &'static str), u64> {
        self.lock().counts.clone()
    }

    /// Gets and lists of this resource: what polling would be made of. Watches do not count.
    pub fn reads(&self, plural: &str) -> u64 {
        self.count(Verb::Get, plural) + self.count(Verb::List, plural)
    }

    /// The log of writes, oldest first.
    pub fn writes(&self) -> Vec<WriteRecord> {
        self.lock().writes.iter().cloned().collect()
    }

    /// Writes done (2xx) to this resource in the last `window`, per second.
    pub fn writes_per_second(&self, plural: &str, window: Duration) -> f64 {
        let recent = |write: &&WriteRecord| {
            write.resource == plural && write.code < 300 && write.at.elapsed() <= window
        };
        let count = self.lock().writes.iter().filter(recent).count();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / window.as_secs_f64()
    }

    /// Starts again from nothing.
    pub fn reset(&self) {
        *self.lock() = Ledger::default();
    }
}
