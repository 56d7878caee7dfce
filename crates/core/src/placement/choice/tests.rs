//! The holder stays, the preferred come first, and the rest is rank.

use proptest::prelude::*;

use super::*;
use crate::placement::rank;
use crate::vip::Vip;

fn claim() -> ClaimId {
    ClaimId::service(Vip::from([10, 0, 0, 1]))
}

fn candidate(name: &str, fitness: Fitness, weight: u32) -> Candidate {
    Candidate { node: NodeName::new(name), fitness, weight }
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let fitness = prop_oneof![Just(Fitness::Fit), Just(Fitness::Reluctant(Reluctance::NotReady))];
    prop::collection::btree_map("[a-f][0-9]", (fitness, 0_u32..3), 1..8).prop_map(|all| {
        all.into_iter().map(|(name, (fitness, weight))| candidate(&name, fitness, weight)).collect()
    })
}

#[test]
fn weight_comes_before_rank_and_fitness_before_weight() {
    let reluctant = Fitness::Reluctant(Reluctance::Unschedulable);
    let all =
        [candidate("n1", Fitness::Fit, 1), candidate("n2", Fitness::Fit, 2), candidate("n3", reluctant, 9)];
    let chosen = choose(&claim(), all, None).expect("there are candidates");
    assert_eq!(chosen, Choice { node: NodeName::new("n2"), why: Why::Preferred { weight: 2 } });
    let only = choose(&claim(), [candidate("n3", reluctant, 0)], None).expect("there is a candidate");
    assert_eq!(only, Choice { node: NodeName::new("n3"), why: Why::First }, "nobody else could");
    assert_eq!(choose(&claim(), [], Some(&NodeName::new("n1"))), None);
}

proptest! {
    #[test]
    fn a_holder_that_could_holds_on(candidates in candidates(), holder: prop::sample::Index) {
        let holder = candidates[holder.index(candidates.len())].node.clone();
        let chosen = choose(&claim(), candidates, Some(&holder));
        prop_assert_eq!(chosen, Some(Choice { node: holder, why: Why::Holds }));
    }

    #[test]
    fn a_candidate_that_was_not_chosen_may_go(candidates in candidates(), gone: prop::sample::Index) {
        let chosen = choose(&claim(), candidates.clone(), None);
        let mut left = candidates;
        let gone = left.remove(gone.index(left.len()));
        if chosen.as_ref().is_some_and(|chosen| chosen.node != gone.node) {
            prop_assert_eq!(choose(&claim(), left, None), chosen);
        }
    }

    #[test]
    fn every_node_comes_to_the_same(candidates in candidates()) {
        let mut other_way_round = candidates.clone();
        other_way_round.reverse();
        let stranger = NodeName::new("stranger");
        prop_assert_eq!(choose(&claim(), candidates, None), choose(&claim(), other_way_round, Some(&stranger)));
    }

    #[test]
    fn without_preferences_the_first_in_rank_is_chosen(candidates in candidates()) {
        let equal = candidates.iter().map(|one| Candidate { weight: 0, fitness: Fitness::Fit, ..one.clone() });
        let chosen = choose(&claim(), equal, None).expect("there are candidates").node.id();
        prop_assert_eq!(rank(&claim(), chosen, candidates.iter().map(|one| one.node.id())), 0);
    }
}
