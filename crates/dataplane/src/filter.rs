//! The filter before the addresses of Services, as a table of nftables (`core::filter` says what it lets in).
//!
//! ```text
//! packet ──► prerouting ──► to a guarded address? ──► connected, ICMP, or an open port? ──► on its way
//!            after conntrack,     no: on its way              no: dropped and counted
//!            before translation
//! ```
//!
//! It stands where the address is still the one that the client wrote: before kube-proxy translates it (iptables and
//! nftables do at priority -100), and before the host takes it for its own (where IPVS sits). It stands behind connection
//! tracking, so that what is connected goes on when a port closes, and so do the answers to what is sent from an address.
//! What the host sends to itself is let through. ARP never comes by.
//!
//! The table is the kernel's: it stays when the agent dies, and goes when no address is left to guard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_core::filter::{Admission, Filter};
use mainstay_core::intent::{Port, Protocol};
use mainstay_core::vip::Vip;

use crate::kernel::TableError;
use crate::linux::addresses;
use crate::linux::nftables::{Tables, retry};
use crate::linux::route::Route;
use crate::nftables::rows::{address, destination, equal, octets};
use crate::nftables::{
    Chain, Comparison, Contents, Elements, Expression, FieldType, Found, Header, Hook, INET, IPV4, IPV6,
    Load, Purpose, Register, Rule, Set, TCP, Table, Verdict, rows,
};

#[cfg(test)]
mod tests;

/// The table's name, which begins all comments in it as well.
pub const TABLE: &str = "mainstay-services";

const GUARDED_IPV4: &str = "guarded-ipv4";
const GUARDED_IPV6: &str = "guarded-ipv6";
const OPEN_IPV4: &str = "open-ipv4";
const OPEN_IPV6: &str = "open-ipv6";

/// `NF_INET_PRE_ROUTING`, and `NF_IP_PRI_MANGLE`: behind connection tracking (-200), before translation (-100).
const HOOK: Hook = Hook { purpose: Purpose::Filter, number: 0, priority: -150 };
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;
/// Transports (IANA, "Assigned Internet Protocol Numbers").
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
/// `NF_CT_STATE_BIT` of established and of related.
const CONNECTED: u32 = 2 | 4;
/// Destination unreachable (with "fragmentation needed"), echo request, time exceeded, parameter problem (RFC 792).
const ICMP_TYPES: [u8; 4] = [3, 8, 11, 12];
/// Destination unreachable, packet too big, time exceeded, parameter problem, echo request (RFC 4443; RFC 4890 section
/// 4.3.1 on why), neighbour solicitation and advertisement (RFC 4861), which are sent to the address itself when it is
/// asked whether it is still there.
const ICMPV6_TYPES: [u8; 7] = [1, 2, 3, 4, 128, 135, 136];

/// What is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Addresses that are guarded.
    pub addresses: usize,
    /// Ports that are open on them, each counted on each address.
    pub ports: usize,
    /// Addresses among them that nobody asks for any more, and that this host still wears: look again soon.
    pub lingering: usize,
    /// Packets that were dropped since the table was made.
    pub dropped: u64,
}

/// The filter of this host's network namespace.
#[derive(Debug, Default)]
pub struct ServiceFilter {
    /// What was seen to be in force, and at which generation of all rules: as long as nobody changes any, it still is.
    seen: Option<(u32, Arc<Filter>, InForce)>,
}

