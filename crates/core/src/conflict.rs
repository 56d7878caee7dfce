//! Rule 5: what to do about a frame that speaks in our VIP's name.
//!
//! Marks order claimants without a clock or a server: confirmed > detached > provisional, then the higher epoch, then
//! the better rendezvous rank. A frame without a mark is judged by who sent it.

use std::cmp::Ordering;

use crate::event::Verdict;
use crate::names::{ClaimId, Mac};
use crate::placement;
use crate::vip::{Mark, Tenure};

/// Who spoke, as far as this node can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// It carried our mark.
    Marked(Mark),
    /// No mark, from a hardware address of a Mainstay node.
    Member,
    /// No mark, from a node held by kube-vip or another elector.
    Foreign,
    /// No mark, no known node.
    Unknown,
}

/// How two claimants of one claim stand to each other: `Greater` if `a` has the better right.
#[must_use]
pub fn order(claim: &ClaimId, a: Mark, b: Mark) -> Ordering {
    let rank = |mark: Mark| placement::score(claim, mark.node);
    a.tenure.cmp(&b.tenure).then(a.epoch.cmp(&b.epoch)).then(rank(a).cmp(&rank(b)))
}

/// What a holder with mark `ours` on hardware address `our_mac` does about `speaker` on `their_mac`.
#[must_use]
pub fn judge(
    claim: &ClaimId,
    (ours, our_mac): (Mark, Option<Mac>),
    (speaker, their_mac): (Speaker, Mac),
) -> Verdict {
    match speaker {
        Speaker::Member => Verdict::Misconfigured,
        Speaker::Foreign => Verdict::Foreign,
        Speaker::Unknown => Verdict::Rogue,
        Speaker::Marked(theirs) if ours.tenure == Tenure::Confirmed && theirs.epoch > ours.epoch => {
            Verdict::Verify
        }
        // Of two that were granted the claim, the later has it, unless the authority was set back: it knows.
        Speaker::Marked(theirs) if both_confirmed(ours, theirs) && theirs.epoch < ours.epoch => {
            Verdict::Verify
        }
        Speaker::Marked(theirs) => match order(claim, ours, theirs) {
            Ordering::Greater => Verdict::Defend,
            Ordering::Less => Verdict::Yield,
            // Two processes with one node name: somebody must give way, and both must agree who.
            Ordering::Equal if our_mac < Some(their_mac) => Verdict::Defend,
            Ordering::Equal => Verdict::Yield,
        },
    }
}

fn both_confirmed(ours: Mark, theirs: Mark) -> bool {
    (ours.tenure, theirs.tenure) == (Tenure::Confirmed, Tenure::Confirmed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NodeId;

    fn mark(tenure: Tenure, epoch: u32, node: u64) -> Mark {
        Mark { tenure, epoch, node: NodeId(node) }
    }

    fn verdict(ours: Mark, theirs: Mark) -> Verdict {
        let claim = ClaimId::control_plane();
        judge(&claim, (ours, Some(Mac([1; 6]))), (Speaker::Marked(theirs), Mac([2; 6])))
    }

    #[test]
    fn tenure_comes_before_epoch() {
        use Tenure::{Confirmed, Detached, Provisional};
        for (ours, theirs, expected) in [
            (mark(Confirmed, 3, 1), mark(Detached, 3, 2), Verdict::Defend),
            (mark(Confirmed, 3, 1), mark(Detached, 9, 2), Verdict::Verify),
            (mark(Confirmed, 3, 1), mark(Confirmed, 2, 2), Verdict::Verify),
            (mark(Detached, 9, 1), mark(Confirmed, 3, 2), Verdict::Yield),
            (mark(Detached, 3, 1), mark(Provisional, 9, 2), Verdict::Defend),
            (mark(Detached, 3, 1), mark(Detached, 4, 2), Verdict::Yield),
            (mark(Provisional, 4, 1), mark(Provisional, 3, 2), Verdict::Defend),
        ] {
            assert_eq!(verdict(ours, theirs), expected, "{ours:?} against {theirs:?}");
        }
    }

    #[test]
    fn of_any_two_marks_exactly_one_side_yields_or_verifies() {
        use Tenure::{Confirmed, Detached, Provisional};
        let claim = ClaimId::control_plane();
        let marks: Vec<Mark> = [Confirmed, Detached, Provisional]
            .into_iter()
            .flat_map(|tenure| {
                (0..3).flat_map(move |epoch| (1..3).map(move |node| mark(tenure, epoch, node)))
            })
            .collect();
        for a in &marks {
            for b in &marks {
                let forth = judge(&claim, (*a, Some(Mac([1; 6]))), (Speaker::Marked(*b), Mac([2; 6])));
                let back = judge(&claim, (*b, Some(Mac([2; 6]))), (Speaker::Marked(*a), Mac([1; 6])));
                let stays = |verdict| verdict == Verdict::Defend;
                assert!(stays(forth) != stays(back) || forth == Verdict::Verify || back == Verdict::Verify);
                assert!(!(stays(forth) && stays(back)), "{a:?} and {b:?} would both stay");
            }
        }
    }

    #[test]
    fn of_equals_the_better_rank_in_the_claims_order_stays() {
        let claim = ClaimId::control_plane();
        let ours = mark(Tenure::Provisional, 3, 1);
        let better = |node| placement::score(&claim, ours.node) > placement::score(&claim, NodeId(node));
        let stays: Vec<bool> = (2..32)
            .map(|node| verdict(ours, mark(Tenure::Provisional, 3, node)) == Verdict::Defend)
            .collect();
        assert_eq!(stays, (2..32).map(better).collect::<Vec<_>>());
        assert!(stays.contains(&true) && stays.contains(&false), "some are better, some are worse");
    }

    #[test]
    fn unmarked_frames_never_make_a_node_yield_by_this_table() {
        let claim = ClaimId::control_plane();
        let ours = (mark(Tenure::Provisional, 0, 1), Some(Mac([1; 6])));
        for (speaker, expected) in [
            (Speaker::Member, Verdict::Misconfigured),
            (Speaker::Foreign, Verdict::Foreign),
            (Speaker::Unknown, Verdict::Rogue),
        ] {
            assert_eq!(judge(&claim, ours, (speaker, Mac([2; 6]))), expected);
        }
    }
}
