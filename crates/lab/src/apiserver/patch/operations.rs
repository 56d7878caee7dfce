//! JSON patch, RFC 6902.

use serde_json::Value;

/// Does every operation, in order.
///
/// # Errors
/// Why one of them cannot be done.
pub(super) fn apply(target: &mut Value, operations: &[Value]) -> Result<(), String> {
    operations.iter().try_for_each(|operation| operate(target, operation))
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
