//! Services: `ValidateService`.

use serde_json::{Value, json};

use super::{items, metadata, names, port_number, protocol};
use crate::apiserver::field::FieldError;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What is wrong with a Service.
pub(super) fn check(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    let mut errors = Vec::new();
    if items(&spec["ports"]).next().is_none() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!("None"), &why));
    }
    if kind == "ExternalName" && spec["externalName"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    errors.extend(ports(spec));
    errors.extend(metadata::labels("spec.selector", &spec["selector"]));
    for (field, known) in [("sessionAffinity", &["ClientIP", "None"][..]), ("type", &TYPES)] {
        let given = spec[field].as_str().unwrap_or_default();
        if !known.contains(&given) {
            let shown = json!(given).to_string();
            errors.push(FieldError::unsupported(format!("spec.{field}"), &shown, known));
        }
    }
    errors
}

fn ports(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let many = items(&spec["ports"]).count() > 1;
    for (place, port) in items(&spec["ports"]).enumerate() {
        let at = format!("spec.ports[{place}]");
        match port["name"].as_str().unwrap_or_default() {
            "" if many => errors.push(FieldError::required(format!("{at}.name"), "")),
            "" => {}
            name => errors.extend(
                names::label(name)
                    .iter()
                    .map(|why| FieldError::invalid(format!("{at}.name"), &json!(name), why)),
            ),
        }
        errors.extend(port_number(&format!("{at}.port"), &port["port"]));
        errors.extend(protocol(&format!("{at}.protocol"), &port["protocol"]));
        if port["targetPort"].is_number() {
            errors.extend(port_number(&format!("{at}.targetPort"), &port["targetPort"]));
        }
    }
    errors
}
