//! Which nodes are dead, for those outside the loop who report it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mainstay_core::event::Event;
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_core::vip::Tenure;
use tokio::sync::watch;

/// Which nodes are dead, as the holder of the Services' claim sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deaths {
    /// This node holds the claim by a fresh grant: nobody else reports.
    pub(crate) confirmed: bool,
    /// The nodes that nothing was heard of since.
    pub(crate) nodes: BTreeMap<NodeName, Death>,
}

/// One node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// When it was told.
    pub(crate) at: Instant,
    /// For how long the node was silent then.
    pub(crate) silent: Duration,
}

/// Tells what the events say.
pub(super) fn follow(told: &watch::Sender<Deaths>, events: &[Event]) {
    for event in events {
        told.send_if_modified(|deaths| deaths.take_in(event));
    }
}

impl Deaths {
    /// Takes in one event; whether it changes anything.
    fn take_in(&mut self, event: &Event) -> bool {
        match event {
            Event::NodeFailed { node, silent } => {
                let death = Death { at: Instant::now(), silent: *silent };
                self.nodes.insert(node.clone(), death);
                true
            }
            Event::NodeReturned { node } => self.nodes.remove(node).is_some(),
            Event::Took { claim, tenure, .. } | Event::TenureChanged { claim, to: tenure, .. }
                if *claim == ClaimId::services() =>
            {
                self.confirm(*tenure == Tenure::Confirmed)
            }
            Event::Yielded { claim, .. } if *claim == ClaimId::services() => self.confirm(false),
            _ => false,
        }
    }

    fn confirm(&mut self, confirmed: bool) -> bool {
        std::mem::replace(&mut self.confirmed, confirmed) != confirmed
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::event::{TakeReason, YieldReason};

    use super::*;

    fn took(claim: ClaimId, tenure: Tenure) -> Event {
        Event::Took { claim, tenure, epoch: 1, reason: TakeReason::Evidence }
    }

    #[test]
    fn it_is_confirmed_while_the_services_claim_is_held_by_a_fresh_grant() {
        let (services, seat) = (ClaimId::services(), ClaimId::seat(&NodeName::new("n1")));
        let (told, deaths) = watch::channel(Deaths::default());
        let changed =
            |to| Event::TenureChanged { claim: services.clone(), from: Tenure::Detached, to, epoch: 1 };
        for (event, expected) in [
            (took(seat.clone(), Tenure::Confirmed), false),
            (took(services.clone(), Tenure::Provisional), false),
            (changed(Tenure::Confirmed), true),
            (Event::Yielded { claim: seat, epoch: 1, reason: YieldReason::Denied }, true),
            (changed(Tenure::Detached), false),
            (took(services.clone(), Tenure::Confirmed), true),
            (Event::Yielded { claim: services.clone(), epoch: 1, reason: YieldReason::Denied }, false),
        ] {
            follow(&told, std::slice::from_ref(&event));
            assert_eq!(deaths.borrow().confirmed, expected, "{event}");
        }
    }

    #[test]
    fn a_node_is_dead_until_it_is_heard() {
        let (told, deaths) = watch::channel(Deaths::default());
        let (n2, n3) = (NodeName::new("n2"), NodeName::new("n3"));
        let failed =
            |node: &NodeName| Event::NodeFailed { node: node.clone(), silent: Duration::from_secs(1) };
        follow(&told, &[failed(&n2), failed(&n3), Event::NodeReturned { node: n2 }]);
        assert_eq!(deaths.borrow().nodes.keys().collect::<Vec<_>>(), [&n3]);
    }
}
