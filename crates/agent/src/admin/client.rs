//! Asks a running agent through its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::reply::{Failure, Reply};

/// How long an agent may take to answer. It answers within 2 s even if its loop stands still.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens, or we may not.
    #[error("no agent answers on {socket}: {cause}; is it running (mainstay run), is this its socket (--socket), and are you root?", socket = .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The agent did not answer in time.
    #[error("the agent on {socket} has not answered within {} s; its log says more", DEADLINE.as_secs(), socket = .socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// The conversation broke off.
    #[error("the agent on {socket} broke off: {cause}", socket = .socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// Why.
        cause: String,
    },
    /// The agent says why it cannot answer.
    #[error("{0}")]
    Refused(String),
}

/// Asks the agent that listens on `socket` for `path`, such as `/v1/status`.
///
/// # Errors
/// [`AskError`], each with what to look at.
pub async fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<Reply<T>, AskError> {
    let silent = |_| AskError::Silent { socket: socket.to_owned() };
    let (status, body) = tokio::time::timeout(DEADLINE, fetch(socket, path)).await.map_err(silent)??;
    let broken =
        |error: serde_json::Error| AskError::Broken { socket: socket.to_owned(), cause: error.to_string() };
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(broken);
    }
    let failure: Reply<Failure> = serde_json::from_slice(&body).map_err(broken)?;
    Err(AskError::Refused(failure.body.message))
}

async fn fetch(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let connect = |cause| AskError::Connect { socket: socket.to_owned(), cause };
    let stream = UnixStream::connect(socket).await.map_err(connect)?;
    let broken = |cause: String| AskError::Broken { socket: socket.to_owned(), cause };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let request = Request::get(path)
        .header(http::header::HOST, "mainstay")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.to_string()))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection is kept open until the answer is here; how it ends then is of no interest.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    let exchanged = tokio::select! {
        exchanged = exchange => exchanged,
        () = driven => return Err(broken("it closed the connection".to_owned())),
    };
    exchanged.map_err(|error| broken(error.to_string()))
}
