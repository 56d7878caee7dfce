//! Writes: create, update, patch and delete under optimistic concurrency.
//!
//! The order of checks is that of kubernetes `registry/generic/registry/store.go`: existence, UID, resource version,
//! then validity; a write that changes nothing is answered without a new revision.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Change, Key, Scan, State, Store, Target, check_scope};
use crate::apiserver::identity::{now_text, random_suffix, unique_id};
use crate::apiserver::patch::Patch;
use crate::apiserver::resource::{NAMESPACE, Resource, Scope};
use crate::apiserver::status::ApiStatus;
use crate::apiserver::validate;

/// Which part of an object an update is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but `status`, where the kind has that subresource.
    Main,
    /// `status` alone.
    Status,
}

/// The object a write left behind.
#[derive(Clone, Debug)]
pub struct Written {
    /// As stored.
    pub object: Arc<Value>,
    /// It did not exist before.
    pub created: bool,
}

/// What must be true of the object for a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Its UID.
    pub uid: Option<String>,
    /// Its resource version.
    pub resource_version: Option<String>,
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Value>),
    /// It has finalizers, so it only wears a deletion timestamp now.
    Pending(Arc<Value>),
}

impl Store {
    /// Creates an object; the name may be generated.
    ///
    /// # Errors
    /// 400 or 422 for a bad object, 404 for an absent namespace, 409 when it exists.
    pub fn create(
        &self,
        resource: &'static Resource,
        namespace: &str,
        body: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        check_scope(resource, namespace)?;
        let mut object = validate::decode(resource, namespace, body)?;
        if object["metadata"].get("resourceVersion").is_some_and(|version| version != "") {
            return Err(ApiStatus::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        name_it(&mut object);
        let name = text(&object, "name").to_owned();
        let target = Target::new(resource, namespace, &name);
        let mut state = self.lock();
        if resource.scope == Scope::Namespaced && !state.namespace_exists(namespace) {
            return Err(ApiStatus::not_found(NAMESPACE, namespace));
        }
        if state.objects.contains_key(&target.key()) {
            return Err(ApiStatus::already_exists(resource, &name));
        }
        begin(resource, &mut object);
        validate::check(resource, &object)?;
        Ok(self.commit(&mut state, target.key(), Some(object)))
    }

    /// Replaces an object (HTTP PUT).
    ///
    /// # Errors
    /// 404 when absent (for kinds a PUT does not create), 409 on a stale resource version or another UID, 400 or 422
    /// for a bad object.
    pub fn update(&self, target: &Target, body: Value, part: Part) -> Result<Written, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let body = validate::decode(target.resource, &target.namespace, body)?;
        validate::same_name(target, &body)?;
        let mut state = self.lock();
        let Some(current) = state.objects.get(&target.key()).cloned() else {
            drop(state);
            return self.create_by_update(target, body);
        };
        check_version(target, &current, &body)?;
        let next = merge_update(target.resource, &current, body, part);
        self.replace(&mut state, target, &current, next)
    }

    /// A PUT of an absent object: a creation where the kind allows it, and never when the caller knew another.
    fn create_by_update(&self, target: &Target, mut body: Value) -> Result<Written, ApiStatus> {
        if !target.resource.create_on_update {
            return Err(ApiStatus::not_found(target.resource, &target.name));
        }
        let uid = text(&body, "uid").to_owned();
        if !uid.is_empty() {
            return Err(uid_conflict(target, &uid, ""));
        }
        metadata(&mut body).remove("resourceVersion");
        let object = self.create(target.resource, &target.namespace, body)?;
        Ok(Written { object, created: true })
    }

    /// Patches an object. Without a resource version in the patch it applies to whatever is there.
    ///
    /// # Errors
    /// As [`Store::update`], and 422 for a patch that cannot be applied.
    pub fn patch(&self, target: &Target, patch: &Patch, part: Part) -> Result<Written, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let mut state = self.lock();
        let found = state.objects.get(&target.key()).cloned();
        let current = found.ok_or_else(|| ApiStatus::not_found(target.resource, &target.name))?;
        let patched = validate::decode(target.resource, &target.namespace, patch.apply(&current)?)?;
        validate::same_name(target, &patched)?;
        check_version(target, &current, &patched)?;
        let next = merge_update(target.resource, &current, patched, part);
        self.replace(&mut state, target, &current, next)
    }

    fn replace(
        &self,
        state: &mut State,
        target: &Target,
        old: &Arc<Value>,
        next: Value,
    ) -> Result<Written, ApiStatus> {
        validate::check(target.resource, &next)?;
        if next == **old {
            return Ok(Written { object: Arc::clone(old), created: false });
        }
        let gone = next["metadata"].get("deletionTimestamp").is_some() && !has_finalizers(&next);
        let object = if gone {
            self.commit(state, target.key(), None);
            Arc::new(next)
        } else {
            self.commit(state, target.key(), Some(next))
        };
        Ok(Written { object, created: false })
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// 404 when absent, 409 when a precondition does not hold.
    pub fn delete(&self, target: &Target, preconditions: &Preconditions) -> Result<Deleted, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let mut state = self.lock();
        let found = state.objects.get(&target.key()).cloned();
        let current = found.ok_or_else(|| ApiStatus::not_found(target.resource, &target.name))?;
        check_preconditions(target, &current, preconditions)?;
        if has_finalizers(&current) {
            let mut next = (*current).clone();
            metadata(&mut next).entry("deletionTimestamp").or_insert_with(|| json!(now_text()));
            let object =
                if next == *current { current } else { self.commit(&mut state, target.key(), Some(next)) };
            return Ok(Deleted::Pending(object));
        }
        let last = self.commit(&mut state, target.key(), None);
        if std::ptr::eq(target.resource, NAMESPACE) {
            self.empty_namespace(&mut state, &target.name);
        }
        Ok(Deleted::Gone(last))
    }

