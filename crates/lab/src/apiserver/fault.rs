//! Faults on command, each front end its own.

use std::time::Duration;

use super::account::Verb;

/// A fault to inject. Faults add up (a slow server may also answer 503 half the time); of the three that decide
/// whether the server is reached at all, the last injected holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Connecting is refused (the kernel answers RST), and open connections are reset.
    Refuse,
    /// Requests are accepted and read, and never answered while this lasts; watches fall silent. Once healed, requests
    /// whose client still waits are processed, as by a process that was stopped and goes on.
    Hang,
    /// Nothing is accepted or read any more. The kernel still completes TCP handshakes until the backlog is full: a
    /// real drop of packets is the network's part.
    Blackhole,
    /// Requests are answered with this code, also on open connections. Running watches go on.
    Status {
        /// HTTP status code.
        code: u16,
        /// Which part of the requests, 0 to 1, spread evenly.
        rate: f64,
        /// Sent as `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Writes are done, and the connection is dropped in place of the reply.
    LoseReply {
        /// Which part of the writes, 0 to 1, spread evenly.
        rate: f64,
    },
    /// Watch events are sent this long after their commit.
    DelayWatches(Duration),
    /// Every request waits this long before it is looked at.
    Slow(Duration),
    /// 403, as for a missing RBAC rule.
    Deny {
        /// Only this verb.
        verb: Option<Verb>,
        /// Only this resource (plural).
        resource: Option<String>,
    },
    /// 403 for every write but those of this resource (plural).
    DenyWritesBut(String),
    /// Every write but those of this resource (plural) is taken, and not answered while this lasts.
    HangWritesBut(String),
}

/// Whether a front end is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    #[default]
    Open,
    Refused,
    Hung,
    Black,
}

/// A status code for a part of the requests.
#[derive(Clone, Debug)]
pub(super) struct StatusFault {
    pub(super) code: u16,
    pub(super) rate: f64,
    pub(super) retry_after: Option<Duration>,
}

/// All faults of a front end that are on.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) reach: Reach,
    pub(super) status: Option<StatusFault>,
    pub(super) lose_reply: f64,
    pub(super) watch_delay: Duration,
    pub(super) slow: Duration,
    pub(super) denied: Vec<(Option<Verb>, Option<String>)>,
    /// The resource of which alone writes are not denied.
    pub(super) only_writes: Option<String>,
    /// The resource of which alone writes are answered.
    pub(super) only_answered: Option<String>,
    /// Grows with every order to drop the watches.
    pub(super) watch_drops: u64,
    /// Grows with every return from a refusal: the listening socket must be registered afresh.
    pub(super) openings: u64,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Refuse => self.set_reach(Reach::Refused),
            Fault::Hang => self.set_reach(Reach::Hung),
            Fault::Blackhole => self.set_reach(Reach::Black),
            Fault::Status { code, rate, retry_after } => {
                self.status = Some(StatusFault { code, rate, retry_after })
            }
            Fault::LoseReply { rate } => self.lose_reply = rate,
            Fault::DelayWatches(delay) => self.watch_delay = delay,
            Fault::Slow(delay) => self.slow = delay,
            Fault::Deny { verb, resource } => self.denied.push((verb, resource)),
            Fault::DenyWritesBut(resource) => self.only_writes = Some(resource),
            Fault::HangWritesBut(resource) => self.only_answered = Some(resource),
        }
    }

    /// Takes every fault back.
    pub(super) fn heal(&mut self) {
        self.set_reach(Reach::Open);
        *self = Self { watch_drops: self.watch_drops, openings: self.openings, ..Self::default() };
    }

    /// Whether this request is kept waiting for as long as the fault lasts.
    pub(super) fn hangs(&self, verb: Verb, plural: &str) -> bool {
        verb.is_write() && self.only_answered.as_ref().is_some_and(|only| only != plural)
    }

    pub(super) fn denies(&self, verb: Verb, plural: &str) -> bool {
        let another_write = verb.is_write() && self.only_writes.as_ref().is_some_and(|only| only != plural);
        another_write
            || self.denied.iter().any(|(only_verb, only_resource)| {
                only_verb.is_none_or(|only| only == verb)
                    && only_resource.as_ref().is_none_or(|only| only == plural)
            })
    }

    fn set_reach(&mut self, reach: Reach) {
        if self.reach == Reach::Refused && reach != Reach::Refused {
            self.openings += 1;
        }
        self.reach = reach;
    }
}

/// Chooses a given part of a sequence, evenly spread and the same each time: no chance in a test.
#[derive(Debug, Default)]
pub(super) struct Share(f64);

impl Share {
    /// Whether the next one is chosen.
    pub(super) fn takes(&mut self, rate: f64) -> bool {
        self.0 += rate.clamp(0.0, 1.0);
        let chosen = self.0 >= 1.0 - 1e-9;
        if chosen {
            self.0 -= 1.0;
        }
        chosen
    }
}
