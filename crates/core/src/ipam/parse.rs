//! The `ConfigMap` of pools, read once.
//!
//! It is kube-vip-cloud-provider's (`kube-system/kubevip`), so that nothing has to be written anew. An entry that
//! cannot be read is reported and left out, and everything else is used.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address::{SearchOrder, Span, Unusable, unusable};
use super::overlap::{PoolNote, notes};
use super::pools::{BuggyAddresses, Form, Pool, PoolKey, Pools, Scope};
use crate::intent::{Family, is_interface_name};

/// What a `ConfigMap` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// All that could be read.
    pub pools: Pools,
    /// All that could not, in order of key.
    pub problems: Vec<Problem>,
    /// What is legal and may be not meant.
    pub notes: Vec<PoolNote>,
}

/// An entry that is not used. Its text is one line with the key, the value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}={value:?}: {fault}")]
pub struct Problem {
    /// The key in the `ConfigMap`.
    pub key: String,
    /// What it says; of a list, the one entry that is at fault.
    pub value: String,
    /// What is wrong, and what to do.
    pub fault: Fault,
}

/// What is wrong with an entry, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A key that means nothing here.
    #[error("is no key of a pool or an option, and is ignored; correct it or remove it")]
    Key,
    /// A key for something that cannot be a namespace.
    #[error("{0:?} is no namespace; write \"global\" or a namespace's name after the dash")]
    Namespace(String),
    /// An empty entry.
    #[error("an entry is empty; write ADDRESS/LENGTH or FIRST-LAST, or remove the comma or the key")]
    Empty,
    /// Neither a CIDR nor a range.
    #[error("is neither ADDRESS/LENGTH nor FIRST-LAST; write one address as ADDRESS/32 or ADDRESS/128")]
    Neither,
    /// An end of a range, or a CIDR's address, that is none.
    #[error("{0:?} is no IP address; write one such as 192.0.2.10 or 2001:db8::10")]
    Address(String),
    /// A CIDR's length that is none.
    #[error("{length:?} is no prefix length of {family}; write a number from 0 to {longest}")]
    Length {
        /// What stands after the slash.
        length: String,
        /// The family of what stands before it.
        family: Family,
        /// The longest prefix that the family has.
        longest: u32,
    },
    /// A range from one family into the other.
    #[error("begins in one family and ends in the other; write a range for each")]
    Families,
    /// A range whose end comes first.
    #[error("ends before it begins; write the lower address first")]
    Reversed,
    /// Addresses that no Service can have.
    #[error("contains addresses that no Service can have, {0}; leave them out")]
    Unusable(Unusable),
    /// No address that may be handed out.
    #[error(
        "all its addresses end in .0 or .255, which are avoided; add others, or set avoid-buggy-ips to \"false\""
    )]
    Avoided,
    /// DHCP, and addresses of the same family beside it.
    #[error("means DHCP for all Services, and is ignored beside other {0} addresses; remove it or them")]
    DhcpBeside(Family),
    /// Neither true nor false.
    #[error("is neither \"true\" nor \"false\", and counts as \"{0}\"; write one of them")]
    Boolean(bool),
    /// Neither ascending nor descending.
    #[error("is neither \"asc\" nor \"desc\", and counts as \"asc\"; write one of them")]
    Order,
    /// A name that no interface can have.
    #[error("is no interface's name; write 1 to 15 characters without spaces, slashes and colons")]
    Interface,
}

impl Configuration {
    /// Reads a `ConfigMap`'s `data`.
    #[must_use]
    pub fn of(data: &BTreeMap<String, String>) -> Self {
        let mut reader = Reader { data, ends: Ends::default(), found: Self::default() };
        reader.options();
        for (key, value) in data {
            reader.entry(key, value);
        }
        let Self { mut pools, problems, .. } = reader.found;
        for span in pools.pools.values().flat_map(|pool| pool.addresses.spans()) {
            pools.all.insert_span(span);
        }
        let notes = notes(&pools);
        Self { pools, problems, notes }
    }
}

