//! The layer-2 segment as one interface sees it: frames of ours go out, frames about our addresses come in.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use mainstay_core::effect::ProbeTo;
use mainstay_core::input::{Frame, Input};
use mainstay_core::names::{Mac, NodeId};
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Tenure, Vip};
use mainstay_wire as wire;

use crate::announce::{Announcement, Form};
use crate::counters::Counters;
use crate::linux::clock;
use crate::linux::filter::{self, Wanted};
use crate::linux::packet::{Packet, Received};

/// How many frames are read from a socket at once, before anything else has its turn; more only where they came before a
/// moment that has to be caught up with.
const BATCH: usize = 64;
/// Longer than any ARP packet, and than any neighbour message with the options that matter.
const LONGEST_FRAME: usize = 2_048;

/// How this host is known on the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) index: u32,
    pub(crate) mac: Mac,
    pub(crate) link_local: Option<Ipv6Addr>,
    /// The hardware addresses of all of this host's interfaces: what they send is no other host's.
    pub(crate) macs: BTreeSet<Mac>,
}

/// The two sockets.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) own: Own,
    arp: Socket,
    nd: Socket,
    wanted: Wanted,
}

#[derive(Debug)]
struct Socket {
    packet: Packet,
    /// When it was last read dry: what comes later was heard later, whatever the wall clock does.
    dry_at: Moment,
}

impl Segment {
    /// Whether it is one of the claim's virtual addresses.
    pub(crate) fn listens_for(&self, vip: Vip) -> bool {
        self.wanted.vips.contains(&vip)
    }

    /// Opens both sockets on `own`'s interface, deaf until [`Self::listen`].
    pub(crate) fn open(own: Own) -> io::Result<Self> {
        let open = |ethertype| {
            Packet::open(ethertype, own.index).map(|packet| Socket { packet, dry_at: clock::now() })
        };
        let (arp, nd) = (open(wire::ETHERTYPE_ARP)?, open(wire::ETHERTYPE_IPV6)?);
        Ok(Self { own, arp, nd, wanted: Wanted::default() })
    }

    /// The same on another interface, which took the place of the one before.
    pub(crate) fn reopen(&mut self, own: Own) -> io::Result<()> {
        let mut next = Self::open(own)?;
        next.listen(self.wanted.clone())?;
        *self = next;
        Ok(())
    }

    /// Hears about these addresses and no others from now on.
    pub(crate) fn listen(&mut self, wanted: Wanted) -> io::Result<()> {
        let groups = wanted.vips.iter().filter_map(|vip| match vip {
            IpAddr::V6(v6) => Some(Mac(wire::ndp::multicast_mac(wire::ndp::solicited_node(*v6)))),
            IpAddr::V4(_) => None,
        });
        self.nd.packet.join(groups.collect())?;
        self.arp.packet.filter(&filter::arp(&wanted))?;
        self.nd.packet.filter(&filter::nd(&wanted))?;
        self.wanted = wanted;
        Ok(())
    }

    /// Sends one announcement.
    pub(crate) fn announce(&self, one: &Announcement) -> io::Result<()> {
        let (mac, mark) = (self.own.mac.0, Some(to_wire(one.mark)));
        match one.vip {
            IpAddr::V4(vip) => {
                let operation = match one.form {
                    Form::Request => wire::arp::Operation::Request,
                    Form::Reply => wire::arp::Operation::Reply,
                };
                self.arp.packet.send(&wire::arp::gratuitous(operation, mac, vip, mark))
            }
            IpAddr::V6(vip) => self.nd.packet.send(&wire::ndp::unsolicited(mac, vip, vip, mark)),
        }
    }

    /// Sends one probe, and says when it left. An IPv6 probe comes from our link-local address, so that the answer comes to us alone; where
    /// there is none (yet), from the unspecified address, and is answered to all.
    pub(crate) fn probe(&self, target: IpAddr, to: ProbeTo, mark: Option<Mark>) -> io::Result<Moment> {
        let (mac, mark) = (self.own.mac.0, mark.map(to_wire));
        let to = match to {
            ProbeTo::All => wire::To::All,
            ProbeTo::One(mac) => wire::To::One(mac.0),
        };
        match target {
            IpAddr::V4(target) => self.arp.packet.send_stamped(&wire::arp::probe(mac, to, target, mark)),
            IpAddr::V6(target) => {
                let source = self.own.link_local.unwrap_or(Ipv6Addr::UNSPECIFIED);
                self.nd.packet.send_stamped(&wire::ndp::probe(mac, source, to, target, mark))
            }
        }
    }

