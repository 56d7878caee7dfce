//! The way to the API server and back, its watch, and all that can go wrong with them.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};

use super::PROMPT;
use super::hash::STAMP;
use super::world::{Asker, Ev, World};
use crate::sim::{ApiForm, Kind, Machine, Whom};

/// How long a server may be silent until a request counts as unanswered, and is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// When keep-alive notices that a watch's server is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// When a watch that missed something is found to have, and opened anew.
const RESUMES: Duration = Duration::from_millis(500);

/// Whose request.
type Ask = (usize, EffectId);

impl<M: Machine + Clone + Hash> World<M> {
    /// How the API fails for node `h` at present, if it does.
    pub(super) fn form(&self, h: usize) -> Option<ApiForm> {
        let host = &self.hosts[h];
        if !host.powered || self.has(Kind::HostFrozen(h)) || self.has(Kind::Unplugged(h)) {
            return Some(ApiForm::Hung);
        }
        self.active.iter().find_map(|kind| match kind {
            Kind::Api(Whom::All, form) => Some(*form),
            Kind::Api(Whom::Node(node), form) if *node == h => Some(*form),
            _ => None,
        })
    }

    pub(super) fn lease_request(&mut self, ask: Ask, request: LeaseRequest, deadline: Duration) {
        let (host, id) = ask;
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.open = Some((id, false));
        }
        self.later(deadline, Ev::Deadline { host, id });
        self.send_request(ask, Arc::new(request));
    }

    fn send_request(&mut self, ask: Ask, request: Arc<LeaseRequest>) {
        let (host, id) = ask;
        match self.form(host) {
            None | Some(ApiForm::ReplyLost) => {
                self.later(PROMPT, Ev::Perform { host, id, request, asker: Asker::Waits });
            }
            Some(ApiForm::Hung | ApiForm::Stalled) => self.later(PATIENCE, Ev::Ask { host, id, request }),
            Some(ApiForm::Errors) => {
                self.later(PROMPT, Ev::Reply { host, id, outcome: Box::new(LeaseOutcome::Unknown) });
            }
            Some(_) => {
                self.later(PROMPT, Ev::Reply { host, id, outcome: Box::new(LeaseOutcome::Unreachable) });
            }
        }
    }

    /// A request that met silence: that is told, and it is sent again for as long as it lasts.
    pub(super) fn ask_again(&mut self, ask: Ask, request: Arc<LeaseRequest>) {
        if self.is_open(ask) {
            self.unanswered(ask);
            self.send_request(ask, request);
        }
    }

    fn is_open(&self, (host, id): Ask) -> bool {
        self.hosts[host].agent.as_ref().is_some_and(|agent| agent.open.is_some_and(|(open, _)| open == id))
    }

    /// The reply will not come in time: the client's patience will end.
    pub(super) fn no_answer(&mut self, (host, id): Ask) {
        self.later(PATIENCE, Ev::Patience { host, id });
    }

    /// The client's patience is over.
    pub(super) fn unanswered(&mut self, ask: Ask) {
        if !self.is_open(ask) {
            return;
        }
        let (host, id) = ask;
        if let Some(agent) = &mut self.hosts[host].agent
            && agent.open == Some((id, false))
        {
            agent.open = Some((id, true));
            self.input(host, Input::Lease(LeaseReport::Unanswered { id }));
        }
    }

    pub(super) fn deadline(&mut self, ask: Ask) {
        self.finish(ask, LeaseOutcome::Unknown);
    }

    fn finish(&mut self, ask: Ask, outcome: LeaseOutcome) {
        if !self.is_open(ask) {
            return;
        }
        let (host, id) = ask;
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.open = None;
        }
        // Nothing of it is awaited any more.
        self.queue.retain(|due| match &due.ev {
            Ev::Deadline { host: h, id: i } | Ev::Patience { host: h, id: i } => (*h, *i) != ask,
            _ => true,
        });
        self.input(host, Input::Outcome { id, outcome: Outcome::Lease(outcome) });
    }

    /// The server carries the request out.
    pub(super) fn perform(&mut self, (host, id): Ask, request: &LeaseRequest, waits: bool) {
        let before = self.store.version();
        let outcome = self.store.perform(request, &format!("{STAMP}{}", self.now));
        if self.store.version() != before {
            self.store_changed();
        }
        if !waits {
            return;
        }
        if self.form(host) == Some(ApiForm::ReplyLost) {
            self.no_answer((host, id));
        } else {
            self.later(PROMPT, Ev::Reply { host, id, outcome: Box::new(outcome) });
        }
    }

    /// The server's answer reaches the client, if the way is open still.
    pub(super) fn reply(&mut self, ask: Ask, outcome: LeaseOutcome) {
        match self.form(ask.0) {
            Some(ApiForm::Hung | ApiForm::Stalled | ApiForm::ReplyLost) => self.no_answer(ask),
            Some(ApiForm::Refused) if matches!(outcome, LeaseOutcome::Record(_)) => {
                self.finish(ask, LeaseOutcome::Unknown);
            }
            _ => self.finish(ask, outcome),
        }
    }

    // === the watch ===

    /// Somebody deletes the object, or restores it as it was one epoch before.
    pub(super) fn reset_lease(&mut self, kind: Kind) {
        if kind == Kind::LeaseDeleted {
            self.store.delete();
        } else {
            self.store.set_back();
        }
        self.store_changed();
    }

    /// The object has changed: all watches hear of it.
    fn store_changed(&mut self) {
        self.eventful = true;
        let record = self.store.record().cloned();
        if let Some(record) = &record {
            let (holder, epoch) = (record.holder.clone(), record.transitions);
            self.note(|| format!("lease: {holder:?} epoch {epoch}"));
        }
        for h in 0..self.hosts.len() {
            if !self.watches[h].connected {
                continue;
            }
            if matches!(self.form(h), Some(ApiForm::Hung | ApiForm::Refused | ApiForm::Stalled)) {
                self.watches[h].missed = true;
            } else {
                self.watch_event(h, record.clone());
            }
        }
    }

    fn watch_event(&mut self, h: usize, record: Option<Arc<LeaseRecord>>) {
        let prompt = self.now + crate::sim::random::nanos(PROMPT);
        let at = self.watched_until[h].max(prompt);
        self.watched_until[h] = at;
        self.at(at, Ev::Watched { host: h, record });
    }

    pub(super) fn watched(&mut self, h: usize, record: Option<Arc<LeaseRecord>>) {
        let report = match record {
            Some(record) => LeaseReport::Observed((*record).clone()),
            None => LeaseReport::Absent,
        };
        self.input(h, Input::Lease(report));
    }

    /// Opens a watch; it begins with a list.
    pub(super) fn watch_connect(&mut self, h: usize) {
        self.queue.retain(|due| {
            !matches!(&due.ev, Ev::Watched { host, .. } | Ev::Reconnect { host } | Ev::StaleWatch { host } if *host == h)
        });
        self.watched_until[h] = self.now;
        if self.hosts[h].agent.is_none() {
            return;
        }
        let watch = &mut self.watches[h];
        (watch.connected, watch.missed) = (false, false);
        if self.form(h).is_none() {
            let watch = &mut self.watches[h];
            (watch.connected, watch.attempts) = (true, 0);
            let record = self.store.record().cloned();
            return self.watch_event(h, record);
        }
        let watch = &mut self.watches[h];
        watch.attempts = (watch.attempts + 1).min(5);
        let pause = Duration::from_millis(75) * (1 << watch.attempts);
        self.feed(h, Input::Lease(LeaseReport::WatchLost));
        self.later(pause.min(Duration::from_millis(1_500)), Ev::Reconnect { host: h });
    }

    /// Something about the API has changed: connections break, hang, or are found to have missed something.
    pub(super) fn api_changed(&mut self) {
        for h in 0..self.hosts.len() {
            let watch = self.watches[h];
            if !watch.connected {
                continue;
            }
            match self.form(h) {
                Some(ApiForm::Refused) => self.later(PROMPT, Ev::Reconnect { host: h }),
                Some(ApiForm::Hung | ApiForm::Stalled) => self.later(KEEP_ALIVE, Ev::StaleWatch { host: h }),
                None if watch.missed => self.later(RESUMES, Ev::Reconnect { host: h }),
                _ => {}
            }
        }
    }

    pub(super) fn stale_watch(&mut self, h: usize) {
        let dead = matches!(self.form(h), Some(ApiForm::Hung | ApiForm::Stalled));
        if self.watches[h].connected && (dead || self.watches[h].missed) {
            self.watch_connect(h);
        }
    }
}
