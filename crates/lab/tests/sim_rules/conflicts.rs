//! Rule 5: two claim one VIP, and what the clients have at the end.

use mainstay_core::names::ClaimId;
use mainstay_core::placement::score;

use super::*;

#[test]
fn rule_05_the_winner_defends_now_and_after_1100_ms() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        let since = sim.now();
        sim.forge(other, Some(Mark { tenure: Tenure::Detached, epoch: 0, node: sim.node_id(other) }));
        sim.run_for(ms(1_300));
        let times = announced(&sim, holder, since);
        assert!(times.iter().any(|at| *at - since <= ms(10)), "seed {seed}: now: {times:?}");
        let again = times.iter().any(|at| (*at - since).as_millis().abs_diff(1_100) <= 20);
        assert!(again, "seed {seed}: once more after 1.1 s: {times:?}");
        assert_eq!(only_holder(&sim), holder);
        assert_eq!(verdicts(&sim, holder, since), [Verdict::Defend]);
        sim.reset_tallies();
        sim.run_for(seconds(2));
        assert_eq!(lost(&sim), 0, "seed {seed}: every client is back");
    }
}

#[test]
fn rule_05_the_lower_mark_yields_at_once() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        assert_eq!(tenure(&sim, holder), Some(Tenure::Detached));
        let (since, epoch) = (sim.now(), sim.mark(holder).map_or(0, |mark| mark.epoch));
        sim.forge(other, Some(Mark { tenure: Tenure::Confirmed, epoch, node: sim.node_id(other) }));
        sim.run_for(ms(10));
        assert!(!sim.wears(holder), "seed {seed}");
        let reason = yielded(&sim, holder, since).map(|(_, reason)| reason);
        assert_eq!(reason, Some(YieldReason::Outranked), "seed {seed}");
    }
}

#[test]
fn rule_05_the_tenure_comes_before_the_epoch() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let since = sim.now();
        sim.forge(other, Some(Mark { tenure: Tenure::Provisional, epoch: 99, node: sim.node_id(other) }));
        sim.run_for(seconds(2));
        assert_eq!(verdicts(&sim, holder, since), [Verdict::Defend], "seed {seed}");
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

#[test]
fn rule_05_of_equals_the_better_rank_stays() {
    let mut stayed = 0;
    for seed in 0..10 {
        for step in 1..3 {
            let (mut sim, holder) = settled(seed, 3);
            let other = (holder + step) % 3;
            sim.begin(outage(ApiForm::Refused));
            sim.run_for(seconds(6));
            let epoch = sim.mark(holder).map_or(0, |mark| mark.epoch);
            sim.forge(other, Some(Mark { tenure: Tenure::Detached, epoch, node: sim.node_id(other) }));
            sim.run_for(ms(10));
            let score = |node| score(&ClaimId::control_plane(), sim.node_id(node));
            assert_eq!(sim.wears(holder), score(holder) > score(other), "seed {seed}: {holder} and {other}");
            stayed += usize::from(sim.wears(holder));
        }
    }
    assert!(stayed > 0, "some were the better");
}

#[test]
fn rule_05_a_confirmed_holder_verifies_a_higher_epoch() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        let since = sim.now();
        sim.forge(other, Some(Mark { tenure: Tenure::Confirmed, epoch: 99, node: sim.node_id(other) }));
        sim.run_for(ms(100));
        let asked = sim.log.effects.iter().any(|(at, who, effect)| {
            let asks = matches!(effect, Effect::Lease { deadline, .. } if *deadline <= seconds(1));
            *who == holder && *at >= since && *at - since <= ms(20) && asks
        });
        assert!(asked, "seed {seed}: it asks the authority, with a deadline of 1 s");
        let defended = announced(&sim, holder, since).first().is_some_and(|at| *at - since <= ms(10));
        assert!(defended, "seed {seed}: and defends meanwhile");
        assert_eq!(verdicts(&sim, holder, since).first(), Some(&Verdict::Verify));
        sim.run_for(seconds(3));
        assert_eq!(only_holder(&sim), holder, "seed {seed}: the authority says that it holds");
    }
}

