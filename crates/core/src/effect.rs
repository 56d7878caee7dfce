//! Everything we may ask of the world. Closed; whatever has an outcome has an id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::input::EffectId;
use crate::names::{ClaimId, Mac};
use crate::snapshot::Snapshot;
use crate::vip::{Mark, Vip};

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Put these addresses on the interface, or refresh them: valid lifetime `lifetime`, preferred lifetime 0, all
    /// flags as at the first time. Outcome: `Done` when at least one is there, and the others are tried again from
    /// where it was carried out; or `Failed`, when all were refused.
    Assign {
        /// For the outcome.
        id: EffectId,
        /// Whose they are.
        claim: ClaimId,
        /// Which.
        vips: Vec<Vip>,
        /// The kernel's dead-man switch (rule 10).
        lifetime: Duration,
    },
    /// Take these addresses off the interface, if they are there and are ours. Outcome: `Done` or `Failed`.
    Withdraw {
        /// For the outcome.
        id: EffectId,
        /// Whose they were.
        claim: ClaimId,
        /// Which.
        vips: Vec<Vip>,
    },
    /// Announce these addresses with this mark from now on, until `Silence`. A desired state: the newest replaces the
    /// one before. An address that the one before did not name begins with a burst, whatever the pace. No outcome.
    Announce {
        /// Whose they are.
        claim: ClaimId,
        /// Which.
        vips: Vec<Vip>,
        /// What each announcement carries.
        mark: Mark,
        /// Whether the schedule starts anew.
        pace: Pace,
    },
    /// Stop announcing the claim's addresses. No outcome.
    Silence {
        /// Whose.
        claim: ClaimId,
    },
    /// Ask on the wire who wears `target`: an ARP probe (sender 0.0.0.0) or a neighbour solicitation.
    /// Outcome: `Sent` when it has left this host, or `Failed`. Answers come as frames.
    Probe {
        /// For the outcome.
        id: EffectId,
        /// The address asked for.
        target: IpAddr,
        /// The one host asked, or all.
        to: ProbeTo,
        /// What the probe carries: a candidate's mark in a succession (rule 8), none when only watching.
        mark: Option<Mark>,
    },
    /// Deliver frames about these addresses and no others. A desired state. No outcome.
    Listen {
        /// Addresses whose owners' frames (sender address) we want; for `vips` also probes by others.
        vips: BTreeSet<Vip>,
        /// Other hosts' own addresses, whose answers we want.
        others: BTreeSet<IpAddr>,
    },
    /// Ask the lease's authority. Outcome: `Lease`.
    Lease {
        /// For the outcome.
        id: EffectId,
        /// What.
        request: LeaseRequest,
        /// When to give up and report `Unknown`.
        deadline: Duration,
    },
    /// Keep this for the next start. The newest replaces the one before. No outcome.
    Save(Snapshot),
    /// The hand-over is complete: the agent may end. No outcome.
    Stop,
}

/// Whether an announcement's schedule starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// At 0, 50, 150, 500, 850 and 1,200 ms, then steadily: a take-over.
    Burst,
    /// Only the mark has changed; the schedule goes on.
    Steady,
    /// Now and once more after 1.1 s, whatever the rate limit, then as before: the winner of a conflict.
    Defend,
}

/// Whom a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeTo {
    /// Broadcast, or the solicited-node multicast group.
    All,
    /// This hardware address.
    One(Mac),
}

/// What to ask the lease's authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseRequest {
    /// A quorum read (never from a cache).
    Read,
    /// Create the object; 409 means that it exists already.
    Create(LeaseDraft),
    /// Replace the object, if it still has this resource version.
    Update {
        /// `metadata.resourceVersion` that the write is conditional on.
        resource_version: String,
        /// What it shall say.
        draft: LeaseDraft,
    },
}

/// What a Lease shall say. Metadata other than the annotations stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseDraft {
    /// `spec.holderIdentity`; `None` writes the empty string (client-go's release).
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`.
    pub duration_seconds: u32,
    /// `spec.acquireTime`.
    pub acquire_time: Stamp,
    /// `spec.renewTime`.
    pub renew_time: Stamp,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A time to write into a Lease. The core has no clock; the adapter fills in the present.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamp {
    /// The writer's wall clock when the request is made, in microseconds, as client-go writes it.
    Now,
    /// This text, unchanged.
    Keep(String),
}
