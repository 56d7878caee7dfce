//! Rules 9 to 13: starts, freezes, stops, the kernel, the service and the link of one host.

use super::*;

#[test]
fn rule_09_start_in_an_outage() {
    for (seed, form) in (0..10).zip(OUTAGES.into_iter().cycle()) {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(form));
        sim.run_for(seconds(6));
        sim.begin(Kind::Crash(holder));
        sim.run_for(seconds(2));
        let since = sim.now();
        sim.end(Kind::Crash(holder));
        assert!(sim.run_until(seconds(5), |sim| sim.holder() == Some(holder)), "seed {seed} {form:?}");
        assert_eq!(tenure(&sim, holder), Some(Tenure::Detached), "seed {seed} {form:?}");
        let probed = sim.log.effects.iter().any(|(at, who, effect)| {
            *who == holder && *at >= since && *at <= sim.now() && matches!(effect, Effect::Probe { .. })
        });
        assert!(probed, "seed {seed} {form:?}: it asks before it announces");
        sim.run_for(seconds(10));
        assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed} {form:?}");
        clean(&sim);
    }
}

#[test]
fn rule_09_a_cold_start_in_an_outage() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        // All agents die, and so does the holder's host; the others come back with what their snapshots know.
        (0..3).for_each(|node| sim.begin(Kind::Crash(node)));
        sim.begin(Kind::PowerLoss(holder));
        sim.run_for(seconds(1));
        (0..3).filter(|node| *node != holder).for_each(|node| sim.end(Kind::Crash(node)));
        let taken = sim.run_until(seconds(12), |sim| sim.holder().is_some());
        assert!(taken, "seed {seed}: a node without the VIP succeeds (rule 8)");
        assert_ne!(only_holder(&sim), holder);
    }
}

/// Attack: a resumed agent restored an expired VIP.
#[test]
fn rule_09_resumption_after_a_freeze() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let kind = if seed % 2 == 0 { Kind::AgentFrozen(holder) } else { Kind::HostFrozen(holder) };
        sim.begin(kind);
        sim.run_for(seconds(if seed % 2 == 0 { 20 } else { 8 }));
        let next = only_holder(&sim);
        assert_ne!(next, holder, "seed {seed}");
        sim.end(kind);
        let since = sim.now();
        sim.run_for(seconds(10));
        assert_eq!(
            announced(&sim, holder, since),
            Vec::<Duration>::new(),
            "seed {seed}: not before it knows"
        );
        assert!(!sim.wears(holder), "seed {seed}");
        assert_eq!(only_holder(&sim), next, "seed {seed}");
        clean(&sim);
    }
}

#[test]
fn rule_10_dead_agent_address_expires_and_next_holder_within_1_s() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        let left = sim.lifetime_left(holder).expect("it wears the VIP");
        assert!(left <= seconds(10) && left >= ms(6_500), "seed {seed}: refreshed every third: {left:?}");
        sim.begin(Kind::Crash(holder));
        sim.run_for(left - ms(10));
        assert_eq!(lost(&sim), 0, "seed {seed}: the kernel goes on serving");
        sim.run_for(seconds(4));
        assert!(!sim.wears(holder), "seed {seed}");
        assert!(dark(&sim) <= seconds(1), "seed {seed}: dark for {:?}", dark(&sim));
        assert_ne!(only_holder(&sim), holder);
        clean(&sim);
    }
}

#[test]
fn rule_10_a_deleted_address_is_put_back() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let since = sim.now();
        sim.begin(Kind::AddressDeleted(holder));
        assert!(!sim.wears(holder));
        assert!(sim.run_until(ms(100), |sim| sim.wears(holder)), "seed {seed}");
        sim.run_for(ms(600));
        let times = announced(&sim, holder, since);
        assert!(times.len() >= 4, "seed {seed}: and announced anew, for who was not answered: {times:?}");
        sim.run_for(seconds(5));
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

#[test]
fn rule_11_hand_over_0_lost() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Shutdown(holder));
        let since = sim.now();
        sim.run_for(seconds(8));
        assert_eq!(lost(&sim), 0, "seed {seed}");
        assert_ne!(only_holder(&sim), holder, "seed {seed}");
        assert!(!sim.wears(holder), "seed {seed}");
        assert_eq!(sim.view().nodes[holder].agent, AgentState::Stopped, "seed {seed}");
        let heard = took(&sim, since)[0].0;
        let withdrawn = sim.log.effects.iter().find_map(|(at, who, effect)| {
            (*who == holder && *at >= since && matches!(effect, Effect::Withdraw { .. })).then_some(*at)
        });
        assert!(withdrawn >= Some(heard), "seed {seed}: make before break");
        clean(&sim);
    }
}

