//! Rules 1 to 4 and 6: what the authority grants, denies, or cannot say.

use super::*;

#[test]
fn rule_01_hold_through_silence() {
    for (seed, form) in OUTAGES.into_iter().enumerate() {
        let (mut sim, holder) = settled(seed as u64, 3);
        sim.begin(outage(form));
        sim.run_for(seconds(30));
        assert_eq!(only_holder(&sim), holder, "{form:?}");
        assert_eq!(tenure(&sim, holder), Some(Tenure::Detached), "{form:?}");
        sim.end(outage(form));
        let back = sim.run_until(seconds(5), |sim| tenure(sim, holder) == Some(Tenure::Confirmed));
        assert!(back, "{form:?}: confirmed again within 5 s");
        sim.run_for(seconds(20));
        assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "{form:?}");
        clean(&sim);
    }
}

#[test]
fn rule_01_a_strict_singleton_lets_go() {
    for seed in 0..5 {
        let strict = Some(OnAuthorityLoss::ReleaseAfter(seconds(8)));
        let mut sim = started(seed, 3, Tune { on_authority_loss: strict, ..Tune::default() });
        sim.run_for(seconds(13));
        let holder = only_holder(&sim);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(ms(6_500));
        assert!(sim.wears(holder), "seed {seed}: it holds until 8 s after the last renewal");
        sim.run_for(ms(2_600));
        assert!(!sim.wears(holder), "seed {seed}: it lets go");
        sim.run_for(seconds(20));
        assert_eq!(sim.view().holders().count(), 0, "seed {seed}: nobody succeeds a strict singleton");
        let longest = sim.log.effects.iter().filter_map(|(.., effect)| match effect {
            Effect::Assign { lifetime, .. } => Some(*lifetime),
            _ => None,
        });
        assert!(longest.max() <= Some(seconds(8)), "rule 10's lifetime is capped");
    }
}

#[test]
fn rule_01_a_strict_singleton_is_not_taken_on_evidence() {
    for seed in 0..5 {
        let strict = Some(OnAuthorityLoss::ReleaseAfter(seconds(8)));
        let mut sim = started(seed, 3, Tune { on_authority_loss: strict, ..Tune::default() });
        sim.run_for(seconds(13));
        let holder = only_holder(&sim);
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(3));
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}: silent, and not expired yet");
        let taken = sim.run_until(seconds(12), |sim| sim.holder().is_some());
        assert!(taken && sim.holder() != Some(holder), "seed {seed}: it is taken when it has expired");
    }
}

#[test]
fn rule_02_a_node_that_nobody_answers_leaves_the_claim_to_others() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 2);
        let alone = other_than(holder);
        sim.begin(Kind::Isolated(alone));
        sim.run_for(seconds(40));
        let since = sim.now();
        let lease = sim.lease().cloned().expect("there is a lease");
        sim.put_lease(LeaseRecord { holder: None, ..lease });
        sim.run_for(seconds(4));
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}: whoever wears it asks for it");
        assert_eq!(took(&sim, since), [], "seed {seed}");
    }
}

#[test]
fn rule_02_no_campaign_while_the_link_is_down() {
    for seed in 0..5 {
        let mut sim = started(seed, 1, Tune::default());
        sim.begin(Kind::LinkDown(0));
        sim.run_for(seconds(30));
        assert!(sim.lease().is_none_or(|lease| lease.holder.is_none()), "seed {seed}");
        sim.end(Kind::LinkDown(0));
        assert!(sim.run_until(seconds(10), |sim| sim.holder() == Some(0)), "seed {seed}");
    }
}

#[test]
fn rule_02_a_node_whose_service_is_down_waits_for_others() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let (ill, fit) = ((holder + 1) % 3, (holder + 2) % 3);
        sim.begin(Kind::Unhealthy(ill));
        sim.begin(Kind::Api(Whom::Node(fit), ApiForm::Slow));
        sim.run_for(seconds(1));
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(ms(1_800));
        assert_eq!(sim.holder(), Some(fit), "seed {seed}: the one that could serve, though it is slow");
    }
}

