//! The layer-2 segment: who hears whom, a gateway, a rogue, and clients with neighbour caches.
//!
//! Endpoints are numbered: hosts first, then the gateway, the rogue, and the clients. A client pings the VIP all the
//! time; a ping is answered if the node that its neighbour entry points at has the VIP, and both ways are open. So a
//! stale hardware address is seen.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mainstay_core::check::Entry;
use mainstay_core::names::Mac;
use mainstay_core::vip::{Mark, Vip};

use super::host::{GATEWAY, VIP};
use super::machine::Machine;
use super::queue::Ev;
use super::random::nanos;
use super::world::World;

/// Linux takes the first of several answers: a younger entry than this is not changed by a plain answer.
const LOCKTIME: u64 = 1_000_000_000;
/// Between a client's questions while nobody answers (Linux `retrans_time_ms`).
const ASK_AGAIN: u64 = 1_000_000_000;

/// To whom a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum To {
    All,
    One(Mac),
}

/// One ARP frame.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Packet {
    pub(crate) mac: Mac,
    pub(crate) to: To,
    pub(crate) sender: Option<IpAddr>,
    pub(crate) target: IpAddr,
    pub(crate) mark: Option<Mark>,
    /// A request that whoever has `target` answers.
    pub(crate) asks: bool,
}

/// The hardware address of endpoint `index`.
pub(crate) fn mac_of(index: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(index + 1).unwrap_or(u8::MAX)])
}

pub(crate) fn endpoint_of(mac: Mac) -> usize {
    usize::from(mac.0[5]).saturating_sub(1)
}

/// How a client's neighbour entry behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Keeps its entry for ever, so that only announcements can repair it.
    Keeps,
    /// Forgets it once a second, and takes the first answer.
    ForgetsTakesFirst,
    /// Forgets it once a second, and takes the last answer.
    ForgetsTakesLast,
}

/// How many clients there are for an address: one of each habit.
pub(super) const CLIENTS_EACH: usize = HABITS.len();
const HABITS: [Habit; 3] = [Habit::Keeps, Habit::ForgetsTakesFirst, Habit::ForgetsTakesLast];

/// A client's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pings sent.
    pub sent: u64,
    /// Pings without an answer.
    pub lost: u64,
    /// The longest time without an answer.
    pub longest_dark: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) vip: Vip,
    habit: Habit,
    entry: Option<Mac>,
    updated: u64,
    asked: Option<u64>,
    tally: Tally,
    answered_at: u64,
}

/// Everything between the hosts.
#[derive(Debug)]
pub(super) struct Segment {
    nodes: usize,
    pub(super) clients: Vec<Client>,
    one_way: Vec<u32>,
    pub(super) isolated: Vec<u32>,
    pub(super) losses: Vec<u8>,
    pub(super) delays: Vec<u64>,
    pub(super) rogues: u32,
}

impl Segment {
    /// A segment with the same clients for each of these addresses.
    pub(super) fn new(nodes: usize, vips: &[Vip]) -> Self {
        let client = |vip, habit| Client {
            vip,
            habit,
            entry: None,
            updated: 0,
            asked: None,
            tally: Tally::default(),
            answered_at: 0,
        };
        Self {
            nodes,
            clients: vips.iter().flat_map(|vip| HABITS.map(|habit| client(*vip, habit))).collect(),
            one_way: vec![0; nodes * nodes],
            isolated: vec![0; nodes],
            losses: Vec::new(),
            delays: Vec::new(),
            rogues: 0,
        }
    }

    pub(super) fn gateway(&self) -> usize {
        self.nodes
    }

    pub(super) fn rogue(&self) -> usize {
        self.nodes + 1
    }

    pub(super) fn client(&self, index: usize) -> usize {
        self.nodes + 2 + index
    }

    pub(super) fn one_way(&mut self, from: usize, to: usize) -> &mut u32 {
        &mut self.one_way[from * self.nodes + to]
    }

    /// Whether the segment itself lets frames pass, the ends being up.
    pub(super) fn open(&self, from: usize, to: usize) -> bool {
        let isolated = |end: usize| end < self.nodes && self.isolated[end] > 0;
        let cut = from < self.nodes && to < self.nodes && self.one_way[from * self.nodes + to] > 0;
        !cut && !isolated(from) && !isolated(to)
    }

    pub(super) fn is_clean(&self) -> bool {
        self.losses.is_empty() && self.delays.is_empty()
    }

    /// Where a client's entry points.
    pub(super) fn entry(&self, client: usize) -> Entry {
        match self.clients[client].entry.map(endpoint_of) {
            None => Entry::Empty,
            Some(end) if end < self.nodes => Entry::Node(end),
            Some(_) => Entry::Stranger,
        }
    }
}

impl<M: Machine> World<M> {
    fn route(&mut self, from: usize, to: usize) -> Option<u64> {
        let up = |world: &Self, end: usize| world.hosts.get(end).is_none_or(super::host::Host::on_the_wire);
        if !up(self, from) || !up(self, to) || !self.segment.open(from, to) {
            return None;
        }
        let loss = self.segment.losses.iter().copied().max().unwrap_or(0);
        if loss > 0 && self.random.chance(loss) {
            return None;
        }
        let slow = self.segment.delays.iter().copied().max().map_or(0, |ms| ms * 1_000_000);
        Some(self.random.range(50_000, 1_000_000) + self.random.range(0, slow.max(1)))
    }