#[test]
fn rule_11_nobody_can_succeed_so_the_vip_stays() {
    for seed in 0..6 {
        let nodes = if seed % 2 == 0 { 1 } else { 3 };
        let (mut sim, holder) = settled(seed, nodes);
        if nodes == 3 {
            sim.begin(outage(ApiForm::Hung));
            sim.run_for(seconds(6));
        }
        let since = sim.now();
        sim.begin(Kind::Shutdown(holder));
        sim.run_for(seconds(20));
        assert_eq!(sim.view().nodes[holder].agent, AgentState::Stopped, "seed {seed}");
        assert!(
            sim.lifetime_left(holder) > Some(seconds(500)),
            "seed {seed}: {:?}",
            sim.lifetime_left(holder)
        );
        let kept =
            events_since(&sim, since).any(|(.., event)| matches!(event, Event::Stopping { kept: true, .. }));
        assert!(kept, "seed {seed}");
        sim.end(Kind::Shutdown(holder));
        assert!(
            sim.run_until(seconds(5), |sim| sim.holder() == Some(holder)),
            "seed {seed}: the restart keeps it"
        );
        assert_eq!(lost(&sim), 0, "seed {seed}");
    }
}

#[test]
fn rule_12_invite_when_the_service_is_down() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let since = sim.now();
        sim.begin(Kind::Unhealthy(holder));
        sim.run_for(seconds(6));
        assert_ne!(only_holder(&sim), holder, "seed {seed}");
        assert_eq!(took(&sim, since).first().map(|took| took.3), Some(TakeReason::Invitation), "seed {seed}");
        assert_eq!(lost(&sim), 0, "seed {seed}: it holds until a healthy node has taken it");
        let released = sim.log.effects.iter().any(|(at, who, effect)| {
            let empty = matches!(
                effect,
                Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } if draft.holder.is_none()
            );
            *who == holder && *at >= since && empty
        });
        assert!(!released, "seed {seed}: an invitation is no release");
        clean(&sim);
    }
}

#[test]
fn rule_12_all_unhealthy_or_out_of_reach_moves_nothing() {
    for seed in 0..5 {
        for all in [[true, true, true], [false, false, false]] {
            let (mut sim, holder) = settled(seed, 3);
            let reach = all == [false, false, false];
            (0..3).filter(|node| !reach || *node == holder).for_each(|node| {
                if !reach {
                    sim.begin(Kind::Unhealthy(node));
                }
            });
            if reach {
                sim.begin(outage(ApiForm::Refused));
                sim.run_for(seconds(5));
                sim.begin(Kind::Unhealthy(holder));
            }
            sim.run_for(seconds(20));
            assert_eq!((only_holder(&sim), lost(&sim)), (holder, 0), "seed {seed} {all:?}");
        }
    }
}

#[test]
fn rule_13_a_link_that_is_down_for_long_resigns() {
    for seed in 0..5 {
        let (mut sim, _) = settled(seed, 1);
        sim.begin(Kind::LinkDown(0));
        let since = sim.now();
        sim.run_for(ms(800));
        assert_eq!(sim.lease_holder(), Some(0), "seed {seed}: a short one changes nothing");
        sim.run_for(ms(2_200));
        assert_eq!(sim.lease_holder(), None, "seed {seed}: it resigned");
        assert_eq!(yielded(&sim, 0, since).map(|(_, reason)| reason), Some(YieldReason::LinkDown));
        assert!(announced(&sim, 0, since + ms(5)).is_empty(), "seed {seed}: silent while down");
        sim.end(Kind::LinkDown(0));
        assert!(sim.run_until(seconds(10), |sim| sim.holder() == Some(0)), "seed {seed}");
    }
}

#[test]
fn rule_13_link_up_asks_before_it_announces() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        // Both the link and the API of the holder fail, so that it cannot know of its successor by the Lease.
        sim.begin(Kind::Api(Whom::Node(holder), ApiForm::Hung));
        sim.begin(Kind::LinkDown(holder));
        sim.run_for(seconds(5));
        let next = only_holder(&sim);
        assert_ne!(next, holder, "seed {seed}");
        let since = sim.now();
        sim.reset_tallies();
        sim.end(Kind::LinkDown(holder));
        sim.run_for(seconds(3));
        assert_eq!(announced(&sim, holder, since), Vec::<Duration>::new(), "seed {seed}");
        assert_eq!(only_holder(&sim), next, "seed {seed}");
        let tally = sim.tallies()[0];
        assert_eq!(tally.lost, 0, "seed {seed}: a client that keeps its entry never notices");
    }
}

