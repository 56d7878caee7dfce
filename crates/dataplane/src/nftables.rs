//! Tables of nftables as plain data, and as the messages that make the kernel have them.
//!
//! Pure. A table has a *form* ([`Table`]: chains, rules, empty sets), which changes with the program's version alone, and
//! *contents* ([`Contents`]: the sets' elements), which change all the time. What the kernel has is read ([`Found`]) and
//! compared, and only the difference is sent, in one transaction: packets meet the table as it was or as it is to be.
//! The socket is `linux/nftables.rs`. Numbers are those of `linux/netfilter/nf_tables.h`, in network byte order.

mod expression;
mod found;
mod reconcile;
pub(crate) mod rows;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use expression::{Comparison, Expression, Header, Load, Register, Verdict};
#[cfg(test)]
use found::FoundRule;
pub(crate) use found::{Found, generation};
pub(crate) use reconcile::{NotOurs, changes};
pub(crate) use table::{Chain, Contents, Elements, FieldType, Hook, Purpose, Rule, Set, Table};

use crate::linux::message::Request;

/// `NFNL_SUBSYS_NFTABLES`: the upper half of a message's kind.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(crate) const INET: u8 = 1;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(crate) const IPV4: u8 = 2;
pub(crate) const IPV6: u8 = 10;
/// Its number among transports (IANA, "Assigned Internet Protocol Numbers").
pub(crate) const TCP: u8 = 6;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// The kinds of messages, `NFT_MSG_*`.
pub(crate) const NEW_TABLE: u16 = 0;
pub(crate) const GET_TABLE: u16 = 1;
pub(crate) const DELETE_TABLE: u16 = 2;
pub(crate) const NEW_CHAIN: u16 = 3;
pub(crate) const NEW_RULE: u16 = 6;
pub(crate) const GET_RULE: u16 = 7;
pub(crate) const NEW_SET: u16 = 9;
pub(crate) const NEW_ELEMENTS: u16 = 12;
pub(crate) const GET_ELEMENTS: u16 = 13;
pub(crate) const DELETE_ELEMENTS: u16 = 14;
const NEW_GENERATION: u16 = 15;
pub(crate) const GET_GENERATION: u16 = 16;

/// A message about tables of a family: `flags` beside `NLM_F_REQUEST`.
pub(crate) fn request(family: u8, message: u16, flags: libc::c_int) -> Request {
    // `struct nfgenmsg`: family, version, resource.
    Request::new(kind(message), flags, &[family, 0, 0, 0])
}

/// The kind of a netlink message that this message has.
pub(crate) fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// `requests` as one transaction. The last is acknowledged, which the kernel does when all of them have been done. (It
/// acknowledges the end of a batch only since Linux 6.10.)
pub(crate) fn transaction(requests: Vec<Request>) -> Vec<Request> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let bracket = |kind| Request::new(kind, 0, &[0, 0, high, low]);
    let last = requests.len().saturating_sub(1);
    let numbered = requests.into_iter().enumerate();
    let asked = numbered.map(|(at, request)| if at == last { request.acknowledged() } else { request });
    [bracket(BATCH_BEGIN)].into_iter().chain(asked).chain([bracket(BATCH_END)]).collect()
}

/// A name or a word as the kernel has them.
fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
