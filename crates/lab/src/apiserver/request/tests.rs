//! A table of URLs.

use super::*;

#[test]
fn urls_are_understood() {
    use Verb::*;
    let leases = "/apis/coordination.k8s.io/v1";
    let table = [
        ("GET", format!("{leases}/leases"), List, "leases", None, ""),
        ("GET", format!("{leases}/namespaces/kube-system/leases"), List, "leases", Some("kube-system"), ""),
        ("GET", format!("{leases}/namespaces/kube-system/leases/a"), Get, "leases", Some("kube-system"), "a"),
        (
            "POST",
            format!("{leases}/namespaces/kube-system/leases"),
            Create,
            "leases",
            Some("kube-system"),
            "",
        ),
        (
            "PUT",
            format!("{leases}/namespaces/kube-system/leases/a"),
            Update,
            "leases",
            Some("kube-system"),
            "a",
        ),
        (
            "DELETE",
            format!("{leases}/namespaces/kube-system/leases/a"),
            Delete,
            "leases",
            Some("kube-system"),
            "a",
        ),
        (
            "DELETE",
            format!("{leases}/namespaces/kube-system/leases"),
            DeleteCollection,
            "leases",
            Some("kube-system"),
            "",
        ),
        ("GET", "/api/v1/namespaces".to_owned(), List, "namespaces", None, ""),
        ("GET", "/api/v1/namespaces/kube-system".to_owned(), Get, "namespaces", None, "kube-system"),
        (
            "PUT",
            "/api/v1/namespaces/kube-system/status".to_owned(),
            Update,
            "namespaces",
            None,
            "kube-system",
        ),
        ("PATCH", "/api/v1/nodes/n1/status".to_owned(), Patch, "nodes", None, "n1"),
    ];
    for (method, path, verb, plural, namespace, name) in table {
        let call =
            parse(&method.parse().unwrap(), &path, "").unwrap_or_else(|refusal| panic!("{path}: {refusal}"));
        assert_eq!((call.verb, call.resource.plural), (verb, plural), "{path}");
        assert_eq!((call.namespace.as_deref(), call.name.as_str()), (namespace, name), "{path}");
        assert_eq!(call.part == Part::Status, path.ends_with("/status"), "{path}");
    }
}

#[test]
fn what_names_nothing_is_refused() {
    let table = [
        ("GET", "/api/v1/unicorns", 404),
        ("GET", "/api/v2/nodes", 404),
        ("GET", "/apis/coordination.k8s.io/v1/leases/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/a/leases/a/status", 404),
        ("POST", "/api/v1/nodes/n1", 405),
        ("PUT", "/api/v1/nodes", 405),
        ("DELETE", "/api/v1/nodes/n1/status", 405),
    ];
    for (method, path, code) in table {
        assert_eq!(parse(&method.parse().unwrap(), path, "").unwrap_err().code, code, "{method} {path}");
    }
}

/// Found by the fuzz target `api-selector`: a sign was taken for a digit, and an escape that is cut short for a byte.
#[test]
fn what_is_no_escape_becomes_a_question_mark() {
    for (text, decoded) in
        [("%41%2f", "A/"), ("%+f", "?"), ("%4", "?"), ("%", "?"), ("%GGa", "?a"), ("a+b", "a b")]
    {
        assert_eq!(decode(text), decoded, "{text}");
    }
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse(
        "watch=true&fieldSelector=metadata.name%3Da&labelSelector=a+in+(b%2Cc)&timeoutSeconds=5&x",
    );
    assert!(query.is_set("watch") && query.is_set("x") && !query.is_set("y"));
    assert_eq!(query.text("fieldSelector"), "metadata.name=a");
    assert_eq!(query.text("labelSelector"), "a in (b,c)");
    assert_eq!(query.number("timeoutSeconds").unwrap(), Some(5));
    assert_eq!(Query::parse("limit=many").number("limit").unwrap_err().code, 400);
}