const SEARCH_ORDER: &str = "search-order";
const SKIP_END_IPS: Switch<'static> = Switch { key: "skip-end-ips-in-cidr", default: false };
const AVOID_BUGGY_IPS: Switch<'static> = Switch { key: "avoid-buggy-ips", default: true };

/// A key whose value is true or false.
#[derive(Clone, Copy)]
struct Switch<'a> {
    key: &'a str,
    /// What it counts as where it is absent, or neither.
    default: bool,
}

/// Whether the ends of each CIDR are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ends {
    #[default]
    Kept,
    Skipped,
}

struct Reader<'a> {
    data: &'a BTreeMap<String, String>,
    ends: Ends,
    found: Configuration,
}

impl Reader<'_> {
    /// What the pools' meaning depends on, whatever the order of keys.
    fn options(&mut self) {
        self.found.pools.order = match self.data.get(SEARCH_ORDER).map(|value| value.trim()) {
            Some("desc") => SearchOrder::Descending,
            Some("asc") | None => SearchOrder::Ascending,
            Some(value) => {
                self.problem(SEARCH_ORDER, value, Fault::Order);
                SearchOrder::Ascending
            }
        };
        if !self.option(AVOID_BUGGY_IPS) {
            self.found.pools.buggy = BuggyAddresses::Used;
        }
        if self.option(SKIP_END_IPS) {
            self.ends = Ends::Skipped;
        }
    }

    fn option(&mut self, switch: Switch<'_>) -> bool {
        self.data.get(switch.key).map_or(switch.default, |value| self.boolean(switch, value))
    }

    fn boolean(&mut self, switch: Switch<'_>, value: &str) -> bool {
        boolean(value).unwrap_or_else(|| {
            self.problem(switch.key, value, Fault::Boolean(switch.default));
            switch.default
        })
    }

    fn entry(&mut self, key: &str, value: &str) {
        if let Some(scope) = key.strip_prefix("cidr-") {
            self.pool(Form::Cidr, key, value, scope);
        } else if let Some(scope) = key.strip_prefix("range-") {
            self.pool(Form::Range, key, value, scope);
        } else if let Some(scope) = key.strip_prefix("allow-share-") {
            self.sharing(key, value, scope);
        } else if let Some(scope) = key.strip_prefix("interface-") {
            self.interface(key, value, scope);
        } else if ![SEARCH_ORDER, SKIP_END_IPS.key, AVOID_BUGGY_IPS.key].contains(&key) {
            self.problem(key, value, Fault::Key);
        }
    }

    fn sharing(&mut self, key: &str, value: &str, scope: &str) {
        let Some(scope) = self.scope(key, value, scope) else { return };
        let allowed = self.boolean(Switch { key, default: false }, value);
        self.found.pools.sharing.insert(scope, allowed);
    }

    fn interface(&mut self, key: &str, value: &str, scope: &str) {
        let Some(scope) = self.scope(key, value, scope) else { return };
        if is_interface_name(value.trim()) {
            self.found.pools.interfaces.insert(scope, value.trim().to_owned());
        } else {
            self.problem(key, value, Fault::Interface);
        }
    }

    /// A pool whose entries are all at fault is there, and empty: another pool, which may be meant for others, does
    /// not serve in its place.
    fn pool(&mut self, form: Form, key: &str, value: &str, scope: &str) {
        let Some(scope) = self.scope(key, value, scope) else { return };
        let (mut pool, mut dhcp) = (Pool::default(), Vec::new());
        for entry in value.split(',').map(str::trim) {
            match self.offered(entry) {
                Ok(Entry::Span(span)) => pool.addresses.insert_span(span),
                Ok(Entry::Dhcp(family)) => dhcp.push((entry, family)),
                Err(fault) => self.problem(key, entry, fault),
            }
        }
        for span in pool.addresses.spans() {
            *pool.sizes.entry(span.family()).or_default() += self.found.pools.usable_size(span);
        }
        for (entry, family) in dhcp {
            if pool.size(family) > 0 {
                self.problem(key, entry, Fault::DhcpBeside(family));
            } else {
                pool.dhcp.insert(family);
            }
        }
        self.found.pools.pools.insert(PoolKey { form, scope }, pool);
    }

    /// What one entry of a pool offers.
    fn offered(&self, entry: &str) -> Result<Entry, Fault> {
        let Entry::Span(written) = written(entry)? else { return written(entry) };
        unusable(written).map_or(Ok(()), |what| Err(Fault::Unusable(what)))?;
        let span =
            if entry.contains('/') && self.ends == Ends::Skipped { without_ends(written) } else { written };
        if self.found.pools.usable_size(span) == 0 { Err(Fault::Avoided) } else { Ok(Entry::Span(span)) }
    }

    fn scope(&mut self, key: &str, value: &str, scope: &str) -> Option<Scope> {
        if scope == "global" {
            return Some(Scope::Global);
        }
        if is_namespace(scope) {
            return Some(Scope::Namespace(scope.to_owned()));
        }
        self.problem(key, value, Fault::Namespace(scope.to_owned()));
        None
    }

    fn problem(&mut self, key: &str, value: &str, fault: Fault) {
        self.found.problems.push(Problem { key: key.to_owned(), value: value.to_owned(), fault });
    }
}

