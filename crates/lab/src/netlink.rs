//! A few words of rtnetlink, spoken over a blocking socket that belongs to the namespace of the thread that made it.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A routing socket in the calling thread's namespace, subscribed to `groups` (`RTNLGRP_...`).
pub(crate) fn open(groups: &[u32]) -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
    // Room for a burst of changes while the reading thread waits for a core.
    socket.set_rx_buf_sz(1_u32 << 20).context("cannot size a netlink socket")?;
    socket.bind_auto().context("cannot bind a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("cannot connect a netlink socket")?;
    for &group in groups {
        socket.add_membership(group).context("cannot subscribe to kernel events")?;
    }
    Ok(socket)
}

/// Sends one request.
pub(crate) fn send(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop).context("cannot send to the kernel")
}

/// Asks for all addresses; the replies come as `NewAddress`, then `Done`.
pub(crate) fn ask_addresses(socket: &Socket) -> Result<()> {
    send(socket, RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)
}

/// The next datagram's messages; waits for it.
pub(crate) fn receive(socket: &Socket) -> std::io::Result<Vec<NetlinkPayload<RouteNetlinkMessage>>> {
    let (datagram, _) = socket.recv_from_full()?;
    Ok(parse(&datagram))
}

/// Splits a datagram. What cannot be decoded is skipped: an unknown attribute is no news of ours.
fn parse(datagram: &[u8]) -> Vec<NetlinkPayload<RouteNetlinkMessage>> {
    let mut payloads = Vec::new();
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < 16 || length > rest.len() {
            break;
        }
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]) {
            payloads.push(message.payload);
        }
        // Messages are aligned to four bytes (netlink(7)).
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    payloads
}

/// Whether the kernel is asking for `address` on `interface` right now and has packets waiting for the answer.
pub(crate) fn is_resolving(socket: &Socket, interface: u32, address: IpAddr) -> Result<bool> {
    // One entry, not a dump: the reply is the entry, or ENOENT.
    send(socket, RouteNetlinkMessage::GetNeighbour(neighbour(interface, address)), 0)?;
    let payloads = receive(socket).context("the kernel did not tell a neighbour's state")?;
    Ok(payloads.iter().any(|payload| match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
            entry.header.state == NeighbourState::Incomplete
        }
        _ => false,
    }))
}

/// Deletes the neighbour entry for `address` on `interface`; none there is what is wanted.
pub(crate) fn forget_neighbour(socket: &Socket, interface: u32, address: IpAddr) -> Result<()> {
    send(socket, RouteNetlinkMessage::DelNeighbour(neighbour(interface, address)), NLM_F_ACK)?;
    acknowledged(socket)
}

/// The key of a neighbour entry.
fn neighbour(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = interface;
    let destination = match address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(v4)
        }
        IpAddr::V6(v6) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(v6)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn acknowledged(socket: &Socket) -> Result<()> {
    for payload in receive(socket).context("the kernel did not answer")? {
        let NetlinkPayload::Error(error) = payload else { continue };
        match error.code.map_or(0, std::num::NonZero::get) {
            0 => {}
            code if code == -libc::ENOENT => {}
            code => bail!(
                "the kernel refused to forget a neighbour: {}",
                std::io::Error::from_raw_os_error(-code)
            ),
        }
    }
    Ok(())
}
