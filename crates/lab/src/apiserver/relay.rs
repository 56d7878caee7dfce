//! Faults for a real API server: what passes them goes on to it, as it came, and its answer comes back.
//!
//! Whoever asks has the credentials that the real server knows. Watch events cannot be delayed here. One thing is done
//! for a real server older than Kubernetes 1.21, from which agents would not learn where the others are: EndpointSlices,
//! which it has as `v1beta1` only, are asked for by that name. What an agent reads in them is the same in both.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::unfold;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;

use super::client::{ApiClient, Connection};
use super::fault::Faults;
use super::front_end::{Front, Lost};
use super::gate;
use super::perform::BODY_LIMIT;
use super::reply::{Body, failure};
use super::request::Call;
use super::status::ApiStatus;

/// EndpointSlices as they are asked for, and as servers before Kubernetes 1.21 have them.
const SLICES: (&str, &str) = ("/apis/discovery.k8s.io/v1/", "/apis/discovery.k8s.io/v1beta1/");

/// Passes one request on.
///
/// # Errors
/// [`Lost`] when the other server cannot be reached or does not answer, or the reply is to be lost: the connection ends.
pub(super) async fn pass(
    front: &Arc<Front>,
    upstream: &ApiClient,
    (parts, body): (Parts, Incoming),
    call: Option<&Call>,
) -> Result<Response<Body>, Lost> {
    if let Err(refusal) = admit(front, call).await {
        return Ok(failure(&refusal));
    }
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Ok(failure(&ApiStatus::new(413, "RequestEntityTooLarge", "the body is too large")));
    };
    let (response, connection) = ask(upstream, forwarded(parts, upstream, body.to_bytes())).await?;
    if call.is_some_and(|call| call.verb.is_write()) && front.loses_reply() {
        return Err(Lost);
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.remove(CONNECTION);
    Ok(Response::from_parts(parts, Relayed::new(front, body, connection).into_body()))
}

/// # Errors
/// [`Lost`] when there is no answer.
async fn ask(
    upstream: &ApiClient,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection), Lost> {
    let older = older_name(request.uri()).map(|uri| {
        let mut older = request.clone();
        *older.uri_mut() = uri;
        older
    });
    let (response, connection) = ask_once(upstream, request).await?;
    match older {
        Some(older) if response.status() == StatusCode::NOT_FOUND => ask_once(upstream, older).await,
        _ => Ok((response, connection)),
    }
}

async fn ask_once(
    upstream: &ApiClient,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection), Lost> {
    let mut connection = upstream.connect().await.map_err(|_| Lost)?;
    let response = connection.forward(request).await.map_err(|_| Lost)?;
    Ok((response, connection))
}

/// The same of a server before Kubernetes 1.21, where that is another.
fn older_name(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query()?.as_str();
    let rest = path.strip_prefix(SLICES.0)?;
    format!("{}{rest}", SLICES.1).parse().ok()
}

/// # Errors
/// What the faults answer in the other server's place.
async fn admit(front: &Front, call: Option<&Call>) -> Result<(), ApiStatus> {
    let faults = gate::pass_faults(front, call).await?;
    let denied = call.is_some_and(|call| faults.denies(call.verb, call.resource.plural));
    if denied { Err(ApiStatus::new(403, "Forbidden", "denied on purpose")) } else { Ok(()) }
}

fn forwarded(mut parts: Parts, upstream: &ApiClient, body: Bytes) -> Request<Full<Bytes>> {
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.remove(CONNECTION);
    if let Ok(host) = HeaderValue::from_str(upstream.host()) {
        parts.headers.insert(HOST, host);
    }
    Request::from_parts(parts, Full::new(body))
}

/// An answer on its way. It ends where the other server ends it, or with an order to drop the watches.
struct Relayed {
    body: Incoming,
    faults: watch::Receiver<Faults>,
    drops: u64,
    _connection: Connection,
}

impl Relayed {
    fn new(front: &Front, body: Incoming, connection: Connection) -> Self {
        let faults = front.faults.subscribe();
        let drops = faults.borrow().watch_drops;
        Self { body, faults, drops, _connection: connection }
    }

    fn into_body(self) -> Body {
        let next = |mut relayed: Self| async move { relayed.next().await.map(|frame| (frame, relayed)) };
        StreamBody::new(unfold(self, next)).boxed_unsync()
    }

    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Lost>> {
        tokio::select! {
            frame = self.body.frame() => frame.map(|frame| frame.map_err(|_| Lost)),
            _ = self.faults.wait_for(|faults| faults.watch_drops != self.drops) => None,
        }
    }
}
