//! Objects of the API server in the core's words ([`mainstay_core::intent`]). Pure.
//!
//! One object in, one [`Reading`] out, whatever the object looks like. What cannot be understood and matters makes the
//! object unreadable, so that what was known of it stays in force; what can be done without is told, and counts as not set.

mod addresses;
mod annotations;
mod endpoints;
mod node;
mod service;

use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mainstay_core::intent::{self, Flaw, Kind, NodeFacts, ObjectName, Problem, Reading, Slice};
use mainstay_core::names::NodeName;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A `v1` Service.
#[must_use]
pub fn service(object: &Value) -> Reading<ObjectName, intent::Service> {
    let reading = read(Kind::Service, object, object_name(object), |name, object: Service, told| {
        service::convert(name, &object, told)
    });
    let is_torn = reading.key.is_some() && reading.value.is_none();
    let rest = if is_torn { service::rest(object) } else { None };
    reading.or_rest(rest)
}

/// A `discovery.k8s.io/v1` EndpointSlice.
#[must_use]
pub fn endpoint_slice(object: &Value) -> Reading<ObjectName, Slice> {
    read(Kind::EndpointSlice, object, object_name(object), |name, object: EndpointSlice, _| {
        endpoints::slice(name, &object)
    })
}

/// A `v1` Endpoints object, the older kind, as one slice of the Service that has its name.
#[must_use]
pub fn endpoints(object: &Value) -> Reading<ObjectName, Slice> {
    read(Kind::Endpoints, object, object_name(object), |name, object: Endpoints, told| {
        endpoints::endpoints(name, &object, told)
    })
}

/// A `v1` Node.
#[must_use]
pub fn node(object: &Value) -> Reading<NodeName, NodeFacts> {
    let name = text(object, "name").map(NodeName::new);
    read(Kind::Node, object, name, |_, object: Node, _| Ok(node::convert(&object)))
}

/// Reads one object: `convert` is given its name and a place for what is to be told though the object counts.
fn read<K: ToString, T: DeserializeOwned, W>(
    kind: Kind,
    object: &Value,
    key: Option<K>,
    convert: impl FnOnce(&K, T, &mut Vec<Flaw>) -> Result<W, Flaw>,
) -> Reading<K, W> {
    let name = key.as_ref().map(ToString::to_string);
    let problem = |flaw| Problem { kind, name: name.clone(), flaw };
    let Some(key) = key else {
        return Reading::unreadable(None, vec![problem(Flaw::Nameless)]);
    };
    let mut told = Vec::new();
    let uid = text(object, "uid").map(str::to_owned);
    let typed = T::deserialize(object).map_err(|error| Flaw::Unreadable { why: error.to_string() });
    match typed.and_then(|typed| convert(&key, typed, &mut told)) {
        Ok(value) => Reading::read(key, value, told.into_iter().map(problem).collect()).of_uid(uid),
        Err(flaw) => Reading::unreadable(Some(key), vec![problem(flaw)]).of_uid(uid),
    }
}

fn object_name(object: &Value) -> Option<ObjectName> {
    ObjectName::new(text(object, "namespace")?, text(object, "name")?).ok()
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object["metadata"][field].as_str().filter(|text| !text.is_empty())
}

/// A field or annotation that the object cannot do without.
fn flaw(field: &str, value: impl ToString, expected: &str) -> Flaw {
    Flaw::Value { field: field.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}

/// A field or annotation that the object can do without.
fn remark(field: &str, value: impl ToString, expected: &str) -> Flaw {
    Flaw::Remark { field: field.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests;
