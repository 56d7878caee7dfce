//! The Lease as the API server keeps it: uid, resource version, compare-and-swap.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mainstay_core::check::LeaseView;
use mainstay_core::effect::{LeaseDraft, LeaseRequest, Stamp};
use mainstay_core::input::{LeaseOutcome, LeaseRecord};

/// One object's store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    record: Option<Arc<LeaseRecord>>,
    version: u64,
    objects: u64,
    /// How often somebody other than an agent changed the object's history.
    pub(crate) resets: u32,
    /// The last record of each earlier epoch of this object, the latest last.
    earlier: Vec<Arc<LeaseRecord>>,
}

/// What is kept, but for the counter of versions: whoever hashes it sees versions relative to that.
impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { record, version: _, objects, resets, earlier } = self;
        (record, objects, resets, earlier).hash(state);
    }
}

impl Store {
    /// A store whose first resource version follows `version`.
    pub(crate) fn starting_after(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// The last resource version that was given.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn record(&self) -> Option<&Arc<LeaseRecord>> {
        self.record.as_ref()
    }

    /// Brings what is seen of the object up to date.
    pub(crate) fn show(&self, view: &mut Option<LeaseView>) {
        let resets = self.resets;
        match (&self.record, view) {
            (Some(record), Some(view)) if view.uid == record.uid => {
                view.epoch = record.transitions;
                view.resets = resets;
            }
            (Some(record), view) => {
                *view = Some(LeaseView { uid: record.uid.clone(), epoch: record.transitions, resets });
            }
            (None, view) => *view = None,
        }
    }

    /// Carries out a request; `wall` is the text of the writer's present.
    pub(crate) fn perform(&mut self, request: &LeaseRequest, wall: &str) -> LeaseOutcome {
        match (request, self.record.clone()) {
            (LeaseRequest::Read, Some(record)) => LeaseOutcome::Record((*record).clone()),
            (LeaseRequest::Read | LeaseRequest::Update { .. }, None) => LeaseOutcome::Absent,
            (LeaseRequest::Create(_), Some(_)) => LeaseOutcome::Conflict,
            (LeaseRequest::Create(draft), None) => {
                self.objects += 1;
                let uid = format!("uid-{}", self.objects);
                self.write(uid, draft, wall)
            }
            (LeaseRequest::Update { resource_version, draft }, Some(record)) => {
                if record.resource_version != *resource_version {
                    return LeaseOutcome::Conflict;
                }
                if record.transitions != draft.transitions {
                    self.earlier.push(record.clone());
                }
                self.write(record.uid.clone(), draft, wall)
            }
        }
    }

    fn write(&mut self, uid: String, draft: &LeaseDraft, wall: &str) -> LeaseOutcome {
        let stamp = |stamp: &Stamp| match stamp {
            Stamp::Now => wall.to_owned(),
            Stamp::Keep(text) => text.clone(),
        };
        self.version += 1;
        let record = LeaseRecord {
            uid,
            resource_version: self.version.to_string(),
            holder: draft.holder.clone().filter(|holder| !holder.is_empty()),
            duration_seconds: draft.duration_seconds,
            acquire_time: stamp(&draft.acquire_time),
            renew_time: stamp(&draft.renew_time),
            transitions: draft.transitions,
            annotations: draft.annotations.clone(),
        };
        self.record = Some(Arc::new(record.clone()));
        LeaseOutcome::Record(record)
    }

    /// Somebody deletes the object.
    pub(crate) fn delete(&mut self) {
        self.record = None;
        self.earlier.clear();
        self.resets += 1;
    }

    /// Somebody restores the object as it was in the epoch before.
    pub(crate) fn set_back(&mut self) {
        let Some(before) = self.earlier.pop() else { return };
        self.version += 1;
        self.resets += 1;
        let record = LeaseRecord { resource_version: self.version.to_string(), ..(*before).clone() };
        self.record = Some(Arc::new(record));
    }

    /// Somebody writes the object as it pleases them (another elector).
    pub(crate) fn put(&mut self, record: LeaseRecord) {
        self.version += 1;
        let uid = self.record.as_ref().map_or_else(|| "uid-foreign".to_owned(), |was| was.uid.clone());
        let resource_version = self.version.to_string();
        self.record = Some(Arc::new(LeaseRecord { uid, resource_version, ..record }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn draft(holder: &str, transitions: u32) -> LeaseDraft {
        LeaseDraft {
            holder: Some(holder.to_owned()),
            duration_seconds: 5,
            acquire_time: Stamp::Keep("then".to_owned()),
            renew_time: Stamp::Now,
            transitions,
            annotations: BTreeMap::new(),
        }
    }

    fn record(outcome: LeaseOutcome) -> LeaseRecord {
        match outcome {
            LeaseOutcome::Record(record) => record,
            other => panic!("expected a record, got {other:?}"),
        }
    }

    #[test]
    fn a_write_needs_the_present_version() {
        let mut store = Store::default();
        assert_eq!(store.perform(&LeaseRequest::Read, "t0"), LeaseOutcome::Absent);
        let first = record(store.perform(&LeaseRequest::Create(draft("a", 0)), "t1"));
        assert_eq!(first.renew_time, "t1");
        assert_eq!(first.acquire_time, "then");
        assert_eq!(store.perform(&LeaseRequest::Create(draft("b", 0)), "t2"), LeaseOutcome::Conflict);
        let update = |version: &str| LeaseRequest::Update {
            resource_version: version.to_owned(),
            draft: draft("b", 1),
        };
        let second = record(store.perform(&update(&first.resource_version), "t3"));
        assert_eq!((second.uid.clone(), second.transitions), (first.uid, 1));
        assert_eq!(store.perform(&update(&first.resource_version), "t4"), LeaseOutcome::Conflict);
    }

    #[test]
    fn a_deleted_object_comes_back_with_another_uid() {
        let mut store = Store::default();
        let first = record(store.perform(&LeaseRequest::Create(draft("a", 0)), "t1"));
        store.delete();
        let update =
            LeaseRequest::Update { resource_version: first.resource_version.clone(), draft: draft("a", 0) };
        assert_eq!(store.perform(&update, "t2"), LeaseOutcome::Absent);
        let second = record(store.perform(&LeaseRequest::Create(draft("a", 0)), "t3"));
        assert_ne!(first.uid, second.uid);
    }

    #[test]
    fn set_back_restores_the_epoch_before() {
        let mut store = Store::default();
        let first = record(store.perform(&LeaseRequest::Create(draft("a", 0)), "t1"));
        let update = LeaseRequest::Update { resource_version: first.resource_version, draft: draft("b", 1) };
        record(store.perform(&update, "t2"));
        store.set_back();
        let now = store.record().expect("the object is there");
        assert_eq!((now.holder.as_deref(), now.transitions), (Some("a"), 0));
    }
}
