//! Deletion: preconditions, grace, finalizers, and what follows from it: objects of a namespace, and dependants.
//!
//! The collector of dependants and the namespace controller are processes of their own in a real cluster and take a
//! moment; here their work follows at once, in revisions of its own. [`Controllers::Absent`] leaves it undone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Mode, is_held, metadata, text};
use crate::apiserver::identity::{now_text, seconds_from_now};
use crate::apiserver::resource::{NAMESPACE, POD, Resource};
use crate::apiserver::status::ApiStatus;
use crate::apiserver::store::{Controllers, Key, Scan, State, Store, Target, check_scope, collection};

/// The finalizers of deletions that the collector has to end.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

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
    /// Nobody said: what a finalizer on it says, or else [`Propagation::Background`].
    #[default]
    Unsaid,
    /// They are deleted after it.
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

    /// Deletes everything the scan covers, by these options, and returns it as it was.
    pub fn delete_collection(&self, scan: &Scan, options: &DeleteOptions) -> Vec<Arc<Value>> {
        let mut state = self.lock();
        let chosen = |(key, object): &(&Key, &Arc<Value>)| scan.covers(key) && scan.selector.matches(object);
        let chosen = state.objects.iter().filter(chosen);
        let chosen: Vec<(Key, Arc<Value>)> =
            chosen.map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        for (key, _) in chosen.iter().filter(|_| options.mode == Mode::Real) {
            // What an earlier one took along is gone.
            if state.objects.contains_key(key) {
                self.delete_key(&mut state, key, scan.resource, options);
            }
        }
        chosen.into_iter().map(|(_, object)| object).collect()
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
        let next = doomed(resource, &current, options);
        // A pod wears its deletion before it goes, also when it goes at once.
        if is_held(&next) || std::ptr::eq(resource, POD) {
            let object = if next == *current { current } else { self.commit(state, key.clone(), Some(next)) };
            if is_held(&object) {
                self.control(state, key, &object);
                return Deleted::Pending(object);
            }
        }
        let last = self.commit(state, key.clone(), None);
        self.after_removal(state, &last);
        Deleted::Gone(last)
    }

    /// What controllers do about an object that is to go and is held.
    fn control(&self, state: &mut State, key: &Key, held: &Value) {
        if self.options.controllers == Controllers::Absent {
            return;
        }
        if key.collection == collection(NAMESPACE) {
            self.empty_namespace(state, &key.name);
            self.finish_namespace(state, &key.name);
        }
        let waits = |finalizer: &str| lists(held, finalizer);
        if waits(ORPHAN) {
            self.orphan(state, text(held, "uid"));
            self.release(state, key, ORPHAN);
        } else if waits(FOREGROUND) {
            self.collect(state, text(held, "uid"));
            self.finish_foreground(state, key);
        }
    }

    /// Takes a finalizer off an object, which goes if that was the last.
    fn release(&self, state: &mut State, key: &Key, finalizer: &str) {
        let Some(current) = state.objects.get(key).cloned() else { return };
        let mut next = (*current).clone();
        if let Some(Value::Array(finalizers)) = next["metadata"].get_mut("finalizers") {
            finalizers.retain(|one| one != finalizer);
        }
        if lists_nothing(&next["metadata"]["finalizers"]) {
            metadata(&mut next).remove("finalizers");
        }
        if is_held(&next) {
            self.commit(state, key.clone(), Some(next));
        } else {
            let last = self.commit(state, key.clone(), None);
            self.after_removal(state, &last);
        }
    }

    /// Once nothing that blocks it is left of what it owns, an object deleted in the foreground goes.
    fn finish_foreground(&self, state: &mut State, key: &Key) {
        let Some(current) = state.objects.get(key).cloned() else { return };
        let blocks = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let own = |owner: &&Value| owner["uid"] == current["metadata"]["uid"];
            owners.filter(own).any(|owner| owner["blockOwnerDeletion"] == true)
        };
        let waits = lists(&current, FOREGROUND) && current["metadata"].get("deletionTimestamp").is_some();
        if waits && !state.owned_by(text(&current, "uid")).iter().any(|(_, object)| blocks(object)) {
            self.release(state, key, FOREGROUND);
        }
    }

    /// What follows when an object is gone: its dependants go, and an owner or a namespace that waited for it.
    pub(super) fn after_removal(&self, state: &mut State, gone: &Value) {
        if self.options.controllers == Controllers::Absent {
            return;
        }
        self.collect(state, text(gone, "uid"));
        let owners = gone["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        for uid in owners.filter_map(|owner| owner["uid"].as_str()) {
            if let Some(key) = state.key_of(uid) {
                self.finish_foreground(state, &key);
            }
        }
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
        self.key_of(uid).is_some()
    }

    fn key_of(&self, uid: &str) -> Option<Key> {
        self.objects.iter().find(|(_, object)| object["metadata"]["uid"] == uid).map(|(key, _)| key.clone())
    }
}

