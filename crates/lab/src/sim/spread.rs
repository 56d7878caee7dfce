//! Services spread over nodes by seats: the record that the API servers keep, what each agent knows of it, and what the
//! one that places adds to it. Whoever decides is the core; how an agent hands it on, with its own delays, is here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mainstay_core::input::{Input, Seat};
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_core::placement::{Candidate, Fitness};
use mainstay_core::snapshot::ClaimMemory;
use mainstay_core::spread::{self, Demand, Placer};
use mainstay_core::vip::Vip;

use super::machine::Machine;
use super::queue::Ev;
use super::schedule::{ApiForm, Kind, Schedule};
use super::store::Store;
use super::world::World;
use judge::Judged;

mod judge;
mod look;

const MS: u64 = 1_000_000;
/// When the Services are made: by then each node holds its own seat, or has failed to.
const MADE_AT: u64 = 8_000 * MS;
/// How long a write that is not seen to be done keeps its Service from being written again.
const WRITE_AGAIN: u64 = 2_000 * MS;

/// At which seat a Service's address is, by its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    vip: Vip,
    version: u64,
    home: NodeName,
}

/// All of them.
pub(super) type Records = BTreeMap<Vip, Record>;

/// What there is beside the one claim.
#[derive(Debug)]
pub(super) struct Spread {
    /// Of Services.
    pub(super) addresses: Vec<Vip>,
    records: Records,
    /// When somebody last changed the record by hand.
    pub(super) meddled_at: Option<u64>,
    /// Of seats.
    pub(super) leases: BTreeMap<ClaimId, Store>,
    known: Vec<Known>,
    pub(super) judged: Vec<Judged>,
}

/// What one run of an agent knows.
#[derive(Debug, Default)]
struct Known {
    memories: BTreeMap<ClaimId, ClaimMemory>,
    records: Option<Arc<Records>>,
    recorded_until: u64,
    /// What its core was told last.
    told: BTreeMap<ClaimId, Option<BTreeSet<Vip>>>,
    placer: Placer,
    /// Until when each Service's write counts as under way.
    writes: BTreeMap<Vip, u64>,
}

/// Whether it is an address of a Service or of a seat.
pub(super) fn is_spread(vip: Vip) -> bool {
    matches!(vip, IpAddr::V4(v4) if matches!(v4.octets(), [10, 1, ..] | [169, 254, ..]))
}

fn address(index: usize) -> Vip {
    IpAddr::from([10, 1, 0, u8::try_from(index + 1).unwrap_or(u8::MAX)])
}

fn name(node: usize) -> NodeName {
    NodeName::new(&format!("node-{}", node + 1))
}

fn beacon(node: usize) -> Vip {
    IpAddr::from([169, 254, 200, u8::try_from(node + 1).unwrap_or(u8::MAX)])
}

impl Spread {
    /// What a schedule spreads; not made yet.
    pub(super) fn new(schedule: &Schedule) -> Self {
        let addresses: Vec<Vip> = (0..schedule.addresses).map(address).collect();
        let known = (0..schedule.nodes).map(|_| Known::default()).collect();
        let judged = if addresses.is_empty() { Vec::new() } else { judge::all(schedule, &addresses) };
        Self { records: BTreeMap::new(), meddled_at: None, leases: BTreeMap::new(), known, judged, addresses }
    }
}

impl<M: Machine> World<M> {
    pub(super) fn is_spread(&self) -> bool {
        !self.spread.addresses.is_empty()
    }

    /// The Services are made, placed evenly.
    pub(super) fn plan_services(&mut self) {
        for (index, vip) in self.spread.addresses.clone().into_iter().enumerate() {
            let record = Record { vip, version: 0, home: name(index % self.hosts.len()) };
            self.at(MADE_AT, Ev::Write { record });
        }
    }

    /// A new run of an agent goes on with the seats that it remembers, and its own.
    pub(super) fn spread_begins(&mut self, h: usize, memories: BTreeMap<ClaimId, ClaimMemory>) {
        if self.is_spread() {
            self.spread.known[h] = Known { memories, ..Known::default() };
            self.follow_records(h);
            self.next_turn(h);
        }
    }

