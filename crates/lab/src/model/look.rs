//! The world as the checker sees it, and when a run is over.

use std::hash::Hash;
use std::time::Duration;

use mainstay_core::check::{
    AgentState, Disturbance, Entry, Invariant, LeaseView, NodeView, Path, Reach, View, Violation,
};

use super::world::{NODES, World};
use crate::sim::random::nanos;
use crate::sim::{Kind, Machine};

/// What a search asserts. The rest (storms, the API's cost) is the simulation's.
const ASSERTED: [Invariant; 9] = [
    Invariant::OneHolder,
    Invariant::Served,
    Invariant::OutageMovesNothing,
    Invariant::EpochGrows,
    Invariant::OneConfirmed,
    Invariant::Settled,
    Invariant::AnnouncementGap,
    Invariant::PresentThenAnnounced,
    Invariant::DeadMan,
];

impl<M: Machine + Clone + Hash> World<M> {
    /// Shows the checker the world as it is.
    pub(super) fn look(&mut self) {
        let view = self.view();
        let before = self.checker.violations().len();
        self.checker.observe(&view);
        if self.checker.violations().len() > before && self.first_asserted().is_some() {
            let found = self.checker.violations()[before..].to_vec();
            self.note(|| format!("VIOLATION {found:?}"));
        }
        let well = self.is_well(&view);
        self.well_since = if well { self.well_since.or(Some(self.now)) } else { None };
    }

    /// The first promise broken that a search asserts.
    #[must_use]
    pub fn first_asserted(&self) -> Option<&Violation> {
        self.checker.violations().iter().find(|violation| ASSERTED.contains(&violation.invariant))
    }

    /// Whether this promise is kept so far.
    #[must_use]
    pub fn keeps(&self, invariant: Invariant) -> bool {
        self.checker.violations().iter().all(|violation| violation.invariant != invariant)
    }

    fn is_well(&self, view: &View) -> bool {
        let mut holders = view.holders();
        let (Some(holder), None) = (holders.next(), holders.next()) else { return false };
        let confirmed = view.nodes[holder]
            .announces
            .is_some_and(|mark| mark.tenure == mainstay_core::vip::Tenure::Confirmed);
        let alone = (0..NODES).all(|h| h == holder || !view.nodes[h].wears);
        let right = self.client == Some(holder) && self.last_announcer == Some(holder);
        confirmed && alone && right && self.active.is_empty() && view.disturbance == Disturbance::None
    }

    /// Ends the run if a promise is broken, if all is well for a while and nothing more can go wrong, or if the time
    /// is over in which all must have become well. Without a fault nothing is left to see after the window.
    pub(super) fn end_if_over(&mut self) {
        let calm = nanos(self.plan.calm);
        let well = self.well_since.is_some_and(|since| self.now >= since.max(self.begun.last_trouble) + calm);
        let waited = self.now.saturating_sub(self.begun.last_trouble);
        let late = self.active.is_empty()
            && waited > nanos(self.plan.bounds.settle.max(self.plan.window) + Duration::from_secs(1));
        let broken = self.first_asserted().is_some();
        if broken || (!self.may_choose() && (well || late)) {
            self.over = true;
            let since = self.well_since.unwrap_or(self.now);
            let unsettled = since.saturating_sub(self.begun.last_trouble);
            self.plan.tally.end(self.checker.longest_pair, self.checker.longest_dark, unsettled);
        }
    }

    fn view(&self) -> View {
        let mut paths = vec![Path::Open; NODES * NODES];
        for from in 0..NODES {
            for to in 0..NODES {
                let lost = self.excuse.frame == Some((from, to));
                if lost || !self.open(from, to) {
                    paths[from * NODES + to] = Path::Cut;
                }
            }
        }
        View {
            at: Duration::from_nanos(self.now),
            nodes: (0..NODES).map(|h| self.node_view(h)).collect(),
            paths,
            lease: self.store.record().map(|record| LeaseView {
                uid: record.uid.clone(),
                epoch: record.transitions,
                resets: self.store.resets,
            }),
            clients: vec![self.client.map_or(Entry::Empty, Entry::Node)],
            last_announcer: self.last_announcer,
            disturbance: self.disturbance(),
        }
    }

    fn all_ill(&self) -> bool {
        (0..NODES).all(|h| self.has(Kind::Unhealthy(h)))
    }

    fn disturbance(&self) -> Disturbance {
        let api_alone = self.active.iter().all(|kind| kind.is_api_only());
        match (self.excuse.frame, self.excuse.api) {
            (Some(_), _) => Disturbance::Other,
            _ if !api_alone => Disturbance::Other,
            (None, false) if self.active.is_empty() => Disturbance::None,
            _ => Disturbance::Api,
        }
    }

    fn node_view(&self, h: usize) -> NodeView {
        let host = &self.hosts[h];
        let agent = match &host.agent {
            Some(_) if self.stands_still(h) => AgentState::Frozen,
            Some(_) => AgentState::Running,
            None if host.stopped => AgentState::Stopped,
            None => AgentState::Dead,
        };
        let reachable = self.on_the_wire(h) && !self.alone(h);
        NodeView {
            agent,
            agent_since: Duration::from_nanos(host.agent_since),
            // A host that stands still answers for nothing.
            wears: host.address.is_some() && !self.has(Kind::HostFrozen(h)),
            announces: host.agent.as_ref().and_then(|agent| agent.announces),
            last_announced: host.last_announced.map(Duration::from_nanos),
            fit: reachable && (!self.has(Kind::Unhealthy(h)) || self.all_ill()),
            reachable,
            reach: if self.form(h).is_none() { Reach::Good } else { Reach::Impaired },
            effects: 0,
            writes: 0,
            reads: 0,
        }
    }
}
