//! The source addresses of what IPVS sends on with the destination translated: a backend that sees the client's own would
//! answer past this host, and the client would not know the answer. IPVS does not translate them; with
//! `net.ipv4.vs.conntrack` a connection is one of connection tracking's as well, and a small table of nftables does.
//!
//! kube-vip marks such packets (10042) and masquerades what is marked. Here a packet tells by itself: its connection was
//! first sent to a VIP's port, and it is not on its way there any more.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::balance::Balance;
use mainstay_core::vip::Vip;

use crate::kernel::TableError;
use crate::linux::nftables::{Tables, retry};
use crate::nftables::rows::{destination, equal, read_service, service};
use crate::nftables::{
    Chain, Comparison, Contents, Elements, Expression, FieldType, Header, Hook, INET, IPV4, IPV6, Load,
    Purpose, Register, Rule, Set, TCP, Table, Verdict,
};

/// The name of the table of nftables with [`Forwarding::Masquerade`](super::Forwarding), which begins all comments in it
/// as well.
pub const TABLE: &str = "mainstay-ipvs";

/// The sets of VIPs with their ports.
const VIPS: [(u8, &str); 2] = [(IPV4, "vips-ipv4"), (IPV6, "vips-ipv6")];
/// `NF_INET_POST_ROUTING`, just before kube-proxy's, at 100.
const LEAVING: Hook = Hook { purpose: Purpose::Translate, number: 4, priority: 99 };
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;

/// Translates what is sent to the backends of these VIPs.
pub(super) fn put(balance: &Balance) -> Result<bool, TableError> {
    let rows = contents(balance.vips.iter().map(|vip| (*vip, TCP, balance.port)));
    reconcile(|_| Some(rows.clone()))
}

/// Translates nothing any more.
pub(super) fn clear() -> Result<bool, TableError> {
    reconcile(|_| None)
}

/// Translates what is sent to the backends of these VIPs no more.
pub(super) fn forget(vips: &BTreeSet<Vip>, port: u16) -> Result<(), TableError> {
    reconcile(|there| left(there, vips, port)).map(drop)
}

/// What is left of these elements without those VIPs; nothing where no VIP is.
pub(super) fn left(
    there: &BTreeMap<String, Elements>,
    without: &BTreeSet<Vip>,
    port: u16,
) -> Option<Contents> {
    let rows = there.values().flat_map(BTreeMap::keys).filter_map(|row| read_service(row));
    let rows: Vec<_> = rows.filter(|(vip, _, to)| *to != port || !without.contains(vip)).collect();
    Some(contents(rows.iter().copied())).filter(|_| !rows.is_empty())
}

/// Makes the table what follows from the elements that are there. Whether anything had to be done.
fn reconcile(wanted: impl Fn(&BTreeMap<String, Elements>) -> Option<Contents>) -> Result<bool, TableError> {
    let table = table();
    retry(|tables: &mut Tables| {
        let found = tables.read(&table)?;
        let wanted = wanted(found.as_ref().map_or(&BTreeMap::new(), |found| &found.elements));
        tables.change_found(&table, found.as_ref(), wanted.as_ref())
    })
}

pub(super) fn contents(rows: impl Iterator<Item = (Vip, u8, u16)>) -> Contents {
    let mut contents: Contents = VIPS.iter().map(|(_, set)| (*set, Elements::new())).collect();
    for (vip, transport, port) in rows {
        let (_, set) = VIPS[usize::from(vip.is_ipv6())];
        contents.entry(set).or_default().insert(service(vip, transport, port), Vec::new());
    }
    contents
}

/// The form of the table.
fn table() -> Table {
    let set = |(family, name): &(u8, &'static str)| {
        let address = if *family == IPV4 { FieldType::Ipv4 } else { FieldType::Ipv6 };
        Set { name, fields: vec![address, FieldType::Transport, FieldType::Port], leads_to: Vec::new() }
    };
    let rules = VIPS.iter().flat_map(|(family, set)| [untouched(*family, set), translated(*family, set)]);
    let chain = Chain { name: "leaving", hook: Some(LEAVING), rules: rules.collect() };
    Table { family: INET, name: TABLE, sets: VIPS.iter().map(set).collect(), chains: vec![chain] }
}

/// Is it on its way to the VIP itself? It may be on another host now, and this one a client.
fn untouched(family: u8, set: &'static str) -> Rule {
    let (destination, registers) = destination(family);
    let port = Load::Payload { of: Header::Transport, offset: 2, length: 2 };
    let does = vec![
        load(Load::Family, 0),
        equal(vec![family]),
        load(Load::Transport, 0),
        equal(vec![TCP]),
        destination,
        load(Load::Transport, registers),
        load(port, registers + 1),
        Expression::Find { at: Register(0), set },
        Expression::End(Verdict::Accept),
    ];
    Rule { comment: "to the VIP itself", does }
}

/// Was it sent to a VIP, and is it on its way to another host?
fn translated(family: u8, set: &'static str) -> Rule {
    let registers = if family == IPV4 { 1 } else { 4 };
    let value = LOOPBACK.to_ne_bytes().to_vec();
    let does = vec![
        load(Load::Family, 0),
        equal(vec![family]),
        load(Load::OutputInterfaceType, 0),
        Expression::Compare { at: Register(0), by: Comparison::Different, value },
        load(Load::FirstDestination { family }, 0),
        load(Load::ConnectionTransport, registers),
        load(Load::FirstPort, registers + 1),
        Expression::Find { at: Register(0), set },
        Expression::Masquerade,
    ];
    Rule { comment: "so that the answer comes back here", does }
}

fn load(what: Load, to: u8) -> Expression {
    Expression::Load { what, to: Register(to) }
}
