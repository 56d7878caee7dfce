//! What a rule does: expressions, one after another, that load something into registers, compare what is there, and end
//! with a verdict. The first comparison that does not hold ends the rule, and the next one has its turn.

use super::{IPV4, terminated};
use crate::linux::message::Attributes;

/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
pub(super) const ELEMENT: u16 = 1;
pub(super) const NAME: u16 = 1;
pub(super) const DATA: u16 = 2;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
pub(super) const VALUE: u16 = 1;
const VERDICT: u16 = 2;
/// `NFT_REG32_00`: the first of sixteen registers of four bytes.
const FIRST_REGISTER: u32 = 8;

/// A register of four bytes, from 0 to 15. What is longer fills those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u8);

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads something of the packet.
    Load { what: Load, to: Register },
    /// Keeps those bits of as many bytes.
    Mask { at: Register, bits: Vec<u8> },
    /// Goes on if what is in a register is, or is not, that.
    Compare { at: Register, by: Comparison, value: Vec<u8> },
    /// Goes on if what begins in a register is an element of a set of this table.
    Find { at: Register, set: &'static str },
    /// Loads what a map of this table has for what begins in a register, and goes on if it has something.
    Map { at: Register, map: &'static str, to: Register },
    /// Loads a number that is one more each time, and begins at zero again at `modulus`, in the host's byte order.
    Next { modulus: u32, to: Register },
    /// Loads a number below `modulus` that follows from the `length` bytes that begin in a register (Jenkins' hash).
    Hash { at: Register, length: u32, modulus: u32, to: Register },
    /// Loads a value.
    Put { value: Vec<u8>, to: Register },
    /// Makes one byte of the network header what is in a register; `checksum` is where a checksum over the header is.
    Write { at: Register, offset: u32, checksum: Option<u32> },
    /// Sends a copy to the host whose address begins in a register, as to a router; untracked, and with a hop less in it.
    SendCopy { to: Register },
    /// Translates the destination: the first packet of a connection says it for all of them, and for the answers.
    Destination { family: u8, address: Register, port: Register },
    /// Translates the source to this host's own address on the way out, in the same manner.
    Masquerade,
    /// Has connection tracking leave it alone.
    Untracked,
    /// Answers with a reset, and ends the rule: the packet is gone.
    Reset,
    /// Counts packets and bytes.
    Count,
    /// Ends the rule.
    End(Verdict),
}

/// What can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The name of the interface that it came in by: sixteen bytes.
    InterfaceName,
    /// `ARPHRD_*` of the interface that it came in by, in the host's byte order: two bytes.
    InterfaceType,
    /// The same of the interface that it goes out by.
    OutputInterfaceType,
    /// `NFPROTO_*`: one byte.
    Family,
    /// The transport's number, behind whatever extension headers: one byte.
    Transport,
    /// The bits of its state of connection (`NF_CT_STATE_BIT`), in the host's byte order.
    ConnectionState,
    /// The bits of what became of its connection (`IPS_*`), in the host's byte order.
    ConnectionStatus,
    /// The address that its connection was first sent to, of that family (`NFPROTO_*`).
    FirstDestination { family: u8 },
    /// Its connection's transport: one byte.
    ConnectionTransport,
    /// The port that its connection was first sent to.
    FirstPort,
    /// Bytes of a header.
    Payload { of: Header, offset: u32, length: u32 },
}

/// Where bytes are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// IPv4's or IPv6's.
    Network,
    /// What they carry. A fragment but the first has none, and the rule ends.
    Transport,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `NFT_CMP_EQ`
    Equal,
    /// `NFT_CMP_NEQ`
    Different,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Other tables may still drop it.
    Accept,
    /// It is gone.
    Drop,
    /// That chain says, and when it says nothing, the base chain's policy.
    Goto(&'static str),
}

impl Expression {
    /// As an attribute of the list of a rule's expressions.
    pub(super) fn encode(&self, list: Attributes) -> Attributes {
        let (name, data) = match self {
            Self::Load { what, to } => what.encode(*to),
            Self::Mask { at, bits } => ("bitwise", mask(*at, bits)),
            Self::Compare { at, by, value } => ("cmp", compare(*at, *by, value)),
            Self::Find { at, set } => {
                ("lookup", Attributes::default().with(1, &terminated(set)).with(2, &at.encode()))
            }
            Self::Map { at, map, to } => {
                let from = Attributes::default().with(1, &terminated(map)).with(2, &at.encode());
                ("lookup", from.with(3, &to.encode()))
            }
            Self::Next { modulus, to } => {
                // `NFTA_NG_*`: where to, modulus, `NFT_NG_INCREMENTAL`.
                let places = Attributes::default().with(1, &to.encode()).with(2, &modulus.to_be_bytes());
                ("numgen", places.with(3, &[0; 4]))
            }
            Self::Hash { at, length, modulus, to } => ("hash", hash((*at, *length), *modulus, *to)),
            Self::Put { value, to } => {
                let data = Attributes::default().with(VALUE, value);
                ("immediate", Attributes::default().with(1, &to.encode()).nested(2, &data))
            }
            Self::Write { at, offset, checksum } => ("payload", write(*at, *offset, *checksum)),
            Self::SendCopy { to } => ("dup", Attributes::default().with(1, &to.encode())),
            Self::Destination { family, address, port } => {
                // `NFTA_NAT_*`: `NFT_NAT_DNAT`, family, address and port.
                let what = Attributes::default()
                    .with(1, &1_u32.to_be_bytes())
                    .with(2, &u32::from(*family).to_be_bytes());
                ("nat", what.with(3, &address.encode()).with(5, &port.encode()))
            }
            Self::Masquerade => ("masq", Attributes::default()),
            Self::Untracked => ("notrack", Attributes::default()),
            // `NFTA_REJECT_TYPE`: `NFT_REJECT_TCP_RST`; the code means nothing then.
            Self::Reset => ("reject", Attributes::default().with(1, &1_u32.to_be_bytes()).with(2, &[0])),
            Self::Count => ("counter", Attributes::default().with(1, &[0; 8]).with(2, &[0; 8])),
            Self::End(verdict) => ("immediate", verdict.encode()),
        };
        let expression = Attributes::default().with(NAME, &terminated(name)).nested(DATA, &data);
        list.nested(ELEMENT, &expression)
    }
}

