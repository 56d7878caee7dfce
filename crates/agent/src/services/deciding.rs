//! Decides, on a thread of its own, while who holds what may change.

use std::panic::resume_unwind;
use std::sync::Arc;

use mainstay_core::intent::ObjectName;
use mainstay_core::vip::Vip;
use mainstay_kube::Feed;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::decided::{Decided, Facts};
use super::{Keeper, filter, rules};
use crate::names::Members;

impl Keeper {
    /// Waits for what is being decided; who loses the claim meanwhile writes no more.
    pub(super) async fn heeding<T>(
        &self,
        held: &mut watch::Receiver<Option<bool>>,
        deciding: impl Future<Output = T>,
    ) -> T {
        let mut deciding = std::pin::pin!(deciding);
        loop {
            tokio::select! {
                decided = &mut deciding => return decided,
                Ok(()) = held.changed() => {
                    if *held.borrow_and_update() != Some(true) {
                        self.stop_writing();
                    }
                }
            }
        }
    }

    /// Decides, and has the addresses filtered before anybody holds them.
    pub(super) async fn decide_and_filter(
        &self,
        feed: &mut Feed,
        reserved: &[Vip],
        asked: (Members, Option<ObjectName>),
    ) -> Option<Decided> {
        let mut decided = self.decide(feed, reserved, asked).await?;
        self.filter.put(std::mem::take(&mut decided.filter).but_for(reserved)).await;
        Some(decided)
    }

    /// On a thread of its own: with thousands of Services it takes long, and the Leases' requests go out from this one.
    async fn decide(
        &self,
        feed: &mut Feed,
        reserved: &[Vip],
        (agents, asked): (Members, Option<ObjectName>),
    ) -> Option<Decided> {
        let pools = rules::pools(&feed.pools.borrow_and_update(), &feed.watches.borrow_and_update())?;
        let rules = rules::rules(&self.settings, reserved);
        let (intent, node) = (Arc::clone(&feed.intent.borrow_and_update()), self.node.clone());
        let (spread, filtered) = (self.seats.is_some(), self.filter.switch == filter::Switch::On);
        let task = spawn_blocking(move || {
            // Held on to no longer: see `Feed`.
            let (intent, pools, rules, node, agents) = (&intent, &pools, &rules, &node, &agents);
            let asked = asked.as_ref();
            Decided::of(&Facts { intent, pools, rules, node, agents, spread, filtered, asked })
        });
        match task.await {
            Ok(decided) => decided,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The agent ends.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
