//! Whether this node holds the VIP, and whom the authority names, for those outside the loop who follow it: the node's label,
//! and the load balancer.

use mainstay_core::event::Event;
use mainstay_core::status::ClaimStatus;
use tokio::sync::watch;

/// Tells the newest state; never waits for whoever follows it.
pub(super) struct Tenancy {
    /// `None` as long as nobody knows.
    told: watch::Sender<Option<bool>>,
    /// The holder's name.
    named: watch::Sender<Option<String>>,
    /// The agent ends: it was said what becomes of the VIP.
    last_word: bool,
}

impl Tenancy {
    pub(super) fn new((told, named): (watch::Sender<Option<bool>>, watch::Sender<Option<String>>)) -> Self {
        Self { told, named, last_word: false }
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
        let name =
            |told: &mut Option<String>| std::mem::replace(told, status.holder.clone()) != status.holder;
        self.named.send_if_modified(name);
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
        let mut tenancy = Tenancy::new((told, watch::Sender::default()));
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
    fn another_holder_is_told_and_the_same_is_no_news() {
        let (named, mut holder) = watch::channel(None);
        let mut tenancy = Tenancy::new((watch::Sender::default(), named));
        for (name, is_news) in [(None, false), (Some("n1"), true), (Some("n1"), false), (Some("n2"), true)] {
            let holder_now = name.map(str::to_owned);
            tenancy.look(&ClaimStatus { holder: holder_now.clone(), ..status(None, "denied") });
            assert_eq!(holder.has_changed().expect("a sender"), is_news, "{name:?}");
            assert_eq!(*holder.borrow_and_update(), holder_now);
        }
    }

    #[test]
    fn only_events_are_a_reason_to_look() {
        let (told, held) = watch::channel(None);
        let mut tenancy = Tenancy::new((told, watch::Sender::default()));
        tenancy.follow(&[], || panic!("nothing happened"));
        tenancy.follow(&[Event::Link { up: true }], || status(Some(Tenure::Confirmed), "granted"));
        assert_eq!(*held.borrow(), Some(true));
    }

    #[test]
    fn the_last_word_is_what_becomes_of_the_vip() {
        for kept in [true, false] {
            let (told, held) = watch::channel(Some(true));
            let mut tenancy = Tenancy::new((told, watch::Sender::default()));
            let claim = ClaimId::control_plane();
            tenancy.follow(&[Event::Stopping { claim, kept }], || panic!("it is said"));
            tenancy.look(&status(None, "denied"));
            assert_eq!(*held.borrow(), Some(kept));
        }
    }
}