impl ServiceFilter {
    /// Makes the kernel filter as `wanted` says. Addresses of ours that are still on an interface of this host, and that
    /// `wanted` does not name, stay as they are in the kernel. Blocks for as long as the kernel takes.
    ///
    /// # Errors
    ///
    /// [`TableError`]
    pub fn put(&mut self, wanted: &Arc<Filter>) -> Result<InForce, TableError> {
        let table = table();
        retry(|tables| {
            let generation = tables.generation()?;
            if let Some((_, _, before)) =
                self.seen.as_ref().filter(|(at, filter, _)| *at == generation && filter == wanted)
            {
                let dropped = dropped(tables.rules(&table)?.as_ref());
                return Ok(InForce { dropped, ..*before });
            }
            let (in_force, changed) = compare(tables, &table, wanted)?;
            let settled = changed == Changed::No && in_force.lingering == 0;
            self.seen = settled.then(|| (generation, Arc::clone(wanted), in_force));
            Ok(in_force)
        })
    }
}

/// Whether anything had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

/// Compares what the kernel has with what is wanted, and changes what differs.
fn compare(tables: &mut Tables, table: &Table, wanted: &Filter) -> Result<(InForce, Changed), TableError> {
    let worn = addresses::worn(&mut Route::open().map_err(TableError::Socket)?)?;
    let found = tables.read(table)?;
    let before = found.as_ref().map(filter_of).unwrap_or_default();
    let filter = wanted.lingering(&before, &worn);
    let contents = Some(contents(&filter)).filter(|contents| !contents.values().all(Elements::is_empty));
    let changed = match tables.change_found(table, found.as_ref(), contents.as_ref())? {
        true => Changed::Yes,
        false => Changed::No,
    };
    let guarded = || filter.guarded();
    let in_force = InForce {
        addresses: guarded().count(),
        ports: guarded().map(|(_, ports)| ports.len()).sum(),
        lingering: guarded().filter(|(vip, _)| !wanted.0.contains_key(vip)).count(),
        dropped: dropped(found.as_ref()),
    };
    Ok((in_force, changed))
}

/// Takes the filter away, if there is one. Blocks for as long as the kernel takes.
///
/// # Errors
///
/// [`TableError`]
pub fn remove() -> Result<(), TableError> {
    let table = table();
    retry(|tables| tables.reconcile(&table, None)).map(drop)
}

fn dropped(found: Option<&Found>) -> u64 {
    found.iter().flat_map(|found| &found.rules).map(|rule| rule.packets).sum()
}

/// The form of the table.
fn table() -> Table {
    let set = |name, fields: &[FieldType]| Set { name, fields: fields.to_vec(), leads_to: Vec::new() };
    Table {
        family: INET,
        name: TABLE,
        sets: vec![
            set(GUARDED_IPV4, &[FieldType::Ipv4]),
            set(GUARDED_IPV6, &[FieldType::Ipv6]),
            set(OPEN_IPV4, &[FieldType::Ipv4, FieldType::Transport, FieldType::Port]),
            set(OPEN_IPV6, &[FieldType::Ipv6, FieldType::Transport, FieldType::Port]),
        ],
        chains: vec![
            guard("ipv4", (OPEN_IPV4, IPV4), (ICMP, &ICMP_TYPES)),
            guard("ipv6", (OPEN_IPV6, IPV6), (ICMPV6, &ICMPV6_TYPES)),
            Chain {
                name: "prerouting",
                hook: Some(HOOK),
                rules: vec![is_guarded(IPV4, GUARDED_IPV4, "ipv4"), is_guarded(IPV6, GUARDED_IPV6, "ipv6")],
            },
        ],
    }
}

