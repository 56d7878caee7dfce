//! What the cluster wants of us, in plain words: Services, their endpoints, nodes. And what follows from it.
//!
//! Whoever reads the API server converts its objects into these words, and knows nothing of what they mean; whoever
//! decides knows nothing of Kubernetes' types. Everything here is plain data and can be written down.
//!
//! ```text
//! Listing, Change ──► Intent ──► decide(pools, rules) ──► Decisions ──► Survey ──► placement::choose
//!    (readings)      (the last   which are ours, who      the claims    who could      who should
//!                   known valid) has which address                        hold
//! ```
//!
//! *Bad news is no news.* What could not be read, an empty list and half a list never take anything away: the last that
//! was known of an object stays in force until a later reading of it replaces it, or the API server says that it is gone
//! ([`Known`]).

mod claims;
mod decide;
mod eligibility;
mod endpoints;
mod known;
mod name;
mod node;
mod ours;
mod problem;
mod service;
mod snapshot;
mod wish;

use serde::{Deserialize, Serialize};

pub use claims::{AddressUse, Claim};
pub use decide::{Basis, Decisions, Grant, decide};
pub use eligibility::{Eligibility, Ineligible, Survey};
pub use endpoints::{Endpoints, Readiness, Slice, Tally};
pub use known::{Change, Extent, Known, Listing, Reading};
pub use name::{ObjectName, ObjectNameError};
pub use node::{NodeFacts, NodeSelector, NodeSelectorError, Requirement};
pub use ours::{ClassRule, ExcludeLabel, NotOurs, Rules, is_ours};
pub use problem::{Flaw, Kind, Problem};
pub(crate) use service::distinct;
pub use service::{
    Family, FamilyPolicy, InterfaceWish, Port, Protocol, Service, ServiceType, TrafficPolicy,
    is_interface_name,
};
pub use snapshot::{SERVICES_MAX, lines, recall};
pub use wish::{AddressSource, NAMED_MAX, Named, NamedBy, Published, Wish};

use crate::names::NodeName;

/// The last known valid state of what the cluster wants of us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Services of every type: what was a LoadBalancer may be something else now.
    pub services: Known<ObjectName, Service>,
    /// Endpoint slices, each by its own name; or the older Endpoints objects, where those are asked for.
    pub slices: Known<ObjectName, Slice>,
    /// Nodes.
    pub nodes: Known<NodeName, NodeFacts>,
}

/// Decisions would be made on half the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{} not listed yet: wait for the first complete list of each", list(.kinds))]
pub struct NotYetListed {
    /// What is still to be listed for the first time.
    pub kinds: Vec<Kind>,
}

fn list(kinds: &[Kind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Intent {
    /// Whether every kind was listed completely at least once.
    ///
    /// # Errors
    /// The kinds that were not: a Service whose endpoints are not known yet is no Service without endpoints.
    pub fn complete(&self) -> Result<(), NotYetListed> {
        let listed = [
            (Kind::Service, self.services.is_listed()),
            (Kind::EndpointSlice, self.slices.is_listed()),
            (Kind::Node, self.nodes.is_listed()),
        ];
        let kinds: Vec<Kind> =
            listed.into_iter().filter(|(_, listed)| !listed).map(|(kind, _)| kind).collect();
        if kinds.is_empty() { Ok(()) } else { Err(NotYetListed { kinds }) }
    }
}

#[cfg(test)]
mod tests;
