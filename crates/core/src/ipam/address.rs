//! Addresses as points on a line: families, neighbours, spans, and what no Service can have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::intent::Family;

impl Family {
    /// Where a search in this order begins.
    pub(super) fn first(self, order: SearchOrder) -> IpAddr {
        match (order, self) {
            (SearchOrder::Ascending, family) => family.unspecified(),
            (SearchOrder::Descending, Self::Ipv4) => Ipv4Addr::BROADCAST.into(),
            (SearchOrder::Descending, Self::Ipv6) => Ipv6Addr::from(u128::MAX).into(),
        }
    }
}

/// From which end of a pool addresses are handed out: the key `search-order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchOrder {
    /// `asc`: the lowest free address first.
    #[default]
    Ascending,
    /// `desc`: the highest free address first.
    Descending,
}

/// The next address of the same family; nothing after the last one.
pub(super) fn step(address: IpAddr, order: SearchOrder) -> Option<IpAddr> {
    match (address, order) {
        (IpAddr::V4(v4), SearchOrder::Ascending) => v4.to_bits().checked_add(1).map(v4_of),
        (IpAddr::V4(v4), SearchOrder::Descending) => v4.to_bits().checked_sub(1).map(v4_of),
        (IpAddr::V6(v6), SearchOrder::Ascending) => v6.to_bits().checked_add(1).map(v6_of),
        (IpAddr::V6(v6), SearchOrder::Descending) => v6.to_bits().checked_sub(1).map(v6_of),
    }
}

fn v4_of(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn v6_of(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).into()
}

/// Whether old equipment drops `address` because it looks like a network's own or broadcast address: the last octet of
/// an IPv4 address is 0 or 255 (kube-vip-cloud-provider never hands those out; MetalLB's `avoidBuggyIPs`).
pub(super) fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [.., 0 | 255]))
}

/// Addresses of one family from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
}

impl Span {
    /// `first` to `last`; nothing unless they are of one family and in this order.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (Family::of(first) == Family::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The addresses that share the first `length` bits with `address`; nothing if it has fewer bits than that.
    #[must_use]
    pub fn of_prefix(address: IpAddr, length: u32) -> Option<Self> {
        let (first, last) = match address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                (length <= 32).then(|| (v4_of(v4.to_bits() & !host), v4_of(v4.to_bits() | host)))?
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                (length <= 128).then(|| (v6_of(v6.to_bits() & !host), v6_of(v6.to_bits() | host)))?
            }
        };
        Some(Self { first, last })
    }

    /// The family of all its addresses.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.first)
    }

    /// How many addresses; `u128::MAX` for all of IPv6, which is one more.
    #[must_use]
    pub fn size(self) -> u128 {
        (bits(self.last) - bits(self.first)).saturating_add(1)
    }

    /// How many of them end in .0 or .255 (see [`is_buggy`]).
    pub(super) fn buggy_size(self) -> u128 {
        match self.family() {
            Family::Ipv4 => buggy_below(bits(self.last) + 1) - buggy_below(bits(self.first)),
            Family::Ipv6 => 0,
        }
    }

    /// What both contain.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Without its first address; nothing is left of one address.
    pub(super) fn without_first(self) -> Option<Self> {
        step(self.first, SearchOrder::Ascending).and_then(|first| Self::new(first, self.last))
    }

    /// Without its last address; nothing is left of one address.
    pub(super) fn without_last(self) -> Option<Self> {
        step(self.last, SearchOrder::Descending).and_then(|last| Self::new(self.first, last))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// How many IPv4 addresses before the `n`-th end in 0 or 255.
fn buggy_below(n: u128) -> u128 {
    n.div_ceil(256) + n / 256
}

/// What an address is that no Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unusable {
    /// RFC 1122 section 3.2.1.3.
    #[error("\"this network\" (0.0.0.0/8)")]
    ThisNetwork,
    /// RFC 1122 section 3.2.1.3.
    #[error("loopback (127.0.0.0/8)")]
    Loopback,
    /// RFC 5771.
    #[error("multicast (224.0.0.0/4)")]
    Multicast,
    /// RFC 1112 section 4; the broadcast address is one of them.
    #[error("reserved (240.0.0.0/4)")]
    Reserved,
    /// RFC 4291 section 2.5.2, 2.5.3 and 2.5.5.1.
    #[error("unspecified, loopback or IPv4-compatible (::/96)")]
    Compatible,
    /// RFC 4291 section 2.5.5.2.
    #[error("IPv4-mapped (::ffff:0:0/96)")]
    Mapped,
    /// RFC 4291 section 2.5.6: kube-vip announces no link-local VIP.
    #[error("link-local (fe80::/10)")]
    LinkLocal,
    /// RFC 4291 section 2.7.
    #[error("multicast (ff00::/8)")]
    MulticastV6,
}

const UNUSABLE: [(IpAddr, u32, Unusable); 8] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8, Unusable::ThisNetwork),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, Unusable::Loopback),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4, Unusable::Multicast),
    (IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4, Unusable::Reserved),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 96, Unusable::Compatible),
    (IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), 96, Unusable::Mapped),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10, Unusable::LinkLocal),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8, Unusable::MulticastV6),
];

/// Why a Service cannot have some address of `span`; nothing if it can have all of them.
pub(super) fn unusable(span: Span) -> Option<Unusable> {
    let touches = |address, length| Span::of_prefix(address, length).and_then(|it| it.overlap(span));
    UNUSABLE.iter().find(|(address, length, _)| touches(*address, *length).is_some()).map(|(.., why)| *why)
}
