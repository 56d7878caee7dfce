//! Label and field selectors, as `labelSelector` and `fieldSelector` in a URL spell them.

use serde_json::Value;

use super::resource::Resource;
use super::status::ApiStatus;

#[cfg(test)]
mod tests;

/// One requirement on a label or a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(String),
    Differs(String),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
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
        let labels = split_top_level(labels).map(parse_label).collect::<Result<Vec<_>, _>>()?;
        let fields = split_top_level(fields).map(parse_field).collect::<Result<Vec<_>, _>>()?;
        for (field, _) in &fields {
            let known = matches!(field.as_str(), "metadata.name" | "metadata.namespace");
            if !known && !resource.fields.contains(&field.as_str()) {
                return Err(ApiStatus::bad_request(format!("field label not supported: {field}")));
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

/// Splits at commas outside parentheses, dropping empty parts.
fn split_top_level(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn parse_label(text: &str) -> Result<(String, Test), ApiStatus> {
    if let Some(parsed) = parse_equality(text) {
        return checked_key(text, parsed);
    }
    if let Some(key) = text.strip_prefix('!') {
        return checked_key(text, (key.trim().to_owned(), Test::Absent));
    }
    let Some((key, rest)) = text.split_once(char::is_whitespace) else {
        return checked_key(text, (text.to_owned(), Test::Present));
    };
    let rest = rest.trim();
    let test = if let Some(set) = rest.strip_prefix("notin") {
        Test::NoneOf(parse_set(text, set)?)
    } else if let Some(set) = rest.strip_prefix("in") {
        Test::OneOf(parse_set(text, set)?)
    } else {
        return Err(unparsable(text));
    };
    checked_key(text, (key.to_owned(), test))
}

fn parse_field(text: &str) -> Result<(String, Test), ApiStatus> {
    parse_equality(text)
        .ok_or_else(|| ApiStatus::bad_request(format!("invalid selector: '{text}'; can't understand it")))
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

fn parse_set(whole: &str, text: &str) -> Result<Vec<String>, ApiStatus> {
    let inner = text
        .trim()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| unparsable(whole))?;
    Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

fn checked_key(whole: &str, parsed: (String, Test)) -> Result<(String, Test), ApiStatus> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if parsed.0.is_empty() || !parsed.0.chars().all(legal) {
        return Err(unparsable(whole));
    }
    Ok(parsed)
}

fn unparsable(text: &str) -> ApiStatus {
    ApiStatus::bad_request(format!("unable to parse requirement: '{text}'"))
}
