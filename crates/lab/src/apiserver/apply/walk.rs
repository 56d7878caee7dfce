//! Walks through objects along the shape of their kind: which fields there are, what differs, what two make together.
//! After kubernetes structured-merge-diff, `typed/` and `merge/`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::fields::{FieldSet, Path, Step};
use crate::apiserver::schema::{Kind, ListRule, Place};

/// What server-side apply takes for a key field that is not given.
const KEY_DEFAULTS: [(&str, &str); 1] = [("protocol", "TCP")];

/// A child on the way down: its step, its place and its value.
type Child<'a> = (Step, Option<Place>, &'a Value);

/// The children of a value that is merged by parts; none for one that is owned whole.
fn children<'a>(place: Option<Place>, value: &'a Value) -> Option<Vec<Child<'a>>> {
    let place = place?;
    match value {
        Value::Object(fields) if !place.is_atomic() && !matches!(place.kind, Kind::Fields) => {
            let child =
                |(name, value): (&String, &'a Value)| (Step::Field(name.clone()), place.member(name), value);
            Some(fields.iter().map(child).collect())
        }
        Value::Array(items) => {
            let rule = place.list_rule();
            let child = |item: &'a Value| Some((element_step(rule, item)?, place.element(), item));
            items.iter().map(child).collect()
        }
        _ => None,
    }
}

/// How an element of a list is known; none where the list is owned whole or the element lacks its key.
fn element_step(rule: ListRule<'_>, item: &Value) -> Option<Step> {
    match rule {
        ListRule::Atomic => None,
        ListRule::Set => Some(Step::Value(item.to_string())),
        ListRule::Map(keys) => {
            let fields = item.as_object()?;
            let mut key: Vec<(String, String)> = Vec::new();
            for name in keys {
                let default =
                    KEY_DEFAULTS.iter().find(|(field, _)| field == name).map(|(_, value)| json!(value));
                match fields.get(name).cloned().or(default) {
                    Some(value) => key.push((name.clone(), value.to_string())),
                    // A part of the key may be missing, not all of it.
                    None => continue,
                }
            }
            key.sort();
            (!key.is_empty()).then_some(Step::Key(key))
        }
    }
}

/// Every field a configuration speaks of: its leaves, its list elements and its map entries.
pub(super) fn fields_of(place: Option<Place>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(place, value, &mut Vec::new(), &mut set);
    set
}

fn collect(place: Option<Place>, value: &Value, path: &mut Path, set: &mut FieldSet) {
    let Some(children) = children(place, value) else {
        set.0.insert(path.clone());
        return;
    };
    let is_map = place.is_some_and(|place| matches!(place.kind, Kind::Map(_)));
    for (step, place, child) in children {
        let is_element = !matches!(step, Step::Field(_));
        path.push(step);
        collect(place, child, path, set);
        if is_element || is_map || child.as_object().is_some_and(Map::is_empty) || child == &json!([]) {
            set.0.insert(path.clone());
        }
        path.pop();
    }
}

/// What became of the fields between two states of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    /// New or of another value.
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
}

/// Compares two states.
pub(super) fn compare(place: Option<Place>, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    compare_at(place, (Some(old), Some(new)), &mut Vec::new(), &mut difference);
    difference
}

fn compare_at(
    place: Option<Place>,
    (old, new): (Option<&Value>, Option<&Value>),
    path: &mut Path,
    difference: &mut Difference,
) {
    if old == new {
        return;
    }
    let has_parts = |value: Option<&Value>| value.is_some_and(|value| children(place, value).is_some());
    let by_parts = match (old, new) {
        (Some(_), Some(_)) => has_parts(old) && has_parts(new),
        _ => has_parts(old) || has_parts(new),
    };
    let stays = by_parts && always_there(place, path);
    let set = match (old, new) {
        (None, Some(_)) if !stays => Some(&mut difference.changed),
        (Some(_), None) if !stays => Some(&mut difference.removed),
        (Some(_), Some(_)) if !by_parts => Some(&mut difference.changed),
        _ => None,
    };
    if let Some(set) = set {
        set.0.insert(path.clone());
    }
    if !by_parts {
        return;
    }
    let mut pairs: BTreeMap<Step, Pair<'_>> = BTreeMap::new();
    for (step, place, child) in parts(place, old) {
        pairs.insert(step, Pair { place, old: Some(child), new: None });
    }
    for (step, place, child) in parts(place, new) {
        pairs.entry(step).or_insert(Pair { place, old: None, new: None }).new = Some(child);
    }
    for (step, pair) in pairs {
        path.push(step);
        compare_at(pair.place, (pair.old, pair.new), path, difference);
        path.pop();
    }
}

