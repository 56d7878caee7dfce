//! What clients ask before they ask for objects: versions, groups, resources, health.

use serde_json::{Value, json};

use super::resource::{RESOURCES, Resource, Scope};
use super::review::{REVIEWS, Review};

/// The answer to a path outside the objects, if it is one.
pub(super) fn answer(path: &str) -> Option<Answer> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Some(Answer::Text("ok")),
        ["version"] => Some(Answer::Json(version())),
        ["api"] => Some(Answer::Json(core_versions())),
        ["apis"] => Some(Answer::Json(group_list())),
        ["apis", group] => {
            groups().contains(group).then(|| Answer::Json(with_kind(group_entry(group), "APIGroup")))
        }
        ["api", version] => resource_list("", version).map(Answer::Json),
        ["apis", group, version] => resource_list(group, version).map(Answer::Json),
        _ => None,
    }
}

/// A whole answer.
pub(super) enum Answer {
    Text(&'static str),
    Json(Value),
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+mainstay-lab", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
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
        "namespaced": review.namespaced, "verbs": ["create"],
    })
}

fn entries(resource: &Resource) -> Vec<Value> {
    let entry = |name: String, verbs: &[&str]| {
        json!({
            "name": name, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
            "namespaced": resource.scope == Scope::Namespaced, "verbs": verbs,
        })
    };
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut main = entry(resource.plural.to_owned(), &verbs);
    main["shortNames"] = json!(resource.short_names);
    let status = resource
        .has_status
        .then(|| entry(format!("{}/status", resource.plural), &["get", "patch", "update"]));
    [Some(main), status].into_iter().flatten().collect()
}
