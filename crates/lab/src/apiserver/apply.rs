//! Field management: who set which field of an object, and server-side apply, which lives by it.
//!
//! After kubernetes structured-merge-diff `merge/update.go`, and `apimachinery/pkg/util/managedfields`. Every write is
//! accounted to its manager; an apply owns exactly what its configuration says, meets a conflict where another manager
//! set a field it would change, and takes away what it said the last time and no longer says.

use serde_json::{Value, json};

use super::decode::blank;
use super::identity::now_text;
use super::resource::Resource;
use super::schema::{Place, name_of};
use super::status::ApiStatus;

mod fields;
mod walk;

#[cfg(test)]
mod tests;

use fields::{FieldSet, Path, shown};

/// Fields that belong to no manager.
const STRIPPED: [&[&str]; 10] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// In whose name a write is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    /// `fieldManager`, or the user agent up to its first slash.
    pub(super) name: String,
    /// The subresource written to, empty for the object itself.
    pub(super) subresource: &'static str,
}

/// What happens when an apply meets fields of other managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnConflict {
    /// It is refused.
    Refuse,
    /// It takes them over (`force=true`).
    Take,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    applied: bool,
    subresource: String,
    api_version: String,
    time: String,
    set: FieldSet,
}

impl Entry {
    fn is(&self, manager: &Manager, applied: bool) -> bool {
        self.manager == manager.name && self.applied == applied && self.subresource == manager.subresource
    }

    fn read(entry: &Value) -> Option<Self> {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let set = FieldSet::from_json(&entry["fieldsV1"])?;
        let applied = entry["operation"] == "Apply";
        Some(Self {
            manager: text("manager"),
            applied,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            set,
        })
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version, "time": self.time, "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_json(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    /// The manager as a conflict names it.
    fn shown(&self) -> String {
        let mut text = format!("\"{}\"", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource \"{}\"", self.subresource);
        }
        if !self.applied {
            text += &format!(" using {} at {}", self.api_version, self.time);
        }
        text
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    let list = object["metadata"]["managedFields"].as_array();
    list.into_iter().flatten().filter_map(Entry::read).collect()
}

fn set_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.0.is_empty());
    entries.sort_by(|one, other| {
        (!one.applied, &one.time, &one.manager).cmp(&(!other.applied, &other.time, &other.manager))
    });
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
    }
}

/// Accounts a create or update from `old` to `new` to its manager, in `new`'s managed fields.
pub(super) fn account(resource: &Resource, old: &Value, new: &mut Value, manager: &Manager) {
    account_as((&name_of(resource), &resource.api_version()), old, new, manager);
}

/// The same for what is no resource's: its type's full name, and its version.
pub(super) fn account_as(
    (type_name, api_version): (&str, &str),
    old: &Value,
    new: &mut Value,
    manager: &Manager,
) {
    let place = Place::of(type_name);
    let mut known = entries(if is_reset(new) {
        &Value::Null
    } else if entries(new).is_empty() {
        old
    } else {
        new
    });
    let difference = stripped(walk::compare(place, &unmanaged(old), &unmanaged(new)));
    for entry in &mut known {
        entry.set = entry.set.minus(&difference.removed);
        if !entry.is(manager, false) {
            entry.set = entry.set.minus(&difference.changed);
        }
    }
    own(&mut known, api_version, manager, |set| set.plus(&difference.changed));
    set_entries(new, known);
}

/// `managedFields: [{}]` asks for them to be forgotten.
fn is_reset(object: &Value) -> bool {
    object["metadata"]["managedFields"] == json!([{}])
}

/// Lets a manager's updates own what `change` makes of their set; the time moves on when it changes.
fn own(known: &mut Vec<Entry>, api_version: &str, manager: &Manager, change: impl Fn(FieldSet) -> FieldSet) {
    match known.iter_mut().find(|entry| entry.is(manager, false)) {
        Some(entry) => {
            let set = change(entry.set.clone());
            if set != entry.set {
                entry.set = set;
                entry.time = now_text();
            }
        }
        None => known.push(Entry {
            manager: manager.name.clone(),
            applied: false,
            subresource: manager.subresource.to_owned(),
            api_version: api_version.to_owned(),
            time: now_text(),
            set: change(FieldSet::default()),
        }),
    }
}

