//! The load balancer before the API servers, as a table of nftables (`core::balance` says where connections go).
//!
//! ```text
//! SYN ──► prerouting, output ──► to VIP:port? ──► a slot, by turn or by client ──► its backend ──► postrouting ──► masqueraded,
//!         before kube-proxy's                     one of 840, or of 1,680                          if it leaves the host
//! ```
//!
//! The form of the table depends on how backends are chosen, and on nothing else; VIPs and slots are elements, so that a
//! change is one transaction of what differs, and a connection that is there stays with its backend: the kernel's
//! connection tracking knows it. The table stands on every node that may hold the VIP, always, so a new holder has it before
//! it announces; and it is the kernel's: an agent that dies takes nothing along.
//!
//! Only a SYN is translated. What belongs to a connection that this host does not know (its holder died, or its backend was
//! taken out) is a stray, and is answered with a reset, unless another node knows it ([`strays`]). So connections of a backend that was taken out are ended in two
//! steps: the kernel forgets them, and the client is asked for a sign of life (`linux/nudge.rs`), which it gets the reset
//! for. Neither the question nor the stray is tracked: of a connection that the kernel knows again, the next SYN from the
//! same port of the client would not be translated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mainstay_core::balance::{Balance, Distribution};
use mainstay_core::vip::Vip;

use crate::kernel::{KernelError, TableError};
use crate::linux::conntrack::{Conntrack, Entry};
use crate::linux::nftables::retry;
use crate::linux::nudge;
use crate::nftables::rows::{destination, equal, octets, read_service, service};
use crate::nftables::{
    Chain, Comparison, Contents, Expression, FieldType, Found, Header, Hook, INET, IPV4, IPV6, Load, Purpose,
    Register, Rule, Set, TCP, Table, Verdict,
};

pub mod strays;
#[cfg(test)]
mod tests;

/// The table's name, which begins all comments in it as well.
pub const TABLE: &str = "mainstay-balancer";

/// `NF_INET_PRE_ROUTING`, `NF_INET_LOCAL_OUT`, `NF_INET_LOCAL_IN`, `NF_INET_POST_ROUTING`; just before kube-proxy's, at -100 and 100.
const ARRIVING: Hook = Hook { purpose: Purpose::Translate, number: 0, priority: -101 };
const FROM_HERE: Hook = Hook { purpose: Purpose::Translate, number: 3, priority: -101 };
/// Behind connection tracking, before what others filter.
const DELIVERED: Hook = Hook { purpose: Purpose::Filter, number: 1, priority: -150 };
/// Before connection tracking.
const UNTRACKED: Hook = Hook { purpose: Purpose::Filter, number: 3, priority: -300 };
const LEAVING: Hook = Hook { purpose: Purpose::Translate, number: 4, priority: 99 };

/// Of a TCP header: where the flags are; FIN, SYN, RST and ACK among them; SYN alone.
const FLAGS_AT: u32 = 13;
const FLAGS: u8 = 0x17;
const SYN: u8 = 0x02;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const NEW: u32 = 1 << 3;
/// `IPS_DST_NAT`.
const DESTINATION_TRANSLATED: u32 = 1 << 5;
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;

/// What is named after a family.
struct Family {
    number: u8,
    /// The set of VIPs with their ports, and the map from slots to backends.
    vips: &'static str,
    slots: &'static str,
    /// The chain that chooses.
    choose: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { number: IPV4, vips: "vips-ipv4", slots: "slots-ipv4", choose: "choose-ipv4" },
    Family { number: IPV6, vips: "vips-ipv6", slots: "slots-ipv6", choose: "choose-ipv6" },
];

/// What became of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balanced {
    /// Whether the kernel had it otherwise.
    pub changed: bool,
    /// Connections to backends that are none any more, which were ended.
    pub ended: usize,
}

/// Makes the kernel balance as `wanted` says, and ends the connections of backends that it does not name. Blocks for as long
/// as the kernel takes.
///
/// # Errors
///
/// [`TableError`]
pub fn put(wanted: &Balance) -> Result<Balanced, TableError> {
    let table = table(wanted.distribution);
    let contents = Some(contents(wanted)).filter(|_| wanted.served().next().is_some());
    let changed = reconcile_all([(table, contents)])?;
    Ok(Balanced { changed, ended: end(wanted)? })
}

