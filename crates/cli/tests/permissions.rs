//! The permissions that `mainstay manifest rbac` prints are those that agents need, and no more: each request of real
//! agents is allowed by them, and each of them is asked for.

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::{Asked, ENDPOINT_SLICE, NODE, POD, Part, SERVICE, Target};
use mainstay_lab::cluster::{Cluster, Outage, Plan, wait_for};
use mainstay_lab::netns;
use serde_json::{Value, json};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// Not the default, so that what is granted is what was asked for.
const LEASE: &str = "kube-public/another";
const SERVICES_LEASE: &str = "kube-public/services";
/// Who the agents are.
const AGENTS: &str = "system:serviceaccount:kube-system:mainstay";

/// One verb on one resource that the manifest's roles allow. Empty text for what is left open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: String,
    group: String,
    resource: String,
    /// Of the role; empty for a cluster's.
    namespace: String,
    name: String,
}

impl Permission {
    fn is_for(&self, asked: &Asked) -> bool {
        let left_open_or = |ours: &str, theirs: &str| ours.is_empty() || ours == theirs;
        (&self.verb, &self.group, &self.resource) == (&asked.verb, &asked.group, &asked.resource)
            && left_open_or(&self.namespace, &asked.namespace)
            && left_open_or(&self.name, &asked.name)
    }
}

/// All that the printed roles allow, one by one.
fn granted(flags: &[&str]) -> BTreeSet<Permission> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let output = command.args(["manifest", "rbac"]).args(flags).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let mut all = BTreeSet::new();
    for object in &objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in object["rules"].as_array().into_iter().flatten() {
            all.extend(single(rule, namespace));
        }
    }
    all
}

fn single(rule: &Value, namespace: &str) -> Vec<Permission> {
    let texts = |field: &str| -> Vec<String> {
        let list = rule[field].as_array().into_iter().flatten();
        list.map(|one| one.as_str().expect("text").to_owned()).collect()
    };
    let names = if rule["resourceNames"].is_null() { vec![String::new()] } else { texts("resourceNames") };
    let mut all = Vec::new();
    for verb in texts("verbs") {
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                let one = |name: &String| Permission {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                };
                all.extend(names.iter().map(one));
            }
        }
    }
    all
}

/// What reports dead nodes.
const REPORT: &str = "MAINSTAY_REPORT_NODE_FAILURE";

/// A setting beside the usual ones: variable, value, and the flag of `mainstay manifest rbac`.
type More<'a> = (&'static str, &'a str, &'a str);

/// A start, an outage, a death, a return, a hand-over: all that agents have to ask the API for.
fn live(cluster: &mut Cluster, more: &[More<'_>]) {
    let first = cluster.wait_settled(PATIENCE).expect("settled");
    let reports = more.iter().any(|(setting, ..)| *setting == REPORT);
    if reports {
        cluster.wait_acquainted(PATIENCE).expect("a node that was never heard is not judged");
    }
    cluster.api.fail(Outage::Refused).expect("an outage");
    cluster.wait_tenure(first, "detached", PATIENCE).expect("detached");
    cluster.api.heal().expect("the API is back");
    cluster.wait_tenure(first, "confirmed", PATIENCE).expect("confirmed again");
    let others = cluster.others(first);
    cluster.segment.partition(&cluster.nodes[first].host).expect("partitioned");
    let second = cluster.wait_holder(&others, PATIENCE).expect("succeeded on evidence");
    cluster.wait_tenure(second, "confirmed", PATIENCE).expect("by a grant");
    if reports {
        wait_reported(cluster, first);
    }
    cluster.segment.heal(&cluster.nodes[first].host).expect("healed");
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), second);
    wait_in_reach(cluster, second);
    assert!(cluster.stop(second, PATIENCE).expect("it ends").success());
    let others = cluster.others(second);
    let third = cluster.wait_holder(&others, PATIENCE).expect("another holds");
    cluster.wait_tenure(third, "confirmed", PATIENCE).expect("by a grant");
}

/// Whoever stops while it believes the API away keeps what it holds for its restart: each claim finds that out for itself.
fn wait_in_reach(cluster: &Cluster, node: usize) {
    let in_reach = || {
        let status = cluster.nodes[node].agent.whole_status();
        let claims = status["claims"].as_array().cloned().unwrap_or_default();
        Ok((!claims.is_empty() && claims.iter().all(|claim| claim["authorityInReach"] == true)).then_some(()))
    };
    wait_for(PATIENCE, in_reach).expect("a look").expect("the API is back for every claim");
}

