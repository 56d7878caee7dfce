//! From JSON as it came to an object of its kind: unknown fields dropped and named, types checked, times normalised, and
//! what is empty left out, as the real server's decoding into Go types and its storage do.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::resource::Resource;
use super::schema::{Kind, Place, name_of, types};
use super::status::ApiStatus;

#[cfg(test)]
mod tests;

/// Brings the object into the form of its kind; `unknown` gets the paths of fields that the kind does not have.
///
/// # Errors
/// 400 when a field is of another type.
pub(super) fn fit_object(
    resource: &Resource,
    object: Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<Value, ApiStatus> {
    let kind = resource.kind;
    let refuse = |why: String| {
        let version = resource.version;
        ApiStatus::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    };
    let Some(place) = Place::root(resource) else { return Ok(Value::Object(object)) };
    let mut walk = Walk { path: Vec::new(), owner: kind, unknown };
    walk.fit(place, Value::Object(object)).map(|fitted| fitted.unwrap_or_else(|| json!({}))).map_err(refuse)
}

struct Walk<'a> {
    path: Vec<String>,
    /// The type whose fields are looked at, for messages.
    owner: &'a str,
    unknown: &'a mut Vec<String>,
}

impl Walk<'_> {
    /// The value in its place; none where it says nothing.
    fn fit(&mut self, place: Place, value: Value) -> Result<Option<Value>, String> {
        if value.is_null() {
            return Ok(None);
        }
        match (place.kind, value) {
            (Kind::Struct(_), Value::Object(fields)) => self.fit_struct(place, fields).map(Some),
            (Kind::Fields, value @ Value::Object(_)) => Ok(Some(value)),
            (Kind::List(_), Value::Array(items)) => self.fit_list(place, items),
            (Kind::Map(kind), Value::Object(entries)) => self.fit_map(kind, entries),
            (Kind::Time | Kind::MicroTime, Value::String(text)) if text.is_empty() => Ok(None),
            (kind, value) => self.fit_scalar(kind, value).map(Some),
        }
    }

    fn fit_struct(&mut self, place: Place, fields: Map<String, Value>) -> Result<Value, String> {
        let of = place.struct_type();
        let is_metadata = of.is_some_and(|of| of.name == "meta.v1.ObjectMeta");
        let mut fitted = Map::new();
        for (name, value) in fields {
            let Some(member) = place.member(&name) else {
                self.unknown.push(self.told(&name));
                continue;
            };
            let outer = self.owner;
            self.path.push(name.clone());
            let kept = {
                let mut inner = Walk {
                    path: std::mem::take(&mut self.path),
                    owner: of.map_or(outer, |of| of.short_name()),
                    unknown: &mut *self.unknown,
                };
                let kept = inner.fit(member, value);
                self.path = inner.path;
                kept?
            };
            self.path.pop();
            if let Some(kept) = kept.filter(|kept| !(is_metadata && *kept == "")) {
                fitted.insert(name, kept);
            }
        }
        Ok(Value::Object(fitted))
    }

    fn fit_list(&mut self, place: Place, items: Vec<Value>) -> Result<Option<Value>, String> {
        let Some(element) = place.element() else { return Ok(None) };
        let mut fitted = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let last = self.path.last_mut().map(|last| {
                let before = last.clone();
                *last = format!("{before}[{index}]");
                before
            });
            let item = self.fit(element, item)?.unwrap_or_else(|| empty(element.kind));
            if let (Some(before), Some(last)) = (last, self.path.last_mut()) {
                *last = before;
            }
            fitted.push(item);
        }
        // An empty list is not stored; a required one reads back as such.
        let required = place.field.is_some_and(|field| field.required);
        Ok((required || !fitted.is_empty()).then_some(Value::Array(fitted)))
    }

    fn fit_map(&mut self, kind: &'static Kind, entries: Map<String, Value>) -> Result<Option<Value>, String> {
        let mut fitted = Map::new();
        for (name, value) in entries {
            self.path.push(name.clone());
            let value = self.fit(Place { kind, field: None }, value)?;
            self.path.pop();
            fitted.insert(name, value.unwrap_or_else(|| empty(kind)));
        }
        Ok((!fitted.is_empty()).then_some(Value::Object(fitted)))
    }

    fn fit_scalar(&self, kind: &Kind, value: Value) -> Result<Value, String> {
        let fitted = match (kind, &value) {
            (Kind::Text | Kind::IntOrString, Value::String(_)) | (Kind::Bool, Value::Bool(_)) => {
                Some(value.clone())
            }
            (Kind::Int32 | Kind::IntOrString, Value::Number(number)) => {
                number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Value::from)
            }
            (Kind::Int64, Value::Number(number)) => number.as_i64().map(Value::from),
            (Kind::Quantity, Value::String(text)) => is_quantity(text).then(|| value.clone()),
            (Kind::Quantity, Value::Number(number)) => Some(json!(number.to_string())),
            (Kind::Bytes, Value::String(text)) => is_base64(text).then(|| value.clone()),
            (Kind::Time, Value::String(text)) => time(text).map(Value::String),
            (Kind::MicroTime, Value::String(text)) => micro_time(text).map(Value::String),
            _ => None,
        };
        fitted.ok_or_else(|| self.mismatch(kind, &value))
    }

    fn mismatch(&self, kind: &Kind, value: &Value) -> String {
        let given = match (kind, value) {
            (Kind::Time, Value::String(text)) => {
                return format!(
                    "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\""
                );
            }
            (Kind::MicroTime, Value::String(text)) => {
                return format!(
                    "parsing time \"{text}\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"{text}\""
                );
            }
            (Kind::Quantity, Value::String(_)) => {
                return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned();
            }
            (_, Value::Bool(_)) => "bool".to_owned(),
            (_, Value::Number(number)) if matches!(kind, Kind::Int32 | Kind::Int64) => {
                format!("number {number}")
            }
            (_, Value::Number(_)) => "number".to_owned(),
            (_, Value::String(_)) => "string".to_owned(),
            (_, Value::Array(_)) => "array".to_owned(),
            (_, _) => "object".to_owned(),
        };
        let path: Vec<&str> = self.path.iter().map(|step| step.split('[').next().unwrap_or(step)).collect();
        format!(
            "json: cannot unmarshal {given} into Go struct field {}.{} of type {}",
            self.owner,
            path.join("."),
            go_type(kind)
        )
    }

    fn told(&self, name: &str) -> String {
        self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }
}

