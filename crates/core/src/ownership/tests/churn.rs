//! Services that come and go in a storm while the claim changes hands.

use super::*;

const EVENTS: u8 = 15;
const SETTLED: Duration = Duration::from_secs(5);

fn address() -> Vip {
    IpAddr::from([10, 1, 0, 1])
}

fn storm(world: &mut World, event: u8) {
    let there = event.is_multiple_of(2);
    world.give(Input::Services(if there { vec![address()] } else { vec![] }));
    world.now = world.now + Duration::from_millis(7);
    world.run(Duration::ZERO);
}

/// kube-vip 1775: endpoints came and went 15 times in a moment, the lease was lost in it, and the address stayed on the
/// interface. What is there follows from what is known, whichever of the events came last, or twice.
#[test]
fn issue_1775_whenever_in_a_storm_of_15_events_the_claim_is_lost_nothing_stays_on_the_interface() {
    for lost_at in 0..=EVENTS {
        let mut world = World::holder();
        for event in 0..=EVENTS {
            if event == lost_at {
                let later = world.lease.as_ref().expect("held").transitions + 1;
                world.vip_answers = true;
                world.grant_peer(later);
                // The watch may say it twice.
                world.touch();
            }
            if event < EVENTS {
                storm(&mut world, event);
            }
        }
        world.run(SETTLED);
        assert_eq!(world.tenure(), None, "lost at event {lost_at}");
        assert_eq!(world.wears, BTreeSet::new(), "lost at event {lost_at}");
        assert!(world.announces.is_empty(), "lost at event {lost_at}");
    }
}

/// The other way round: who gets the claim in the storm wears what the last event said, and nothing twice.
#[test]
fn issue_1775_whenever_in_the_storm_the_claim_is_won_the_last_event_decides() {
    for won_at in 0..=EVENTS {
        let mut world = World::follower();
        world.run(Duration::from_secs(3));
        for event in 0..=EVENTS {
            if event == won_at {
                world.vip_answers = false;
                world.run(Duration::from_secs(2));
                assert_eq!(world.tenure(), Some(Tenure::Confirmed), "won at event {won_at}");
            }
            if event < EVENTS {
                storm(&mut world, event);
            }
        }
        world.run(SETTLED);
        assert_eq!(world.wears, BTreeSet::from([VIP, address()]), "won at event {won_at}");
        assert_eq!(world.announces, [VIP, address()], "won at event {won_at}");
    }
}
