//! One object's life: create, update, patch, delete.

use serde_json::{Value, json};

use super::{JSON_PATCH, LEASES, Script, lease, with_metadata};

pub(super) fn all(script: &mut Script) {
    creation(script);
    refusals(script);
    updates(script);
    patches(script);
    deletion(script);
    finalizers(script);
}

fn path(name: &str) -> String {
    format!("{LEASES}/{name}")
}

/// What step `made` made, with another holder.
fn updated(made: &str, holder: &str) -> Value {
    let mut next = lease("one", holder);
    next["metadata"]["resourceVersion"] = json!(format!("${{{made}/metadata/resourceVersion}}"));
    next
}

fn creation(script: &mut Script) {
    script.get("lease-absent", &path("one"));
    script.create("lease-create", LEASES, lease("one", "a"));
    script.create("lease-create-again", LEASES, lease("one", "b"));
    script.get("lease-get", &path("one"));
    let mut generated = lease("", "a");
    generated["metadata"] = json!({"generateName": "many-", "labels": {"generated": "yes"}});
    script.create("lease-generate-name", LEASES, generated);
    script.create("lease-dry-run", &format!("{LEASES}?dryRun=All"), lease("dry", "a"));
    script.get("lease-dry-run-absent", &path("dry"));
    script.create("lease-empty-spec", LEASES, json!({"metadata": {"name": "empty"}}));
    script.create(
        "lease-unknown-field",
        LEASES,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "more"}, "spec": {"colour": "red"}}),
    );
    script.create(
        "lease-system-fields-given",
        LEASES,
        with_metadata(
            lease("given", "a"),
            &json!({"uid": "11111111-2222-4333-8444-555555555555", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}),
        ),
    );
}

fn refusals(script: &mut Script) {
    script.create(
        "lease-with-version",
        LEASES,
        with_metadata(lease("versioned", "a"), &json!({"resourceVersion": "1"})),
    );
    script.create("lease-no-name", LEASES, json!({"spec": {"holderIdentity": "a"}}));
    script.create("lease-bad-name", LEASES, lease("Not_A_Name", "a"));
    script.create(
        "lease-bad-label",
        LEASES,
        with_metadata(lease("labelled", "a"), &json!({"labels": {"a b": "c d"}})),
    );
    script.create(
        "lease-other-namespace",
        LEASES,
        with_metadata(lease("elsewhere", "a"), &json!({"namespace": "default"})),
    );
    script.create(
        "lease-absent-namespace",
        &LEASES.replace("/transcript/", "/nowhere/"),
        lease("nowhere", "a"),
    );
    let mut wrong = lease("wrong", "a");
    wrong["kind"] = json!("Leash");
    script.create("lease-wrong-kind", LEASES, wrong);
    let mut negative = lease("negative", "a");
    negative["spec"]["leaseDurationSeconds"] = json!(-1);
    negative["spec"]["leaseTransitions"] = json!(-1);
    script.create("lease-negative", LEASES, negative);
    let mut typed = lease("typed", "a");
    typed["spec"]["leaseDurationSeconds"] = json!("fifteen");
    script.create("lease-wrong-type", LEASES, typed);
    script.create("lease-no-object", LEASES, json!("text"));
    script.create("lease-bad-dry-run", &format!("{LEASES}?dryRun=Some"), lease("dry", "a"));
}

fn updates(script: &mut Script) {
    script.update("lease-update", &path("one"), updated("lease-create", "b"));
    script.update("lease-update-stale", &path("one"), updated("lease-create", "c"));
    script.update("lease-update-same", &path("one"), updated("lease-update", "b"));
    script.update("lease-update-no-version", &path("one"), lease("one", "c"));
    script.update("lease-update-other-name", &path("one"), lease("two", "c"));
    script.update(
        "lease-update-other-uid",
        &path("one"),
        with_metadata(updated("lease-update", "c"), &json!({"uid": "11111111-2222-4333-8444-555555555555"})),
    );
    script.update("lease-update-negative", &path("one"), {
        let mut wrong = updated("lease-update", "c");
        wrong["spec"]["leaseDurationSeconds"] = json!(0);
        wrong
    });
    script.update("lease-update-creates", &path("put"), lease("put", "a"));
    script.update("lease-update-absent-with-version", &path("never"), {
        with_metadata(lease("never", "a"), &json!({"resourceVersion": "1"}))
    });
    script.get("lease-after-updates", &path("one"));
}

