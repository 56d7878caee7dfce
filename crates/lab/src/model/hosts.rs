//! A host: its kernel, and the agent whose orders it carries out.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;

use mainstay_core::effect::{Effect, ProbeTo};
use mainstay_core::input::{AddressChange, EffectId, Health, Input, Link, Outcome};
use mainstay_core::names::{ClaimId, InstanceId};
use mainstay_core::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
use mainstay_core::snapshot::Member;
use mainstay_core::time::Moment;
use mainstay_core::vip::Mark;
use mainstay_dataplane::announce::Pacer;

use super::world::{Agent, Asker, Ev, World};
use super::{PROMPT, TIMER};
use crate::sim::random::nanos;
use crate::sim::segment::{Packet, To};
use crate::sim::{ANNOUNCE_EVERY, GATEWAY, Kind, Machine, SOCKET_KEEPS, Schedule, VIP};

impl<M: Machine + Clone + Hash> World<M> {
    pub(super) fn settings(&self, h: usize) -> Settings {
        let host = &self.hosts[h];
        let schedule = Schedule::calm(0, self.hosts.len());
        let (duration, deadline, retry) = schedule.lease;
        let seconds = std::time::Duration::from_secs;
        Settings {
            node: host.name.clone(),
            instance: host.instance,
            boot_id: format!("boot-{}", host.boot),
            claim: ClaimId::control_plane(),
            vips: vec![VIP],
            own: Member { macs: vec![host.mac], addresses: vec![host.own] },
            witnesses: vec![GATEWAY],
            lease: LeaseTiming {
                duration: seconds(duration),
                renew_deadline: seconds(deadline),
                retry_period: seconds(retry),
            },
            authority: Authority::Lease,
            detection: Detection::default(),
            on_authority_loss: OnAuthorityLoss::Hold,
            lifetime: crate::sim::lifetime(&schedule),
            restart_grace: seconds(600),
            report_failures: false,
        }
    }

    /// Starts the host's agent, unless it runs or the host is off.
    pub(super) fn start_agent(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.agent.is_some() || !host.powered {
            return;
        }
        let boot = format!("boot-{}", host.boot);
        let snapshot = host.snapshot.clone().filter(|snapshot| snapshot.boot_id == boot);
        let fresh = InstanceId(u64::from(host.boot) * 16 + h as u64);
        host.instance = snapshot.as_ref().map_or(fresh, |snapshot| snapshot.instance);
        (host.agent_since, host.stopped) = (self.now, false);
        let addresses = host.address.map(|_| VIP).into_iter().collect();
        let settings = self.settings(h);
        let memory = snapshot.and_then(|snapshot| snapshot.claims.get(&settings.claim).cloned());
        let found = Found { memory, addresses, link_up: !self.has(Kind::LinkDown(h)) };
        self.note(|| format!("node {h}: agent starts, found {found:?}"));
        let seed = self.plan.seed * 16 + h as u64;
        self.hosts[h].agent = Some(Agent {
            machine: M::start(settings, found, Moment::from_nanos(self.now), seed),
            pacer: Pacer::new(ANNOUNCE_EVERY, seed),
            listen: (Vec::new(), Vec::new()),
            held: VecDeque::new(),
            announces: None,
            open: None,
        });
        self.watch_connect(h);
        self.handle(h, &Input::Tick);
        self.tell_health(h);
    }

    /// Ends the host's agent at once; what it ordered of the kernel is undone only if it was not begun.
    pub(super) fn kill_agent(&mut self, h: usize) {
        if self.hosts[h].agent.take().is_none() {
            return;
        }
        self.hosts[h].agent_since = self.now;
        self.watches[h] = super::world::Watch::default();
        self.queue.retain_mut(|due| match &mut due.ev {
            Ev::Perform { host, asker, .. } if *host == h => {
                *asker = Asker::Gone;
                true
            }
            Ev::Perform { .. } | Ev::Arrive { .. } | Ev::Ends { .. } => true,
            other => other.host() != h,
        });
    }

