//! Who should hold a claim, among those that could: the holder, else the most preferred, else the first in rank.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::score;
use crate::names::{ClaimId, NodeName};

/// A node that could hold a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub node: NodeName,
    /// Whether it may take the claim, or only keep it.
    pub fitness: Fitness,
    /// How much it is preferred: 0 for not at all.
    pub weight: u32,
}

/// Whether a node may take a claim, or only keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitness {
    /// Both.
    Fit,
    /// It keeps what it holds, and takes only what nobody else could.
    Reluctant(Reluctance),
}

/// Why a node should be given nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Reluctance {
    /// Its kubelet said so, or has not been heard of.
    #[error("the node is not ready")]
    NotReady,
    /// Its network is not set up.
    #[error("the node's network is unavailable")]
    NetworkUnavailable,
    /// It is cordoned.
    #[error("the node is cordoned")]
    Unschedulable,
}

/// Who should hold a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Who.
    pub node: NodeName,
    /// Why.
    pub why: Why,
}

/// Why a node should hold a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It does, and still could: nobody takes from a live holder.
    Holds,
    /// No other is preferred more.
    Preferred {
        /// How much it is.
        weight: u32,
    },
    /// It is the first in the claim's order.
    First,
}

/// Who of `candidates` should hold `claim`; `holder` is who does now, as the authority has it. `None` where there is no
/// candidate.
///
/// The same facts give the same answer on every node, in whatever order they are listed. A candidate that comes or goes
/// changes the answer only if it is that candidate, before or after.
pub fn choose(
    claim: &ClaimId,
    candidates: impl IntoIterator<Item = Candidate>,
    holder: Option<&NodeName>,
) -> Option<Choice> {
    let candidates: Vec<Candidate> = candidates.into_iter().collect();
    if let Some(holder) = candidates.iter().find(|candidate| Some(&candidate.node) == holder) {
        return Some(Choice { node: holder.node.clone(), why: Why::Holds });
    }
    let order = |candidate: &Candidate| {
        let id = candidate.node.id();
        (
            candidate.fitness == Fitness::Fit,
            candidate.weight,
            score(claim, id),
            id,
            Reverse(candidate.node.clone()),
        )
    };
    let best = candidates.into_iter().max_by_key(order)?;
    let why = if best.weight > 0 { Why::Preferred { weight: best.weight } } else { Why::First };
    Some(Choice { node: best.node, why })
}

#[cfg(test)]
mod tests;
