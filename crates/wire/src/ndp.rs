//! IPv6 neighbour discovery (RFC 4861): announcements and probes.
//!
//! The mark travels in an option of type 253, which RFC 4727 sets aside for experiments; hosts skip options that
//! they do not know (RFC 4861 section 4.6).

use std::net::Ipv6Addr;

use crate::bytes::{ETHERNET_LEN, ethernet};
use crate::{ETHERTYPE_IPV6, Mac, Mark, To};

/// Bytes of an IPv6 header.
pub(crate) const IPV6_LEN: usize = 40;
/// Bytes of a neighbour message before its options.
pub(crate) const MESSAGE_LEN: usize = 24;
/// IPv6 next header of ICMPv6.
pub(crate) const NEXT_HEADER_ICMPV6: u8 = 58;
/// No router has passed such a packet on (RFC 4861 section 7.1).
pub(crate) const HOP_LIMIT: u8 = 255;
/// ICMPv6 type of a neighbour solicitation.
pub(crate) const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub(crate) const ADVERTISEMENT: u8 = 136;
/// Advertisement flag S.
pub(crate) const FLAG_SOLICITED: u8 = 0x40;
/// Advertisement flag O.
pub(crate) const FLAG_OVERRIDE: u8 = 0x20;
/// Source link-layer address option.
pub(crate) const OPTION_SOURCE: u8 = 1;
/// Target link-layer address option.
pub(crate) const OPTION_TARGET: u8 = 2;
/// Experimental option (RFC 4727) that holds the mark.
pub(crate) const OPTION_MARK: u8 = 253;
/// What the mark option begins with: type, and length in units of 8 bytes (2 + 18 for the mark + 4 of zero).
const MARK_OPTION_HEADER: [u8; 2] = [OPTION_MARK, 3];

/// All nodes of the link: ff02::1.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 section 7.2.6): `target` is at `from`, and whoever
/// believes otherwise is to change its mind (override flag). `source` is the packet's source address: `target` itself
/// or the node's link-local address.
#[must_use]
pub fn unsolicited(from: Mac, source: Ipv6Addr, target: Ipv6Addr, mark: Option<Mark>) -> Vec<u8> {
    let mut message = message(ADVERTISEMENT, FLAG_OVERRIDE, target);
    message.extend(link_layer_option(OPTION_TARGET, from));
    push_mark(&mut message, target, mark);
    frame([multicast_mac(ALL_NODES), from], [source, ALL_NODES], message)
}

/// A neighbour solicitation: who wears `target`?
///
/// From a link-local `source` the answer comes to `from` alone. From the unspecified address it is a probe of
/// duplicate address detection (RFC 4862 section 5.4.2), answered to all nodes; it goes to the solicited-node group in
/// its IPv6 header even when only one hardware address is asked, for RFC 4861 section 7.1.1 has receivers drop others.
#[must_use]
pub fn probe(from: Mac, source: Ipv6Addr, to: To, target: Ipv6Addr, mark: Option<Mark>) -> Vec<u8> {
    let group = solicited_node(target);
    let (ethernet_to, destination) = match to {
        To::All => (multicast_mac(group), group),
        To::One(mac) if source.is_unspecified() => (mac, group),
        To::One(mac) => (mac, target),
    };
    let mut message = message(SOLICITATION, 0, target);
    if !source.is_unspecified() {
        message.extend(link_layer_option(OPTION_SOURCE, from));
    }
    push_mark(&mut message, target, mark);
    frame([ethernet_to, from], [source, destination], message)
}

/// The group that the wearer of `address` listens to: ff02::1:ff00:0/104 and the address's last 24 bits (RFC 4291
/// section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of an IPv6 group (RFC 2464 section 7).
#[must_use]
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The ICMPv6 checksum (RFC 4443 section 2.3) over the pseudo header and `message`. It is zero for a message whose
/// checksum field is right.
pub(crate) fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u64::try_from(message.len()).unwrap_or(u64::MAX);
    let header =
        words(&source.octets()) + words(&destination.octets()) + length + u64::from(NEXT_HEADER_ICMPV6);
    let mut sum = header + words(message);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The sum of the 16-bit words of `bytes`, the last one filled up with zero.
fn words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn message(kind: u8, flags: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(MESSAGE_LEN + 8 + 24);
    message.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
    message.extend(target.octets());
    message
}

fn link_layer_option(kind: u8, mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac;
    [kind, 1, a, b, c, d, e, f]
}

fn push_mark(message: &mut Vec<u8>, target: Ipv6Addr, mark: Option<Mark>) {
    if let Some(mark) = mark {
        message.extend(MARK_OPTION_HEADER);
        message.extend(mark.encode(&target.octets()));
        message.extend([0; 4]);
    }
}

/// The whole frame. `macs` are destination and source, as in the header; `addresses` are source and destination, as
/// in theirs.
fn frame(macs: [Mac; 2], [source, destination]: [Ipv6Addr; 2], mut message: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(source, destination, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let length = u16::try_from(message.len()).expect("a neighbour message of ours has at most 56 bytes");
    let mut frame = Vec::with_capacity(ETHERNET_LEN + IPV6_LEN + message.len());
    frame.extend(ethernet(macs[0], macs[1], ETHERTYPE_IPV6));
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([NEXT_HEADER_ICMPV6, HOP_LIMIT]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    frame
}