#[test]
fn rule_10_an_address_that_ran_out_is_not_put_back() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::AgentFrozen(holder));
        sim.run_for(ms(11_500));
        assert!(!sim.wears(holder), "seed {seed}: nobody refreshed it");
        sim.end(Kind::AgentFrozen(holder));
        for _ in 0..200 {
            sim.run_for(ms(1));
            assert!(!sim.wears(holder), "seed {seed}: another may hold the claim by now");
        }
    }
}

#[test]
fn rule_11_a_strict_singleton_breaks_before_it_makes() {
    for seed in 0..5 {
        let strict = Some(OnAuthorityLoss::ReleaseAfter(seconds(8)));
        let mut sim = started(seed, 3, Tune { on_authority_loss: strict, ..Tune::default() });
        sim.run_for(seconds(13));
        let holder = only_holder(&sim);
        sim.begin(Kind::Shutdown(holder));
        let released = sim.run_until(seconds(3), |sim| sim.lease_holder() != Some(holder));
        assert!(released && !sim.wears(holder), "seed {seed}: withdrawn, then released");
    }
}

#[test]
fn rule_11_a_release_is_client_gos() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(Kind::Shutdown(holder));
        let released = |sim: &Sim| sim.lease().is_some_and(|lease| lease.holder.is_none());
        assert!(sim.run_until(seconds(3), released), "seed {seed}");
        assert_eq!(sim.lease().map(|lease| lease.duration_seconds), Some(1), "seed {seed}");
    }
}

#[test]
fn rule_11_nobody_hands_over_to_nobody() {
    for seed in 0..5 {
        let mut sim = started(seed, 1, Tune::default());
        sim.run_for(seconds(13));
        sim.begin(Kind::Shutdown(0));
        let stopped = sim.run_until(seconds(1), |sim| sim.view().nodes[0].agent == AgentState::Stopped);
        assert!(stopped && sim.wears(0), "seed {seed}: the VIP stays for the restart");
        assert_eq!(sim.lease_holder(), Some(0), "seed {seed}: and so does the grant");
    }
}

#[test]
fn rule_11_without_the_authority_nobody_can_succeed() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(ms(600));
        assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed), "seed {seed}: its grant is young");
        sim.begin(Kind::Shutdown(holder));
        let stopped = sim.run_until(seconds(1), |sim| sim.view().nodes[holder].agent == AgentState::Stopped);
        assert!(stopped && sim.wears(holder), "seed {seed}: it waits for nobody, and the VIP stays");
    }
}

#[test]
fn rule_13_without_the_authority_no_link_is_given_up() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(6));
        let since = sim.now();
        sim.begin(Kind::LinkDown(holder));
        sim.run_for(seconds(4));
        assert_eq!(yielded(&sim, holder, since), None, "seed {seed}: nobody could be granted it");
        assert!(sim.wears(holder), "seed {seed}");
    }
}

/// Both wore the VIP in a partition, both agents are restarted, and somebody deletes the Lease: each hears the other's
/// kernel answer, and no mark.
#[test]
fn rule_09_of_two_that_were_restarted_one_goes_on() {
    for seed in 0..10 {
        let (mut sim, first) = settled(seed, 2);
        sim.begin(Kind::Unplugged(first));
        sim.run_for(seconds(4));
        assert!(sim.wears(0) && sim.wears(1), "seed {seed}: each side has a holder");
        (0..2).for_each(|node| sim.begin(Kind::Crash(node)));
        sim.begin(Kind::LeaseDeleted);
        sim.end(Kind::LeaseDeleted);
        sim.end(Kind::Unplugged(first));
        (0..2).for_each(|node| sim.end(Kind::Crash(node)));
        let decided = |sim: &Sim| sim.holder().is_some() && sim.wears(0) != sim.wears(1);
        assert!(sim.run_until(seconds(4), decided), "seed {seed}: each waits for the other");
        let holder = only_holder(&sim);
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}");
        sim.run_for(seconds(4));
        assert_eq!(only_holder(&sim), holder, "seed {seed}");
    }
}

/// Power is lost everywhere. Whoever is back first wears nothing, whatever it held in its last boot, and has nobody to
/// wait for: the API servers may be behind the VIP.
#[test]
fn rule_09_what_an_earlier_boot_knew_is_not_believed() {
    for seed in 0..10 {
        let (mut sim, holder) = settled(seed, 3);
        sim.begin(outage(ApiForm::Refused));
        (0..3).for_each(|node| sim.begin(Kind::PowerLoss(node)));
        sim.run_for(seconds(5));
        let back = if seed % 2 == 0 { holder } else { other_than(holder) };
        sim.end(Kind::PowerLoss(back));
        let held = sim.run_until(ms(3_500), |sim| sim.holder() == Some(back));
        assert!(held, "seed {seed}: it waits for a holder of its last boot");
    }
}

