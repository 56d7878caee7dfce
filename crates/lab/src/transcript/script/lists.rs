//! Collections: selectors, pages, resource versions, watches, deletion of many.

use serde_json::json;

use super::{CORE, LEASES, Script, config_map, lease, with_metadata};

/// The collection that the watches and pages are about.
fn maps() -> String {
    format!("{CORE}/configmaps")
}

pub(super) fn all(script: &mut Script) {
    for (name, labels) in [
        ("l1", json!({"set": "list", "tier": "front", "odd": "yes"})),
        ("l2", json!({"set": "list", "tier": "back"})),
        ("l3", json!({"set": "list", "odd": "yes"})),
    ] {
        script.create(
            &format!("list-create-{name}"),
            LEASES,
            with_metadata(lease(name, "a"), &json!({"labels": labels})),
        );
    }
    selectors(script);
    versions(script);
    watches(script);
    pages(script);
    script.push("list-delete-many", "DELETE", &format!("{LEASES}?labelSelector=odd"));
    script.get("list-after-delete", &format!("{LEASES}?labelSelector=set%3Dlist"));
}

fn selectors(script: &mut Script) {
    for (name, selector) in [
        ("equal", "set%3Dlist%2Ctier%3Dfront"),
        ("unequal", "set%3Dlist%2Ctier!%3Dfront"),
        ("in", "set%3Dlist%2Ctier+in+(front%2Cback)"),
        ("notin", "set%3Dlist%2Ctier+notin+(front)"),
        ("has", "set%3Dlist%2Codd"),
        ("has-not", "set%3Dlist%2C!odd"),
        ("nobody", "set%3Dnothing"),
        ("bad", "a%20b%3D%3D%3D"),
    ] {
        script.get(&format!("select-{name}"), &format!("{LEASES}?labelSelector={selector}"));
    }
    script.get("select-name", &format!("{LEASES}?fieldSelector=metadata.name%3Dl2"));
    script.get(
        "select-not-name",
        &format!("{LEASES}?labelSelector=set%3Dlist&fieldSelector=metadata.name!%3Dl2"),
    );
    script.get("select-unknown-field", &format!("{LEASES}?fieldSelector=spec.holderIdentity%3Da"));
    script.get("select-everywhere", "/apis/coordination.k8s.io/v1/leases?labelSelector=set%3Dlist");
    script.table("select-table", &format!("{LEASES}?labelSelector=set%3Dlist"));
}

fn versions(script: &mut Script) {
    let list = format!("{LEASES}?labelSelector=set%3Dlist");
    script.get("version-any", &format!("{list}&resourceVersion=0"));
    script.get(
        "version-at-least",
        &format!("{list}&resourceVersion=${{list-create-l1/metadata/resourceVersion}}"),
    );
    script.get(
        "version-exact",
        &format!(
            "{list}&resourceVersion=${{list-create-l2/metadata/resourceVersion}}&resourceVersionMatch=Exact"
        ),
    );
    script.get("version-bad", &format!("{list}&resourceVersion=now"));
    script.get("version-match-alone", &format!("{list}&resourceVersionMatch=Exact"));
    script.get("version-match-bad", &format!("{list}&resourceVersion=1&resourceVersionMatch=Around"));
    script.get("version-exact-zero", &format!("{list}&resourceVersion=0&resourceVersionMatch=Exact"));
    script.get("version-future", &format!("{list}&resourceVersion=99999999"));
    script.get("version-get-future", &format!("{LEASES}/l1?resourceVersion=99999999"));
}

fn watches(script: &mut Script) {
    let maps = maps();
    let map = |name: &str, colour: &str| {
        with_metadata(
            config_map(name, json!({"a": "1"})),
            &json!({"labels": {"colour": colour, "set": "watch"}}),
        )
    };
    script.create("watch-create", &maps, map("w1", "red"));
    script.merge("watch-change", &format!("{maps}/w1"), json!({"data": {"a": "2"}}));
    script.merge("watch-relabel", &format!("{maps}/w1"), json!({"metadata": {"labels": {"colour": "blue"}}}));
    script.create("watch-create-second", &maps, map("w2", "red"));
    script.delete("watch-delete", &format!("{maps}/w1"), json!({}));
    let from = "resourceVersion=${watch-create/metadata/resourceVersion}";
    let watch = |query: &str| format!("{maps}?watch=true&timeoutSeconds=3&{query}");
    let set = "labelSelector=set%3Dwatch";
    script.watch("watch-history", &watch(&format!("{from}&{set}")), 4);
    script.watch("watch-leaves-selection", &watch(&format!("{from}&labelSelector=colour%3Dred")), 3);
    script.watch("watch-enters-selection", &watch(&format!("{from}&labelSelector=colour%3Dblue")), 2);
    script.watch("watch-by-name", &watch(&format!("{from}&fieldSelector=metadata.name%3Dw2")), 1);
    script.watch("watch-from-state", &watch(set), 1);
    script.watch("watch-from-any", &watch(&format!("{set}&resourceVersion=0")), 1);
    let table = script.watch("watch-table", &watch(&format!("{from}&{set}")), 2);
    table.accept = super::TABLE.to_owned();
    script.get("watch-bad-version", &watch("resourceVersion=now"));
    script.get("watch-bad-selector", &watch("labelSelector=a%20b%3D%3D%3D"));
}

fn pages(script: &mut Script) {
    let maps = maps();
    for name in ["p1", "p2", "p3", "p4"] {
        let paged = with_metadata(config_map(name, json!({})), &json!({"labels": {"set": "page"}}));
        script.create(&format!("page-create-{name}"), &maps, paged);
    }
    let page = format!("{maps}?labelSelector=set%3Dpage&limit=2");
    script.get("page-first", &page);
    let after = |step: &str| format!("{page}&continue=${{{step}/metadata/continue}}");
    script.delete("page-delete-meanwhile", &format!("{maps}/p4"), json!({}));
    script.get("page-second", &after("page-first"));
    script.get("page-bad-token", &format!("{page}&continue=nonsense"));
    script.get("page-token-and-version", &format!("{}&resourceVersion=1", after("page-first")));
    script.push("page-forget", "FORGET", "");
    script.get("page-expired", &after("page-first"));
    script.watch("watch-expired", &format!("{maps}?watch=true&timeoutSeconds=3&resourceVersion=1"), 1);
    script.push("page-delete-all", "DELETE", &format!("{maps}?labelSelector=set+in+(page%2Cwatch)"));
}
