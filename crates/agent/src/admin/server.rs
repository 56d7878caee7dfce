//! The admin API's server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};

use super::reply::{Body, Failure, Health, Reply, Version};
use crate::http::serve;
use crate::insight::Insight;

/// Serves until it fails; the supervisor tries again.
pub(crate) async fn run(socket: &Path, insight: Arc<Insight>) -> anyhow::Result<()> {
    let listener = bind(socket).await?;
    let _ours = SocketFile(socket);
    serve(listener, router(insight)).await
}

/// The socket that this agent made; it goes when nobody serves it any more.
struct SocketFile<'a>(&'a Path);

impl Drop for SocketFile<'_> {
    fn drop(&mut self) {
        // One that stays is taken over by the next agent.
        let _ = std::fs::remove_file(self.0);
    }
}

fn router(insight: Arc<Insight>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/health", get(health))
        .route("/v1/version", get(async || answer(Version::this())))
        .fallback(absent)
        .with_state(insight)
}

/// Takes the socket. One that a dead agent left is removed; one that answers is not ours to take.
pub(crate) async fn bind(socket: &Path) -> anyhow::Result<UnixListener> {
    let named = || format!("MAINSTAY_ADMIN_SOCKET={}", socket.display());
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("{}: its directory cannot be made", named()))?;
    }
    if socket.exists() {
        if UnixStream::connect(socket).await.is_ok() {
            anyhow::bail!("{}: another agent answers there; give each its own socket", named());
        }
        std::fs::remove_file(socket).with_context(|| format!("{}: the stale socket stays", named()))?;
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("{}: cannot listen", named()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{}: cannot be kept to its owner", named()))?;
    Ok(listener)
}

async fn status(State(insight): State<Arc<Insight>>) -> Response {
    match insight.report().await {
        Some(report) => answer(insight.status(&report)),
        None => fail(StatusCode::SERVICE_UNAVAILABLE, insight.silence()),
    }
}

async fn health(State(insight): State<Arc<Insight>>) -> Response {
    let report = insight.report().await;
    answer(Health { not_live: insight.not_live(), not_ready: insight.not_ready(report.as_ref()) })
}

async fn absent(uri: Uri) -> Response {
    let message = format!("there is no {}: ask /v1/status, /v1/health or /v1/version", uri.path());
    fail(StatusCode::NOT_FOUND, message)
}

fn answer<T: Body + Serialize>(body: T) -> Response {
    Json(Reply::from(body)).into_response()
}

fn fail(code: StatusCode, message: String) -> Response {
    (code, Json(Reply::from(Failure { message }))).into_response()
}
