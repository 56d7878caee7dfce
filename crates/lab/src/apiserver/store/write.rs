//! Writes: create, update, patch and apply under optimistic concurrency.
//!
//! The order of checks is that of kubernetes `registry/generic/registry/store.go`: existence, UID, resource version,
//! then validity; a write that changes nothing is answered without a new revision.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Change, Key, State, Store, Target, check_scope};
use crate::apiserver::apply;
use crate::apiserver::decode::blank;
use crate::apiserver::defaults;
use crate::apiserver::field::FieldError;
use crate::apiserver::identity::{now_text, random_suffix, unique_id};
use crate::apiserver::patch::Patch;
use crate::apiserver::resource::{Resource, SERVICE, Scope};
use crate::apiserver::status::ApiStatus;
use crate::apiserver::validate;

mod addresses;
mod body;
mod delete;
mod prepare;
mod writing;

use body::{configuration, decode, only};
pub use delete::{DeleteOptions, Deleted, Preconditions, Propagation};
pub use writing::Mode;
pub(in crate::apiserver) use writing::{Validation, Writing};

/// The manager of what is written behind the front ends' back.
const LAB: &str = "mainstay-lab";

/// Which part of an object an update is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but `status`, where the kind has that subresource.
    Main,
    /// `status` alone.
    Status,
}

impl Part {
    fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
        }
    }
}