/// When every API server is down, nobody could serve; the VIP is there all the same when they come back.
#[test]
fn rule_02_where_nobody_could_serve_nobody_waits_for_long() {
    for seed in 0..5 {
        for (reach, longest) in [(None, seconds(3)), (Some(outage(ApiForm::Refused)), seconds(2))] {
            let (mut sim, holder) = settled(seed, 3);
            (0..3).for_each(|node| sim.begin(Kind::Unhealthy(node)));
            reach.into_iter().for_each(|form| sim.begin(form));
            sim.run_for(seconds(8));
            assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed}: nothing moves");
            sim.begin(Kind::PowerLoss(holder));
            sim.run_for(seconds(4));
            assert!(sim.holder().is_some_and(|next| next != holder), "seed {seed} {reach:?}");
            assert!(dark(&sim) <= longest, "seed {seed} {reach:?}: dark for {:?}", dark(&sim));
        }
    }
}

#[test]
fn rule_11_a_hand_over_where_nobody_could_serve_loses_nothing() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        (0..3).for_each(|node| sim.begin(Kind::Unhealthy(node)));
        sim.run_for(seconds(2));
        sim.begin(Kind::Shutdown(holder));
        sim.run_for(seconds(6));
        assert!(!sim.wears(holder) && sim.holder().is_some(), "seed {seed}: it is handed over");
        assert_eq!(lost(&sim), 0, "seed {seed}");
    }
}

#[test]
fn rule_02_nobody_takes_without_a_grant() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let since = sim.now();
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(3));
        for (at, node, tenure, _) in took(&sim, since) {
            assert_eq!(tenure, Tenure::Confirmed, "seed {seed}: node {node} at {at:?}");
            assert_eq!(sim.lease_holder(), Some(node), "seed {seed}");
        }
        clean(&sim);
    }
}

#[test]
fn rule_03_the_address_is_there_before_it_is_announced() {
    for seed in 0..10 {
        let mut sim = started(seed, 3, Tune::default());
        assert!(sim.run_until(seconds(10), |sim| !sim.log.announcements.is_empty()), "seed {seed}");
        let (at, node, _) = sim.log.announcements[0];
        assert!(sim.wears(node), "seed {seed}: node {node} announces at {at:?} what it does not have");
    }
}

#[test]
fn rule_03_granted_take_at_once() {
    for seed in 0..5 {
        let mut sim = started(seed, 3, Tune::default());
        assert!(sim.run_until(seconds(10), |sim| sim.holder().is_some()));
        let holder = only_holder(&sim);
        sim.run_for(seconds(20));
        let times = announced(&sim, holder, Duration::ZERO);
        let burst: Vec<u128> = times[..6].iter().map(|at| (*at - times[0]).as_millis()).collect();
        for (seen, wanted) in burst.iter().zip([0_u128, 50, 150, 500, 850, 1_200]) {
            assert!(seen.abs_diff(wanted) <= 3, "seed {seed}: {burst:?}");
        }
        for pair in times[5..].windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap >= ms(2_690) && gap <= ms(3_310), "seed {seed}: {gap:?}");
        }
        let forms = sim.log.announcements.iter().filter(|(at, ..)| *at == times[0]).count();
        assert_eq!(forms, 2, "as request and as reply");
        let granted = sim
            .log
            .effects
            .iter()
            .position(|(_, who, effect)| *who == holder && matches!(effect, Effect::Assign { .. }));
        let after = &sim.log.effects[granted.expect("it assigned")..];
        let probed = after.iter().take_while(|(at, ..)| *at <= times[0]).any(|(_, who, effect)| {
            *who == holder
                && matches!(effect, Effect::Probe { target, .. } if *target == mainstay_lab::sim::VIP)
        });
        assert!(!probed, "no probing between the grant and the first announcement");
    }
}

