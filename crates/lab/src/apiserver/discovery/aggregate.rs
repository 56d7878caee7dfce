//! Aggregated discovery (`apidiscovery.k8s.io/v2`, KEP 3352): all groups with all their resources in one answer.

use serde_json::{Value, json};

use super::{VERBS, categories};
use crate::apiserver::resource::{RESOURCES, Resource, Scope};
use crate::apiserver::review::{REVIEWS, Review};

/// The list of these groups.
pub(super) fn list(groups: &[&str]) -> Value {
    let items: Vec<Value> = groups.iter().map(|group| item(group)).collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn item(group: &str) -> Value {
    let members = RESOURCES.iter().filter(|resource| resource.group == group).map(resource);
    let reviews = REVIEWS.iter().filter(|review| review.group == group).map(review);
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    json!({
        "metadata": metadata,
        "versions": [{ "version": "v1", "freshness": "Current", "resources": members.chain(reviews).collect::<Vec<_>>() }],
    })
}

fn resource(resource: &Resource) -> Value {
    let kind = json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind, "scope": scope(resource.scope),
        "singularResource": resource.kind.to_lowercase(), "verbs": VERBS,
    });
    for (field, names) in [("shortNames", resource.short_names), ("categories", categories(resource))] {
        if !names.is_empty() {
            entry[field] = json!(names);
        }
    }
    if resource.has_status {
        entry["subresources"] =
            json!([{ "subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"] }]);
    }
    entry
}

fn review(review: &Review) -> Value {
    json!({
        "resource": review.plural,
        "responseKind": { "group": review.group, "version": "v1", "kind": review.kind },
        "scope": scope(review.scope), "singularResource": review.kind.to_lowercase(), "verbs": ["create"],
    })
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    }
}