impl Key {
    fn resource(&self) -> Option<&'static Resource> {
        crate::apiserver::RESOURCES.iter().find(|resource| collection(resource) == self.collection)
    }
}

fn lists(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

fn lists_nothing(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

/// The object as a deletion marks it: kubernetes `apiserver/pkg/registry/rest/delete.go`.
fn doomed(resource: &Resource, current: &Value, options: &DeleteOptions) -> Value {
    let mut next = current.clone();
    if next["metadata"].get("deletionTimestamp").is_none() {
        keep_for(&mut next, options.propagation);
        begin_deletion(resource, &mut next, grace(resource, current, options));
        return next;
    }
    // Of a deletion that is under way, the policy can change, and the grace become shorter.
    let left = current["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
    if left == 0 {
        keep_for(&mut next, options.propagation);
    }
    if let Some(shorter) = options.grace_seconds.filter(|asked| *asked < left) {
        let metadata = metadata(&mut next);
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(shorter));
        metadata.insert("deletionTimestamp".to_owned(), json!(seconds_from_now(shorter)));
    }
    next
}

/// The finalizers that a policy asks for; the background needs none.
fn keep_for(object: &mut Value, propagation: Propagation) {
    let wanted = match propagation {
        Propagation::Unsaid => return,
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|one| one != FOREGROUND && one != ORPHAN);
    finalizers.extend(wanted.map(|finalizer| json!(finalizer)));
    if finalizers.is_empty() {
        metadata(object).remove("finalizers");
    } else {
        object["metadata"]["finalizers"] = Value::Array(finalizers);
    }
}

/// Only a pod on a node has something to end; here nobody ends it but who deletes it again, with no grace.
fn grace(resource: &Resource, current: &Value, options: &DeleteOptions) -> u64 {
    let runs = std::ptr::eq(resource, POD)
        && current["spec"]["nodeName"].is_string()
        && !matches!(current["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let own = current["spec"]["terminationGracePeriodSeconds"].as_u64();
    if runs { options.grace_seconds.or(own).unwrap_or(30) } else { 0 }
}

fn begin_deletion(resource: &Resource, object: &mut Value, grace: u64) {
    let moment = if grace == 0 { now_text() } else { seconds_from_now(grace) };
    let metadata = metadata(object);
    metadata.insert("deletionTimestamp".to_owned(), json!(moment));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_u64) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    if std::ptr::eq(resource, NAMESPACE) {
        object["status"]["phase"] = json!("Terminating");
    } else {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    }
}

/// As `rest.BeforeDelete` words it, by the kind and not by the resource.
fn check_preconditions(target: &Target, current: &Value, wanted: &Preconditions) -> Result<(), ApiStatus> {
    let (uid, version) = (text(current, "uid"), text(current, "resourceVersion"));
    let conflict = |cause: &str| {
        let mut refusal = ApiStatus::conflict(target.resource, &target.name, cause);
        let (plural, kind) = (target.resource.qualified(), target.resource.qualified_kind());
        refusal.message = refusal.message.replacen(&plural, &kind, 1);
        refusal.details["kind"] = json!(target.resource.kind);
        Err(refusal)
    };
    if let Some(asked) = wanted.uid.as_deref().filter(|asked| *asked != uid) {
        return conflict(&format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        ));
    }
    match wanted.resource_version.as_deref() {
        Some(asked) if asked != version => conflict(&format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        )),
        _ => Ok(()),
    }
}
