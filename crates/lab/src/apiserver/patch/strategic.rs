//! Strategic merge patch: a merge patch that knows, by the kind's shape, which lists are merged and by which key.
//!
//! After kubernetes `apimachinery/pkg/util/strategicpatch/patch.go` and its directives: `$patch` (replace, delete,
//! merge), `$retainKeys`, `$deleteFromPrimitiveList/FIELD` and `$setElementOrder/FIELD`.

use serde_json::{Map, Value};

use crate::apiserver::schema::Place;

#[cfg(test)]
mod tests;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Patches an object whose place in the shape is `place`; without one, lists are replaced.
///
/// # Errors
/// Why the patch does not make sense: a directive that is none, an element without its merge key.
pub(super) fn apply(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    place: Option<Place>,
) -> Result<(), String> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            target.clear();
            let kept = patch.iter().filter(|(key, _)| *key != DIRECTIVE);
            target.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("unknown patch type found: {other}")),
    }
    retain_keys(target, patch)?;
    for (key, value) in patch.iter().filter(|(key, _)| key.starts_with(DELETE_FROM)) {
        delete_from(target, &key[DELETE_FROM.len()..], value)?;
    }
    let orders = || patch.iter().filter(|(key, _)| key.starts_with(ORDER));
    let before = if orders().next().is_some() { target.clone() } else { Map::new() };
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let member = place.and_then(|place| place.member(key));
        apply_member(target, key, value, member)?;
    }
    for (key, order) in orders() {
        let field = &key[ORDER.len()..];
        let member = place.and_then(|place| place.member(field));
        let order = order.as_array().ok_or_else(|| format!("{key} must be a list"))?;
        let merge_key = member.and_then(Place::merge_key).unwrap_or_default();
        let patched = patch.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let before = before.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if let Some(Value::Array(items)) = target.get_mut(field) {
            *items = ordered(std::mem::take(items), (before, order), patched, merge_key);
        }
    }
    Ok(())
}

fn apply_member(
    target: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    member: Option<Place>,
) -> Result<(), String> {
    match value {
        Value::Null => drop(target.remove(key)),
        Value::Object(patch) if patch.get(DIRECTIVE).is_some_and(|directive| directive == "delete") => {
            target.remove(key);
        }
        Value::Object(patch) => {
            let slot = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(slot) = slot {
                apply(slot, patch, member)?;
            }
        }
        Value::Array(patch) => {
            let current = target.remove(key);
            let current = current.and_then(|value| match value {
                Value::Array(items) => Some(items),
                _ => None,
            });
            target.insert(key.to_owned(), apply_list(current.unwrap_or_default(), patch, member)?.into());
        }
        scalar => drop(target.insert(key.to_owned(), scalar.clone())),
    }
    Ok(())
}

/// `$retainKeys`: fields that are not listed go.
fn retain_keys(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    let Some(kept) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let kept = kept.as_array().ok_or("$retainKeys must be a list of strings")?;
    target.retain(|key, _| kept.iter().any(|one| one == key.as_str()));
    Ok(())
}

/// `$deleteFromPrimitiveList/FIELD`: these scalars go.
fn delete_from(target: &mut Map<String, Value>, field: &str, gone: &Value) -> Result<(), String> {
    let gone = gone.as_array().ok_or_else(|| format!("{DELETE_FROM}{field} must be a list"))?;
    if let Some(Value::Array(items)) = target.get_mut(field) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn apply_list(current: Vec<Value>, patch: &[Value], place: Option<Place>) -> Result<Vec<Value>, String> {
    let element = place.and_then(Place::element);
    match place.and_then(Place::merge_key) {
        None => Ok(patch.to_vec()),
        Some("") => {
            let mut merged = current.clone();
            for item in patch {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(ordered(merged, (&current, patch), patch, ""))
        }
        Some(key) => {
            let merged = merge_by_key(current.clone(), patch, key, element)?;
            Ok(ordered(merged, (&current, patch), patch, key))
        }
    }
}

/// Elements with the same value of `key` are merged, others are added.
fn merge_by_key(
    mut current: Vec<Value>,
    patch: &[Value],
    key: &str,
    element: Option<Place>,
) -> Result<Vec<Value>, String> {
    let directive = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|item| directive(item).as_deref() == Some("replace")) {
        let kept = patch.iter().filter(|item| directive(item).is_none());
        return Ok(kept.cloned().collect());
    }
    for item in patch {
        let changes = item.as_object().ok_or("a list of objects can only be patched with objects")?;
        let wanted = changes
            .get(key)
            .ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
        let place = current.iter().position(|one| one.get(key) == Some(wanted));
        match (directive(item).as_deref(), place) {
            (Some("delete"), _) => current.retain(|one| one.get(key) != Some(wanted)),
            (_, Some(place)) => {
                if let Value::Object(slot) = &mut current[place] {
                    apply(slot, changes, element)?;
                }
            }
            (_, None) => {
                let mut added = Map::new();
                apply(&mut added, changes, element)?;
                current.push(Value::Object(added));
            }
        }
    }
    Ok(current)
}

/// What the patch speaks of in the order that is wanted (the patch's own, or that of `$setElementOrder/FIELD`), and the
/// rest where it was relative to it in the list as it was before; what is new comes first.
fn ordered(
    items: Vec<Value>,
    (before, order): (&[Value], &[Value]),
    patched: &[Value],
    key: &str,
) -> Vec<Value> {
    let identity = |item: &Value| if key.is_empty() { item.clone() } else { item[key].clone() };
    let before: Vec<Value> = before.iter().map(identity).collect();
    let wanted: Vec<Value> = order.iter().map(identity).collect();
    let is_new = |item: &Value| patched.iter().any(|one| identity(one) == identity(item));
    let place = |list: &[Value], item: &Value| list.iter().position(|one| *one == identity(item));
    let (mut ours, theirs): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(&wanted, item).is_some() || is_new(item));
    ours.sort_by_key(|item| place(&wanted, item).unwrap_or(usize::MAX));
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    let mut merged = Vec::with_capacity(before.len());
    loop {
        let take_theirs = match (theirs.peek(), ours.peek()) {
            (None, None) => return merged,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(theirs), Some(ours)) => place(&before, ours)
                .is_some_and(|ours| place(&before, theirs).is_some_and(|theirs| theirs < ours)),
        };
        merged.extend(if take_theirs { theirs.next() } else { ours.next() });
    }
}
