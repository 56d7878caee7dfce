//! Whether this node holds the VIP, for those outside the loop who follow it: the node's label.

use mainstay_core::event::Event;
use mainstay_core::status::ClaimStatus;
use tokio::sync::watch;

/// Tells the newest state; never waits for whoever follows it.
pub(super) struct Tenancy {
    /// `None` as long as nobody knows.
    told: watch::Sender<Option<bool>>,
    /// The agent ends: it was said what becomes of the VIP.
    last_word: bool,
}

impl Tenancy {
    pub(super) fn new(told: watch::Sender<Option<bool>>) -> Self {
        Self { told, last_word: false }
    }

    /// Takes in what the core said, if that may have changed it.
    pub(super) fn follow(&mut self, events: &[Event], status: impl FnOnce() -> ClaimStatus) {
        let kept = events.iter().find_map(|event| match event {
            Event::Stopping { kept, .. } => Some(*kept),
            _ => None,
        });
        if let Some(kept) = kept {
            // What stays on the interface for the restart is still held, as far as anybody outside can see.
            self.last_word = true;
            self.tell(kept);
        } else if !events.is_empty() {
            self.look(&status());
        }
    }

    /// Takes in the core's state. A node that holds nothing says so only when the authority has said who does: right
    /// after a start, the VIP may be its own.
    pub(super) fn look(&mut self, status: &ClaimStatus) {
        if self.last_word {
            return;
        }
        if status.tenure.is_some() {
            self.tell(true);
        } else if status.standing != "unknown" {
            self.tell(false);
        }
    }

    fn tell(&self, held: bool) {
        self.told.send_if_modified(|told| told.replace(held) != Some(held));
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::names::ClaimId;
    use mainstay_core::vip::Tenure;

    use super::*;
    use crate::testing::claim_status;

    fn status(tenure: Option<Tenure>, standing: &str) -> ClaimStatus {
        ClaimStatus { tenure, standing: standing.to_owned(), ..claim_status() }
    }

    #[test]
    fn what_is_told_follows_the_state_and_the_end() {
        let (told, held) = watch::channel(None);
        let mut tenancy = Tenancy::new(told);
        for (tenure, standing, expected) in [
            (None, "unknown", None),
            (Some(Tenure::Provisional), "unknown", Some(true)),
            (None, "unknown", Some(true)),
            (None, "denied", Some(false)),
            (Some(Tenure::Confirmed), "granted", Some(true)),
            (Some(Tenure::Detached), "granted", Some(true)),
            (None, "vacant", Some(false)),
        ] {
            tenancy.look(&status(tenure, standing));
            assert_eq!(*held.borrow(), expected, "{tenure:?} {standing}");
        }
    }

    #[test]
    fn only_events_are_a_reason_to_look() {
        let (told, held) = watch::channel(None);
        let mut tenancy = Tenancy::new(told);
        tenancy.follow(&[], || panic!("nothing happened"));
        tenancy.follow(&[Event::Link { up: true }], || status(Some(Tenure::Confirmed), "granted"));
        assert_eq!(*held.borrow(), Some(true));
    }

    #[test]
    fn the_last_word_is_what_becomes_of_the_vip() {
        for kept in [true, false] {
            let (told, held) = watch::channel(Some(true));
            let mut tenancy = Tenancy::new(told);
            let claim = ClaimId::control_plane();
            tenancy.follow(&[Event::Stopping { claim, kept }], || panic!("it is said"));
            tenancy.look(&status(None, "denied"));
            assert_eq!(*held.borrow(), Some(kept));
        }
    }
}
