//! Rendezvous hashing: who should hold, the same answer on every node.

mod choice;

pub use choice::{Candidate, Choice, Fitness, Reluctance, Why, choose};

use crate::names::{ClaimId, NodeId};

/// A 64-bit hash of bytes: FNV-1a with a finalizer (splitmix64), stable across versions because marks carry it.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// splitmix64's finalizer.
#[must_use]
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How well `node` suits `claim`: the highest score is the first choice (rendezvous hashing, Thaler and Ravishankar).
///
/// It depends on nothing else, so a node that comes or goes changes no other node's score.
///
/// A seat's first choice is the node whose seat it is; then come the nodes that follow it on a ring. So each node is the
/// second of one seat, the third of another, and however many there are it watches three at most.
#[must_use]
pub fn score(claim: &ClaimId, node: NodeId) -> u64 {
    scores(claim)(node)
}

/// [`score`] of many nodes, with the claim's part of it done once.
pub(crate) fn scores(claim: &ClaimId) -> impl Fn(NodeId) -> u64 {
    let home = claim.home().map(|home| home.id().0);
    let claim = hash(claim.as_str().as_bytes());
    move |node| home.map_or_else(|| mix(claim ^ node.0), |home| !node.0.wrapping_sub(home))
}

/// How many of `among` come before `node` in the claim's order: 0 for the first choice. Whether `among` names `node`
/// itself does not matter; it should name every other node once. Equal scores are ordered by node id.
#[must_use]
pub fn rank(claim: &ClaimId, node: NodeId, among: impl Iterator<Item = NodeId>) -> usize {
    before(claim, node, among).count()
}

/// Whether `node` is one of the first `places` in the claim's order: what [`rank`] says, without looking at everybody.
#[must_use]
pub fn is_among_first(
    places: usize,
    claim: &ClaimId,
    node: NodeId,
    among: impl Iterator<Item = NodeId>,
) -> bool {
    before(claim, node, among).take(places).count() < places
}

fn before(
    claim: &ClaimId,
    node: NodeId,
    among: impl Iterator<Item = NodeId>,
) -> impl Iterator<Item = NodeId> {
    let score = scores(claim);
    let own = (score(node), node);
    among.filter(move |other| (score(*other), *other) > own)
}

#[cfg(test)]
mod tests;