impl Load {
    fn encode(self, to: Register) -> (&'static str, Attributes) {
        let (to, number) = (to.encode(), |number: u32| number.to_be_bytes());
        // `NFTA_META_*` and `NFTA_CT_*`: where to, which.
        let key = |key| Attributes::default().with(1, &to).with(2, &number(key));
        // `NFTA_CT_DIRECTION`: `IP_CT_DIR_ORIGINAL`.
        let first = |which| ("ct", key(which).with(3, &[0]));
        match self {
            Self::InterfaceName => ("meta", key(6)),
            Self::InterfaceType => ("meta", key(8)),
            Self::OutputInterfaceType => ("meta", key(9)),
            Self::Family => ("meta", key(15)),
            Self::Transport => ("meta", key(16)),
            Self::ConnectionState => ("ct", key(0)),
            Self::ConnectionStatus => ("ct", key(2)),
            Self::FirstDestination { family } => first(if family == IPV4 { 20 } else { 22 }),
            Self::ConnectionTransport => first(10),
            Self::FirstPort => first(12),
            Self::Payload { of, offset, length } => {
                let base = match of {
                    Header::Network => 1,
                    Header::Transport => 2,
                };
                let places = Attributes::default().with(1, &to).with(2, &number(base));
                ("payload", places.with(3, &number(offset)).with(4, &number(length)))
            }
        }
    }
}

impl Register {
    fn encode(self) -> [u8; 4] {
        (FIRST_REGISTER + u32::from(self.0)).to_be_bytes()
    }
}

impl Verdict {
    /// `NFTA_IMMEDIATE_*`: into the register of verdicts.
    fn encode(self) -> Attributes {
        let (code, chain) = match self {
            Self::Drop => (0_i32, None),
            Self::Accept => (1, None),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        let verdict = Attributes::default().with(1, &code.to_be_bytes());
        let verdict = chain.into_iter().fold(verdict, |verdict, chain| verdict.with(2, &terminated(chain)));
        let data = Attributes::default().nested(VERDICT, &verdict);
        Attributes::default().with(1, &0_u32.to_be_bytes()).nested(2, &data)
    }
}

/// `NFTA_BITWISE_*`: from where, to where, length, what to keep, what to turn over.
fn mask(at: Register, bits: &[u8]) -> Attributes {
    let value = |bits: &[u8]| Attributes::default().with(VALUE, bits);
    let places = Attributes::default().with(1, &at.encode()).with(2, &at.encode());
    let length = u32::try_from(bits.len()).unwrap_or_default();
    places.with(3, &length.to_be_bytes()).nested(4, &value(bits)).nested(5, &value(&vec![0; bits.len()]))
}

/// `NFTA_PAYLOAD_*`: from where, the network header, where in it, one byte; `NFT_PAYLOAD_CSUM_INET` and where that is.
fn write(at: Register, offset: u32, checksum: Option<u32>) -> Attributes {
    let number = |number: u32| number.to_be_bytes();
    let places = Attributes::default().with(2, &number(1)).with(3, &number(offset)).with(4, &number(1));
    let places = places.with(5, &at.encode());
    checksum.into_iter().fold(places, |places, at| places.with(6, &number(1)).with(7, &number(at)))
}

/// `NFTA_HASH_*`: from where, to where, length, modulus, seed, `NFT_HASH_JENKINS`. The seed is the same on every node, so
/// that a client meets the same backend on another.
fn hash((at, length): (Register, u32), modulus: u32, to: Register) -> Attributes {
    let places = Attributes::default().with(1, &at.encode()).with(2, &to.encode());
    let number = |number: u32| number.to_be_bytes();
    places.with(3, &number(length)).with(4, &number(modulus)).with(5, &number(1)).with(7, &number(0))
}

/// `NFTA_CMP_*`.
fn compare(at: Register, by: Comparison, value: &[u8]) -> Attributes {
    let by: u32 = match by {
        Comparison::Equal => 0,
        Comparison::Different => 1,
    };
    let data = Attributes::default().with(VALUE, value);
    Attributes::default().with(1, &at.encode()).with(2, &by.to_be_bytes()).nested(3, &data)
}