#[test]
fn rule_04_denied_yields_after_500_ms_when_no_successor_is_heard() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let at = deny(&mut sim, "somebody-else");
        sim.run_for(ms(450));
        assert!(sim.wears(holder), "seed {seed}: make before break");
        sim.run_for(ms(150));
        assert!(!sim.wears(holder), "seed {seed}");
        assert_eq!(yielded(&sim, holder, at).map(|(_, reason)| reason), Some(YieldReason::Denied));
    }
}

#[test]
fn rule_04_denied_yields_when_the_successor_is_heard() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let other = other_than(holder);
        deny(&mut sim, "somebody-else");
        sim.run_for(ms(50));
        let epoch = sim.lease().map_or(0, |lease| lease.transitions);
        let mark = Mark { tenure: Tenure::Confirmed, epoch, node: sim.node_id(other) };
        sim.forge(other, Some(mark));
        sim.run_for(ms(20));
        assert!(!sim.wears(holder), "seed {seed}: at once, not after 500 ms");
    }
}

#[test]
fn rule_04_a_lower_epoch_or_a_new_object_is_a_reset() {
    for seed in 0..5 {
        for kind in [Kind::LeaseSetBack, Kind::LeaseDeleted] {
            let (mut sim, first) = settled(seed, 3);
            sim.begin(Kind::PowerLoss(first));
            sim.run_for(seconds(2));
            sim.end(Kind::PowerLoss(first));
            sim.run_for(seconds(25));
            let holder = only_holder(&sim);
            assert_ne!(holder, first, "there was a move, so there is an epoch to go back to");
            sim.reset_tallies();
            sim.begin(kind);
            sim.end(kind);
            sim.run_for(seconds(20));
            assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed} {kind:?}");
            assert_eq!(sim.lease_holder(), Some(holder), "seed {seed} {kind:?}: it contested");
            assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed));
            clean(&sim);
        }
    }
}

/// What the Lease is set to has to be contested, however slow the API is: a reset is no denial.
fn reset_while_the_api_is_slow(seed: u64, reset: impl Fn(&mut Sim, LeaseRecord)) {
    let (mut sim, holder) = settled(seed, 3);
    sim.begin(Kind::Crash(holder));
    sim.run_for(seconds(14));
    sim.end(Kind::Crash(holder));
    sim.run_for(seconds(12));
    let (second, other) = (only_holder(&sim), holder);
    assert_ne!(second, other, "seed {seed}: there was a move, so there is an epoch to go back to");
    sim.begin(Kind::Api(Whom::Node(second), ApiForm::Refused));
    sim.run_for(ms(1_500));
    sim.end(Kind::Api(Whom::Node(second), ApiForm::Refused));
    let slow = Kind::Api(Whom::Node(second), ApiForm::Slow);
    sim.begin(slow);
    let lease = sim.lease().cloned().expect("there is a lease");
    let elsewhere = LeaseRecord { holder: Some("somebody-else".to_owned()), ..lease };
    reset(&mut sim, elsewhere);
    for _ in 0..40 {
        sim.run_for(ms(100));
        assert!(sim.wears(second), "seed {seed}: it holds on at {:?}", sim.now());
    }
    sim.end(slow);
    sim.run_for(seconds(20));
    assert_eq!((only_holder(&sim), sim.lease_holder()), (second, Some(second)), "seed {seed}: it contested");
}

#[test]
fn rule_04_a_lower_epoch_is_no_denial() {
    for seed in 0..5 {
        reset_while_the_api_is_slow(seed, |sim, lease| {
            sim.put_lease(LeaseRecord { transitions: lease.transitions - 1, ..lease });
        });
    }
}

#[test]
fn rule_04_another_object_is_no_denial_whatever_its_epoch() {
    for seed in 0..5 {
        reset_while_the_api_is_slow(seed, |sim, lease| {
            sim.begin(Kind::LeaseDeleted);
            sim.put_lease(LeaseRecord { transitions: lease.transitions + 7, ..lease });
        });
    }
}

