//! Services spread over nodes (`svc_election`) with real agents, real network stacks and the embedded API server, which
//! enforces the permissions that `mainstay manifest rbac --services --servicesElection` prints.
//!
//! The bounds are wide: what takes milliseconds is given seconds on a busy machine.

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::{ENDPOINT_SLICE, NAMESPACE, Preconditions, Resource, SERVICE, Target};
use mainstay_lab::cluster::{Cluster, Outage, Plan, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Probe};
use serde_json::{Value, json};

const SHOP: &str = "shop";
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// As many Services as there are addresses from here on.
const FIRST: u8 = 150;
const SERVICES: u8 = 6;

struct Bench {
    cluster: Cluster,
}

/// Runs a test on three nodes over which six Services are spread.
fn on(name: &str, test: fn(&mut Bench)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(&format!("spread-{name}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let plan = plan.with_setting("svc_enable", "true").with_setting("svc_election", "true");
    let mut bench = Bench { cluster: Cluster::new(plan).expect("a cluster") };
    bench.create(NAMESPACE, "", json!({"metadata": {"name": SHOP}, "status": {"phase": "Active"}}));
    (0..3).for_each(|node| bench.cluster.start(node).expect("started"));
    bench.cluster.wait_settled(PATIENCE).expect("the control plane's VIP is held");
    // What is placed before is placed on those seats that are known.
    bench.wait("each node knows of the others that they hold their seats", |bench| {
        (0..3).all(|node| (0..3).all(|home| bench.knows_at_home(home, node)))
    });
    (0..SERVICES).for_each(|number| bench.serve(number));
    bench.wait("all Services are held by one node each, as many by each", |bench| {
        (0..SERVICES).all(|number| bench.holders(vip(number)).len() == 1)
            && bench.spread().values().all(|count| *count == SERVICES / 3)
    });
    test(&mut bench);
}

fn vip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, FIRST + number))
}

fn name(number: u8) -> String {
    format!("s{number}")
}

impl Bench {
    fn store(&self) -> std::sync::Arc<mainstay_lab::apiserver::Store> {
        self.cluster.api.embedded().expect("embedded").cluster.store().clone()
    }

    fn create(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.store().create(resource, namespace, object).expect("a valid object");
    }

    /// A Service with its address by annotation, and an endpoint on each node.
    fn serve(&self, number: u8) {
        let service = name(number);
        let endpoint = |node: &mainstay_lab::cluster::Node| json!({"addresses": ["10.244.1.7"], "nodeName": node.host.name(), "conditions": {"ready": true, "serving": true}});
        let endpoints: Vec<Value> = self.cluster.nodes.iter().map(endpoint).collect();
        self.create(ENDPOINT_SLICE, SHOP, json!({
            "metadata": {"name": format!("{service}-1"), "namespace": SHOP, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": endpoints,
        }));
        self.create(SERVICE, SHOP, json!({
            "metadata": {"name": service, "namespace": SHOP,
                "annotations": {"kube-vip.io/loadbalancerIPs": vip(number).to_string()}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}], "ipFamilies": ["IPv4"]},
        }));
    }

    fn annotation(&self, number: u8, key: &str) -> Option<String> {
        let service = self.store().get(&Target::new(SERVICE, SHOP, &name(number))).ok()?;
        service["metadata"]["annotations"][key].as_str().map(ToOwned::to_owned)
    }

    /// Nodes that have the address, but for those whose agent does not run.
    fn holders(&self, address: IpAddr) -> Vec<usize> {
        let has = |node: &usize| {
            self.cluster.nodes[*node].agent.is_started()
                && self.cluster.nodes[*node].host.holds(address).expect("a kernel")
        };
        (0..3).filter(has).collect()
    }

    fn holder(&self, number: u8) -> usize {
        let holders = self.holders(vip(number));
        let [holder] = holders[..] else { panic!("{:?} hold {}", holders, vip(number)) };
        holder
    }

    /// How many Services each node holds.
    fn spread(&self) -> BTreeMap<usize, u8> {
        let mut spread: BTreeMap<usize, u8> = (0..3).map(|node| (node, 0)).collect();
        for number in 0..SERVICES {
            self.holders(vip(number)).into_iter().for_each(|node| *spread.entry(node).or_default() += 1);
        }
        spread
    }

    fn seat(&self, of: usize, at: usize) -> Value {
        let claim = format!("seat/{}", self.cluster.nodes[of].host.name());
        let status = self.cluster.nodes[at].agent.whole_status();
        let claims = status["claims"].as_array().cloned().unwrap_or_default();
        claims.into_iter().find(|one| one["claim"] == claim.as_str()).unwrap_or_default()
    }

    fn holds_its_seat(&self, node: usize) -> bool {
        self.seat(node, node)["tenure"] == "confirmed"
    }

    /// Whether `node` knows that the seat of `home` is held there.
    fn knows_at_home(&self, home: usize, node: usize) -> bool {
        self.seat(home, node)["holder"] == self.cluster.nodes[home].host.name()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let found = wait_for(PATIENCE, || Ok(is_so(self).then_some(()))).expect("an answer");
        let state = || -> Vec<_> {
            let said = |number| {
                (self.annotation(number, "mainstay.io/seat"), self.annotation(number, "kube-vip.io/vipHost"))
            };
            (0..SERVICES).map(|number| (number, self.holders(vip(number)), said(number))).collect()
        };
        assert!(found.is_some(), "never: {what}: {:?}", state());
    }

    /// Waits until each of these clients was answered after the last change.
    fn wait_answered(&self, probes: &[(u8, Probe)]) {
        let changed = probe::now();
        self.wait("a client is served", |_| {
            probes.iter().all(|(_, probe)| !probe.report(changed, probe::now()).answerers.is_empty())
        });
    }

    fn probe(&self, number: u8) -> Probe {
        Probe::start(&self.cluster.client, probe::Plan::new(vip(number))).expect("a probe")
    }
}