#[test]
fn rule_05_a_holder_whose_renewals_go_unanswered_has_nobody_to_ask() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(ms(1_800));
        assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed), "seed {seed}: its grant is young");
        sim.forge(other, Some(Mark { tenure: Tenure::Confirmed, epoch: 99, node: sim.node_id(other) }));
        sim.run_for(ms(10));
        assert!(!sim.wears(holder), "seed {seed}: it yields at once");
    }
}

/// A backup is restored while the holder is cut off from the API: the one that held in the backup's epoch is granted it
/// again, and both are confirmed. Until the one found that it is cut off, they held side by side for the renew deadline.
#[test]
fn rule_05_two_confirmed_holders_ask_though_the_epochs_differ() {
    for seed in 0..10 {
        let (mut sim, first) = settled(seed, 3);
        sim.begin(Kind::Unplugged(first));
        sim.run_for(seconds(5));
        sim.end(Kind::Unplugged(first));
        sim.run_for(seconds(12));
        let holder = only_holder(&sim);
        assert_ne!(holder, first, "seed {seed}: there was a move, so there is an epoch to go back to");
        let renewed = sim.lease().map(|lease| lease.renew_time.clone());
        sim.run_until(seconds(2), |sim| sim.lease().map(|lease| lease.renew_time.clone()) != renewed);
        let form = if seed % 2 == 0 { ApiForm::Refused } else { ApiForm::Stalled };
        sim.begin(Kind::Api(Whom::Node(holder), form));
        sim.begin(Kind::LeaseSetBack);
        sim.end(Kind::LeaseSetBack);
        let both = sim.run_until(ms(200), |sim| sim.view().holders().count() == 2);
        assert!(both, "seed {seed}: it is granted what it had");
        assert!(
            sim.run_until(seconds(1), |sim| sim.holder() == Some(first)),
            "seed {seed}: one within a second"
        );
        sim.run_for(seconds(3));
        assert_eq!(only_holder(&sim), first, "seed {seed}");
        clean(&sim);
    }
}

/// Both are out of the API's reach: one of them stays, the later.
#[test]
fn rule_05_of_two_that_cannot_ask_the_later_stays() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(2));
        let next = only_holder(&sim);
        sim.run_for(seconds(5));
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(ms(600));
        assert_eq!(tenure(&sim, next), Some(Tenure::Confirmed), "seed {seed}");
        let epoch = sim.mark(next).map_or(0, |mark| mark.epoch) - 1;
        let third = (0..3).find(|node| ![holder, next].contains(node)).unwrap_or_default();
        sim.forge(third, Some(Mark { tenure: Tenure::Confirmed, epoch, node: sim.node_id(third) }));
        sim.run_for(ms(500));
        assert_eq!(
            tenure(&sim, next),
            Some(Tenure::Confirmed),
            "seed {seed}: the earlier is the first to go"
        );
        sim.run_for(ms(200));
        assert_eq!(only_holder(&sim), next, "seed {seed}: it has not yielded to an earlier grant");
        assert_eq!(
            tenure(&sim, next),
            Some(Tenure::Detached),
            "seed {seed}: and does not know whether its own holds"
        );
    }
}