    /// Power lost: the kernel forgets everything; the disk keeps the snapshot of a boot that is over.
    pub(super) fn power_off(&mut self, h: usize) {
        self.kill_agent(h);
        let host = &mut self.hosts[h];
        host.powered = false;
        host.address = None;
        host.boot += 1;
    }

    pub(super) fn stands_still(&self, h: usize) -> bool {
        self.has(Kind::AgentFrozen(h)) || self.has(Kind::HostFrozen(h))
    }

    /// After a freeze: timers of the kernel, then the loop's tick, then what the sockets kept.
    pub(super) fn thaw(&mut self, h: usize) {
        if self.stands_still(h) {
            return;
        }
        self.hosts[h].agent_since = self.now;
        if self.hosts[h].address.is_some_and(|until| until <= self.now) {
            self.expire(h);
        }
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let held = std::mem::take(&mut agent.held);
        self.handle(h, &Input::Tick);
        for input in held {
            self.feed(h, input);
        }
        self.pace(h);
    }

    /// Somebody deletes the address.
    pub(super) fn delete_address(&mut self, h: usize) {
        if self.hosts[h].address.take().is_some() {
            self.feed(h, Input::Address(AddressChange::Removed { vip: VIP, expired: false }));
        }
    }

    pub(super) fn tell_health(&mut self, h: usize) {
        let health = if self.has(Kind::Unhealthy(h)) { Health::Unhealthy } else { Health::Healthy };
        self.feed(h, Input::Health(health));
    }

    pub(super) fn tell_link(&mut self, h: usize) {
        let link = if self.has(Kind::LinkDown(h)) { Link::Down } else { Link::Up };
        self.feed(h, Input::Link(link));
    }

    /// An input for the agent, after what is due already.
    pub(super) fn feed(&mut self, h: usize, input: Input) {
        self.at(self.now, Ev::Input { host: h, input: Box::new(input) });
    }

    /// The input has reached the loop.
    pub(super) fn input(&mut self, h: usize, input: Input) {
        let frozen = self.stands_still(h);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        if !frozen {
            self.handle(h, &input);
        } else if agent.held.len() < SOCKET_KEEPS {
            agent.held.push_back(input);
        }
    }

    fn handle(&mut self, h: usize, input: &Input) {
        let now = Moment::from_nanos(self.now);
        if !matches!(input, Input::Tick) {
            self.note(|| format!("node {h}: <- {input:?}"));
        }
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let output = agent.machine.handle(now, input);
        for event in output.events {
            self.eventful = true;
            self.note(|| format!("node {h}: EVENT {event}"));
        }
        for effect in output.effects {
            self.note(|| format!("node {h}: -> {effect:?}"));
            self.act(h, effect);
        }
    }

