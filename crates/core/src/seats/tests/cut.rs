//! A node that is cut off for a while loses nobody else's Services by that: silence of all others is no death of theirs, neither
//! while it lasts nor in the moment when it ends.

use super::world::World;
use super::{MILLISECOND, SECOND, settled};

const HOSTS: usize = 5;

/// Of five nodes, each is a bystander at one other's seat: it asks once a second, and heard others since its last question. A
/// benchmark found it: six of ten Services changed their seats. Each time the cut falls differently into those seconds.
#[test]
fn a_node_that_was_cut_off_takes_no_living_nodes_seat() {
    let mut world = settled(HOSTS, 1);
    for time in 0..30 {
        world.cut_off(4);
        world.run((1 + time % 5) * SECOND + 17 * time * MILLISECOND);
        all_hold_their_own(&world, time);
        world.connect(4);
        world.run(10 * SECOND + 37 * MILLISECOND);
        all_hold_their_own(&world, time);
    }
}

#[track_caller]
fn all_hold_their_own(world: &World, time: u32) {
    for home in 0..HOSTS - 1 {
        assert_eq!(world.holders(home), [home], "the {time}th time");
    }
}
