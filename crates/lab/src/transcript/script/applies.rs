//! Server-side apply: managed fields, conflicts, and what is taken away with its last owner.

use serde_json::{Value, json};

use super::{APPLY, CORE, LEASES, Script};

fn map(name: &str, manager: &str, more: &str) -> String {
    format!("{CORE}/configmaps/{name}?fieldManager={manager}{more}")
}

fn data(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn apply(script: &mut Script, step: &str, path: &str, body: Value) {
    script.send(step, "PATCH", path, (APPLY, body));
}

pub(super) fn all(script: &mut Script) {
    ownership(script);
    refusals(script);
    lists(script);
    for name in ["applied", "taken"] {
        script.delete(&format!("apply-delete-{name}"), &format!("{CORE}/configmaps/{name}"), json!({}));
    }
}

fn ownership(script: &mut Script) {
    let one = data("applied", json!({"a": "1", "b": "1"}));
    apply(script, "apply-creates", &map("applied", "one", ""), one.clone());
    apply(script, "apply-again", &map("applied", "one", ""), one);
    apply(script, "apply-beside", &map("applied", "two", ""), data("applied", json!({"c": "1"})));
    apply(script, "apply-shares", &map("applied", "two", ""), data("applied", json!({"c": "1", "a": "1"})));
    apply(script, "apply-conflict", &map("applied", "two", ""), data("applied", json!({"c": "1", "b": "2"})));
    apply(script, "apply-forced", &map("applied", "two", "&force=true"), data("applied", json!({"b": "2"})));
    apply(script, "apply-takes-away", &map("applied", "one", ""), data("applied", json!({"b": "2"})));
    script.merge("apply-then-merge", &map("applied", "three", ""), json!({"data": {"b": "3", "d": "1"}}));
    apply(script, "apply-after-merge", &map("applied", "one", ""), data("applied", json!({"b": "4"})));
    script.get("apply-result", &format!("{CORE}/configmaps/applied"));
    script.merge(
        "apply-clear-managers",
        &format!("{CORE}/configmaps/applied"),
        json!({"metadata": {"managedFields": [{}]}}),
    );
}

fn refusals(script: &mut Script) {
    let body = data("applied", json!({"a": "1"}));
    apply(script, "apply-without-manager", &format!("{CORE}/configmaps/applied"), body.clone());
    let mut managed = body.clone();
    managed["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply"}]);
    apply(script, "apply-with-managed-fields", &map("applied", "one", ""), managed);
    let mut nameless = body.clone();
    nameless["metadata"] = json!({});
    apply(script, "apply-without-name", &map("applied", "one", ""), nameless);
    apply(script, "apply-other-name", &map("taken", "one", ""), body.clone());
    let mut kindless = body;
    kindless["kind"] = json!(null);
    apply(script, "apply-without-kind", &map("applied", "one", ""), kindless);
    apply(
        script,
        "apply-unknown-field",
        &map("applied", "one", ""),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "colour": "red"}),
    );
    script.create(
        "apply-created-before",
        &format!("{CORE}/configmaps?fieldManager=maker"),
        data("taken", json!({"a": "1"})),
    );
    apply(script, "apply-against-creator", &map("taken", "one", ""), data("taken", json!({"a": "2"})));
}

/// Lists by key, and atomic ones.
fn lists(script: &mut Script) {
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "applied"},
               "spec": {"clusterIP": "None", "selector": {"app": "a"}, "ports": ports}})
    };
    let path = |manager: &str| format!("{CORE}/services/applied?fieldManager={manager}");
    let port = |name: &str, number: u16| json!({"name": name, "port": number, "protocol": "TCP"});
    apply(script, "apply-list", &path("one"), service(json!([port("a", 80)])));
    apply(script, "apply-list-beside", &path("two"), service(json!([port("b", 81)])));
    apply(script, "apply-list-away", &path("one"), service(json!([])));
    script.delete("apply-list-delete", &format!("{CORE}/services/applied"), json!({}));
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "applied"},
                       "spec": {"holderIdentity": "a"}});
    apply(script, "apply-lease", &format!("{LEASES}/applied?fieldManager=one"), lease);
    script.delete("apply-lease-delete", &format!("{LEASES}/applied"), json!({}));
}
