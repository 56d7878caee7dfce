//! A Node: whether it should hold what.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use mainstay_core::intent::NodeFacts;

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The Node in the core's words.
pub(super) fn convert(object: &Node) -> NodeFacts {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let spec = object.spec.as_ref();
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let blank = NodeStatus::default();
    let status = object.status.as_ref().unwrap_or(&blank);
    let addresses = status.addresses.iter().flatten();
    NodeFacts {
        not_ready: condition(status, "Ready") != Some("True"),
        network_unavailable: condition(status, "NetworkUnavailable") == Some("True"),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        excluded: labels.contains_key(EXCLUDE),
        out_of_service: taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE),
        labels,
        // Names of hosts stand among them.
        addresses: addresses
            .filter_map(|address| address.address.parse().ok().map(|ip: IpAddr| ip.to_canonical()))
            .collect(),
    }
}

fn condition<'a>(status: &'a NodeStatus, wanted: &str) -> Option<&'a str> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == wanted).map(|condition| condition.status.as_str())
}