/// Whether this kernel can, and lets this process: it is asked for a table of the same form under another name, which goes
/// again in the same transaction.
///
/// # Errors
///
/// [`TableError`], with the remedy.
pub fn check(distribution: Distribution) -> Result<(), TableError> {
    let table = Table { name: "mainstay-balancer-check", ..table(distribution) };
    retry(|tables| match tables.change([table.make(), vec![table.unmake()]].concat()) {
        // Nothing of that name is there: it is a part of the form that the kernel has no module for.
        Err(KernelError::Raced) => Err(TableError::Unable),
        other => Ok(other?),
    })
}

/// Takes the balancer away, if there is one; connections that it has made stay for as long as the kernel translates for
/// anybody. Blocks for as long as the kernel takes.
///
/// # Errors
///
/// [`TableError`]
pub fn remove() -> Result<(), TableError> {
    let table = table(Distribution::default());
    reconcile_all([(table, None)])?;
    strays::remove()
}

/// Where new connections go as the kernel has it now, whoever put it there; empty where nothing is balanced.
///
/// # Errors
///
/// [`TableError`]
pub fn in_force() -> Result<BTreeMap<Vip, BTreeSet<SocketAddr>>, TableError> {
    let table = table(Distribution::default());
    retry(|tables| Ok(tables.read(&table)?.as_ref().map(read_back).unwrap_or_default()))
}

/// How many connections to these VIPs each backend has now. An entry that the kernel still remembers counts.
///
/// # Errors
///
/// [`TableError`]
pub fn connections(of: &Balance) -> Result<BTreeMap<SocketAddr, usize>, TableError> {
    let mut counted: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for entry in Conntrack::open()?.entries(&of.vips, of.port)? {
        *counted.entry(entry.backend).or_default() += 1;
    }
    Ok(counted)
}

/// Makes each of the tables so, or takes it away. Whether anything had to be done.
fn reconcile_all<const N: usize>(tables: [(Table, Option<Contents>); N]) -> Result<bool, TableError> {
    tables.into_iter().try_fold(false, |changed, (table, contents)| {
        Ok(retry(|socket| socket.reconcile(&table, contents.as_ref()))? || changed)
    })
}

/// Ends what goes to a backend that is none any more.
fn end(wanted: &Balance) -> Result<usize, TableError> {
    let mut conntrack = Conntrack::open()?;
    let gone =
        |entry: &Entry| entry.backend != entry.virtual_address && !wanted.keeps.contains(&entry.backend);
    let entries = conntrack.entries(&wanted.vips, wanted.port)?;
    let mut ended = 0;
    for entry in entries.iter().filter(|entry| gone(entry)) {
        if conntrack.forget(entry)? {
            ended += 1;
            if let Err(error) = nudge::client(entry.virtual_address, entry.client) {
                tracing::debug!(client = %entry.client, "a connection was ended that its client is not told of: {error}");
            }
        }
    }
    Ok(ended)
}

/// The form of the table.
fn table(distribution: Distribution) -> Table {
    let set = |family: &Family| {
        let (address, _) = types(family);
        let vips = [address, FieldType::Transport, FieldType::Port];
        let vips = Set { name: family.vips, fields: vips.to_vec(), leads_to: Vec::new() };
        let slots = Set {
            name: family.slots,
            fields: vec![FieldType::Number],
            leads_to: vec![address, FieldType::Port],
        };
        [vips, slots]
    };
    let base = |name, hook, rule: fn(&Family) -> Rule| Chain {
        name,
        hook: Some(hook),
        rules: FAMILIES.iter().map(rule).collect(),
    };
    let choosing = FAMILIES.iter().map(|family| choose(family, distribution));
    let chains = [
        base("arriving", ARRIVING, is_balanced),
        base("from-here", FROM_HERE, is_balanced),
        base("leaving", LEAVING, masquerade),
        base("delivered", DELIVERED, reset_strays),
        base("untracked", UNTRACKED, leave_nudges),
    ];
    Table {
        family: INET,
        name: TABLE,
        sets: FAMILIES.iter().flat_map(set).collect(),
        chains: choosing.chain(chains).collect(),
    }
}

