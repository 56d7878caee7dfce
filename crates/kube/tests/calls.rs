//! Lease requests over real TCP and HTTP, against servers that misbehave.

mod common;

use std::time::{Duration, Instant};

use common::{ConfigFile, Double, Mode, Rig, draft, eventually, lease, nobody, timing};
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{LeaseOutcome, LeaseReport};
use mainstay_kube::ServerState;

fn update(resource_version: &str) -> LeaseRequest {
    LeaseRequest::Update { resource_version: resource_version.to_owned(), draft: draft() }
}

fn unanswered(rig: &Rig) -> usize {
    rig.reports.iter().filter(|report| matches!(report, LeaseReport::Unanswered { .. })).count()
}

#[tokio::test]
async fn a_lease_is_created_read_updated_and_fought_over() {
    let server = Double::start().await;
    let mut rig = Rig::start(&server.url, &[]);
    assert_eq!(rig.ask(LeaseRequest::Read).await, LeaseOutcome::Absent);
    let LeaseOutcome::Record(created) = rig.ask(LeaseRequest::Create(draft())).await else {
        panic!("not created")
    };
    assert_eq!(created.holder.as_deref(), Some("node-b"));
    assert!(created.renew_time.ends_with('Z') && created.renew_time.len() == 27, "{}", created.renew_time);
    assert_eq!(rig.ask(LeaseRequest::Create(draft())).await, LeaseOutcome::Conflict);
    let LeaseOutcome::Record(updated) = rig.ask(update(&created.resource_version)).await else {
        panic!("not written")
    };
    assert_ne!(updated.resource_version, created.resource_version);
    assert_eq!(updated.uid, created.uid);
    let reached = rig.reports.iter().find_map(|report| match report {
        LeaseReport::Reached { local, remote } => Some((local.to_string(), remote.to_string())),
        _ => None,
    });
    assert_eq!(reached, Some(("127.0.0.1".to_owned(), "127.0.0.1".to_owned())), "it tells which way");
    assert_eq!(rig.ask(update(&created.resource_version)).await, LeaseOutcome::Conflict);
    assert_eq!(rig.ask(LeaseRequest::Read).await, LeaseOutcome::Record(updated));
}

#[tokio::test]
async fn the_operators_annotations_are_on_every_write() {
    let server = Double::start().await;
    let mut rig = Rig::start(&server.url, &[]);
    let LeaseOutcome::Record(created) = rig.ask(LeaseRequest::Create(draft())).await else {
        panic!("not created")
    };
    assert_eq!(created.annotations["example.com/team"], "network");
    let LeaseOutcome::Record(updated) = rig.ask(update(&created.resource_version)).await else {
        panic!("not written")
    };
    assert_eq!(updated.annotations["example.com/team"], "network");
    assert_eq!(updated.annotations["mainstay.io/epoch"], "2", "and ours stay");
}

#[tokio::test]
async fn an_update_keeps_the_labels_of_others() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&server.url, &[]);
    let LeaseOutcome::Record(record) = rig.ask(LeaseRequest::Read).await else { panic!("not read") };
    rig.ask(update(&record.resource_version)).await;
    let written = server.store.lock().unwrap().lease();
    assert_eq!(written["metadata"]["labels"]["kept"], "yes");
    assert_eq!(written["metadata"]["annotations"]["mainstay.io/epoch"], "2");
    assert_eq!(written["spec"]["holderIdentity"], "node-b");
}

#[tokio::test]
async fn every_failure_has_its_outcome() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&server.url, &[]);
    let throttled = |seconds| LeaseOutcome::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
    for (mode, expected) in [
        (Mode::Status(401, None), LeaseOutcome::Forbidden),
        (Mode::Status(403, None), LeaseOutcome::Forbidden),
        (Mode::Status(429, Some(7)), throttled(7)),
        (Mode::Status(503, Some(2)), throttled(2)),
        (Mode::Status(503, None), LeaseOutcome::Unknown),
        (Mode::Status(500, None), LeaseOutcome::Unknown),
        (Mode::LoseReply, LeaseOutcome::Unknown),
    ] {
        server.set(mode.clone());
        assert_eq!(rig.ask(LeaseRequest::Read).await, expected, "{mode:?}");
    }
    server.stop();
    assert_eq!(rig.ask(LeaseRequest::Read).await, LeaseOutcome::Unreachable);
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_unknown_though_done() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&server.url, &[]);
    rig.observed("node-a").await;
    server.set(Mode::LoseReply);
    assert_eq!(rig.ask(update("1")).await, LeaseOutcome::Unknown);
    assert_eq!(server.store.lock().unwrap().lease()["spec"]["holderIdentity"], "node-b");
}

#[tokio::test]
async fn a_lost_reply_at_one_server_is_a_conflict_at_the_next() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let other = server.beside().await;
    let mut rig = Rig::start(&server.url, &[&other.url]);
    rig.observed("node-a").await;
    server.set(Mode::LoseReply);
    other.set(Mode::Serve);
    // Whichever is asked first: either it answers, or its reply is lost and the other one sees our own write.
    let outcome = rig.ask(update("1")).await;
    let lost = server
        .store
        .lock()
        .unwrap()
        .requests
        .iter()
        .any(|(front, line)| *front == 0 && line.starts_with("PUT"));
    match outcome {
        LeaseOutcome::Conflict => assert!(lost),
        LeaseOutcome::Record(_) => assert!(!lost),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.store.lock().unwrap().lease()["spec"]["holderIdentity"], "node-b");
}