/// A short partition heals while no API server answers: neither the holder nor the one that it took the claim from has
/// found out yet that it cannot ask. The later grant stays, and clients never notice.
#[test]
fn rule_05_of_two_that_are_not_answered_the_earlier_goes_first() {
    for seed in 0..10 {
        for (form, settled) in [
            (ApiForm::Slow, settled as fn(u64, usize) -> (Sim, usize)),
            (ApiForm::Stalled, settled),
            (ApiForm::Hung, settled),
            (ApiForm::Slow, settled_with_servers),
            (ApiForm::Stalled, settled_with_servers),
            (ApiForm::Hung, settled_with_servers),
        ] {
            let (mut sim, stale) = settled(seed, 3);
            let renewed = sim.lease().map(|lease| lease.renew_time.clone());
            sim.run_until(seconds(2), |sim| sim.lease().map(|lease| lease.renew_time.clone()) != renewed);
            sim.begin(Kind::WatchSilent(stale));
            sim.begin(Kind::Isolated(stale));
            assert!(sim.run_until(ms(700), |sim| sim.view().holders().count() == 2), "seed {seed}: evidence");
            let next = sim.view().holders().find(|node| *node != stale).unwrap_or(stale);
            sim.begin(outage(form));
            sim.run_for(ms(100));
            let since = sim.now();
            assert_eq!(tenure(&sim, stale), Some(Tenure::Confirmed), "seed {seed}: it knows of nothing");
            assert_eq!(tenure(&sim, next), Some(Tenure::Confirmed), "seed {seed}");
            sim.end(Kind::Isolated(stale));
            assert!(
                sim.run_until(seconds(1), |sim| sim.holder() == Some(next)),
                "seed {seed} {form:?}: one within a second"
            );
            sim.run_for(seconds(4));
            sim.end(outage(form));
            sim.end(Kind::WatchSilent(stale));
            sim.run_for(seconds(8));
            assert_eq!(only_holder(&sim), next, "seed {seed} {form:?}");
            assert_eq!(yielded(&sim, next, since), None, "seed {seed} {form:?}: not to an earlier grant");
            clean(&sim);
        }
    }
}

/// Unverified is unconfirmed: it waits for the authority's answer for 400 ms, and its grant is young still.
#[test]
fn rule_05_a_verification_without_an_answer_ends() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let renewed = sim.lease().map(|lease| lease.renew_time.clone());
        sim.run_until(seconds(2), |sim| sim.lease().map(|lease| lease.renew_time.clone()) != renewed);
        sim.run_for(ms(200));
        let other = other_than(holder);
        sim.begin(outage(ApiForm::Stalled));
        sim.forge(other, Some(Mark { tenure: Tenure::Confirmed, epoch: 99, node: sim.node_id(other) }));
        sim.run_for(ms(350));
        assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed), "seed {seed}: it asks");
        sim.run_for(ms(200));
        assert_eq!(tenure(&sim, holder), Some(Tenure::Detached), "seed {seed}: and was not answered");
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

/// Another elector took the Lease in an epoch that denies nothing, and its node announces. It reads no marks: the
/// holder defends once, and goes when it speaks again.
#[test]
fn rule_05_a_foreign_electors_node_is_answered_once() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let lease = sim.lease().cloned().expect("there is a lease");
        let elsewhere = Some("kube-vip-node".to_owned());
        sim.put_lease(LeaseRecord { holder: elsewhere, annotations: Default::default(), ..lease });
        sim.run_for(ms(20));
        sim.begin(outage(ApiForm::Stalled));
        sim.run_for(ms(400));
        let since = sim.now();
        sim.begin(Kind::Rogue);
        sim.run_for(ms(500));
        assert!(sim.wears(holder), "seed {seed}: not at its first frame");
        assert!(!announced(&sim, holder, since).is_empty(), "seed {seed}: that is answered");
        sim.run_for(ms(2_500));
        assert!(!sim.wears(holder), "seed {seed}: at a later one");
        let reason = yielded(&sim, holder, since).map(|(_, reason)| reason);
        assert_eq!(reason, Some(YieldReason::Defended), "seed {seed}");
    }
}

#[test]
fn rule_05_an_unmarked_frame_of_a_member_is_a_misconfigured_kernel() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        let since = sim.now();
        sim.begin(outage(ApiForm::Refused));
        sim.begin(Kind::Misconfigured(other));
        for _ in 0..5 {
            sim.forge(other, None);
            sim.run_for(seconds(1));
        }
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
        assert!(verdicts(&sim, holder, since).contains(&Verdict::Misconfigured), "seed {seed}");
    }
}

