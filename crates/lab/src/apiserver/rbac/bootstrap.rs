//! The roles a new cluster is born with: those of kubernetes `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` that
//! users (not the cluster's own components) have need of.

use serde_json::{Value, json};

use crate::apiserver::resource::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, RESOURCES, Scope};
use crate::apiserver::store::Store;
use crate::apiserver::user::MASTERS;

const HEALTH: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Writes the roles and their bindings into a fresh store.
pub(in crate::apiserver) fn fill(store: &Store) {
    let labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    for (name, rules) in roles() {
        let body = json!({ "metadata": { "name": name, "labels": labels }, "rules": rules });
        // A fresh store has nothing that this could clash with.
        drop(store.create(CLUSTER_ROLE, "", body));
    }
    for (role, groups) in bindings() {
        let subject =
            |group: &&str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group });
        let body = json!({
            "metadata": { "name": role, "labels": labels },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        });
        drop(store.create(CLUSTER_ROLE_BINDING, "", body));
    }
}

fn roles() -> Vec<(&'static str, Value)> {
    let discovery: Vec<&str> =
        ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"].into_iter().chain(HEALTH).collect();
    let all = json!(["*"]);
    vec![
        (
            "cluster-admin",
            json!([
                { "apiGroups": all, "resources": all, "verbs": all },
                { "nonResourceURLs": all, "verbs": all },
            ]),
        ),
        ("system:discovery", json!([{ "nonResourceURLs": discovery, "verbs": ["get"] }])),
        ("system:public-info-viewer", json!([{ "nonResourceURLs": HEALTH, "verbs": ["get"] }])),
        (
            "system:basic-user",
            json!([
                { "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"] },
                { "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"] },
            ]),
        ),
        ("view", namespaced(&READ)),
        ("edit", namespaced(&[&READ[..], &WRITE].concat())),
    ]
}

/// A rule for each group: everything namespaced but the access control itself.
fn namespaced(verbs: &[&str]) -> Value {
    let of = |group: &str| -> Vec<&str> {
        let inside = RESOURCES.iter().filter(|one| one.group == group && one.scope == Scope::Namespaced);
        inside.map(|one| one.plural).collect()
    };
    let groups = ["", "coordination.k8s.io", "discovery.k8s.io"];
    groups
        .iter()
        .map(|group| json!({ "apiGroups": [group], "resources": of(group), "verbs": verbs }))
        .collect()
}

fn bindings() -> [(&'static str, &'static [&'static str]); 4] {
    const EVERYONE: &[&str] = &["system:authenticated", "system:unauthenticated"];
    const KNOWN: &[&str] = &["system:authenticated"];
    [
        ("cluster-admin", &[MASTERS]),
        ("system:discovery", KNOWN),
        ("system:public-info-viewer", EVERYONE),
        ("system:basic-user", KNOWN),
    ]
}
