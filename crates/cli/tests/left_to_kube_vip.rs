//! Services that kube-vip elects one by one (its `svc_election`) beside agents that spread Services: they are left to it until
//! it lets go. kube-vip is its Leases here, written as client-go writes them; what it holds, it would hold on other nodes.
//!
//! The bounds are wide: what takes milliseconds is given seconds on a busy machine.

mod common;
#[path = "common/shop.rs"]
mod shop;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_lab::apiserver::{
    CLUSTER_ROLE_BINDING, ENDPOINT_SLICE, LEASE, Part, Preconditions, SERVICE, Store, Target,
};
use mainstay_lab::cluster::wait_for;
use mainstay_lab::netns::HolderWatch;
use serde_json::{Value, json};
use shop::{Bench, SECOND, SHOP, on_with, service, slice, vip};

const SPREAD: (&str, &str) = ("svc_election", "true");
/// What a Lease's end takes, and a wide margin.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long a Lease's own electors go first.
const ELECTORS_FIRST: Duration = Duration::from_secs(5);
/// `leaseDurationSeconds`, and how often it is renewed.
const DURATION: Duration = Duration::from_secs(4);
const RENEW_EVERY: Duration = Duration::from_millis(500);
const KUBE_VIP: &str = "node-a";

/// A Lease that is renewed until this is dropped.
struct Renewal {
    stop: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Renewal {
    fn start(bench: &Bench, namespace: &str, name: &str) -> Self {
        let (store, target) = (bench.store(), Target::new(LEASE, namespace, name));
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": held(0)});
        store.create(LEASE, namespace, object).expect("a valid Lease");
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let thread = std::thread::spawn(move || {
            let mut renewal = 0;
            while stopped.recv_timeout(RENEW_EVERY) == Err(RecvTimeoutError::Timeout) {
                renewal += 1;
                write(&store, &target, held(renewal));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn held(renewal: u32) -> Value {
    let time = |micros: u32| format!("2026-01-02T03:04:05.{micros:06}Z");
    json!({"holderIdentity": KUBE_VIP, "leaseDurationSeconds": DURATION.as_secs(), "leaseTransitions": 1,
        "acquireTime": time(0), "renewTime": time(renewal)})
}

/// As client-go's `release` writes it.
fn released() -> Value {
    let mut spec = held(999_999);
    (spec["holderIdentity"], spec["leaseDurationSeconds"]) = (json!(""), json!(1));
    spec
}

fn write(store: &Arc<Store>, target: &Target, spec: Value) {
    let mut object = (*store.get(target).expect("a Lease")).clone();
    object["spec"] = spec;
    store.update(target, object, Part::Main).expect("a valid Lease");
}

/// A Service that kube-vip says it holds, by this Lease where it is not the usual one.
fn serve_elected(bench: &Bench, name: &str, address: IpAddr, lease: Option<&str>) {
    let mut object = service(name, Some(address));
    object["metadata"]["annotations"]["kube-vip.io/vipHost"] = json!(KUBE_VIP);
    lease.iter().for_each(|lease| object["metadata"]["annotations"]["kube-vip.io/leaseName"] = json!(lease));
    bench.create(ENDPOINT_SLICE, SHOP, slice(name, true));
    bench.create(SERVICE, SHOP, object);
}

/// Waits until one node alone has the address, and says how long that took.
fn wait_held(bench: &Bench, address: IpAddr, since: Instant) -> Duration {
    let held = || Ok((bench.holders(address).len() == 1).then(|| since.elapsed()));
    let took = wait_for(PATIENCE, held).expect("a look");
    took.unwrap_or_else(|| panic!("{address} is at {:?}", bench.holders(address)))
}

fn is_told(bench: &Bench, service: &str, lease: &str) -> bool {
    let told = format!("left to kube-vip: Lease {lease} is held by {KUBE_VIP}");
    bench.events(service).contains(&("LeftToKubeVip".to_owned(), told))
}

/// Whether it was ever told so, by whatever Lease.
fn is_left(bench: &Bench, service: &str) -> bool {
    bench.events(service).iter().any(|(reason, _)| reason == "LeftToKubeVip")
}

/// As whoever places them counts.
fn left(bench: &Bench) -> u64 {
    let counts = bench
        .cluster
        .nodes
        .iter()
        .map(|node| node.agent.whole_status()["services"]["leftToKubeVip"].as_u64().unwrap_or_default());
    counts.sum()
}

#[test]
fn services_that_kube_vip_elects_are_left_to_it_until_it_lets_go() {
    on_with("left", &[SPREAD], |bench| {
        let (web, common, other) = (vip(150), vip(151), vip(152));
        let kernels = HolderWatch::start(&bench.cluster.hosts()).expect("a watch of the kernels");
        let renewal = Renewal::start(bench, SHOP, "kubevip-web");
        let of_common = Renewal::start(bench, "default", "in-common");
        serve_elected(bench, "web", web, None);
        serve_elected(bench, "common", common, Some("default/in-common"));
        bench.serve("other", Some(other));
        bench.holder(other);
        bench.wait("it is told", |bench| {
            is_told(bench, "web", "shop/kubevip-web") && is_told(bench, "common", "default/in-common")
        });
        bench.wait("and counted", |bench| left(bench) == 2);
        // That nothing happens shows only with time: longer than one that is not renewed would be waited for.
        std::thread::sleep(DURATION + ELECTORS_FIRST + 4 * SECOND);
        assert!(kernels.timeline_of(web).is_empty() && kernels.timeline_of(common).is_empty());
        assert_eq!((bench.host_of("web").as_deref(), bench.status("web").len()), (Some(KUBE_VIP), 0));

        drop(renewal);
        let let_go = Instant::now();
        write(&bench.store(), &Target::new(LEASE, SHOP, "kubevip-web"), released());
        let took = wait_held(bench, web, let_go);
        println!("held {took:?} after it was released");
        assert!(took >= ELECTORS_FIRST, "another of kube-vip's electors had no time to take it: {took:?}");
        assert!(kernels.timeline_of(common).is_empty(), "its Lease is another");

        drop(of_common);
        let took = wait_held(bench, common, Instant::now());
        println!("held {took:?} after its last renewal");
        // The last renewal may have been that long ago.
        assert!(took + RENEW_EVERY >= DURATION + ELECTORS_FIRST, "{took:?}");
        bench.wait("each says where it is", |bench| {
            ["web", "common", "other"].iter().all(|name| {
                let object = bench.service(name);
                let said = &object["metadata"]["annotations"];
                said["mainstay.io/seat"].is_string()
                    && said["kube-vip.io/vipHost"] == said["mainstay.io/seat"]
            })
        });
        bench.wait("and none is left", |bench| left(bench) == 0);
        assert!(!is_left(bench, "other"), "nobody said that it was held");
    });
}

/// As with kube-vip gone for good, or where it never elected them one by one; and where agents may not look.
#[test]
fn without_a_lease_or_the_right_to_read_it_services_are_placed_as_ever() {
    on_with("left-alone", &[SPREAD], |bench| {
        serve_elected(bench, "free", vip(150), None);
        println!("held {:?} after it was made, without a Lease", wait_held(bench, vip(150), Instant::now()));
        let binding = Target::new(CLUSTER_ROLE_BINDING, "", "mainstay-kube-vip-leases");
        bench.store().delete(&binding, &Preconditions::default()).expect("it is there");
        let _renewal = Renewal::start(bench, SHOP, "kubevip-web");
        serve_elected(bench, "web", vip(151), None);
        println!("held {:?} after it was made, unasked", wait_held(bench, vip(151), Instant::now()));
        assert!(!is_left(bench, "web"), "nobody knows of its Lease");
        let logs: Vec<String> = bench.cluster.nodes.iter().map(|node| node.agent.log()).collect();
        assert!(logs.iter().any(|log| log.contains("mainstay manifest rbac --services --servicesElection")));
    });
}