    /// Deletes everything the scan covers, and returns it.
    pub fn delete_collection(&self, scan: &Scan) -> Vec<Arc<Value>> {
        let mut state = self.lock();
        let chosen = |(key, object): &(&Key, &Arc<Value>)| scan.covers(key) && scan.selector.matches(object);
        let keys: Vec<Key> = state.objects.iter().filter(chosen).map(|(key, _)| key.clone()).collect();
        keys.into_iter().map(|key| self.commit(&mut state, key, None)).collect()
    }

    /// What the namespace controller does: a deleted namespace takes its objects along.
    fn empty_namespace(&self, state: &mut State, namespace: &str) {
        let inside =
            state.objects.keys().filter(|key| key.namespace == namespace).cloned().collect::<Vec<_>>();
        for key in inside {
            self.commit(state, key, None);
        }
    }

    /// The only place that changes the state: a new revision, the history, the objects, and the wake-up.
    /// Returns the object as stored, or its last state when it was removed.
    fn commit(&self, state: &mut State, key: Key, next: Option<Value>) -> Arc<Value> {
        state.revision += 1;
        let revision = state.revision;
        let after = next.map(|object| Arc::new(super::at_revision(&object, revision)));
        let before = match &after {
            Some(after) => state.objects.insert(key.clone(), Arc::clone(after)),
            None => state.objects.remove(&key),
        };
        let shown = after.clone().or_else(|| before.clone()).unwrap_or_default();
        state.history.push_back(Change { revision, key, before, after, at: Instant::now() });
        while state.history.len() > self.options.history {
            state.compacted = state.history.pop_front().map_or(state.compacted, |oldest| oldest.revision);
        }
        self.revision.send_replace(revision);
        shown
    }
}

/// Fills in a generated name: the prefix and five letters, as the real server's name generator does.
fn name_it(object: &mut Value) {
    let metadata = metadata(object);
    let unnamed = metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty);
    let prefix = metadata.get("generateName").and_then(Value::as_str).filter(|prefix| !prefix.is_empty());
    if let (true, Some(prefix)) = (unnamed, prefix) {
        let name = format!("{prefix}{}", random_suffix());
        metadata.insert("name".to_owned(), json!(name));
    }
}

/// Gives a new object what the server gives it.
fn begin(resource: &Resource, object: &mut Value) {
    let metadata = metadata(object);
    for field in ["resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), json!(unique_id()));
    metadata.insert("creationTimestamp".to_owned(), json!(now_text()));
    if resource.has_generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
}

/// The object an update makes: the server's own metadata kept, only the addressed part taken.
fn merge_update(resource: &Resource, current: &Value, mut next: Value, part: Part) -> Value {
    if resource.has_status {
        if part == Part::Status {
            let mut merged = current.clone();
            set_or_remove(&mut merged, "status", next.get("status").cloned());
            next = merged;
        } else {
            set_or_remove(&mut next, "status", current.get("status").cloned());
        }
    }
    let kept =
        ["uid", "creationTimestamp", "deletionTimestamp", "generation", "generateName", "resourceVersion"];
    for field in kept {
        set_or_remove(&mut next["metadata"], field, current["metadata"].get(field).cloned());
    }
    if resource.has_generation && generation_changes(current, &next) {
        let generation = current["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
        next["metadata"]["generation"] = json!(generation);
    }
    next
}

/// Anything but metadata and status, or the labels (`endpointslice/strategy.go`).
fn generation_changes(current: &Value, next: &Value) -> bool {
    let content = |object: &Value| {
        let mut content = object.clone();
        set_or_remove(&mut content, "metadata", None);
        set_or_remove(&mut content, "status", None);
        content
    };
    content(current) != content(next) || current["metadata"]["labels"] != next["metadata"]["labels"]
}

fn check_version(target: &Target, current: &Value, next: &Value) -> Result<(), ApiStatus> {
    let (uid, current_uid) = (text(next, "uid"), text(current, "uid"));
    if !uid.is_empty() && uid != current_uid {
        return Err(uid_conflict(target, uid, current_uid));
    }
    let version = text(next, "resourceVersion");
    if version.is_empty() && !target.resource.unconditional_update {
        let why = "Invalid value: 0x0: must be specified for an update";
        return Err(ApiStatus::invalid(target.resource, &target.name, "metadata.resourceVersion", why));
    }
    if !version.is_empty() && version != text(current, "resourceVersion") {
        return Err(stale(target));
    }
    Ok(())
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

fn stale(target: &Target) -> ApiStatus {
    let cause = "the object has been modified; please apply your changes to the latest version and try again";
    ApiStatus::conflict(target.resource, &target.name, cause)
}

fn uid_conflict(target: &Target, asked: &str, actual: &str) -> ApiStatus {
    let cause = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {actual}");
    ApiStatus::conflict(target.resource, &target.name, &cause)
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("was made an object above")
}

fn set_or_remove(object: &mut Value, field: &str, value: Option<Value>) {
    match (object.as_object_mut(), value) {
        (Some(fields), Some(value)) => drop(fields.insert(field.to_owned(), value)),
        (Some(fields), None) => drop(fields.remove(field)),
        (None, _) => {}
    }
}
