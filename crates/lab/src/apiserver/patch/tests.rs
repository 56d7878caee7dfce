//! Patch tables: the examples of the RFCs' appendices.

use serde_json::json;

use super::*;
use crate::apiserver::LEASE;

/// RFC 7386, appendix A, the cases whose patch is an object.
#[test]
fn merge_patch_follows_the_rfc_examples() {
    let table = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ];
    for (before, patch, after) in table {
        let applied = Patch::parse("application/merge-patch+json", patch.to_string().as_bytes())
            .unwrap()
            .apply(LEASE, &before);
        assert_eq!(applied.unwrap(), after, "{before} + {patch}");
    }
}

/// RFC 6902, appendix A.
#[test]
fn json_patch_follows_the_rfc_examples() {
    let table = [
        (
            json!({"foo":"bar"}),
            json!([{"op":"add","path":"/baz","value":"qux"}]),
            json!({"baz":"qux","foo":"bar"}),
        ),
        (
            json!({"foo":["a","c"]}),
            json!([{"op":"add","path":"/foo/1","value":"b"}]),
            json!({"foo":["a","b","c"]}),
        ),
        (json!({"foo":["a"]}), json!([{"op":"add","path":"/foo/-","value":"b"}]), json!({"foo":["a","b"]})),
        (json!({"baz":1,"foo":2}), json!([{"op":"remove","path":"/baz"}]), json!({"foo":2})),
        (json!({"foo":["a","b"]}), json!([{"op":"remove","path":"/foo/0"}]), json!({"foo":["b"]})),
        (json!({"baz":1}), json!([{"op":"replace","path":"/baz","value":"boo"}]), json!({"baz":"boo"})),
        (
            json!({"a":{"b":1},"c":{}}),
            json!([{"op":"move","from":"/a/b","path":"/c/d"}]),
            json!({"a":{},"c":{"d":1}}),
        ),
        (json!({"a":1}), json!([{"op":"copy","from":"/a","path":"/b"}]), json!({"a":1,"b":1})),
        (json!({"a":1}), json!([{"op":"test","path":"/a","value":1}]), json!({"a":1})),
        (json!({"m~n/o":1}), json!([{"op":"remove","path":"/m~0n~1o"}]), json!({})),
    ];
    for (before, patch, after) in table {
        let applied = Patch::parse("application/json-patch+json", patch.to_string().as_bytes())
            .unwrap()
            .apply(LEASE, &before);
        assert_eq!(applied.unwrap(), after, "{before} + {patch}");
    }
}

#[test]
fn what_cannot_be_patched_is_refused() {
    let refused = |patch: &str| {
        Patch::parse("application/json-patch+json", patch.as_bytes())
            .unwrap()
            .apply(LEASE, &json!({"a":[1]}))
            .unwrap_err()
    };
    for patch in [
        r#"[{"op":"test","path":"/a","value":2}]"#,
        r#"[{"op":"remove","path":"/b"}]"#,
        r#"[{"op":"replace","path":"/b","value":1}]"#,
        r#"[{"op":"add","path":"/a/7","value":1}]"#,
        r#"[{"op":"melt","path":"/a"}]"#,
        r#"[{"path":"/a"}]"#,
    ] {
        assert_eq!(refused(patch).code, 422, "{patch}");
    }
    assert_eq!(Patch::parse("application/yaml", b"{}").unwrap_err().code, 415);
    assert_eq!(Patch::parse("application/merge-patch+json", b"{").unwrap_err().code, 400);
    assert_eq!(Patch::parse("application/merge-patch+json", b"[]").unwrap_err().code, 400);
}

/// For the fuzz target `api-patch`: a small patch, an object that no memory holds or no stack walks.
#[test]
fn an_object_copied_into_itself_does_not_grow_without_end() {
    let refused =
        |operations: Vec<Value>| operations::apply(&mut json!({"a": "b"}), &operations).expect_err("a limit");
    let wide = (0..40).map(|number| json!({"op": "copy", "from": "", "path": format!("/{number}")}));
    assert!(refused(wide.collect()).contains("exceeding the limit"));
    let deep = (0..200).map(|_| json!({"op": "copy", "from": "", "path": "/a"}));
    assert!(refused(deep.collect()).contains("nested deeper"));
    let many = vec![json!({"op": "test", "path": "/a", "value": "b"}); 10_001];
    assert!(refused(many).contains("maximum operations"));
}