fn parts(place: Option<Place>, value: Option<&Value>) -> Vec<Child<'_>> {
    value.and_then(|value| children(place, value)).unwrap_or_default()
}

/// A child in two states.
struct Pair<'a> {
    place: Option<Place>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
}

/// Whether the Go type always has the field, as an empty struct or a nil list, so that it cannot come or go.
fn always_there(place: Option<Place>, path: &[Step]) -> bool {
    let top = matches!(path, [Step::Field(name)] if matches!(name.as_str(), "metadata" | "spec" | "status"));
    top || path.is_empty()
        || place.and_then(|place| place.field).is_some_and(|field| field.required || field.shown)
}

/// The live object with a configuration laid over it.
pub(super) fn merge(place: Option<Place>, live: &Value, config: &Value) -> Value {
    if children(place, live).is_none() || children(place, config).is_none() {
        return config.clone();
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let member = place.and_then(|place| place.member(name));
                let value = match live.get(name) {
                    Some(before) => merge(member, before, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(config)) => merge_lists(place, live, config),
        _ => config.clone(),
    }
}

/// The elements of both: those of the configuration in its order, the others as soon as all that stood before them has
/// its place.
fn merge_lists(place: Option<Place>, live: &[Value], config: &[Value]) -> Value {
    let rule = place.map_or(ListRule::Atomic, Place::list_rule);
    let element = place.and_then(Place::element);
    let step = |item: &Value| element_step(rule, item);
    let before: Vec<_> = live.iter().map(step).collect();
    let position = |item: &Value| before.iter().position(|one| *one == step(item));
    let mut ours: VecDeque<(Option<usize>, &Value)> =
        config.iter().map(|item| (position(item), item)).collect();
    let others = live.iter().enumerate();
    let mut theirs = others.filter(|(_, item)| !config.iter().any(|one| step(one) == step(item))).peekable();
    let mut merged = Vec::new();
    loop {
        let waits = |at: usize| ours.iter().any(|(known, _)| known.is_some_and(|known| known < at));
        if let Some((_, item)) = theirs.next_if(|(at, _)| !waits(*at)) {
            merged.push(item.clone());
        } else if let Some((known, item)) = ours.pop_front() {
            merged.push(known.map_or_else(|| item.clone(), |known| merge(element, &live[known], item)));
        } else {
            return Value::Array(merged);
        }
    }
}

/// Takes fields out of an object, and what is left empty by it.
pub(super) fn remove(place: Option<Place>, value: &mut Value, gone: &FieldSet) {
    remove_at(place, value, &mut Vec::new(), gone);
}

fn remove_at(place: Option<Place>, value: &mut Value, path: &mut Path, gone: &FieldSet) {
    if children(place, value).is_none() {
        return;
    }
    let mut keep = |step: Step, place: Option<Place>, child: &mut Value| {
        path.push(step);
        let kept = !gone.0.contains(path) && {
            let was_empty = is_empty(child);
            if gone.reaches(path) {
                remove_at(place, child, path, gone);
            }
            was_empty || !is_empty(child)
        };
        path.pop();
        kept
    };
    match value {
        Value::Object(fields) => {
            fields.retain(|name, child| {
                keep(Step::Field(name.clone()), place.and_then(|place| place.member(name)), child)
            });
        }
        Value::Array(items) => {
            let rule = place.map_or(ListRule::Atomic, Place::list_rule);
            let element = place.and_then(Place::element);
            items.retain_mut(|item| element_step(rule, item).is_none_or(|step| keep(step, element, item)));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
