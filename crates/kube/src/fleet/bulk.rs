//! Requests for much, that no VIP waits for: lists and watches of Services, endpoints and nodes; writes on Services.
//!
//! They are sent to the same servers in the same order as the Lease's, over connections of their own, and leave no trace
//! in the book: an API server that is too busy for a list of ten thousand Services may do well for a Lease, and is asked
//! for it as before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::{Ask, Fleet, senseless, silence};
use crate::access::Access;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::race::race;
use crate::servers::{ServerState, ServerStatus};

/// A server that did badly at one kind of request is asked last for so long.
const REST: Duration = Duration::from_secs(30);

/// Servers that did badly at one kind of request. What the Lease finds is in the book; this is whatever else there is.
#[derive(Debug, Default)]
pub(crate) struct Resting(BTreeMap<String, Instant>);

impl Resting {
    /// The server is asked last for a while.
    pub(crate) fn rest(&mut self, url: &str) {
        self.0.insert(url.to_owned(), Instant::now() + REST);
    }

    /// Puts those that rest behind the others, those that have rested longest first.
    fn sort(&mut self, urls: &mut [String]) {
        let now = Instant::now();
        self.0.retain(|_, until| now < *until);
        urls.sort_by_key(|url| self.0.get(url).copied());
    }
}

/// An answer, and who gave it.
pub(crate) struct Replied<T> {
    pub(crate) answer: Answer<T>,
    /// `None` where it sums up several.
    pub(crate) by: Option<String>,
}

impl Fleet {
    /// Sends `ask` to the servers in their order until one gives an answer that counts: to the next at once when one
    /// refuses, and also when it is slow. What is still under way then is given up.
    pub(crate) async fn bulk<T, Read>(
        self: &Arc<Self>,
        ask: &Ask,
        resting: &mut Resting,
        read: fn(Response<Incoming>) -> Read,
    ) -> Replied<T>
    where
        Read: Future<Output = Answer<T>>,
    {
        if let Err(cause) = self.access().await {
            return Replied { answer: Answer::Refused(Trouble::new(ErrorClass::Access, cause)), by: None };
        }
        let mut order = self.book().order(self.now());
        resting.sort(&mut order);
        order.sort_by_key(|url| ask.last.as_ref() == Some(url));
        let start = |place: usize| {
            let (fleet, url) = (Arc::clone(self), order[place].clone());
            async move {
                let limit = ask.pace.deadline;
                timeout(limit, fleet.calmly(&url, ask, read)).await.unwrap_or_else(|_| silence(limit))
            }
        };
        let ended = race(order.len(), ask.pace, start, async || {}).await;
        let winner = ended.by.unwrap_or(0);
        order[..winner].iter().for_each(|url| resting.rest(url));
        Replied { answer: ended.answer, by: ended.by.and_then(|place| order.into_iter().nth(place)) }
    }

    /// As [`Fleet::exchange`]; but other credentials are loaded only if those there are have been in use for a while: new
    /// ones mean new connections, for the Lease as well.
    async fn calmly<T, Read>(&self, url: &str, ask: &Ask, read: fn(Response<Incoming>) -> Read) -> Answer<T>
    where
        Read: Future<Output = Answer<T>>,
    {
        let Some(access) = self.current() else {
            return Answer::Refused(Trouble::new(ErrorClass::Access, "there are no credentials yet"));
        };
        match self.send(&access, url, ask).await {
            Answer::Success(response) if response.status() == StatusCode::UNAUTHORIZED => {
                match self.renewed(&access).await {
                    Some(access) => match self.send(&access, url, ask).await {
                        Answer::Success(response) => read(response).await,
                        failure => failure.without_payload().unwrap_or_else(senseless),
                    },
                    None => read(response).await,
                }
            }
            Answer::Success(response) => read(response).await,
            failure => failure.without_payload().unwrap_or_else(senseless),
        }
    }

    async fn renewed(&self, seen: &Access) -> Option<Arc<Access>> {
        let fresh = |access: &Arc<Access>| access.generation != seen.generation;
        if let Some(access) = self.current().filter(fresh) {
            return Some(access);
        }
        self.freshen().await;
        self.current().filter(fresh)
    }

    /// Waits until the book says that `url` is out of reach and another server is not: what is followed at `url` is better
    /// followed elsewhere then.
    pub(crate) async fn overtaken(&self, url: &str) {
        let lost = |server: &ServerStatus| {
            let classes = [ErrorClass::Connect, ErrorClass::Timeout, ErrorClass::Broken];
            let class = server.last_error.as_ref().map(|trouble| trouble.class);
            server.state == ServerState::Failing && class.is_some_and(|class| classes.contains(&class))
        };
        let overtaken = |servers: &Vec<ServerStatus>| {
            servers.iter().any(|server| server.url == url && lost(server))
                && servers.iter().any(|server| server.state == ServerState::Answering)
        };
        // The sender is this fleet's own.
        drop(self.status.subscribe().wait_for(overtaken).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_did_badly_is_asked_last_until_it_has_rested() {
        let mut resting = Resting::default();
        let mut sorted = |rest: Option<&str>| {
            rest.into_iter().for_each(|url| resting.rest(url));
            let mut urls = ["a", "b", "c"].map(str::to_owned);
            resting.sort(&mut urls);
            urls.concat()
        };
        assert_eq!(sorted(None), "abc");
        assert_eq!(sorted(Some("a")), "bca");
        tokio::time::advance(REST / 2).await;
        assert_eq!(sorted(Some("b")), "cab", "the one that has rested longer comes first");
        tokio::time::advance(REST / 2).await;
        assert_eq!(sorted(None), "acb");
        tokio::time::advance(REST / 2).await;
        assert_eq!(sorted(None), "abc");
    }
}
