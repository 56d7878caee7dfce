//! What clients ask before they ask for objects: versions, groups, resources, health.

use bytes::Bytes;
use serde_json::{Value, json};

use super::openapi;
use super::resource::{RESOURCES, Resource, Scope};
use super::review::{REVIEWS, Review};

mod aggregate;

/// A document that is there at once.
pub(super) struct Document {
    pub(super) media: &'static str,
    pub(super) content: Bytes,
}

const JSON: &str = "application/json";
/// The form of `/api` and `/apis` that tells everything at once, since Kubernetes 1.26.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const OPENAPI_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The answer to a path outside the objects, if it is one.
pub(super) fn answer(path: &str, (accept, host): (&str, &str)) -> Option<Document> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let json = |value: Value| Document { media: JSON, content: value.to_string().into() };
    let whole = accept.split(',').any(|form| form.trim() == AGGREGATED);
    let aggregated = |value: Value| Document { media: AGGREGATED, content: value.to_string().into() };
    Some(match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => {
            Document { media: "text/plain; charset=utf-8", content: Bytes::from_static(b"ok") }
        }
        ["version"] => json(version()),
        ["openapi", "v2"] if accept.contains("protobuf") => {
            Document { media: OPENAPI_PROTOBUF, content: Bytes::from_static(openapi::v2_protobuf()) }
        }
        ["openapi", "v2"] => Document { media: JSON, content: Bytes::from_static(openapi::v2().as_bytes()) },
        ["openapi", "v3"] => json(openapi::v3_root()),
        ["openapi", "v3", rest @ ..] => {
            Document { media: JSON, content: Bytes::from_static(openapi::v3(&rest.join("/"))?.as_bytes()) }
        }
        ["api"] if whole => aggregated(aggregate::list(&[""])),
        ["apis"] if whole => aggregated(aggregate::list(&groups())),
        ["api"] => json(core_versions(host)),
        ["apis"] => json(group_list()),
        ["apis", group] if groups().contains(group) => json(with_kind(group_entry(group), "APIGroup")),
        ["api", version] => json(resource_list("", version)?),
        ["apis", group, version] => json(resource_list(group, version)?),
        _ => return None,
    })
}

/// The answer to a path that names nothing: a group that is not there, or else what paths there are. None for a path in
/// a group that is there, which gets a Status.
pub(super) fn nothing_there(path: &str) -> Option<Document> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["api", "v1", ..] => None,
        ["apis", group, "v1", ..] if groups().contains(group) => None,
        ["api" | "apis", ..] => {
            let content = Bytes::from_static(b"404 page not found\n");
            Some(Document { media: "text/plain; charset=utf-8", content })
        }
        _ => {
            let groups = groups().into_iter();
            let versions = groups.flat_map(|group| [format!("/apis/{group}"), format!("/apis/{group}/v1")]);
            let fixed = [
                "/api",
                "/api/v1",
                "/apis",
                "/healthz",
                "/livez",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ];
            let mut paths: Vec<String> = fixed.map(str::to_owned).into_iter().chain(versions).collect();
            paths.sort_unstable();
            Some(Document { media: JSON, content: json!({ "paths": paths }).to_string().into() })
        }
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+mainstay-lab", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// `host` is the address that the client came to.
fn core_versions(host: &str) -> Value {
    let address = json!({ "clientCIDR": "0.0.0.0/0", "serverAddress": host });
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address] })
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> =
        RESOURCES.iter().map(|resource| resource.group).filter(|group| !group.is_empty()).collect();
    groups.extend(REVIEWS.iter().map(|review| review.group));
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group_list() -> Value {
    let groups: Vec<Value> = groups().into_iter().map(group_entry).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

fn group_entry(group: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/v1"), "version": "v1" });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn with_kind(mut object: Value, kind: &str) -> Value {
    object["kind"] = json!(kind);
    object["apiVersion"] = json!("v1");
    object
}

fn resource_list(group: &str, version: &str) -> Option<Value> {
    let members = RESOURCES.iter().filter(|resource| resource.group == group && resource.version == version);
    let reviews = REVIEWS.iter().filter(|review| review.group == group && version == "v1");
    let entries: Vec<Value> = members.flat_map(entries).chain(reviews.map(review_entry)).collect();
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries });
    (!entries.is_empty()).then_some(list)
}

fn review_entry(review: &Review) -> Value {
    json!({
        "name": review.plural, "singularName": review.kind.to_lowercase(), "kind": review.kind,
        "namespaced": review.scope == Scope::Namespaced, "verbs": ["create"],
    })
}

/// What may be done with a kind's objects.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `kubectl get all`.
fn categories(resource: &Resource) -> &'static [&'static str] {
    if matches!(resource.kind, "Pod" | "Service") { &["all"] } else { &[] }
}

fn entries(resource: &Resource) -> Vec<Value> {
    let entry = |name: String, verbs: &[&str]| {
        json!({
            "name": name, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
            "namespaced": resource.scope == Scope::Namespaced, "verbs": verbs,
        })
    };
    let mut main = entry(resource.plural.to_owned(), &VERBS);
    for (field, names) in [("shortNames", resource.short_names), ("categories", categories(resource))] {
        if !names.is_empty() {
            main[field] = json!(names);
        }
    }
    let status = resource
        .has_status
        .then(|| entry(format!("{}/status", resource.plural), &["get", "patch", "update"]));
    [Some(main), status].into_iter().flatten().collect()
}
