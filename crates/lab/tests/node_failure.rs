//! A dead node reported at the embedded API server, over HTTPS, with the rights of an agent: what is written, what is not,
//! and who wins when the kubelet lives.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails the test")]

mod services;

use std::time::Duration;

use mainstay_kube::{ErrorClass, NodeReport, Reported};
use mainstay_lab::apiserver::{Fault, NODE, POD, StoreOptions, Verb};
use serde_json::{Value, json};
use services::{Bench, PATIENCE};

/// More than fit into one answer.
const PODS: usize = 60;
const BORN: &str = "2026-01-01T00:00:00Z";
const DEAD: &str = "node-2";

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "KubeletReady", "message": "kubelet is posting ready status",
        "lastHeartbeatTime": BORN, "lastTransitionTime": BORN,
    })
}

fn node(name: &str, ready: &str) -> Value {
    let conditions = [condition("MemoryPressure", "False"), condition("Ready", ready)];
    json!({"metadata": {"name": name}, "status": {"conditions": conditions}})
}

fn pod(name: &str, node: &str, ready: &str) -> Value {
    let ready = json!({"type": "Ready", "status": ready, "lastTransitionTime": BORN});
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": BORN});
    json!({
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "app"}]},
        "status": {"phase": "Running", "conditions": [scheduled, ready]},
    })
}

/// Made, and then seen to by its kubelet: a Pod has no status of its maker's.
fn put_pod(bench: &Bench, name: &str, node: &str, ready: &str) {
    let pod = pod(name, node, ready);
    bench.put(POD, "shop", pod.clone());
    bench.update_status(POD, "shop", name, |made| made["status"] = pod["status"].clone());
}

fn find(object: &Value, kind: &str) -> Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|one| one["type"] == kind).cloned().unwrap_or_default()
}

/// Nodes that are ready, of which the second is dead.
fn bench(name: &str, nodes: usize) -> Bench {
    let bench = Bench::new(name, StoreOptions::default());
    bench.cluster.create_all(include_str!("../../../manifests/rbac-node-failures.yaml")).unwrap();
    (1..=nodes).for_each(|number| bench.put(NODE, "", node(&format!("node-{number}"), "True")));
    bench.follow()
}

fn report(nodes: usize) -> NodeReport {
    let agents = (1..=nodes).map(|number| format!("node-{number}")).collect();
    NodeReport::new(DEAD.to_owned(), agents, "node-1 has asked this node on the wire".to_owned())
}

fn ready(bench: &Bench, node: &str) -> Value {
    find(&bench.get(NODE, "", node), "Ready")["status"].clone()
}

fn pod_ready(bench: &Bench, pod: &str) -> Value {
    find(&bench.get(POD, "shop", pod), "Ready")["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_and_its_pods_are_not_ready_and_nothing_else_is_written() {
    let bench = bench("dead", 3);
    for number in 0..PODS {
        put_pod(&bench, &format!("here-{number:02}"), DEAD, "True");
    }
    put_pod(&bench, "ill", DEAD, "False");
    put_pod(&bench, "elsewhere", "node-1", "True");
    let (before, mut report) = (bench.get(NODE, "", DEAD), report(3));
    let reporter = bench.handles.reporter.clone();
    assert_eq!(reporter.attempt(&mut report).await, Ok(Reported::Done { pods: PODS }));

    let after = bench.get(NODE, "", DEAD);
    let said = find(&after, "Ready");
    assert_eq!((&said["status"], &said["reason"]), (&json!("Unknown"), &json!("MainstayNodeUnreachable")));
    assert_eq!(said["message"], "node-1 has asked this node on the wire");
    assert_eq!(said["lastHeartbeatTime"], BORN, "that is the kubelet's, and what Kubernetes counts by");
    assert_ne!(said["lastTransitionTime"], BORN);
    assert_eq!(find(&after, "MemoryPressure"), find(&before, "MemoryPressure"));
    for number in 0..PODS {
        assert_eq!(pod_ready(&bench, &format!("here-{number:02}")), "False", "{number}");
    }
    let one = bench.get(POD, "shop", "here-00");
    assert_eq!(find(&one, "PodScheduled")["status"], "True");
    assert_eq!(find(&bench.get(POD, "shop", "ill"), "Ready")["lastTransitionTime"], BORN, "it was so before");
    assert_eq!(pod_ready(&bench, "elsewhere"), "True");
    assert_eq!((ready(&bench, "node-1"), ready(&bench, "node-3")), (json!("True"), json!("True")));

    assert_eq!(reporter.attempt(&mut report).await, Ok(Reported::NotReady), "once");
    assert_eq!((bench.count(Verb::Patch, "nodes"), bench.count(Verb::Patch, "pods")), (1, PODS as u64));
}

/// While the Pods are marked, the kubelet writes its status: the version that was read is not the newest any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kubelet_writes_in_between_wins() {
    let bench = bench("between", 3);
    put_pod(&bench, "here", DEAD, "True");
    bench.fronts.iter().for_each(|front| front.inject(Fault::HangWritesBut("leases".to_owned())));
    let (reporter, mut report) = (bench.handles.reporter.clone(), report(3));
    let attempt = tokio::spawn(async move { (reporter.attempt(&mut report).await, report) });
    let under_way = async {
        while bench.count(Verb::Patch, "pods") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, under_way).await.expect("the Pod is written on");
    bench.update_status(NODE, "", DEAD, |node| {
        node["status"]["conditions"][1]["lastHeartbeatTime"] = json!("2026-01-01T00:05:00Z");
    });
    bench.heal();
    let (attempted, mut report) = attempt.await.unwrap();
    let class = attempted.map_err(|trouble| trouble.class);
    assert!(class.is_err(), "somebody wrote meanwhile: {class:?}");
    assert_eq!(ready(&bench, DEAD), "True");
    assert_eq!(bench.handles.reporter.attempt(&mut report).await, Ok(Reported::Lives));
    assert_eq!(ready(&bench, DEAD), "True");
}

