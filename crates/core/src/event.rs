//! Everything worth telling a person. The agent turns these into logs and metrics, in one match.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ClaimId, Mac, NodeName};
use crate::snapshot::Member;
use crate::vip::{Mark, Tenure, Vip};

/// One thing worth telling.
#[expect(missing_docs, reason = "each variant's text names its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// This node now holds the claim.
    Took { claim: ClaimId, tenure: Tenure, epoch: u32, reason: TakeReason },
    /// Held as before, by another right.
    TenureChanged { claim: ClaimId, from: Tenure, to: Tenure, epoch: u32 },
    /// This node no longer holds the claim.
    Yielded { claim: ClaimId, epoch: u32, reason: YieldReason },
    /// The authority names another holder than before.
    HolderChanged { claim: ClaimId, holder: Option<String>, epoch: u32 },
    /// Another host spoke in the VIP's name.
    Conflict { claim: ClaimId, vip: Vip, mac: Mac, mark: Option<Mark>, verdict: Verdict },
    /// The holder fell silent on the wire, and the evidence is complete.
    HolderSilent { claim: ClaimId, silent: Duration },
    /// A member's node is dead, and not only its agent: its own addresses do not answer either. Told only where that is
    /// looked for (`report_node_failure`).
    NodeFailed { node: NodeName, silent: Duration },
    /// It was heard again.
    NodeReturned { node: NodeName },
    /// A holder whose claim we took on evidence was alive after all.
    FalseTakeover { claim: ClaimId, count: u32 },
    /// The claim's names mean other addresses than before. New ones are worn at once where the claim is held, the
    /// others for a while yet.
    AddressesChanged { claim: ClaimId, before: Vec<Vip>, now: Vec<Vip> },
    /// Addresses that the claim's names have not meant for a while are the claim's no more.
    AddressesDropped { claim: ClaimId, vips: Vec<Vip> },
    /// Services got these addresses, and others are Services' no more.
    ServicesChanged { claim: ClaimId, came: Vec<Vip>, gone: Vec<Vip> },
    /// Somebody deleted the address; it was put back.
    AddressRestored { claim: ClaimId, vip: Vip },
    /// Somebody put the address on this node although another holds the claim; it is removed.
    AddressExpelled { claim: ClaimId, vip: Vip },
    /// The kernel removed the address because nobody refreshed it.
    AddressExpired { claim: ClaimId, vip: Vip },
    /// The kernel refused every address of the claim.
    AddressFailed { claim: ClaimId, cause: String },
    /// The kernel refuses one address of the claim and has others: those are held and announced. The agent tells it,
    /// not the core.
    AddressRefused { claim: ClaimId, vip: Vip, cause: String },
    /// The kernel has the address that it refused. The agent tells it, not the core.
    AddressAccepted { claim: ClaimId, vip: Vip },
    /// The API servers are out of reach. What is held stays held.
    AuthorityLost { claim: ClaimId },
    /// They are back.
    AuthorityReturned { claim: ClaimId, away: Duration },
    /// The Lease went back in time (lower epoch) or was made anew (another UID); we contest it.
    AuthorityReset { claim: ClaimId, ours: u32, theirs: u32 },
    /// Another agent runs under this node's name; so it describes itself.
    Namesake { node: NodeName, member: Member },
    /// The link changed.
    Link { up: bool },
    /// The loop stood still for so long that nothing it knew may be true.
    Resumed { gap: Duration },
    /// The local service behind the VIP changed its health.
    HealthChanged { healthy: bool },
    /// The holder invites a healthy node to take the claim.
    Invited { claim: ClaimId },
    /// The agent may end; the VIP was handed over, or stays for the restart.
    Stopping { claim: ClaimId, kept: bool },
}

/// Why a node took a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakeReason {
    /// The Lease was free.
    Free,
    /// The Lease had expired, and its holder had fallen silent or had its grace.
    Expired,
    /// The holder was dead on the wire (rule 7).
    Evidence,
    /// The holder invited us (rule 12).
    Invitation,
    /// The VIP was silent and the authority out of reach (rule 8).
    Succession,
    /// The VIP was on our interface at the start (rule 9).
    Resumption,
}

impl TakeReason {
    /// The rule of `docs/ownership.md`.
    #[must_use]
    pub const fn rule(self) -> u8 {
        match self {
            Self::Free => 3,
            Self::Expired => 6,
            Self::Evidence => 7,
            Self::Invitation => 12,
            Self::Succession => 8,
            Self::Resumption => 9,
        }
    }
}

/// Why a node stopped holding a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YieldReason {
    /// The authority granted it to another (rule 4).
    Denied,
    /// A mark of higher order was heard (rule 5).
    Outranked,
    /// Handed over (rule 11).
    HandOver,
    /// The link was down for too long (rule 13).
    LinkDown,
    /// The authority was out of reach for `release_after` (rule 1, strict singletons).
    AuthorityLoss,
    /// The kernel removed the address (rule 10).
    Expired,
    /// Another elector's node defended it twice (rule 5).
    Defended,
    /// The kernel does not put the address on the interface, and another member could hold the claim.
    Refused,
}

