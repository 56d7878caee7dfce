//! A table: its form, and the messages that make it.

use std::collections::BTreeMap;

use super::expression::{Expression, VALUE};
use super::{
    DELETE_ELEMENTS, DELETE_TABLE, NEW_CHAIN, NEW_ELEMENTS, NEW_RULE, NEW_SET, NEW_TABLE, request, terminated,
};
use crate::linux::message::{Attributes, Request};

/// `NFTA_TABLE_NAME`, `NFTA_TABLE_USERDATA`.
pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_USERDATA: u16 = 6;
/// `NFTA_CHAIN_TABLE`, `_NAME`, `_HOOK`, `_POLICY`, `_TYPE`.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
/// `NFTA_RULE_TABLE`, `_CHAIN`, `_EXPRESSIONS`, `_USERDATA`.
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
/// `NFTA_SET_TABLE`, `_NAME`, `_FLAGS`, `_KEY_TYPE`, `_KEY_LEN`, `_DATA_TYPE`, `_DATA_LEN`, `_ID`,
/// `_USERDATA`.
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
const SET_USERDATA: u16 = 13;
/// `NFTA_SET_ELEM_LIST_TABLE`, `_SET`, `_ELEMENTS`; `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`,
/// `NFTA_SET_ELEM_DATA`.
pub(super) const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS: u16 = 3;
pub(super) const ELEMENT: u16 = 1;
pub(super) const KEY: u16 = 1;
pub(super) const ELEMENT_DATA: u16 = 2;

/// `NFT_SET_MAP`.
const MAP: u32 = 8;

/// `NF_ACCEPT`, as the policy of a base chain.
const ACCEPT: u32 = 1;
/// Where `nft` looks for the byte order of keys that are numbers: kind (`NFTNL_UDATA_SET_KEYBYTEORDER`), length; the host's.
const KEYS_IN_HOST_ORDER: [u8; 2] = [0, 4];
const HOST_ORDER: u32 = 1;
/// Where `nft` looks for a comment in the data that users may attach: kind, length, text.
const COMMENT: u8 = 0;
/// Bytes of elements in one message: the length of an attribute has 16 bits.
const ELEMENTS_LENGTH: usize = 32 * 1024;

/// The form of a table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// [`INET`](super::INET), or one family of addresses alone: some expressions are for those only.
    pub(crate) family: u8,
    pub(crate) name: &'static str,
    pub(crate) sets: Vec<Set>,
    /// A chain that another goes to stands before it.
    pub(crate) chains: Vec<Chain>,
}

/// A set whose elements are rows of fields, or a map from such rows to others.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<FieldType>,
    /// What a map leads to. A set leads to nothing.
    pub(crate) leads_to: Vec<FieldType>,
}

/// What a field of a set is: that is how `nft` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldType {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `inet_proto`
    Transport,
    /// `inet_service`
    Port,
    /// `mark`: a number in the host's byte order.
    Number,
    /// `ifname`: sixteen bytes, the last of them zero.
    Interface,
}

/// A chain. It lets pass what none of its rules ends.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// Where the kernel comes by, for a base chain.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// Where on its way a packet comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// What may be done there.
    pub(crate) purpose: Purpose,
    /// `NF_INET_*`.
    pub(crate) number: u32,
    /// The lowest is first.
    pub(crate) priority: i32,
}

/// What the rules of a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Let pass and drop.
    Filter,
    /// Translate addresses; the first packet of each connection alone comes by.
    Translate,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// What it is for, as `nft list` shows it.
    pub(crate) comment: &'static str,
    pub(crate) does: Vec<Expression>,
}

/// The elements of each set and map.
pub(crate) type Contents = BTreeMap<&'static str, Elements>;

/// Elements, each with what it leads to: in a set, nothing.
pub(crate) type Elements = BTreeMap<Vec<u8>, Vec<u8>>;

impl Purpose {
    /// The chain's type.
    const fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Translate => "nat",
        }
    }
}

