//! Who may ask what, where things are, and namespaces.

use serde_json::json;

use super::{CORE, JSON, LEASES, NAMESPACE, Script, lease};
use crate::transcript::User;

pub(super) fn namespaces(script: &mut Script) {
    let all = "/api/v1/namespaces";
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"transcript": "yes"}}});
    script.create("namespace-create", all, namespace(NAMESPACE));
    script.create("namespace-create-again", all, namespace(NAMESPACE));
    script.create("namespace-bad-name", all, namespace("a.b"));
    script.get("namespace-get", &format!("{all}/{NAMESPACE}"));
    script.get("namespace-list", &format!("{all}?labelSelector=transcript"));
    script.table("namespace-table", &format!("{all}?labelSelector=transcript"));
}

pub(super) fn all(script: &mut Script) {
    nobodies(script);
    roles(script);
    reader(script);
    places(script);
}

fn by(script: &mut Script, user: User, name: &str, (method, path): (&str, &str)) {
    script.push(name, method, path).user = user;
}

fn nobodies(script: &mut Script) {
    by(script, User::Stranger, "stranger-get", ("GET", LEASES));
    by(script, User::Stranger, "stranger-create", ("POST", LEASES));
    by(script, User::Anonymous, "anonymous-list", ("GET", LEASES));
    by(script, User::Anonymous, "anonymous-discovery", ("GET", "/apis/coordination.k8s.io/v1"));
    by(script, User::Anonymous, "anonymous-health", ("GET", "/readyz"));
    by(script, User::Reader, "reader-before", ("GET", LEASES));
}

fn roles(script: &mut Script) {
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["l2"],
             "verbs": ["get", "list", "watch", "update"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]},
        ],
    });
    script.create("role-create", &format!("{rbac}/roles"), role);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    });
    script.create("role-bind", &format!("{rbac}/rolebindings"), binding);
    script.merge(
        "role-bind-elsewhere",
        &format!("{rbac}/rolebindings/reader"),
        json!({"roleRef": {"name": "other"}}),
    );
}

fn reader(script: &mut Script) {
    let l2 = format!("{LEASES}/l2");
    by(script, User::Reader, "reader-get", ("GET", &l2));
    by(script, User::Reader, "reader-get-other", ("GET", &format!("{LEASES}/l1")));
    by(script, User::Reader, "reader-list", ("GET", LEASES));
    by(
        script,
        User::Reader,
        "reader-list-by-name",
        ("GET", &format!("{LEASES}?fieldSelector=metadata.name%3Dl2")),
    );
    by(script, User::Reader, "reader-list-everywhere", ("GET", "/apis/coordination.k8s.io/v1/leases"));
    by(script, User::Reader, "reader-delete", ("DELETE", &l2));
    by(script, User::Reader, "reader-delete-many", ("DELETE", LEASES));
    by(script, User::Reader, "reader-other-namespace", ("GET", &l2.replace("/transcript/", "/default/")));
    by(script, User::Reader, "reader-nodes", ("GET", "/api/v1/nodes"));
    by(script, User::Reader, "reader-status", ("PATCH", &format!("{CORE}/services/web")));
    by(script, User::Reader, "reader-metrics", ("GET", "/metrics"));
    script.merge("reader-patch", &l2, json!({"spec": {"holderIdentity": "r"}})).user = User::Reader;
    script.create("reader-create", LEASES, lease("made-by-reader", "r")).user = User::Reader;
    script
        .update("reader-put-creates", &format!("{LEASES}/put-by-reader"), lease("put-by-reader", "r"))
        .user = User::Reader;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": NAMESPACE, "verb": "get", "group": "coordination.k8s.io", "resource": "leases", "name": "l2"}},
    });
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    script.create("reader-may", reviews, review).user = User::Reader;
}

fn places(script: &mut Script) {
    script.get("places-versions", "/api");
    script.get("places-group", "/apis/coordination.k8s.io");
    script.get("places-leases", "/apis/coordination.k8s.io/v1");
    script.get("places-no-group", "/apis/unicorns.io/v1");
    script.get("places-no-kind", &format!("{CORE}/unicorns"));
    script.get("places-no-kind-object", &format!("{CORE}/unicorns/one"));
    script.get("places-no-subresource", &format!("{LEASES}/l2/status"));
    script.get("places-nowhere", "/nowhere");
    script.send("places-wrong-method", "POST", &format!("{LEASES}/l2"), (JSON, lease("l2", "a")));
    script.push("places-delete-cluster", "DELETE", "/apis/coordination.k8s.io/v1/leases");
}

/// The namespace goes: what is in it stays until somebody empties it, and nothing can be added.
pub(super) fn the_end(script: &mut Script) {
    script.create(
        "end-lease-held",
        LEASES,
        super::with_metadata(lease("end", "a"), &json!({"finalizers": ["mainstay.io/end"]})),
    );
    script.delete("namespace-delete", &format!("/api/v1/namespaces/{NAMESPACE}"), json!({}));
    script.create("namespace-closed", LEASES, lease("late", "a"));
}
