//! Services of type LoadBalancer with real agents, real network stacks and the embedded API server, which enforces the
//! permissions that `mainstay manifest rbac --services` prints.
//!
//! The bounds are wide: what takes milliseconds is given seconds on a busy machine.

mod common;
#[path = "common/shop.rs"]
mod shop;

use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::{CONFIG_MAP, ENDPOINT_SLICE, Fault, SERVICE, Verb};
use mainstay_lab::cluster::{Cluster, Outage, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Probe};
use serde_json::{Value, json};
use shop::{Bench, PATIENCE, SECOND, SHOP, on, plan, service, slice, vip};

#[test]
fn a_service_is_answered_published_told_of_and_gone_when_it_is_deleted() {
    on("basic", |bench| {
        let address = vip(150);
        let probe = bench.probe(address);
        let began = probe::now();
        bench.serve("web", Some(address));
        let holder = bench.holder(address);
        bench.wait("the status says so", |bench| bench.status("web") == [address.to_string()]);
        let name = format!("n{}", holder + 1);
        bench.wait("the holder's name", |bench| bench.host_of("web").as_ref() == Some(&name));
        bench.wait("an Event", |bench| {
            bench.events("web").contains(&("AddressHeld".to_owned(), format!("node {name} holds {address}")))
        });
        let answered = wait_for(PATIENCE, || {
            let report = probe.settled_report(began, probe::now());
            Ok(report.changes.first().map(|(at, _)| *at))
        });
        let answered = answered.expect("a look").expect("answered");
        println!("answered {:?} after it was made", answered.since(began));

        // Steady: nothing is written but the Leases, and nothing is listed.
        let writes =
            |bench: &Bench| bench.asked(Verb::Patch, "services") + bench.asked(Verb::Create, "events");
        let (before, lists) = (writes(bench), bench.asked(Verb::List, "services"));
        // That nothing is written shows only with time: three renewals of each Lease.
        std::thread::sleep(3 * SECOND);
        assert_eq!((writes(bench), bench.asked(Verb::List, "services")), (before, lists));

        bench.delete(SERVICE, "web");
        bench.wait("the address is gone", |bench| bench.holders(address).is_empty());
    });
}

#[test]
fn an_address_from_a_pool_is_published_before_it_is_held_and_given_to_one_service() {
    on("pool", |bench| {
        let pools =
            json!({"metadata": {"name": "kubevip"}, "data": {"range-global": "10.77.0.160-10.77.0.161"}});
        bench.create(CONFIG_MAP, "kube-system", pools);
        for name in ["one", "two", "three"] {
            bench.serve(name, None);
        }
        let given = |bench: &Bench| {
            ["one", "two", "three"].iter().flat_map(|name| bench.status(name)).collect::<Vec<_>>()
        };
        bench.wait("both addresses are given", |bench| given(bench).len() == 2);
        let mut all = given(bench);
        all.sort();
        assert_eq!(all, ["10.77.0.160", "10.77.0.161"]);
        assert_eq!(bench.holder(vip(160)), bench.holder(vip(161)), "one node holds all");
        let left = ["one", "two", "three"].into_iter().find(|name| bench.status(name).is_empty());
        let left = left.expect("the pool has two");
        // By an Event, and in the status by what holds at present: the Services may have been seen before the pools were.
        bench.wait("the third is told of", |bench| {
            bench.events(left).iter().any(|(reason, _)| reason == "AddressRefused")
        });
        bench.wait("and why", |bench| {
            let refused = bench.cluster.nodes[0].agent.whole_status()["services"]["refused"].clone();
            let of_left = refused
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["service"] == format!("{SHOP}/{left}"));
            of_left.is_some_and(|one| one["why"].as_str().is_some_and(|why| why.contains("range-global")))
        });
        // What one gives back, the other gets.
        bench.delete(SERVICE, if left == "one" { "two" } else { "one" });
        bench.wait("the third has one", |bench| bench.status(left).len() == 1);
    });
}

