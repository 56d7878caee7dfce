//! One connection pool to one API server, with TCP set so that a black hole is noticed within seconds.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::answer::{Answer, ErrorClass, Trouble};
use crate::credentials::chain;
use crate::lookup::Lookup;

/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(1);
/// An idle connection is probed after this long, and then this often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 2;
/// Data or keep-alive probes that nobody acknowledges for this long end the connection (tcp(7), TCP_USER_TIMEOUT).
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// A pooled connection that was not used for this long is closed.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// A request as it goes out: its body is complete.
pub(crate) type Outgoing = Request<Full<Bytes>>;
/// The stack of layers over one pool.
pub(crate) type Service = BoxCloneSyncService<Outgoing, Response<Incoming>, BoxError>;

/// Builds the pool itself, without credentials.
pub(crate) fn pool(
    tls: rustls::ClientConfig,
    server_name: Option<rustls::pki_types::ServerName<'static>>,
    lookup: Lookup,
) -> Client<hyper_rustls::HttpsConnector<HttpConnector<Lookup>>, Full<Bytes>> {
    let mut tcp = HttpConnector::new_with_resolver(lookup);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let mut tls = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = server_name {
        tls = tls.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(2)
        .build(tls.enable_http1().wrap_connector(tcp))
}

/// Sends one request; the answer's body is still to be read.
pub(crate) async fn send(service: Service, request: Outgoing) -> Answer<Response<Incoming>> {
    match service.oneshot(request).await {
        Ok(response) => Answer::Success(response),
        Err(error) => classify(&error),
    }
}

/// Whether a request that failed may have reached the server.
fn classify<T>(error: &BoxError) -> Answer<T> {
    let text = chain(error.as_ref());
    match error.downcast_ref::<hyper_util::client::legacy::Error>() {
        Some(error) if !error.is_connect() => Answer::unknown(ErrorClass::Broken, text),
        Some(_) => Answer::Refused(Trouble::new(ErrorClass::Connect, text)),
        // No credentials to put into the request: an error of the layer before the pool.
        None => Answer::Refused(Trouble::new(ErrorClass::Access, text)),
    }
}
