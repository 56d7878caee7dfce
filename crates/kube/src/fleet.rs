//! All known API servers together: in which order, with which credentials, and what became of each request.

pub(crate) mod bulk;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpInfo;
use mainstay_core::time::Moment;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::access::{Access, Traffic};
use crate::adapter::Settings;
use crate::answer::{self, Answer, ErrorClass, Trouble};
use crate::chance;
use crate::lookup::Lookup;
use crate::race::{Ended, Pace, race};
use crate::servers::{Book, Report, ServerKind, ServerState, ServerStatus};
use crate::transport::{self, Outgoing};

/// The longest body we read: a Lease has some 2 KiB with all that is written on it, and a list has as many as there are nodes,
/// where each has a seat.
const LONGEST_BODY: usize = 8 << 20;
/// Credentials are loaded at most this often.
const LOAD_PAUSE: Duration = Duration::from_millis(500);
/// During an outage they are loaded again when they are this old.
const LOAD_AGAIN: Duration = Duration::from_secs(10);
/// How long loading may take: a credential plugin runs in it.
const LOAD_LIMIT: Duration = Duration::from_secs(10);
/// How long to look up the configured server's name, to see whether it is our own VIP.
const LOOKUP: Duration = Duration::from_millis(500);

/// Requests under way at once that nothing waits for.
const ASIDE_AT_ONCE: usize = 1;
/// The media type of whole objects.
pub(crate) const JSON: &str = "application/json";

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: http::Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// The body's media type.
    pub(crate) content: &'static str,
    pub(crate) traffic: Traffic,
    pub(crate) pace: Pace,
    /// This server is asked after all others.
    pub(crate) last: Option<String>,
    /// Whether a refusal (403 and the like) counts against the server that gives it.
    pub(crate) refusal_is_fault: bool,
}

/// The known API servers and how to talk to them.
pub(crate) struct Fleet {
    settings: Settings,
    origin: Instant,
    book: Mutex<Book>,
    access: Mutex<Option<Arc<Access>>>,
    load: tokio::sync::Mutex<Load>,
    /// One thread at most loads credentials: a plugin that hangs does not take another.
    loading: Arc<Semaphore>,
    lookup: Lookup,
    /// Requests that nothing waits for. Policy when they are that many: whoever asks waits.
    aside: Semaphore,
    status: watch::Sender<Vec<ServerStatus>>,
    trouble: watch::Sender<Option<String>>,
}

/// How loading the credentials went.
#[derive(Default)]
struct Load {
    tried_at: Option<Instant>,
    generation: u64,
}

impl Fleet {
    pub(crate) fn new(
        settings: Settings,
        status: watch::Sender<Vec<ServerStatus>>,
        trouble: watch::Sender<Option<String>>,
    ) -> Self {
        let mut book = Book::new(settings.vips.borrow().clone(), chance::rng());
        book.avoid_names(&settings.vip_names);
        book.set(Moment::ZERO, ServerKind::Configured, settings.server.as_slice());
        book.set(Moment::ZERO, ServerKind::Local, settings.local.as_slice());
        book.set(Moment::ZERO, ServerKind::Learned, &settings.learned);
        let (access, load) = (Mutex::default(), tokio::sync::Mutex::default());
        let fleet = Self {
            settings,
            origin: Instant::now(),
            book: Mutex::new(book),
            access,
            load,
            loading: Arc::new(Semaphore::new(1)),
            lookup: Lookup::new(),
            aside: Semaphore::new(ASIDE_AT_ONCE),
            status,
            trouble,
        };
        fleet.publish();
        fleet
    }

    /// Replaces the learned servers.
    pub(crate) fn learn(&self, urls: &[String]) {
        self.book().set(self.now(), ServerKind::Learned, urls);
        let all: Vec<String> = self.book().urls();
        if let Some(access) = self.current() {
            access.retain(&all);
        }
        self.publish();
    }

