//! The way to the API servers: a client that tries several servers, its watch, and all that can go wrong with them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::check::Reach;
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_core::names::ClaimId;

use super::machine::Machine;
use super::queue::Ev;
use super::random::nanos;
use super::schedule::{ApiForm, FrontEnds};
use super::world::{Witness, World};

const MS: u64 = 1_000_000;
/// How long a server may be silent until the next is asked as well, and the last of them until a request counts as
/// unanswered: as the agents' client does.
const HEDGE: u64 = 150 * MS;
const PATIENCE: u64 = 500 * MS;
/// A slow server's answer, and the least that a request is given.
const SLOWLY: u64 = 700 * MS;
const IN_TIME: u64 = 1_000 * MS;
/// When keep-alive notices that a watch's server is gone.
const KEEP_ALIVE: u64 = 3_000 * MS;
/// The longest pause between attempts to watch.
const LONGEST_PAUSE: u64 = 2_000 * MS;
/// Where the one API server is that no node runs.
const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200));
/// A node's address on another link.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A lease request on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) host: usize,
    run: u32,
    id: EffectId,
    /// Whose Lease it is about, if not the claim's.
    pub(super) seat: Option<ClaimId>,
    pub(super) request: LeaseRequest,
    done: bool,
    told: bool,
    silent: bool,
    doubtful: bool,
    throttled: bool,
}

/// A node's watch of the Lease.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    pub(super) generation: u32,
    server: Option<usize>,
    attempts: u32,
    missed: bool,
    delivered_until: u64,
    pub(super) late: u64,
    pub(super) silent: u32,
}

/// What fails at present.
#[derive(Debug, Default)]
pub(super) struct ApiFaults {
    pub(super) all: Vec<ApiForm>,
    pub(super) node: Vec<Vec<ApiForm>>,
    pub(super) server: Vec<Vec<ApiForm>>,
    pub(super) unplugged: Vec<u32>,
}

impl<M: Machine> World<M> {
    pub(super) fn servers(&self) -> usize {
        match self.schedule.front_ends {
            FrontEnds::One => 1,
            FrontEnds::PerNode => self.hosts.len(),
        }
    }

    fn connected(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        host.power_off == 0 && host.host_frozen == 0 && self.api.unplugged[h] == 0
    }

    /// How server `server` fails for node `h` at present, if it does.
    pub(super) fn form(&self, h: usize, server: usize) -> Option<ApiForm> {
        if self.schedule.front_ends == FrontEnds::PerNode {
            let members = (0..self.hosts.len()).filter(|member| self.connected(*member)).count();
            let quorum = members * 2 > self.hosts.len() && self.connected(server);
            if (h != server && !self.connected(h)) || !quorum {
                return Some(ApiForm::Hung);
            }
        } else if !self.connected(h) {
            return Some(ApiForm::Hung);
        }
        let lists = [&self.api.server[server], &self.api.all, &self.api.node[h]];
        lists.into_iter().find_map(|list| list.last().copied())
    }

    /// What `h` can expect of a request: it asks the servers one after the other, each after it gave up the one before.
    pub(super) fn reach(&self, h: usize) -> Reach {
        let mut asked_in_vain = 0;
        for turn in 0..self.servers() {
            let answered = match self.form(h, (h + turn) % self.servers()) {
                None if turn == 0 => return Reach::Good,
                None => Some(0),
                Some(ApiForm::Slow) => Some(SLOWLY),
                // It is an answer, and the last.
                Some(ApiForm::Forbidden) => return Reach::Impaired,
                Some(ApiForm::Refused | ApiForm::Errors | ApiForm::Throttled) => None,
                Some(ApiForm::Hung | ApiForm::ReplyLost | ApiForm::Stalled) => {
                    asked_in_vain += PATIENCE;
                    None
                }
            };
            if answered.is_some_and(|after| asked_in_vain + after < IN_TIME) {
                return Reach::Late;
            }
        }
        Reach::Impaired
    }