impl YieldReason {
    /// The rule of `docs/ownership.md`; none says what a kernel does that refuses.
    #[must_use]
    pub const fn rule(self) -> Option<u8> {
        match self {
            Self::Denied => Some(4),
            Self::Outranked | Self::Defended => Some(5),
            Self::HandOver => Some(11),
            Self::LinkDown => Some(13),
            Self::AuthorityLoss => Some(1),
            Self::Expired => Some(10),
            Self::Refused => None,
        }
    }
}

/// What rule 5 says of a frame in our VIP's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The other is lower in order: announce, so that clients come back to us.
    Defend,
    /// The other is higher in order: yield at once.
    Yield,
    /// The other claims a higher epoch than our fresh grant: ask the authority.
    Verify,
    /// A Mainstay node whose kernel speaks in the VIP's name without holding it.
    Misconfigured,
    /// Another elector's node.
    Foreign,
    /// No known node.
    Rogue,
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The normal course of things.
    Info,
    /// Somebody should look.
    Warning,
}

impl Event {
    /// How loud it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Took { .. }
            | Self::HolderChanged { .. }
            | Self::Yielded { .. }
            | Self::AuthorityReturned { .. }
            | Self::AddressAccepted { .. }
            | Self::AddressesChanged { .. }
            | Self::AddressesDropped { .. }
            | Self::ServicesChanged { .. }
            | Self::Invited { .. }
            | Self::Stopping { .. }
            | Self::NodeReturned { .. }
            | Self::TenureChanged { to: Tenure::Confirmed, .. }
            | Self::Link { up: true }
            | Self::HealthChanged { healthy: true } => Severity::Info,
            _ => Severity::Warning,
        }
    }

    /// The claim that it is about, if it is about one.
    #[must_use]
    pub const fn claim(&self) -> Option<&ClaimId> {
        match self {
            Self::Took { claim, .. }
            | Self::TenureChanged { claim, .. }
            | Self::Yielded { claim, .. }
            | Self::HolderChanged { claim, .. }
            | Self::Conflict { claim, .. }
            | Self::HolderSilent { claim, .. }
            | Self::FalseTakeover { claim, .. }
            | Self::AddressesChanged { claim, .. }
            | Self::AddressesDropped { claim, .. }
            | Self::ServicesChanged { claim, .. }
            | Self::AddressRestored { claim, .. }
            | Self::AddressExpelled { claim, .. }
            | Self::AddressExpired { claim, .. }
            | Self::AddressFailed { claim, .. }
            | Self::AddressRefused { claim, .. }
            | Self::AddressAccepted { claim, .. }
            | Self::AuthorityLost { claim }
            | Self::AuthorityReturned { claim, .. }
            | Self::AuthorityReset { claim, .. }
            | Self::Invited { claim }
            | Self::Stopping { claim, .. } => Some(claim),
            Self::NodeFailed { .. }
            | Self::NodeReturned { .. }
            | Self::Namesake { .. }
            | Self::Link { .. }
            | Self::Resumed { .. }
            | Self::HealthChanged { .. } => None,
        }
    }

    /// The rule of `docs/ownership.md` that a claim was taken or given up by.
    #[must_use]
    pub const fn rule(&self) -> Option<u8> {
        match self {
            Self::Took { reason, .. } => Some(reason.rule()),
            Self::Yielded { reason, .. } => reason.rule(),
            _ => None,
        }
    }

    /// The event's kind as a metric label and in a line of log: `Took`, `Conflict`, ...
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Took { .. } => "Took",
            Self::TenureChanged { .. } => "TenureChanged",
            Self::Yielded { .. } => "Yielded",
            Self::HolderChanged { .. } => "HolderChanged",
            Self::Conflict { .. } => "Conflict",
            Self::HolderSilent { .. } => "HolderSilent",
            Self::NodeFailed { .. } => "NodeFailed",
            Self::NodeReturned { .. } => "NodeReturned",
            Self::FalseTakeover { .. } => "FalseTakeover",
            Self::AddressesChanged { .. } => "AddressesChanged",
            Self::AddressesDropped { .. } => "AddressesDropped",
            Self::ServicesChanged { .. } => "ServicesChanged",
            Self::AddressRestored { .. } => "AddressRestored",
            Self::AddressExpelled { .. } => "AddressExpelled",
            Self::AddressExpired { .. } => "AddressExpired",
            Self::AddressFailed { .. } => "AddressFailed",
            Self::AddressRefused { .. } => "AddressRefused",
            Self::AddressAccepted { .. } => "AddressAccepted",
            Self::AuthorityLost { .. } => "AuthorityLost",
            Self::AuthorityReturned { .. } => "AuthorityReturned",
            Self::AuthorityReset { .. } => "AuthorityReset",
            Self::Namesake { .. } => "Namesake",
            Self::Link { .. } => "Link",
            Self::Resumed { .. } => "Resumed",
            Self::HealthChanged { .. } => "HealthChanged",
            Self::Invited { .. } => "Invited",
            Self::Stopping { .. } => "Stopping",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Took { claim, tenure, epoch, reason } => {
                write!(f, "took {claim}: {tenure:?}, epoch {epoch} ({reason:?})")
            }
            Self::TenureChanged { claim, from, to, epoch } => {
                write!(f, "{claim}: tenure {from:?} is now {to:?}, epoch {epoch}")
            }
            Self::Yielded { claim, epoch, reason } => {
                write!(f, "yielded {claim}, epoch {epoch} ({reason:?})")
            }
            Self::HolderChanged { claim, holder: Some(holder), epoch } => {
                write!(f, "{claim} is held by {holder}, epoch {epoch}")
            }
            Self::HolderChanged { claim, holder: None, epoch } => {
                write!(f, "{claim} has no holder, epoch {epoch}")
            }
            Self::Conflict { vip, mac, verdict, .. } => {
                write!(f, "{mac} speaks in the name of {vip}: {verdict:?}")
            }
            Self::HolderSilent { claim, silent } => {
                write!(f, "{claim}: its holder is dead on the wire, silent for {} ms", silent.as_millis())
            }
            Self::NodeFailed { node, silent } => {
                write!(f, "the node {node} is dead on the wire, silent for {} ms", silent.as_millis())
            }
            Self::NodeReturned { node } => write!(f, "the node {node} is heard again"),
            Self::FalseTakeover { claim, count } => {
                write!(
                    f,
                    "{claim}: the former holder was alive; false takeovers: {count}; detection slows down"
                )
            }
            Self::AddressesChanged { claim, before, now } => {
                write!(f, "{claim}: its addresses were {} and are {} now", listed(before), listed(now))
            }
            Self::AddressesDropped { claim, vips } => {
                write!(f, "{claim}: {} is its address no more", listed(vips))
            }
            Self::ServicesChanged { claim, came, gone } => {
                write!(f, "{claim}: {}", changed(came, gone))
            }
            Self::AddressRestored { vip, .. } => write!(f, "somebody removed {vip}; put back"),
            Self::AddressExpelled { claim, vip } => {
                write!(
                    f,
                    "somebody put {vip} on this node, and another holds {claim}: it is removed; find out who did"
                )
            }
            Self::AddressExpired { vip, .. } => write!(f, "the kernel removed {vip}: its lifetime ran out"),
            Self::AddressFailed { claim, cause } => {
                write!(f, "{claim}: the kernel refused its addresses: {cause}")
            }
            Self::AddressRefused { claim, vip, cause } => {
                write!(f, "{claim}: the kernel refuses {vip}, the rest is held: {cause}")
            }
            Self::AddressAccepted { claim, vip } => write!(f, "{claim}: {vip} is on the interface now"),
            Self::AuthorityLost { claim } => {
                write!(f, "{claim}: the API servers are out of reach; what is held stays held")
            }
            Self::AuthorityReturned { claim, away } => {
                write!(f, "{claim}: the API servers are back after {:.1} s", away.as_secs_f64())
            }
            Self::AuthorityReset { claim, ours, theirs } => {
                write!(f, "{claim}: the Lease went back (epoch {theirs}, ours is {ours}); contesting it")
            }
            Self::Namesake { node, member } => {
                let (macs, addresses) = (listed(&member.macs), listed(&member.addresses));
                write!(
                    f,
                    "another agent runs as node {node}, with the hardware address {macs} and the address {addresses}: \
                     give one of the two a vip_nodename of its own"
                )
            }
            Self::Link { up } => write!(f, "the link is {}", if *up { "up" } else { "down" }),
            Self::Resumed { gap } => write!(f, "the loop stood still for {:.1} s", gap.as_secs_f64()),
            Self::HealthChanged { healthy } => {
                write!(f, "the local service is {}", if *healthy { "healthy" } else { "unhealthy" })
            }
            Self::Invited { claim } => write!(f, "{claim}: inviting a healthy node to take it"),
            Self::Stopping { claim, kept: true } => {
                write!(f, "{claim}: nobody can succeed; the VIP stays for the restart")
            }
            Self::Stopping { claim, kept: false } => write!(f, "{claim}: handed over"),
        }
    }
}

/// Addresses named in one line at most; the rest is counted.
const NAMED_AT_MOST: usize = 8;

/// Which addresses came and which went.
fn changed(came: &[Vip], gone: &[Vip]) -> String {
    let said = |vips: &[Vip], what: &str| {
        let named = listed(&vips[..vips.len().min(NAMED_AT_MOST)]);
        let more = vips.len().saturating_sub(NAMED_AT_MOST);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (!vips.is_empty()).then(|| format!("{what} {named}{more}"))
    };
    let parts = [said(came, "Services have"), said(gone, "no Service has")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn listed<T: fmt::Display>(all: &[T]) -> String {
    if all.is_empty() {
        "unknown".to_owned()
    } else {
        all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
    }
}