fn go_type(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Quantity | Kind::IntOrString => {
            "string".to_owned()
        }
        Kind::Bool => "bool".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Fields => "v1.FieldsV1".to_owned(),
        Kind::Struct(name) => {
            let short = name.rsplit('.').next().unwrap_or(name);
            format!("v1.{short}")
        }
        Kind::List(inner) => format!("[]{}", go_type(inner)),
        Kind::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}

/// Adds what is told even when it is empty.
pub(super) fn show(resource: &Resource, object: &mut Value) {
    show_in(&Kind::Struct(name_of(resource)), object);
}

fn show_in(kind: &Kind, value: &mut Value) {
    match (kind, value) {
        (Kind::Struct(name), Value::Object(fields)) => {
            for field in types().get(name).map_or(&[][..], |of| &of.fields) {
                match fields.get_mut(&field.name) {
                    Some(value) => show_in(&field.kind, value),
                    None if field.shown => drop(fields.insert(field.name.clone(), shown(&field.kind))),
                    None => {}
                }
            }
        }
        (Kind::List(kind), Value::Array(items)) => items.iter_mut().for_each(|item| show_in(kind, item)),
        (Kind::Map(kind), Value::Object(entries)) => {
            entries.values_mut().for_each(|entry| show_in(kind, entry));
        }
        _ => {}
    }
}

/// What a field that is told even when it is empty says then.
fn shown(kind: &Kind) -> Value {
    let Kind::Struct(name) = kind else {
        return if matches!(kind, Kind::Time | Kind::MicroTime) { Value::Null } else { empty(kind) };
    };
    let fields = types().get(name).map_or(&[][..], |of| &of.fields);
    let told = fields.iter().filter(|field| field.shown);
    Value::Object(told.map(|field| (field.name.clone(), shown(&field.kind))).collect())
}

/// An object of this kind in which nothing is set.
pub(super) fn blank(resource: &Resource) -> Value {
    blank_of(&name_of(resource))
}

/// The same for a type with this full name.
pub(super) fn blank_of(type_name: &str) -> Value {
    shown(&Kind::Struct(type_name.to_owned()))
}

/// What Go's decoding makes of a null in a list or map.
fn empty(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!(false),
        Kind::Int32 | Kind::Int64 => json!(0),
        Kind::Struct(_) | Kind::Map(_) | Kind::Fields => json!({}),
        Kind::List(_) => json!([]),
        _ => json!(""),
    }
}

/// `metav1.Time`: RFC 3339, stored in UTC and whole seconds.
fn time(text: &str) -> Option<String> {
    let moment: Timestamp = (text.as_bytes().get(10) == Some(&b'T')).then(|| text.parse().ok())??;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `metav1.MicroTime`: RFC 3339 with exactly six fractional digits, stored in UTC.
fn micro_time(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let exact = bytes.get(10) == Some(&b'T')
        && bytes.get(19) == Some(&b'.')
        && bytes.get(20..26)?.iter().all(u8::is_ascii_digit)
        && bytes.get(26).is_some_and(|zone| b"Z+-".contains(zone));
    let moment: Timestamp = exact.then(|| text.parse().ok())??;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits =
        unsigned.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<i8>().is_ok());
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    number.parse::<f64>().is_ok() && (exponent || known.contains(&suffix))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+/\r\n".contains(&byte);
    text.len() - body.len() <= 2 && body.bytes().all(letter)
}
