//! Selector tables.

use serde_json::json;

use super::*;
use crate::apiserver::resource::{LEASE, NODE};

#[test]
fn label_selectors_select_as_kubernetes_does() {
    let object = json!({ "metadata": { "labels": { "app": "vip", "zone": "a", "example.com/tier": "", "count": "3" } } });
    let table = [
        ("", true),
        ("app=vip", true),
        ("app==vip", true),
        ("app = vip", true),
        ("app=web", false),
        ("app!=web", true),
        ("app!=vip", false),
        ("missing!=anything", true),
        ("app", true),
        ("missing", false),
        ("!missing", true),
        ("!app", false),
        ("zone in (a,b)", true),
        ("zone in (b, c)", false),
        ("zone notin (b,c)", true),
        ("zone notin (a)", false),
        ("missing notin (a)", true),
        ("missing in (a)", false),
        ("app=vip,zone in (a,b),!missing", true),
        ("app=vip,zone in (b)", false),
        ("example.com/tier=", true),
        ("count>2", true),
        ("count>3", false),
        ("count<4,zone notin ()", true),
        ("app>1", false),
    ];
    for (text, expected) in table {
        let selector = Selector::parse(LEASE, text, "").unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!(selector.matches(&object), expected, "{text}");
    }
}

#[test]
fn field_selectors_follow_dotted_paths() {
    let object = json!({ "metadata": { "name": "n1" }, "spec": { "unschedulable": true } });
    let table = [
        ("metadata.name=n1", true),
        ("metadata.name==n2", false),
        ("metadata.name!=n2", true),
        ("spec.unschedulable=true", true),
        ("metadata.name=n1,spec.unschedulable!=true", false),
        ("metadata.namespace=", true),
    ];
    for (text, expected) in table {
        assert_eq!(Selector::parse(NODE, "", text).unwrap().matches(&object), expected, "{text}");
    }
}

#[test]
fn what_the_real_server_refuses_is_refused() {
    for labels in ["a in b", "=x", "a like (b)", "a b c", "(x)"] {
        assert_eq!(Selector::parse(LEASE, labels, "").unwrap_err().code, 400, "{labels}");
    }
    let refusal = Selector::parse(LEASE, "", "spec.holderIdentity=n1").unwrap_err();
    assert_eq!(
        refusal.message,
        "\"spec.holderIdentity\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let refusal = Selector::parse(NODE, "", "spec.podCIDR=x").unwrap_err();
    assert_eq!(refusal.message, "field label not supported: spec.podCIDR");
    assert_eq!(Selector::parse(LEASE, "", "metadata.name").unwrap_err().code, 400);
}
