//! Patches: JSON merge patch (RFC 7386) and JSON patch (RFC 6902).
//!
//! A strategic merge patch is applied as a merge patch without its `$` directives: lists are replaced whole, which
//! differs from the real server only for lists with a merge key (a Node's conditions and addresses).

use serde_json::{Map, Value};

use super::status::ApiStatus;

#[cfg(test)]
mod tests;

/// A patch as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7386, `application/merge-patch+json`.
    Merge(Value),
    /// RFC 6902, `application/json-patch+json`.
    Operations(Vec<Value>),
}

impl Patch {
    /// Reads a patch of this content type.
    ///
    /// # Errors
    /// 415 for another content type, 400 for a body that is no such patch.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, ApiStatus> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let value = || {
            serde_json::from_slice::<Value>(body)
                .map_err(|wrong| ApiStatus::bad_request(format!("error decoding patch: {wrong}")))
        };
        match media {
            "application/merge-patch+json" => merge(value()?),
            "application/strategic-merge-patch+json" => merge(without_directives(value()?)),
            "application/json-patch+json" => match value()? {
                Value::Array(operations) => Ok(Self::Operations(operations)),
                _ => Err(ApiStatus::bad_request("error decoding patch: a JSON patch is an array")),
            },
            _ => Err(unsupported(media)),
        }
    }

    /// The object after the patch.
    ///
    /// # Errors
    /// 422 when an operation of a JSON patch cannot be done.
    pub fn apply(&self, object: &Value) -> Result<Value, ApiStatus> {
        let mut patched = object.clone();
        match self {
            Self::Merge(patch) => merge_into(&mut patched, patch),
            Self::Operations(operations) => {
                for operation in operations {
                    operate(&mut patched, operation).map_err(|why| ApiStatus::new(422, "Invalid", why))?;
                }
            }
        }
        Ok(patched)
    }
}

fn merge(value: Value) -> Result<Patch, ApiStatus> {
    if value.is_object() {
        Ok(Patch::Merge(value))
    } else {
        Err(ApiStatus::bad_request("error decoding patch: not an object"))
    }
}

fn unsupported(media: &str) -> ApiStatus {
    let known =
        "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";
    let message = format!(
        "the body of the request was in an unknown format ({media}) - accepted media types include: {known}"
    );
    ApiStatus::new(415, "UnsupportedMediaType", message)
}

/// RFC 7386 section 2.
fn merge_into(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge_into(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, _)| !key.starts_with('$'));
            Value::Object(kept.map(|(key, value)| (key, without_directives(value))).collect())
        }
        other => other,
    }
}

/// One operation of RFC 6902 section 4.
fn operate(target: &mut Value, operation: &Value) -> Result<(), String> {
    let text =
        |name: &str| operation[name].as_str().ok_or_else(|| format!("JSON patch operation lacks \"{name}\""));
    let value =
        || operation.get("value").cloned().ok_or_else(|| "JSON patch operation lacks \"value\"".to_owned());
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            *at(target, path)? = value()?;
            Ok(())
        }
        "test" if *at(target, path)? == value()? => Ok(()),
        "test" => Err(format!("testing path {path} failed")),
        "copy" => {
            let copied = at(target, text("from")?)?.clone();
            add(target, path, copied)
        }
        "move" => {
            let moved = remove(target, text("from")?)?;
            add(target, path, moved)
        }
        other => Err(format!("unknown JSON patch operation \"{other}\"")),
    }
}

fn at<'a>(target: &'a mut Value, path: &str) -> Result<&'a mut Value, String> {
    target.pointer_mut(path).ok_or_else(|| format!("path {path} does not exist"))
}

/// Splits a JSON pointer (RFC 6901) into the parent and the unescaped last step.
fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("path {path} names no member"))?;
    Ok((at(target, parent)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(fields) => drop(fields.insert(last, value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let place = last.parse().ok().filter(|place| *place <= items.len());
            items.insert(place.ok_or_else(|| format!("path {path} is out of range"))?, value);
        }
        _ => return Err(format!("path {path} has no parent to add to")),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let missing = || format!("path {path} does not exist");
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(fields) => fields.remove(&last).ok_or_else(missing),
        Value::Array(items) => {
            let place = last.parse().ok().filter(|place: &usize| *place < items.len()).ok_or_else(missing)?;
            Ok(items.remove(place))
        }
        _ => Err(missing()),
    }
}