fn wait_reported(cluster: &Cluster, node: usize) {
    let target = Target::new(NODE, "", cluster.nodes[node].host.name());
    let unknown = || {
        let object = cluster.api.read(&target)?;
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        Ok(conditions.any(|one| one["type"] == "Ready" && one["status"] == "Unknown").then_some(()))
    };
    wait_for(PATIENCE, unknown).expect("a look").expect("the dead node is reported");
}

/// A Service to hold, to write on and to tell of; and a Pod on each node. The Service says a holder and no seat: where
/// Services are spread, it is looked whether kube-vip has it by a Lease, and else not.
fn serve(cluster: &Cluster) {
    let store = cluster.api.embedded().expect("an embedded server").cluster.store();
    let service = json!({
        "metadata": {"name": "web", "namespace": "default", "annotations": {
            "kube-vip.io/loadbalancerIPs": "10.77.0.150", "kube-vip.io/vipHost": "of-kube-vip"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}], "ipFamilies": ["IPv4"]},
    });
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.7"], "conditions": {"ready": true}}],
    });
    store.create(ENDPOINT_SLICE, "default", slice).expect("a valid slice");
    store.create(SERVICE, "default", service).expect("a valid Service");
    for node in &cluster.nodes {
        let pod = json!({
            "metadata": {"name": format!("web-{}", node.host.name()), "namespace": "default"},
            "spec": {"nodeName": node.host.name(), "containers": [{"name": "web", "image": "web"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let mut made = (*store.create(POD, "default", pod.clone()).expect("a valid Pod")).clone();
        // As its kubelet has seen to it: a Pod has no status of its maker's.
        made["status"] = pod["status"].clone();
        let target = Target::new(POD, "default", &format!("web-{}", node.host.name()));
        store.update(&target, made, Part::Status).expect("a valid status");
    }
}

#[test]
fn every_permission_is_needed_and_every_request_is_permitted() {
    needed_and_permitted("permissions", &[]);
}

#[test]
fn so_it_is_where_services_are_spread() {
    needed_and_permitted("permissions-spread", &[("svc_election", "true", "--servicesElection")]);
}

#[test]
fn so_it_is_where_dead_nodes_are_reported() {
    needed_and_permitted("permissions-failures", &[(REPORT, "true", "--reportNodeFailure")]);
}

/// What there is to see, for whoever has to find out why something was never asked for.
fn seen(cluster: &Cluster) -> String {
    let service = cluster.api.read(&Target::new(SERVICE, "default", "web"));
    let nodes =
        cluster.nodes.iter().map(|node| format!("{}: {}", node.host.name(), node.agent.whole_status()));
    format!("the Service: {service:?}\n{}", nodes.collect::<Vec<_>>().join("\n"))
}

fn needed_and_permitted(name: &str, more: &[More<'_>]) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(name);
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let plan = plan.with_setting("enable_node_labeling", "true").with_setting("vip_leasename", LEASE);
    let plan = plan.with_setting("svc_enable", "true").with_setting("svc_leasename", SERVICES_LEASE);
    let plan = more.iter().fold(plan, |plan, (setting, value, _)| plan.with_setting(setting, value));
    let mut cluster = Cluster::up(plan).expect("a cluster that settles");
    serve(&cluster);
    live(&mut cluster, more);

    let asked = || -> Vec<Asked> {
        let store = cluster.api.embedded().expect("an embedded server").cluster.store();
        store.account().asked().into_iter().filter(|one| one.user == AGENTS).collect()
    };
    let (lease, services) = (format!("--leaseName={LEASE}"), format!("--servicesLeaseName={SERVICES_LEASE}"));
    let flags = ["--enableNodeLabeling", &lease, "--services", &services].into_iter();
    let granted = granted(&flags.chain(more.iter().map(|(.., flag)| *flag)).collect::<Vec<_>>());
    assert!(granted.len() > 5, "{granted:?}");
    let used = |permission: &Permission, asked: &[Asked]| asked.iter().any(|one| permission.is_for(one));
    let all_used = || {
        let asked = asked();
        Ok(granted.iter().all(|permission| used(permission, &asked)).then_some(()))
    };
    // The label is in no hurry.
    let needed = wait_for(PATIENCE, all_used).expect("an account");
    let asked = asked();
    let idle: Vec<_> = granted.iter().filter(|permission| !used(permission, &asked)).collect();
    assert!(needed.is_some(), "granted and never asked for: {idle:#?}\n{}", seen(&cluster));
    let refused: Vec<_> = asked.iter().filter(|one| !one.allowed).collect();
    assert!(refused.is_empty(), "asked for and not granted: {refused:#?}");
}
