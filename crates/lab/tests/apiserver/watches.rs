//! What watches do beyond the conformance checks: compaction, bookmarks, streamed lists.

use std::time::Duration;

use mainstay_lab::apiserver::StoreOptions;

use crate::{Bench, LEASES, next};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_forgotten_version_is_told_so() {
    let bench = Bench::new();
    let old = bench.lease("a");
    bench.lease("b");
    bench.cluster.store().compact();
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true&resourceVersion={old}")).await.unwrap();
    assert_eq!(watch.code(), 200, "the real server says it inside the stream");
    let event = next(&mut watch).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&"ERROR".into(), &410.into()), "{event}");
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_watch_survives_compaction() {
    let bench = Bench::new();
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    bench.lease("a");
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
    // The watch has caught up, or is about to: either way a bookmark-free watcher must not see the compaction.
    bench.lease("b");
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
    bench.cluster.store().compact();
    bench.lease("c");
    let event = next(&mut watch).await.unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "c", "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_carry_the_version_on() {
    let bench =
        Bench::with(StoreOptions { bookmark_every: Duration::from_millis(50), ..StoreOptions::default() });
    let path = format!("{LEASES}?watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone");
    let mut watch = bench.client.watch(&path).await.unwrap();
    let version: u64 = bench.lease("a").parse().unwrap();
    loop {
        let event = next(&mut watch).await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["kind"]),
            (&"BOOKMARK".into(), &"Lease".into()),
            "{event}"
        );
        let seen: u64 = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        if seen == version {
            break;
        }
        assert!(seen < version, "a bookmark of the future: {event}");
    }
    let mut silent = bench
        .client
        .watch(&format!("{LEASES}?watch=true&timeoutSeconds=1&resourceVersion={version}"))
        .await
        .unwrap();
    assert_eq!(next(&mut silent).await, None, "no bookmark unless it is allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_can_be_streamed() {
    let bench = Bench::new();
    bench.lease("a");
    let query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true";
    let mut watch =
        bench.client.watch(&format!("{LEASES}?{query}&resourceVersionMatch=NotOlderThan")).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
    let end = next(&mut watch).await.unwrap();
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{end}");
    let refused = bench.client.get(&format!("{LEASES}?{query}")).await.unwrap();
    assert_eq!(refused.code, 422);
}
