//! One address at which the store is served: a listening socket, its connections, and its faults.
//!
//! The listening socket comes bound from the caller (who may have made it in a network namespace). It is kept for the
//! front end's whole life: to refuse, it is shut down, which takes it out of LISTEN so that the kernel itself answers
//! connection attempts with RST, and `listen` brings the same bound socket back.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::account::Account;
use super::client::ApiClient;
use super::fault::{Fault, Faults, Reach, Share};
use super::respond::respond;
use super::store::Store;
use super::user::UserInfo;

/// Connections the kernel keeps waiting for us to accept.
const BACKLOG: i32 = 1024;

/// The reply is not sent: the connection ends in its place.
#[derive(Debug, thiserror::Error)]
#[error("the reply is lost on purpose")]
pub(super) struct Lost;

/// Why a front end could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket could not be prepared.
    #[error("front end {name}: cannot prepare the listening socket")]
    Listen {
        /// The front end.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is no tokio runtime here.
    #[error("front end {name}: start it inside a tokio runtime")]
    NoRuntime {
        /// The front end.
        name: String,
    },
    /// The certificate could not be made.
    #[error("front end {name}: cannot make its certificate")]
    Certificate {
        /// The front end.
        name: String,
        /// The cause.
        #[source]
        source: super::tls::TlsError,
    },
}

/// What a front end's connections share.
pub(super) struct Front {
    pub(super) name: String,
    pub(super) store: Arc<Store>,
    pub(super) access: Arc<Access>,
    pub(super) account: Arc<Account>,
    /// Another server, which is asked in the store's place.
    pub(super) upstream: Option<ApiClient>,
    pub(super) faults: watch::Sender<Faults>,
    status_share: Mutex<Share>,
    lose_share: Mutex<Share>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Front {
    /// Whether this request is one of those that get the injected status.
    pub(super) fn picks_status(&self, rate: f64) -> bool {
        self.status_share.lock().unwrap_or_else(PoisonError::into_inner).takes(rate)
    }

    /// Whether this write is one of those whose reply is lost.
    pub(super) fn loses_reply(&self) -> bool {
        let rate = self.faults.borrow().lose_reply;
        rate > 0.0 && self.lose_share.lock().unwrap_or_else(PoisonError::into_inner).takes(rate)
    }
}

/// Starts front ends.
#[derive(Debug)]
pub struct FrontEnd;

impl FrontEnd {
    /// Serves `store`, or what `upstream` answers, on a bound listener, over TLS where a configuration is given. The name
    /// appears in the log of writes. It runs on the tokio runtime it is called in, until the handle is dropped.
    ///
    /// # Errors
    /// When there is no runtime, or the socket does not listen.
    pub fn serve(
        name: &str,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        (store, access): (&Arc<Store>, &Arc<Access>),
        upstream: Option<ApiClient>,
    ) -> Result<FrontEndHandle, ServeError> {
        let wrong = |source| ServeError::Listen { name: name.to_owned(), source };
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| ServeError::NoRuntime { name: name.to_owned() })?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let front = Arc::new(Front {
            name: name.to_owned(),
            store: Arc::clone(store),
            access: Arc::clone(access),
            account: Arc::default(),
            upstream,
            faults: watch::Sender::default(),
            status_share: Mutex::default(),
            lose_share: Mutex::default(),
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
        });
        let listener = Arc::new(listener);
        let acceptor =
            Acceptor { front: Arc::clone(&front), listener: Arc::clone(&listener), tls: tls.map(Into::into) };
        front.connections.spawn_on(acceptor.run(), &runtime);
        Ok(FrontEndHandle { front, listener, address, scheme })
    }
}

/// A running front end. Dropping it ends everything it runs.
pub struct FrontEndHandle {
    front: Arc<Front>,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    scheme: &'static str,
}

impl std::fmt::Debug for FrontEndHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "FrontEndHandle({} at {})", self.front.name, self.url())
    }
}