#[tokio::test]
async fn a_server_that_refuses_is_passed_over_at_once() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&nobody().await, &[&server.url]);
    let LeaseOutcome::Record(_) = rig.ask(LeaseRequest::Read).await else { panic!("not read") };
    assert_eq!(unanswered(&rig), 0);
    eventually("the refusing server is shown as failing", || {
        let servers = rig.handles.servers.borrow();
        servers.iter().any(|server| server.state == ServerState::Failing && server.last_error.is_some())
            && servers.iter().any(|server| server.state == ServerState::Answering)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_is_hedged_and_then_put_behind() {
    let hung = Double::start().await;
    hung.set(Mode::Hang);
    let server = hung.beside().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&hung.url, &[&server.url]);
    let LeaseOutcome::Record(_) = rig.ask(LeaseRequest::Read).await else { panic!("not read") };
    assert_eq!(unanswered(&rig), 0);
    eventually("the hung server is put behind", || {
        rig.handles
            .servers
            .borrow()
            .last()
            .is_some_and(|last| last.url == hung.url && last.state == ServerState::Failing)
    })
    .await;
    let before = server.store.lock().unwrap().count(&["GET", "plndr-cp-lock?timeout"]);
    rig.ask(LeaseRequest::Read).await;
    let store = server.store.lock().unwrap();
    let asked: Vec<usize> = store
        .requests
        .iter()
        .filter(|(_, line)| line.contains("plndr-cp-lock?timeout"))
        .map(|(front, _)| *front)
        .collect();
    assert_eq!(asked[before], 1, "the healthy server is asked first");
}

#[tokio::test]
async fn silence_everywhere_is_told_early_and_unknown_at_the_deadline() {
    let server = Double::start().await;
    server.set(Mode::Hang);
    let other = server.beside().await;
    other.set(Mode::Hang);
    let mut rig = Rig::start(&server.url, &[&other.url]);
    let began = Instant::now();
    let id = rig.send(LeaseRequest::Read, Duration::from_secs(2)).await;
    rig.report("unanswered", |report| *report == LeaseReport::Unanswered { id }).await;
    assert!(
        began.elapsed() >= Duration::from_millis(650),
        "two servers, 150 ms apart: {:?}",
        began.elapsed()
    );
    assert_eq!(rig.outcome(id).await, LeaseOutcome::Unknown);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn an_answer_that_comes_after_all_is_used() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&server.url, &[]);
    rig.observed("node-a").await;
    server.set(Mode::Hang);
    let slow = rig.send(LeaseRequest::Read, Duration::from_secs(10)).await;
    rig.report("unanswered", |report| *report == LeaseReport::Unanswered { id: slow }).await;
    server.set(Mode::Serve);
    // A call that hangs keeps no later one waiting.
    let LeaseOutcome::Record(_) = rig.ask(LeaseRequest::Read).await else { panic!("not read") };
}

#[tokio::test]
async fn refused_credentials_are_loaded_again() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    server.store.lock().unwrap().token = "t1".to_owned();
    let mut rig = Rig::start(&server.url, &[]);
    rig.observed("node-a").await;
    server.store.lock().unwrap().token = "t2".to_owned();
    assert_eq!(
        rig.ask(LeaseRequest::Read).await,
        LeaseOutcome::Forbidden,
        "the file still has the old token"
    );
    rig.config.write(&server.url, "t2");
    let mut outcome = rig.ask(LeaseRequest::Read).await;
    // Credentials are loaded twice a second at most.
    let give_up = Instant::now() + common::PATIENCE;
    while outcome == LeaseOutcome::Forbidden && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(20)).await;
        outcome = rig.ask(LeaseRequest::Read).await;
    }
    assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_kubeconfig_that_comes_later_is_found() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let config = ConfigFile::reserve();
    let path = config.0.clone();
    let mut rig = Rig::with(config, &[], timing());
    rig.report("lost", |report| *report == LeaseReport::WatchLost).await;
    assert_eq!(rig.ask(LeaseRequest::Read).await, LeaseOutcome::Unreachable);
    let trouble = rig.handles.trouble.borrow().clone().unwrap();
    assert!(trouble.starts_with(&format!("k8s_config_file={}", path.display())), "{trouble}");
    std::fs::write(&path, "clusters: [not a kubeconfig").unwrap();
    eventually("the new error is shown", || {
        rig.handles.trouble.borrow().as_ref().is_some_and(|cause| cause.contains("parse"))
    })
    .await;
    rig.config.write(&server.url, "t1");
    rig.observed("node-a").await;
    eventually("no trouble is left", || rig.handles.trouble.borrow().is_none()).await;
}

#[tokio::test]
async fn learned_servers_are_told_and_used() {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let other = server.beside().await;
    let port: u16 = other.url.rsplit(':').next().unwrap().parse().unwrap();
    server.store.lock().unwrap().slice(serde_json::json!({
        "metadata": {"name": "kubernetes"}, "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": ["127.0.0.1"]}],
    }));
    let mut rig = Rig::start(&server.url, &[]);
    eventually("the other server is learned", || *rig.handles.learned.borrow() == [other.url.clone()]).await;
    server.stop();
    let outcome = rig.ask(LeaseRequest::Read).await;
    assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
}
