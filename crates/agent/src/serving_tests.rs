//! The admin API over a real Unix socket, and health over real TCP.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::time::Moment;
use mainstay_dataplane::counters::Counters;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admin::client::{AskError, ask};
use crate::admin::reply::{API_VERSION, Configuration, Explanation, Health, Reply, Status, Version};
use crate::admin::server;
use crate::config::{Effective, Origin};
use crate::driver::{COMMAND_QUEUE, Command, Report};
use crate::insight::{ApiView, Facts, Insight, LoopView};
use crate::label::LabelView;
use crate::metrics::Observer;
use crate::names::NamesView;
use crate::service::ServiceView;
use crate::store::Tally;
use crate::supervise::Supervisor;
use crate::testing::{Scratch, claim_status};
use crate::vitals::Vitals;

fn clock() -> Moment {
    Moment::from_millis(100_000)
}

/// An agent without a loop: the receiver is its place.
fn insight() -> (Arc<Insight>, mpsc::Receiver<Command>) {
    let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
    let facts = Facts {
        node: "node-a".to_owned(),
        instance: "00000000000000ff".to_owned(),
        state_dir: PathBuf::from("/var/lib/mainstay"),
        started: Instant::now(),
    };
    let configuration = Configuration {
        settings: vec![Effective {
            setting: "bgp_peerpass".to_owned(),
            value: "(secret)".to_owned(),
            origin: Origin::Environment,
            written_as: Some("bgp_peerpass".to_owned()),
            verdict: "not yet".to_owned(),
            note: "BGP is not built yet".to_owned(),
        }],
        warnings: vec!["one".to_owned()],
    };
    let insight = Insight {
        facts,
        configuration,
        loops: vec![LoopView {
            role: crate::testing::control_plane(),
            commands,
            vitals: Arc::new(Vitals::default()),
            tally: Tally::default(),
        }],
        clock,
        observer: Arc::new(Observer::default()),
        supervisor: Supervisor::new(CancellationToken::new()),
        api: ApiView::default(),
        service: ServiceView::default(),
        label: LabelView::default(),
        names: NamesView::default(),
        services: crate::services::View::default(),
        balancer: crate::balancer::BalancerView::default(),
        arp: crate::strict_arp::ArpView::default(),
    };
    (Arc::new(insight), receiver)
}

/// Answers as a loop does.
async fn answering(mut commands: mpsc::Receiver<Command>, link_up: bool) {
    while let Some(Command::Report(reply)) = commands.recv().await {
        let (status, counters) = (claim_status(), Counters::default());
        let _ = reply.send(Report {
            seats: Vec::new(),
            now: clock(),
            status,
            counters,
            link_up,
            address_failure: None,
            refused: Default::default(),
        });
    }
}

async fn connected(socket: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(socket).await.is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {}", socket.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn status_comes_over_a_socket_that_only_its_owner_may_open() {
    let scratch = Scratch::new("admin");
    let socket = scratch.path().join("run/agent.sock");
    let (insight, commands) = insight();
    let (at, seen) = (socket.clone(), Arc::clone(&insight));
    let serving = tokio::spawn(async move { server::run(&at, seen).await });
    tokio::spawn(answering(commands, true));
    connected(&socket).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let status: Reply<Status> = ask(&socket, "/v1/status").await.unwrap();
    assert_eq!((status.api_version.as_str(), status.kind.as_str()), (API_VERSION, "Status"));
    let claim = &status.body.claims[0];
    assert_eq!((claim.claim.as_str(), claim.tenure.as_deref()), ("control-plane", Some("detached")));
    assert_eq!((claim.epoch, claim.since_seconds), (7, 12.0));
    assert!(status.body.not_ready.is_empty());
    let explained: Reply<Explanation> = ask(&socket, "/v1/explain?about=control%2Dplane").await.unwrap();
    assert!(explained.body.conclusion.contains("holds it"), "{explained:?}");
    for (about, answer) in [("shop%2Fa", "holds no Services"), ("10.0.0.1", "knows no 10.0.0.1")] {
        let path = format!("/v1/explain?about={about}");
        let refused = ask::<Explanation>(&socket, &path).await.unwrap_err().to_string();
        assert!(refused.contains(answer), "{about}: {refused}");
    }
    let health: Reply<Health> = ask(&socket, "/v1/health").await.unwrap();
    assert_eq!(health.body, Health { not_live: vec![], not_ready: vec![] });
    let config: Reply<Configuration> = ask(&socket, "/v1/config").await.unwrap();
    assert_eq!((config.kind.as_str(), &config.body), ("Configuration", &insight.configuration));
    let version: Reply<Version> = ask(&socket, "/v1/version").await.unwrap();
    assert_eq!(version.body, Version::this());
    let refused = ask::<Status>(&socket, "/v1/nothing").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no /v1/nothing: ask /v1/status, /v1/explain, /v1/config, /v1/health or /v1/version"
    );
    serving.abort();
}

#[tokio::test]
async fn a_loop_that_stands_still_is_said_to() {
    let scratch = Scratch::new("admin");
    let socket = scratch.path().join("agent.sock");
    let (insight, _commands) = insight();
    insight.loops[0].vitals.turned(Moment::from_millis(92_000));
    let (at, seen) = (socket.clone(), Arc::clone(&insight));
    tokio::spawn(async move { server::run(&at, seen).await });
    connected(&socket).await;
    let refused = ask::<Status>(&socket, "/v1/status").await.unwrap_err();
    assert_eq!(refused.to_string(), "the loop has not answered within 2 s; it turned last 8.0 s ago");
}

