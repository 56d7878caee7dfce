//! Rules 7 and 8: what a follower makes sure of before it takes a claim from somebody who is silent.

use mainstay_core::names::ClaimId;
use mainstay_core::placement::score;

use super::*;

/// Time passes, and the VIP stays where it was.
fn nothing_moves(sim: &mut Sim, holder: usize, seed: u64) {
    sim.run_for(seconds(4));
    assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}");
    assert_eq!(sim.lease().map(|lease| lease.transitions), Some(0), "seed {seed}");
    assert_eq!((only_holder(sim), lost(sim)), (holder, 0), "seed {seed}");
    clean(sim);
}

/// A follower stood still for a moment, as on a busy host, and the answer to its first question is lost.
#[test]
fn rule_07_one_answer_lost_after_a_pause_is_no_death() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let follower = other_than(holder);
        sim.begin(Kind::AgentFrozen(follower));
        sim.run_for(ms(1_100));
        sim.begin(Kind::OneWay(holder, follower));
        sim.end(Kind::AgentFrozen(follower));
        sim.run_for(ms(20));
        sim.end(Kind::OneWay(holder, follower));
        nothing_moves(&mut sim, holder, seed);
    }
}

/// Two questions to the holder alone go unanswered, and a busy host is late with the one to all: a new hardware address
/// would be no death, so there is none without that.
#[test]
fn rule_07_silence_of_the_one_that_was_asked_is_no_death() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let (follower, since) = (other_than(holder), sim.now());
        assert!(sim.run_until(seconds(1), |sim| !questions(sim, follower, since, None).is_empty()));
        sim.run_for(ms(5));
        sim.begin(Kind::OneWay(holder, follower));
        sim.run_for(ms(221));
        sim.begin(Kind::AgentFrozen(follower));
        sim.run_for(ms(79));
        sim.end(Kind::OneWay(holder, follower));
        sim.run_for(ms(7));
        sim.end(Kind::AgentFrozen(follower));
        nothing_moves(&mut sim, holder, seed);
    }
}

/// What was heard before a follower's own link went down says nothing about what it hears when it is back.
#[test]
fn rule_07_silence_counts_anew_when_the_own_link_is_back() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let follower = other_than(holder);
        sim.begin(Kind::LinkDown(follower));
        sim.run_for(ms(1_500));
        sim.begin(Kind::OneWay(holder, follower));
        sim.end(Kind::LinkDown(follower));
        sim.run_for(ms(600));
        sim.end(Kind::OneWay(holder, follower));
        nothing_moves(&mut sim, holder, seed);
    }
}

/// A node is rolled back: kube-vip wears the VIP there and holds the Lease, on which it kept our annotations. Members
/// know the node and its path; it is waited for all the same.
fn rolled_back_and_dead(seed: u64, sim: &mut Sim, node: usize, moves: u32) {
    sim.begin(Kind::Crash(node));
    sim.begin(Kind::Misconfigured(node));
    let lease = sim.lease().cloned().expect("there is a lease");
    let (holder, transitions) = (Some(format!("node-{}", node + 1)), lease.transitions + moves);
    sim.put_lease(LeaseRecord { holder, transitions, acquire_time: "elsewhere".to_owned(), ..lease });
    assert_eq!(sim.lease_holder(), Some(node), "seed {seed}");
    let since = sim.now();
    sim.run_for(seconds(2));
    sim.begin(Kind::PowerLoss(node));
    sim.run_for(ms(2_800));
    assert_eq!(took(sim, since), [], "seed {seed}: silent, and not expired");
    sim.run_for(ms(2_500));
    let reasons: Vec<TakeReason> = took(sim, since).iter().map(|took| took.3).collect();
    assert_eq!(reasons, [TakeReason::Expired], "seed {seed}");
}

#[test]
fn rule_07_a_member_under_another_elector_is_waited_for() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        rolled_back_and_dead(seed, &mut sim, other_than(holder), 1);
    }
}

/// The annotation names this very node, of when it was ours.
#[test]
fn rule_07_a_grant_of_an_earlier_epoch_proves_nothing() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        rolled_back_and_dead(seed, &mut sim, holder, 2);
    }
}

/// However many takeovers were false, a dead holder is not waited for longer than that: here by nodes that could not
/// serve either, which wait for twice as long as others.
#[test]
fn rule_07_damping_ends_at_the_lease() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let lease = sim.lease().cloned().expect("there is a lease");
        let mut annotations = lease.annotations.clone();
        annotations.insert("mainstay.io/false-takeovers".to_owned(), "8".to_owned());
        sim.put_lease(LeaseRecord { annotations, ..lease });
        sim.run_for(seconds(2));
        (0..3).for_each(|node| sim.begin(Kind::Unhealthy(node)));
        sim.run_for(seconds(2));
        assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed}");
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(12));
        assert!(
            sim.holder().is_some_and(|next| next != holder),
            "seed {seed}: two lease durations, and a bit"
        );
    }
}

/// The best of `nodes` in the claim's order.
fn best(sim: &Sim, nodes: impl Iterator<Item = usize>) -> usize {
    let score = |node: &usize| score(&ClaimId::control_plane(), sim.node_id(*node));
    nodes.max_by_key(score).expect("there is a node")
}

#[test]
fn rule_08_the_first_in_rank_succeeds() {
    for seed in 0..20 {
        let (mut sim, holder) = settled(seed, 4);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let since = sim.now();
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(4));
        let first = best(&sim, (0..4).filter(|node| *node != holder));
        let taken: Vec<_> = took(&sim, since).iter().map(|took| (took.1, took.3)).collect();
        assert_eq!(taken, [(first, TakeReason::Succession)], "seed {seed}: of all that live");
    }
}

/// A better-ranked node found out later than its rank allows for: its question is in time as long as nobody has taken.
#[test]
fn rule_08_a_better_ranked_candidate_comes_first() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let followers = || (0..3).filter(|node| *node != holder);
        let first = best(&sim, followers());
        let second = followers().find(|node| *node != first).expect("there are two");
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let since = sim.now();
        // Its kernel lives; its question is put on the wire when the other has begun to ask.
        [Kind::Crash(first), Kind::PowerLoss(holder)].into_iter().for_each(|kind| sim.begin(kind));
        let candidate = Some(Tenure::Candidate);
        assert!(sim.run_until(seconds(4), |sim| !questions(sim, second, since, candidate).is_empty()));
        let mark = Mark { tenure: Tenure::Candidate, epoch: 0, node: sim.node_id(first) };
        sim.forge_question(first, mark);
        sim.run_for(ms(290));
        assert!(!sim.wears(second), "seed {seed}: it lets the better one go first");
        assert!(sim.run_until(ms(500), |sim| sim.wears(second)), "seed {seed}: which did not take it");
    }
}
