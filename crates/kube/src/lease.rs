//! A Lease object as JSON, to and from the core's words. Pure.
//!
//! What we do not understand is carried forward: labels, owner references, finalizers, managed fields, and fields of
//! the spec that newer versions add (`strategy`, `preferredHolder`).

use std::collections::{BTreeMap, VecDeque};

use mainstay_core::effect::{LeaseDraft, Stamp};
use mainstay_core::input::LeaseRecord;
use serde_json::{Map, Value, json};

/// How many objects are remembered for carrying forward. The core writes upon the last one it saw, or one before.
const REMEMBERED: usize = 4;

/// The Lease `object` in the core's words. Fields that are absent or of another type read as empty.
pub(crate) fn record(object: &Value) -> LeaseRecord {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    LeaseRecord {
        uid: text(&metadata["uid"]),
        resource_version: text(&metadata["resourceVersion"]),
        holder: spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned),
        duration_seconds: number(&spec["leaseDurationSeconds"]),
        acquire_time: text(&spec["acquireTime"]),
        renew_time: text(&spec["renewTime"]),
        transitions: number(&spec["leaseTransitions"]),
        annotations: annotations(&metadata["annotations"]),
    }
}

fn annotations(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The object to create.
pub(crate) fn created(namespace: &str, name: &str, draft: &LeaseDraft, now: &str) -> Value {
    let blank = json!({"metadata": {"namespace": namespace, "name": name}});
    drafted(blank, draft, now)
}

/// Objects seen of late, so that an update keeps what the core does not know of.
#[derive(Debug, Default)]
pub(crate) struct Seen(VecDeque<Value>);

impl Seen {
    /// Remembers an object.
    pub(crate) fn note(&mut self, object: &Value) {
        let version = &object["metadata"]["resourceVersion"];
        self.0.retain(|seen| seen["metadata"]["resourceVersion"] != *version);
        self.0.push_front(object.clone());
        self.0.truncate(REMEMBERED);
    }

    /// The object to put, conditional on `resource_version`: what was seen with that version (or else last), changed
    /// as `draft` says.
    pub(crate) fn updated(
        &self,
        name: (&str, &str),
        resource_version: &str,
        draft: &LeaseDraft,
        now: &str,
    ) -> Value {
        let exact = self.0.iter().find(|seen| seen["metadata"]["resourceVersion"] == resource_version);
        let mut object = exact.or(self.0.front()).cloned().unwrap_or_else(|| json!({}));
        let mut metadata = section(&object, "metadata");
        metadata.insert("namespace".to_owned(), name.0.into());
        metadata.insert("name".to_owned(), name.1.into());
        metadata.insert("resourceVersion".to_owned(), resource_version.into());
        object["metadata"] = metadata.into();
        drafted(object, draft, now)
    }
}

/// The object with these labels, beside those that it has.
pub(crate) fn label(mut object: Value, labels: &[(&str, &str)]) -> Value {
    if !labels.is_empty() {
        let mut all = section(&object["metadata"], "labels");
        all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))));
        object["metadata"]["labels"] = all.into();
    }
    object
}

fn drafted(mut object: Value, draft: &LeaseDraft, now: &str) -> Value {
    object["apiVersion"] = "coordination.k8s.io/v1".into();
    object["kind"] = "Lease".into();
    let mut metadata = section(&object, "metadata");
    metadata.insert("annotations".to_owned(), json!(draft.annotations));
    object["metadata"] = metadata.into();
    let stamp = |stamp: &Stamp| match stamp {
        Stamp::Now => Value::from(now),
        // An absent time is written as such: the empty string is no valid time.
        Stamp::Keep(text) if text.is_empty() => Value::Null,
        Stamp::Keep(text) => Value::from(text.as_str()),
    };
    let mut spec = section(&object, "spec");
    spec.insert("holderIdentity".to_owned(), draft.holder.as_deref().unwrap_or_default().into());
    spec.insert("leaseDurationSeconds".to_owned(), draft.duration_seconds.into());
    spec.insert("leaseTransitions".to_owned(), draft.transitions.into());
    spec.insert("acquireTime".to_owned(), stamp(&draft.acquire_time));
    spec.insert("renewTime".to_owned(), stamp(&draft.renew_time));
    object["spec"] = spec.into();
    object
}

fn section(object: &Value, name: &str) -> Map<String, Value> {
    object[name].as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
