//! From method, path and query to what is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;

use super::account::Verb;
use super::field::FieldError;
use super::resource::{self, Resource, Scope};
use super::selector::Selector;
use super::status::ApiStatus;
use super::store::{At, Part, Scan, Target};

#[cfg(test)]
mod tests;

/// The decoded query string.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        )
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        matches!(self.text(key), "1" | "true") || (self.0.contains_key(key) && self.text(key).is_empty())
    }

    /// A number, or nothing when the key is absent or empty.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ApiStatus> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_| ApiStatus::bad_request(format!("invalid value for {key}: \"{text}\"")))
    }

    /// `resourceVersion`. The real server answers 500 to what is none.
    pub(super) fn version(&self) -> Result<Option<u64>, ApiStatus> {
        let text = self.text("resourceVersion");
        let wrong = || {
            let told = format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            );
            ApiStatus::new(500, "", told)
        };
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| wrong()) }
    }
}

/// Percent decoding, with `+` as a space as in forms.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                // `from_str_radix` would take a sign, too.
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                decoded.push(value.unwrap_or(b'?'));
            }
            other => decoded.push(other),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A request for objects.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) resource: &'static Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) query: Query,
}

impl Call {
    pub(super) fn target(&self) -> Target {
        Target::new(self.resource, self.namespace.as_deref().unwrap_or_default(), &self.name)
    }

    pub(super) fn scan(&self) -> Result<Scan, ApiStatus> {
        let selector = Selector::parse(
            self.resource,
            self.query.text("labelSelector"),
            self.query.text("fieldSelector"),
        )?;
        Ok(Scan { resource: self.resource, namespace: self.namespace.clone(), selector })
    }

    /// Which state a list wants: by `resourceVersion` and `resourceVersionMatch`.
    pub(super) fn at(&self) -> Result<At, ApiStatus> {
        let version = self.query.version()?;
        let field = "resourceVersionMatch";
        let refuse = |wrong: FieldError| Err(ApiStatus::invalid_options("ListOptions", &[wrong]));
        match (version, self.query.text("resourceVersionMatch")) {
            (None, "") => Ok(At::Newest),
            (None, _) => refuse(FieldError::forbidden(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
            (Some(0), "Exact") => refuse(FieldError::forbidden(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )),
            (Some(version), "" | "NotOlderThan") => Ok(At::NotOlderThan(version)),
            (Some(version), "Exact") => Ok(At::Exactly(version)),
            (Some(_), other) => {
                let known = ["Exact", "NotOlderThan", ""];
                refuse(FieldError::unsupported(field, &format!("\"{other}\""), &known))
            }
        }
    }

    /// Whether a read may be answered from a cache: `resourceVersion=0` asks for any state.
    pub(super) fn is_cached_read(&self) -> bool {
        self.query.text("resourceVersion") == "0"
    }

    pub(super) fn watch_timeout(&self) -> Result<Option<Duration>, ApiStatus> {
        Ok(self.query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    }
}

/// Finds what a request is for.
///
/// # Errors
/// 404 for an unknown path, 405 for a method the path does not have, 400 for a bad query.
pub(super) fn parse(method: &Method, path: &str, query: &str) -> Result<Call, ApiStatus> {
    let decoded: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(ApiStatus::no_such_path()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, ..] if !matches!(*plural, "status" | "finalize") => {
            (Some((*namespace).to_owned()), &rest[2..])
        }
        _ => (None, rest),
    };
    let (plural, name, part) = match rest {
        [plural] => (*plural, "", Part::Main),
        [plural, name] => (*plural, *name, Part::Main),
        [plural, name, "status"] => (*plural, *name, Part::Status),
        _ => return Err(ApiStatus::no_such_path()),
    };
    let resource = resource::find(group, version, plural).ok_or_else(ApiStatus::no_such_path)?;
    let fits = match resource.scope {
        Scope::Cluster => namespace.is_none(),
        Scope::Namespaced => namespace.is_some() || name.is_empty(),
    };
    if !fits || (part == Part::Status && !resource.has_status) {
        return Err(ApiStatus::no_such_path());
    }
    let query = Query::parse(query);
    let verb = verb(method, name, part, &query)?;
    let everywhere = resource.scope == Scope::Namespaced && namespace.is_none();
    if everywhere && !matches!(verb, Verb::List | Verb::Watch) {
        return Err(ApiStatus::no_such_method());
    }
    Ok(Call { verb, resource, namespace, name: name.to_owned(), part, query })
}

fn verb(method: &Method, name: &str, part: Part, query: &Query) -> Result<Verb, ApiStatus> {
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET", true) if query.is_set("watch") => Verb::Watch,
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", true) => Verb::Create,
        ("PUT", false) => Verb::Update,
        ("PATCH", false) => Verb::Patch,
        ("DELETE", false) if part == Part::Main => Verb::Delete,
        ("DELETE", true) => Verb::DeleteCollection,
        _ => return Err(ApiStatus::no_such_method()),
    };
    Ok(verb)
}