/// The last node to be migrated from kube-vip stops. Electors that only follow write nothing down: one may be there.
#[test]
fn rule_11_an_elector_that_lists_nobody_may_succeed() {
    for seed in 0..5 {
        let (mut sim, _) = settled(seed, 1);
        deny(&mut sim, "kube-vip-node");
        sim.run_for(seconds(2));
        assert!(!sim.wears(0), "seed {seed}: kube-vip has it");
        let lease = sim.lease().cloned().expect("there is a lease");
        sim.put_lease(LeaseRecord { holder: None, duration_seconds: 1, ..lease });
        assert!(sim.run_until(seconds(10), |sim| sim.holder() == Some(0)), "seed {seed}: and gives it back");
        sim.run_for(seconds(10));
        sim.begin(Kind::Shutdown(0));
        let released = sim.run_until(seconds(1), |sim| sim.lease_holder().is_none());
        assert!(released && sim.wears(0), "seed {seed}: released, and worn until somebody has it");
        deny(&mut sim, "kube-vip-node");
        sim.run_for(ms(700));
        assert!(!sim.wears(0), "seed {seed}: it has a successor");
        assert_eq!(sim.view().nodes[0].agent, AgentState::Stopped, "seed {seed}");
    }
}

/// Two hand over, one after the other: what left the first because it could not serve does not come back to it.
#[test]
fn rule_12_who_handed_over_stays_out() {
    for seed in 0..10 {
        let (mut sim, first) = settled(seed, 3);
        sim.begin(Kind::Unhealthy(first));
        let moved = |sim: &Sim| sim.holder().is_some_and(|holder| holder != first);
        assert!(sim.run_until(seconds(6), moved), "seed {seed}");
        let second = only_holder(&sim);
        sim.end(Kind::Unhealthy(first));
        sim.run_for(ms(200));
        sim.begin(Kind::Shutdown(second));
        sim.run_for(seconds(3));
        assert_eq!(only_holder(&sim), 3 - first - second, "seed {seed}: the one that it did not leave");
    }
}

/// The invitation is answered, nobody hears the successor, and the Lease is deleted: the agent that invited was not asked
/// to stop, and does not.
#[test]
fn rule_12_who_invited_does_not_stop() {
    for seed in 0..5 {
        let (mut sim, holder) = settled(seed, 3);
        let others = (0..3).filter(|node| *node != holder);
        let mute = others.map(|node| Kind::Api(Whom::Node(node), ApiForm::ReplyLost)).collect::<Vec<_>>();
        mute.iter().for_each(|fault| sim.begin(*fault));
        sim.begin(Kind::Unhealthy(holder));
        let answered = |sim: &Sim| sim.lease_holder().is_some_and(|next| next != holder);
        assert!(sim.run_until(seconds(6), answered), "seed {seed}");
        let since = sim.now();
        sim.begin(Kind::LeaseDeleted);
        sim.run_for(ms(50));
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(2));
        let stopped = events_since(&sim, since).any(|(_, _, event)| matches!(event, Event::Stopping { .. }));
        assert!(!stopped, "seed {seed}: nobody asked for that");
        sim.end(outage(ApiForm::Refused));
        mute.iter().for_each(|fault| sim.end(*fault));
        sim.end(Kind::Unhealthy(holder));
        sim.run_for(seconds(20));
        assert!(sim.lease_holder() == Some(only_holder(&sim)), "seed {seed}");
        clean(&sim);
    }
}

/// A backup of the Lease is restored, which names another, and in that moment the holder is told to stop: who takes the
/// claim by the earlier epoch is its successor as well.
#[test]
fn rule_11_a_successor_of_an_earlier_epoch_is_one() {
    for seed in 0..5 {
        let (mut sim, first) = settled(seed, 3);
        sim.begin(Kind::Unhealthy(first));
        assert!(
            sim.run_until(seconds(6), |sim| sim.holder().is_some_and(|holder| holder != first)),
            "seed {seed}"
        );
        sim.end(Kind::Unhealthy(first));
        sim.run_for(seconds(13));
        let second = only_holder(&sim);
        sim.begin(Kind::LeaseSetBack);
        sim.run_for(ms(1));
        sim.begin(Kind::Shutdown(second));
        sim.run_for(ms(900));
        assert_ne!(only_holder(&sim), second, "seed {seed}: it heard its successor");
        sim.run_for(seconds(10));
        clean(&sim);
    }
}