    /// Puts a frame on the wire.
    pub(super) fn send(&mut self, from: usize, packet: Packet) {
        self.frames += 1;
        match packet.to {
            To::One(mac) => self.deliver(from, endpoint_of(mac), packet),
            To::All => {
                for to in 0..self.segment.client(self.segment.clients.len()) {
                    if to != from && self.cares(to, &packet) {
                        self.deliver(from, to, packet);
                    }
                }
            }
        }
    }

    /// Whether the frame would change anything there: what nobody looks at needs no event.
    fn cares(&self, to: usize, packet: &Packet) -> bool {
        match to {
            to if to < self.segment.gateway() => true,
            to if to == self.segment.gateway() => packet.asks && packet.target == GATEWAY,
            to if to == self.segment.rogue() => {
                packet.asks && self.segment.rogues > 0 && packet.target == self.contested()
            }
            _ => packet.sender == Some(self.segment.clients[to - self.segment.client(0)].vip),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, packet: Packet) {
        if let Some(delay) = self.route(from, to) {
            self.at(self.now + delay, Ev::Arrive { to, packet });
        }
    }

    /// A frame has reached an endpoint.
    pub(super) fn arrived(&mut self, to: usize, packet: &Packet) {
        let gateway = self.segment.gateway();
        if to < gateway {
            self.arrive(to, packet);
        } else if to <= self.segment.rogue() {
            let (mac, target) = (mac_of(to), packet.sender.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            let (to_asker, sender) = (To::One(packet.mac), Some(packet.target));
            if packet.asks {
                self.send(to, Packet { mac, to: to_asker, sender, target, mark: None, asks: false });
            }
        } else {
            self.learn(to - self.segment.client(0), packet);
        }
    }

    /// A client hears somebody say that the VIP is his (Linux `arp_process`): an announcement changes an entry that
    /// exists, an answer makes one.
    fn learn(&mut self, client: usize, packet: &Packet) {
        let now = self.now;
        let entry = &mut self.segment.clients[client];
        if packet.sender != Some(entry.vip) {
            return;
        }
        let announced = packet.to == To::All;
        let resolving = entry.entry.is_none();
        let takes = match (announced, resolving) {
            (true, false) | (_, true) => entry.entry.is_some() || entry.asked.is_some(),
            (false, false) => {
                entry.habit == Habit::ForgetsTakesLast || now.saturating_sub(entry.updated) > LOCKTIME
            }
        };
        if takes {
            entry.entry = Some(packet.mac);
            entry.updated = now;
            entry.asked = None;
        }
    }

    /// Which address somebody else claims: where Services are spread, one of theirs.
    pub(super) fn contested(&self) -> Vip {
        self.spread.addresses.first().copied().unwrap_or(VIP)
    }

    /// The rogue says that the VIP is its own.
    pub(super) fn rogue_speaks(&mut self) {
        if self.segment.rogues == 0 {
            return;
        }
        let from = self.segment.rogue();
        let mac = mac_of(from);
        let vip = self.contested();
        self.send(from, Packet { mac, to: To::All, sender: Some(vip), target: vip, mark: None, asks: false });
        self.later(Duration::from_secs(1), Ev::Rogue);
    }

    /// A client pings.
    pub(super) fn ping(&mut self, client: usize) {
        let period = nanos(self.tune.ping_every);
        let now = self.now;
        let from = self.segment.client(client);
        let Client { vip, entry, asked, .. } = self.segment.clients[client];
        let mut asking = false;
        if entry.is_none() && asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_AGAIN) {
            asking = true;
            self.segment.clients[client].asked = Some(now);
            let mac = mac_of(from);
            let own = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200));
            self.send(
                from,
                Packet { mac, to: To::All, sender: Some(own), target: vip, mark: None, asks: true },
            );
        }
        // What waits for an answer to the question is not lost yet: the kernel keeps it.
        let answered = match entry.map(endpoint_of) {
            None => asking,
            Some(end) => {
                self.hosts.get(end).is_some_and(|host| host.addresses.contains_key(&vip))
                    && self.route(from, end).is_some()
                    && self.route(end, from).is_some()
            }
        };
        let client_state = &mut self.segment.clients[client];
        client_state.tally.sent += 1;
        if answered {
            client_state.answered_at = now;
        } else {
            client_state.tally.lost += 1;
            let dark = Duration::from_nanos(now + period - client_state.answered_at);
            client_state.tally.longest_dark = client_state.tally.longest_dark.max(dark);
        }
        self.at(now + period, Ev::Ping { client });
    }

    /// A client forgets its entry, as its habit is.
    pub(super) fn forget(&mut self, client: usize) {
        if self.segment.clients[client].habit != Habit::Keeps {
            self.segment.clients[client].entry = None;
            self.segment.clients[client].asked = None;
            self.later(Duration::from_secs(1), Ev::Forget { client });
        }
    }

    /// What the clients counted since the last [`World::reset_tallies`].
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        self.segment.clients.iter().map(|client| client.tally).collect()
    }

    /// Starts the clients' counts anew.
    pub fn reset_tallies(&mut self) {
        for client in &mut self.segment.clients {
            client.tally = Tally::default();
            client.answered_at = self.now;
        }
    }
}
