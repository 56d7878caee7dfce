//! A plain client for an API server, for tests and probes: one request at a time, nothing retried, nothing hidden.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not `http://ADDRESS` or `https://ADDRESS`.
    #[error("API server URL {url}: want http://ADDRESS:PORT or https://ADDRESS:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// The authority's certificate is no PEM, or TLS refuses it.
    #[error("certificate authority of {url} is not usable")]
    Authority {
        /// The API server.
        url: String,
    },
    /// No connection (refused, or TLS failed).
    #[error("cannot connect to {url}")]
    Connect {
        /// The API server.
        url: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The connection ended before the answer.
    #[error("the connection ended before the answer")]
    Lost(#[from] hyper::Error),
    /// The request could not be built.
    #[error("cannot build the request")]
    Request(#[from] http::Error),
    /// The answer is not JSON.
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
}

/// An answer of any code.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The JSON body; text bodies (health) come as a JSON string.
    pub body: Value,
}

/// Where an API server is and how to prove oneself.
#[derive(Clone)]
pub struct ApiClient {
    url: String,
    host: String,
    tls: Option<TlsConnector>,
    token: Option<String>,
    agent: String,
    accept: Option<String>,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ApiClient({})", self.url)
    }
}

impl ApiClient {
    /// A client for `url` (`https` needs the authority's certificate, PEM).
    ///
    /// # Errors
    /// For another URL, or an unusable certificate.
    pub fn new(url: &str, authority_pem: Option<&str>, token: Option<&str>) -> Result<Self, ClientError> {
        let bad_url = || ClientError::Url { url: url.to_owned() };
        let (scheme, host) = url.split_once("://").ok_or_else(bad_url)?;
        let tls = match scheme {
            "http" => None,
            "https" => Some(connector(url, authority_pem.unwrap_or_default())?),
            _ => return Err(bad_url()),
        };
        let host = host.trim_end_matches('/').to_owned();
        let token = token.map(str::to_owned);
        Ok(Self { url: url.to_owned(), host, tls, token, agent: "mainstay-lab".to_owned(), accept: None })
    }

    /// The same with another `User-Agent`.
    #[must_use]
    pub fn named(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }

    /// The same, asking for another form of the answer (a table).
    #[must_use]
    pub fn accepting(mut self, media: &str) -> Self {
        self.accept = Some(media.to_owned());
        self
    }

    /// The same with another bearer token.
    #[must_use]
    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    /// What a request's `Host` says: the address and port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Opens a connection for several requests.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |source| ClientError::Connect { url: self.url.clone(), source };
        let stream = TcpStream::connect(&self.host).await.map_err(failed)?;
        let Some(tls) = &self.tls else { return self.shake(stream).await };
        let address = stream.peer_addr().map_err(failed)?.ip();
        let stream = tls.connect(ServerName::from(address), stream).await.map_err(failed)?;
        self.shake(stream).await
    }

    async fn shake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
    ) -> Result<Connection, ClientError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // How a connection ended shows in the requests on it.
            drop(connection.await);
        }));
        Ok(Connection { sender, client: self.clone(), _driver: driver })
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer, ClientError> {
        self.connect().await?.send(method, path, body).await
    }

    /// GET.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send("GET", path, None).await
    }

    /// POST of a JSON object.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send("POST", path, Some(("application/json", body))).await
    }

    /// PUT of a JSON object.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send("PUT", path, Some(("application/json", body))).await
    }

    /// Merge patch.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Answer, ClientError> {
        self.send("PATCH", path, Some(("application/merge-patch+json", patch))).await
    }

    /// DELETE, with delete options.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Answer, ClientError> {
        self.send("DELETE", path, Some(("application/json", options))).await
    }

    /// Begins a watch on a connection of its own; `path` carries the query with `watch=true`.
    ///
    /// # Errors
    /// When no answer comes, or it is not 200.
    pub async fn watch(&self, path: &str) -> Result<Watching, ClientError> {
        let mut connection = self.connect().await?;
        let response = connection.request("GET", path, None).await?;
        let code = response.status().as_u16();
        Ok(Watching { code, body: response.into_body(), buffer: BytesMut::new(), _connection: connection })
    }
}

fn connector(url: &str, authority_pem: &str) -> Result<TlsConnector, ClientError> {
    let unusable = || ClientError::Authority { url: url.to_owned() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| unusable())?;
        roots.add(certificate).map_err(|_| unusable())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|_| unusable())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// An open connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    client: ApiClient,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// One request on this connection.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer, ClientError> {
        let response = self.request(method, path, body).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let json = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
        let body =
            if json { serde_json::from_slice(&bytes)? } else { String::from_utf8_lossy(&bytes).into() };
        Ok(Answer { code: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// A request that another made.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub(super) async fn forward(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(http::Error::from)?;
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, &self.client.host).header(USER_AGENT, &self.client.agent);
        if let Some(media) = &self.client.accept {
            request = request.header(ACCEPT, media);
        }
        if let Some(token) = &self.client.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let content = match body {
            Some((media, value)) => {
                request = request.header(CONTENT_TYPE, media);
                Bytes::from(value.to_string())
            }
            None => Bytes::new(),
        };
        self.forward(request.body(Full::new(content))?).await
    }
}

/// A running watch.
pub struct Watching {
    code: u16,
    body: Incoming,
    buffer: BytesMut,
    _connection: Connection,
}

impl Watching {
    /// The code the watch was answered with.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The next event; nothing once the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks or the line is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => {
                    frame.data_ref().into_iter().for_each(|data| self.buffer.extend_from_slice(data))
                }
                None => return Ok(None),
            }
        }
    }
}
