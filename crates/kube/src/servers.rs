//! Which API servers are known, how each does, and in what order to ask them. Pure: time is an argument.
//!
//! The order: the local server (it is reachable when the network is not), then whichever answered last, then those
//! never asked; a server that fails goes to the back. A failing *local* server is tried first again whenever its
//! backoff has passed, so that it is preferred again once it recovers; the others need no trial, because they are
//! asked anyway when those before them fail. A server at one of our own VIPs is asked only if no other is known: the
//! VIP may be on the very node that is to be told so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::Uri;
use mainstay_core::backoff::Backoff;
use mainstay_core::rng::Rng;
use mainstay_core::time::Moment;
use serde::Serialize;

use crate::answer::{ErrorClass, Trouble};

/// How long a failing local server is left alone: doubling from the first to the second.
const TRIAL_BASE: Duration = Duration::from_secs(1);
const TRIAL_CAP: Duration = Duration::from_secs(30);

/// Where we know a server from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// On this host.
    Local,
    /// `kubernetes_addr`, the kubeconfig, or the service's environment variables.
    Configured,
    /// The `kubernetes` EndpointSlice.
    Learned,
}

/// How a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// Never asked.
    Untried,
    /// Its last answer was one.
    Answering,
    /// Its last answer was none, or an error.
    Failing,
}

/// One API server, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its address.
    pub url: String,
    /// Where we know it from.
    pub kind: ServerKind,
    /// How it does.
    pub state: ServerState,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Since when the state has been so.
    pub since: Instant,
    /// When it gave its last answer.
    pub last_success: Option<Instant>,
    /// What went wrong last, if it is failing.
    pub last_error: Option<Trouble>,
    /// How long it is left alone for, if it is failing: its backoff as it is now.
    pub backoff: Option<Duration>,
    /// When it is tried again in its preferred place; it is asked earlier when all others fail.
    pub next_retry: Option<Instant>,
}

impl ServerStatus {
    /// Whether `other` says the same, times aside.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let facts = |status: &Self| {
            (status.kind, status.state, status.failures_in_a_row, status.next_retry.is_some())
        };
        (&self.url, &self.last_error, facts(self)) == (&other.url, &other.last_error, facts(other))
    }
}

/// What became of asking a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It gave an answer that makes sense (a 404 and a 409 do).
    Answered,
    /// It did not; why.
    Failed(Trouble),
    /// It asked us to wait.
    Throttled(Option<Duration>),
}

/// One known server.
#[derive(Clone, Debug)]
struct Server {
    url: String,
    kind: ServerKind,
    state: ServerState,
    failures: u32,
    since: Moment,
    answered_at: Option<Moment>,
    last_error: Option<Trouble>,
    backoff: Backoff,
    /// Until when it is left alone, and for how long in all.
    rest: Option<(Moment, Duration)>,
}

/// The known servers.
#[derive(Clone, Debug)]
pub struct Book {
    servers: Vec<Server>,
    vips: Vec<IpAddr>,
    /// Names whose addresses the VIPs are.
    vip_names: Vec<String>,
    /// What the host name of a URL meant when it was last looked up.
    meanings: BTreeMap<String, Vec<IpAddr>>,
    rng: Rng,
}

impl Book {
    /// An empty book that avoids servers at `vips`; `rng` is for the jitter of backoff.
    #[must_use]
    pub fn new(vips: Vec<IpAddr>, rng: Rng) -> Self {
        Self { servers: Vec::new(), vips, vip_names: Vec::new(), meanings: BTreeMap::new(), rng }
    }

    /// Avoids servers at these names as well: their addresses are the VIPs, whichever these are at present.
    pub fn avoid_names(&mut self, names: &[String]) {
        names.clone_into(&mut self.vip_names);
    }

    /// Avoids servers at these addresses from now on, and at no others.
    pub fn avoid(&mut self, vips: &[IpAddr]) {
        if self.vips != vips {
            vips.clone_into(&mut self.vips);
        }
    }

    /// Replaces all servers of one kind. A server known already (of any kind) keeps its record; text that is no
    /// `http` or `https` URL with a host is left out.
    pub fn set(&mut self, now: Moment, kind: ServerKind, urls: &[String]) {
        let urls: Vec<String> = urls.iter().filter_map(|url| normalise(url)).collect();
        self.servers.retain(|server| server.kind != kind || urls.contains(&server.url));
        for url in urls {
            match self.servers.iter_mut().find(|server| server.url == url) {
                Some(server) => server.kind = server.kind.min(kind),
                None => self.servers.push(Server::new(now, url, kind)),
            }
        }
    }

