//! Deletion: preconditions, grace, finalizers, and what follows from it: objects of a namespace, and dependants.
//!
//! The collector of dependants and the namespace controller are processes of their own in a real cluster and take a
//! moment; here their work is part of the deletion.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Mode, is_held, metadata, text, uid_conflict};
use crate::apiserver::identity::{now_text, seconds_from_now};
use crate::apiserver::resource::{NAMESPACE, POD, Resource};
use crate::apiserver::status::ApiStatus;
use crate::apiserver::store::{Key, Scan, State, Store, Target, check_scope, collection};

/// What must be true of the object for a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Its UID.
    pub uid: Option<String>,
    /// Its resource version.
    pub resource_version: Option<String>,
}

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay, and forget it.
    Orphan,
}

/// How an object is to be deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// What must be true of it.
    pub preconditions: Preconditions,
    /// What becomes of what it owns.
    pub propagation: Propagation,
    /// How long a pod's node has for its containers; the pod's own figure where it is not given.
    pub grace_seconds: Option<u64>,
    /// Whether it is kept.
    pub mode: Mode,
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Value>),
    /// Something holds it (a finalizer, a pod's grace), so it only wears a deletion timestamp now.
    Pending(Arc<Value>),
}

impl Store {
    /// Deletes an object.
    ///
    /// # Errors
    /// 404 when absent, 409 when a precondition does not hold.
    pub fn delete(&self, target: &Target, preconditions: &Preconditions) -> Result<Deleted, ApiStatus> {
        let options = DeleteOptions { preconditions: preconditions.clone(), ..DeleteOptions::default() };
        self.delete_with(target, &options)
    }

    /// Deletes an object, by these options.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn delete_with(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let mut state = self.lock();
        let found = state.objects.get(&target.key()).cloned();
        let current = found.ok_or_else(|| ApiStatus::not_found(target.resource, &target.name))?;
        check_preconditions(target, &current, &options.preconditions)?;
        if options.mode == Mode::DryRun {
            return Ok(Deleted::Gone(current));
        }
        Ok(self.delete_key(&mut state, &target.key(), target.resource, options))
    }

    /// Deletes everything the scan covers, and returns it.
    pub fn delete_collection(&self, scan: &Scan) -> Vec<Arc<Value>> {
        let mut state = self.lock();
        let chosen = |(key, object): &(&Key, &Arc<Value>)| scan.covers(key) && scan.selector.matches(object);
        let keys: Vec<Key> = state.objects.iter().filter(chosen).map(|(key, _)| key.clone()).collect();
        let options = DeleteOptions::default();
        let delete = |key: Key| match self.delete_key(&mut state, &key, scan.resource, &options) {
            Deleted::Gone(object) | Deleted::Pending(object) => object,
        };
        keys.into_iter().map(delete).collect()
    }

    /// Deletes one object that exists.
    fn delete_key(
        &self,
        state: &mut State,
        key: &Key,
        resource: &Resource,
        options: &DeleteOptions,
    ) -> Deleted {
        let current = state.objects.get(key).cloned().unwrap_or_default();
        let uid = text(&current, "uid").to_owned();
        match options.propagation {
            Propagation::Orphan => self.orphan(state, &uid),
            Propagation::Foreground => self.collect(state, &uid),
            Propagation::Background => {}
        }
        let next = doomed(resource, &current, options.grace_seconds);
        if is_held(&next) {
            let object = if next == *current { current } else { self.commit(state, key.clone(), Some(next)) };
            if std::ptr::eq(resource, NAMESPACE) {
                self.empty_namespace(state, &key.name);
                self.finish_namespace(state, &key.name);
            }
            return Deleted::Pending(object);
        }
        let last = self.commit(state, key.clone(), None);
        self.after_removal(state, &last);
        Deleted::Gone(last)
    }

    /// What follows when an object is gone: its dependants go, and a namespace that waited for it.
    pub(super) fn after_removal(&self, state: &mut State, gone: &Value) {
        self.collect(state, text(gone, "uid"));
        self.finish_namespace(state, text(gone, "namespace"));
    }

    /// What the namespace controller does: a deleted namespace takes its objects along.
    fn empty_namespace(&self, state: &mut State, namespace: &str) {
        let inside: Vec<Key> =
            state.objects.keys().filter(|key| key.namespace == namespace).cloned().collect();
        let at_once = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        for key in inside {
            let Some(resource) = key.resource() else { continue };
            self.delete_key(state, &key, resource, &at_once);
        }
    }

    /// Once a namespace that is being deleted is empty, its own finalizer goes, and then it.
    fn finish_namespace(&self, state: &mut State, namespace: &str) {
        let key = Target::new(NAMESPACE, "", namespace).key();
        let Some(current) = state.objects.get(&key).cloned() else { return };
        let waits = current["metadata"].get("deletionTimestamp").is_some();
        if !waits || state.objects.keys().any(|key| key.namespace == namespace) {
            return;
        }
        let mut next = (*current).clone();
        next["spec"] = json!({});
        if is_held(&next) {
            if next != *current {
                self.commit(state, key, Some(next));
            }
        } else {
            self.commit(state, key, None);
        }
    }

    /// Deletes what nobody but `uid` owns.
    fn collect(&self, state: &mut State, uid: &str) {
        for (key, _) in state.owned_by(uid) {
            let Some(object) = state.objects.get(&key).cloned() else { continue };
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let others =
                owners.iter().filter_map(|owner| owner["uid"].as_str()).filter(|other| *other != uid);
            let survives = others.into_iter().any(|other| state.lives(other));
            if let (false, Some(resource)) = (survives, key.resource()) {
                self.delete_key(state, &key, resource, &DeleteOptions::default());
            }
        }
    }

    /// Makes what `uid` owns forget it.
    fn orphan(&self, state: &mut State, uid: &str) {
        for (key, object) in state.owned_by(uid) {
            let mut next = (*object).clone();
            let left: Vec<Value> = next["metadata"]["ownerReferences"]
                .as_array()
                .map(|owners| owners.iter().filter(|owner| owner["uid"] != uid).cloned().collect())
                .unwrap_or_default();
            if left.is_empty() {
                metadata(&mut next).remove("ownerReferences");
            } else {
                next["metadata"]["ownerReferences"] = Value::Array(left);
            }
            self.commit(state, key, Some(next));
        }
    }
}