    pub(super) fn lease_request(
        &mut self,
        h: usize,
        (id, seat): (EffectId, Option<ClaimId>),
        request: LeaseRequest,
        deadline: Duration,
    ) {
        let number = self.requests.len();
        self.requests.push(Request {
            host: h,
            run: self.hosts[h].run,
            id,
            seat,
            request,
            done: false,
            told: false,
            silent: false,
            doubtful: false,
            throttled: false,
        });
        self.at(self.now + nanos(deadline), Ev::Deadline { request: number });
        self.ask(number, 0);
    }

    /// Asks the `turn`-th server, in this node's order of preference.
    pub(super) fn ask(&mut self, number: usize, turn: usize) {
        let (host, done, reads) = {
            let request = &self.requests[number];
            (request.host, request.done, matches!(request.request, LeaseRequest::Read))
        };
        if done {
            return;
        }
        if turn >= self.servers() {
            self.all_asked(number);
            return;
        }
        let server = (host + turn) % self.servers();
        let next = Ev::Ask { request: number, turn: turn + 1 };
        let soon = self.now + self.random.range(MS / 2, 3 * MS);
        let silence = self.now + if turn + 1 < self.servers() { HEDGE } else { PATIENCE };
        let Some(form) = self.form(host, server) else {
            self.at(soon, Ev::Perform { request: number, server, reply: true });
            return;
        };
        match form {
            ApiForm::Refused => self.at(soon, next),
            ApiForm::Hung => {
                if self.random.chance(20) && self.connected(host) && self.connected_server(server) {
                    let late = self.now + self.random.range(200 * MS, 3_000 * MS);
                    self.at(late, Ev::Perform { request: number, server, reply: false });
                }
                self.requests[number].silent = true;
                self.at(silence, next);
            }
            ApiForm::Errors => {
                self.requests[number].doubtful = true;
                if !reads && self.random.chance(20) {
                    self.at(soon - MS / 4, Ev::Perform { request: number, server, reply: false });
                }
                self.at(soon, next);
            }
            ApiForm::Throttled => {
                self.requests[number].throttled = true;
                self.at(soon, next);
            }
            ApiForm::Forbidden => {
                self.at(
                    soon,
                    Ev::Reply { request: number, server, outcome: Box::new(LeaseOutcome::Forbidden) },
                );
            }
            ApiForm::Slow => {
                self.at(self.now + SLOWLY / 2, Ev::Perform { request: number, server, reply: true });
                self.requests[number].silent = true;
                self.at(silence, next);
            }
            ApiForm::ReplyLost => {
                self.at(soon, Ev::Perform { request: number, server, reply: false });
                self.requests[number].silent = true;
                self.at(silence, next);
            }
            ApiForm::Stalled => {
                self.stalled.push((number, server));
                self.requests[number].silent = true;
                self.at(silence, next);
            }
        }
    }

    fn connected_server(&self, server: usize) -> bool {
        self.schedule.front_ends == FrontEnds::One || self.connected(server)
    }

    fn all_asked(&mut self, number: usize) {
        let request = &mut self.requests[number];
        if request.silent {
            let (host, run, id, seat) = (request.host, request.run, request.id, request.seat.clone());
            if !std::mem::replace(&mut request.told, true) && self.hosts[host].run == run {
                self.feed(host, report(seat, LeaseReport::Unanswered { id }));
            }
            // The request goes on: what was lost is sent again, by TCP or by the client.
            if self.random.chance(50) {
                self.at(self.now + PATIENCE, Ev::Ask { request: number, turn: 0 });
            }
            return;
        }
        let outcome = if request.doubtful {
            LeaseOutcome::Unknown
        } else if request.throttled {
            LeaseOutcome::Throttled { retry_after: Some(Duration::from_secs(1)) }
        } else {
            LeaseOutcome::Unreachable
        };
        self.finish(number, outcome);
    }

    pub(super) fn finish(&mut self, number: usize, outcome: LeaseOutcome) {
        let request = &mut self.requests[number];
        if std::mem::replace(&mut request.done, true) {
            return;
        }
        let (host, run, id) = (request.host, request.run, request.id);
        if self.hosts[host].run == run {
            self.feed(host, Input::Outcome { id, outcome: Outcome::Lease(outcome) });
        }
    }

