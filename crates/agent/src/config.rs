//! Settings: raw layers of text on one side, one resolved [`Config`] on the other.
//!
//! [`table`] names every setting once: its environment variables, flags, type, default, help, and what becomes of it.
//! [`Layers`] carry what was written where; [`resolve()`] parses it, checks it against the host and refuses what cannot
//! work.

mod check;
mod effective;
pub mod features;
mod file;
mod flags;
mod host;
mod layer;
mod reference;
mod refusal;
mod resolve;
pub mod table;
mod value;

#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::names::NodeName;
use mainstay_core::settings::{Authority, Detection, LeaseTiming, OnAuthorityLoss};
use mainstay_core::vip::Vip;

pub use check::{CheckReport, CheckedPart, CheckedSetting, Unreadable, check};
pub use effective::Effective;
pub use features::{Address, BackendCheck, Balancer, BalancerBackend, DnsName, Features};
pub use file::{read_file, read_text};
pub use flags::SettingFlags;
pub use host::Host;
pub use layer::{Layer, Layers, Origin, Warning};
pub use reference::reference;
pub use refusal::Refusal;
pub use resolve::{Precedence, Resolved, is_on, lease_in_pod, resolve};
pub(crate) use value::unusable;

/// Everything the agent is told before it starts, parsed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node: `vip_nodename`, else the host's name.
    pub node: NodeName,
    /// The interface that wears the VIP; it existed when the settings were read.
    pub interface: String,
    /// What the control plane's claim is to have, as it was written. Empty where there is none to hold.
    pub addresses: Vec<Address>,
    /// Those of them that are addresses; what the names mean is known when the agent runs, and may change.
    pub vips: Vec<Vip>,
    /// Addresses that the settings name as the control plane's, also where it is not this agent that holds them.
    pub reserved: Vec<Vip>,
    /// The port of what the VIP serves.
    pub port: u16,
    /// Whether a Lease decides who holds the VIP.
    pub authority: Authority,
    /// Which Lease.
    pub lease: LeaseName,
    /// The election's timing.
    pub timing: LeaseTiming,
    /// Between announcements.
    pub announce_every: Duration,
    /// How fast a dead holder is noticed.
    pub detection: Detection,
    /// What a holder does when the authority is out of reach.
    pub on_authority_loss: OnAuthorityLoss,
    /// The lifetime left to the VIP when the agent stops and nobody can succeed.
    pub restart_grace: Duration,
    /// Addresses whose answer proves that the VIP's link works.
    pub witnesses: Vec<IpAddr>,
    /// How the API servers are found.
    pub kubernetes: Kubernetes,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` switches them off.
    pub metrics: Option<SocketAddr>,
    /// A port of their own for `/healthz` and `/readyz`.
    pub health_port: Option<u16>,
    /// Where the snapshot lives.
    pub state_dir: PathBuf,
    /// Where the admin API listens.
    pub admin_socket: PathBuf,
    /// Whether the data plane runs before all ordinary work, with its memory locked.
    pub realtime: bool,
    /// Where the run is recorded, if it is.
    pub record: Option<PathBuf>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The settings of features.
    pub features: Features,
}

impl Config {
    /// Whether there is a control plane's VIP to hold.
    #[must_use]
    pub fn holds_control_plane(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// The DNS names among the claim's addresses.
    pub fn names(&self) -> impl Iterator<Item = &DnsName> {
        names_among(&self.addresses)
    }

    /// The VIP's valid lifetime in the kernel (rule 10): the lease's duration, at least 10 s. How it follows the number
    /// of addresses, and a strict singleton's `release_after`, is the core's.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.timing.duration.max(Duration::from_secs(10))
    }
}

/// The DNS names among these, in their order.
pub(crate) fn names_among(addresses: &[Address]) -> impl Iterator<Item = &DnsName> {
    addresses.iter().filter_map(|address| match address {
        Address::Name(name) => Some(name),
        Address::Ip(_) => None,
    })
}

/// Where the Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How the API servers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Kubeconfig files to try in this order; the first that exists is used, and in-cluster access where none does.
    pub kubeconfigs: Vec<PathBuf>,
    /// An API server's URL in place of the one configured there.
    pub server: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