    /// Sends copies of `ask` to the servers in their order until one gives an answer that counts. `read` turns a
    /// response into what is wanted.
    pub(crate) async fn race<T, Read>(
        self: &Arc<Self>,
        ask: &Ask,
        read: fn(Response<Incoming>) -> Read,
        unanswered: impl AsyncFnOnce(),
    ) -> (Ended<T>, Vec<String>)
    where
        T: Send + 'static,
        Read: Future<Output = Answer<T>> + Send + 'static,
    {
        if let Err(cause) = self.access().await {
            let answer = Answer::Refused(Trouble::new(ErrorClass::Access, cause));
            return (Ended { answer, by: None }, Vec::new());
        }
        let mut order = self.book().order(self.now());
        order.sort_by_key(|url| ask.last.as_ref() == Some(url));
        let start = |place: usize| {
            let (fleet, url, ask) = (Arc::clone(self), order[place].clone(), ask.clone());
            // A task of its own: the copy goes on when another has won, and tells how its server does.
            let copy = tokio::spawn(async move { fleet.copy(&url, &ask, read).await });
            let panicked = |error| Answer::unknown(ErrorClass::Broken, format!("request task: {error}"));
            async move { copy.await.unwrap_or_else(panicked) }
        };
        let ended = race(order.len(), ask.pace, start, unanswered).await;
        (ended, order)
    }

    /// Asks the servers one after the other, in their order, until one is sent the request: for what nothing waits for. It
    /// has connections of its own, and leaves no trace: it loads no credentials and notes nothing in the book, so that
    /// whatever becomes of it, the Lease is asked for as before. Also tells which server was asked last.
    pub(crate) async fn aside(&self, ask: &Ask) -> (Answer<Value>, Option<String>) {
        // The semaphore is never closed.
        let _one_of_few = self.aside.acquire().await;
        self.in_turn(ask).await
    }

    /// As [`Fleet::aside`], for those who bound themselves how many requests are under way.
    pub(crate) async fn in_turn(&self, ask: &Ask) -> (Answer<Value>, Option<String>) {
        let refused = |text: &str| Answer::Refused(Trouble::new(ErrorClass::Access, text));
        let Some(access) = self.current() else { return (refused("there are no credentials yet"), None) };
        let mut order = self.book().order(self.now());
        order.sort_by_key(|url| ask.last.as_ref() == Some(url));
        let mut last = (refused("no API server is known"), None);
        for url in order {
            let limit = ask.pace.deadline;
            let answer = tokio::time::timeout(limit, self.once(&access, &url, ask)).await;
            let answer = answer.unwrap_or_else(|_| silence(limit));
            // Where it may have been done, another copy would leave one behind that nobody knows the end of.
            let sent = !matches!(answer, Answer::Refused(_));
            last = (answer, Some(url));
            if sent {
                break;
            }
        }
        last
    }

    async fn once(&self, access: &Access, url: &str, ask: &Ask) -> Answer<Value> {
        match self.send(access, url, ask).await {
            Answer::Success(response) => whole(response).await,
            failure => failure.without_payload().unwrap_or_else(senseless),
        }
    }

    /// Waits until a server is known to answer.
    pub(crate) async fn answering(&self) {
        let answers =
            |servers: &Vec<ServerStatus>| servers.iter().any(|server| server.state == ServerState::Answering);
        // The sender is this fleet's own.
        drop(self.status.subscribe().wait_for(answers).await);
    }