impl FrontEndHandle {
    /// Its name, as in the log of writes.
    pub fn name(&self) -> &str {
        &self.front.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What this front end was asked.
    pub fn account(&self) -> &Arc<Account> {
        &self.front.account
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        // The acceptor is one of the tasks, until it is told to stop.
        self.front.connections.len().saturating_sub(1)
    }

    /// Switches a fault on, for new and for open connections. See [`Fault`] for what adds up.
    pub fn inject(&self, fault: Fault) {
        self.switch(|faults| faults.inject(fault));
    }

    /// Switches every fault off. Watches that were dropped and connections that were reset stay so.
    pub fn heal(&self) {
        self.switch(Faults::heal);
    }

    /// Ends all running watches now, each as a watch ends that timed out; new ones are served.
    pub fn drop_watches(&self) {
        self.front.faults.send_modify(|faults| faults.watch_drops += 1);
    }

    /// The listening socket follows at once, so that a connect after this call meets the new state.
    fn switch(&self, change: impl FnOnce(&mut Faults)) {
        self.front.faults.send_modify(|faults| {
            let refused = faults.reach == Reach::Refused;
            change(faults);
            let listens = faults.reach != Reach::Refused;
            let done = match (refused, listens) {
                (false, false) => self.stop_listening(),
                (true, true) => SockRef::from(&*self.listener).listen(BACKLOG),
                _ => Ok(()),
            };
            if let Err(wrong) = done {
                tracing::error!(front_end = self.front.name, %wrong, "cannot switch the listening socket");
            }
        });
    }

    /// Takes the socket out of LISTEN, and keeps its port: Linux gives a port back that it chose itself, so the socket
    /// is bound again at once. A socket whose port was asked for is still bound, and says so (EINVAL).
    fn stop_listening(&self) -> io::Result<()> {
        let socket = SockRef::from(&*self.listener);
        socket.shutdown(std::net::Shutdown::Both)?;
        match socket.bind(&self.address.into()) {
            Err(wrong) if wrong.kind() != io::ErrorKind::InvalidInput => Err(wrong),
            _ => Ok(()),
        }
    }

    /// Ends the front end and waits until nothing of it runs.
    pub async fn shutdown(self) {
        self.front.stop.cancel();
        self.front.connections.close();
        self.front.connections.wait().await;
    }
}

impl Drop for FrontEndHandle {
    fn drop(&mut self) {
        self.front.stop.cancel();
        self.front.connections.close();
    }
}

/// Takes connections in.
struct Acceptor {
    front: Arc<Front>,
    listener: Arc<TcpListener>,
    tls: Option<TlsAcceptor>,
}

impl Acceptor {
    async fn run(self) {
        let stop = self.front.stop.clone();
        stop.run_until_cancelled(self.accept_for_ever()).await;
    }

    async fn accept_for_ever(&self) {
        let mut faults = self.front.faults.subscribe();
        loop {
            let (reach, openings) = {
                let now = faults.borrow_and_update();
                (now.reach, now.openings)
            };
            if matches!(reach, Reach::Open | Reach::Hung) {
                // Registered afresh for each opening: a registration that saw the shutdown reports it for ever.
                match self.register() {
                    Ok(listener) => self.accept(&listener, &mut faults, openings).await,
                    Err(wrong) => {
                        tracing::error!(front_end = self.front.name, %wrong, "cannot accept connections")
                    }
                }
            }
            let settled =
                |now: &Faults| now.openings == openings && !matches!(now.reach, Reach::Open | Reach::Hung);
            if settled(&faults.borrow()) && faults.changed().await.is_err() {
                return;
            }
        }
    }

    fn register(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener.try_clone()?)
    }

    /// Accepts until the faults forbid it or the socket was opened again.
    async fn accept(
        &self,
        listener: &tokio::net::TcpListener,
        faults: &mut watch::Receiver<Faults>,
        openings: u64,
    ) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(self.front.connections.spawn(drive(stream, self.tls.clone(), Arc::clone(&self.front)))),
                    // Most often the socket was just shut down, which the faults tell next; never spin on it.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                },
                changed = faults.changed() => if changed.is_err() { return },
            }
            let now = faults.borrow();
            if now.openings != openings || !matches!(now.reach, Reach::Open | Reach::Hung) {
                return;
            }
        }
    }
}

/// Runs one connection under the faults: frozen while black, reset when refused.
async fn drive(stream: TcpStream, tls: Option<TlsAcceptor>, front: Arc<Front>) {
    let stop = front.stop.clone();
    let mut faults = front.faults.subscribe();
    // Answers are small and wanted at once.
    drop(stream.set_nodelay(true));
    let Ok((stream, spare)) = with_spare(stream) else { return };
    let mut connection = Box::pin(connection(stream, tls, front));
    loop {
        let reach = faults.borrow_and_update().reach;
        if reach == Reach::Refused {
            // Zero linger makes the close a reset; the spare is the last handle once the connection is dropped.
            drop(SockRef::from(&spare).set_linger(Some(Duration::ZERO)));
            return;
        }
        tokio::select! {
            biased;
            changed = faults.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
            () = &mut connection, if reach != Reach::Black => return,
        }
    }
}

/// A second handle on the socket, so that its options can be set while the connection owns the first.
fn with_spare(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let spare = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, spare))
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, front: Arc<Front>) {
    let Some(tls) = tls else {
        return serve(stream, None, front).await;
    };
    match tls.accept(stream).await {
        Ok(stream) => {
            let proven = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = proven.and_then(UserInfo::of_certificate).map(Arc::new);
            serve(stream, peer, front).await;
        }
        Err(wrong) => tracing::debug!(front_end = front.name, %wrong, "TLS handshake failed"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, peer: Option<Arc<UserInfo>>, front: Arc<Front>) {
    let name = front.name.clone();
    let service = service_fn(move |request| respond(Arc::clone(&front), peer.clone(), request));
    if let Err(wrong) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(front_end = name, %wrong, "connection ended");
    }
}