/// The object a write left behind.
#[derive(Clone, Debug)]
pub struct Written {
    /// As stored.
    pub object: Arc<Value>,
    /// It did not exist before.
    pub created: bool,
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
        self.create_as(&mut Writing::by(LAB), resource, namespace, body)
    }

    /// [`Store::create`], in a manager's name.
    pub(in crate::apiserver) fn create_as(
        &self,
        writing: &mut Writing,
        resource: &'static Resource,
        namespace: &str,
        body: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        check_scope(resource, namespace)?;
        let mut object = decode(writing, resource, namespace, body)?;
        if object["metadata"].get("resourceVersion").is_some_and(|version| version != "") {
            return Err(ApiStatus::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        name_it(&mut object);
        defaults::fill(resource, &mut object);
        begin(resource, &mut object);
        apply::account(resource, &blank(resource), &mut object, &writing.manager(""));
        prepare::prepare(resource, &mut object);
        self.insert(writing, resource, namespace, object)
    }

    /// The rest of a creation: what depends on the objects that there are.
    fn insert(
        &self,
        writing: &Writing,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, ApiStatus> {
        let target = Target::new(resource, namespace, text(&object, "name"));
        let mut state = self.lock();
        if resource.scope == Scope::Namespaced {
            state.check_namespace(&target)?;
        }
        if state.objects.contains_key(&target.key()) {
            return Err(ApiStatus::already_exists(resource, &target.name));
        }
        if std::ptr::eq(resource, SERVICE) {
            state.give_addresses(&mut object);
        }
        validate::check(resource, &object)?;
        Ok(self.commit_as(writing, &mut state, target.key(), object))
    }

    /// Replaces an object (HTTP PUT).
    ///
    /// # Errors
    /// 404 when absent (for kinds a PUT does not create), 409 on a stale resource version or another UID, 400 or 422
    /// for a bad object.
    pub fn update(&self, target: &Target, body: Value, part: Part) -> Result<Written, ApiStatus> {
        self.update_as(&mut Writing::by(LAB), target, body, part)
    }

    /// [`Store::update`], in a manager's name.
    pub(in crate::apiserver) fn update_as(
        &self,
        writing: &mut Writing,
        target: &Target,
        body: Value,
        part: Part,
    ) -> Result<Written, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let mut body = decode(writing, target.resource, &target.namespace, body)?;
        validate::same_name(target, &body)?;
        let mut state = self.lock();
        let Some(current) = state.objects.get(&target.key()).cloned() else {
            drop(state);
            return self.create_by_update(writing, target, body);
        };
        check_version(target, &current, &body)?;
        defaults::fill(target.resource, &mut body);
        let mut next = merge_update(target.resource, &current, body, part);
        apply::account(target.resource, &current, &mut next, &writing.manager(part.subresource()));
        self.replace(writing, &mut state, target, (&current, next))
    }

    /// A PUT of an absent object: a creation where the kind allows it, and never when the caller knew another.
    fn create_by_update(
        &self,
        writing: &mut Writing,
        target: &Target,
        mut body: Value,
    ) -> Result<Written, ApiStatus> {
        if !target.resource.create_on_update {
            return Err(ApiStatus::not_found(target.resource, &target.name));
        }
        let uid = text(&body, "uid").to_owned();
        if !uid.is_empty() {
            return Err(uid_conflict(target, &uid, ""));
        }
        metadata(&mut body).remove("resourceVersion");
        let object = self.create_as(writing, target.resource, &target.namespace, body)?;
        Ok(Written { object, created: true })
    }

    /// Patches an object. Without a resource version in the patch it applies to whatever is there.
    ///
    /// # Errors
    /// As [`Store::update`], and 422 for a patch that cannot be applied.
    pub fn patch(&self, target: &Target, patch: &Patch, part: Part) -> Result<Written, ApiStatus> {
        self.patch_as(&mut Writing::by(LAB), target, patch, part)
    }

    /// [`Store::patch`], in a manager's name.
    pub(in crate::apiserver) fn patch_as(
        &self,
        writing: &mut Writing,
        target: &Target,
        patch: &Patch,
        part: Part,
    ) -> Result<Written, ApiStatus> {
        check_scope(target.resource, &target.namespace)?;
        let resource = target.resource;
        if let Patch::Configuration(config) = patch {
            return self.apply(writing, target, config.clone(), part);
        }
        let mut state = self.lock();
        let found = state.objects.get(&target.key()).cloned();
        let current = found.ok_or_else(|| ApiStatus::not_found(resource, &target.name))?;
        let mut patched = decode(writing, resource, &target.namespace, patch.apply(resource, &current)?)?;
        validate::same_name(target, &patched)?;
        check_version(target, &current, &patched)?;
        defaults::fill(resource, &mut patched);
        let mut next = merge_update(resource, &current, patched, part);
        apply::account(resource, &current, &mut next, &writing.manager(part.subresource()));
        self.replace(writing, &mut state, target, (&current, next))
    }

    /// Server-side apply.
    fn apply(
        &self,
        writing: &mut Writing,
        target: &Target,
        config: Value,
        part: Part,
    ) -> Result<Written, ApiStatus> {
        let resource = target.resource;
        let mut config = configuration(resource, &target.namespace, config)?;
        if config["metadata"].get("managedFields").is_some() {
            return Err(ApiStatus::bad_request("metadata.managedFields must be nil"));
        }
        let name = text(&config, "name");
        if name.is_empty() {
            config["metadata"]["name"] = json!(target.name);
        }
        validate::same_name(target, &config)?;
        only(resource, &mut config, part);
        let manager = writing.manager(part.subresource());
        let mut state = self.lock();
        let Some(current) = state.objects.get(&target.key()).cloned() else {
            drop(state);
            return self.create_by_apply(writing, target, &config, part);
        };
        check_version_if_given(target, &current, &config)?;
        metadata(&mut config).remove("resourceVersion");
        let mut next = apply::apply(resource, &current, &config, &manager, writing.on_conflict)?;
        defaults::fill(resource, &mut next);
        let next = merge_update(resource, &current, next, part);
        self.replace(writing, &mut state, target, (&current, next))
    }

    fn create_by_apply(
        &self,
        writing: &mut Writing,
        target: &Target,
        config: &Value,
        part: Part,
    ) -> Result<Written, ApiStatus> {
        let resource = target.resource;
        if part == Part::Status {
            return Err(ApiStatus::not_found(resource, &target.name));
        }
        let uid = text(config, "uid");
        if !uid.is_empty() {
            return Err(uid_conflict(target, uid, ""));
        }
        let mut blank = json!({ "apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": { "name": target.name } });
        if resource.scope == Scope::Namespaced {
            blank["metadata"]["namespace"] = json!(target.namespace);
        }
        let mut object = apply::apply(resource, &blank, config, &writing.manager(""), writing.on_conflict)?;
        defaults::fill(resource, &mut object);
        begin(resource, &mut object);
        prepare::prepare(resource, &mut object);
        let object = self.insert(writing, resource, &target.namespace, object)?;
        Ok(Written { object, created: true })
    }

    fn replace(
        &self,
        writing: &Writing,
        state: &mut State,
        target: &Target,
        (old, mut next): (&Arc<Value>, Value),
    ) -> Result<Written, ApiStatus> {
        if std::ptr::eq(target.resource, SERVICE) {
            state.keep_addresses(old, &mut next);
        }
        validate::check_update(target.resource, old, &next)?;
        if next == **old {
            return Ok(Written { object: Arc::clone(old), created: false });
        }
        if writing.mode == Mode::DryRun {
            return Ok(Written { object: Arc::new(next), created: false });
        }
        let gone = next["metadata"].get("deletionTimestamp").is_some() && !is_held(&next);
        let object = if gone {
            self.commit(state, target.key(), None);
            self.after_removal(state, &next);
            Arc::new(next)
        } else {
            self.commit(state, target.key(), Some(next))
        };
        Ok(Written { object, created: false })
    }

    /// Commits, or shows what would have been committed.
    fn commit_as(&self, writing: &Writing, state: &mut State, key: Key, next: Value) -> Arc<Value> {
        match writing.mode {
            Mode::Real => self.commit(state, key, Some(next)),
            Mode::DryRun => Arc::new(next),
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
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"] {
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
            set_or_remove(
                &mut merged["metadata"],
                "managedFields",
                next["metadata"].get("managedFields").cloned(),
            );
            next = merged;
        } else {
            set_or_remove(&mut next, "status", current.get("status").cloned());
        }
    }
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
    ];
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
        let (at, why) = ("metadata.resourceVersion", "must be specified for an update");
        let of = (target.resource.group, target.resource.plural);
        return Err(ApiStatus::invalid_as(of, &target.name, &[FieldError::invalid_as(at, "0x0", why)]));
    }
    if !version.is_empty() && version != text(current, "resourceVersion") {
        return Err(stale(target));
    }
    Ok(())
}

