//! JSON patch, RFC 6902.

use serde_json::Value;

/// As many operations as the real server does (`maxJSONPatchOperations`).
const MOST_OPERATIONS: usize = 10_000;
/// How much all copies of a patch may add, in bytes: the real server's limit of a body (`AccumulatedCopySizeLimit`). An
/// object that is copied into itself doubles.
const COPIES_LIMIT: usize = 3 << 20;
/// How deep an object may be nested: `serde_json` reads no deeper one, and to walk one takes stack.
const DEEPEST: usize = 120;

/// Does every operation, in order.
///
/// # Errors
/// Why one of them cannot be done.
pub(super) fn apply(target: &mut Value, operations: &[Value]) -> Result<(), String> {
    let count = operations.len();
    if count > MOST_OPERATIONS {
        return Err(format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}"
        ));
    }
    let mut copied = 0;
    operations.iter().try_for_each(|operation| operate(target, operation, &mut copied))
}

/// One operation of RFC 6902 section 4; `copied` counts the bytes that copies added.
fn operate(target: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), String> {
    let text =
        |name: &str| operation[name].as_str().ok_or_else(|| format!("JSON patch operation lacks \"{name}\""));
    let value =
        || operation.get("value").cloned().ok_or_else(|| "JSON patch operation lacks \"value\"".to_owned());
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            let value = value()?;
            check_depth(path, &value)?;
            *at(target, path)? = value;
            Ok(())
        }
        "test" if *at(target, path)? == value()? => Ok(()),
        "test" => Err(format!("testing path {path} failed")),
        "copy" => {
            let source = at(target, text("from")?)?;
            *copied += source.to_string().len();
            if *copied > COPIES_LIMIT {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPIES_LIMIT}"
                ));
            }
            let value = source.clone();
            add(target, path, value)
        }
        "move" => {
            let moved = remove(target, text("from")?)?;
            add(target, path, moved)
        }
        other => Err(format!("unknown JSON patch operation \"{other}\"")),
    }
}

/// Whether `value` at `path` is not too deep. It is not too deep itself: it was read, or is part of what was checked.
fn check_depth(path: &str, value: &Value) -> Result<(), String> {
    if path.matches('/').count() + depth(value) > DEEPEST {
        return Err(format!("path {path}: nested deeper than {DEEPEST} levels"));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
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
    check_depth(path, &value)?;
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
