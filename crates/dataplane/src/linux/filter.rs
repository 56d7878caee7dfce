//! The socket filters (classic BPF, `Documentation/networking/filter.rst`) that keep unrelated ARP and ND traffic in
//! the kernel: a frame about an address that nobody asked for wakes nobody.
//!
//! Programs as plain data; the tests run them in an interpreter of the few instructions used.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::sock_filter;
use mainstay_core::vip::Vip;

#[cfg(test)]
mod tests;

/// The kernel's limit (`BPF_MAXINSNS`).
const LONGEST: usize = 4_096;
/// Pass the whole frame; longer than any that matters.
const WHOLE: u32 = 0xffff;

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_LD | BPF_H | BPF_ABS`, `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_32: u16 = 0x20;
const LOAD_16: u16 = 0x28;
const LOAD_8: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Offsets in an Ethernet frame of ARP: operation, sender and target protocol address.
const ARP_OPERATION: u32 = 20;
const ARP_SENDER: u32 = 28;
const ARP_TARGET: u32 = 38;
const ARP_REQUEST: u32 = 1;
/// Offsets in an Ethernet frame of IPv6: next header, ICMPv6 type, target of a neighbour message.
const IPV6_NEXT_HEADER: u32 = 20;
const ICMPV6_TYPE: u32 = 54;
const ND_TARGET: u32 = 62;
const ICMPV6: u32 = 58;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;

/// What to listen for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) vips: BTreeSet<Vip>,
    pub(crate) others: BTreeSet<IpAddr>,
}

impl Wanted {
    /// Whether a frame says something that was asked for: its sender calls one of the addresses its own, or it asks
    /// for a VIP without naming a sender. The filters say the same, unless there are too many addresses for them.
    pub(crate) fn includes(&self, sender: Option<IpAddr>, target: IpAddr) -> bool {
        match sender {
            Some(sender) => self.vips.contains(&sender) || self.others.contains(&sender),
            None => self.vips.contains(&target),
        }
    }

    fn v4(addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = Ipv4Addr> {
        addresses.iter().filter_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None })
    }

    fn v6(addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = Ipv6Addr> {
        addresses.iter().filter_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None })
    }
}

/// The filter of the ARP socket.
pub(crate) fn arp(wanted: &Wanted) -> Vec<sock_filter> {
    let mut program = vec![load(LOAD_32, ARP_SENDER)];
    for address in Wanted::v4(&wanted.vips).chain(Wanted::v4(&wanted.others)) {
        program.extend(pass_if(address.into()));
    }
    // A probe (RFC 5227): a request whose sender is not given.
    program.extend(drop_unless(0));
    program.push(load(LOAD_16, ARP_OPERATION));
    program.extend(drop_unless(ARP_REQUEST));
    program.push(load(LOAD_32, ARP_TARGET));
    for address in Wanted::v4(&wanted.vips) {
        program.extend(pass_if(address.into()));
    }
    program.push(give(0));
    if program.len() <= LONGEST { program } else { vec![give(WHOLE)] }
}

/// The filter of the ND socket: advertisements of all the addresses, solicitations of VIPs.
pub(crate) fn nd(wanted: &Wanted) -> Vec<sock_filter> {
    let advertised = Wanted::v6(&wanted.vips).chain(Wanted::v6(&wanted.others)).flat_map(pass_if_target);
    let solicited = Wanted::v6(&wanted.vips).flat_map(pass_if_target);
    let program = nd_around(advertised.collect(), solicited.collect());
    if program.len() <= LONGEST { program } else { nd_around(vec![give(WHOLE)], vec![give(WHOLE)]) }
}

fn nd_around(advertised: Vec<sock_filter>, solicited: Vec<sock_filter>) -> Vec<sock_filter> {
    let mut program = vec![load(LOAD_8, IPV6_NEXT_HEADER)];
    program.extend(drop_unless(ICMPV6));
    // Jumps reach 255 instructions at most, so the two halves stand one after the other and each asks for its type.
    program.push(load(LOAD_8, ICMPV6_TYPE));
    program.extend([jump(ADVERTISEMENT, 1, 0), jump_always(u32_of(advertised.len() + 1))]);
    program.extend(advertised);
    program.push(give(0));
    program.push(load(LOAD_8, ICMPV6_TYPE));
    program.extend(drop_unless(SOLICITATION));
    program.extend(solicited);
    program.push(give(0));
    program
}

/// Passes the frame if its ND target is `address`; the last word is compared first, for it differs most.
fn pass_if_target(address: Ipv6Addr) -> [sock_filter; 9] {
    let [a, b, c, d] = words(address);
    [
        load(LOAD_32, ND_TARGET + 12),
        jump(d, 0, 7),
        load(LOAD_32, ND_TARGET + 8),
        jump(c, 0, 5),
        load(LOAD_32, ND_TARGET + 4),
        jump(b, 0, 3),
        load(LOAD_32, ND_TARGET),
        jump(a, 0, 1),
        give(WHOLE),
    ]
}

fn pass_if(value: u32) -> [sock_filter; 2] {
    [jump(value, 0, 1), give(WHOLE)]
}

fn drop_unless(value: u32) -> [sock_filter; 2] {
    [jump(value, 1, 0), give(0)]
}

fn load(code: u16, offset: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k: offset }
}

fn jump(value: u32, if_equal: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: IF_EQUAL, jt: if_equal, jf: otherwise, k: value }
}

/// `BPF_JMP | BPF_JA`: the only jump with a long reach.
fn jump_always(over: u32) -> sock_filter {
    sock_filter { code: 0x05, jt: 0, jf: 0, k: over }
}

fn give(length: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: length }
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or_default())
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