#[test]
fn rule_05_a_rogue_is_defended_against_and_never_yielded_to() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let since = sim.now();
        sim.begin(Kind::Rogue);
        sim.run_for(seconds(10));
        let times = announced(&sim, holder, since);
        assert!(times.len() >= 8, "seed {seed}: a defence for each claim: {}", times.len());
        assert!(
            times.len() <= 26,
            "seed {seed}: at most once a second and once 1.1 s after: {}",
            times.len()
        );
        sim.end(Kind::Rogue);
        sim.run_for(ms(1_200));
        sim.reset_tallies();
        sim.run_for(seconds(3));
        assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed}");
        assert!(verdicts(&sim, holder, since).contains(&Verdict::Rogue), "seed {seed}");
        clean(&sim);
    }
}

#[test]
fn rule_05_a_rogue_that_speaks_often_is_not_answered_as_often() {
    for seed in 0..5 {
        let mut sim = started(seed, 3, Tune::default());
        // Its agent never ran, so nobody knows it for a member.
        sim.begin(Kind::Crash(2));
        sim.run_for(seconds(13));
        let (holder, since) = (only_holder(&sim), sim.now());
        for _ in 0..30 {
            sim.forge(2, None);
            sim.run_for(ms(100));
        }
        let times = announced(&sim, holder, since);
        assert!((3..=9).contains(&times.len()), "seed {seed}: at most once a second, each twice: {times:?}");
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

#[test]
fn rule_05_a_holders_question_is_judged_as_an_announcement() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let epoch = sim.mark(holder).map_or(0, |mark| mark.epoch);
        sim.forge_question(other, Mark { tenure: Tenure::Confirmed, epoch, node: sim.node_id(other) });
        sim.run_for(ms(10));
        assert!(!sim.wears(holder), "seed {seed}: another holds with a better right");
    }
}

#[test]
fn rule_05_a_holder_that_may_have_a_rival_shows_its_mark() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let since = sim.now();
        sim.forge(other_than(holder), None);
        sim.run_for(ms(10));
        assert!(
            !announced(&sim, holder, since).is_empty(),
            "seed {seed}: to a kernel that answers in its name"
        );
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

/// Attack: clients ended on the loser's MAC in 33 to 100 % of heals.
#[test]
fn the_partition_heals_and_every_client_is_right() {
    for seed in 0..20 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Unplugged(holder));
        sim.run_for(seconds(9));
        let next = sim.view().holders().find(|node| *node != holder).expect("a successor");
        sim.end(Kind::Unplugged(holder));
        let since = sim.now();
        let single = sim.run_until(seconds(1), |sim| sim.holder().is_some());
        assert!(single, "seed {seed}: one holder within 1 s");
        assert_eq!(only_holder(&sim), next, "seed {seed}: the rightful one");
        sim.run_for(ms(1_200));
        sim.reset_tallies();
        sim.run_for(seconds(3));
        assert_eq!(lost(&sim), 0, "seed {seed}: every client's path is right");
        let last = sim.log.announcements.last().map(|(_, who, _)| *who);
        assert_eq!(last, Some(next), "seed {seed}: the last to announce");
        assert!(announced(&sim, holder, since + seconds(1)).is_empty(), "seed {seed}");
        clean(&sim);
    }
}

/// Attack: a detached and a confirmed holder never settled when the API answered slower than the defence window.
#[test]
fn a_detached_and_a_confirmed_holder_settle_with_a_slow_api() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Unplugged(holder));
        sim.run_for(seconds(9));
        let next = sim.view().holders().find(|node| *node != holder).expect("a successor");
        sim.begin(outage(ApiForm::Slow));
        sim.end(Kind::Unplugged(holder));
        sim.run_for(seconds(2));
        assert_eq!(only_holder(&sim), next, "seed {seed}");
        let since = sim.now();
        sim.run_for(seconds(20));
        assert_eq!((only_holder(&sim), took(&sim, since)), (next, Vec::new()), "seed {seed}: no flapping");
    }
}