    fn act(&mut self, h: usize, effect: Effect) {
        self.eventful |= !matches!(effect, Effect::Probe { .. } | Effect::Listen { .. });
        match effect {
            Effect::Assign { id, lifetime, .. } => {
                self.later(PROMPT, Ev::Assign { host: h, id, lifetime: nanos(lifetime) });
            }
            Effect::Withdraw { id, .. } => self.later(PROMPT, Ev::Withdraw { host: h, id }),
            Effect::Announce { claim, vips, mark, pace } => {
                let now = Moment::from_nanos(self.now);
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.pacer.set(now, &claim, &vips, mark, pace);
                    agent.announces = Some(mark);
                }
                self.pace(h);
            }
            Effect::Silence { claim } => {
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.pacer.silence(&claim);
                    agent.announces = None;
                }
            }
            Effect::Probe { id, target, to, mark } => self.probe(h, id, (target, to, mark)),
            Effect::Listen { vips, others } => {
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.listen = (vips.into_iter().collect(), others.into_iter().collect());
                }
            }
            Effect::Lease { id, request, deadline } => self.lease_request((h, id), request, deadline),
            Effect::Save(snapshot) => self.hosts[h].snapshot = Some(snapshot),
            Effect::Stop => {
                self.kill_agent(h);
                self.hosts[h].stopped = true;
            }
        }
    }

    fn probe(&mut self, h: usize, id: EffectId, (target, to, mark): (IpAddr, ProbeTo, Option<Mark>)) {
        if !self.on_the_wire(h) {
            let outcome = Outcome::Failed("network is down".to_owned());
            return self.feed(h, Input::Outcome { id, outcome });
        }
        let to = match to {
            ProbeTo::All => To::All,
            ProbeTo::One(mac) => To::One(mac),
        };
        let mac = self.hosts[h].mac;
        self.send(h, Packet { mac, to, sender: None, target, mark, asks: true });
        let sent = Outcome::Sent(Moment::from_nanos(self.now));
        self.feed(h, Input::Outcome { id, outcome: sent });
    }

    // === timers ===

    /// When one of the host's timers fires: the kernel's for the address, the loop's, the announcer's.
    pub(super) fn timer(&self, h: usize) -> u64 {
        let host = &self.hosts[h];
        let expiry = host.address.filter(|_| !self.has(Kind::HostFrozen(h))).unwrap_or(u64::MAX);
        let Some(agent) = host.agent.as_ref().filter(|_| !self.stands_still(h)) else { return expiry };
        let pace = agent.pacer.next_deadline().map_or(u64::MAX, on_grid);
        expiry.min(on_grid(agent.machine.next_deadline())).min(pace)
    }

    /// Does what the earliest due timer is for.
    pub(super) fn fire(&mut self, h: usize) {
        let due = |at: Moment| on_grid(at) <= self.now;
        if !self.has(Kind::HostFrozen(h)) && self.hosts[h].address.is_some_and(|until| until <= self.now) {
            return self.expire(h);
        }
        let Some(agent) = &self.hosts[h].agent else { return };
        if due(agent.machine.next_deadline()) {
            return self.handle(h, &Input::Tick);
        }
        self.pace(h);
    }

    fn pace(&mut self, h: usize) {
        let now = Moment::from_nanos(self.now);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let mut announcements = agent.pacer.due(now);
        // Both forms of one announcement say the same to whoever hears them here.
        announcements.dedup_by(|a, b| (a.vip, a.mark) == (b.vip, b.mark));
        for announcement in announcements {
            if !self.on_the_wire(h) {
                continue;
            }
            self.eventful = true;
            self.hosts[h].last_announced = Some(self.now);
            self.last_announcer = Some(h);
            let (mac, mark) = (self.hosts[h].mac, Some(announcement.mark));
            self.note(|| format!("node {h}: announces {mark:?}"));
            self.send(h, Packet { mac, to: To::All, sender: Some(VIP), target: VIP, mark, asks: false });
        }
    }

    // === the kernel ===

    pub(super) fn assign(&mut self, h: usize, id: EffectId, lifetime: u64) {
        self.hosts[h].address = Some(self.now.saturating_add(lifetime));
        self.input(h, Input::Outcome { id, outcome: Outcome::Done });
    }

    pub(super) fn withdraw(&mut self, h: usize, id: EffectId) {
        self.hosts[h].address = None;
        self.input(h, Input::Outcome { id, outcome: Outcome::Done });
    }

    /// The kernel removes what nobody refreshed.
    fn expire(&mut self, h: usize) {
        self.hosts[h].address = None;
        self.eventful = true;
        self.note(|| format!("node {h}: the kernel removes the VIP"));
        self.feed(h, Input::Address(AddressChange::Removed { vip: VIP, expired: true }));
    }
}

/// The first moment of the timers' grid that is not before `at`.
fn on_grid(at: Moment) -> u64 {
    at.as_nanos().div_ceil(nanos(TIMER)).saturating_mul(nanos(TIMER))
}
