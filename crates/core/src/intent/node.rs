//! What is known of a node, and which nodes a Service wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::placement::Reluctance;

/// What a Node object says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The condition `Ready` is not `True`: the kubelet said so, or has not been heard of.
    pub not_ready: bool,
    /// The condition `NetworkUnavailable` is `True`.
    pub network_unavailable: bool,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// The label `node.kubernetes.io/exclude-from-external-load-balancers`, whatever its value.
    pub excluded: bool,
    /// The taint `node.kubernetes.io/out-of-service` (KEP-2268): a person confirmed that the node is shut down.
    pub out_of_service: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses: `status.addresses`.
    pub addresses: BTreeSet<IpAddr>,
}

impl NodeFacts {
    /// Why the node should be given nothing new, though it may keep what it holds.
    ///
    /// All of these are said by others from afar: a kubelet that has lost the API server is reported unready while its
    /// node serves on. So they keep a node from taking, and never take from it. Kubernetes' own service controller came
    /// to the same: cordoned nodes stay in load balancers since 1.19 (kubernetes/kubernetes 90823), unready ones under
    /// KEP-3458.
    #[must_use]
    pub fn reluctance(&self) -> Option<Reluctance> {
        let all = [
            (self.not_ready, Reluctance::NotReady),
            (self.network_unavailable, Reluctance::NetworkUnavailable),
            (self.unschedulable, Reluctance::Unschedulable),
        ];
        all.into_iter().find(|(said, _)| *said).map(|(_, reluctance)| reluctance)
    }
}

/// What a node's labels have to say, all of it. Empty fits every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeSelector {
    /// Each of them has to hold.
    pub requirements: BTreeSet<Requirement>,
}

/// What one label has to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// `KEY`: it is there.
    Exists(String),
    /// `KEY=VALUE`: it says so.
    Equals(String, String),
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Exists(key) => labels.contains_key(key),
            Self::Equals(key, value) => labels.get(key) == Some(value),
        }
    }
}

impl NodeSelector {
    /// Whether a node with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

/// A text that selects no nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no requirement of a label: write KEY or KEY=VALUE")]
pub struct NodeSelectorError(String);

impl FromStr for NodeSelector {
    type Err = NodeSelectorError;

    /// Reads `KEY=VALUE,KEY`. Empty parts are passed over.
    fn from_str(text: &str) -> Result<Self, NodeSelectorError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self { requirements: parts.map(requirement).collect::<Result<_, _>>()? })
    }
}

fn requirement(part: &str) -> Result<Requirement, NodeSelectorError> {
    let (key, value) = match part.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (part, None),
    };
    // Operators that are not understood must not be taken for a part of a key: a wider selection would follow.
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if key.is_empty() || !word(key) || !value.is_none_or(word) {
        return Err(NodeSelectorError(part.to_owned()));
    }
    let key = key.to_owned();
    Ok(value.map_or(Requirement::Exists(key.clone()), |value| Requirement::Equals(key, value.to_owned())))
}
