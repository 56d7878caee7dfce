//! ARP over Ethernet for IPv4 (RFC 826): announcements and probes.
//!
//! Every frame is 60 bytes, Ethernet's minimum, so that the mark takes the room of the padding and no bridge adds
//! more. Linux learns from such a frame as from any other.

use std::net::Ipv4Addr;

use crate::bytes::{ETHERNET_LEN, ethernet};
use crate::mark::MARK_LEN;
use crate::{BROADCAST, ETHERTYPE_ARP, Mac, Mark, To};

/// Bytes of every frame this module builds.
pub const FRAME_LEN: usize = ETHERNET_LEN + PACKET_LEN + MARK_LEN;

/// Bytes of an ARP packet for Ethernet and IPv4.
pub(crate) const PACKET_LEN: usize = 28;

/// How the packet begins: hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
pub(crate) const PREFIX: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// The two forms of an announcement. Some hosts learn from the one only, some from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `ares_op$REQUEST`.
    Request = 1,
    /// `ares_op$REPLY`.
    Reply = 2,
}

/// A gratuitous ARP to all hosts (RFC 5944 section 4.6): `address` is at `from`.
///
/// As a request, the target hardware address is zero (the announcement of RFC 5227 section 2.3). As a reply it is the
/// sender's own, as RFC 5944 asks: Linux takes a reply for gratuitous only then.
#[must_use]
pub fn gratuitous(operation: Operation, from: Mac, address: Ipv4Addr, mark: Option<Mark>) -> [u8; FRAME_LEN] {
    let target_mac = match operation {
        Operation::Request => [0; 6],
        Operation::Reply => from,
    };
    let sender = Party { mac: from, address };
    frame(BROADCAST, packet(operation, &sender, &Party { mac: target_mac, address }), mark)
}

/// An ARP probe (RFC 5227 section 2.1.1): who wears `target`? The sender address is 0.0.0.0, so that no cache learns
/// from it; `from` gets the answer.
#[must_use]
pub fn probe(from: Mac, to: To, target: Ipv4Addr, mark: Option<Mark>) -> [u8; FRAME_LEN] {
    let ethernet_to = match to {
        To::All => BROADCAST,
        To::One(mac) => mac,
    };
    let sender = Party { mac: from, address: Ipv4Addr::UNSPECIFIED };
    let asked = Party { mac: [0; 6], address: target };
    frame(ethernet_to, packet(Operation::Request, &sender, &asked), mark)
}

struct Party {
    mac: Mac,
    address: Ipv4Addr,
}

fn packet(operation: Operation, sender: &Party, target: &Party) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    packet[..6].copy_from_slice(&PREFIX);
    packet[7] = operation as u8;
    packet[8..14].copy_from_slice(&sender.mac);
    packet[14..18].copy_from_slice(&sender.address.octets());
    packet[18..24].copy_from_slice(&target.mac);
    packet[24..].copy_from_slice(&target.address.octets());
    packet
}

fn frame(to: Mac, packet: [u8; PACKET_LEN], mark: Option<Mark>) -> [u8; FRAME_LEN] {
    const PADDING_AT: usize = ETHERNET_LEN + PACKET_LEN;
    let mut frame = [0; FRAME_LEN];
    let from = [packet[8], packet[9], packet[10], packet[11], packet[12], packet[13]];
    frame[..ETHERNET_LEN].copy_from_slice(&ethernet(to, from, ETHERTYPE_ARP));
    frame[ETHERNET_LEN..PADDING_AT].copy_from_slice(&packet);
    if let Some(mark) = mark {
        frame[PADDING_AT..].copy_from_slice(&mark.encode(&packet));
    }
    frame
}
