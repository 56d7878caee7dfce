//! Small API servers on loopback, below the real thing: one store, several front ends, faults on command.
#![expect(clippy::unwrap_used, reason = "a double that fails should fail the test")]
#![expect(dead_code, reason = "each test file uses a part of this")]
#![expect(unreachable_pub, reason = "shared by test files, each of which is a crate")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

mod answer;
mod rig;
mod store;

pub use rig::*;
pub use store::Store;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a front end does with requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Answers.
    Serve,
    /// Takes requests and never answers.
    Hang,
    /// Answers with this status and, if given, Retry-After.
    Status(u16, Option<u32>),
    /// Does what is asked and closes the connection instead of answering.
    LoseReply,
}

/// One front end.
pub struct Double {
    pub url: String,
    pub store: Arc<Mutex<Store>>,
    mode: Arc<Mutex<Mode>>,
    task: tokio::task::JoinHandle<()>,
    cut: CancellationToken,
    number: usize,
}

impl Double {
    pub async fn start() -> Self {
        Self::front(Arc::default(), 0).await
    }

    /// Another front end on the same store.
    pub async fn beside(&self) -> Self {
        Self::front(Arc::clone(&self.store), self.number + 1).await
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Refuses connections from now on, and breaks those that are open.
    pub fn stop(&self) {
        self.cut.cancel();
        self.task.abort();
    }

    async fn front(store: Arc<Mutex<Store>>, number: usize) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), store, number).await
    }

    /// A front end at an address that was in use before.
    pub async fn listen(address: SocketAddr, store: Arc<Mutex<Store>>, number: usize) -> Self {
        Self::listen_with(address, store, number, None).await
    }

    /// A front end of its own that speaks TLS.
    pub async fn secure(tls: TlsAcceptor) -> Self {
        Self::listen_with("127.0.0.1:0".parse().unwrap(), Arc::default(), 0, Some(tls)).await
    }

    async fn listen_with(
        address: SocketAddr,
        store: Arc<Mutex<Store>>,
        number: usize,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        // `SO_REUSEADDR`: connections of the old socket may still be in TIME_WAIT.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (mode, cut) = (Arc::new(Mutex::new(Mode::Serve)), CancellationToken::new());
        let accept = accept(
            listener,
            tls,
            Front { store: Arc::clone(&store), mode: Arc::clone(&mode), number },
            cut.clone(),
        );
        Self { url, store, mode, task: tokio::spawn(accept), cut, number }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address at which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[derive(Clone)]
struct Front {
    store: Arc<Mutex<Store>>,
    mode: Arc<Mutex<Mode>>,
    number: usize,
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, front: Front, cut: CancellationToken) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, front, cut) = (tls.clone(), front.clone(), cut.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return serve(stream, front, cut).await };
            // A client that does not trust us ends the handshake.
            if let Ok(stream) = tls.accept(stream).await {
                let known = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                front.store.lock().unwrap().client_certificates += usize::from(known);
                serve(stream, front, cut).await;
            }
        });
    }
}

async fn serve<S>(stream: S, front: Front, cut: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = hyper::service::service_fn(|request| {
        let mode = front.mode.lock().unwrap().clone();
        answer::answer(Arc::clone(&front.store), mode, front.number, request)
    });
    let connection = hyper::server::conn::http1::Builder::new();
    tokio::select! {
        _ = connection.serve_connection(TokioIo::new(stream), service) => {}
        () = cut.cancelled() => {}
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
