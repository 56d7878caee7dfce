//! The one store behind every front end: objects, one growing revision, and the history that watches read.
//!
//! Its lock is never held across an await. A watch is a cursor into the history, so a slow watcher costs nothing and
//! one that falls behind what is kept gets 410, as with etcd's compaction.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use super::resource::{NAMESPACE, Resource, Scope};
use super::selector::Selector;
use super::stall::{Reads, Stall};
use super::status::ApiStatus;

#[cfg(test)]
mod tests;
mod write;

pub use write::{DeleteOptions, Deleted, Mode, Part, Preconditions, Propagation, Written};
pub(super) use write::{Validation, Writing};

/// How much the store keeps, and how its watches behave.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Changes kept for watches; older ones are compacted away.
    pub history: usize,
    /// How often a watch that allows bookmarks gets one.
    pub bookmark_every: Duration,
    /// How long a watch without `timeoutSeconds` lasts.
    pub watch_timeout: Duration,
    /// Who empties deleted namespaces and collects what deleted objects owned.
    pub controllers: Controllers,
}

/// Whether what controllers do about deletions is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// It is, at once.
    #[default]
    Running,
    /// It is not: an API server alone, without `kube-controller-manager`.
    Absent,
}

impl Default for StoreOptions {
    /// The real server's figures: a bookmark a minute, watches of half an hour; 4,096 changes.
    fn default() -> Self {
        Self {
            history: 4096,
            bookmark_every: Duration::from_secs(60),
            watch_timeout: Duration::from_secs(30 * 60),
            controllers: Controllers::Running,
        }
    }
}

/// Names one object: what a URL names.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub resource: &'static Resource,
    /// Empty for a cluster-scoped kind.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Target {
    /// The object `name` in `namespace` (empty for a cluster-scoped kind).
    pub fn new(resource: &'static Resource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Where the real server keeps the object in etcd, which its messages tell.
    fn storage_key(&self) -> String {
        let place = match self.resource.plural {
            "nodes" => "minions",
            "services" => "services/specs",
            "endpoints" => "services/endpoints",
            plural => plural,
        };
        let parts = ["/registry", place, &self.namespace, &self.name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    fn key(&self) -> Key {
        Key {
            collection: collection(self.resource),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// What a list or watch is about.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The kind.
    pub resource: &'static Resource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Which of them.
    pub selector: Selector,
}

impl Scan {
    /// Everything of a kind, in all namespaces.
    pub fn all(resource: &'static Resource) -> Self {
        Self { resource, namespace: None, selector: Selector::default() }
    }

    fn covers(&self, key: &Key) -> bool {
        key.collection == collection(self.resource)
            && self.namespace.as_ref().is_none_or(|one| *one == key.namespace)
    }
}

/// Which state a list wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Newest,
    /// Any that is not older than this revision.
    NotOlderThan(u64),
    /// This very revision.
    Exactly(u64),
}

/// A consistent list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The revision the list is of.
    pub revision: u64,
    /// The objects, ordered by namespace and name.
    pub items: Vec<Arc<Value>>,
}

/// What a watcher sees of one change, after its selector.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: &'static str,
    /// The object as the event shows it.
    pub object: Arc<Value>,
    /// When it was committed.
    pub at: Instant,
    /// The change's revision.
    pub revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    collection: (&'static str, &'static str),
    namespace: String,
    name: String,
}

fn collection(resource: &Resource) -> (&'static str, &'static str) {
    (resource.group, resource.plural)
}

/// One committed change.
#[derive(Clone, Debug)]
struct Change {
    revision: u64,
    key: Key,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// Changes up to this revision are forgotten.
    compacted: u64,
}

/// The shared store.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    pub(super) stall: watch::Sender<Stall>,
    account: Arc<Account>,
    options: StoreOptions,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(StoreOptions::default())
    }
}

impl Store {
    /// A store with the namespaces every cluster has.
    pub fn new(options: StoreOptions) -> Self {
        let store = Self {
            state: Mutex::new(State { revision: 1, ..State::default() }),
            revision: watch::Sender::new(1),
            stall: watch::Sender::new(Stall::default()),
            account: Arc::new(Account::default()),
            options,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let body = json!({ "metadata": { "name": name }, "status": { "phase": "Active" } });
            // A fresh store has no object that these four could clash with.
            drop(store.create(NAMESPACE, "", body));
        }
        store
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is applied whole, so a panic elsewhere leaves the state usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this store was set up.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// What all front ends together were asked.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Wakes at every commit.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Forgets the history, as etcd's compaction does: a watch or continued list from before now gets 410.
    pub fn compact(&self) {
        let mut state = self.lock();
        state.history.clear();
        state.compacted = state.revision;
    }

    /// Holds every write from now on until [`Store::release_writes`], as when etcd elects; reads by option.
    pub fn stall_writes(&self, reads: Reads) {
        self.stall.send_replace(Stall::until_released(reads));
    }

    /// Holds every write for this long.
    pub fn stall_writes_for(&self, length: Duration, reads: Reads) {
        self.stall.send_replace(Stall::until(Instant::now() + length, reads));
    }

    /// Lets writes go on.
    pub fn release_writes(&self) {
        self.stall.send_replace(Stall::default());
    }

    /// Reads one object.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub fn get(&self, target: &Target) -> Result<Arc<Value>, ApiStatus> {
        let found = self.lock().objects.get(&target.key()).cloned();
        found.ok_or_else(|| ApiStatus::not_found(target.resource, &target.name))
    }