#[tokio::test]
async fn a_stale_socket_is_taken_over_and_a_living_one_is_not() {
    let scratch = Scratch::new("admin");
    let socket = scratch.path().join("agent.sock");
    let first = server::bind(&socket).await.unwrap();
    let error = format!("{:#}", server::bind(&socket).await.unwrap_err());
    assert!(error.contains("another agent answers there"), "{error}");
    drop(first);
    assert!(socket.exists());
    server::bind(&socket).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("its directory").flatten().collect();
    assert_eq!(left.len(), 1, "the socket and nothing else: {left:?}");
}

#[tokio::test]
async fn what_may_be_somebodys_is_not_taken() {
    let scratch = Scratch::new("admin");
    let path = scratch.path().join("agent.sock");
    // Another program's socket: connecting fails, and not because nobody listens.
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let error = format!("{:#}", server::bind(&path).await.expect_err("it lives"));
    assert!(error.contains("cannot be told") && error.contains("agent.sock"), "{error}");
    drop(datagrams);
    std::fs::remove_file(&path).expect("it was left alone");
    std::fs::write(&path, "precious").expect("a file");
    let error = format!("{:#}", server::bind(&path).await.expect_err("it is no socket"));
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("it was left alone"), "precious");
}

/// Looks at the file from another thread as fast as it can, from before it is there.
#[tokio::test]
async fn there_is_no_moment_at_which_others_could_open_the_socket() {
    let scratch = Scratch::new("admin");
    let path = scratch.path().join("agent.sock");
    let stop = CancellationToken::new();
    let (seen, watched, asked) = (path.clone(), scratch.path().to_owned(), stop.clone());
    let watcher = std::thread::spawn(move || {
        let mut modes = std::collections::BTreeSet::new();
        while !asked.is_cancelled() {
            let files = std::fs::read_dir(&watched).expect("its directory").flatten();
            let reachable = files.map(|file| file.path()).chain([seen.clone()]);
            modes.extend(
                reachable.filter_map(|file| Some(file.metadata().ok()?.permissions().mode() & 0o777)),
            );
        }
        modes
    });
    for _ in 0..200 {
        drop(server::bind(&path).await.expect("bound"));
    }
    stop.cancel();
    let modes = watcher.join().expect("it does not panic");
    assert!(modes.iter().all(|mode| mode & 0o077 == 0), "{modes:?}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_socket_and_the_remedy() {
    let error = ask::<Status>(Path::new("/nonexistent/agent.sock"), "/v1/status").await.unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }));
    assert!(error.to_string().contains("/nonexistent/agent.sock"), "{error}");
}

async fn get(listener: &std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(listener).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_fails_with_a_reason_when_the_loop_stalls_and_readiness_when_the_link_is_down() {
    let (insight, commands) = insight();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::http::serve(listener, crate::probes::router(Arc::clone(&insight))));
    tokio::spawn(answering(commands, false));

    insight.loops[0].vitals.turned(Moment::from_millis(99_500));
    let healthy = get(&address, "/healthz").await;
    assert!(healthy.starts_with("HTTP/1.1 200") && healthy.ends_with("ok\n"), "{healthy}");
    let down = get(&address, "/readyz").await;
    assert!(down.starts_with("HTTP/1.1 503"), "{down}");
    assert!(down.ends_with("the link of the VIP's interface is down\n"), "{down}");

    insight.loops[0].vitals.turned(Moment::from_millis(94_000));
    let stalled = get(&address, "/healthz").await;
    assert!(stalled.starts_with("HTTP/1.1 503"), "{stalled}");
    assert!(stalled.ends_with("the loop has not turned for 6.0 s\n"), "{stalled}");

    let metrics = get(&address, "/metrics").await;
    assert!(
        metrics.contains(r#"mainstay_link_up{claim="control-plane"} 0"#) && metrics.contains("# EOF"),
        "{metrics}"
    );
}

#[test]
fn the_readiness_text_names_the_api_servers_that_fail_and_no_others() {
    let failing = crate::testing::api_server(Some((mainstay_kube::ErrorClass::Timeout, 7)));
    let untried = mainstay_kube::ServerStatus {
        state: mainstay_kube::ServerState::Untried,
        ..crate::testing::api_server(None)
    };
    let remarks = crate::insight::remarks(
        &[crate::testing::api_server(None), failing, untried],
        Some("no credentials"),
    );
    assert_eq!(
        remarks,
        [
            "note: the API server https://10.0.0.1:6443 (configured) answered 0 s ago, 7 failures in a row, \
             timeout: no luck",
            "note: no access to the API servers: no credentials",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_in_a_crash_loop_fails_health_by_name() {
    let (insight, _commands) = insight();
    let keep = insight.supervisor.clone().keep("lease", 1, || async { anyhow::bail!("no luck") });
    let looping = tokio::time::timeout(Duration::from_secs(200), keep).await;
    assert!(looping.is_err(), "it is kept for ever");
    let reasons = insight.not_live();
    assert!(
        reasons[0].starts_with("the task lease failed ") && reasons[0].ends_with(": no luck"),
        "{reasons:?}"
    );
}