    fn next_turn(&mut self, h: usize) {
        let (at, run) = (self.now + self.random.range(20 * MS, 120 * MS), self.hosts[h].run);
        self.at(at, Ev::Spread { host: h, run });
    }

    /// The thread of an agent that decides on Services looks again.
    pub(super) fn spread_turn(&mut self, h: usize, run: u32) {
        if self.hosts[h].run != run {
            return;
        }
        if !self.hosts[h].stands_still() {
            self.follow_records(h);
            self.place(h);
        }
        self.next_turn(h);
    }

    // === what an agent's core is told ===

    fn members(&self, h: usize) -> BTreeSet<NodeName> {
        let now = self.hosts[h].clock.moment(self.now);
        let status = self.hosts[h].agent.as_ref().and_then(|agent| agent.machine.status(now));
        let listed = status.into_iter().flat_map(|status| status.members);
        listed.map(|member| NodeName::new(&member)).chain([name(h)]).collect()
    }

    /// Which seats there are, and what is placed at each: what is remembered, until the record was read.
    fn follow_records(&mut self, h: usize) {
        let known = &self.spread.known[h];
        let told: BTreeMap<ClaimId, Option<BTreeSet<Vip>>> = match &known.records {
            None => {
                let homes = known.memories.keys().filter_map(ClaimId::home).chain([name(h)]);
                homes.map(|home| (ClaimId::seat(&home), None)).collect()
            }
            Some(records) => {
                let homes = self.members(h).into_iter().chain(records.values().map(|one| one.home.clone()));
                let at = |home: &NodeName| {
                    records.values().filter(|one| one.home == *home).map(|one| one.vip).collect()
                };
                homes.map(|home| (ClaimId::seat(&home), Some(at(&home)))).collect()
            }
        };
        if told == known.told {
            return;
        }
        let seats = told.iter().map(|(claim, placed)| (claim.clone(), self.seat(h, claim, placed.clone())));
        let input = Input::Seats(seats.collect());
        let new: Vec<ClaimId> =
            told.keys().filter(|claim| !known.told.contains_key(*claim)).cloned().collect();
        self.spread.known[h].told = told;
        self.feed(h, input);
        new.iter().for_each(|claim| self.watch_also(h, claim));
    }

    fn seat(&self, h: usize, claim: &ClaimId, services: Option<BTreeSet<Vip>>) -> Seat {
        let home = claim.home();
        let node = self.hosts.iter().position(|host| Some(&host.name) == home.as_ref()).unwrap_or(0);
        let memory = self.spread.known[h].memories.get(claim).cloned();
        let known = memory.iter().flat_map(|memory| memory.services.iter().copied()).chain([beacon(node)]);
        let found = known.filter(|vip| self.hosts[h].addresses.contains_key(vip)).collect();
        Seat { beacon: beacon(node), services, memory, found }
    }

    /// The seats that an agent watches.
    pub(super) fn seats_known(&self, h: usize) -> Vec<ClaimId> {
        self.spread.known[h].told.keys().cloned().collect()
    }

    // === the record ===

    /// A watch begins with a list.
    pub(super) fn list_records(&mut self, h: usize, delay: u64) {
        if !self.is_spread() {
            return;
        }
        let records = Arc::new(self.spread.records.clone());
        let (generation, known) = (self.watches[h].generation, &mut self.spread.known[h]);
        known.recorded_until = known.recorded_until.max(self.now + delay);
        let at = known.recorded_until;
        self.at(at, Ev::Recorded { host: h, generation, records });
    }

    /// A watch says what is on record.
    pub(super) fn recorded(&mut self, h: usize, generation: u32, records: &Arc<Records>) {
        if self.watches[h].generation == generation {
            let known = &mut self.spread.known[h];
            known.records = Some(Arc::clone(records));
            known.writes.clear();
        }
    }