    /// Waits until there may be frames. Cancel-safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            result = self.arp.packet.readable() => result,
            result = self.nd.packet.readable() => result,
        }
    }

    /// Reads what there is: all that came before `until`, and beyond that a batch at most of each socket.
    pub(crate) fn drain(&mut self, until: Moment, counters: &mut Counters, out: &mut VecDeque<Input>) {
        let Self { own, arp, nd, wanted } = self;
        for socket in [arp, nd] {
            socket.drain(until, counters, |bytes, heard_at| {
                let parsed = wire::parse(bytes).map_err(|error| match error {
                    wire::ParseError::Other => Ignored::Unwanted,
                    _ => Ignored::Malformed,
                })?;
                let frame = to_frame(&parsed, heard_at);
                if own.macs.contains(&frame.mac) {
                    return Err(Ignored::Own);
                }
                if !wanted.includes(frame.sender, frame.target) {
                    return Err(Ignored::Unwanted);
                }
                out.push_back(Input::Frame(frame));
                Ok(())
            });
        }
    }
}

impl Segment {
    /// How many frames the kernel had no room for since this was asked last.
    pub(crate) fn missed(&self) -> u64 {
        u64::from(self.arp.packet.missed()) + u64::from(self.nd.packet.missed())
    }
}

/// Why a frame is not delivered.
enum Ignored {
    Own,
    Malformed,
    Unwanted,
}

impl Socket {
    fn drain(
        &mut self,
        until: Moment,
        counters: &mut Counters,
        mut deliver: impl FnMut(&[u8], Moment) -> Result<(), Ignored>,
    ) {
        let mut buffer = [0; LONGEST_FRAME];
        let mut last = Moment::ZERO;
        for read in 0.. {
            if read >= BATCH && last >= until {
                return;
            }
            // Read before the socket: a frame that comes between the two is not taken for older than it is.
            let now = clock::now();
            let received = match self.packet.receive(&mut buffer) {
                Ok(received) => received,
                Err(error) => {
                    // An interface that goes down says so to every socket on it; the link's news tells the same.
                    match error.kind() {
                        io::ErrorKind::WouldBlock => self.dry_at = now,
                        _ => counters.receive_errors += 1,
                    }
                    return;
                }
            };
            counters.frames_read += 1;
            last = self.heard_at(received);
            let result =
                if received.outgoing { Err(Ignored::Own) } else { deliver(&buffer[..received.length], last) };
            match result {
                Ok(()) => counters.frames_delivered += 1,
                Err(Ignored::Own) => counters.frames_own += 1,
                Err(Ignored::Malformed) => counters.frames_malformed += 1,
                Err(Ignored::Unwanted) => counters.frames_unwanted += 1,
            }
        }
    }

    /// Not before the socket was last read dry: a wall clock that was set meanwhile shows no moment right.
    fn heard_at(&self, received: Received) -> Moment {
        received.at.map_or_else(clock::now, |at| at.max(self.dry_at))
    }
}

fn to_frame(parsed: &wire::Parsed, heard_at: Moment) -> Frame {
    Frame {
        heard_at,
        mac: Mac(parsed.sender_mac),
        sender: parsed.sender,
        target: parsed.target,
        mark: parsed.mark.map(from_wire),
    }
}

fn to_wire(mark: Mark) -> wire::Mark {
    let tenure = match mark.tenure {
        Tenure::Candidate => wire::Tenure::Candidate,
        Tenure::Provisional => wire::Tenure::Provisional,
        Tenure::Detached => wire::Tenure::Detached,
        Tenure::Confirmed => wire::Tenure::Confirmed,
    };
    wire::Mark { tenure, epoch: mark.epoch, node: mark.node.0 }
}

fn from_wire(mark: wire::Mark) -> Mark {
    let tenure = match mark.tenure {
        wire::Tenure::Candidate => Tenure::Candidate,
        wire::Tenure::Provisional => Tenure::Provisional,
        wire::Tenure::Detached => Tenure::Detached,
        wire::Tenure::Confirmed => Tenure::Confirmed,
    };
    Mark { tenure, epoch: mark.epoch, node: NodeId(mark.node) }
}

/// The first link-local address among `addresses`.
pub(crate) fn link_local(addresses: impl IntoIterator<Item = Vip>) -> Option<Ipv6Addr> {
    addresses.into_iter().find_map(|ip| match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
        _ => None,
    })
}
