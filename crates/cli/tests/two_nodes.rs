//! Two nodes and no gateway: when the holder dies, the survivor has no neighbour left that could tell it that its own
//! link works. The API server's answer over that link does.

mod common;

use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Plan};
use mainstay_lab::netns;

/// Evidence takes well under a second; without a witness it is the lease's expiry that lets the survivor in, after 13 s.
const BEFORE_EXPIRY: Duration = Duration::from_secs(8);

#[test]
fn the_survivor_of_two_does_not_wait_for_the_lease_to_expire() {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return;
    }
    let scratch = Scratch::new("two-nodes");
    let mut plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0);
    plan.nodes = 2;
    let cluster = Cluster::up(plan).expect("a cluster that settles");
    let holder = cluster.wait_settled(Duration::from_secs(20)).expect("settled");
    cluster.segment.partition(&cluster.nodes[holder].host).expect("partitioned");
    let succeeded = cluster.wait_holder(&[1 - holder], BEFORE_EXPIRY);
    assert!(succeeded.is_ok(), "no evidence? {:#}", cluster.claim(1 - holder));
}