/// The field of an address, and its length in registers.
fn types(family: &Family) -> (FieldType, u8) {
    if family.number == IPV4 { (FieldType::Ipv4, 1) } else { (FieldType::Ipv6, 4) }
}

/// Is it sent to a VIP's port?
fn is_balanced(family: &Family) -> Rule {
    let (destination, registers) = destination(family.number);
    let port = Load::Payload { of: Header::Transport, offset: 2, length: 2 };
    let to_vip = vec![
        destination,
        load(Load::Transport, registers),
        load(port, registers + 1),
        Expression::Find { at: Register(0), set: family.vips },
        Expression::End(Verdict::Goto(family.choose)),
    ];
    Rule { comment: "to a VIP", does: [in_family(family), to_vip].concat() }
}

/// The chain that chooses a backend for what begins a connection.
fn choose(family: &Family, distribution: Distribution) -> Chain {
    let (_, registers) = types(family);
    let modulus = u32::try_from(distribution.slots()).unwrap_or(u32::MAX);
    let slot = match distribution {
        Distribution::RoundRobin => vec![Expression::Next { modulus, to: Register(0) }],
        Distribution::SourceHash => {
            let (offset, length) = source(family);
            let source = Load::Payload { of: Header::Network, offset, length };
            vec![load(source, 0), Expression::Hash { at: Register(0), length, modulus, to: Register(0) }]
        }
    };
    let begins = vec![
        load(Load::Payload { of: Header::Transport, offset: FLAGS_AT, length: 1 }, 0),
        Expression::Mask { at: Register(0), bits: vec![FLAGS] },
        equal(vec![SYN]),
    ];
    let translated = vec![
        Expression::Map { at: Register(0), map: family.slots, to: Register(0) },
        Expression::Destination { family: family.number, address: Register(0), port: Register(registers) },
    ];
    let rule =
        Rule { comment: "a new connection", does: [in_family(family), begins, slot, translated].concat() };
    Chain { name: family.choose, hook: None, rules: vec![rule] }
}

/// Did it go to a VIP's port, and is it on its way to another host?
fn masquerade(family: &Family) -> Rule {
    let (_, registers) = types(family);
    let different =
        |value: Vec<u8>| Expression::Compare { at: Register(0), by: Comparison::Different, value };
    let does = vec![
        load(Load::Family, 0),
        equal(vec![family.number]),
        load(Load::OutputInterfaceType, 0),
        different(LOOPBACK.to_ne_bytes().to_vec()),
        load(Load::ConnectionStatus, 0),
        Expression::Mask { at: Register(0), bits: DESTINATION_TRANSLATED.to_ne_bytes().to_vec() },
        different(vec![0; 4]),
        load(Load::FirstDestination { family: family.number }, 0),
        load(Load::ConnectionTransport, registers),
        load(Load::FirstPort, registers + 1),
        Expression::Find { at: Register(0), set: family.vips },
        Expression::Masquerade,
    ];
    Rule { comment: "so that the answer comes back here", does }
}

/// Does it belong to no connection that is known, and go to a VIP's port?
fn reset_strays(family: &Family) -> Rule {
    let (destination, registers) = destination(family.number);
    let port = Load::Payload { of: Header::Transport, offset: 2, length: 2 };
    let to_vip = vec![
        destination,
        load(Load::Transport, registers),
        load(port, registers + 1),
        Expression::Find { at: Register(0), set: family.vips },
        Expression::Reset,
    ];
    let family = vec![load(Load::Family, 0), equal(vec![family.number])];
    let does = [family, is_stray(), to_vip].concat();
    Rule { comment: "of no connection that is known", does }
}