    /// The servers in the order in which to ask them now.
    #[must_use]
    pub fn order(&self, now: Moment) -> Vec<String> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.rank(now));
        let others: Vec<&&Server> = servers.iter().filter(|server| !self.is_own(&server.url)).collect();
        if others.is_empty() {
            return servers.iter().map(|server| server.url.clone()).collect();
        }
        others.iter().map(|server| server.url.clone()).collect()
    }

    /// Notes what became of asking `url`.
    pub fn report(&mut self, now: Moment, url: &str, report: Report) {
        let Some(server) = self.servers.iter_mut().find(|server| server.url == url) else { return };
        match report {
            Report::Answered => server.answered(now),
            Report::Failed(cause) => server.failed(now, cause, None, &mut self.rng),
            Report::Throttled(wait) => {
                server.failed(now, Trouble::new(ErrorClass::Overloaded, "overloaded"), wait, &mut self.rng)
            }
        }
    }

    /// All servers for people, in the order in which they are asked. `at` turns a moment into the process's own time.
    #[must_use]
    pub fn status(&self, now: Moment, at: impl Fn(Moment) -> Instant) -> Vec<ServerStatus> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.sort_by_key(|server| (self.is_own(&server.url), server.rank(now)));
        servers.iter().map(|server| server.status(&at)).collect()
    }

    /// All URLs, in no order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.url.clone()).collect()
    }

    /// Where we know `url` from.
    #[must_use]
    pub fn kind(&self, url: &str) -> Option<ServerKind> {
        self.servers.iter().find(|server| server.url == url).map(|server| server.kind)
    }

    /// The servers that are known by a name: URL and name.
    #[must_use]
    pub fn names(&self) -> Vec<(String, String)> {
        let named = |server: &Server| {
            let uri: Uri = server.url.parse().ok()?;
            let host = uri.host().filter(|_| host_address(&server.url).is_none())?;
            Some((server.url.clone(), host.to_owned()))
        };
        self.servers.iter().filter_map(named).collect()
    }

    /// The name in `url` means these addresses.
    pub fn resolved(&mut self, url: &str, addresses: &[IpAddr]) {
        self.meanings.insert(url.to_owned(), addresses.to_vec());
    }

    /// Whether the server's host is one of our VIPs.
    fn is_own(&self, url: &str) -> bool {
        let is_vip = |address: &IpAddr| self.vips.contains(address);
        let means_vip = self.meanings.get(url).is_some_and(|meant| meant.iter().any(is_vip));
        means_vip || host_address(url).as_ref().is_some_and(is_vip) || self.has_vip_name(url)
    }

    fn has_vip_name(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let host = uri.host().map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        host.is_some_and(|host| self.vip_names.contains(&host))
    }
}

impl Server {
    fn new(now: Moment, url: String, kind: ServerKind) -> Self {
        let backoff = Backoff::new(TRIAL_BASE, TRIAL_CAP);
        let state = ServerState::Untried;
        Self {
            url,
            kind,
            state,
            failures: 0,
            since: now,
            answered_at: None,
            last_error: None,
            backoff,
            rest: None,
        }
    }

    /// Smaller is asked earlier.
    fn rank(&self, now: Moment) -> (u8, u64, ServerKind) {
        let resting = self.rest.is_some_and(|(until, _)| now < until);
        let tier = match (self.state, self.kind) {
            (ServerState::Failing, ServerKind::Local) if !resting => 0,
            (ServerState::Failing, _) if resting => 4,
            (ServerState::Failing, _) => 3,
            (_, ServerKind::Local) => 0,
            (ServerState::Answering, _) => 1,
            (ServerState::Untried, _) => 2,
        };
        let latest_first = u64::MAX - self.answered_at.map_or(0, Moment::as_nanos);
        (tier, latest_first, self.kind)
    }

    fn answered(&mut self, now: Moment) {
        self.answered_at = Some(now);
        if self.state != ServerState::Answering {
            (self.state, self.since) = (ServerState::Answering, now);
        }
        (self.failures, self.last_error, self.rest) = (0, None, None);
        self.backoff.reset();
    }

    fn failed(&mut self, now: Moment, cause: Trouble, wait: Option<Duration>, rng: &mut Rng) {
        if self.state != ServerState::Failing {
            (self.state, self.since) = (ServerState::Failing, now);
        }
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(cause);
        self.backoff.retry_after(wait.unwrap_or_default());
        let rest = self.backoff.next(rng);
        self.rest = Some((now + rest, rest));
    }

    fn status(&self, at: impl Fn(Moment) -> Instant) -> ServerStatus {
        ServerStatus {
            url: self.url.clone(),
            kind: self.kind,
            state: self.state,
            failures_in_a_row: self.failures,
            since: at(self.since),
            last_success: self.answered_at.map(&at),
            last_error: self.last_error.clone(),
            backoff: self.rest.map(|(_, rest)| rest),
            next_retry: self.rest.map(|(until, _)| at(until)),
        }
    }
}

/// `text` as a URL without a trailing slash; `https` and port 6443 where it names none.
#[must_use]
pub fn normalise(text: &str) -> Option<String> {
    let text = text.trim();
    let full = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:6443"),
        Ok(IpAddr::V4(address)) => format!("https://{address}:6443"),
        Err(_) if text.contains("://") => text.to_owned(),
        Err(_) => format!("https://{text}"),
    };
    let uri: Uri = full.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty())?;
    let path = uri.path().trim_end_matches(|c: char| c == '/' || c.is_whitespace());
    Some(format!("{scheme}://{authority}{path}"))
}

fn host_address(url: &str) -> Option<IpAddr> {
    let uri: Uri = url.parse().ok()?;
    uri.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests;
