//! ICMP and ICMPv6 echo: requests through the kernel's own neighbour cache, replies as whole frames.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_core::names::Mac;
use mainstay_core::time::Moment;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::netlink;
use crate::netns::Host;
use crate::sys::{self, Instruction};

const ETHERNET_LEN: usize = 14;
const ICMP_LEN: usize = 8;
/// Token and sequence number, after the ICMP header.
const PAYLOAD_LEN: usize = 16;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Sends echo requests to one address.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Socket,
    routes: netlink_sys::Socket,
    interface: u32,
    target: IpAddr,
    to: SockAddr,
    token: u64,
}

impl Sender {
    /// In the calling thread's namespace. `token` tells our replies from others'.
    pub(super) fn new(device: &str, target: IpAddr, token: u64) -> Result<Self> {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("cannot open an ICMP socket")?;
        // It only sends: a filter that accepts nothing keeps the replies from filling its buffer.
        socket
            .attach_filter(&[Instruction::new(RETURN, 0, 0, 0)])
            .context("cannot close the ICMP socket's ear")?;
        socket.set_nonblocking(true).context("cannot make the ICMP socket non-blocking")?;
        let interface = sys::interface_index(device).with_context(|| format!("no device {device}"))?;
        let to = SocketAddr::new(target, 0).into();
        Ok(Self { socket, routes: netlink::open(&[])?, interface, target, to, token })
    }

    /// Sends one request. That the kernel refuses it (no route, no buffer) is a loss like any other.
    pub(super) fn send(&self, sequence: u64) {
        self.send_to(&self.to, sequence);
    }

    /// The same to another address of the target's family.
    pub(super) fn send_to(&self, to: &SockAddr, sequence: u64) {
        if let Err(error) = self.socket.send_to(&self.request(sequence), to) {
            tracing::trace!(sequence, %error, "an echo request was not sent");
        }
    }

    fn request(&self, sequence: u64) -> [u8; ICMP_LEN + PAYLOAD_LEN] {
        let mut packet = [0; ICMP_LEN + PAYLOAD_LEN];
        packet[0] = if self.target.is_ipv4() { 8 } else { 128 };
        packet[ICMP_LEN..ICMP_LEN + 8].copy_from_slice(&self.token.to_be_bytes());
        packet[ICMP_LEN + 8..].copy_from_slice(&sequence.to_be_bytes());
        // The kernel fills in ICMPv6's checksum itself (RFC 3542 section 3.1).
        if self.target.is_ipv4() {
            let checksum = internet_checksum(&packet);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        packet
    }

    /// Makes the kernel resolve the target again at the next packet; says whether it did.
    ///
    /// An entry that is being resolved has nothing to forget, and its waiting packets would be thrown away with it: a
    /// loss that the path is not guilty of.
    pub(super) fn forget_neighbour(&self) -> Result<Forgotten> {
        self.forget(self.target)
    }

    /// The same of another address.
    pub(super) fn forget(&self, neighbour: IpAddr) -> Result<Forgotten> {
        if netlink::is_resolving(&self.routes, self.interface, neighbour)? {
            return Ok(Forgotten::NotYet);
        }
        netlink::forget_neighbour(&self.routes, self.interface, neighbour)?;
        Ok(Forgotten::Done)
    }
}

/// What became of an attempt to forget the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgotten {
    /// The entry is gone.
    Done,
    /// It is being resolved: try again soon.
    NotYet,
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// One reply to one of our requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) sequence: u64,
    pub(super) at: Moment,
    /// The frame's Ethernet source.
    pub(super) from: Mac,
}

/// Hears the replies, with the Ethernet source of each.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Socket,
    target: IpAddr,
    own: Mac,
    token: u64,
}

impl Receiver {
    /// In the calling thread's namespace, which is `client`'s.
    pub(super) fn new(client: &Host, target: IpAddr, token: u64) -> Result<Self> {
        let interface = sys::interface_index(client.device()).context("the client has no device")?;
        let (ethertype, filter) = match target {
            IpAddr::V4(_) => (ETHERTYPE_IPV4, echo_reply_v4()),
            IpAddr::V6(_) => (ETHERTYPE_IPV6, echo_reply_v6()),
        };
        let socket =
            sys::packet_socket(interface, ethertype, &filter).context("cannot open a packet socket")?;
        Ok(Self { socket, target, own: client.mac(), token })
    }

