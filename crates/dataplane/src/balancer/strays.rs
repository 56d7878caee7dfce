//! Where a segment goes that belongs to no connection that this host knows: to the next node of the control plane, whose
//! kernel may know it. So a connection outlives that its VIP moves, for as long as the host lives that it began with.
//!
//! ```text
//! client ──► holder: not known ──► next node: not known ──► next node: known ──► backend
//!              ▲                                                └─ else ─┐
//!              └──── reset: it has been round ◄──────────────────────────┘
//! ```
//!
//! The nodes with an agent make a ring, in the order of their addresses. Nobody needs to know who held the VIP when, nor for
//! how long: whoever knows the connection keeps it, and what nobody knows gets the reset when it comes back to the holder.
//! That it goes round is marked in the hops that the segment may still take ([`MARKED`]). The holder sends nothing round
//! twice; and wherever the holder is, and whoever believes what about the ring, fifteen hops on the segment is reset where
//! it is. What comes to a node that does not hold the VIP (for a client that believes it does) goes round as well, and so
//! to the holder.
//!
//! A segment has to come in by the VIP's interface: by another one the next node would have it from an interface that it
//! does not expect its source on (`rp_filter`), and from the loopback its answer would never arrive.
//!
//! To send a copy on (`dup`) and to drop what came is something that tables of one family of addresses do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mainstay_core::balance::Balance;

use super::{NEW, different, is_stray, load, reconcile_all};
use crate::kernel::TableError;
use crate::nftables::rows::{equal, octets, service};
use crate::nftables::{
    Chain, Comparison, Contents, Elements, Expression, FieldType, Header, Hook, IPV4, IPV6, Load, Purpose,
    Register, Rule, Set, TCP, Table, Verdict,
};

/// The name of both tables, which begins all comments in them as well.
pub const TABLE: &str = "mainstay-strays";

/// The map from what came to whom it is sent on to.
const NEXT: &str = "next-node";
/// `NF_INET_LOCAL_IN`, `NF_INET_FORWARD`: just before they are reset.
const DELIVERED: Hook = Hook { purpose: Purpose::Filter, number: 1, priority: -151 };
const PASSING: Hook = Hook { purpose: Purpose::Filter, number: 2, priority: -151 };
/// Hops that are left to a segment that goes round, and those of the last: no system begins with a number near to these.
const MARKED: u8 = 0xc0;
const MARK: u8 = 0xf0;
const FIRST: u8 = 0xcf;
/// The bytes of an interface's name (`IFNAMSIZ`), in four registers.
const NAME_LENGTH: usize = 16;
const NAME_REGISTERS: u8 = 4;

/// Has the kernel send what comes in by `interface` for these VIPs, and is a stray, on to the address of `next` that is of
/// the VIP's family. Where there is none, it is reset here. Whether anything had to be done. Blocks for as long as the
/// kernel takes.
///
/// # Errors
///
/// [`TableError`]
pub fn put(balance: &Balance, interface: &str, next: &BTreeSet<IpAddr>) -> Result<bool, TableError> {
    let of_family = |family: u8| {
        let next = next.iter().find(|one| one.is_ipv4() == (family == IPV4))?;
        let vips = balance.served().filter(|vip| vip.is_ipv4() == next.is_ipv4());
        let rows = vips.map(|vip| {
            ([name(interface).as_slice(), &service(vip, TCP, balance.port)].concat(), octets(*next))
        });
        let rows: Elements = rows.collect();
        (!rows.is_empty()).then(|| Contents::from([(NEXT, rows)]))
    };
    reconcile_all([IPV4, IPV6].map(|family| (table(family), of_family(family))))
}

/// Takes both tables away. Blocks for as long as the kernel takes.
///
/// # Errors
///
/// [`TableError`]
pub fn remove() -> Result<(), TableError> {
    reconcile_all([IPV4, IPV6].map(|family| (table(family), None))).map(drop)
}

/// The form of one family's table.
fn table(family: u8) -> Table {
    let address = if family == IPV4 { FieldType::Ipv4 } else { FieldType::Ipv6 };
    let fields = vec![FieldType::Interface, address, FieldType::Transport, FieldType::Port];
    let chain = |name, hook, rules| Chain { name, hook: Some(hook), rules };
    let begin = || [goes_round(family, Comparison::Different), look_up(family), mark(family)].concat();
    let go_on = [goes_round(family, Comparison::Equal), is_not_last(family), look_up(family)].concat();
    let rule = |comment, does: Vec<Expression>| {
        let send = vec![Expression::SendCopy { to: Register(0) }, Expression::End(Verdict::Drop)];
        Rule { comment, does: [is_stray(), does, send].concat() }
    };
    const BEGIN: &str = "the next node may know the connection";
    let reset = [is_stray(), goes_round(family, Comparison::Equal), look_up(family), vec![Expression::Reset]];
    let passing = vec![
        is_known(),
        rule("it goes round", go_on),
        Rule { comment: "it has been round", does: reset.concat() },
        rule(BEGIN, begin()),
    ];
    Table {
        family,
        name: TABLE,
        sets: vec![Set { name: NEXT, fields, leads_to: vec![address] }],
        chains: vec![
            chain("delivered", DELIVERED, vec![rule(BEGIN, begin())]),
            chain("passing", PASSING, passing),
        ],
    }
}

/// Where the hops that are left are in a network header.
const fn hops_at(family: u8) -> u32 {
    if family == IPV4 { 8 } else { 7 }
}

/// Does it begin nothing? Nearly every packet that passes by is of a connection that is known, and done with here.
fn is_known() -> Rule {
    let does = vec![
        load(Load::ConnectionState, 0),
        Expression::Mask { at: Register(0), bits: NEW.to_ne_bytes().to_vec() },
        equal(vec![0; 4]),
        Expression::End(Verdict::Accept),
    ];
    Rule { comment: "of a connection that is known", does }
}

/// Does it go round already, or does it not?
fn goes_round(family: u8, by: Comparison) -> Vec<Expression> {
    let at = Register(0);
    vec![
        hops(family),
        Expression::Mask { at, bits: vec![MARK] },
        Expression::Compare { at, by, value: vec![MARKED] },
    ]
}

/// May it take another hop as one that goes round?
fn is_not_last(family: u8) -> Vec<Expression> {
    vec![hops(family), different(vec![MARKED])]
}

fn hops(family: u8) -> Expression {
    load(Load::Payload { of: Header::Network, offset: hops_at(family), length: 1 }, 0)
}

/// To whom?
fn look_up(family: u8) -> Vec<Expression> {
    let (offset, length, registers) = if family == IPV4 { (16, 4, 1) } else { (24, 16, 4) };
    let after = NAME_REGISTERS + registers;
    vec![
        load(Load::InterfaceName, 0),
        load(Load::Payload { of: Header::Network, offset, length }, NAME_REGISTERS),
        load(Load::Transport, after),
        load(Load::Payload { of: Header::Transport, offset: 2, length: 2 }, after + 1),
        Expression::Map { at: Register(0), map: NEXT, to: Register(0) },
    ]
}

/// It goes round from here on.
fn mark(family: u8) -> Vec<Expression> {
    // Behind the next node's address.
    let at = Register(4);
    let checksum = (family == IPV4).then_some(10);
    vec![
        Expression::Put { value: vec![FIRST], to: at },
        Expression::Write { at, offset: hops_at(family), checksum },
    ]
}

fn name(interface: &str) -> Vec<u8> {
    let mut bytes = interface.as_bytes().to_vec();
    bytes.resize(NAME_LENGTH, 0);
    bytes
}