/// As [`check_version`], for an apply: without a version it applies to whatever is there.
fn check_version_if_given(target: &Target, current: &Value, config: &Value) -> Result<(), ApiStatus> {
    let (uid, version) = (text(config, "uid"), text(config, "resourceVersion"));
    if !uid.is_empty() && uid != text(current, "uid") {
        return Err(uid_conflict(target, uid, text(current, "uid")));
    }
    if version.is_empty() || version == text(current, "resourceVersion") {
        Ok(())
    } else {
        Err(stale(target))
    }
}

fn stale(target: &Target) -> ApiStatus {
    let cause = "the object has been modified; please apply your changes to the latest version and try again";
    ApiStatus::conflict(target.resource, &target.name, cause)
}

fn uid_conflict(target: &Target, asked: &str, actual: &str) -> ApiStatus {
    let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {actual}");
    let key = target.storage_key();
    let cause = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
    );
    ApiStatus::conflict(target.resource, &target.name, &cause)
}

/// Whether something holds a deletion: a finalizer, or the grace a pod's node is given.
fn is_held(object: &Value) -> bool {
    let listed = |list: &Value| list.as_array().is_some_and(|finalizers| !finalizers.is_empty());
    listed(&object["metadata"]["finalizers"])
        || object["kind"] == "Namespace" && listed(&object["spec"]["finalizers"])
        || object["metadata"]["deletionGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds > 0)
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