/// The ports that are published with an address go before those that a Service got since, whichever is older.
#[test]
fn an_older_service_that_is_edited_to_a_younger_ones_port_leaves_the_address() {
    on("ports", |bench| {
        let address = vip(150);
        let on_443 = |object: &mut Value| object["spec"]["ports"] = json!([{"port": 443, "protocol": "TCP"}]);
        bench.serve("a-older", Some(address));
        let mut younger = service("b-younger", Some(address));
        on_443(&mut younger);
        bench.create(ENDPOINT_SLICE, SHOP, slice("b-younger", true));
        bench.create(SERVICE, SHOP, younger);
        let ports = |bench: &Bench, name| {
            bench.service(name)["status"]["loadBalancer"]["ingress"][0]["ports"][0]["port"].as_u64()
        };
        bench.wait("ports are published", |bench| {
            (ports(bench, "a-older"), ports(bench, "b-younger")) == (Some(80), Some(443))
        });
        bench.update(SERVICE, "a-older", on_443);
        bench.wait("it leaves", |bench| bench.status("a-older").is_empty());
        assert_eq!(bench.status("b-younger"), [address.to_string()]);
        bench.wait("and it is told", |bench| {
            bench.events("a-older").iter().any(|(reason, _)| reason == "AddressRefused")
        });
        bench.holder(address);
    });
}

#[test]
fn services_move_together_when_their_holder_dies_and_a_hand_over_loses_next_to_nothing() {
    on("moves", |bench| {
        let addresses = [vip(150), vip(151), vip(152)];
        for (name, address) in ["a", "b", "c"].into_iter().zip(addresses) {
            bench.serve(name, Some(address));
        }
        let holder = bench.holder(addresses[0]);
        addresses.iter().for_each(|address| assert_eq!(bench.holder(*address), holder));
        bench.wait("published", |bench| bench.host_of("c").is_some());
        let probes: Vec<Probe> = addresses.iter().map(|address| bench.served(*address)).collect();
        let died = probe::now();
        bench.lose(holder);
        let others = bench.cluster.others(holder);
        let second = bench.holder_among(addresses[0], &others);
        addresses.iter().for_each(|address| assert_eq!(bench.holder_among(*address, &others), second));
        let moved = probe::now();
        probes.iter().for_each(|probe| bench.wait_answered(probe, moved));
        for (probe, address) in probes.iter().zip(addresses) {
            let report = probe.settled_report(died, probe::now());
            println!("{address}: dark for {:?}", report.longest_dark);
            assert!(report.longest_dark < Duration::from_millis(2_500), "{address}: {report:?}");
        }
        bench.wait("its name", |bench| bench.host_of("a") == Some(format!("n{}", second + 1)));
    });
}

#[test]
fn an_outage_with_a_restart_and_a_death_in_it_loses_nothing_and_what_comes_back_is_caught_up_with() {
    on("outage", |bench| {
        let (first, later) = (vip(150), vip(151));
        bench.serve("web", Some(first));
        let holder = bench.holder(first);
        bench.wait("published", |bench| bench.host_of("web").is_some());
        let probe = bench.served(first);
        let began = probe::now();
        bench.cluster.api.fail(Outage::BlackHoled).expect("it begins");
        // Each longer than the Leases last (5 s): what is to show is that nothing moves.
        std::thread::sleep(6 * SECOND);
        bench.cluster.kill(holder).expect("killed");
        bench.cluster.start(holder).expect("started");
        std::thread::sleep(6 * SECOND);
        assert_eq!(bench.holder(first), holder, "it stays where it is");
        let report = probe.settled_report(began, probe::now());
        assert_eq!(report.lost, 0, "{report:?}");

        // Its death in the same outage.
        let died = probe::now();
        bench.lose(holder);
        let others = bench.cluster.others(holder);
        bench.holder_among(first, &others);
        bench.wait_answered(&probe, probe::now());
        let report = probe.settled_report(died, probe::now());
        println!("dark for {:?} at a death in an outage", report.longest_dark);
        assert!(report.longest_dark < 6 * SECOND, "{report:?}");

        bench.serve("later", Some(later));
        bench.cluster.api.heal().expect("it ends");
        bench.holder_among(later, &others);
    });
}

