//! Some nodes with seats on one segment, with one authority: everything takes a millisecond or two, and what is asked
//! for fails or is lost only where a test says so. The simulation in `lab` is the one that is unkind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::authority::annotations::members;
use crate::effect::{Effect, LeaseDraft, LeaseRequest, ProbeTo, Stamp};
use crate::event::Event;
use crate::input::{
    AddressChange, EffectId, Frame, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome, Seat,
};
use crate::names::{ClaimId, InstanceId, Mac, NodeName};
use crate::node::Node;
use crate::seats::timing;
use crate::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
use crate::snapshot::{Member, Snapshot};
use crate::time::Moment;
use crate::vip::{Mark, Vip};

const DELAY: Duration = Duration::from_millis(1);
mod authority;

const ANNOUNCE_EVERY: Duration = Duration::from_secs(3);

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) hosts: Vec<Host>,
    /// What is recorded: at which seat each address is.
    pub(super) placed: BTreeMap<Vip, NodeName>,
    leases: BTreeMap<ClaimId, LeaseRecord>,
    pub(super) api: bool,
    version: u64,
    due: BTreeMap<(Moment, u64), (usize, Due)>,
    order: u64,
    pub(super) writes: u64,
    /// Writes on a seat's Lease by other nodes than its home.
    pub(super) writes_of_guests: u64,
    /// How often each host asked for each address.
    pub(super) questions: BTreeMap<(usize, IpAddr), u64>,
    /// Nodes whose seats are not named any more.
    pub(super) gone: BTreeSet<usize>,
    /// Every moment's wearers of each address that changed then.
    pub(super) history: Vec<(Moment, Vip, Vec<usize>)>,
    /// Who said of which node that it is dead.
    pub(super) failed: Vec<(usize, NodeName)>,
}

pub(super) struct Host {
    node: Option<Node>,
    pub(super) worn: BTreeSet<Vip>,
    announced: BTreeMap<ClaimId, (Vec<Vip>, Mark)>,
    listens: BTreeSet<Vip>,
    hears: BTreeSet<IpAddr>,
    pub(super) snapshot: Option<Snapshot>,
    /// Frames reach it and leave it.
    pub(super) wire: bool,
    /// The record as it was seen last.
    pub(super) sees: BTreeMap<Vip, NodeName>,
    pub(super) stopped: bool,
    /// Its kernel runs, and answers for its own address, whatever becomes of its agent.
    powered: bool,
}

enum Due {
    Input(Input),
    Announce,
}

pub(super) fn name(host: usize) -> NodeName {
    NodeName::new(&format!("n{host}"))
}

fn mac(host: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(host).expect("few hosts")])
}

pub(super) fn own(host: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(host + 1).expect("few hosts")])
}

pub(super) fn vip(number: u8) -> Vip {
    IpAddr::from([10, 0, 1, number])
}

pub(super) fn seat(host: usize) -> ClaimId {
    ClaimId::seat(&name(host))
}

pub(super) fn beacon(host: usize) -> Vip {
    IpAddr::from([169, 254, 200, u8::try_from(host + 1).expect("few hosts")])
}

fn settings(host: usize) -> Settings {
    Settings {
        node: name(host),
        instance: InstanceId(u64::try_from(host).expect("few hosts")),
        boot_id: "boot".to_owned(),
        claim: ClaimId::services(),
        vips: vec![IpAddr::from([169, 254, 201, 1])],
        own: Member { macs: vec![mac(host)], addresses: vec![own(host)] },
        witnesses: vec![],
        lease: timing(LeaseTiming::default()),
        authority: Authority::Lease,
        detection: Detection::default(),
        on_authority_loss: OnAuthorityLoss::Hold,
        lifetime: Duration::from_secs(15),
        restart_grace: Duration::from_secs(600),
        report_failures: true,
    }
}