    /// The server carries the request out.
    pub(super) fn perform(&mut self, number: usize, server: usize, reply: bool) {
        let wall = format!("2026-01-01T00:00:{:016.6}Z", Duration::from_nanos(self.now).as_secs_f64());
        let writes = !matches!(self.requests[number].request, LeaseRequest::Read);
        let Request { seat, request, .. } = &self.requests[number];
        let seat = seat.clone();
        let store = match &seat {
            Some(seat) => self.spread.leases.entry(seat.clone()).or_default(),
            None => &mut self.store,
        };
        let before = store.record().map(|record| record.resource_version.clone());
        let outcome = store.perform(request, &wall);
        let changed = writes && store.record().map(|record| record.resource_version.clone()) != before;
        if changed {
            self.store_changed(seat);
        }
        let host = self.requests[number].host;
        if reply {
            let slow = self.form(host, server) == Some(ApiForm::Slow);
            let delay = if slow { SLOWLY / 2 } else { self.random.range(MS / 4, 2 * MS) };
            self.at(self.now + delay, Ev::Reply { request: number, server, outcome: Box::new(outcome) });
        }
    }

    /// The server's answer reaches the client, if the way is open still.
    pub(super) fn reply(&mut self, number: usize, server: usize, outcome: LeaseOutcome) {
        match self.form(self.requests[number].host, server) {
            Some(ApiForm::Hung | ApiForm::ReplyLost) => self.requests[number].silent = true,
            Some(ApiForm::Refused) => self.finish(number, LeaseOutcome::Unknown),
            _ => {
                self.tell_reached(number);
                self.finish(number, outcome);
            }
        }
    }

    /// Between which addresses the answer came, where that is not the gateway's affair.
    fn tell_reached(&mut self, number: usize) {
        let (h, seat) = (self.requests[number].host, self.requests[number].seat.clone());
        let local = match self.tune.witness {
            Witness::Gateway => return,
            Witness::ApiServer => self.hosts[h].own,
            Witness::Nobody => ELSEWHERE,
        };
        self.feed(h, report(seat, LeaseReport::Reached { local, remote: API_SERVER }));
    }

    /// What stalled is answered.
    pub(super) fn release_stalled(&mut self) {
        for (request, server) in std::mem::take(&mut self.stalled) {
            let at = self.now + self.random.range(MS, 20 * MS);
            self.at(at, Ev::Perform { request, server, reply: true });
        }
    }

    /// The object has changed: all watches hear of it.
    pub(super) fn store_changed(&mut self, seat: Option<ClaimId>) {
        let record = self.lease_of(seat.as_ref());
        self.trace(|| match &record {
            Some(r) => format!(
                "lease of {seat:?}: {:?} epoch {} v{} {:?}",
                r.holder, r.transitions, r.resource_version, r.annotations
            ),
            None => "lease: deleted".to_owned(),
        });
        for h in 0..self.hosts.len() {
            if let Some(delay) = self.watch_delay(h) {
                self.watch_event(h, delay, (seat.clone(), record.clone()));
            }
        }
    }

    /// After which time a watch of node `h` says what has just happened, if it does.
    pub(super) fn watch_delay(&mut self, h: usize) -> Option<u64> {
        let server = self.watches[h].server?;
        let form = self.form(h, server);
        let lost = matches!(form, Some(ApiForm::Hung | ApiForm::Refused | ApiForm::Stalled));
        if lost || self.watches[h].silent > 0 {
            self.watches[h].missed = true;
            return None;
        }
        Some(self.random.range(MS / 2, 10 * MS) + self.watches[h].late)
    }

    /// The Lease of a seat, or the claim's.
    pub(super) fn lease_of(&self, seat: Option<&ClaimId>) -> Option<Arc<LeaseRecord>> {
        match seat {
            Some(seat) => self.spread.leases.get(seat)?.record().cloned(),
            None => self.store.record().cloned(),
        }
    }

    fn watch_event(&mut self, h: usize, delay: u64, news: (Option<ClaimId>, Option<Arc<LeaseRecord>>)) {
        let watch = &mut self.watches[h];
        watch.delivered_until = watch.delivered_until.max(self.now + delay);
        let (at, generation, (seat, record)) = (watch.delivered_until, watch.generation, news);
        self.at(at, Ev::Watched { host: h, generation, seat, record });
    }

