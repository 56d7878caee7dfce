//! What is asked of the rest of an object, kind by kind: kubernetes `pkg/apis/*/validation/validation.go`, as far as the
//! kinds here are used.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{metadata, names};
use crate::apiserver::field::FieldError;
use crate::apiserver::resource::{RBAC, Resource};

mod service;

/// What is wrong with it.
pub(super) fn check(resource: &Resource, object: &Value) -> Vec<FieldError> {
    match resource.kind {
        "Lease" => lease(&object["spec"]),
        "Service" => service::check(object),
        "Pod" if items(&object["spec"]["containers"]).next().is_none() => {
            vec![FieldError::required("spec.containers", "")]
        }
        "ConfigMap" => config_map(object),
        "Endpoints" => endpoints(object),
        "EndpointSlice" => endpoint_slice(object),
        "Event" => event(object),
        "RoleBinding" | "ClusterRoleBinding" => binding(resource, object),
        _ => Vec::new(),
    }
}

fn lease(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let least = |field: &str, least: i64| spec[field].as_i64().filter(|number| *number < least);
    if let Some(seconds) = least("leaseDurationSeconds", 1) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &json!(seconds),
            "must be greater than 0",
        ));
    }
    if let Some(count) = least("leaseTransitions", 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", &json!(count), why));
    }
    errors
}

fn config_map(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for map in ["data", "binaryData"] {
        for (key, _) in object[map].as_object().into_iter().flatten() {
            let at = format!("{map}[{key}]");
            let wrong = names::config_key(key);
            errors.extend(wrong.iter().map(|why| FieldError::invalid(&at, &json!(key), why)));
            if map == "data" && object["binaryData"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(&at, &json!(key), why));
            }
        }
    }
    errors
}

fn endpoints(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (place, subset) in items(&object["subsets"]).enumerate() {
        let at = format!("subsets[{place}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| items(&subset[*list]).next().is_none()) {
            errors.push(FieldError::required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in lists {
            for (place, address) in items(&subset[list]).enumerate() {
                let at = format!("{at}.{list}[{place}].ip");
                let ip = address["ip"].as_str().unwrap_or_default();
                if ip.parse::<IpAddr>().is_err() {
                    let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                    errors.push(FieldError::invalid(&at, &json!(ip), why));
                }
                errors.extend(unusual_address(&at, ip));
            }
        }
        for (place, port) in items(&subset["ports"]).enumerate() {
            errors.extend(port_number(&format!("{at}.ports[{place}].port"), &port["port"]));
            errors.extend(protocol(&format!("{at}.ports[{place}].protocol"), &port["protocol"]));
        }
    }
    errors
}

/// `validateNonSpecialIP`: addresses that no backend can have.
fn unusual_address(at: &str, ip: &str) -> Option<FieldError> {
    let why = match ip.parse::<IpAddr>() {
        Err(_) => "must be a valid IP address",
        Ok(address) if address.is_unspecified() => "may not be unspecified (0.0.0.0)",
        Ok(address) if address.is_loopback() => "may not be in the loopback range (127.0.0.0/8)",
        Ok(IpAddr::V4(address)) if address.is_link_local() => {
            "may not be in the link-local range (169.254.0.0/16)"
        }
        Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => {
            "may not be in the link-local range (169.254.0.0/16)"
        }
        Ok(_) => return None,
    };
    Some(FieldError::invalid(at, &json!(ip), why))
}

fn endpoint_slice(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let family = object["addressType"].as_str().unwrap_or_default();
    match family {
        "" => errors.push(FieldError::required("addressType", "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        _ => {
            let shown = json!(family).to_string();
            errors.push(FieldError::unsupported("addressType", &shown, &["FQDN", "IPv4", "IPv6"]));
        }
    }
    for (place, endpoint) in items(&object["endpoints"]).enumerate() {
        let at = format!("endpoints[{place}].addresses");
        if items(&endpoint["addresses"]).next().is_none() {
            errors.push(FieldError::required(&at, "must contain at least 1 address"));
        }
        for (place, address) in items(&endpoint["addresses"]).enumerate() {
            let text = address.as_str().unwrap_or_default();
            let fits = match (family, text.parse::<IpAddr>()) {
                ("IPv4", parsed) => matches!(parsed, Ok(IpAddr::V4(_))),
                ("IPv6", parsed) => matches!(parsed, Ok(IpAddr::V6(_))),
                _ => true,
            };
            if !fits {
                let why = format!("must be a valid {family} address");
                errors.push(FieldError::invalid(format!("{at}[{place}]"), address, &why));
            }
        }
    }
    for (place, port) in items(&object["ports"]).enumerate() {
        errors.extend(protocol(&format!("ports[{place}].protocol"), &port["protocol"]));
    }
    errors
}

fn event(object: &Value) -> Vec<FieldError> {
    let about = object["involvedObject"]["namespace"].as_str().unwrap_or_default();
    let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
    // An Event about what has no namespace lives in `default`, and a newer client's in `kube-system`.
    let fits = if about.is_empty() { matches!(own, "default" | "kube-system") } else { about == own };
    let why = "does not match event.namespace";
    let wrong = || FieldError::invalid("involvedObject.namespace", &json!(about), why);
    (!fits).then(wrong).into_iter().collect()
}

fn binding(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = &object["roleRef"];
    let shown = |value: &Value| json!(value.as_str().unwrap_or_default()).to_string();
    if role["apiGroup"] != RBAC {
        errors.push(FieldError::unsupported("roleRef.apiGroup", &shown(&role["apiGroup"]), &[RBAC]));
    }
    let kinds: &[&str] =
        if resource.kind == "RoleBinding" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !role["kind"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
        errors.push(FieldError::unsupported("roleRef.kind", &shown(&role["kind"]), kinds));
    }
    if role["name"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    errors
}

/// `IsValidPortNum`.
fn port_number(at: &str, port: &Value) -> Option<FieldError> {
    let wrong = port.as_i64().is_none_or(|port| !(1..=65_535).contains(&port));
    wrong.then(|| FieldError::invalid(at, port, "must be between 1 and 65535, inclusive"))
}

fn protocol(at: &str, protocol: &Value) -> Option<FieldError> {
    let known = ["SCTP", "TCP", "UDP"];
    match protocol.as_str() {
        None | Some("") => Some(FieldError::required(at, "")),
        Some(text) if known.contains(&text) => None,
        Some(text) => Some(FieldError::unsupported(at, &json!(text).to_string(), &known)),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
