//! Each fault, on new and on open connections, and its end.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mainstay_lab::apiserver::client::ClientError;
use mainstay_lab::apiserver::{Fault, FrontEndHandle, Reads, Reply, Verb};
use tokio::time::timeout;

use crate::{A_WHILE, Bench, LEASES, SOON, client, lease, loopback, next};

/// Whether the kernel refuses connections to the front end.
async fn is_refused(front: &FrontEndHandle) -> bool {
    match timeout(SOON, tokio::net::TcpStream::connect(front.address()))
        .await
        .expect("an answer from the kernel")
    {
        Ok(_) => false,
        Err(wrong) => wrong.kind() == ErrorKind::ConnectionRefused,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuse_refuses_new_and_resets_open_connections() {
    let bench = Bench::new();
    for round in 0..3 {
        let mut open = bench.client.connect().await.unwrap();
        assert_eq!(open.send("GET", LEASES, None).await.unwrap().code, 200);
        let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
        bench.front.inject(Fault::Refuse);
        assert!(is_refused(&bench.front).await, "round {round}");
        assert!(timeout(SOON, watch.next()).await.expect("the watch breaks").is_err(), "round {round}");
        let lost = timeout(SOON, open.send("GET", LEASES, None)).await.expect("the connection breaks");
        assert!(matches!(lost, Err(ClientError::Lost(_))), "round {round}");
        bench.front.heal();
        assert_eq!(bench.client.get(LEASES).await.unwrap().code, 200, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hang_reads_and_never_answers() {
    let bench = Bench::new();
    let mut open = bench.client.connect().await.unwrap();
    assert_eq!(open.send("GET", LEASES, None).await.unwrap().code, 200);
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    bench.front.inject(Fault::Hang);
    let hung = open.send("GET", LEASES, None);
    tokio::pin!(hung);
    assert!(timeout(A_WHILE, &mut hung).await.is_err(), "an open connection hangs");
    assert!(timeout(A_WHILE, bench.client.get("/healthz")).await.is_err(), "a new connection hangs");
    bench.lease("a");
    assert!(timeout(A_WHILE, watch.next()).await.is_err(), "the watch is silent");
    bench.front.heal();
    assert_eq!(timeout(SOON, hung).await.unwrap().unwrap().code, 200);
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn blackhole_reads_nothing() {
    let bench = Bench::new();
    let mut open = bench.client.connect().await.unwrap();
    assert_eq!(open.send("GET", LEASES, None).await.unwrap().code, 200);
    bench.front.inject(Fault::Blackhole);
    let lost = open.send("GET", LEASES, None);
    tokio::pin!(lost);
    assert!(timeout(A_WHILE, &mut lost).await.is_err(), "an open connection is silent");
    assert!(timeout(A_WHILE, bench.client.connect()).await.is_err(), "no TLS handshake ends");
    bench.front.inject(Fault::Refuse);
    assert!(is_refused(&bench.front).await, "one fault follows another");
    bench.front.inject(Fault::Blackhole);
    assert!(timeout(A_WHILE, bench.client.connect()).await.is_err());
    bench.front.heal();
    assert_eq!(timeout(SOON, bench.client.get(LEASES)).await.unwrap().unwrap().code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_comes_at_its_rate_and_on_open_connections() {
    let bench = Bench::new();
    let mut open = bench.client.connect().await.unwrap();
    bench.front.inject(Fault::Status {
        code: 503,
        rate: 0.5,
        retry_after: Some(Duration::from_millis(1500)),
    });
    let mut refused = 0;
    for _ in 0..10 {
        let answer = open.send("GET", LEASES, None).await.unwrap();
        if answer.code == 503 {
            refused += 1;
            assert_eq!(answer.headers["retry-after"], "2");
            assert_eq!(answer.body["reason"], "ServiceUnavailable");
            assert_eq!(answer.body["details"]["retryAfterSeconds"], 2);
        }
    }
    assert_eq!(refused, 5);
    bench.front.inject(Fault::Status { code: 429, rate: 1.0, retry_after: None });
    assert_eq!(open.send("GET", "/readyz", None).await.unwrap().code, 429);
    assert_eq!(bench.client.post(LEASES, &lease("a")).await.unwrap().code, 429);
    assert!(!bench.has("a"), "an injected status does no write");
    bench.front.heal();
    assert_eq!(open.send("GET", LEASES, None).await.unwrap().code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_a_write_that_was_done() {
    let bench = Bench::new();
    bench.front.inject(Fault::LoseReply { rate: 1.0 });
    let lost = bench.client.post(LEASES, &lease("a")).await.unwrap_err();
    assert!(matches!(lost, ClientError::Lost(_)), "{lost}");
    assert!(bench.has("a"));
    assert_eq!(bench.client.get(&format!("{LEASES}/a")).await.unwrap().code, 200, "reads are answered");
    let write = bench.front.account().writes().pop().unwrap();
    assert_eq!((write.reply, write.code, write.verb), (Reply::Lost, 201, Verb::Create));
    bench.front.heal();
    assert_eq!(bench.client.post(LEASES, &lease("b")).await.unwrap().code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_dropped_at_once() {
    let bench = Bench::new();
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    bench.front.drop_watches();
    assert_eq!(next(&mut watch).await, None);
    let mut again = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    bench.lease("a");
    assert_eq!(next(&mut again).await.unwrap()["type"], "ADDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_delayed() {
    let bench = Bench::new();
    let delay = Duration::from_millis(400);
    bench.front.inject(Fault::DelayWatches(delay));
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    let begun = Instant::now();
    bench.lease("a");
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
    assert!(begun.elapsed() >= delay, "after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_slowed() {
    let bench = Bench::new();
    let delay = Duration::from_millis(200);
    bench.front.inject(Fault::Slow(delay));
    let begun = Instant::now();
    assert_eq!(bench.client.get(LEASES).await.unwrap().code, 200);
    assert!(begun.elapsed() >= delay, "after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_writes_wait_and_reads_do_by_option() {
    let bench = Bench::new();
    let store = bench.cluster.store();
    store.stall_writes(Reads::Answered);
    let body = lease("a");
    let write = bench.client.post(LEASES, &body);
    tokio::pin!(write);
    assert!(timeout(A_WHILE, &mut write).await.is_err(), "the write waits");
    assert!(!bench.has("a"));
    assert_eq!(bench.client.get(LEASES).await.unwrap().code, 200);
    store.stall_writes(Reads::Stalled);
    assert!(timeout(A_WHILE, bench.client.get(LEASES)).await.is_err(), "a quorum read waits");
    assert_eq!(bench.client.get(&format!("{LEASES}?resourceVersion=0")).await.unwrap().code, 200);
    store.release_writes();
    assert_eq!(timeout(SOON, write).await.unwrap().unwrap().code, 201);
    let begun = Instant::now();
    store.stall_writes_for(A_WHILE, Reads::Answered);
    assert_eq!(timeout(SOON, bench.client.post(LEASES, &lease("b"))).await.unwrap().unwrap().code, 201);
    assert!(begun.elapsed() >= A_WHILE, "after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_given_up_in_a_stall_is_not_done() {
    let bench = Bench::new();
    bench.cluster.store().stall_writes(Reads::Answered);
    assert!(timeout(A_WHILE, bench.client.post(LEASES, &lease("a"))).await.is_err());
    let left = async {
        while bench.front.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, left).await.expect("the server notices that its client left");
    bench.cluster.store().release_writes();
    assert_eq!(bench.client.post(LEASES, &lease("b")).await.unwrap().code, 201);
    assert!(!bench.has("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rule_is_forbidden() {
    let bench = Bench::new();
    bench.front.inject(Fault::Deny { verb: Some(Verb::Create), resource: Some("leases".to_owned()) });
    let refusal = bench.client.post(LEASES, &lease("a")).await.unwrap();
    assert_eq!((refusal.code, &refusal.body["reason"]), (403, &"Forbidden".into()));
    assert_eq!(bench.client.get(LEASES).await.unwrap().code, 200);
    bench.front.heal();
    assert_eq!(bench.client.post(LEASES, &lease("a")).await.unwrap().code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_checked_and_rotate() {
    let bench = Bench::new();
    let anonymous = bench.client.clone().with_token(None);
    let refusal = anonymous.get(LEASES).await.unwrap();
    assert_eq!((refusal.code, &refusal.body["reason"]), (403, &"Forbidden".into()));
    assert!(refusal.body["message"].as_str().unwrap().contains("system:anonymous"), "{}", refusal.body);
    assert_eq!(anonymous.get("/readyz").await.unwrap().code, 200);
    bench.cluster.access().set_tokens(vec!["new".to_owned()]);
    assert_eq!(bench.client.get(LEASES).await.unwrap().code, 401);
    assert_eq!(bench.client.clone().with_token(Some("new")).get(LEASES).await.unwrap().code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn front_ends_share_the_store_and_not_the_faults() {
    let bench = Bench::new();
    let second = bench.cluster.serve_https("two", loopback(), &[]).unwrap();
    let other = client(&bench.cluster, &second);
    let mut watch = other.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    assert_eq!(bench.client.post(LEASES, &lease("a")).await.unwrap().code, 201);
    assert_eq!(next(&mut watch).await.unwrap()["object"]["metadata"]["name"], "a");
    bench.front.inject(Fault::Refuse);
    assert!(is_refused(&bench.front).await);
    assert_eq!(other.get(LEASES).await.unwrap().code, 200);
    assert_eq!(bench.front.account().count(Verb::Create, "leases"), 1);
    assert_eq!(second.account().count(Verb::Create, "leases"), 0);
    assert_eq!(bench.cluster.store().account().count(Verb::Create, "leases"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_and_writes_logged() {
    let bench = Bench::new();
    let named = bench.client.clone().named("agent-1/0.1");
    assert_eq!(named.post(LEASES, &lease("a")).await.unwrap().code, 201);
    assert_eq!(named.post(LEASES, &lease("a")).await.unwrap().code, 409);
    assert_eq!(named.get(&format!("{LEASES}/a")).await.unwrap().code, 200);
    let _watch = named.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    let account = bench.front.account();
    assert_eq!((account.reads("leases"), account.count(Verb::Watch, "leases")), (1, 1));
    let writes = account.writes();
    let shown: Vec<_> =
        writes.iter().map(|write| (write.who.as_str(), write.name.as_str(), write.code)).collect();
    assert_eq!(shown, [("agent-1/0.1", "a", 201), ("agent-1/0.1", "", 409)]);
    assert_eq!(writes[0].holder_identity.as_deref(), Some("n1"));
    assert!(account.writes_per_second("leases", Duration::from_secs(100)) > 0.0);
    account.reset();
    assert!(account.counts().is_empty() && account.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_with_the_handle() {
    let bench = Bench::new();
    let address = bench.front.address();
    let mut watch = bench.client.watch(&format!("{LEASES}?watch=true")).await.unwrap();
    timeout(SOON, bench.front.shutdown()).await.expect("the front end ends");
    assert!(!matches!(timeout(SOON, watch.next()).await.expect("the watch ends"), Ok(Some(_))));
    let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
