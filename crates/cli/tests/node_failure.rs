//! Dead nodes reported (`MAINSTAY_REPORT_NODE_FAILURE`) with real agents, real network stacks and the embedded API server,
//! which enforces the permissions that `mainstay manifest rbac --services --reportNodeFailure` prints.
//!
//! The bounds are wide: what takes a second is given ten on a busy machine, and Kubernetes takes forty.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::Scratch;
use mainstay_lab::apiserver::{ENDPOINT_SLICE, NAMESPACE, NODE, POD, Part, Resource, SERVICE, Target};
use mainstay_lab::cluster::{Cluster, Plan, wait_for};
use mainstay_lab::netns;
use serde_json::{Value, json};

const SHOP: &str = "shop";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 150));
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// From a death to the word of it, where the dead node held something.
const NOTICED: Duration = Duration::from_secs(10);
/// For what must not be: a judgement takes 1.1 s, and a member is asked every 10 s.
const NEVER: Duration = Duration::from_secs(13);
const SPREAD: (&str, &str) = ("svc_election", "true");

struct Bench {
    cluster: Cluster,
}

/// Runs a test on so many nodes that hold one Service; each has a Pod.
fn on(name: &str, (nodes, more): (u8, &[(&'static str, &str)]), test: fn(&mut Bench)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(&format!("node-failure-{name}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let plan = plan.with_setting("svc_enable", "true").with_setting("MAINSTAY_REPORT_NODE_FAILURE", "true");
    let mut plan = more.iter().fold(plan, |plan, (setting, value)| plan.with_setting(setting, value));
    plan.nodes = nodes;
    let mut bench = Bench { cluster: Cluster::new(plan).expect("a cluster") };
    bench.create(NAMESPACE, "", json!({"metadata": {"name": SHOP}, "status": {"phase": "Active"}}));
    bench.serve();
    let all: Vec<usize> = (0..usize::from(nodes)).collect();
    all.iter().for_each(|node| bench.cluster.start(*node).expect("started"));
    bench.cluster.wait_settled(PATIENCE).expect("the control plane's VIP is held");
    bench.wait("one node holds the Service", |bench| bench.holders().len() == 1);
    bench.wait("everybody knows everybody", |bench| all.iter().all(|node| bench.knows_all(*node)));
    bench.cluster.wait_acquainted(PATIENCE).expect("a node that was never heard is not judged");
    test(&mut bench);
}

impl Bench {
    fn store(&self) -> std::sync::Arc<mainstay_lab::apiserver::Store> {
        self.cluster.api.embedded().expect("embedded").cluster.store().clone()
    }

    fn create(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.store().create(resource, namespace, object).expect("a valid object");
    }

    fn name(&self, node: usize) -> String {
        self.cluster.nodes[node].host.name().to_owned()
    }

    fn pod(&self, node: usize) -> String {
        format!("app-{}", self.name(node))
    }

    /// A Service, with a ready Pod and an endpoint on each node.
    fn serve(&self) {
        let nodes = 0..self.cluster.nodes.len();
        for node in nodes.clone() {
            let pod = json!({
                "metadata": {"name": self.pod(node), "namespace": SHOP},
                "spec": {"nodeName": self.name(node), "containers": [{"name": "app", "image": "app"}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            });
            self.create(POD, SHOP, pod.clone());
            // As its kubelet has seen to it: a Pod has no status of its maker's.
            let (store, target) = (self.store(), Target::new(POD, SHOP, &self.pod(node)));
            let mut made = (*store.get(&target).expect("it is there")).clone();
            made["status"] = pod["status"].clone();
            store.update(&target, made, Part::Status).expect("a valid status");
        }
        let endpoint = |node| json!({"addresses": ["10.244.1.7"], "nodeName": self.name(node), "conditions": {"ready": true}});
        self.create(ENDPOINT_SLICE, SHOP, json!({
            "metadata": {"name": "web-1", "namespace": SHOP, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": nodes.map(endpoint).collect::<Vec<_>>(),
        }));
        self.create(SERVICE, SHOP, json!({
            "metadata": {"name": "web", "namespace": SHOP,
                "annotations": {"kube-vip.io/loadbalancerIPs": ADDRESS.to_string()}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}], "ipFamilies": ["IPv4"]},
        }));
    }

    fn ready(&self, target: &Target) -> String {
        let object = self.cluster.api.read(target).expect("it is there");
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.find(|condition| condition["type"] == "Ready").expect("the condition");
        ready["status"].as_str().unwrap_or_default().to_owned()
    }

    fn node_ready(&self, node: usize) -> String {
        self.ready(&Target::new(NODE, "", &self.name(node)))
    }

    /// The condition of the Node, and of its Pod.
    fn said(&self, node: usize) -> (String, String) {
        (self.node_ready(node), self.ready(&Target::new(POD, SHOP, &self.pod(node))))
    }

    fn is_dead(&self, node: usize) -> bool {
        self.said(node) == ("Unknown".to_owned(), "False".to_owned())
    }

    fn is_well(&self, node: usize) -> bool {
        self.said(node) == ("True".to_owned(), "True".to_owned())
    }

    /// Nodes that have the address, of those whose agent runs.
    fn holders(&self) -> Vec<usize> {
        let nodes = self.cluster.nodes.iter().enumerate();
        let has = nodes.filter(|(_, node)| {
            node.agent.is_started() && node.host.holds(ADDRESS).expect("the kernel answers")
        });
        has.map(|(index, _)| index).collect()
    }

    /// Whether the agent knows all others by the Services' Lease. Who is listed is asked at once, and its host answers.
    fn knows_all(&self, node: usize) -> bool {
        let status = self.cluster.nodes[node].agent.whole_status();
        let claims = status["claims"].as_array().cloned().unwrap_or_default();
        let services = claims.iter().find(|claim| claim["claim"] == "services").cloned().unwrap_or_default();
        let members = services["members"].as_array().cloned().unwrap_or_default();
        self.others(&[node]).iter().all(|other| members.contains(&json!(self.name(*other))))
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let found = wait_for(PATIENCE, || Ok(is_so(self).then_some(()))).expect("a look");
        let said: Vec<_> = (0..self.cluster.nodes.len()).map(|node| self.said(node)).collect();
        assert!(found.is_some(), "not within {PATIENCE:?}: {what}: {said:?}, held by {:?}", self.holders());
    }

    /// The node's agent is killed and its cable pulled: to everybody else it is dead.
    fn lose(&mut self, node: usize) -> Instant {
        self.cluster.kill(node).expect("killed");
        self.cluster.segment.port_down(&self.cluster.nodes[node].host).expect("it goes dark");
        Instant::now()
    }

    fn others(&self, nodes: &[usize]) -> Vec<usize> {
        (0..self.cluster.nodes.len()).filter(|node| !nodes.contains(node)).collect()
    }

    /// For as long as it takes to notice: nobody says that one of these is not ready.
    fn stay_well(&self, nodes: &[usize]) {
        let ill = || Ok(nodes.iter().copied().find(|node| !self.is_well(*node)));
        let ill = wait_for(NEVER, ill).expect("a look");
        assert_eq!(ill, None, "{:?}", ill.map(|node| self.said(node)));
    }

    /// Reports of this node's agent that ended so.
    fn reports(&self, node: usize, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        self.cluster.nodes[node].agent.counter("mainstay_node_reports_total", &label).unwrap_or_default()
    }
}

/// Whoever takes the claim of Services from a dead node reports that node, and its Pods with it: kube-proxy goes by them.
#[test]
fn a_dead_holders_node_is_not_ready_within_seconds() {
    on("holder", (3, &[]), |bench| {
        let dead = bench.holders()[0];
        let died = bench.lose(dead);
        bench.wait("its Node is Unknown and its Pod is not ready", |bench| bench.is_dead(dead));
        let noticed = died.elapsed();
        eprintln!("a dead holder's node was reported {} ms after its death", noticed.as_millis());
        assert!(noticed < NOTICED, "{noticed:?}");
        let others = bench.others(&[dead]);
        assert!(others.iter().all(|node| bench.is_well(*node)));
        let reports = |bench: &Bench| others.iter().map(|node| bench.reports(*node, "done")).sum::<u64>();
        bench.wait("one report is told", |bench| reports(bench) == 1);
        // It comes back, and its kubelet would say so: nobody says it is dead again.
        bench.cluster.segment.port_up(&bench.cluster.nodes[dead].host).expect("its host is back");
        bench.cluster.start(dead).expect("started");
        bench.wait("it is a member that lives", |bench| bench.knows_all(dead));
        bench.stay_well(&others);
        assert_eq!(reports(bench), 1);
    });
}

/// Also one that held nothing: who holds the Services asks every member now and then.
#[test]
fn a_dead_node_that_held_nothing_is_not_ready_either() {
    on("idle", (3, &[]), |bench| {
        let dead = bench.others(&bench.holders())[0];
        bench.lose(dead);
        bench.wait("its Node is Unknown and its Pod is not ready", |bench| bench.is_dead(dead));
        assert!(bench.others(&[dead]).iter().all(|node| bench.is_well(*node)));
    });
}

/// The host answers for its own address, whatever becomes of the agent and of the beacon that it wore.
#[test]
fn a_node_whose_agent_alone_died_stays_ready() {
    on("agent", (3, &[]), |bench| {
        let killed = bench.holders()[0];
        bench.cluster.kill(killed).expect("killed");
        bench.wait("another holds the Service", |bench| bench.holders().len() == 1);
        bench.stay_well(&[0, 1, 2]);
        let told: u64 = bench
            .others(&[killed])
            .iter()
            .map(|node| {
                let label = "kind=\"NodeFailed\"";
                bench.cluster.nodes[*node].agent.counter("mainstay_events_total", label).unwrap_or_default()
            })
            .sum();
        assert_eq!(told, 0);
    });
}

#[test]
fn of_two_nodes_that_die_at_once_among_four_one_is_reported() {
    on("third", (4, &[]), |bench| {
        let holder = bench.holders()[0];
        let dead = [bench.others(&[holder])[0], bench.others(&[holder])[1]];
        for node in dead {
            bench.lose(node);
        }
        bench.wait("one is reported", |bench| dead.iter().filter(|node| bench.is_dead(**node)).count() == 1);
        bench.wait("the other is left to Kubernetes", |bench| bench.reports(holder, "too-many") == 1);
        let left = dead.into_iter().find(|node| !bench.is_dead(*node)).expect("one is not");
        assert!(bench.is_well(left), "{:?}", bench.said(left));
        assert!(bench.others(&dead).iter().all(|node| bench.is_well(*node)));
    });
}

/// Where Services are spread, the seat that changes hands says who may be dead. It is the holder of the Services' Lease
/// who asks that node, and reports it.
#[test]
fn a_dead_node_is_reported_where_services_are_spread_and_a_dead_agents_is_not() {
    on("spread", (3, &[SPREAD]), |bench| {
        let dead = bench.holders()[0];
        let died = bench.lose(dead);
        bench.wait("its Node is Unknown and its Pod is not ready", |bench| bench.is_dead(dead));
        let noticed = died.elapsed();
        eprintln!(
            "a dead node's seat was taken, and it was reported {} ms after its death",
            noticed.as_millis()
        );
        assert!(noticed < NOTICED, "{noticed:?}");
        bench.wait("another holds the Service", |bench| bench.holders().len() == 1);
        let killed = bench.holders()[0];
        bench.cluster.kill(killed).expect("killed");
        bench.wait("the last holds the Service", |bench| bench.holders().len() == 1);
        bench.stay_well(&bench.others(&[dead]));
    });
}
