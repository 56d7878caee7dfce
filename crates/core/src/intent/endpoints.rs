//! What is behind a Service: how many endpoints on which node, and whether they serve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::ObjectName;
use super::service::Family;
use crate::names::NodeName;

/// One EndpointSlice. A Service has several: one or more of each family, of 100 endpoints each unless the cluster is set
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The Service it belongs to; `None` for one that belongs to none.
    pub service: Option<ObjectName>,
    /// The family of its addresses.
    pub family: Family,
    /// Its endpoints on each node.
    pub nodes: BTreeMap<NodeName, Tally>,
    /// Its endpoints that say no node.
    pub elsewhere: Tally,
}

/// Endpoints, counted by what they are ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// That serve, and go on doing so.
    pub ready: u32,
    /// That serve while they end (KEP-1672).
    pub draining: u32,
    /// That do not serve.
    pub not_serving: u32,
}

/// Whether endpoints serve, and for how long. The order is: better is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// They serve while they end.
    Draining,
    /// They serve.
    Ready,
}

impl Tally {
    /// Counts one endpoint; `None` does not serve.
    pub fn count(&mut self, readiness: Option<Readiness>) {
        let counter = match readiness {
            Some(Readiness::Ready) => &mut self.ready,
            Some(Readiness::Draining) => &mut self.draining,
            None => &mut self.not_serving,
        };
        *counter = counter.saturating_add(1);
    }

    /// The best there is among them; `None` where none serves.
    #[must_use]
    pub fn best(&self) -> Option<Readiness> {
        let draining = (self.draining > 0).then_some(Readiness::Draining);
        if self.ready > 0 { Some(Readiness::Ready) } else { draining }
    }
}

/// All that is behind one Service, whatever slices it is spread over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    by_node: BTreeMap<NodeName, BTreeMap<Family, Readiness>>,
    anywhere: BTreeMap<Family, Readiness>,
}

impl Endpoints {
    /// Adds what one slice has.
    pub fn add(&mut self, slice: &Slice) {
        let family = slice.family;
        for (node, tally) in &slice.nodes {
            raise(self.by_node.entry(node.clone()).or_default(), family, tally.best());
            raise(&mut self.anywhere, family, tally.best());
        }
        raise(&mut self.anywhere, family, slice.elsewhere.best());
    }

    /// The best on one node.
    #[must_use]
    pub fn on(&self, node: &NodeName, family: Family) -> Option<Readiness> {
        self.by_node.get(node)?.get(&family).copied()
    }

    /// The best on any node, and on none.
    #[must_use]
    pub fn anywhere(&self, family: Family) -> Option<Readiness> {
        self.anywhere.get(&family).copied()
    }
}

fn raise(best: &mut BTreeMap<Family, Readiness>, family: Family, readiness: Option<Readiness>) {
    if let Some(readiness) = readiness {
        let entry = best.entry(family).or_insert(readiness);
        *entry = (*entry).max(readiness);
    }
}
