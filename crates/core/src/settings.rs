//! What one agent is told before it starts. Parsed and checked by the agent; the core believes it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ClaimId, InstanceId, NodeName};
use crate::snapshot::{ClaimMemory, Member};
use crate::vip::Vip;

/// The resolved settings of one claim on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// This node.
    pub node: NodeName,
    /// This run.
    pub instance: InstanceId,
    /// The boot this run belongs to; written into snapshots.
    pub boot_id: String,
    /// The claim.
    pub claim: ClaimId,
    /// Its addresses, which move together. Not empty.
    pub vips: Vec<Vip>,
    /// How this node is to be found: published on the Lease.
    pub own: Member,
    /// Other addresses on the VIP's link whose answer proves that the link works: the gateway.
    pub witnesses: Vec<IpAddr>,
    /// The election's timing.
    pub lease: LeaseTiming,
    /// Whether there is an authority at all.
    pub authority: Authority,
    /// How fast a dead holder is noticed.
    pub detection: Detection,
    /// What a holder does when the authority is out of reach.
    pub on_authority_loss: OnAuthorityLoss,
    /// The VIP's valid lifetime in the kernel. The core makes it longer for many addresses, and shorter for a strict
    /// singleton.
    pub lifetime: Duration,
    /// The lifetime left to the VIP when the agent stops and nobody can succeed.
    pub restart_grace: Duration,
    /// Whether the holder looks which members' nodes are dead, and says so.
    #[serde(default)]
    pub report_failures: bool,
}

/// Between two refreshes of one address, a third of its lifetime, there is this for each address: 50 refreshes a second.
const LIFETIME_PER_ADDRESS: Duration = Duration::from_millis(60);

/// The lifetime as it has to be for so many addresses: what `few` have, longer when there are many, and never longer than
/// a strict singleton's right to them (rules 1 and 10).
pub(crate) fn lifetime_for(settings: &Settings, addresses: usize, few: Duration) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX);
    let lifetime = few.max(LIFETIME_PER_ADDRESS.saturating_mul(addresses));
    match settings.on_authority_loss {
        OnAuthorityLoss::Hold => lifetime,
        OnAuthorityLoss::ReleaseAfter(patience) => lifetime.min(patience),
    }
}

/// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseTiming {
    /// How long a grant is good for.
    pub duration: Duration,
    /// When a holder without a renewal is out of reach.
    pub renew_deadline: Duration,
    /// Between renewals.
    pub retry_period: Duration,
}

impl Default for LeaseTiming {
    /// client-go's and kube-vip's: 15, 10 and 2 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Where the rightful holder is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// A Kubernetes Lease.
    Lease,
    /// Nowhere: marks alone decide (rules 5, 8, 9, 10).
    Standalone,
}

/// Interval and multiplier, as BFD counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Detection {
    /// Between probes of the holder.
    pub interval: Duration,
    /// How many intervals without an answer are silence.
    pub multiplier: u32,
}

impl Default for Detection {
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), multiplier: 3 }
    }
}

/// What a holder does when the authority is out of reach (rule 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAuthorityLoss {
    /// Hold, for as long as it takes.
    Hold,
    /// Let go after this long: for strict singletons. Switches off rules 7 to 9.
    ReleaseAfter(Duration),
}

/// What the agent found when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What the snapshot remembers of the claim, if there is one of this boot.
    pub memory: Option<ClaimMemory>,
    /// VIPs of the claim that are on the interface: ours (our address-protocol mark and a finite lifetime), or what
    /// another VIP agent left there, which is taken over in place.
    pub addresses: Vec<Vip>,
    /// Whether the link is up.
    pub link_up: bool,
}
