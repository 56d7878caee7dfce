//! Endpoints that go and come back within a moment move nothing: an address stays for a second without any.
//!
//! A pod that fails one readiness probe, or a Deployment that is rolled out all at once, would otherwise take the address
//! off and put it on again, and clients would wait for their neighbour tables instead of for the pod. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::vip::Vip;
use tokio::time::Instant;

/// How long an address is held whose last endpoint went.
const HELD_WITHOUT: Duration = Duration::from_secs(1);

/// Which addresses are held.
#[derive(Debug, Default)]
pub(super) struct Damper {
    held: BTreeSet<Vip>,
    /// Since when those of them that are wanted have had nothing behind.
    bare: BTreeMap<Vip, Instant>,
}

impl Damper {
    /// The addresses to hold `now`: of those `wanted`, the ones that are `served`, and those that were a moment ago.
    pub(super) fn take(&mut self, now: Instant, wanted: &BTreeSet<Vip>, served: &BTreeSet<Vip>) -> Vec<Vip> {
        self.held.retain(|vip| wanted.contains(vip));
        let bare = self.held.difference(served).map(|vip| (*vip, self.bare.get(vip).copied().unwrap_or(now)));
        self.bare = bare.filter(|(_, since)| now.duration_since(*since) < HELD_WITHOUT).collect();
        self.held = served.iter().chain(self.bare.keys()).copied().collect();
        self.held.iter().copied().collect()
    }

    /// When the next of them has been bare for long enough.
    pub(super) fn next(&self) -> Option<Instant> {
        self.bare.values().min().map(|since| *since + HELD_WITHOUT)
    }
}