impl FieldType {
    /// Its bytes: each field of a row fills whole registers.
    fn length(self) -> u32 {
        if matches!(self, Self::Ipv6 | Self::Interface) { 16 } else { 4 }
    }

    /// Its number in `nft` (`include/datatype.h`).
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Transport => 12,
            Self::Port => 13,
            Self::Number => 19,
            Self::Interface => 41,
        }
    }
}

impl Table {
    /// What the comments of this form's rules begin with: so the table is known to be ours, and its form to be this one.
    pub(crate) fn marker(&self) -> String {
        let made: Vec<u8> = self.form("").into_iter().flat_map(|one| one.finish(0)).collect();
        format!("{} {:08x}", self.prefix(), checksum(&made))
    }

    /// The part of the marker that every form has.
    pub(super) fn prefix(&self) -> &'static str {
        self.name
    }

    /// Messages that make it, with empty sets.
    pub(crate) fn make(&self) -> Vec<Request> {
        self.form(&self.marker())
    }

    fn form(&self, marker: &str) -> Vec<Request> {
        let table = Attributes::default().with(TABLE_NAME, &terminated(self.name));
        let table = self
            .request(NEW_TABLE, libc::NLM_F_CREATE)
            .with_all(&table.with(TABLE_USERDATA, &comment(marker)));
        let sets = (1..).zip(&self.sets).map(|(id, set)| self.set(id, set));
        let chains = self.chains.iter().map(|chain| self.chain(chain));
        let rules = self.chains.iter().flat_map(|chain| {
            chain.rules.iter().map(|rule| self.rule(chain.name, rule, &commented(marker, rule)))
        });
        [table].into_iter().chain(sets).chain(chains).chain(rules).collect()
    }

    /// Its family and name, as `nft` takes them.
    pub(crate) fn full_name(&self) -> String {
        let family = match self.family {
            super::IPV4 => "ip",
            super::IPV6 => "ip6",
            _ => "inet",
        };
        format!("{family} {}", self.name)
    }

    /// A message about tables of its family.
    pub(crate) fn request(&self, message: u16, flags: libc::c_int) -> Request {
        request(self.family, message, flags)
    }

    /// The message that takes it away, with all that is in it.
    pub(crate) fn unmake(&self) -> Request {
        self.request(DELETE_TABLE, 0).with(TABLE_NAME, &terminated(self.name))
    }

    /// The comments of the rules of each chain, in order.
    pub(super) fn comments(&self) -> BTreeMap<String, Vec<String>> {
        let marker = self.marker();
        let comments =
            |chain: &Chain| chain.rules.iter().map(|rule| commented(&marker, rule)).collect::<Vec<_>>();
        self.chains.iter().map(|chain| (chain.name.to_owned(), comments(chain))).collect()
    }

    /// Messages that put elements into a set.
    pub(super) fn add<'a>(
        &self,
        set: &str,
        elements: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    ) -> Vec<Request> {
        self.elements((NEW_ELEMENTS, libc::NLM_F_CREATE), set, elements)
    }

    /// Messages that take elements out of a set.
    pub(super) fn delete<'a>(&self, set: &str, keys: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Request> {
        const NOTHING: &Vec<u8> = &Vec::new();
        self.elements((DELETE_ELEMENTS, 0), set, keys.map(|key| (key, NOTHING)))
    }

    fn elements<'a>(
        &self,
        (message, flags): (u16, libc::c_int),
        set: &str,
        elements: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    ) -> Vec<Request> {
        let about = Attributes::default()
            .with(ELEMENTS_TABLE, &terminated(self.name))
            .with(ELEMENTS_SET, &terminated(set));
        let packed = pack(elements).into_iter();
        packed
            .map(|list| self.request(message, flags).with_all(&about.clone().nested(ELEMENTS, &list)))
            .collect()
    }

    fn set(&self, id: u32, set: &Set) -> Request {
        let (key_type, length) = row_type(&set.fields);
        let attributes = Attributes::default()
            .with(SET_TABLE, &terminated(self.name))
            .with(SET_NAME, &terminated(set.name))
            .with(SET_KEY_TYPE, &key_type.to_be_bytes())
            .with(SET_KEY_LENGTH, &length.to_be_bytes());
        let attributes = if set.leads_to.is_empty() {
            attributes
        } else {
            let (data_type, length) = row_type(&set.leads_to);
            attributes
                .with(SET_FLAGS, &MAP.to_be_bytes())
                .with(SET_DATA_TYPE, &data_type.to_be_bytes())
                .with(SET_DATA_LENGTH, &length.to_be_bytes())
        };
        let attributes = if set.fields.contains(&FieldType::Number) {
            attributes.with(SET_USERDATA, &[&KEYS_IN_HOST_ORDER[..], &HOST_ORDER.to_ne_bytes()].concat())
        } else {
            attributes
        };
        self.request(NEW_SET, libc::NLM_F_CREATE).with_all(&attributes.with(SET_ID, &id.to_be_bytes()))
    }

    fn chain(&self, chain: &Chain) -> Request {
        let named = Attributes::default()
            .with(CHAIN_TABLE, &terminated(self.name))
            .with(CHAIN_NAME, &terminated(chain.name));
        let attributes = chain.hook.into_iter().fold(named, |named, hook| {
            // `NFTA_HOOK_HOOKNUM`, `NFTA_HOOK_PRIORITY`.
            let place = Attributes::default()
                .with(1, &hook.number.to_be_bytes())
                .with(2, &hook.priority.to_be_bytes());
            let place = named.nested(CHAIN_HOOK, &place).with(CHAIN_POLICY, &ACCEPT.to_be_bytes());
            place.with(CHAIN_TYPE, &terminated(hook.purpose.word()))
        });
        self.request(NEW_CHAIN, libc::NLM_F_CREATE).with_all(&attributes)
    }

    fn rule(&self, chain: &str, rule: &Rule, words: &str) -> Request {
        let expressions = rule.does.iter().fold(Attributes::default(), |list, one| one.encode(list));
        let attributes = Attributes::default()
            .with(RULE_TABLE, &terminated(self.name))
            .with(RULE_CHAIN, &terminated(chain))
            .nested(RULE_EXPRESSIONS, &expressions)
            .with(RULE_USERDATA, &comment(words));
        self.request(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND).with_all(&attributes)
    }
}