    /// An API server carries a write out, if nobody was faster.
    pub(super) fn write_record(&mut self, record: Record) {
        let before = self.spread.records.get(&record.vip);
        if before.map_or(0, |before| before.version) != record.version {
            return;
        }
        self.trace(|| format!("record: {record:?}, after {before:?}"));
        let version = record.version + 1;
        self.spread.records.insert(record.vip, Record { version, ..record });
        for h in 0..self.hosts.len() {
            if let Some(delay) = self.watch_delay(h) {
                self.list_records(h, delay);
            }
        }
    }

    /// Who holds the claim of all Services adds to the record what it decides.
    fn place(&mut self, h: usize) {
        let now = self.hosts[h].clock.moment(self.now);
        let Some(agent) = &self.hosts[h].agent else { return };
        let holds = agent.machine.status(now).is_some_and(|status| status.state == "holding");
        let Some(records) = self.spread.known[h].records.clone().filter(|_| holds) else {
            self.spread.known[h].placer = Placer::default();
            return;
        };
        let holders: BTreeMap<ClaimId, Option<NodeName>> = agent
            .machine
            .seats(now)
            .into_iter()
            .map(|seat| (seat.claim, seat.holder.as_deref().map(NodeName::new)))
            .collect();
        let held = |home: NodeName| {
            let holder = holders.get(&ClaimId::seat(&home)).cloned().flatten();
            (home, spread::Seat { holder, has_agent: true })
        };
        let seats: spread::Seats = self.members(h).into_iter().map(held).collect();
        let demands: Vec<Demand> = records.values().map(|record| self.demand(record)).collect();
        let decision = self.spread.known[h].placer.decide(now, &demands, &seats);
        for record in records.values() {
            match decision.seats.get(&ClaimId::service(record.vip)) {
                Some(home) if *home != record.home => {
                    self.write(h, Record { home: home.clone(), ..record.clone() });
                }
                _ => {}
            }
        }
    }

    /// A node that may hold no Services could hold none of them.
    fn demand(&self, record: &Record) -> Demand {
        let fit = self.hosts.iter().filter(|host| host.unhealthy == 0);
        let candidate = |node| Candidate { node, fitness: Fitness::Fit, weight: 0 };
        let candidates = fit.map(|host| candidate(host.name.clone())).collect();
        Demand { claim: ClaimId::service(record.vip), records: vec![record.home.clone()], candidates }
    }

    /// Sends a write by the first server that lets it, and again after a while.
    fn write(&mut self, h: usize, record: Record) {
        let (now, vip) = (self.now, record.vip);
        if self.spread.known[h].writes.get(&vip).is_some_and(|until| now < *until) {
            return;
        }
        self.spread.known[h].writes.insert(vip, now + WRITE_AGAIN);
        let mut forms = (0..self.servers()).map(|turn| self.form(h, (h + turn) % self.servers()));
        let form = forms
            .find(|form| matches!(form, None | Some(ApiForm::Slow)))
            .unwrap_or(self.form(h, h % self.servers()));
        let soon = now + self.random.range(MS, 5 * MS);
        let late = now + self.random.range(200 * MS, 3_000 * MS);
        match form {
            None | Some(ApiForm::ReplyLost) => self.at(soon, Ev::Write { record }),
            Some(ApiForm::Slow) => self.at(soon + 350 * MS, Ev::Write { record }),
            Some(ApiForm::Errors) if self.random.chance(20) => self.at(soon, Ev::Write { record }),
            Some(ApiForm::Hung | ApiForm::Stalled) if self.random.chance(20) => {
                self.at(late, Ev::Write { record });
            }
            Some(_) => {}
        }
    }

    /// Somebody meddles with the Leases: the claim's, and one seat's.
    pub(super) fn meddle(&mut self, kind: Kind) {
        let first = self.is_spread().then(|| ClaimId::seat(&name(0)));
        for seat in [None].into_iter().chain(first.map(Some)) {
            let store = match &seat {
                Some(seat) => self.spread.leases.entry(seat.clone()).or_default(),
                None => &mut self.store,
            };
            match kind {
                Kind::LeaseDeleted => store.delete(),
                _ => store.set_back(),
            }
            self.store_changed(seat);
        }
    }
}