    /// All objects of a kind now, in one namespace or (empty) wherever they are.
    pub(super) fn of_kind(&self, resource: &'static Resource, namespace: &str) -> Vec<Arc<Value>> {
        let first =
            Key { collection: collection(resource), namespace: namespace.to_owned(), name: String::new() };
        let state = self.lock();
        let members = state.objects.range(first..).take_while(|(key, _)| {
            key.collection == collection(resource) && (namespace.is_empty() || key.namespace == namespace)
        });
        members.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Lists objects.
    ///
    /// # Errors
    /// 410 when the revision is no longer kept, 504 when it does not exist yet.
    pub fn list(&self, scan: &Scan, at: At) -> Result<Listed, ApiStatus> {
        let state = self.lock();
        let revision = match at {
            At::Newest => state.revision,
            At::NotOlderThan(asked) | At::Exactly(asked) if asked > state.revision => {
                return Err(ApiStatus::too_large(asked, state.revision));
            }
            At::NotOlderThan(_) => state.revision,
            At::Exactly(asked) if asked < state.compacted => {
                return Err(ApiStatus::expired(asked, state.compacted));
            }
            At::Exactly(asked) => asked,
        };
        let items =
            state.objects_at(scan, revision).into_values().filter(|object| scan.selector.matches(object));
        Ok(Listed { revision, items: items.collect() })
    }

    /// What a watcher whose cursor is `after` sees next, and its new cursor.
    ///
    /// # Errors
    /// 410 when changes after `after` are already forgotten.
    pub fn changes(&self, scan: &Scan, after: u64) -> Result<(Vec<Seen>, u64), ApiStatus> {
        let state = self.lock();
        if after < state.compacted {
            return Err(ApiStatus::expired(after, state.compacted));
        }
        let first = state.history.partition_point(|change| change.revision <= after);
        let seen = state.history.range(first..).filter(|change| scan.covers(&change.key));
        Ok((seen.filter_map(|change| see(change, &scan.selector)).collect(), state.revision.max(after)))
    }
}

impl State {
    /// The objects of a kind as they were at `revision`: today's, with the later changes undone.
    fn objects_at(&self, scan: &Scan, revision: u64) -> BTreeMap<Key, Arc<Value>> {
        let covered = self.objects.iter().filter(|(key, _)| scan.covers(key));
        let mut objects: BTreeMap<_, _> =
            covered.map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        for change in self.history.iter().rev().take_while(|change| change.revision > revision) {
            if !scan.covers(&change.key) {
                continue;
            }
            match &change.before {
                Some(before) => drop(objects.insert(change.key.clone(), Arc::clone(before))),
                None => drop(objects.remove(&change.key)),
            }
        }
        objects
    }

    /// Whether an object may be created in its namespace.
    fn check_namespace(&self, target: &Target) -> Result<(), ApiStatus> {
        let name = &target.namespace;
        let found = self.objects.get(&Target::new(NAMESPACE, "", name).key());
        let namespace = found.ok_or_else(|| ApiStatus::not_found(NAMESPACE, name))?;
        if namespace["metadata"].get("deletionTimestamp").is_some() {
            let why =
                format!("unable to create new content in namespace {name} because it is being terminated");
            let message = format!("{} \"{}\" is forbidden: {why}", target.resource.qualified(), target.name);
            let mut refusal = ApiStatus::new(403, "Forbidden", message).about(target.resource, &target.name);
            refusal.details["causes"] = json!([{
                "reason": "NamespaceTerminating", "field": "metadata.namespace",
                "message": format!("namespace {name} is being terminated"),
            }]);
            return Err(refusal);
        }
        Ok(())
    }
}

/// A change through a selector: an object that comes to match is added, one that no longer does is deleted.
fn see(change: &Change, selector: &Selector) -> Option<Seen> {
    let before = change.before.as_ref().filter(|object| selector.matches(object));
    let after = change.after.as_ref().filter(|object| selector.matches(object));
    let (kind, object) = match (before, after) {
        (None, Some(after)) => ("ADDED", Arc::clone(after)),
        (Some(_), Some(after)) => ("MODIFIED", Arc::clone(after)),
        (Some(before), None) => ("DELETED", Arc::new(at_revision(before, change.revision))),
        (None, None) => return None,
    };
    Some(Seen { kind, object, at: change.at, revision: change.revision })
}

/// The object with another resource version: a DELETED event shows the last state under the deletion's revision.
fn at_revision(object: &Value, revision: u64) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = json!(revision.to_string());
    object
}

/// Refuses a namespace for a cluster-scoped kind and the other way round.
fn check_scope(resource: &Resource, namespace: &str) -> Result<(), ApiStatus> {
    match (resource.scope, namespace.is_empty()) {
        (Scope::Namespaced, true) | (Scope::Cluster, false) => Err(ApiStatus::no_such_path()),
        _ => Ok(()),
    }
}