/// A record that was reset denies nothing: its holder goes on asking for its own, and does not wait for the other's
/// lease to run out.
#[test]
fn rule_04_a_reset_is_contested_at_once() {
    for seed in 0..5 {
        for same_object in [true, false] {
            let (mut sim, first) = settled(seed, 3);
            sim.begin(Kind::PowerLoss(first));
            sim.run_for(seconds(2));
            sim.end(Kind::PowerLoss(first));
            sim.run_for(seconds(12));
            let (holder, lease) = (only_holder(&sim), sim.lease().cloned().expect("there is a lease"));
            assert!(lease.transitions > 0, "seed {seed}: there is an epoch to go back to");
            let transitions = if same_object { lease.transitions - 1 } else { lease.transitions + 7 };
            if !same_object {
                sim.begin(Kind::LeaseDeleted);
            }
            let elsewhere = Some("somebody-else".to_owned());
            sim.put_lease(LeaseRecord { holder: elsewhere, transitions, ..lease });
            sim.run_for(seconds(1));
            assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}, same object: {same_object}");
            assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed), "seed {seed}");
        }
    }
}

#[test]
fn rule_04_another_object_is_no_denial_after_a_restart_either() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Crash(holder));
        sim.run_for(ms(200));
        let lease = sim.lease().cloned().expect("there is a lease");
        sim.begin(Kind::LeaseDeleted);
        let (transitions, elsewhere) = (lease.transitions + 7, Some("somebody-else".to_owned()));
        sim.put_lease(LeaseRecord { holder: elsewhere, transitions, ..lease });
        sim.end(Kind::Crash(holder));
        for _ in 0..40 {
            sim.run_for(ms(100));
            assert!(sim.wears(holder), "seed {seed}: it holds on at {:?}", sim.now());
        }
        sim.run_for(seconds(20));
        assert_eq!((only_holder(&sim), sim.lease_holder()), (holder, Some(holder)), "seed {seed}");
    }
}

#[test]
fn rule_09_a_strict_singleton_keeps_nothing_through_a_start_in_an_outage() {
    for seed in 0..5 {
        let strict = Some(OnAuthorityLoss::ReleaseAfter(seconds(8)));
        let mut sim = started(seed, 3, Tune { on_authority_loss: strict, ..Tune::default() });
        sim.run_for(seconds(13));
        let holder = only_holder(&sim);
        sim.begin(outage(ApiForm::Refused));
        sim.begin(Kind::Crash(holder));
        sim.run_for(ms(500));
        sim.end(Kind::Crash(holder));
        sim.run_for(seconds(3));
        assert!(!sim.wears(holder), "seed {seed}: it cannot know whether it may hold");
        assert_eq!(sim.view().holders().count(), 0, "seed {seed}");
    }
}

/// Attack: the first node back from an outage took the lease (67 % of outages moved the VIP).
#[test]
fn rule_06_incumbents_grace() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let forms: Vec<Kind> = (0..3).map(|node| Kind::Api(Whom::Node(node), ApiForm::Refused)).collect();
        forms.iter().for_each(|kind| sim.begin(*kind));
        sim.run_for(seconds(20));
        let first = other_than(holder);
        sim.end(forms[first]);
        sim.run_for(seconds(10));
        (0..3).filter(|node| *node != first).for_each(|node| sim.end(forms[node]));
        let back = sim.run_until(seconds(5), |sim| tenure(sim, holder) == Some(Tenure::Confirmed));
        assert!(back, "seed {seed}: confirmed again within 5 s");
        sim.run_for(seconds(20));
        assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed}");
        assert_eq!(sim.lease().map(|lease| lease.transitions), Some(0), "seed {seed}: no move at all");
    }
}

