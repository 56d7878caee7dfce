//! What several claims of one node order together: one set of frames to listen for, one snapshot, one end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::effect::Effect;
use crate::names::ClaimId;
use crate::node::Output;
use crate::snapshot::{ClaimMemory, Snapshot};
use crate::vip::Vip;

/// What each claim asked for last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    heard: BTreeMap<ClaimId, (BTreeSet<Vip>, BTreeSet<IpAddr>)>,
    also: BTreeSet<Vip>,
    memories: BTreeMap<ClaimId, ClaimMemory>,
    /// What was kept last, but for the claims.
    kept: Option<Snapshot>,
    stopped: BTreeSet<ClaimId>,
}

impl Joined {
    /// Takes one order of `claim`, and gives out what the node is to do.
    pub(crate) fn take(&mut self, claim: &ClaimId, effect: Effect, out: &mut Output) {
        match effect {
            Effect::Listen { vips, others } => {
                self.heard.insert(claim.clone(), (vips, others));
                out.effects.push(self.listen());
            }
            Effect::Save(mut snapshot) => {
                self.memories.extend(std::mem::take(&mut snapshot.claims));
                self.kept = Some(snapshot);
                self.keep(out);
            }
            Effect::Stop => drop(self.stopped.insert(claim.clone())),
            other => out.effects.push(other),
        }
    }

    /// What an earlier run kept of a claim goes on being kept.
    pub(crate) fn remember(&mut self, claim: &ClaimId, memory: &ClaimMemory) {
        self.memories.insert(claim.clone(), memory.clone());
    }

    fn keep(&self, out: &mut Output) {
        let kept = self.kept.clone();
        let all = |kept| Snapshot { claims: self.memories.clone(), ..kept };
        out.effects.extend(kept.map(all).map(Effect::Save));
    }

    /// The claim is none of the node's any more.
    pub(crate) fn forget(&mut self, claim: &ClaimId, out: &mut Output) {
        self.heard.remove(claim);
        out.effects.push(self.listen());
        self.memories.remove(claim);
        self.stopped.remove(claim);
        self.keep(out);
    }

    /// Whether all of the node's claims, so many, have come to their end; told once.
    pub(crate) fn all_stopped(&mut self, claims: usize) -> bool {
        let all = self.stopped.len() >= claims;
        if all {
            self.stopped.clear();
        }
        all
    }

    /// Frames about these addresses are wanted, whether a claim has them at present or not.
    pub(crate) fn listen_also(&mut self, vips: BTreeSet<Vip>, out: &mut Output) {
        if self.also != vips {
            self.also = vips;
            out.effects.push(self.listen());
        }
    }

    fn listen(&self) -> Effect {
        let claims = self.heard.values().flat_map(|(vips, _)| vips);
        let vips = claims.chain(&self.also).copied().collect();
        let others = self.heard.values().flat_map(|(_, others)| others).copied().collect();
        Effect::Listen { vips, others }
    }
}