/// Does it begin no connection of TCP, and is there none that it belongs to?
fn is_stray() -> Vec<Expression> {
    vec![
        // First what is not so of nearly every packet that comes by.
        load(Load::ConnectionState, 0),
        Expression::Mask { at: Register(0), bits: NEW.to_ne_bytes().to_vec() },
        different(vec![0; 4]),
        load(Load::Transport, 0),
        equal(vec![TCP]),
        load(Load::Payload { of: Header::Transport, offset: FLAGS_AT, length: 1 }, 0),
        Expression::Mask { at: Register(0), bits: vec![FLAGS] },
        different(vec![SYN]),
    ]
}

/// Is it a question of ours? No other segment has zero for both of its numbers.
fn leave_nudges(family: &Family) -> Rule {
    let (_, registers) = types(family);
    let (offset, length) = source(family);
    let address = Load::Payload { of: Header::Network, offset, length };
    let port = Load::Payload { of: Header::Transport, offset: 0, length: 2 };
    let numbers = Load::Payload { of: Header::Transport, offset: 4, length: 8 };
    let from_vip = vec![
        load(address, 0),
        load(Load::Transport, registers),
        load(port, registers + 1),
        Expression::Find { at: Register(0), set: family.vips },
        load(numbers, 0),
        equal(vec![0; 8]),
        Expression::Untracked,
    ];
    Rule { comment: "asks for a sign of life", does: [in_family(family), from_vip].concat() }
}

/// Is it TCP of that family? Without the question `nft` does not show addresses as such.
fn in_family(family: &Family) -> Vec<Expression> {
    vec![load(Load::Family, 0), equal(vec![family.number]), load(Load::Transport, 0), equal(vec![TCP])]
}

/// Where the source's address is in a packet, and its length.
fn source(family: &Family) -> (u32, u32) {
    if family.number == IPV4 { (12, 4) } else { (8, 16) }
}

fn different(value: Vec<u8>) -> Expression {
    Expression::Compare { at: Register(0), by: Comparison::Different, value }
}

fn load(what: Load, to: u8) -> Expression {
    Expression::Load { what, to: Register(to) }
}

/// The elements of all sets. Empty ones are there as well: what is in them is to go.
fn contents(balance: &Balance) -> Contents {
    let of_family = |family: &Family| {
        let mine = |vip: &Vip| vip.is_ipv4() == (family.number == IPV4);
        let vips: Vec<Vip> = balance.served().filter(mine).collect();
        let slots = vips.first().map(|vip| balance.slots(*vip)).unwrap_or_default();
        let numbered = (0_u32..).zip(slots);
        let slots = numbered.map(|(at, backend)| (at.to_ne_bytes().to_vec(), leads_to(backend))).collect();
        let vips = vips.into_iter().map(|vip| (service(vip, TCP, balance.port), Vec::new())).collect();
        [(family.vips, vips), (family.slots, slots)]
    };
    FAMILIES.iter().flat_map(of_family).collect()
}

fn leads_to(backend: SocketAddr) -> Vec<u8> {
    let [high, low] = backend.port().to_be_bytes();
    [octets(backend.ip()).as_slice(), &[high, low, 0, 0]].concat()
}

/// What the elements say.
fn read_back(found: &Found) -> BTreeMap<Vip, BTreeSet<SocketAddr>> {
    let elements = |set: &str| found.elements.get(set).cloned().unwrap_or_default();
    let of_family = |family: &Family| {
        let backends: BTreeSet<SocketAddr> =
            elements(family.slots).values().filter_map(|data| read_backend(data)).collect();
        let vips = elements(family.vips);
        vips.into_keys()
            .filter_map(|row| read_service(&row))
            .map(move |(vip, ..)| (vip, backends.clone()))
            .collect::<Vec<_>>()
    };
    FAMILIES.iter().flat_map(of_family).collect()
}

fn read_backend(data: &[u8]) -> Option<SocketAddr> {
    let (address, port) = data.split_at_checked(data.len().checked_sub(4)?)?;
    let address = crate::nftables::rows::address(address)?;
    Some(SocketAddr::new(address, u16::from_be_bytes([*port.first()?, *port.get(1)?])))
}