/// The number and the length in bytes of a row: the numbers of its fields side by side, six bits each.
fn row_type(fields: &[FieldType]) -> (u32, u32) {
    let number = fields.iter().fold(0, |all, field| all << 6 | field.number());
    (number, fields.iter().map(|field| field.length()).sum())
}

fn commented(marker: &str, rule: &Rule) -> String {
    format!("{marker}: {}", rule.comment)
}

/// Lists of elements, each short enough for one message.
fn pack<'a>(elements: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<Attributes> {
    let value = |bytes: &[u8]| Attributes::default().with(VALUE, bytes);
    let mut lists: Vec<Attributes> = Vec::new();
    for (key, data) in elements {
        let set = Attributes::default().nested(KEY, &value(key));
        let element = if data.is_empty() { set } else { set.nested(ELEMENT_DATA, &value(data)) };
        let list = lists.pop_if(|list| list.len() < ELEMENTS_LENGTH).unwrap_or_default();
        lists.push(list.nested(ELEMENT, &element));
    }
    lists
}

/// A comment of at most 253 bytes, as `nft` writes it.
fn comment(text: &str) -> Vec<u8> {
    let text = terminated(text);
    let length = u8::try_from(text.len()).unwrap_or_default();
    [&[COMMENT, length], text.as_slice()].concat()
}

/// Reads a comment; nothing where there is none.
pub(super) fn read_comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, more) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        data = more;
    }
    None
}

/// FNV-1a, 32 bits: tells one form from another.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
