use super::*;
use crate::apiserver::{LEASE, NODE, RESOURCES, SERVICE};

fn cells(resource: &'static Resource, object: &Value) -> Value {
    let tables = Tables::wanted("application/json;as=Table;v=v1;g=meta.k8s.io", resource, "").unwrap();
    let mut cells = tables.of(object)["rows"][0]["cells"].clone();
    // The age is the clock's business.
    cells.as_array_mut().unwrap().retain(|cell| cell != "<unknown>");
    cells
}

#[test]
fn a_table_is_given_where_it_is_wanted_first() {
    let wanted = |accept: &str| Tables::wanted(accept, LEASE, "").map(|tables| tables.version);
    assert_eq!(wanted("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Some("v1"));
    assert_eq!(wanted("application/json;as=Table;v=v1beta1;g=meta.k8s.io"), Some("v1beta1"));
    assert_eq!(wanted("application/json"), None);
    assert_eq!(wanted("application/json, application/json;as=Table;v=v1;g=meta.k8s.io"), None);
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    for resource in RESOURCES {
        let tables = Tables::wanted("application/json;as=Table;v=v1;g=meta.k8s.io", resource, "").unwrap();
        let table =
            tables.of(&json!({ "metadata": { "name": "a" }, "items": [{ "metadata": { "name": "b" } }] }));
        let columns = table["columnDefinitions"].as_array().unwrap().len();
        assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns, "{}", resource.kind);
        assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "b");
    }
}

#[test]
fn rows_read_as_kubectl_prints_them() {
    let lease = json!({ "metadata": { "name": "a" }, "spec": { "holderIdentity": "n1" } });
    assert_eq!(cells(LEASE, &lease), json!(["a", "n1"]));
    let service = json!({
        "metadata": { "name": "a" },
        "spec": { "type": "LoadBalancer", "clusterIP": "10.96.1.0", "selector": { "app": "x" },
                  "ports": [{ "port": 80, "nodePort": 30080, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } },
    });
    assert_eq!(
        cells(SERVICE, &service),
        json!(["a", "LoadBalancer", "10.96.1.0", "192.0.2.1", "80:30080/TCP,53/UDP", "app=x"])
    );
    let node = json!({
        "metadata": { "name": "n1", "labels": { "node-role.kubernetes.io/control-plane": "" } },
        "spec": { "unschedulable": true },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }], "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
                    "nodeInfo": { "kubeletVersion": "v1" } },
    });
    assert_eq!(
        cells(NODE, &node),
        json!(["n1", "Ready,SchedulingDisabled", "control-plane", "v1", "10.0.0.1", "<none>"])
    );
}

#[test]
fn a_watch_tells_the_columns_once() {
    let tables = Tables::wanted("application/json;as=Table;v=v1;g=meta.k8s.io", LEASE, "None").unwrap();
    let object = json!({ "metadata": { "name": "a", "resourceVersion": "7" } });
    assert!(tables.of_event(&object, Columns::Told)["columnDefinitions"].is_array());
    let later = tables.of_event(&object, Columns::Known);
    assert!(later["columnDefinitions"].is_null() && later["rows"][0].get("object").is_none());
    assert_eq!(later["metadata"]["resourceVersion"], "7");
}

#[test]
fn ages_are_short() {
    let table = [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3599, "59m"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (3 * 86_400, "3d"),
        (200 * 86_400, "200d"),
        (900 * 86_400, "2y170d"),
        (-5, "0s"),
    ];
    for (seconds, expected) in table {
        assert_eq!(human(seconds), expected, "{seconds}");
    }
}
