//! What lacks on a Service of what it shall say. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mainstay_core::intent::Port;

use super::Publication;
use crate::reflect::VIP_HOST;
use crate::reflect::observed::Observed;

/// The parts of a Service that are written, each with rights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Annotations,
    Status,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) uid: String,
    /// The resource version of which it is thought: where anything has changed since, it is not done.
    pub(super) version: String,
    pub(super) what: What,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `None` removes.
    Annotations(BTreeMap<String, Option<String>>),
    Status(Ingress),
}

/// What the status says; without addresses, what we wrote is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ingress {
    pub(super) addresses: Vec<IpAddr>,
    /// Of each of them.
    pub(super) ports: BTreeSet<Port>,
}

/// What API servers do with the ports of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortsAre {
    /// Written, and there.
    Kept,
    /// Written, and not there: before 1.24 they are behind a feature gate, `MixedProtocolLBService` (KEP-1435).
    Dropped,
}

impl Write {
    pub(super) fn part(&self) -> Part {
        match self.what {
            What::Annotations(_) => Part::Annotations,
            What::Status(_) => Part::Status,
        }
    }
}

/// What lacks of what is wanted, in the order in which it is to be written: who holds the addresses is said first, for that
/// keeps the holder before from taking them off, and from writing its own: every write names the version that was seen.
pub(super) fn lacks(wanted: &Publication, observed: &Observed, ports: PortsAre) -> Vec<Write> {
    // Another one of that name: what is wanted of it is not known yet.
    if observed.uid != wanted.uid {
        return Vec::new();
    }
    let differs = |(name, text): &(&String, &String)| observed.annotations.get(*name) != Some(*text);
    let annotations: BTreeMap<String, Option<String>> = wanted
        .annotations
        .iter()
        .filter(differs)
        .map(|(name, text)| (name.clone(), Some(text.clone())))
        .collect();
    let is_said = says(observed, &wanted.ingress) && says_ports(observed, wanted, ports);
    let ingress = || Ingress { addresses: wanted.ingress.clone(), ports: wanted.ports.clone() };
    let status = (!is_said).then(|| What::Status(ingress()));
    let annotations = (!annotations.is_empty()).then_some(What::Annotations(annotations));
    let write = |what| Write { uid: wanted.uid.clone(), version: observed.version.clone(), what };
    annotations.into_iter().chain(status).map(write).collect()
}

/// What is left to clean of what was wanted; nothing where somebody else has written since.
pub(super) fn leaves(was: &Publication, observed: &Observed) -> Option<Write> {
    let holder = was.annotations.get(VIP_HOST);
    let ours = observed.uid == was.uid && (holder.is_none() || observed.annotations.get(VIP_HOST) == holder);
    if !ours {
        return None;
    }
    let write = |what| Write { uid: was.uid.clone(), version: observed.version.clone(), what };
    if !was.ingress.is_empty() && says(observed, &was.ingress) {
        return Some(write(What::Status(Ingress::default())));
    }
    let left = was.annotations.iter().filter(|(name, text)| observed.annotations.get(*name) == Some(*text));
    let removed: BTreeMap<String, Option<String>> = left.map(|(name, _)| (name.clone(), None)).collect();
    (!removed.is_empty()).then(|| write(What::Annotations(removed)))
}

fn says_ports(observed: &Observed, wanted: &Publication, ports: PortsAre) -> bool {
    let says = |ports: &BTreeSet<Port>| observed.ports.as_ref() == Some(ports);
    wanted.ingress.is_empty() || says(&wanted.ports) || (ports == PortsAre::Dropped && says(&BTreeSet::new()))
}

fn says(observed: &Observed, ingress: &[IpAddr]) -> bool {
    observed.ingress.iter().copied().eq(ingress.iter().map(|address| Some(*address)))
}
