//! What the agent holds, and by which loop.
//!
//! Each of its claims has a loop of its own, on a thread of its own, with a data plane, a Lease and a snapshot of its own.
//! So nothing that happens to Services, of which there are many and which change, can delay an announcement of the control
//! plane's VIP, or take it away.

use std::net::IpAddr;
use std::path::PathBuf;

use mainstay_core::names::ClaimId;
use mainstay_core::seats;
use mainstay_core::settings::{Authority, LeaseTiming};

use crate::config::features::ServicesElection;
use crate::config::{Config, LeaseName};

/// One claim of this agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    /// Which.
    pub(crate) claim: ClaimId,
    /// The interface that wears its addresses.
    pub(crate) interface: String,
    /// Other addresses there whose answer proves that the link works.
    pub(crate) witnesses: Vec<IpAddr>,
    /// Whether a Lease decides who holds it.
    pub(crate) authority: Authority,
    /// Which Lease.
    pub(crate) lease: LeaseName,
    /// How that is granted and renewed.
    pub(crate) timing: LeaseTiming,
    /// Its loop's thread.
    pub(crate) thread: &'static str,
    /// The task that asks the API servers for its Lease.
    pub(crate) lease_task: &'static str,
    /// Its snapshot, in the state directory.
    pub(crate) snapshot: &'static str,
    /// Where its run is recorded, if it is.
    pub(crate) record: Option<PathBuf>,
}

impl Role {
    /// All that the settings ask for; one at least.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let control_plane = config.holds_control_plane().then(|| Self::control_plane(config));
        let services = config.features.services.enabled.then(|| Self::services(config));
        control_plane.into_iter().chain(services).collect()
    }

    fn control_plane(config: &Config) -> Self {
        Self {
            claim: ClaimId::control_plane(),
            interface: config.interface.clone(),
            witnesses: config.witnesses.clone(),
            authority: config.authority,
            lease: config.lease.clone(),
            timing: config.timing,
            thread: "loop",
            lease_task: "lease",
            snapshot: "snapshot.json",
            record: config.record.clone(),
        }
    }

    /// Under a Lease always: without one, every node would hold all Services.
    fn services(config: &Config) -> Self {
        let services = &config.features.services;
        let beside = |path: &PathBuf| {
            let mut name = path.clone().into_os_string();
            if config.holds_control_plane() {
                name.push(".services");
            }
            PathBuf::from(name)
        };
        Self {
            claim: ClaimId::services(),
            interface: services.interface.name(&config.interface).to_owned(),
            witnesses: services.witnesses.clone(),
            authority: Authority::Lease,
            lease: services.lease.clone(),
            timing: match services.election {
                // Its holder only says what goes where: nothing is dark while there is none.
                ServicesElection::PerService => seats::timing(config.timing),
                _ => config.timing,
            },
            thread: "services",
            // Where there is nothing else, it is what the agent lives for.
            lease_task: if config.holds_control_plane() { "services-lease" } else { "lease" },
            snapshot: "services.json",
            record: config.record.as_ref().map(beside),
        }
    }

    /// Its Lease, as people name it; `None` without an authority.
    pub(crate) fn lease_name(&self) -> Option<String> {
        let named = || format!("{}/{}", self.lease.namespace, self.lease.name);
        (self.authority == Authority::Lease).then(named)
    }
}
