//! An HTTP server that a careless client cannot wear out: few connections at a time, and none that never asks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at a time. Policy for more: they wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// How long a client may take to ask, and an idle connection stays open.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may last in all, a client that does not read included.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// What connections come from.
pub(crate) trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    async fn accept(&self) -> io::Result<Self::Stream>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves `router` until accepting fails, or the task is dropped.
pub(crate) async fn serve(listener: impl Accept, router: Router) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("the server was closed")?;
        while connections.try_join_next().is_some() {}
        let stream = listener.accept().await.context("no connection can be accepted")?;
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ASK_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            // How a client leaves is its own business.
            let _ = tokio::time::timeout(CONNECTION_LIFE, connection).await;
            drop(place);
        });
    }
}
