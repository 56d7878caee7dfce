use super::*;
use crate::apiserver::StoreOptions;

fn store() -> Store {
    let store = Store::new(StoreOptions::default());
    bootstrap::fill(&store);
    store
}

fn bind(store: &Store, namespace: &str, role: (&str, &str), subject: Value) {
    let (kind, name) = role;
    let resource = if namespace.is_empty() { CLUSTER_ROLE_BINDING } else { ROLE_BINDING };
    let body = json!({
        "metadata": { "generateName": "test-" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
        "subjects": [subject],
    });
    store.create(resource, namespace, body).unwrap();
}

fn ask(store: &Store, user: &UserInfo, method: &str, path: &str) -> bool {
    allows(store, user, &Attributes::of(&method.parse().unwrap(), path, ""))
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

#[test]
fn nothing_is_allowed_without_a_rule() {
    let (store, jane) = (store(), UserInfo::authenticated("jane", &[]));
    assert!(!ask(&store, &jane, "GET", LEASES));
    assert!(ask(&store, &UserInfo::administrator("root"), "DELETE", LEASES));
}

#[test]
fn everyone_reads_health_and_the_known_read_discovery() {
    let (store, jane) = (store(), UserInfo::authenticated("jane", &[]));
    assert!(ask(&store, &UserInfo::anonymous(), "GET", "/readyz"));
    assert!(!ask(&store, &UserInfo::anonymous(), "GET", "/apis/coordination.k8s.io/v1"));
    assert!(ask(&store, &jane, "GET", "/apis/coordination.k8s.io/v1"));
    assert!(!ask(&store, &jane, "GET", "/metrics"));
}

#[test]
fn a_role_counts_in_its_namespace_alone() {
    let (store, jane) = (store(), UserInfo::authenticated("jane", &[]));
    let rules = json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"], "resourceNames": ["a"] }]);
    store.create(ROLE, "kube-system", json!({ "metadata": { "name": "reader" }, "rules": rules })).unwrap();
    bind(&store, "kube-system", ("Role", "reader"), json!({ "kind": "User", "name": "jane" }));
    bind(&store, "default", ("Role", "reader"), json!({ "kind": "User", "name": "jane" }));
    assert!(ask(&store, &jane, "GET", &format!("{LEASES}/a")));
    assert!(!ask(&store, &jane, "GET", &format!("{LEASES}/b")));
    assert!(!ask(&store, &jane, "PUT", &format!("{LEASES}/a")));
    assert!(!ask(&store, &jane, "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/a"));
    assert!(!ask(&store, &jane, "GET", "/api/v1/namespaces/kube-system/pods/a"));
}

#[test]
fn a_cluster_role_may_be_bound_in_one_namespace_or_in_all() {
    let (store, account) = (store(), UserInfo::service_account("ops", "robot"));
    bind(
        &store,
        "default",
        ("ClusterRole", "view"),
        json!({ "kind": "ServiceAccount", "name": "robot", "namespace": "ops" }),
    );
    assert!(ask(&store, &account, "GET", "/api/v1/namespaces/default/services"));
    assert!(!ask(&store, &account, "POST", "/api/v1/namespaces/default/services"));
    assert!(!ask(&store, &account, "GET", LEASES));
    bind(
        &store,
        "",
        ("ClusterRole", "edit"),
        json!({ "kind": "Group", "name": "system:serviceaccounts:ops" }),
    );
    assert!(ask(&store, &account, "POST", LEASES));
    assert!(!ask(&store, &account, "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"));
}

#[test]
fn a_subresource_has_a_name_of_its_own() {
    let (store, jane) = (store(), UserInfo::authenticated("jane", &[]));
    let rules = json!([
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
        { "apiGroups": [""], "resources": ["*/token"], "verbs": ["create"] },
    ]);
    store.create(CLUSTER_ROLE, "", json!({ "metadata": { "name": "status" }, "rules": rules })).unwrap();
    bind(&store, "", ("ClusterRole", "status"), json!({ "kind": "User", "name": "jane" }));
    assert!(ask(&store, &jane, "PATCH", "/api/v1/nodes/n1/status"));
    assert!(!ask(&store, &jane, "PATCH", "/api/v1/nodes/n1"));
    assert!(ask(&store, &jane, "POST", "/api/v1/namespaces/x/serviceaccounts/y/token"));
}

#[test]
fn nobody_hands_out_more_than_they_have() {
    let (store, jane) = (store(), UserInfo::authenticated("jane", &[]));
    bind(&store, "default", ("ClusterRole", "view"), json!({ "kind": "User", "name": "jane" }));
    let rule =
        |verb: &str| json!({ "apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", verb] });
    assert!(not_held(&store, &jane, "default", &[rule("list")]).is_empty());
    assert_eq!(not_held(&store, &jane, "default", &[rule("list"), rule("delete")]), [rule("delete")]);
    assert_eq!(not_held(&store, &jane, "", &[rule("list")]), [rule("list")]);
    assert!(not_held(&store, &UserInfo::administrator("root"), "", &[rule("delete")]).is_empty());
}
