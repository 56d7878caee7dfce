//! Rendezvous order: total, the same for all, and moved by nobody's coming or going.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::from_value;

use super::*;

fn claim(name: &str) -> ClaimId {
    from_value(name.into()).expect("a claim's id is a text")
}

/// The claim's order as `node`s see it that list their peers in the order given.
fn order(claim: &ClaimId, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut order = nodes.to_vec();
    order.sort_by_key(|node| rank(claim, *node, nodes.iter().copied()));
    order
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::btree_set(any::<u64>().prop_map(NodeId), 1..12)
        .prop_map(|set: BTreeSet<NodeId>| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn ranks_are_all_different(name: String, nodes in nodes()) {
        let claim = claim(&name);
        let ranks: BTreeSet<_> = nodes.iter().map(|node| rank(&claim, *node, nodes.iter().copied())).collect();
        prop_assert_eq!(ranks, (0..nodes.len()).collect());
    }

    #[test]
    fn every_node_sees_the_same_order(name: String, nodes in nodes()) {
        let mut other_way_round = nodes.clone();
        other_way_round.reverse();
        prop_assert_eq!(order(&claim(&name), &nodes), order(&claim(&name), &other_way_round));
    }

    #[test]
    fn removing_a_node_moves_no_other(name: String, nodes in nodes(), gone: prop::sample::Index) {
        let claim = claim(&name);
        let gone = nodes[gone.index(nodes.len())];
        let left: Vec<_> = nodes.iter().copied().filter(|node| *node != gone).collect();
        let mut expected = order(&claim, &nodes);
        expected.retain(|node| *node != gone);
        prop_assert_eq!(order(&claim, &left), expected);
    }

    #[test]
    fn the_first_are_those_of_the_first_ranks(name: String, nodes in nodes(), places in 0_usize..5) {
        let claim = claim(&name);
        for node in &nodes {
            let first = is_among_first(places, &claim, *node, nodes.iter().copied());
            prop_assert_eq!(first, rank(&claim, *node, nodes.iter().copied()) < places);
        }
    }

    #[test]
    fn a_better_rank_is_a_higher_score(name: String, nodes in nodes()) {
        let claim = claim(&name);
        prop_assert!(order(&claim, &nodes).is_sorted_by_key(|node| std::cmp::Reverse(score(&claim, *node))));
    }
}

#[test]
fn claims_spread_evenly_over_nodes() {
    let nodes = ["node-1", "node-2", "node-3"].map(|name| crate::names::NodeName::new(name).id());
    let mut firsts = [0_u32; 3];
    for number in 0..3_000 {
        let claim = claim(&format!("svc/default/web-{number}"));
        let first = nodes.iter().position(|node| rank(&claim, *node, nodes.iter().copied()) == 0);
        firsts[first.expect("somebody is first")] += 1;
    }
    assert!(firsts.iter().all(|count| (900..1_100).contains(count)), "{firsts:?}");
}