impl World {
    /// So many nodes, all with a seat, and nothing placed.
    pub(super) fn new(hosts: usize) -> Self {
        let host = |_| Host {
            node: None,
            worn: BTreeSet::new(),
            announced: BTreeMap::new(),
            listens: BTreeSet::new(),
            hears: BTreeSet::new(),
            snapshot: None,
            wire: true,
            sees: BTreeMap::new(),
            stopped: false,
            powered: true,
        };
        let mut world = Self {
            now: Moment::ZERO + Duration::from_secs(1),
            hosts: (0..hosts).map(host).collect(),
            placed: BTreeMap::new(),
            leases: BTreeMap::new(),
            api: true,
            version: 0,
            due: BTreeMap::new(),
            order: 0,
            writes: 0,
            writes_of_guests: 0,
            questions: BTreeMap::new(),
            gone: BTreeSet::new(),
            history: Vec::new(),
            failed: Vec::new(),
        };
        (0..hosts).for_each(|host| world.start(host));
        world
    }

    // === what a test does ===

    pub(super) fn start(&mut self, host: usize) {
        self.hosts[host].powered = true;
        let kept = self.hosts[host].snapshot.as_ref();
        let memory = kept.and_then(|snapshot| snapshot.claims.get(&ClaimId::services()).cloned());
        let found = Found { memory, link_up: true, ..Found::default() };
        self.hosts[host].node = Some(Node::new(settings(host), found, self.now, 1));
        // As the agent does: what is remembered of seats is kept by whoever knows of it.
        self.show(host);
        self.give(host, &Input::Tick);
        if self.api {
            for claim in self.claims() {
                self.watch(host, &claim);
            }
        }
    }

    /// Its agent is gone, with what it announced; its kernel keeps the addresses.
    pub(super) fn kill(&mut self, host: usize) {
        self.hosts[host].node = None;
        self.hosts[host].announced.clear();
        self.due.retain(|_, (of, due)| *of != host || matches!(due, Due::Announce));
    }

    /// All of it is gone.
    pub(super) fn power_off(&mut self, host: usize) {
        self.kill(host);
        self.hosts[host].powered = false;
        self.hosts[host].worn.clear();
        self.hosts[host].snapshot = None;
        self.note_all();
    }

    /// The lifetimes of what a dead agent left run out.
    pub(super) fn expire(&mut self, host: usize) {
        self.hosts[host].worn.clear();
        self.note_all();
    }

    pub(super) fn place(&mut self, vip: Vip, host: usize) {
        self.placed.insert(vip, name(host));
        (0..self.hosts.len()).for_each(|host| self.show(host));
    }

    pub(super) fn stop(&mut self, host: usize) {
        self.give(host, &Input::Shutdown);
    }

    /// Somebody deletes an address by hand.
    pub(super) fn delete(&mut self, host: usize, vip: Vip) {
        assert!(self.hosts[host].worn.remove(&vip), "{vip} is not there");
        self.note(vip);
        self.give(host, &Input::Address(AddressChange::Removed { vip, expired: false }));
    }

    /// The record as it stands, as this host sees it from now on.
    pub(super) fn show(&mut self, host: usize) {
        if self.api {
            self.hosts[host].sees = self.placed.clone();
        }
        let sees = self.api || !self.hosts[host].sees.is_empty();
        let named = (0..self.hosts.len()).filter(|home| !self.gone.contains(home));
        let seats = named.map(|home| (seat(home), self.wish(host, home, sees))).collect();
        self.give(host, &Input::Seats(seats));
    }

    fn wish(&self, host: usize, home: usize, sees: bool) -> Seat {
        let Host { sees: placed, snapshot, worn, .. } = &self.hosts[host];
        let there = placed.iter().filter(|(_, at)| **at == name(home)).map(|(vip, _)| *vip).collect();
        let memory = snapshot.as_ref().and_then(|snapshot| snapshot.claims.get(&seat(home)).cloned());
        let known: BTreeSet<Vip> = memory.iter().flat_map(|one| one.services.iter().copied()).collect();
        let found =
            worn.iter().filter(|vip| known.contains(*vip) || **vip == beacon(home)).copied().collect();
        Seat { beacon: beacon(home), services: sees.then_some(there), memory, found }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let ticks = self.hosts.iter().enumerate();
            let tick = ticks.filter_map(|(at, host)| Some((host.node.as_ref()?.next_deadline(), at))).min();
            let event = self.due.keys().next().copied();
            let next = tick.map(|(at, _)| at).into_iter().chain(event.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            match event.filter(|(at, _)| tick.is_none_or(|(tick, _)| *at <= tick)) {
                Some(key) => self.happen(key),
                None => tick.into_iter().for_each(|(_, host)| self.give(host, &Input::Tick)),
            }
        }
        self.now = end;
    }

