//! Beginning and ending faults. Each is counted, so that faults of one kind may overlap.

use super::machine::Machine;
use super::queue::Ev;
use super::schedule::{ApiForm, Kind, Whom};
use super::world::World;

/// The two edges of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Begins,
    Ends,
}

impl Edge {
    fn count(self, counter: &mut u32) {
        match self {
            Self::Begins => *counter += 1,
            Self::Ends => *counter = counter.saturating_sub(1),
        }
    }

    fn list<T: PartialEq>(self, list: &mut Vec<T>, what: T) {
        match self {
            Self::Begins => list.push(what),
            Self::Ends => {
                if let Some(at) = list.iter().position(|entry| *entry == what) {
                    list.remove(at);
                }
            }
        }
    }
}

impl<M: Machine> World<M> {
    /// Begins a fault.
    pub fn begin(&mut self, kind: Kind) {
        self.trace(|| format!("FAULT begins: {kind:?}"));
        self.active.push(kind);
        self.apply(kind, Edge::Begins);
        self.refresh();
        // A fault that ends in the same moment is seen too.
        self.look();
    }

    /// Ends a fault that began.
    pub fn end(&mut self, kind: Kind) {
        self.trace(|| format!("FAULT ends: {kind:?}"));
        Edge::Ends.list(&mut self.active, kind);
        self.apply(kind, Edge::Ends);
        self.refresh();
    }

    fn apply(&mut self, kind: Kind, edge: Edge) {
        match kind {
            Kind::Api(..)
            | Kind::FrontEnd(..)
            | Kind::WatchLate(..)
            | Kind::WatchSilent(_)
            | Kind::LeaseDeleted
            | Kind::LeaseSetBack => self.apply_api(kind, edge),
            Kind::Loss(_)
            | Kind::Delay(_)
            | Kind::OneWay(..)
            | Kind::Isolated(_)
            | Kind::Unplugged(_)
            | Kind::Rogue => self.apply_wire(kind, edge),
            _ => self.apply_host(kind, edge),
        }
    }

    fn apply_api(&mut self, kind: Kind, edge: Edge) {
        match kind {
            Kind::Api(Whom::All, form) => edge.list(&mut self.api.all, form),
            Kind::Api(Whom::Node(h), form) => edge.list(&mut self.api.node[h], form),
            Kind::FrontEnd(server, form) => edge.list(&mut self.api.server[server], form),
            Kind::WatchSilent(h) => edge.count(&mut self.watches[h].silent),
            Kind::WatchLate(h, late) => {
                self.watches[h].late = if edge == Edge::Begins { late * 1_000_000 } else { 0 };
            }
            Kind::LeaseDeleted | Kind::LeaseSetBack if edge == Edge::Begins => {
                self.meddle(kind);
            }
            _ => {}
        }
        if matches!(kind, Kind::Api(_, ApiForm::Stalled) | Kind::FrontEnd(_, ApiForm::Stalled)) {
            self.release_stalled();
        }
        self.api_changed();
    }

    fn apply_wire(&mut self, kind: Kind, edge: Edge) {
        match kind {
            Kind::Loss(percent) => edge.list(&mut self.segment.losses, percent),
            Kind::Delay(millis) => edge.list(&mut self.segment.delays, millis),
            Kind::OneWay(from, to) => edge.count(self.segment.one_way(from, to)),
            Kind::Isolated(h) => edge.count(&mut self.segment.isolated[h]),
            Kind::Unplugged(h) => {
                edge.count(&mut self.segment.isolated[h]);
                edge.count(&mut self.api.unplugged[h]);
                self.api_changed();
            }
            Kind::Rogue => {
                edge.count(&mut self.segment.rogues);
                if self.segment.rogues == 1 && edge == Edge::Begins {
                    self.rogue_speaks();
                }
            }
            _ => {}
        }
    }

    fn apply_host(&mut self, kind: Kind, edge: Edge) {
        match kind {
            Kind::Crash(h) => {
                edge.count(&mut self.hosts[h].agent_off);
                match edge {
                    Edge::Begins => self.kill_agent(h),
                    Edge::Ends => self.start_agent(h),
                }
            }
            Kind::PowerLoss(h) => {
                edge.count(&mut self.hosts[h].power_off);
                match edge {
                    Edge::Begins => self.power_off(h),
                    Edge::Ends => self.start_agent(h),
                }
                self.api_changed();
            }
            Kind::Shutdown(h) => self.shutdown(h, edge),
            Kind::LinkDown(h) => {
                edge.count(&mut self.hosts[h].link_down);
                self.link(h);
            }
            Kind::AgentFrozen(h) => {
                edge.count(&mut self.hosts[h].agent_frozen);
                self.freeze_edge(h, edge);
            }
            Kind::HostFrozen(h) => {
                edge.count(&mut self.hosts[h].host_frozen);
                self.freeze_edge(h, edge);
                self.api_changed();
            }
            Kind::AddressDeleted(h) if edge == Edge::Begins => self.delete_address(h),
            Kind::Unhealthy(h) => {
                edge.count(&mut self.hosts[h].unhealthy);
                self.health(h);
            }
            Kind::Misconfigured(h) => edge.count(&mut self.hosts[h].misconfigured),
            _ => {}
        }
    }

    fn freeze_edge(&mut self, h: usize, edge: Edge) {
        match edge {
            Edge::Begins if self.hosts[h].agent.is_some() => self.hosts[h].agent_since = self.now,
            Edge::Begins => {}
            Edge::Ends => {
                // The kernel's timers run, whether the agent does or not.
                self.expire(h);
                self.thaw(h);
            }
        }
    }

    /// SIGTERM at the beginning; at the end whatever still runs is killed, and a new run starts.
    fn shutdown(&mut self, h: usize, edge: Edge) {
        edge.count(&mut self.hosts[h].agent_off);
        match edge {
            Edge::Begins => self.feed(h, mainstay_core::input::Input::Shutdown),
            Edge::Ends => {
                self.kill_agent(h);
                self.start_agent(h);
            }
        }
    }

    /// A fault of the schedule begins.
    pub(super) fn scheduled(&mut self, index: usize, edge: Edge) {
        let kind = self.schedule.faults[index].kind;
        match edge {
            Edge::Begins => {
                self.begin(kind);
                let until = self.schedule.faults[index].until.saturating_mul(1_000_000);
                self.at(until, Ev::Fault { index, edge: Edge::Ends });
            }
            Edge::Ends => self.end(kind),
        }
    }
}
