//! What is refused when an object changes, what a deletion leaves to be seen, and lists of everything.

use serde_json::{Value, json};

use super::{APPLY, CORE, JSON, LEASES, Script, config_map, lease, with_metadata};

pub(super) fn all(script: &mut Script) {
    metadata(script);
    services(script);
    deletions(script);
    pods(script);
    selectors(script);
    pages(script);
    applies(script);
}

fn maps() -> String {
    format!("{CORE}/configmaps")
}

/// What is wrong with the metadata of a change is told as often as it is found.
fn metadata(script: &mut Script) {
    let (lease_path, map_path) = (format!("{LEASES}/changed"), format!("{}/changed", maps()));
    script.create("change-lease", LEASES, lease("changed", "a"));
    script.create("change-map", &maps(), config_map("changed", json!({"a": "1"})));
    let label = json!({"metadata": {"labels": {"a b": "1"}}});
    script.merge("change-lease-bad-label", &lease_path, label.clone());
    script.merge("change-map-bad-label", &map_path, label);
    script.merge(
        "change-lease-bad-annotation",
        &lease_path,
        json!({"metadata": {"annotations": {"a b": "1"}}}),
    );
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": ""});
    script.merge("change-lease-bad-owner", &lease_path, json!({"metadata": {"ownerReferences": [owner]}}));
    script.merge("change-map-freeze", &map_path, json!({"immutable": true}));
    script.merge("change-map-frozen", &map_path, json!({"data": {"a": "2"}}));
    script.merge("change-map-thaw", &map_path, json!({"immutable": null}));
    script.merge("change-map-frozen-label", &map_path, json!({"metadata": {"labels": {"a": "1"}}}));
}

fn services(script: &mut Script) {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "odd"}, "spec": spec});
    let services = format!("{CORE}/services");
    let unnamed = json!({"ports": [{"port": 80}, {"port": 81}]});
    script.create("change-service-unnamed-ports", &services, service(unnamed));
    script.create("change-service-no-ports", &services, service(json!({})));
    let outside = json!({"type": "ExternalName"});
    script.create("change-service-no-external-name", &services, service(outside));
    let sort = json!({"type": "Sideways", "ports": [{"port": 80}], "sessionAffinity": "Some"});
    script.create("change-service-unknown-type", &services, service(sort));
    let port = json!({"ports": [{"port": 80, "protocol": "ICMP"}], "selector": {"a b": "1"}});
    script.create("change-service-unknown-protocol", &services, service(port));
    let mut name = service(json!({"ports": [{"port": 80}]}));
    name["metadata"]["name"] = json!("1odd");
    script.create("change-service-bad-name", &services, name);
}

fn deletions(script: &mut Script) {
    let path = |name: &str| format!("{LEASES}/{name}");
    let held = with_metadata(lease("kept", "a"), &json!({"finalizers": ["mainstay.io/test"]}));
    script.create("deletion-create", LEASES, held);
    script.delete("deletion-foreground", &path("kept"), json!({"propagationPolicy": "Foreground"}));
    script.delete("deletion-then-orphan", &path("kept"), json!({"propagationPolicy": "Orphan"}));
    script.merge(
        "deletion-release",
        &path("kept"),
        json!({"metadata": {"finalizers": ["foregroundDeletion"]}}),
    );
    script.merge("deletion-finish", &path("kept"), json!({"metadata": {"finalizers": null}}));
    script.get("deletion-finished", &path("kept"));
    script.create("deletion-for-older", LEASES, lease("older", "a"));
    script.delete("deletion-orphans-older", &path("older"), json!({"orphanDependents": true}));
    let set = "labelSelector=set%3Ddeletion";
    let labelled = with_metadata(lease("in-set", "a"), &json!({"labels": {"set": "deletion"}}));
    script.create("deletion-for-collection", LEASES, labelled);
    script.push("deletion-collection-dry", "DELETE", &format!("{LEASES}?{set}&dryRun=All"));
    script.push(
        "deletion-collection-bad-policy",
        "DELETE",
        &format!("{LEASES}?{set}&propagationPolicy=Sideways"),
    );
    script.get("deletion-collection-there", &format!("{LEASES}?{set}"));
    script.send(
        "deletion-collection-foreground",
        "DELETE",
        &format!("{LEASES}?{set}"),
        (JSON, json!({"propagationPolicy": "Foreground"})),
    );
    script.get("deletion-collection-after", &path("in-set"));
}

/// A pod on no node goes at once, and yet wears its deletion first.
fn pods(script: &mut Script) {
    let pods = format!("{CORE}/pods");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nowhere", "labels": {"set": "nowhere"}},
        "spec": {"containers": [{"name": "a", "image": "a:1"}]}, "status": {"phase": "Running"},
    });
    script.create("deletion-pod-create", &pods, pod);
    script.delete("deletion-pod", &format!("{pods}/nowhere"), json!({}));
    let from = "resourceVersion=${deletion-pod-create/metadata/resourceVersion}";
    script.watch(
        "deletion-pod-seen",
        &format!("{pods}?watch=true&timeoutSeconds=3&labelSelector=set%3Dnowhere&{from}"),
        2,
    );
}

fn selectors(script: &mut Script) {
    for (name, selector) in [
        ("unclosed", "a+in+(b"),
        ("two-commas", "a,,b"),
        ("no-number", "a%3Ex"),
        ("bad-value", "a%3Db/c"),
        ("bad-key", "a/b/c"),
        ("empty-set", "a+in+()"),
        ("negated", "!changed,!set"),
    ] {
        script.get(&format!("select-{name}"), &format!("{LEASES}?limit=1&labelSelector={selector}"));
    }
    script.get("select-pod-field", &format!("{CORE}/pods?fieldSelector=spec.colour%3Dred"));
    script.get("select-nonsense", &format!("{CORE}/pods?fieldSelector=nonsense"));
}

/// Without a selector, a page tells how many are left.
fn pages(script: &mut Script) {
    let maps = maps();
    script.get("page-of-all", &format!("{maps}?limit=1"));
    script.get("page-of-all-next", &format!("{maps}?limit=1&continue=${{page-of-all/metadata/continue}}"));
    let everywhere = "/apis/coordination.k8s.io/v1/leases?limit=1";
    script.get("page-everywhere", everywhere);
    script.get(
        "page-everywhere-next",
        &format!("{everywhere}&continue=${{page-everywhere/metadata/continue}}"),
    );
    let version = "resourceVersion=${change-map/metadata/resourceVersion}";
    script.get("page-at-version", &format!("{maps}?limit=1&{version}"));
}

fn applies(script: &mut Script) {
    let apply = |script: &mut Script, name: &str, path: &str, body: Value| {
        script.send(name, "PATCH", &format!("{path}?fieldManager=two"), (APPLY, body));
    };
    let kind = |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec});
    let path = format!("{LEASES}/changed");
    apply(script, "apply-nothing", &path, kind(json!({})));
    apply(script, "apply-invalid", &path, kind(json!({"leaseDurationSeconds": 15, "leaseTransitions": -1})));
    let mut older = kind(json!({}));
    older["apiVersion"] = json!("coordination.k8s.io/v1beta1");
    apply(script, "apply-other-version", &path, older);
    let mut other = kind(json!({}));
    other["kind"] = json!("Leash");
    apply(script, "apply-other-kind", &path, other);
}