    // === what a test looks at ===

    pub(super) fn wearers(&self, vip: Vip) -> Vec<usize> {
        let wears = |host: &Host| host.worn.contains(&vip);
        self.hosts.iter().enumerate().filter(|(_, host)| wears(host)).map(|(at, _)| at).collect()
    }

    /// Who holds a seat, by its own word.
    pub(super) fn holders(&self, home: usize) -> Vec<usize> {
        let holds = |host: &Host| {
            let node = host.node.as_ref()?;
            let status = node.seats(self.now).into_iter().find(|status| status.claim == seat(home))?;
            (status.state == "holding").then_some(())
        };
        self.hosts.iter().enumerate().filter(|(_, host)| holds(host).is_some()).map(|(at, _)| at).collect()
    }

    /// Who holds the claim of all Services, by its own word: the placer.
    pub(super) fn holders_of_all(&self) -> Vec<usize> {
        let holds =
            |host: &Host| host.node.as_ref().is_some_and(|node| node.status(self.now).state == "holding");
        self.hosts.iter().enumerate().filter(|(_, host)| holds(host)).map(|(at, _)| at).collect()
    }

    pub(super) fn seats(&self, host: usize) -> Vec<ClaimId> {
        let node = self.hosts[host].node.as_ref().expect("it runs");
        node.seats(self.now).into_iter().map(|status| status.claim).collect()
    }

    /// The members that a host knows of each seat.
    pub(super) fn members(&self, host: usize) -> Vec<Vec<String>> {
        let node = self.hosts[host].node.as_ref().expect("it runs");
        node.seats(self.now).into_iter().map(|status| status.members).collect()
    }

    /// Whom a seat's Lease lists.
    pub(super) fn listed(&self, home: usize) -> Vec<NodeName> {
        self.leases.get(&seat(home)).into_iter().flat_map(|lease| members(lease).into_keys()).collect()
    }

    /// For how long nobody wore an address, from a moment on.
    pub(super) fn dark(&self, vip: Vip, from: Moment) -> Duration {
        let mut dark = Duration::ZERO;
        let mut since: Option<Moment> = None;
        for (at, _, wearers) in self.history.iter().filter(|(_, of, _)| *of == vip) {
            match (since, wearers.is_empty()) {
                (None, true) => since = Some(*at),
                (Some(began), false) if *at >= from => {
                    dark += at.since(began.max(from));
                    since = None;
                }
                (Some(_), false) => since = None,
                _ => {}
            }
        }
        dark + since.map_or(Duration::ZERO, |began| self.now.since(began.max(from)))
    }

    // === how things go ===

    fn claims(&self) -> Vec<ClaimId> {
        (0..self.hosts.len()).map(seat).chain([ClaimId::services()]).collect()
    }

    fn later(&mut self, after: Duration, host: usize, due: Due) {
        self.order += 1;
        self.due.insert((self.now + after, self.order), (host, due));
    }

    fn happen(&mut self, key: (Moment, u64)) {
        let Some((host, due)) = self.due.remove(&key) else { return };
        match due {
            Due::Input(input) => self.give(host, &input),
            Due::Announce => {
                self.announce_all(host);
                self.later(ANNOUNCE_EVERY, host, Due::Announce);
            }
        }
    }

    pub(super) fn give(&mut self, host: usize, input: &Input) {
        let now = self.now;
        let Some(node) = self.hosts[host].node.as_mut() else { return };
        let output = node.handle(now, input);
        let failed = output.events.into_iter().filter_map(|event| match event {
            Event::NodeFailed { node, .. } => Some((host, node)),
            _ => None,
        });
        self.failed.extend(failed);
        output.effects.into_iter().for_each(|effect| self.carry_out(host, effect));
    }