/// The chain for what is sent to a guarded address of one family.
fn guard(name: &'static str, (open, family): (&'static str, u8), (icmp, types): (u8, &[u8])) -> Chain {
    let accept = |comment, mut does: Vec<Expression>| {
        does.push(Expression::End(Verdict::Accept));
        Rule { comment, does }
    };
    let transport = |at| Expression::Load { what: Load::Transport, to: Register(at) };
    let of_transport = |offset, length, at| {
        let what = Load::Payload { of: Header::Transport, offset, length };
        Expression::Load { what, to: Register(at) }
    };
    let (first, length) = (Register(0), destination(family).1);
    let from_itself = vec![
        Expression::Load { what: Load::InterfaceType, to: first },
        equal(LOOPBACK.to_ne_bytes().to_vec()),
    ];
    let connected = vec![
        Expression::Load { what: Load::ConnectionState, to: first },
        Expression::Mask { at: first, bits: CONNECTED.to_ne_bytes().to_vec() },
        Expression::Compare { at: first, by: Comparison::Different, value: vec![0; 4] },
    ];
    // TCP, UDP and SCTP have the destination's port in one place.
    let to_open = vec![
        // Known already, but without it `nft` does not show the address as one.
        Expression::Load { what: Load::Family, to: first },
        equal(vec![family]),
        destination(family).0,
        transport(length),
        of_transport(2, 2, length + 1),
        Expression::Find { at: first, set: open },
    ];
    let icmp_rule = |kind: &u8| {
        let does = vec![transport(0), equal(vec![icmp]), of_transport(0, 1, 0), equal(vec![*kind])];
        accept("errors, echoes, neighbours", does)
    };
    let fixed = [
        accept("from this host itself", from_itself),
        accept("connected, or answered", connected),
        accept("a port of a Service", to_open),
    ];
    let dropped = Rule { comment: "the rest", does: vec![Expression::Count, Expression::End(Verdict::Drop)] };
    let rules = fixed.into_iter().chain(types.iter().map(icmp_rule)).chain([dropped]);
    Chain { name, hook: None, rules: rules.collect() }
}

fn is_guarded(family: u8, set: &'static str, chain: &'static str) -> Rule {
    let does = vec![
        Expression::Load { what: Load::Family, to: Register(0) },
        equal(vec![family]),
        destination(family).0,
        Expression::Find { at: Register(0), set },
        Expression::End(Verdict::Goto(chain)),
    ];
    Rule { comment: "an address of Services", does }
}

/// The elements of all sets. Empty ones are there as well: what is in them is to go.
fn contents(filter: &Filter) -> Contents {
    let mut contents: Contents =
        [GUARDED_IPV4, GUARDED_IPV6, OPEN_IPV4, OPEN_IPV6].map(|set| (set, Elements::new())).into();
    for (vip, ports) in filter.guarded() {
        let (guarded, open) =
            if vip.is_ipv4() { (GUARDED_IPV4, OPEN_IPV4) } else { (GUARDED_IPV6, OPEN_IPV6) };
        contents.entry(guarded).or_default().insert(octets(vip), Vec::new());
        contents.entry(open).or_default().extend(ports.iter().map(|port| (row(vip, *port), Vec::new())));
    }
    contents
}

/// What the elements of the sets say.
fn filter_of(found: &Found) -> Filter {
    let keys = |set| found.elements.get(set).into_iter().flat_map(Elements::keys);
    let guarded = [GUARDED_IPV4, GUARDED_IPV6].into_iter().flat_map(keys).filter_map(|key| address(key));
    let mut open: BTreeMap<Vip, BTreeSet<Port>> =
        guarded.map(|vip| (vip.to_owned(), BTreeSet::new())).collect();
    for (vip, port) in [OPEN_IPV4, OPEN_IPV6].into_iter().flat_map(keys).filter_map(|key| read_row(key)) {
        // Without its address among the guarded, it means nothing.
        if let Some(ports) = open.get_mut(&vip) {
            ports.insert(port);
        }
    }
    Filter(open.into_iter().map(|(vip, ports)| (vip, Admission::Ports(ports))).collect())
}

fn row(vip: Vip, port: Port) -> Vec<u8> {
    let transport = match port.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Sctp => SCTP,
    };
    rows::service(vip, transport, port.port)
}

fn read_row(key: &[u8]) -> Option<(Vip, Port)> {
    let (vip, transport, port) = rows::read_service(key)?;
    let protocol = match transport {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        SCTP => Protocol::Sctp,
        _ => return None,
    };
    Some((vip, Port { protocol, port }))
}
