//! A node's label over real TCP and HTTP, and what it may not do to the Lease.

mod common;

use std::time::{Duration, Instant};

use common::{Double, Mode, Rig, draft, eventually, lease, nobody};
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::LeaseOutcome;
use mainstay_kube::{ErrorClass, LabelStatus, NodeLabel, ServerState};
use tokio::sync::watch;

/// A keeper that runs.
struct Keeper {
    say: watch::Sender<Option<bool>>,
    seen: watch::Receiver<LabelStatus>,
}

impl Keeper {
    fn start(rig: &Rig) -> Self {
        let (say, mut wanted) = watch::channel(None);
        let (tell, seen) = watch::channel(LabelStatus::default());
        let labeller = rig.handles.labeller.clone();
        let label = NodeLabel::has_ip("n1", "10.0.0.100".parse().expect("an address"));
        tokio::spawn(async move { labeller.keep(&label, &mut wanted, &tell).await });
        Self { say, seen }
    }

    async fn until(&self, what: &str, fits: impl Fn(&LabelStatus) -> bool) -> LabelStatus {
        eventually(what, || fits(&self.seen.borrow())).await;
        self.seen.borrow().clone()
    }
}

async fn renew(rig: &mut Rig) -> LeaseOutcome {
    let LeaseOutcome::Record(record) = rig.ask(LeaseRequest::Read).await else { panic!("not read") };
    let request = LeaseRequest::Update { resource_version: record.resource_version, draft: draft() };
    rig.ask(request).await
}

#[tokio::test]
async fn the_label_is_merged_in_and_taken_off() {
    let server = Double::start().await;
    let rig = Rig::start(&server.url, &[]);
    let keeper = Keeper::start(&rig);
    keeper.say.send_replace(Some(true));
    keeper.until("labelled", |status| status.written == Some(true)).await;
    keeper.say.send_replace(Some(false));
    keeper.until("labelled no more", |status| status.written == Some(false)).await;
    let merge = "application/merge-patch+json".to_owned();
    let store = server.store.lock().expect("the store");
    assert_eq!(
        store.nodes.patches,
        [
            (merge.clone(), r#"{"metadata":{"labels":{"kube-vip.io/has-ip":"10.0.0.100"}}}"#.to_owned()),
            (merge, r#"{"metadata":{"labels":{"kube-vip.io/has-ip":null}}}"#.to_owned()),
        ]
    );
    assert_eq!(store.count(&["PATCH /api/v1/nodes/n1?"]), 2);
    assert_eq!(store.count(&["GET /api/v1/nodes"]), 0, "the only verb that it needs is patch");
}

#[tokio::test]
async fn a_refusal_is_nothing_against_the_server() {
    for (code, class) in [
        (403, ErrorClass::Forbidden),
        (401, ErrorClass::Unauthorized),
        (500, ErrorClass::ServerError),
        (429, ErrorClass::Overloaded),
    ] {
        let server = Double::start().await;
        server.store.lock().expect("the store").nodes.refused = Some(code);
        let mut rig = Rig::start(&server.url, &[]);
        let keeper = Keeper::start(&rig);
        keeper.say.send_replace(Some(true));
        let status = keeper.until("refused", |status| status.failures_in_a_row > 1).await;
        assert_eq!(status.last_error.map(|trouble| trouble.class), Some(class), "{code}");
        // Before anything is asked for the Lease, whose answer would cover it up.
        let servers = rig.handles.servers.borrow().clone();
        assert_eq!(servers[0].state, ServerState::Answering, "{code}: {servers:?}");
        assert_eq!(servers[0].failures_in_a_row, 0, "{code}: {servers:?}");
        server.store.lock().expect("the store").put(lease("node-a"));
        assert!(matches!(renew(&mut rig).await, LeaseOutcome::Record(_)), "{code}");
    }
}

/// The write has a connection of its own: where it hangs, the Lease is renewed as ever.
#[tokio::test]
async fn a_write_that_hangs_holds_nothing_up() {
    let server = Double::start().await;
    server.store.lock().expect("the store").put(lease("node-a"));
    server.store.lock().expect("the store").nodes.hang = true;
    let mut rig = Rig::start(&server.url, &[]);
    let keeper = Keeper::start(&rig);
    keeper.say.send_replace(Some(true));
    eventually("the write is under way", || {
        !server.store.lock().expect("the store").nodes.patches.is_empty()
    })
    .await;
    let began = Instant::now();
    for _ in 0..20 {
        assert!(matches!(renew(&mut rig).await, LeaseOutcome::Record(_)));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let patches = server.store.lock().expect("the store").nodes.patches.len();
    assert_eq!(patches, 1, "one at a time");
    let servers = rig.handles.servers.borrow().clone();
    assert_eq!((servers[0].state, servers[0].failures_in_a_row), (ServerState::Answering, 0));
}

/// Asked in turn only where nothing was sent; a server that makes a mess of it is asked last the next time.
#[tokio::test]
async fn another_server_writes_what_the_first_cannot() {
    let server = Double::start().await;
    let other = Double::start().await;
    let rig = Rig::start(&server.url, &[&other.url, &nobody().await]);
    server.store.lock().expect("the store").nodes.refused = Some(500);
    other.store.lock().expect("the store").nodes.refused = Some(500);
    let keeper = Keeper::start(&rig);
    keeper.say.send_replace(Some(true));
    let patches = |double: &Double| double.store.lock().expect("the store").nodes.patches.len();
    eventually("both were asked", || patches(&server) > 0 && patches(&other) > 0).await;
    other.store.lock().expect("the store").nodes.refused = None;
    keeper.until("labelled", |status| status.written == Some(true)).await;
    let differ = patches(&server).abs_diff(patches(&other));
    assert!(differ <= 1, "in turn: {} and {}", patches(&server), patches(&other));
}

#[tokio::test]
async fn in_an_outage_no_write_is_sent_and_after_it_the_label_is_right() {
    let server = Double::start().await;
    let mut rig = Rig::start(&server.url, &[]);
    server.set(Mode::Status(500, None));
    rig.ask(LeaseRequest::Read).await;
    let keeper = Keeper::start(&rig);
    let failing = || rig.handles.servers.borrow()[0].state == ServerState::Failing;
    eventually("it is known to fail", failing).await;
    keeper.say.send_replace(Some(true));
    keeper.until("the wish is known", |status| status.wanted == Some(true)).await;
    server.set(Mode::Serve);
    keeper.until("labelled", |status| status.written == Some(true)).await;
    let patches = server.store.lock().expect("the store").nodes.patches.len();
    assert_eq!(patches, 1, "nothing was tried in vain");
}