    fn carry_out(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Assign { id, vips, .. } => {
                self.hosts[host].worn.extend(&vips);
                vips.into_iter().for_each(|vip| self.note(vip));
                self.conclude(host, id, Outcome::Done);
            }
            Effect::Withdraw { id, vips, .. } => {
                self.hosts[host].worn.retain(|vip| !vips.contains(vip));
                vips.into_iter().for_each(|vip| self.note(vip));
                self.conclude(host, id, Outcome::Done);
            }
            Effect::Announce { claim, vips, mark, .. } => {
                let begins = self.hosts[host].announced.is_empty();
                self.hosts[host].announced.insert(claim, (vips, mark));
                self.announce_all(host);
                if begins && !self.due.values().any(|(of, due)| *of == host && matches!(due, Due::Announce)) {
                    self.later(ANNOUNCE_EVERY, host, Due::Announce);
                }
            }
            Effect::Silence { claim } => drop(self.hosts[host].announced.remove(&claim)),
            Effect::Probe { id, target, to, mark } => self.probe(host, id, (target, to, mark)),
            Effect::Listen { vips, others } => {
                (self.hosts[host].listens, self.hosts[host].hears) = (vips, others)
            }
            Effect::Lease { id, request, .. } => self.ask(host, id, &request),
            Effect::Save(snapshot) => self.hosts[host].snapshot = Some(snapshot),
            Effect::Stop => {
                self.hosts[host].stopped = true;
                self.kill(host);
            }
        }
    }

    fn conclude(&mut self, host: usize, id: EffectId, outcome: Outcome) {
        self.later(DELAY, host, Due::Input(Input::Outcome { id, outcome }));
    }

    fn note(&mut self, vip: Vip) {
        let wearers = self.wearers(vip);
        self.history.push((self.now, vip, wearers));
    }

    fn note_all(&mut self) {
        let all: BTreeSet<Vip> = self.history.iter().map(|(_, vip, _)| *vip).collect();
        all.into_iter().for_each(|vip| self.note(vip));
    }

    fn announce_all(&mut self, host: usize) {
        let announced: Vec<_> = self.hosts[host].announced.values().cloned().collect();
        for (vips, mark) in announced {
            for vip in vips.into_iter().filter(|vip| self.hosts[host].worn.contains(vip)).collect::<Vec<_>>()
            {
                self.tell(host, None, (Some(vip), vip, Some(mark)));
            }
        }
    }

    /// A frame to one host, or to all.
    fn tell(&mut self, from: usize, to: Option<usize>, frame: (Option<IpAddr>, IpAddr, Option<Mark>)) {
        let (sender, target, mark) = frame;
        for host in (0..self.hosts.len()).filter(|host| *host != from && to.is_none_or(|to| to == *host)) {
            let about = sender.unwrap_or(target);
            let hears = self.hosts[host].listens.contains(&about) || self.hosts[host].hears.contains(&about);
            if self.hosts[from].wire && self.hosts[host].wire && hears {
                let heard_at = self.now + DELAY;
                let frame = Frame { heard_at, mac: mac(from), sender, target, mark };
                self.later(DELAY, host, Due::Input(Input::Frame(frame)));
            }
        }
    }

    fn probe(&mut self, host: usize, id: EffectId, question: (IpAddr, ProbeTo, Option<Mark>)) {
        let (target, to, mark) = question;
        *self.questions.entry((host, target)).or_default() += 1;
        self.conclude(host, id, Outcome::Sent(self.now));
        let asked = |one: &usize| match to {
            ProbeTo::All => true,
            ProbeTo::One(asked) => asked == mac(*one),
        };
        for other in (0..self.hosts.len()).filter(|other| *other != host).filter(asked) {
            self.tell(host, Some(other), (None, target, mark));
            let lives = self.hosts[other].powered;
            if self.hosts[other].worn.contains(&target) || (lives && own(other) == target) {
                self.tell(other, Some(host), (Some(target), target, None));
            }
        }
    }
}
