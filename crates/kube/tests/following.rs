//! Following the Lease by watch, through everything that a server can do to a watch.
#![expect(clippy::unwrap_used, reason = "test")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Double, Mode, Rig, eventually, lease, timing};
use mainstay_core::input::LeaseReport;
use mainstay_kube::{ServerState, Timing};
use serde_json::json;

async fn followed() -> (Double, Rig) {
    let server = Double::start().await;
    server.store.lock().unwrap().put(lease("node-a"));
    let mut rig = Rig::start(&server.url, &[]);
    rig.observed("node-a").await;
    watching(&server).await;
    (server, rig)
}

async fn watching(server: &Double) {
    eventually("somebody watches", || server.store.lock().unwrap().watchers() > 0).await;
}

fn put(server: &Double, holder: &str) {
    server.store.lock().unwrap().put(lease(holder));
}

#[tokio::test]
async fn changes_are_watched_and_never_polled() {
    let (server, mut rig) = followed().await;
    for round in 0..20 {
        let holder = format!("node-{round}");
        put(&server, &holder);
        rig.observed(&holder).await;
    }
    server.store.lock().unwrap().delete();
    rig.report("absent", |report| *report == LeaseReport::Absent).await;
    put(&server, "node-z");
    rig.observed("node-z").await;
    let store = server.store.lock().unwrap();
    assert_eq!((store.lists(), store.count(&["/leases?", "watch=true"])), (1, 1));
}

#[tokio::test]
async fn an_absent_lease_is_told() {
    let server = Double::start().await;
    let mut rig = Rig::start(&server.url, &[]);
    rig.report("absent", |report| *report == LeaseReport::Absent).await;
    put(&server, "node-a");
    rig.observed("node-a").await;
}

#[tokio::test]
async fn a_watch_that_the_server_ends_is_opened_again_from_where_it_was() {
    let (server, mut rig) = followed().await;
    for round in 0..4 {
        server.store.lock().unwrap().drop_watches();
        let holder = format!("node-{round}");
        put(&server, &holder);
        rig.observed(&holder).await;
        watching(&server).await;
    }
    assert_eq!(server.store.lock().unwrap().lists(), 1, "no list was needed");
}

#[tokio::test]
async fn a_version_too_old_is_followed_by_a_list() {
    let (server, mut rig) = followed().await;
    {
        let mut store = server.store.lock().unwrap();
        store.drop_watches();
        store.put(lease("node-b"));
        store.compacted = 2;
    }
    rig.observed("node-b").await;
    watching(&server).await;
    // And as an event of the watch, as a server sends it when it compacts.
    {
        let mut store = server.store.lock().unwrap();
        store.emit_raw(&json!({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}));
        store.put(lease("node-c"));
    }
    rig.observed("node-c").await;
    assert!(server.store.lock().unwrap().lists() >= 2);
}

#[tokio::test]
async fn every_outage_is_told_and_survived() {
    let (server, mut rig) = followed().await;
    let modes = [
        Mode::Status(401, None),
        Mode::Status(403, None),
        Mode::Status(429, Some(1)),
        Mode::Status(500, None),
        Mode::Status(503, None),
        Mode::LoseReply,
        Mode::Hang,
    ];
    for (round, mode) in modes.into_iter().enumerate() {
        server.set(mode.clone());
        server.store.lock().unwrap().drop_watches();
        rig.report(&format!("lost under {mode:?}"), |report| *report == LeaseReport::WatchLost).await;
        let holder = format!("node-{round}");
        put(&server, &holder);
        let lists = server.store.lock().unwrap().lists();
        server.set(Mode::Serve);
        rig.observed(&holder).await;
        assert!(server.store.lock().unwrap().lists() > lists, "{mode:?}: a quorum list comes first");
        watching(&server).await;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_and_back_is_found_again() {
    let (server, mut rig) = followed().await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    server.stop();
    rig.report("lost", |report| *report == LeaseReport::WatchLost).await;
    let store = Arc::clone(&server.store);
    drop(server);
    store.lock().unwrap().put(lease("node-b"));
    let _again = Double::listen(address, store, 0).await;
    rig.observed("node-b").await;
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_checked_at_another_server() {
    let silent = Double::start().await;
    put(&silent, "node-a");
    let timing = Timing { watch_silence: Duration::from_millis(400), ..timing() };
    let config = common::ConfigFile::reserve();
    config.write(&silent.url, "t1");
    let other = silent.beside().await;
    let mut rig = Rig::with(config, &[&other.url], timing);
    rig.observed("node-a").await;
    watching(&silent).await;
    // The watch stays open, but what happens is not told in it.
    {
        let mut store = silent.store.lock().unwrap();
        let watchers = store.mute();
        store.put(lease("node-b"));
        store.keep(watchers);
    }
    rig.observed("node-b").await;
}

/// 403 without the permission; 404 from Kubernetes before 1.21, which has no such EndpointSlices. A server that breaks
/// down instead (503) is asked again and again, and is the clock of this test: by then the others would have been, too.
#[tokio::test]
async fn a_refusal_of_endpoint_slices_is_asked_once() {
    let mut refused = Vec::new();
    for code in [403, 404] {
        let (server, rig) = refusing_slices(code).await;
        eventually("it was asked for EndpointSlices", || slices_asked(&server) > 0).await;
        refused.push((code, server, rig));
    }
    let (broken, _rig) = refusing_slices(503).await;
    eventually("an outage is asked about again", || slices_asked(&broken) > 3).await;
    for (code, server, _rig) in refused {
        assert_eq!(slices_asked(&server), 1, "{code}");
    }
}

/// The refusal is the last that the server says here, so nothing else makes its fault good.
#[tokio::test]
async fn a_refusal_of_endpoint_slices_is_no_fault_of_the_server() {
    let states = |rig: &Rig| rig.handles.servers.borrow().iter().map(|one| one.state).collect::<Vec<_>>();
    let (server, rig) = followed().await;
    let (broken, broken_rig) = followed().await;
    for server in [&server, &broken] {
        let watched = || server.store.lock().unwrap().count(&["endpointslices", "watch=true"]) > 0;
        eventually("the EndpointSlices are watched", watched).await;
    }
    for (server, code) in [(&server, 403), (&broken, 503)] {
        let mut store = server.store.lock().unwrap();
        store.slices_refused = Some(code);
        store.end_quiet_watches();
    }
    eventually("an outage is a fault", || states(&broken_rig) == [ServerState::Failing]).await;
    let before = slices_asked(&broken);
    eventually("an outage is asked about again", || slices_asked(&broken) > before + 2).await;
    assert!(server.store.lock().unwrap().count(&["endpointslices"]) > 2, "the refusal was asked for");
    assert_eq!(states(&rig), [ServerState::Answering]);
}

/// A server that answers every request for EndpointSlices with `code`, and an adapter that follows its lease.
async fn refusing_slices(code: u16) -> (Double, Rig) {
    let server = Double::start().await;
    {
        let mut store = server.store.lock().unwrap();
        store.put(lease("node-a"));
        store.slices_refused = Some(code);
    }
    let mut rig = Rig::start(&server.url, &[]);
    rig.observed("node-a").await;
    watching(&server).await;
    (server, rig)
}

fn slices_asked(server: &Double) -> usize {
    server.store.lock().unwrap().count(&["endpointslices"])
}