/// The object that applying `config` to `live` makes, with its managed fields. `live` is empty metadata with a name for
/// an object that does not exist.
///
/// # Errors
/// 409 with every field that another manager set to something else, unless they are to be taken.
pub(super) fn apply(
    resource: &Resource,
    live: &Value,
    config: &Value,
    manager: &Manager,
    on_conflict: OnConflict,
) -> Result<Value, ApiStatus> {
    let place = Place::root(resource);
    let (before, config) = (unmanaged(live), unmanaged(config));
    let mut known = entries(live);
    if known.is_empty() && live["metadata"].get("uid").is_some() {
        known.push(before_first_apply(resource, &before));
    }
    let set = without_stripped(walk::fields_of(place, &config));
    let previous = known.iter().position(|entry| entry.is(manager, true)).map(|place| known.remove(place));
    let mut next = walk::merge(place, &before, &config);
    if let Some(previous) = &previous {
        let others = known.iter().fold(set.clone(), |all, entry| all.plus(&entry.set));
        let given_up = previous.set.minus(&set);
        let gone = given_up.0.into_iter().filter(|path| !others.reaches(path)).collect();
        walk::remove(place, &mut next, &FieldSet(gone));
    }
    let difference = stripped(walk::compare(place, &before, &next));
    let conflicts: Vec<(String, Path)> = known
        .iter()
        .flat_map(|entry| {
            entry.set.common(&difference.changed).0.into_iter().map(|path| (entry.shown(), path))
        })
        .collect();
    if !conflicts.is_empty() && on_conflict == OnConflict::Refuse {
        return Err(conflict(&conflicts));
    }
    for entry in &mut known {
        entry.set = entry.set.minus(&difference.changed).minus(&difference.removed);
    }
    let unchanged = previous.filter(|previous| previous.set == set);
    known.push(Entry {
        manager: manager.name.clone(),
        applied: true,
        subresource: manager.subresource.to_owned(),
        api_version: resource.api_version(),
        time: unchanged.map_or_else(now_text, |previous| previous.time),
        set,
    });
    set_entries(&mut next, known);
    Ok(next)
}

/// Who set the fields of an object that nobody is known to manage.
fn before_first_apply(resource: &Resource, object: &Value) -> Entry {
    let difference = stripped(walk::compare(Place::root(resource), &blank(resource), object));
    Entry {
        manager: "before-first-apply".to_owned(),
        applied: false,
        subresource: String::new(),
        api_version: resource.api_version(),
        time: now_text(),
        set: difference.changed,
    }
}

fn unmanaged(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

fn stripped(difference: walk::Difference) -> walk::Difference {
    walk::Difference {
        changed: without_stripped(difference.changed),
        removed: without_stripped(difference.removed),
    }
}

fn without_stripped(mut set: FieldSet) -> FieldSet {
    let is = |path: &Path, names: &[&str]| {
        path.len() == names.len()
            && path
                .iter()
                .zip(names)
                .all(|(step, name)| matches!(step, fields::Step::Field(field) if field == name))
    };
    set.0.retain(|path| !STRIPPED.iter().any(|names| is(path, names)));
    set
}

/// 409 in the words of `managedfields/internal/conflict.go`.
fn conflict(conflicts: &[(String, Path)]) -> ApiStatus {
    let message = if let [(who, path)] = conflicts {
        format!("Apply failed with 1 conflict: conflict with {who}: {}", shown(path))
    } else {
        let mut managers: Vec<&String> = conflicts.iter().map(|(who, _)| who).collect();
        managers.sort();
        managers.dedup();
        let mut lines = Vec::new();
        for manager in managers {
            lines.push(format!("conflicts with {manager}:"));
            let theirs = conflicts.iter().filter(|(who, _)| who == manager);
            lines.extend(theirs.map(|(_, path)| format!("- {}", shown(path))));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    let cause = |(who, path): &(String, Path)| json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": shown(path) });
    let mut status = ApiStatus::new(409, "Conflict", message);
    status.details = json!({ "causes": conflicts.iter().map(cause).collect::<Vec<_>>() });
    status
}
