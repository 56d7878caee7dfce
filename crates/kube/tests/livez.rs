//! The liveness check against servers that answer, refuse, fail and hang, over real TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_kube::Liveness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LONGEST: Duration = Duration::from_millis(300);

/// Answers every request with this status, or never where there is none; counts connections.
async fn serve(status: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/livez", listener.local_addr().expect("bound"));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer(stream, status));
        }
    });
    (url, connections)
}

async fn answer(mut stream: TcpStream, status: Option<&'static str>) {
    let mut request = [0; 4096];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let Some(status) = status else { return std::future::pending().await };
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn whoever_answers_below_500_lives() {
    for (status, lives) in [
        ("200 OK", true),
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("429 Too Many Requests", true),
        ("500 Internal Server Error", false),
        ("503 Service Unavailable", false),
    ] {
        let (url, _) = serve(Some(status)).await;
        let check = Liveness::new(&url, None, LONGEST).expect("a URL");
        let answer = check.check().await;
        assert_eq!(answer.is_ok(), lives, "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn whoever_hangs_or_refuses_does_not_live() {
    let (url, _) = serve(None).await;
    let check = Liveness::new(&url, None, LONGEST).expect("a URL");
    assert_eq!(check.check().await, Err("no answer within 300 ms".to_owned()));
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let check = Liveness::new(&format!("https://{nobody}/livez"), None, LONGEST).expect("a URL");
    let refused = check.check().await.expect_err("nobody listens");
    assert!(refused.contains("refused"), "{refused}");
}

/// kube-vip leaked the body of every answer, and with it a connection (issue 1778).
#[tokio::test]
async fn one_connection_serves_for_many_checks() {
    let (url, connections) = serve(Some("200 OK")).await;
    let check = Liveness::new(&url, None, LONGEST).expect("a URL");
    for _ in 0..20 {
        check.check().await.expect("it lives");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn what_cannot_be_checked_is_said_in_one_line() {
    let said = |address: &str, authority: Option<&str>| {
        let check = Liveness::new(address, authority.map(Into::into), LONGEST);
        check.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(
        said("localhost", None),
        "control_plane_health_check_address=localhost: it has no scheme or no host; write a URL such as \
         https://127.0.0.1:6443/livez"
    );
    let missing = said("https://127.0.0.1:6443/livez", Some("/nonexistent/ca.crt"));
    assert!(missing.starts_with("control_plane_health_check_ca_path=/nonexistent/ca.crt: "), "{missing}");
    let empty = said("https://127.0.0.1:6443/livez", Some("/dev/null"));
    assert!(empty.contains("it has no certificate"), "{empty}");
}