#[test]
fn without_endpoints_the_address_is_not_held_and_a_flap_moves_nothing() {
    on("endpoints", |bench| {
        let address = vip(150);
        bench.create(SERVICE, SHOP, service("web", Some(address)));
        bench.create(ENDPOINT_SLICE, SHOP, slice("web", false));
        bench.wait("the status says so", |bench| bench.status("web") == [address.to_string()]);
        assert!(bench.holders(address).is_empty(), "nothing serves it");
        let set = |bench: &Bench, ready| {
            bench.update(ENDPOINT_SLICE, "web-1", |object| {
                object["endpoints"] = slice("web", ready)["endpoints"].clone();
            })
        };
        set(bench, true);
        bench.holder(address);
        let probe = bench.served(address);
        let began = probe::now();
        set(bench, false);
        // The flap itself; and after it, longer than an address is held without endpoints (1 s): it must not go.
        std::thread::sleep(Duration::from_millis(300));
        set(bench, true);
        std::thread::sleep(2 * SECOND);
        assert_eq!(probe.settled_report(began, probe::now()).lost, 0, "a flap");
        set(bench, false);
        bench.wait("gone", |bench| bench.holders(address).is_empty());
        bench.wait("and told", |bench| {
            bench.events("web").iter().any(|(reason, _)| reason == "AddressNotHeld")
        });
    });
}

/// A slip in an annotation, and then an update of all agents: neither takes the address away.
#[test]
fn a_service_that_cannot_be_read_any_more_is_held_across_restarts() {
    on("mistyped", |bench| {
        let (first, later) = (vip(150), vip(151));
        bench.serve("web", Some(first));
        bench.holder(first);
        for node in 0..3 {
            bench.wait("it is remembered", |bench| bench.remembers(node, "web"));
        }
        bench.update(SERVICE, "web", |object| {
            object["metadata"]["annotations"]["kube-vip.io/loadbalancerIPs"] = json!("10.77.0.1500");
        });
        for node in 0..3 {
            bench.cluster.kill(node).expect("killed");
        }
        (0..3).for_each(|node| bench.cluster.start(node).expect("started"));
        // Held, it shows that all was read and decided.
        bench.serve("later", Some(later));
        let holder = bench.holder(later);
        assert_eq!(bench.holder(first), holder, "both are the claim's");
        bench.wait("the slip is told", |bench| bench.log(holder).contains("10.77.0.1500"));
    });
}

/// The loopback can wear no VIP: the Services' loop breaks off again and again.
#[test]
fn services_that_cannot_be_held_leave_the_control_planes_vip_alone() {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new("services-lo");
    let plan = plan(&scratch).with_setting("vip_servicesinterface", "lo");
    let mut cluster = Cluster::up(plan).expect("the control plane's VIP is held");
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let told = || {
        let log = std::fs::read_to_string(scratch.0.join(format!("agent-n{}.log", holder + 1)))?;
        Ok(log.contains("is no Ethernet").then_some(log))
    };
    let log = wait_for(PATIENCE, told).expect("a log").expect("the cause is said");
    assert_eq!(log.matches("the loop broke off").count(), 1, "once: {log}");
    assert!(cluster.stop(holder, PATIENCE).expect("it ends").success());
    cluster.wait_holder(&cluster.others(holder), PATIENCE).expect("handed over");
}

/// Every write but the Leases' is refused: what Services are told waits, and nothing else does.
#[test]
fn refused_writes_touch_no_address_and_are_made_up_for() {
    on("refused", |bench| {
        let (first, second) = (vip(150), vip(151));
        bench.serve("web", Some(first));
        let holder = bench.holder(first);
        bench.wait("published", |bench| bench.host_of("web").is_some());
        let (of_service, of_cluster) = (bench.served(first), bench.served(bench.cluster.vip()));
        let began = probe::now();
        let fronts = &bench.cluster.api.embedded().expect("embedded").fronts;
        let deny =
            |resource: &str| Fault::Deny { verb: Some(Verb::Patch), resource: Some(resource.to_owned()) };
        let events = Fault::Deny { verb: Some(Verb::Create), resource: Some("events".to_owned()) };
        for fault in [deny("services"), deny("services/status"), events] {
            fronts.iter().for_each(|front| front.inject(fault.clone()));
        }
        bench.serve("later", Some(second));
        assert_eq!(bench.holder(second), holder, "held without a status");
        bench.wait("the writes were tried and refused, of the status and of the Event", |bench| {
            let status = bench.cluster.nodes[holder].agent.whole_status();
            status["services"]["writeFailuresInARow"].as_u64() > Some(1)
        });
        assert!(bench.status("later").is_empty(), "{:?}", bench.status("later"));
        for (probe, what) in [(&of_service, "the Service's"), (&of_cluster, "the control plane's")] {
            let report = probe.settled_report(began, probe::now());
            assert_eq!(report.lost, 0, "{what}: {report:?}");
        }
        fronts.iter().for_each(|front| front.heal());
        bench.wait("made up for", |bench| bench.status("later") == [second.to_string()]);
    });
}
