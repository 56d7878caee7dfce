//! The filter before Services' addresses.

use crate::bed::{Bed, PATIENCE, Talk, VIPS, echo, pings, reaches};

const OTHER: &str = "table inet other {
  chain c {
    type filter hook prerouting priority 0;
    tcp dport 9 counter drop
  }
}
";

fn bed(name: &str) -> Option<Bed> {
    let mut bed = Bed::new(name, &[("enable_service_security", "true")])?;
    for node in 0..2 {
        // What listens on a node listens on each of its addresses.
        [80, 443, 22].into_iter().for_each(|port| echo(bed.host(node), port));
        bed.host(node).load_rules(OTHER).expect("rules of somebody else");
    }
    bed.start();
    Some(bed)
}

#[test]
fn the_filter_comes_with_a_service_follows_its_ports_outlives_the_agent_and_goes_with_the_service() {
    let Some(mut bed) = bed("filter") else { return };
    let others: Vec<String> = (0..2).map(|node| bed.rules(node)).collect();
    bed.serve(&[80]);
    let holder = bed.holder();
    let client = bed.cluster.client.clone();
    // From the first moment on: the table is there before the addresses are.
    assert_eq!(reaches(&client, 22), [false, false], "no port of the Service");
    assert_eq!(reaches(&client, 80), [true, true]);
    assert!(VIPS.iter().all(|vip| pings(&client, *vip)));
    assert!(
        (0..2).all(|node| bed.is_filtered(node)),
        "also where it is not held: the next holder has it already"
    );

    let talks = |port| VIPS.map(|vip| client.enter(|| Talk::begin(vip, port)).expect("there").expect("open"));
    let mut before = talks(80);
    bed.set_ports(&[80, 443]);
    bed.wait("a port more", |_| reaches(&client, 443) == [true, true]);
    before.iter_mut().for_each(|talk| talk.go_on().expect("connected as before"));

    // The agent dies, and the table stays; the next run finds it as it is to be.
    let table = bed.rules(holder);
    bed.cluster.kill(holder).expect("killed");
    assert_eq!((reaches(&client, 22), reaches(&client, 443)), ([false, false], [true, true]));
    bed.cluster.start(holder).expect("started");
    bed.wait("the new run filters", |bed| bed.filter_status(holder)["inForce"] == true);
    let handles = |rules: &str| rules.matches("# handle").count();
    assert_eq!(handles(&bed.rules(holder)), handles(&table));
    assert_eq!(reaches(&client, 22), [false, false]);
    before.iter_mut().for_each(|talk| talk.go_on().expect("connected as before"));

    bed.opt_out("true");
    bed.wait("the Service opts out", |_| reaches(&client, 22) == [true, true]);
    bed.opt_out("false");
    bed.wait("and in again", |_| reaches(&client, 22) == [false, false]);

    bed.delete();
    bed.wait("the addresses are gone", Bed::held_by_nobody);
    bed.wait("and the tables", |bed| (0..2).all(|node| !bed.is_filtered(node)));
    assert_eq!(
        (0..2).map(|node| bed.rules(node)).collect::<Vec<_>>(),
        others,
        "somebody else's are as they were"
    );
}

/// An agent that is told to stop leaves no rules behind on a node that holds nothing any more; in an outage the other goes
/// on with its own.
#[test]
fn a_node_that_hands_over_leaves_no_rules_and_an_outage_changes_none() {
    let Some(mut bed) = bed("leave") else { return };
    bed.serve(&[80]);
    let holder = bed.holder();
    let client = bed.cluster.client.clone();
    // Who knows of nobody who could succeed leaves the addresses for the restart, and their filter with them.
    bed.wait("the holder knows of the other", |bed| bed.knows_another(holder));
    assert!(bed.cluster.stop(holder, PATIENCE).expect("it ends").success());
    bed.wait("it leaves no rules", |bed| !bed.is_filtered(holder));
    let second = bed.holder();
    assert_ne!(second, holder);
    bed.cluster.api.fail(mainstay_lab::cluster::Outage::BlackHoled).expect("it begins");
    bed.host(second).output("nft", &["delete", "table", "inet", "mainstay-services"]).expect("deleted");
    bed.wait("it is put back, though no API server says what it is to be", |bed| bed.is_filtered(second));
    assert_eq!((reaches(&client, 22), reaches(&client, 80)), ([false, false], [true, true]));
    bed.cluster.kill(second).expect("killed");
    bed.cluster.start(second).expect("started");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(bed.is_filtered(second), "nothing is known, and nothing is changed");
    assert_eq!((reaches(&client, 22), reaches(&client, 80)), ([false, false], [true, true]));
}

/// Somebody else has a table of this name.
#[test]
fn a_filter_that_cannot_be_programmed_is_told_and_holds_no_address_back() {
    let Some(mut bed) = Bed::new("refused", &[("enable_service_security", "true")]) else { return };
    for node in 0..2 {
        echo(bed.host(node), 80);
        bed.host(node).load_rules("table inet mainstay-services { }\n").expect("rules of somebody else");
    }
    bed.start();
    bed.serve(&[80]);
    let holder = bed.holder();
    let client = bed.cluster.client.clone();
    assert_eq!(reaches(&client, 80), [true, true], "held without");
    bed.wait("it is told", |bed| {
        let error = bed.filter_status(holder)["lastError"].clone();
        error.as_str().is_some_and(|error| error.contains("nft delete table inet mainstay-services"))
    });
    let agent = &bed.cluster.nodes[holder].agent;
    assert!(agent.page("/metrics").expect("metrics").contains("\nmainstay_service_filter_in_force 0\n"));
    let told = agent.log().matches("the addresses are held all the same").count();
    assert_eq!(told, 1, "once: {}", agent.log());
    bed.host(holder).output("nft", &["delete", "table", "inet", "mainstay-services"]).expect("deleted");
    bed.wait("it is made up for", |bed| {
        bed.filter_status(holder)["inForce"] == true && bed.is_filtered(holder)
    });
}
