//! Services with IPv6 addresses and with both families, as `services.rs` has them with IPv4; and an IPv6 address on a seat
//! where Services are spread over the nodes.

mod common;
#[path = "common/shop.rs"]
mod shop;

use std::net::IpAddr;
use std::time::Duration;

use mainstay_lab::cluster::Outage;
use mainstay_lab::probe::{self, Probe};
use shop::{Bench, SECOND, on, on_with, vip, vip6};

/// Services with IPv6 alone, with both families, and both in the other order.
fn serve(bench: &Bench) -> [IpAddr; 5] {
    let addresses = [vip6(0x150), vip(151), vip6(0x151), vip6(0x152), vip(152)];
    bench.serve_families("six", &addresses[..1]);
    bench.serve_families("dual", &addresses[1..3]);
    bench.serve_families("six-first", &addresses[3..]);
    addresses
}

fn said(bench: &Bench, addresses: &[IpAddr]) -> bool {
    let text = |range: std::ops::Range<usize>| -> Vec<String> {
        addresses[range].iter().map(ToString::to_string).collect()
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let services = [("six", 0..1), ("dual", 1..3), ("six-first", 3..5)];
    services.into_iter().all(|(name, range)| sorted(bench.status(name)) == sorted(text(range)))
}

#[test]
fn ipv6_and_dual_stack_services_are_answered_and_move_together_when_their_holder_dies() {
    on("families-moves", |bench| {
        let addresses = serve(bench);
        let holder = bench.holder(addresses[0]);
        addresses.iter().for_each(|address| assert_eq!(bench.holder(*address), holder, "{address}"));
        bench.wait("every status has its addresses", |bench| said(bench, &addresses));
        let probes: Vec<Probe> = addresses.iter().map(|address| bench.served(*address)).collect();
        let died = probe::now();
        bench.lose(holder);
        let others = bench.cluster.others(holder);
        for address in addresses {
            bench.holder_among(address, &others);
        }
        let moved = probe::now();
        probes.iter().for_each(|probe| bench.wait_answered(probe, moved));
        for (probe, address) in probes.iter().zip(addresses) {
            let report = probe.settled_report(died, probe::now());
            println!("{address}: dark for {:?}", report.longest_dark);
            assert!(report.longest_dark < Duration::from_millis(2_500), "{address}: {report:?}");
        }
    });
}

#[test]
fn an_outage_with_a_restart_in_it_costs_ipv6_and_dual_stack_services_nothing() {
    on("families-outage", |bench| {
        let addresses = serve(bench);
        let holder = bench.holder(addresses[0]);
        bench.wait("every status has its addresses", |bench| said(bench, &addresses));
        let probes: Vec<Probe> = addresses.iter().map(|address| bench.served(*address)).collect();
        let began = probe::now();
        bench.cluster.api.fail(Outage::BlackHoled).expect("it begins");
        // Each longer than the Leases last (5 s): what is to show is that nothing moves.
        std::thread::sleep(6 * SECOND);
        bench.cluster.kill(holder).expect("killed");
        bench.cluster.start(holder).expect("started");
        std::thread::sleep(6 * SECOND);
        for (probe, address) in probes.iter().zip(addresses) {
            assert_eq!(bench.holder(address), holder, "it stays where it is");
            let report = probe.settled_report(began, probe::now());
            assert_eq!(report.lost, 0, "{address}: {report:?}");
        }
        bench.cluster.api.heal().expect("it ends");
        bench.serve_families("later", &[vip6(0x153)]);
        assert_eq!(bench.holder(vip6(0x153)), holder);
    });
}

/// Beside an IPv4 address on another seat: each goes to who takes its seat, and is answered there.
#[test]
fn an_ipv6_address_on_a_seat_is_taken_with_the_seat_when_its_node_dies() {
    on_with("families-seat", &[("svc_election", "true")], |bench| {
        let addresses = [vip6(0x150), vip(151), vip6(0x152)];
        for (address, name) in addresses.into_iter().zip(["a", "b", "c"]) {
            bench.serve_families(name, &[address]);
        }
        let dead = bench.holder(addresses[0]);
        let probes: Vec<Probe> = addresses.iter().map(|address| bench.served(*address)).collect();
        let died = probe::now();
        bench.lose(dead);
        let others = bench.cluster.others(dead);
        for address in addresses {
            bench.holder_among(address, &others);
        }
        let moved = probe::now();
        probes.iter().for_each(|probe| bench.wait_answered(probe, moved));
        for (probe, address) in probes.iter().zip(addresses) {
            let report = probe.settled_report(died, probe::now());
            println!("{address}: dark for {:?}", report.longest_dark);
            assert!(report.longest_dark < 3 * SECOND, "{address}: {report:?}");
        }
    });
}