#[test]
fn services_are_spread_evenly_and_each_says_where_it_is() {
    on("even", |bench| {
        bench.wait("every Service says where it is", |bench| {
            (0..SERVICES).all(|number| {
                let holder = bench.cluster.nodes[bench.holder(number)].host.name().to_owned();
                bench.annotation(number, "mainstay.io/seat").as_ref() == Some(&holder)
                    && bench.annotation(number, "kube-vip.io/vipHost").as_ref() == Some(&holder)
            })
        });
    });
}

/// The seat is taken as a whole; then what was there is placed anew, one by one, and the node that comes back takes none
/// of it from a live holder but by the slow rebalance.
#[test]
fn a_dead_nodes_services_are_taken_at_once_spread_again_and_its_return_darkens_none() {
    on("death", |bench| {
        let dead = bench.holder(0);
        let lost: Vec<u8> = (0..SERVICES).filter(|number| bench.holder(*number) == dead).collect();
        let probes: Vec<(u8, Probe)> = lost.iter().map(|number| (*number, bench.probe(*number))).collect();
        bench.wait_answered(&probes);
        let died = probe::now();
        bench.cluster.kill(dead).expect("killed");
        bench.cluster.segment.partition(&bench.cluster.nodes[dead].host).expect("and its host");
        bench.wait("others hold what it held", |bench| {
            lost.iter().all(|number| bench.holders(vip(*number)).len() == 1)
        });
        for (number, probe) in &probes {
            let dark = probe.report(died, probe::now()).longest_dark;
            assert!(dark < 2 * SECOND, "{}: dark for {dark:?}", vip(*number));
        }
        bench.wait("they are spread over those that live", |bench| {
            bench.spread().iter().all(|(node, count)| *count == if *node == dead { 0 } else { SERVICES / 2 })
        });
        let begin = probe::now();
        bench.cluster.segment.heal(&bench.cluster.nodes[dead].host).expect("its host is back");
        bench.cluster.start(dead).expect("started");
        bench.wait("it has its seat again, and its part", |bench| {
            // Each within one of the mean: with so few there is nothing more to even out.
            bench.holds_its_seat(dead) && bench.spread().values().all(|count| (1..=3).contains(count))
        });
        bench.wait_answered(&probes);
        for (number, probe) in &probes {
            let dark = probe.settled_report(begin, probe::now()).longest_dark;
            assert!(dark < SECOND / 2, "{}: dark for {dark:?}", vip(*number));
        }
    });
}

/// An outage of the API, an agent's restart in it, a node's death in it, and the API's return.
#[test]
fn an_outage_moves_nothing_but_what_a_dead_node_held() {
    on("outage", |bench| {
        let before: Vec<usize> = (0..SERVICES).map(|number| bench.holder(number)).collect();
        let (dead, restarted) =
            (before[0], before.iter().copied().find(|node| *node != before[0]).expect("spread"));
        let kept: Vec<u8> = (0..SERVICES).filter(|number| before[usize::from(*number)] != dead).collect();
        let probes: Vec<(u8, Probe)> = kept.iter().map(|number| (*number, bench.probe(*number))).collect();
        bench.wait_answered(&probes);
        let begin = probe::now();
        bench.cluster.api.fail(Outage::Refused).expect("an outage");
        let detached = |bench: &Bench, node: usize| bench.seat(node, node)["tenure"] == "detached";
        bench.wait("every holder of a seat is detached", |bench| (0..3).all(|node| detached(bench, node)));
        bench.cluster.kill(restarted).expect("killed");
        bench.cluster.start(restarted).expect("started");
        bench.wait("it goes on", |bench| detached(bench, restarted));
        bench.cluster.kill(dead).expect("killed");
        bench.cluster.segment.partition(&bench.cluster.nodes[dead].host).expect("and its host");
        bench.wait("others hold what it held", |bench| {
            (0..SERVICES).all(|number| bench.holders(vip(number)).len() == 1)
        });
        bench.cluster.api.heal().expect("the API is back");
        bench.wait("what was taken is granted", |bench| {
            (0..3).filter(|node| *node != dead).any(|node| bench.seat(dead, node)["tenure"] == "confirmed")
                || bench.spread()[&dead] == 0
        });
        bench.wait_answered(&probes);
        for (number, probe) in &probes {
            let report = probe.settled_report(begin, probe::now());
            assert!(report.longest_dark < SECOND / 2, "{}: dark for {:?}", vip(*number), report.longest_dark);
        }
    });
}

#[test]
fn a_service_that_is_deleted_is_held_by_nobody_and_a_new_one_goes_where_least_is() {
    on("churn", |bench| {
        let holder = bench.holder(2);
        let target = Target::new(SERVICE, SHOP, &name(2));
        bench.store().delete(&target, &Preconditions::default()).expect("it is there");
        bench.wait("nobody holds it", |bench| bench.holders(vip(2)).is_empty());
        bench.serve(SERVICES);
        bench.wait("the new one is where the other was", |bench| bench.holders(vip(SERVICES)) == [holder]);
        assert_eq!(
            bench.spread().into_values().sum::<u8>(),
            SERVICES - 1,
            "and the others are where they were"
        );
    });
}
