//! Label and field selectors, as `labelSelector` and `fieldSelector` in a URL spell them.

use serde_json::Value;

use super::resource::Resource;
use super::status::ApiStatus;

mod labels;
#[cfg(test)]
mod tests;

/// One requirement on a label or a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(String),
    Differs(String),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    /// A number above this.
    Above(i64),
    /// A number below this.
    Below(i64),
    Present,
    Absent,
}

impl Test {
    fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::Equals(wanted) => value == Some(wanted),
            Self::Differs(unwanted) => value != Some(unwanted),
            Self::OneOf(set) => value.is_some_and(|value| set.iter().any(|one| one == value)),
            Self::NoneOf(set) => !value.is_some_and(|value| set.iter().any(|one| one == value)),
            Self::Above(bound) => number(value).is_some_and(|value| value > *bound),
            Self::Below(bound) => number(value).is_some_and(|value| value < *bound),
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<(String, Test)>,
    fields: Vec<(String, Test)>,
}

impl Selector {
    /// Parses both selectors; an empty string selects everything.
    ///
    /// # Errors
    /// 400 for a selector that cannot be parsed or a field the kind does not select by.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, ApiStatus> {
        let labels = labels::parse(labels).map_err(ApiStatus::bad_request)?;
        let parts = fields.split(',').map(str::trim).filter(|part| !part.is_empty());
        let fields = parts.map(|part| parse_field(fields, part)).collect::<Result<Vec<_>, _>>()?;
        for (field, _) in &fields {
            let known = matches!(field.as_str(), "metadata.name" | "metadata.namespace");
            if !known && !resource.fields.contains(&field.as_str()) {
                return Err(unknown_field(resource, field));
            }
        }
        Ok(Self { labels, fields })
    }

    /// Whether everything is selected.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|(key, test)| test.accepts(labels.get(key).and_then(Value::as_str)))
            && self.fields.iter().all(|(path, test)| test.accepts(Some(&field(object, path))))
    }
}

/// The value at a dotted path, as field selectors compare it: absent is the empty string.
fn field(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, step| value.get(step));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if path == "spec.unschedulable" => "false".to_owned(),
        _ => String::new(),
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value.and_then(|value| value.parse().ok())
}

/// A kind with fields of its own says less than one that has but name and namespace.
fn unknown_field(resource: &Resource, field: &str) -> ApiStatus {
    ApiStatus::bad_request(if resource.fields.is_empty() {
        format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    })
}

fn parse_field(whole: &str, part: &str) -> Result<(String, Test), ApiStatus> {
    let why = || format!("invalid selector: '{whole}'; can't understand '{part}'");
    parse_equality(part).ok_or_else(|| ApiStatus::bad_request(why()))
}

/// `key=value`, `key==value` or `key!=value`.
fn parse_equality(text: &str) -> Option<(String, Test)> {
    let (key, value) = text.split_once('=')?;
    let value = value.strip_prefix('=').unwrap_or(value).trim().to_owned();
    Some(match key.strip_suffix('!') {
        Some(key) => (key.trim().to_owned(), Test::Differs(value)),
        None => (key.trim().to_owned(), Test::Equals(value)),
    })
}
