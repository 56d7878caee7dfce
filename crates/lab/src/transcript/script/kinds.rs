//! What is special about each kind: defaults, refusals, the status subresource, merge keys, columns.

use serde_json::{Value, json};

use super::{CORE, STRATEGIC, Script, config_map};

pub(super) fn all(script: &mut Script) {
    nodes(script);
    services(script);
    endpoints(script);
    config_maps(script);
    events(script);
    pods(script);
}

fn nodes(script: &mut Script) {
    let path = "/api/v1/nodes/transcript-node";
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "transcript-node", "labels": {"transcript": "yes", "kubernetes.io/hostname": "transcript-node"}},
        "spec": {"taints": [{"key": "a", "value": "1", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    script.create("node-create", "/api/v1/nodes", node);
    script.merge("node-status-by-main", path, json!({"status": {"phase": "Running"}}));
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Test"});
    script.strategic(
        "node-condition",
        &format!("{path}/status"),
        json!({"status": {"conditions": [condition("Ready", "False")]}}),
    );
    script.strategic(
        "node-condition-beside",
        &format!("{path}/status"),
        json!({"status": {"conditions": [condition("NetworkUnavailable", "False")],
               "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
    );
    script.merge("node-spec-by-status", &format!("{path}/status"), json!({"spec": {"unschedulable": true}}));
    script.strategic(
        "node-condition-delete",
        &format!("{path}/status"),
        json!({"status": {"conditions": [{"$patch": "delete", "type": "NetworkUnavailable"}]}}),
    );
    script.strategic("node-taint", path, json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}));
    script.get("node-status-get", &format!("{path}/status"));
    script.table("node-table", "/api/v1/nodes?labelSelector=transcript");
    script.delete("node-delete", path, json!({}));
}

fn services(script: &mut Script) {
    let (all, path) = (format!("{CORE}/services"), format!("{CORE}/services/web"));
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"set": "service"}}, "spec": spec});
    script.create("service-no-ports", &all, service(json!({"selector": {"app": "web"}})));
    script.create("service-bad-port", &all, service(json!({"ports": [{"port": 70000}]})));
    script.create(
        "service-create",
        &all,
        service(json!({"type": "LoadBalancer", "clusterIP": "10.255.0.77", "selector": {"app": "web"},
                       "ports": [{"name": "http", "port": 80, "nodePort": 30080}], "loadBalancerIP": "192.0.2.10"})),
    );
    script.strategic(
        "service-port-beside",
        &path,
        json!({"spec": {"ports": [{"name": "https", "port": 443, "nodePort": 30443}]}}),
    );
    script.strategic(
        "service-port-change",
        &path,
        json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    script.strategic(
        "service-port-delete",
        &path,
        json!({"spec": {"ports": [{"port": 443, "$patch": "delete"}]}}),
    );
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}});
    script.merge("service-status-by-main", &path, ingress.clone());
    script.merge("service-status", &format!("{path}/status"), ingress);
    script.merge("service-cluster-ip-changed", &path, json!({"spec": {"clusterIP": "10.255.0.78"}}));
    script.table("service-table", &format!("{all}?labelSelector=set%3Dservice"));
    script.delete("service-delete", &path, json!({}));
}

fn endpoints(script: &mut Script) {
    let (all, path) = (format!("{CORE}/endpoints"), format!("{CORE}/endpoints/web"));
    let endpoints = |address: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
               "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "http", "port": 80}]}]})
    };
    script.create("endpoints-create", &all, endpoints("192.0.2.21"));
    script.create("endpoints-bad-address", &all, {
        let mut bad = endpoints("nowhere");
        bad["metadata"]["name"] = json!("bad");
        bad
    });
    script.update("endpoints-update", &path, endpoints("192.0.2.22"));
    script.table("endpoints-table", &all);
    script.delete("endpoints-delete", &path, json!({}));
}

fn config_maps(script: &mut Script) {
    let (all, path) = (format!("{CORE}/configmaps"), format!("{CORE}/configmaps/settings"));
    script.create("map-create", &all, config_map("settings", json!({"a": "1", "b": "2"})));
    script.create("map-bad-key", &all, config_map("bad", json!({"a b": "1"})));
    script.create("map-bad-value", &all, config_map("bad", json!({"a": 1})));
    script.update("map-update-no-version", &path, config_map("settings", json!({"a": "2"})));
    script.strategic(
        "map-strategic",
        &path,
        json!({"data": {"a": null, "c": "3"}, "binaryData": {"raw": "AAEC"}}),
    );
    script.table("map-table", &path);
    script.merge("map-freeze", &path, json!({"immutable": true}));
    script.merge("map-frozen", &path, json!({"data": {"c": "4"}}));
    script.delete("map-delete", &path, json!({}));
}

fn events(script: &mut Script) {
    let all = format!("{CORE}/events");
    let event = |name: &str, namespace: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
               "involvedObject": {"kind": "Node", "name": "n1", "namespace": namespace, "uid": "n1"},
               "reason": "TookOver", "message": "n1 took the VIP", "type": "Normal", "count": 1,
               "source": {"component": "mainstay", "host": "n1"},
               "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z"})
    };
    script.create("event-create", &all, event("one", "transcript"));
    script.create("event-other-namespace", &all, event("two", "default"));
    script.merge("event-count", &format!("{all}/one"), json!({"count": 2}));
    script.get("event-by-object", &format!("{all}?fieldSelector=involvedObject.name%3Dn1%2Ctype%3DNormal"));
    script.get("event-by-nothing", &format!("{all}?fieldSelector=reason%3DOther"));
    script.delete("event-delete", &format!("{all}/one"), json!({}));
}

fn pods(script: &mut Script) {
    let (all, path) = (format!("{CORE}/pods"), format!("{CORE}/pods/agent"));
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "labels": {"app": "agent"}}, "spec": spec});
    script.create("pod-no-containers", &all, pod(json!({})));
    script.create(
        "pod-create",
        &all,
        pod(json!({"nodeName": "transcript-node", "hostNetwork": true,
                   "containers": [{"name": "mainstay", "image": "mainstay:1"}]})),
    );
    script.strategic(
        "pod-image",
        &path,
        json!({"spec": {"containers": [{"name": "mainstay", "image": "mainstay:2"}]}}),
    );
    script.send(
        "pod-status",
        "PATCH",
        &format!("{path}/status"),
        (
            STRATEGIC,
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        ),
    );
    script.get(
        "pod-by-node",
        &format!("{all}?fieldSelector=spec.nodeName%3Dtranscript-node%2Cstatus.phase%3DRunning"),
    );
    script.table("pod-table", &all);
    script.delete("pod-delete-gracefully", &path, json!({"gracePeriodSeconds": 30}));
    script.delete("pod-delete-now", &path, json!({"gracePeriodSeconds": 0}));
    script.get("pod-gone", &path);
}
