//! What a run begins with.

use mainstay_core::vip::Vip;

use std::collections::BTreeMap;

use mainstay_core::snapshot::ClaimMemory;

use super::turn::first_addresses;
use super::*;

#[test]
fn names_and_the_cluster_outlive_a_reboot_and_nothing_else_does() {
    let dir = std::env::temp_dir().join(format!("mainstay-run-{}", std::process::id()));
    let store = Store::new(&dir, "snapshot.json");
    let names = Answers::from([("api.example.com".to_owned(), vec![Vip::from([10, 0, 0, 100])])]);
    let services = vec![Vip::from([10, 1, 0, 1])];
    let held = ClaimMemory { epoch: 7, held: true, services, ..ClaimMemory::default() };
    let snapshot = Snapshot {
        boot_id: "before".to_owned(),
        instance: InstanceId(1),
        claims: [(ClaimId::services(), held)].into(),
        api_servers: vec!["https://a".to_owned()],
        names: names.clone(),
        cluster: Some("uid".to_owned()),
    };
    store.save(&snapshot).expect("a directory of ours");
    let (same, other) = (remember(&store, "before"), remember(&store, "after"));
    std::fs::remove_dir_all(&dir).expect("a directory of ours");
    assert_eq!(same.0, Some(snapshot));
    let lasting = Lasting { names, cluster: Some("uid".to_owned()) };
    assert_eq!(other, (None, lasting));
    assert_eq!(remember(&store, "before"), (None, Lasting::default()), "a first start");
}

/// Nobody resolves names any more: that is no orderly end.
#[tokio::test]
async fn without_a_control_plane_there_is_no_first_address_and_no_orderly_end() {
    let (vips, follower) = watch::channel(Vec::new());
    let (edges, _held) = edges(follower);
    let (opened, _waits) = std::sync::mpsc::sync_channel(1);
    drop(vips);
    let mut edges = edges;
    let view = LoopView {
        role: crate::testing::control_plane(),
        commands: mpsc::channel(1).0,
        vitals: Arc::default(),
        tally: crate::store::Tally::default(),
    };
    let error = first_addresses(&mut edges, &view, &opened).await.expect_err("it ended");
    assert!(error.to_string().contains("control plane"), "{error:#}");
}

/// With the ends that have to live meanwhile.
fn edges(vips: watch::Receiver<Vec<Vip>>) -> (Edges, impl Sized) {
    let (input_sender, inputs) = mpsc::channel(1);
    let (command_sender, commands) = mpsc::channel(1);
    let (learned_sender, learned) = watch::channel(Vec::new());
    let (answers_sender, answers) = watch::channel(Answers::new());
    let (saves, taker) = crate::latest::pair();
    let snapshot = Snapshot {
        boot_id: "boot".to_owned(),
        instance: InstanceId(1),
        claims: BTreeMap::new(),
        api_servers: Vec::new(),
        names: BTreeMap::new(),
        cluster: None,
    };
    let named = Named { vips, answers, members: watch::Sender::default(), told: watch::Sender::default() };
    let held = watch::Sender::default();
    let (services, cluster) = (watch::channel(None), watch::channel(None));
    let calls = Calls::new(None);
    let edges = Edges {
        inputs,
        commands,
        learned,
        snapshot,
        saves,
        calls,
        held,
        named_holder: watch::Sender::default(),
        named,
        services: services.1,
        cluster: cluster.1,
        fitness: watch::channel(None).1,
        placed: watch::channel(None).1,
        holders: watch::Sender::default(),
        deaths: watch::Sender::default(),
        worn: std::collections::BTreeSet::new(),
    };
    (edges, (input_sender, command_sender, learned_sender, answers_sender, taker, services.0, cluster.0))
}
