//! What the real server fills in for fields that are not given: kubernetes `pkg/apis/*/v1/defaults.go`, for the kinds
//! here.

use serde_json::{Map, Value, json};

use super::decode::show;
use super::resource::{
    CLUSTER_ROLE_BINDING, ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, POD, RBAC, ROLE_BINDING, Resource, SERVICE,
};

#[cfg(test)]
mod tests;

/// Fills in the defaults of a decoded object, and what is told even when it is empty.
pub(super) fn fill(resource: &'static Resource, object: &mut Value) {
    show(resource, object);
    let is = |one: &'static Resource| std::ptr::eq(resource, one);
    if is(SERVICE) {
        service(object);
    } else if is(POD) {
        pod(object);
    } else if is(NAMESPACE) {
        namespace(object);
    } else if is(ENDPOINTS) {
        each(object, "subsets", |subset| each(subset, "ports", |port| set(port, "protocol", json!("TCP"))));
    } else if is(ENDPOINT_SLICE) {
        each(object, "ports", |port| {
            set(port, "name", json!(""));
            set(port, "protocol", json!("TCP"));
        });
    } else if is(ROLE_BINDING) || is(CLUSTER_ROLE_BINDING) {
        set(&mut object["roleRef"], "apiGroup", json!(RBAC));
        each(object, "subjects", |subject| {
            if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
                set(subject, "apiGroup", json!(RBAC));
            }
        });
    }
}

fn service(object: &mut Value) {
    let spec = part(object, "spec");
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    if spec["sessionAffinity"] == "ClientIP" {
        set(spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 10_800 } }));
    }
    each(spec, "ports", |port| {
        set(port, "protocol", json!("TCP"));
        let own = port["port"].clone();
        set(port, "targetPort", own);
    });
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    let external = spec["externalIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || external {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    let status = part(object, "status");
    set(status, "loadBalancer", json!({}));
    each(&mut status["loadBalancer"], "ingress", |ingress| {
        if ingress.get("ip").is_some() {
            set(ingress, "ipMode", json!("VIP"));
        }
    });
}

fn pod(object: &mut Value) {
    let spec = part(object, "spec");
    let defaults = json!({
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "securityContext": {},
    });
    if let Value::Object(defaults) = defaults {
        defaults.into_iter().for_each(|(field, value)| set(spec, &field, value));
    }
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            let image = container["image"].as_str().unwrap_or_default();
            let newest = image.ends_with(":latest")
                || !image.rsplit('/').next().unwrap_or_default().contains([':', '@']);
            set(container, "imagePullPolicy", json!(if newest { "Always" } else { "IfNotPresent" }));
            set(container, "resources", json!({}));
            set(container, "terminationMessagePath", json!("/dev/termination-log"));
            set(container, "terminationMessagePolicy", json!("File"));
            each(container, "ports", |port| set(port, "protocol", json!("TCP")));
        });
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if name.is_string() {
        part(part(object, "metadata"), "labels")["kubernetes.io/metadata.name"] = name;
    }
    set(part(object, "status"), "phase", json!("Active"));
}

/// The object at this field, made if it is not there.
fn part<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    if !object[field].is_object() {
        object[field] = Value::Object(Map::new());
    }
    &mut object[field]
}

/// Every element of the list at this field, if there is one.
fn each(object: &mut Value, field: &str, change: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = object.get_mut(field) {
        items.iter_mut().for_each(change);
    }
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        let slot = fields.entry(field).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    }
}