/// One entry of a pool's list.
#[derive(Clone, Copy)]
enum Entry {
    Span(Span),
    /// `0.0.0.0/32` or `::/128`.
    Dhcp(Family),
}

/// An entry as it is written: a slash makes a CIDR of it and a dash a range, whatever its key begins with.
fn written(entry: &str) -> Result<Entry, Fault> {
    if entry.is_empty() {
        Err(Fault::Empty)
    } else if let Some((address, length)) = entry.split_once('/') {
        cidr(address, length)
    } else if let Some((first, last)) = entry.split_once('-') {
        range(address(first)?, address(last)?).map(Entry::Span)
    } else {
        Err(Fault::Neither)
    }
}

fn cidr(text: &str, length: &str) -> Result<Entry, Fault> {
    let address = address(text)?;
    let family = Family::of(address);
    let digits = Some(length).filter(|text| text.bytes().all(|one| one.is_ascii_digit()));
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match digits.and_then(|text| text.parse().ok()).filter(|bits| *bits <= longest) {
        Some(bits) if bits == longest && address.is_unspecified() => Ok(Entry::Dhcp(family)),
        Some(bits) => Span::of_prefix(address, bits).map(Entry::Span).ok_or(Fault::Neither),
        None => Err(Fault::Length { length: length.to_owned(), family, longest }),
    }
}

fn range(first: IpAddr, last: IpAddr) -> Result<Span, Fault> {
    if Family::of(first) != Family::of(last) {
        return Err(Fault::Families);
    }
    Span::new(first, last).ok_or(Fault::Reversed)
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    text.trim().parse().map_err(|_| Fault::Address(text.trim().to_owned()))
}

/// Without the network's own address, and the broadcast address of IPv4. Of IPv6 the first address is every router's
/// (RFC 4291 section 2.6.1) and the last one nobody's. Prefixes of two addresses have neither (RFC 3021, RFC 6164).
fn without_ends(span: Span) -> Span {
    if span.size() <= 2 {
        return span;
    }
    let inner = match span.family() {
        Family::Ipv4 => span.without_first().and_then(Span::without_last),
        Family::Ipv6 => span.without_first(),
    };
    inner.unwrap_or(span)
}

/// The spellings that Go's `strconv.ParseBool` takes, because kube-vip-cloud-provider reads with it.
fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An RFC 1123 label, as Kubernetes wants it of namespaces.
fn is_namespace(text: &str) -> bool {
    let inner = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
