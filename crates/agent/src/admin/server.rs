//! The admin API's server.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
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
        .route("/v1/explain", get(explain))
        .route("/v1/config", get(config))
        .route("/v1/health", get(health))
        .route("/v1/version", get(async || answer(Version::this())))
        .fallback(absent)
        .with_state(insight)
}

/// Takes the socket. One that a dead agent left is replaced; whatever may be somebody's is not ours to take.
pub(crate) async fn bind(socket: &Path) -> anyhow::Result<UnixListener> {
    let named = || format!("MAINSTAY_ADMIN_SOCKET={}", socket.display());
    let parent = socket.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).with_context(|| format!("{}: its directory cannot be made", named()))?;
    ensure_free(socket).await.with_context(named)?;
    // Bound where nobody else can reach it, and moved when its mode is right; that also replaces a stale one at once.
    let private = Private::make(parent).with_context(|| format!("{}: no private directory", named()))?;
    let listener =
        UnixListener::bind(private.socket()).with_context(|| format!("{}: cannot listen", named()))?;
    std::fs::set_permissions(private.socket(), Permissions::from_mode(0o600))
        .with_context(|| format!("{}: cannot be kept to its owner", named()))?;
    std::fs::rename(private.socket(), socket).with_context(|| format!("{}: cannot be put there", named()))?;
    Ok(listener)
}

/// Nobody listens there: nothing is there, or a socket that refuses.
async fn ensure_free(socket: &Path) -> anyhow::Result<()> {
    let file = match std::fs::symlink_metadata(socket) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot be looked at"),
    };
    anyhow::ensure!(file.file_type().is_socket(), "a file that is no socket is there; name another path");
    match UnixStream::connect(socket).await {
        Ok(_) => anyhow::bail!("another agent answers there; give each its own socket"),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
        Err(error) => {
            Err(error).context("whether another agent listens there cannot be told; remove it if none does")
        }
    }
}

/// A directory that only its owner can enter, removed with what is left in it.
struct Private(PathBuf);

impl Private {
    fn make(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!(".{}", std::process::id()));
        // One that a dead agent of this process id left.
        let _ = std::fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn status(State(insight): State<Arc<Insight>>) -> Response {
    match insight.full_reports().await.status(&insight) {
        Some(status) => answer(status),
        None => fail(StatusCode::SERVICE_UNAVAILABLE, insight.silence()),
    }
}

/// `?about=` a claim, an address, an API server behind the VIP, or a Service.
async fn explain(State(insight): State<Arc<Insight>>, Query(asked): Query<Asked>) -> Response {
    let explained = match asked.about.parse() {
        Ok(service) => insight.services.explain(service).await,
        Err(_) => match insight.full_reports().await.status(&insight) {
            Some(status) => crate::explain::explain(&status, &asked.about),
            None => Err(insight.silence()),
        },
    };
    explained.map_or_else(|why| fail(StatusCode::NOT_FOUND, why), answer)
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    about: String,
}

async fn config(State(insight): State<Arc<Insight>>) -> Response {
    answer(insight.configuration.clone())
}

async fn health(State(insight): State<Arc<Insight>>) -> Response {
    let reports = insight.reports().await;
    answer(Health { not_live: insight.not_live(), not_ready: insight.not_ready(&reports) })
}

async fn absent(uri: Uri) -> Response {
    let message = format!(
        "there is no {}: ask /v1/status, /v1/explain, /v1/config, /v1/health or /v1/version",
        uri.path()
    );
    fail(StatusCode::NOT_FOUND, message)
}

fn answer<T: Body + Serialize>(body: T) -> Response {
    Json(Reply::from(body)).into_response()
}

fn fail(code: StatusCode, message: String) -> Response {
    (code, Json(Reply::from(Failure { message }))).into_response()
}
