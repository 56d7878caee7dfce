//! Everything that can happen to us. Closed and serialisable: a recording of these, fed to the same core, gives the
//! same effects.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ClaimId, Mac};
use crate::snapshot::{ClaimMemory, Member};
use crate::time::Moment;
use crate::vip::{Mark, Vip};

/// Names one effect, so that its outcome can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(pub u64);

/// By a method of its own, which nothing else here is hashed by: a hasher can put the order of appearance in its place.
impl Hash for EffectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i128(i128::from(self.0));
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The deadline that the core named has come. Harmless at any other time.
    Tick,
    /// A frame about one of the addresses we listen for, sent by another host.
    Frame(Frame),
    /// Frames came that could not be read: a burst had no room. What was asked before and was not answered since says
    /// nothing (rule 7).
    Missed,
    /// A virtual address left the interface, or was found on it.
    Address(AddressChange),
    /// This node's own hardware address or addresses on the VIP's interface are others than before: a bond failed over,
    /// the interface was made anew, or DHCP gave another address. The virtual ones may be among them.
    Own(Member),
    /// The claim's addresses are these from now on: the names they come from were resolved. Told at the start as well,
    /// and with it that addresses may change; never told of addresses that were given as such. Not empty.
    Vips(Vec<Vip>),
    /// Services have these addresses from now on, which the holder wears beside the claim's own. Perhaps none; told only
    /// from whole lists, for what is not named is withdrawn. A claim has its addresses from names, or Services beside
    /// its own: never both.
    Services(Vec<Vip>),
    /// These are the seats, and what is placed at each, from now on ([`crate::seats`]). One that is not named any more is
    /// left. Told once what is remembered of them is known, and then from whole lists only.
    Seats(BTreeMap<ClaimId, Seat>),
    /// What the authority of a seat's Lease said without being asked by an effect.
    SeatLease {
        /// Which seat's.
        seat: ClaimId,
        /// What it said.
        report: LeaseReport,
    },
    /// The VIP's interface lost or gained its link (operational state and carrier).
    Link(Link),
    /// What the lease's authority said without being asked by an effect.
    Lease(LeaseReport),
    /// What became of an effect.
    Outcome {
        /// The effect.
        id: EffectId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The local service behind the VIP was checked.
    Health(Health),
    /// What the VIP serves was checked through the VIP.
    Service(Health),
    /// The agent is asked to hand over and stop (SIGTERM, or a drain).
    Shutdown,
}

/// An ARP packet or a neighbour-discovery message of another host, already stripped to what matters.
///
/// Frames whose hardware sender is on any interface of this host never get here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// When the kernel received it.
    pub heard_at: Moment,
    /// The sender's hardware address (ARP `sha`, or the link-layer option or Ethernet source of ND).
    pub mac: Mac,
    /// The protocol address the sender calls its own (ARP `spa`; the target of a neighbour advertisement).
    /// `None` for the unspecified address: an ARP probe (RFC 5227), or any neighbour solicitation.
    pub sender: Option<IpAddr>,
    /// The address the frame asks for or speaks about (ARP `tpa`; the target of a neighbour message).
    pub target: IpAddr,
    /// Our mark, if the frame carries one.
    pub mark: Option<Mark>,
}

/// One node's seat: what is placed there, and how it is found on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Its own address, which nothing else has ([`crate::beacon`]).
    pub beacon: Vip,
    /// The addresses of Services that are placed there; `None` as long as nobody said, and then those remembered count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeSet<Vip>>,
    /// What an earlier run remembered of it. Looked at when the seat is first told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ClaimMemory>,
    /// Those of its addresses that were on the interface at the start. Looked at then, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub found: BTreeSet<Vip>,
}

/// What happened to a virtual address on our interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressChange {
    /// It went, and not by our order.
    Removed {
        /// Which.
        vip: Vip,
        /// The kernel removed it because its valid lifetime ran out; otherwise somebody deleted it.
        expired: bool,
    },
    /// Somebody else put it on our interface, as a VIP is put there, while no order of ours was to have it there.
    Appeared {
        /// Which.
        vip: Vip,
    },
    /// The kernel refuses this one, and has others of its claim. It is tried again without further orders.
    Refused {
        /// Which.
        vip: Vip,
    },
    /// The kernel has it, which it refused before.
    Accepted {
        /// Which.
        vip: Vip,
    },
}

/// The link's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Frames can pass, as far as the kernel knows.
    Up,
    /// They cannot.
    Down,
}

/// The health of what is behind the VIP: unhealthy after some failures in a row, healthy with the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// A `coordination.k8s.io/v1` Lease as it was read. Times are the object's own text and are only ever compared for
/// equality: no clock of another host is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.holderIdentity`; `None` when absent or empty (released).
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`, zero when absent.
    pub duration_seconds: u32,
    /// `spec.acquireTime`, as written.
    pub acquire_time: String,
    /// `spec.renewTime`, as written.
    pub renew_time: String,
    /// `spec.leaseTransitions`: the epoch.
    pub transitions: u32,
    /// `metadata.annotations`, all of them.
    pub annotations: BTreeMap<String, String>,
}

/// What the lease's authority said unasked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseReport {
    /// A watch event, or the quorum list a watch begins with.
    Observed(LeaseRecord),
    /// The watch, or the list it begins with, says that there is no such object.
    Absent,
    /// Every known API server has refused request `id` or left it unanswered for 500 ms. The request goes on.
    Unanswered {
        /// The request.
        id: EffectId,
    },
    /// No API server lets us watch: all refused, timed out, or answered with an error.
    WatchLost,
    /// A lease request was answered over a connection between these addresses. Where that crosses the VIP's link, the
    /// link works (rule 7).
    Reached {
        /// This host's end of it.
        local: IpAddr,
        /// The API server's end of it.
        remote: IpAddr,
    },
}

/// What became of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A lease request's.
    Lease(LeaseOutcome),
    /// The kernel did it, or had it so already.
    Done,
    /// The kernel refused; its words.
    Failed(String),
    /// A probe left this host then.
    Sent(Moment),
}

/// What became of a lease request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseOutcome {
    /// Read, or written: the object as it now is.
    Record(LeaseRecord),
    /// 404: there is no such object.
    Absent,
    /// 409: the write was not done; read again.
    Conflict,
    /// 401 or 403: counts as out of reach.
    Forbidden,
    /// 429, or 503 with Retry-After: not done; not to be asked again before that.
    Throttled {
        /// The server's Retry-After, if it named one.
        retry_after: Option<Duration>,
    },
    /// Every server refused the connection: nothing was done.
    Unreachable,
    /// No answer within the deadline, a broken connection, or a 5xx: a write may or may not have been done.
    Unknown,
}