impl State {
    fn owned_by(&self, uid: &str) -> Vec<(Key, Arc<Value>)> {
        let owns = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
        };
        let owned = self.objects.iter().filter(|(_, object)| owns(object));
        owned.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    fn lives(&self, uid: &str) -> bool {
        self.objects.values().any(|object| object["metadata"]["uid"] == uid)
    }
}

impl Key {
    fn resource(&self) -> Option<&'static Resource> {
        crate::apiserver::RESOURCES.iter().find(|resource| collection(resource) == self.collection)
    }
}

/// The object as a deletion marks it.
fn doomed(resource: &Resource, current: &Value, grace_seconds: Option<u64>) -> Value {
    let mut next = current.clone();
    // Only a pod on a node has something to end; here nobody ends it but who deletes it again, with no grace.
    let scheduled = std::ptr::eq(resource, POD) && current["spec"]["nodeName"].is_string();
    let own = current["spec"]["terminationGracePeriodSeconds"].as_u64();
    let grace = if scheduled { grace_seconds.or(own).unwrap_or(30) } else { 0 };
    let metadata = metadata(&mut next);
    if metadata.contains_key("deletionTimestamp") {
        let given = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(0);
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace.min(given)));
        return next;
    }
    let moment = if grace == 0 { now_text() } else { seconds_from_now(grace) };
    metadata.insert("deletionTimestamp".to_owned(), json!(moment));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if std::ptr::eq(resource, NAMESPACE) {
        metadata.remove("deletionGracePeriodSeconds");
        next["status"]["phase"] = json!("Terminating");
    }
    next
}

fn check_preconditions(target: &Target, current: &Value, wanted: &Preconditions) -> Result<(), ApiStatus> {
    let (uid, version) = (text(current, "uid"), text(current, "resourceVersion"));
    if let Some(asked) = wanted.uid.as_deref().filter(|asked| *asked != uid) {
        return Err(uid_conflict(target, asked, uid));
    }
    match wanted.resource_version.as_deref() {
        Some(asked) if asked != version => {
            let cause = format!(
                "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
            );
            Err(ApiStatus::conflict(target.resource, &target.name, &cause))
        }
        _ => Ok(()),
    }
}
