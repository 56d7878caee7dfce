//! Writes that wait, as they do while etcd elects a leader.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Whether reads that need a quorum wait too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Reads are answered meanwhile.
    #[default]
    Answered,
    /// Reads without `resourceVersion=0` wait as writes do: linearizable reads need etcd's leader.
    Stalled,
}

/// What an operation needs of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Write,
    QuorumRead,
}

/// The switch: nothing stalled, stalled until released, or until a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    on: Option<(Option<Instant>, Reads)>,
}

impl Stall {
    pub(super) fn until_released(reads: Reads) -> Self {
        Self { on: Some((None, reads)) }
    }

    pub(super) fn until(end: Instant, reads: Reads) -> Self {
        Self { on: Some((Some(end), reads)) }
    }

    /// Until when an operation must wait now: not at all, for ever, or until the moment.
    fn holds(&self, need: Need) -> Option<Option<Instant>> {
        let (end, reads) = self.on?;
        let concerned = need == Need::Write || reads == Reads::Stalled;
        let over = end.is_some_and(|end| end <= Instant::now());
        (concerned && !over).then_some(end)
    }
}

/// Waits while the switch holds operations of this need. A client that leaves meanwhile has written nothing.
pub(super) async fn pass(mut switch: watch::Receiver<Stall>, need: Need) {
    loop {
        let held = switch.borrow_and_update().holds(need);
        let Some(end) = held else { return };
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            changed = switch.changed() => if changed.is_err() { return },
        }
    }
}