fn patches(script: &mut Script) {
    script.merge("lease-merge", &path("one"), json!({"metadata": {"labels": {"a": "1", "b": "2"}}}));
    script.merge("lease-merge-null", &path("one"), json!({"metadata": {"labels": {"a": null}}}));
    script.merge("lease-merge-same", &path("one"), json!({"metadata": {"labels": {"b": "2"}}}));
    script.merge(
        "lease-merge-stale",
        &path("one"),
        json!({"metadata": {"resourceVersion": "${lease-create/metadata/resourceVersion}"}, "spec": {"holderIdentity": "z"}}),
    );
    script.merge("lease-merge-invalid", &path("one"), json!({"spec": {"leaseDurationSeconds": 0}}));
    script.merge("lease-merge-rename", &path("one"), json!({"metadata": {"name": "two"}}));
    script.merge("lease-merge-absent", &path("none"), json!({"spec": {"holderIdentity": "z"}}));
    let operations = |to: &str| {
        json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": "b"},
            {"op": "replace", "path": "/spec/holderIdentity", "value": to},
            {"op": "add", "path": "/metadata/annotations", "value": {"note": "kept"}},
        ])
    };
    let json_patch = |body| (JSON_PATCH, body);
    script.send("lease-json-patch", "PATCH", &path("one"), json_patch(operations("d")));
    script.send("lease-json-patch-test-fails", "PATCH", &path("one"), json_patch(operations("e")));
    let nowhere = json!([{"op": "remove", "path": "/spec/nothing"}]);
    script.send("lease-json-patch-nowhere", "PATCH", &path("one"), json_patch(nowhere));
    script.strategic(
        "lease-strategic",
        &path("one"),
        json!({"spec": {"holderIdentity": "s"}, "metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
    );
    script.send(
        "lease-patch-wrong-media",
        "PATCH",
        &path("one"),
        ("application/json", json!({"spec": {"holderIdentity": "z"}})),
    );
    script.send(
        "lease-create-wrong-media",
        "POST",
        LEASES,
        ("text/plain", json!({"metadata": {"name": "plain"}})),
    );
}

fn deletion(script: &mut Script) {
    let wrong = json!({"preconditions": {"uid": "11111111-2222-4333-8444-555555555555"}});
    script.delete("lease-delete-other-uid", &path("one"), wrong);
    let stale = json!({"preconditions": {"resourceVersion": "${lease-create/metadata/resourceVersion}"}});
    script.delete("lease-delete-stale", &path("one"), stale);
    script.delete("lease-delete-bad-policy", &path("one"), json!({"propagationPolicy": "Sideways"}));
    script.delete(
        "lease-delete-two-policies",
        &path("one"),
        json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
    );
    script.delete("lease-delete-dry-run", &path("one"), json!({"dryRun": ["All"]}));
    let right = json!({"preconditions": {"uid": "${lease-create/metadata/uid}"}});
    script.delete("lease-delete", &path("one"), right);
    script.delete("lease-delete-again", &path("one"), json!({}));
    script.create("lease-create-anew", LEASES, lease("one", "f"));
    script.push("lease-delete-without-body", "DELETE", &path("one"));
    script.create("lease-for-grace", LEASES, lease("grace", "a"));
    script.delete("lease-delete-grace", &path("grace"), json!({"gracePeriodSeconds": 30}));
    for (step, policy) in [("foreground", "Foreground"), ("orphan", "Orphan"), ("background", "Background")] {
        script.create(&format!("lease-for-{step}"), LEASES, lease(step, "a"));
        let options = json!({"propagationPolicy": policy});
        script.delete(&format!("lease-delete-{step}"), &path(step), options);
        script.get(&format!("lease-after-{step}"), &path(step));
    }
}

fn finalizers(script: &mut Script) {
    let held = with_metadata(lease("held", "a"), &json!({"finalizers": ["mainstay.io/test"]}));
    script.create("finalizer-create", LEASES, held);
    script.delete("finalizer-delete", &path("held"), json!({}));
    script.get("finalizer-get", &path("held"));
    script.delete("finalizer-delete-again", &path("held"), json!({}));
    script.merge("finalizer-write", &path("held"), json!({"spec": {"holderIdentity": "b"}}));
    script.merge(
        "finalizer-another",
        &path("held"),
        json!({"metadata": {"finalizers": ["mainstay.io/test", "mainstay.io/late"]}}),
    );
    script.merge("finalizer-remove", &path("held"), json!({"metadata": {"finalizers": null}}));
    script.get("finalizer-gone", &path("held"));
    let bad = with_metadata(lease("badly-held", "a"), &json!({"finalizers": ["no slash"]}));
    script.create("finalizer-bad", LEASES, bad);
}