/// A Node that is `Unknown` by our word makes no transition at the node lifecycle controller any more, which would leave
/// its Pods ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_pods_cannot_be_marked_is_left_to_kubernetes() {
    let bench = bench("pods", 3);
    put_pod(&bench, "here", DEAD, "True");
    for denied in [Verb::Patch, Verb::List] {
        let fault = Fault::Deny { verb: Some(denied), resource: Some("pods".to_owned()) };
        bench.fronts.iter().for_each(|front| front.inject(fault.clone()));
        let refused = bench.handles.reporter.attempt(&mut report(3)).await.map_err(|trouble| trouble.class);
        assert_eq!(refused, Err(ErrorClass::Forbidden), "{denied:?}");
        assert_eq!(ready(&bench, DEAD), "True", "{denied:?}");
        bench.heal();
    }
    assert_eq!(bench.handles.reporter.attempt(&mut report(3)).await, Ok(Reported::Done { pods: 1 }));
}

/// Whoever said that the others are not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_a_third_are_reported_whoever_reported_the_others() {
    let bench = bench("third", 6);
    let reporter = bench.handles.reporter.clone();
    bench.update_status(NODE, "", "node-5", |node| *node = self::node("node-5", "Unknown"));
    bench.update_status(NODE, "", "node-6", |node| *node = self::node("node-6", "False"));
    assert_eq!(reporter.attempt(&mut report(6)).await, Ok(Reported::TooMany { not_ready: 2 }));
    assert_eq!(ready(&bench, DEAD), "True");
    bench.update_status(NODE, "", "node-6", |node| *node = self::node("node-6", "True"));
    assert_eq!(reporter.attempt(&mut report(6)).await, Ok(Reported::Done { pods: 0 }), "two of six");
    // A node without an agent counts for nothing.
    let mut unknown = report(6);
    unknown.node = "node-7".to_owned();
    assert_eq!(reporter.attempt(&mut unknown).await, Ok(Reported::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_permissions_nothing_is_written_and_the_servers_stay_in_good_standing() {
    let bench = Bench::new("rights", StoreOptions::default());
    (1..=3).for_each(|number| bench.put(NODE, "", node(&format!("node-{number}"), "True")));
    let bench = bench.follow();
    bench.until("all was listed", |intent| intent.complete().is_ok()).await;
    let refused = bench.handles.reporter.attempt(&mut report(3)).await.map_err(|trouble| trouble.class);
    assert_eq!(refused, Err(ErrorClass::Forbidden));
    let servers = bench.handles.servers.borrow().clone();
    assert!(servers.iter().all(|server| server.failures_in_a_row == 0), "{servers:?}");
    assert_eq!(ready(&bench, DEAD), "True");
}
