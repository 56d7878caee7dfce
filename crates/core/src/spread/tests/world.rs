//! A few claims, seats, a placer, and whoever writes down what it decides.

use super::super::*;
use crate::placement::{Fitness, Reluctance};
use crate::vip::Vip;

pub(super) fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

/// The claim of that number.
pub(super) fn id(number: u32) -> ClaimId {
    ClaimId::service(Vip::from((0x0a00_0000 + number).to_be_bytes()))
}

/// `NAME[=WEIGHT][~]`, where `~` is cordoned.
pub(super) fn candidate(text: &str) -> Candidate {
    let reluctant = Fitness::Reluctant(Reluctance::Unschedulable);
    let fitness = if text.ends_with('~') { reluctant } else { Fitness::Fit };
    let (name, weight) =
        text.trim_end_matches('~').split_once('=').unwrap_or((text.trim_end_matches('~'), "0"));
    Candidate { node: node(name), fitness, weight: weight.parse().expect("a weight") }
}

pub(super) fn nodes(names: &str) -> Vec<NodeName> {
    names.split_whitespace().map(node).collect()
}

/// A slow move: when it came on record, of which claim, and between which seats.
pub(super) type Moved = (Moment, ClaimId, NodeName, NodeName);

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: Moment,
    pub(super) placer: Placer,
    pub(super) demands: BTreeMap<ClaimId, Demand>,
    pub(super) seats: Seats,
}

impl World {
    /// Each of `homes` holds its own seat.
    pub(super) fn of(homes: &str) -> Self {
        let seat = |home: NodeName| (home.clone(), Seat { holder: Some(home), has_agent: true });
        let seats = nodes(homes).into_iter().map(seat).collect();
        Self { now: Moment::from_millis(1), placer: Placer::default(), demands: BTreeMap::new(), seats }
    }

    pub(super) fn claim(&mut self, number: u32, candidates: &str) -> &mut Self {
        let candidates = candidates.split_whitespace().map(candidate).collect();
        let demand = Demand { claim: id(number), records: vec![], candidates };
        self.demands.insert(id(number), demand);
        self
    }

    pub(super) fn recorded(&mut self, number: u32, seats: &str) -> &mut Self {
        self.demands.get_mut(&id(number)).expect("it is there").records = nodes(seats);
        self
    }

    fn seat(&mut self, home: &str) -> &mut Seat {
        let new = Seat { holder: Some(node(home)), has_agent: true };
        self.seats.entry(node(home)).or_insert(new)
    }

    pub(super) fn hold(&mut self, home: &str, holder: &str) -> &mut Self {
        self.seat(home).holder = Some(node(holder));
        self
    }

    pub(super) fn lose(&mut self, home: &str) -> &mut Self {
        self.seat(home).holder = None;
        self
    }

    pub(super) fn without_agent(&mut self, home: &str) -> &mut Self {
        self.seat(home).has_agent = false;
        self
    }

    pub(super) fn decision(&mut self) -> Decision {
        self.placer.decide(self.now, self.demands.values(), &self.seats)
    }

    /// What a placer that knows nothing decides, claim by claim; `-` is nowhere.
    pub(super) fn placer_decides(&self) -> String {
        let decision = Placer::default().decide(self.now, self.demands.values(), &self.seats);
        let seat = |claim: &ClaimId| decision.seats.get(claim).map_or("-", NodeName::as_str);
        self.demands.keys().map(seat).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn records(&self) -> String {
        let seat = |demand: &Demand| demand.records.first().map_or("-", NodeName::as_str).to_owned();
        self.demands.values().map(seat).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn has_record(&self, seat: &NodeName) -> bool {
        self.demands.values().any(|demand| demand.records.first() == Some(seat))
    }

    /// One claim's part of a decision comes on record.
    pub(super) fn write(&mut self, decision: &Decision, number: u32) {
        self.write_claim(decision, &id(number));
    }

    pub(super) fn write_claim(&mut self, decision: &Decision, claim: &ClaimId) {
        if let (Some(seat), Some(demand)) = (decision.seats.get(claim), self.demands.get_mut(claim)) {
            demand.records = vec![seat.clone()];
        }
    }

    /// All of a decision comes on record; what had a record before, and has another now, has moved.
    pub(super) fn write_all(&mut self, decision: &Decision) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (claim, seat) in &decision.seats {
            let demand = self.demands.get_mut(claim).expect("it is known");
            if let Some(from) = demand.records.first().filter(|from| *from != seat) {
                moved.push((self.now, claim.clone(), from.clone(), seat.clone()));
            }
            demand.records = vec![seat.clone()];
        }
        moved
    }

    /// Decides, writes and waits until there is nothing left to do. What moved on the way.
    pub(super) fn settle(&mut self) -> Vec<Moved> {
        let mut moved = Vec::new();
        for _ in 0..20_000 {
            let decision = self.decision();
            let is_recorded =
                |(claim, seat): (&ClaimId, &NodeName)| self.demands[claim].records == [seat.clone()];
            let is_all_recorded = decision.seats.iter().all(is_recorded);
            moved.extend(self.write_all(&decision));
            match decision.look_again {
                Some(then) if is_all_recorded => self.now = then,
                None if is_all_recorded => return moved,
                _ => {}
            }
        }
        panic!("it goes on for ever: {:?}", moved.last());
    }

    /// How many claims are recorded with each node that holds a seat.
    pub(super) fn loads(&self) -> BTreeMap<NodeName, usize> {
        let holders = self.seats.values().filter_map(|seat| seat.holder.clone());
        let mut loads: BTreeMap<NodeName, usize> = holders.map(|holder| (holder, 0)).collect();
        for demand in self.demands.values() {
            let seat = demand.records.first().and_then(|seat| self.seats.get(seat));
            if let Some(load) = seat.and_then(|seat| loads.get_mut(seat.holder.as_ref()?)) {
                *load += 1;
            }
        }
        loads
    }
}