#[test]
fn rule_06_an_outage_that_was_noticed_expires_nothing() {
    for seed in 0..5 {
        let (mut sim, _) = settled(seed, 3);
        let since = deny(&mut sim, "kube-vip-node");
        sim.run_for(seconds(3));
        sim.begin(outage(ApiForm::Refused));
        // Noticed, and too short for a succession.
        sim.run_for(ms(50));
        sim.end(outage(ApiForm::Refused));
        sim.run_for(ms(4_500));
        assert_eq!(took(&sim, since), [], "seed {seed}: it counts from the first read after the outage");
        sim.run_for(seconds(4));
        assert_eq!(took(&sim, since).len(), 1, "seed {seed}");
    }
}

#[test]
fn rule_06_a_holder_asks_again_within_a_third_of_the_lease() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let since = sim.now();
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(60));
        let asks = |(at, who, effect): &(Duration, usize, Effect)| {
            (*who == holder && *at >= since && matches!(effect, Effect::Lease { .. })).then_some(*at)
        };
        let times: Vec<Duration> = sim.log.effects.iter().filter_map(asks).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        assert!(longest <= ms(1_800), "seed {seed}: {longest:?} of 5 s");
    }
}

#[test]
fn rule_09_a_restarted_holder_that_was_denied_meanwhile_yields() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Crash(holder));
        sim.run_for(ms(300));
        deny(&mut sim, "somebody-else");
        sim.end(Kind::Crash(holder));
        sim.run_for(seconds(2));
        assert!(!sim.wears(holder), "seed {seed}: its VIP was still there, and is another's by now");
    }
}

#[test]
fn rule_06_the_grace_ends() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let alone = Kind::Api(Whom::Node(holder), ApiForm::Refused);
        sim.begin(alone);
        sim.run_for(seconds(12));
        assert_eq!(only_holder(&sim), holder, "seed {seed}: expired, and graced for the VIP's lifetime");
        sim.run_for(seconds(9));
        assert_ne!(only_holder(&sim), holder, "seed {seed}: it did not come back");
        assert_eq!(lost(&sim), 0, "seed {seed}: make before break");
    }
}

/// The holder's own API server fails, and what the VIP serves with it: nobody waits for it to come back.
#[test]
fn rule_06_no_grace_while_what_the_vip_serves_fails() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Api(Whom::Node(holder), ApiForm::Refused));
        sim.begin(Kind::Unhealthy(holder));
        (0..3).filter(|node| *node != holder).for_each(|node| sim.tell_service(node, Health::Unhealthy));
        sim.run_for(seconds(3));
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}: it has not expired");
        sim.run_for(seconds(4));
        assert!(only_holder(&sim) != holder, "seed {seed}: expired, and of no use to anybody");
    }
}

/// A follower that hears nobody stands still for a moment, while the holder misses some renewals: the lease's duration
/// is over when it goes on, and it has seen little of it.
#[test]
fn rule_06_who_did_not_look_knows_of_no_expiry() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let (follower, refused) = (other_than(holder), Kind::Api(Whom::Node(holder), ApiForm::Refused));
        sim.begin(Kind::Isolated(follower));
        sim.run_for(seconds(2));
        let renewed = sim.lease().map(|lease| lease.renew_time.clone());
        sim.run_until(seconds(2), |sim| sim.lease().map(|lease| lease.renew_time.clone()) != renewed);
        sim.run_for(ms(50));
        sim.begin(refused);
        sim.run_for(ms(2_150));
        sim.begin(Kind::AgentFrozen(follower));
        sim.run_for(ms(3_200));
        sim.end(Kind::AgentFrozen(follower));
        sim.run_for(ms(50));
        sim.end(refused);
        sim.run_for(seconds(3));
        assert_eq!(sim.lease().map(|lease| lease.transitions), Some(0), "seed {seed}: no move at all");
        assert_eq!((sim.lease_holder(), lost(&sim)), (Some(holder), 0), "seed {seed}");
    }
}