    /// One copy to one server, with a note in the book at its end.
    async fn copy<T, Read>(&self, url: &str, ask: &Ask, read: fn(Response<Incoming>) -> Read) -> Answer<T>
    where
        Read: Future<Output = Answer<T>>,
    {
        let (deadline, exchange) = (ask.pace.deadline, self.exchange(url, ask, read));
        let answer = tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| silence(deadline));
        self.note(url, ask, &answer);
        answer
    }

    /// Sends the request, and after a 401 once more with credentials loaded anew.
    async fn exchange<T, Read>(&self, url: &str, ask: &Ask, read: fn(Response<Incoming>) -> Read) -> Answer<T>
    where
        Read: Future<Output = Answer<T>>,
    {
        let mut access = match self.access().await {
            Ok(access) => access,
            Err(cause) => return Answer::Refused(Trouble::new(ErrorClass::Access, cause)),
        };
        let mut renewed = false;
        loop {
            match self.send(&access, url, ask).await {
                Answer::Success(response) if response.status() == StatusCode::UNAUTHORIZED && !renewed => {
                    match self.reload(access.generation).await {
                        Some(fresh) => (access, renewed) = (fresh, true),
                        None => return read(response).await,
                    }
                }
                Answer::Success(response) => return read(response).await,
                other => {
                    return other.without_payload().unwrap_or_else(senseless);
                }
            }
        }
    }

    async fn send(&self, access: &Access, url: &str, ask: &Ask) -> Answer<Response<Incoming>> {
        let kind = self.book().kind(url).unwrap_or(ServerKind::Learned);
        match request(url, ask) {
            Ok(request) => transport::send(access.service(url, kind, ask.traffic), request).await,
            Err(error) => Answer::Refused(Trouble::new(ErrorClass::Access, format!("{url}: {error}"))),
        }
    }

    /// Notes how `url` answered.
    fn note<T>(&self, url: &str, ask: &Ask, answer: &Answer<T>) {
        let report = match answer {
            Answer::Throttled(wait) => Report::Throttled(*wait),
            Answer::Forbidden(_) if !ask.refusal_is_fault => Report::Answered,
            other => other.complaint().map_or(Report::Answered, Report::Failed),
        };
        self.report(url, report);
    }

    pub(crate) fn report(&self, url: &str, report: Report) {
        self.book().report(self.now(), url, report);
        self.publish();
    }

    /// The credentials, loaded if they are not yet.
    async fn access(&self) -> Result<Arc<Access>, String> {
        if let Some(access) = self.current() {
            return Ok(access);
        }
        let mut load = self.load.lock().await;
        if let Some(access) = self.current() {
            return Ok(access);
        }
        let trouble = || self.trouble.borrow().clone().unwrap_or_else(|| "no credentials".to_owned());
        if load.tried_at.is_some_and(|at| at.elapsed() < LOAD_PAUSE) {
            return Err(trouble());
        }
        self.load_now(&mut load).await.ok_or_else(trouble)
    }

    /// Loads the credentials anew, unless somebody else has since `seen`, or did just now.
    async fn reload(&self, seen: u64) -> Option<Arc<Access>> {
        let mut load = self.load.lock().await;
        if load.generation != seen {
            return self.current();
        }
        if load.tried_at.is_some_and(|at| at.elapsed() < LOAD_PAUSE) {
            return None;
        }
        self.load_now(&mut load).await
    }

    /// In an outage: perhaps it is our credentials that are old (a new certificate authority shows as a refusal).
    pub(crate) async fn freshen(&self) {
        let mut load = self.load.lock().await;
        if load.tried_at.is_none_or(|at| at.elapsed() >= LOAD_AGAIN) {
            self.load_now(&mut load).await;
        }
    }

    /// `None` when there are none; those we had stay.
    async fn load_now(&self, load: &mut Load) -> Option<Arc<Access>> {
        load.tried_at = Some(Instant::now());
        let (source, generation) = (self.settings.source.clone(), load.generation + 1);
        let Ok(permit) = Arc::clone(&self.loading).try_acquire_owned() else {
            self.complain(Some("loading credentials: the attempt before has not ended yet".to_owned()));
            return None;
        };
        let (runtime, lookup) = (tokio::runtime::Handle::current(), self.lookup.clone());
        let built = tokio::task::spawn_blocking(move || {
            // Held by the thread, which goes on when the wait for it is given up.
            let _permit = permit;
            let source = source.chosen();
            let config = runtime.block_on(source.load()).map_err(|error| error.to_string())?;
            Access::build(generation, &config, lookup).map_err(|cause| source.error(&cause).to_string())
        });
        let built = match tokio::time::timeout(LOAD_LIMIT, built).await {
            Ok(built) => built.unwrap_or_else(|error| Err(format!("loading credentials: {error}"))),
            Err(_) => Err(format!("loading credentials took longer than {} s", LOAD_LIMIT.as_secs())),
        };
        match built {
            Ok(access) => {
                load.generation = generation;
                Some(self.adopt(access).await)
            }
            Err(cause) => {
                self.complain(Some(cause));
                None
            }
        }
    }

    async fn adopt(&self, access: Access) -> Arc<Access> {
        let access = Arc::new(access);
        if self.settings.server.is_none() {
            self.book().set(self.now(), ServerKind::Configured, std::slice::from_ref(&access.server));
        }
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access));
        self.complain(None);
        self.look_up().await;
        self.publish();
        access
    }

    /// Finds out whether the configured server's name means our own VIP (kubeadm's `controlPlaneEndpoint` does).
    async fn look_up(&self) {
        let names = self.book().names();
        for (url, name) in names {
            let found = tokio::time::timeout(LOOKUP, self.lookup.clone().addresses(name)).await;
            if let Ok(Ok(addresses)) = found {
                let addresses: Vec<_> = addresses.iter().map(std::net::SocketAddr::ip).collect();
                self.book().resolved(&url, &addresses);
            }
        }
    }

    /// Whoever watches the trouble logs it, once.
    fn complain(&self, cause: Option<String>) {
        self.trouble.send_if_modified(|trouble| {
            let changed = *trouble != cause;
            *trouble = cause;
            changed
        });
    }

    fn current(&self) -> Option<Arc<Access>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.avoid(&self.settings.vips.borrow());
        book
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.origin.elapsed()
    }

    fn publish(&self) {
        let origin = self.origin.into_std();
        let status = self.book().status(self.now(), |moment| origin + moment.since(Moment::ZERO));
        self.status.send_if_modified(|old| {
            // Another answer of a server that answers is no news, but the latest is remembered.
            let same = old.len() == status.len() && old.iter().zip(&status).all(|(old, new)| old.same(new));
            *old = status;
            !same
        });
    }
}