    /// A seat is watched from now on: its watch begins with a list.
    pub(super) fn watch_also(&mut self, h: usize, seat: &ClaimId) {
        let record = self.lease_of(Some(seat));
        match self.watch_delay(h) {
            Some(delay) => self.watch_event(h, delay, (Some(seat.clone()), record)),
            None => self.feed(h, report(Some(seat.clone()), LeaseReport::WatchLost)),
        }
    }

    pub(super) fn watched(
        &mut self,
        h: usize,
        generation: u32,
        (seat, record): (Option<ClaimId>, Option<Arc<LeaseRecord>>),
    ) {
        if self.watches[h].generation == generation {
            let said = record.map_or(LeaseReport::Absent, |record| LeaseReport::Observed((*record).clone()));
            self.feed(h, report(seat, said));
        }
    }

    /// The agent is gone, and its watch with it.
    pub(super) fn watch_drop(&mut self, h: usize) {
        let watch = &mut self.watches[h];
        watch.generation += 1;
        watch.server = None;
        watch.attempts = 0;
        watch.missed = false;
    }

    /// Opens a watch at the first server that allows it; it begins with a list.
    pub(super) fn watch_connect(&mut self, h: usize) {
        if self.hosts[h].agent.is_none() {
            return;
        }
        let watch = &mut self.watches[h];
        watch.generation += 1;
        watch.server = None;
        watch.missed = false;
        let servers = self.servers();
        let usable = |form: Option<ApiForm>| matches!(form, None | Some(ApiForm::Slow));
        let found =
            (0..servers).map(|turn| (h + turn) % servers).find(|server| usable(self.form(h, *server)));
        if let Some(server) = found {
            let slow = self.form(h, server).is_some();
            self.watches[h].server = Some(server);
            self.watches[h].attempts = 0;
            let delay = if slow { 700 * MS } else { self.random.range(MS, 10 * MS) };
            for seat in [None].into_iter().chain(self.seats_known(h).into_iter().map(Some)) {
                let record = self.lease_of(seat.as_ref());
                self.watch_event(h, delay, (seat, record));
            }
            self.list_records(h, delay);
            return;
        }
        self.watches[h].attempts += 1;
        let attempts = self.watches[h].attempts;
        for seat in [None].into_iter().chain(self.seats_known(h).into_iter().map(Some)) {
            self.feed(h, report(seat, LeaseReport::WatchLost));
        }
        let pause = ((100 * MS) << attempts.min(6)).min(LONGEST_PAUSE);
        let at = self.now + self.random.range(pause / 2, pause);
        let generation = self.watches[h].generation;
        self.at(at, Ev::Reconnect { host: h, generation });
    }

    pub(super) fn reconnect(&mut self, h: usize, generation: u32) {
        if self.watches[h].generation == generation {
            self.watch_connect(h);
        }
    }

    /// Something about the API servers has changed: connections break, hang, or are found to have missed something.
    pub(super) fn api_changed(&mut self) {
        for h in 0..self.hosts.len() {
            let Some(server) = self.watches[h].server else { continue };
            let generation = self.watches[h].generation;
            match self.form(h, server) {
                Some(ApiForm::Refused) => self.at(self.now + MS, Ev::Reconnect { host: h, generation }),
                Some(ApiForm::Hung | ApiForm::Stalled) => {
                    self.at(self.now + KEEP_ALIVE, Ev::StaleWatch { host: h, generation });
                }
                _ if self.watches[h].missed && self.watches[h].silent == 0 => {
                    let at = self.now + self.random.range(MS, 1_000 * MS);
                    self.at(at, Ev::Reconnect { host: h, generation });
                }
                _ => {}
            }
        }
    }

    pub(super) fn stale_watch(&mut self, h: usize, generation: u32) {
        let Some(server) = self.watches[h].server else { return };
        let dead = matches!(self.form(h, server), Some(ApiForm::Hung | ApiForm::Stalled));
        if self.watches[h].generation == generation && (dead || self.watches[h].missed) {
            self.watch_connect(h);
        }
    }
}

/// What is said of a seat's Lease, or of the claim's.
fn report(seat: Option<ClaimId>, report: LeaseReport) -> Input {
    match seat {
        Some(seat) => Input::SeatLease { seat, report },
        None => Input::Lease(report),
    }
}
