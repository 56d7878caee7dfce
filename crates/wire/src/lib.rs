//! Bytes to values and back: ARP and IPv6 neighbour discovery, with Mainstay's marks, and one TCP segment.
//!
//! Pure: whole Ethernet frames in and out, no sockets, no clock. [`arp`] and [`ndp`] build frames, [`parse`] reads any
//! frame and never panics, [`Mark`] is what our own frames carry besides. Frames with a VLAN tag are not read: the
//! kernel takes the tag off before a packet socket sees the frame.
#![forbid(unsafe_code)]

pub mod arp;
mod bytes;
mod mark;
pub mod ndp;
mod parse;
pub mod tcp;

pub use mark::{Mark, Tenure};
pub use parse::{Kind, ParseError, Parsed, parse};

/// An Ethernet hardware address.
pub type Mac = [u8; 6];

/// Every host of the segment.
pub const BROADCAST: Mac = [0xff; 6];

/// `EtherType` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;

/// `EtherType` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Whom a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All hosts: Ethernet broadcast for ARP, the target's solicited-node group for IPv6.
    All,
    /// The one host with this hardware address.
    One(Mac),
}