/// A success that turned out to be a failure, or the other way round.
fn senseless<T>() -> Answer<T> {
    Answer::unknown(ErrorClass::Nonsense, "an answer without sense")
}

fn silence<T>(limit: Duration) -> Answer<T> {
    Answer::unknown(ErrorClass::Timeout, format!("no answer within {} ms", limit.as_millis()))
}

fn request(url: &str, ask: &Ask) -> Result<Outgoing, http::Error> {
    http::Request::builder()
        .method(ask.method.clone())
        .uri(format!("{url}{}", ask.path))
        .header(http::header::ACCEPT, JSON)
        .header(http::header::CONTENT_TYPE, ask.content)
        .header(http::header::USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(ask.body.clone()))
}

/// The two ends of the connection that an answer came over: this host's and the server's.
pub(crate) type Ends = Option<(IpAddr, IpAddr)>;

/// Reads a whole response with a JSON object in it, and tells which way it came.
pub(crate) async fn whole_and_way(response: Response<Incoming>) -> Answer<(Value, Ends)> {
    let ends =
        response.extensions().get::<HttpInfo>().map(|way| (way.local_addr().ip(), way.remote_addr().ip()));
    match whole(response).await {
        Answer::Success(object) => Answer::Success((object, ends)),
        failure => failure.without_payload().unwrap_or_else(senseless),
    }
}

/// Reads a whole response with a JSON object in it.
pub(crate) async fn whole(response: Response<Incoming>) -> Answer<Value> {
    let (head, body) = response.into_parts();
    match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => answer::object(head.status, &head.headers, &body.to_bytes()),
        Err(error) => Answer::unknown(ErrorClass::Broken, format!("the answer broke off: {error}")),
    }
}

/// Takes a response whose body is to be followed; the body of a refusal is read.
pub(crate) async fn stream(response: Response<Incoming>) -> Answer<Response<Incoming>> {
    if response.status().is_success() {
        return Answer::Success(response);
    }
    whole(response).await.without_payload().unwrap_or_else(senseless)
}
