//! A write as it is sent. Pure.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mainstay_core::intent::{ObjectName, Port};
use serde_json::{Value, json};

use super::due::{Ingress, What, Write};
use crate::access::Traffic;
use crate::fleet::Ask;
use crate::race::Pace;

/// How long one server may take, by its own clock too.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// What [RFC 7386](https://www.rfc-editor.org/rfc/rfc7386) calls a merge patch: it changes what is there, and makes nothing.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Who writes, in `managedFields`.
pub(super) const MANAGER: &str = "mainstay";

/// The request.
pub(super) fn ask(name: &ObjectName, write: &Write) -> Ask {
    let path = format!("/api/v1/namespaces/{}/services/{}", name.namespace(), name.name());
    let common = format!("fieldManager={MANAGER}&timeout={}s", LIMIT.as_secs());
    // By these the API server knows one that was made anew, or that somebody has written since, and answers 409.
    let mut metadata = json!({"uid": write.uid, "resourceVersion": write.version});
    match &write.what {
        What::Annotations(annotations) => {
            metadata["annotations"] = json!(annotations);
            patch(format!("{path}?{common}"), &json!({"metadata": metadata}))
        }
        What::Status(ingress) => {
            let object = json!({"metadata": metadata, "status": status(ingress)});
            patch(format!("{path}/status?{common}"), &object)
        }
    }
}

/// Without addresses it takes away what is there: what we had said.
fn status(ingress: &Ingress) -> Value {
    let port = |port: &Port| json!({"port": port.port, "protocol": port.protocol.to_string()});
    let ports: Vec<Value> = ingress.ports.iter().map(port).collect();
    let entry = |address: &IpAddr| {
        let mut entry = json!({"ip": address.to_string(), "ipMode": "VIP"});
        if !ports.is_empty() {
            entry["ports"] = json!(ports);
        }
        entry
    };
    match &ingress.addresses[..] {
        [] => json!({"loadBalancer": {"ingress": null}}),
        addresses => json!({"loadBalancer": {"ingress": addresses.iter().map(entry).collect::<Vec<_>>()}}),
    }
}

fn patch(path: String, body: &Value) -> Ask {
    request(Method::PATCH, path, body, MERGE_PATCH)
}

/// A request that nothing waits for.
pub(super) fn request(method: Method, path: String, body: &Value, content: &'static str) -> Ask {
    Ask {
        method,
        path,
        body: Bytes::from(body.to_string()),
        content,
        traffic: Traffic::Publish,
        pace: Pace { hedge_after: LIMIT, unanswered_after: LIMIT, deadline: LIMIT },
        last: None,
        refusal_is_fault: false,
    }
}
