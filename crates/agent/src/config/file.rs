//! The configuration file: a YAML mapping of settings, each called by its flag's name, its variable's, or the one that
//! it has in kube-vip's file. What that file nests is read as a path: `etcd: {caFile: a}` is `etcd.caFile: a`.
//!
//! A key that is no setting is refused: what is misspelt in a file would otherwise never be noticed.

use std::path::Path;

use serde_json::{Map, Value};

use super::layer::{Given, Layer, Layers, Origin, nearest};
use super::refusal::Refusal;
use super::resolve::Precedence;
use super::table::{Empty, Key, NOT_SHOWN, Setting, setting, settings};

/// Reads the file that flags or environment name, if one of them does, into `layers`.
///
/// # Errors
/// When it cannot be read, is no YAML mapping, or has a key that is no setting or a value that is no text.
pub fn read_file(layers: &mut Layers, precedence: Precedence) -> Result<(), Refusal> {
    let (first, second) = match precedence {
        Precedence::FlagsFirst => (&layers.flags, &layers.environment),
        Precedence::EnvironmentFirst => (&layers.environment, &layers.flags),
    };
    let named = first.written(Key::ConfigFile).or(second.written(Key::ConfigFile));
    let Some(given) = named.filter(|given| !given.text.is_empty()).cloned() else { return Ok(()) };
    let refused = |problem: String, remedy: &str| Refusal {
        setting: given.name.clone(),
        value: given.text.clone(),
        problem,
        remedy: remedy.to_owned(),
    };
    let text = std::fs::read_to_string(Path::new(&given.text)).map_err(|error| {
        refused(format!("it cannot be read: {error}"), "name a file that this user may read")
    })?;
    layers.file = read_text((&given.name, &given.text), &text)?;
    Ok(())
}

/// What the text of `file` says, which the setting `name` names.
///
/// # Errors
/// When it is no YAML mapping, or has a key that is no setting or a value that is no text.
pub fn read_text((name, file): (&str, &str), text: &str) -> Result<Layer, Refusal> {
    let mapping = mapping(text).map_err(|problem| Refusal {
        setting: name.to_owned(),
        value: file.to_owned(),
        problem,
        remedy: "write a YAML mapping, such as `address: 192.0.2.10`".to_owned(),
    })?;
    layer(file, &mapping)
}

/// The one mapping that a file is.
fn mapping(text: &str) -> Result<Map<String, Value>, String> {
    let documents = documents(text)?;
    match documents.as_slice() {
        [] | [Value::Null] => Ok(Map::new()),
        [Value::Object(mapping)] => Ok(mapping.clone()),
        [_] => Err("it is no mapping of settings".to_owned()),
        several => Err(format!("it has {} documents", several.len())),
    }
}

/// The documents of a YAML file. An error is one line.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| {
        let error = error.without_snippet().to_string();
        let words = error.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("it is no YAML: {}", words.replace(char::is_control, "?"))
    })
}

/// What a refusal and a report call the key of a file: `/etc/mainstay.yaml: port`.
pub(super) fn name_in(file: &str, key: &str) -> String {
    format!("{file}: {}", key.escape_debug())
}

/// What the mapping of the file called `file` says.
pub(super) fn layer(file: &str, mapping: &Map<String, Value>) -> Result<Layer, Refusal> {
    let mut layer = Layer::default();
    for (key, value) in &flattened(mapping) {
        let name = name_in(file, key);
        let refused = |shown: String, problem: &str, remedy: String| Refusal {
            setting: name.clone(),
            value: shown,
            problem: problem.to_owned(),
            remedy,
        };
        let setting = known(key).ok_or_else(|| {
            let (problem, remedy) = no_setting(key);
            refused(NOT_SHOWN.to_owned(), problem, remedy)
        })?;
        let shown = || setting.shown(&text(value).unwrap_or_else(|| value.to_string()));
        // As in the environment, what is empty says nothing.
        let is_empty = value.as_str().is_some_and(|text| text.trim().is_empty());
        if value.is_null() || (is_empty && setting.empty == Empty::Unset) {
            continue;
        }
        let text = text_of(setting, value).ok_or_else(|| {
            refused(
                shown(),
                "neither a text nor a list of texts",
                "write one value, or a list of them".to_owned(),
            )
        })?;
        if let Some(other) = layer.written(setting.key) {
            let remedy = format!("remove it, or remove {}", other.name);
            return Err(refused(shown(), "it is said twice", remedy));
        }
        layer = layer.with(setting.key, Given { text, name, origin: Origin::File });
    }
    Ok(layer)
}

/// What is wrong with a key that is no setting, and what to do about it.
pub(super) fn no_setting(key: &str) -> (&'static str, String) {
    if setting(Key::ConfigFile).is_called(key) {
        return ("a file cannot name another", "remove it, and put everything into one file".to_owned());
    }
    let keys = settings().filter(|other| other.is_for_agents() && other.key != Key::ConfigFile);
    let nearest = nearest(key, keys.map(Setting::file_key));
    ("there is no such setting", format!("remove it, or did you mean {nearest}?"))
}

/// The mapping with what it nests as paths of keys. A setting's own value is left whole: what is in it may be a secret,
/// and a key is shown.
pub(super) fn flattened(mapping: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    flatten("", mapping, &mut flat);
    flat
}

fn flatten(above: &str, mapping: &Map<String, Value>, flat: &mut Map<String, Value>) {
    for (key, value) in mapping {
        let path = format!("{above}{key}");
        match value {
            Value::Object(inner) if !inner.is_empty() && known(&path).is_none() => {
                flatten(&format!("{path}."), inner, flat);
            }
            _ => drop(flat.insert(path, value.clone())),
        }
    }
}

/// The text of a value; a setting that is JSON elsewhere may be a mapping here.
pub(super) fn text_of(setting: &Setting, value: &Value) -> Option<String> {
    match value {
        Value::Object(_) if setting.key == Key::LeaseAnnotations => Some(value.to_string()),
        value => text(value),
    }
}

/// The setting of that name. A file cannot name another file.
pub(super) fn known(key: &str) -> Option<&'static Setting> {
    settings()
        .filter(|setting| setting.is_for_agents() && setting.key != Key::ConfigFile)
        .find(|setting| setting.is_called(key))
}

/// A scalar's text, or a list's with commas between.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(values) => {
            let scalar = |value: &Value| if value.is_array() { None } else { text(value) };
            values.iter().map(scalar).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `config-file`.
    #[test]
    fn a_refusal_is_one_line_whatever_the_key() {
        for text in ["\"a\\nb\": 1", "\"\\e[2J\": 1", "a: \u{1b}[2J"] {
            let refusal = read_text(("config", "c.yaml"), text).map(|_| ()).unwrap_err().to_string();
            assert!(!refusal.contains(char::is_control), "{refusal:?}");
        }
    }
}