    /// The next reply; `None` if nothing of ours came for a while.
    pub(super) fn next(&self) -> Result<Option<Reply>> {
        let ours = self.next_of_any()?.filter(|(_, address)| *address == self.target);
        Ok(ours.map(|(reply, _)| reply))
    }

    /// The next reply to one of our requests to any address of the target's family, and that address.
    pub(super) fn next_of_any(&self) -> Result<Option<(Reply, IpAddr)>> {
        let mut buffer = [0; 256];
        let Some(arrival) = sys::receive_frame(&self.socket, &mut buffer).context("cannot hear replies")?
        else {
            return Ok(None);
        };
        let read = self.read(buffer.get(..arrival.length).unwrap_or(&buffer));
        Ok(read.map(|(sequence, from, address)| (Reply { sequence, at: arrival.at, from }, address)))
    }

    /// Reads a reply's sequence number, its sender, and the address that it is from; `None` for anybody else's traffic.
    fn read(&self, frame: &[u8]) -> Option<(u64, Mac, IpAddr)> {
        let (&destination, rest) = frame.split_first_chunk::<6>()?;
        let &source = rest.first_chunk::<6>()?;
        let packet = frame.get(ETHERNET_LEN..)?;
        let (from, icmp) = match self.target {
            IpAddr::V4(_) => (IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?), ipv4_payload(packet)?),
            IpAddr::V6(_) => (IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?), packet.get(40..)?),
        };
        let payload = icmp.get(ICMP_LEN..)?;
        let token = u64::from_be_bytes(*payload.first_chunk()?);
        let sequence = u64::from_be_bytes(*payload.get(8..)?.first_chunk()?);
        let ours = destination == self.own.0 && token == self.token;
        ours.then_some((sequence, Mac(source), from))
    }
}

fn ipv4_payload(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}

// Classic BPF, by the names of bpf_common.h.
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_INDEXED: u16 = 0x50;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const RETURN: u16 = 0x06;
/// The whole frame.
pub(super) const ALL: u32 = 0x4_0000;

fn echo_reply_v4() -> Vec<Instruction> {
    vec![
        Instruction::new(LOAD_BYTE, 0, 0, 23),
        Instruction::new(JUMP_EQUAL, 0, 4, 1),
        Instruction::new(LOAD_HEADER_LENGTH, 0, 0, 14),
        Instruction::new(LOAD_BYTE_INDEXED, 0, 0, 14),
        Instruction::new(JUMP_EQUAL, 0, 1, 0),
        Instruction::new(RETURN, 0, 0, ALL),
        Instruction::new(RETURN, 0, 0, 0),
    ]
}

fn echo_reply_v6() -> Vec<Instruction> {
    vec![
        Instruction::new(LOAD_BYTE, 0, 0, 20),
        Instruction::new(JUMP_EQUAL, 0, 3, 58),
        Instruction::new(LOAD_BYTE, 0, 0, 54),
        Instruction::new(JUMP_EQUAL, 0, 1, 129),
        Instruction::new(RETURN, 0, 0, ALL),
        Instruction::new(RETURN, 0, 0, 0),
    ]
}

/// Asks `target` once from the calling thread's namespace, `client`'s; who answered within `limit`, if anybody did.
pub(super) fn ask_once(client: &Host, target: IpAddr, limit: Duration) -> Result<Option<Mac>> {
    let token = sys::now().as_nanos();
    let receiver = Receiver::new(client, target, token)?;
    let sender = Sender::new(client.device(), target, token)?;
    let deadline = sys::now() + limit;
    sender.send(0);
    while sys::now() < deadline {
        if let Some(reply) = receiver.next()? {
            return Ok(Some(reply.from));
        }
    }
    Ok(None)
}
