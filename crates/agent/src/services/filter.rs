//! Keeps the filter before Services' addresses as the newest decision has it (`enable_service_security`).
//!
//! Nothing waits for it for longer than [`FIRST_WITHIN`]: a filter that cannot be programmed is told, and the addresses are
//! held without. What the kernel has stays while nobody knows anything newer: through an outage, and through a restart of
//! the agent until everything was read.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::filter::Filter;
use mainstay_dataplane::filter::{self, InForce, ServiceFilter};
use mainstay_dataplane::kernel::TableError;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::view::View;

/// How long addresses wait for their filter.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// How long the agent's end waits for what it leaves.
const LAST_WITHIN: Duration = Duration::from_secs(2);
/// The kernel's table is looked at so often: others may flush it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looked at again so soon, when something failed, or an address is still there that nobody asks for any more.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// Where it is said what is wanted, and whether it was tried.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Whether the settings ask for it.
    pub(super) switch: Switch,
    wanted: watch::Sender<Wanted>,
    tried: watch::Sender<Option<Arc<Filter>>>,
}

/// `enable_service_security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Clone, Debug, Default)]
enum Wanted {
    /// Nobody has decided yet.
    #[default]
    Unknown,
    This(Arc<Filter>),
    /// The agent ends; nobody says more.
    Last(Arc<Filter>),
}

impl Wanted {
    fn filter(&self) -> Option<&Arc<Filter>> {
        match self {
            Self::Unknown => None,
            Self::This(filter) | Self::Last(filter) => Some(filter),
        }
    }
}

impl Keeper {
    pub(super) fn new(switch: Switch) -> Self {
        Self { switch, wanted: watch::Sender::default(), tried: watch::Sender::default() }
    }

    /// Says what is wanted, and waits until the kernel has it or has refused it, for a moment at most.
    pub(super) async fn put(&self, filter: Filter) {
        if self.switch == Switch::On {
            self.say(Wanted::This(Arc::new(filter)), FIRST_WITHIN).await;
        }
    }

    /// The agent ends: what is filtered is only what stays on the interface. Without a first decision nothing changes.
    pub(crate) async fn leave(&self) {
        if self.switch == Switch::On && self.wanted.borrow().filter().is_some() {
            self.say(Wanted::Last(Arc::default()), LAST_WITHIN).await;
        }
    }

    async fn say(&self, wanted: Wanted, within: Duration) {
        let Some(filter) = wanted.filter().cloned() else { return };
        let mut tried = self.tried.subscribe();
        self.wanted.send_if_modified(|known| {
            let news = !matches!(known, Wanted::Last(_)) && known.filter() != Some(&filter);
            if news {
                *known = wanted;
            }
            news
        });
        // Too late is as good as never: it is tried on, and what waited goes on.
        let _ = timeout(within, tried.wait_for(|tried| tried.as_ref() == Some(&filter))).await;
    }

    /// Keeps the kernel's table so; never ends.
    pub(super) async fn run(&self, view: &View) -> anyhow::Result<()> {
        if self.switch == Switch::Off {
            clear().await?;
            return std::future::pending().await;
        }
        let (mut wanted, mut log, mut kernel) =
            (self.wanted.subscribe(), Log::default(), ServiceFilter::default());
        loop {
            let filter = wanted.borrow_and_update().filter().cloned();
            let again = match filter {
                None => LOOK_EVERY,
                Some(filter) => {
                    let asked = Arc::clone(&filter);
                    let put = move || (kernel.put(&asked), kernel);
                    let result;
                    (result, kernel) = spawn_blocking(put).await?;
                    log.tell(&result);
                    view.filtered(&result);
                    self.tried.send_replace(Some(filter));
                    look_again(&result)
                }
            };
            tokio::select! {
                changed = wanted.changed() => changed.context("nobody says any more what is to be filtered")?,
                () = sleep(again) => {}
            }
        }
    }
}

fn look_again(result: &Result<InForce, TableError>) -> Duration {
    match result {
        Ok(in_force) if in_force.lingering == 0 => LOOK_EVERY,
        _ => LOOK_SOON,
    }
}

/// What an earlier run, with the setting, has left. Where the kernel has no nftables, nothing was left.
async fn clear() -> anyhow::Result<()> {
    match spawn_blocking(filter::remove).await? {
        Ok(()) => {}
        Err(error) => tracing::debug!("an earlier filter of Services' addresses is not looked for: {error}"),
    }
    Ok(())
}

/// A line when it fails, in other words than before, and one when it works again.
#[derive(Debug, Default)]
struct Log(Option<String>);

impl Log {
    fn tell(&mut self, result: &Result<InForce, TableError>) {
        let failing = result.as_ref().err().map(ToString::to_string);
        match (&self.0, &failing) {
            (before, Some(error)) if before.as_ref() != Some(error) => tracing::warn!(
                "the filter of Services' addresses (enable_service_security) is not as it should be, and the addresses \
                 are held all the same: {error}"
            ),
            (Some(_), None) => tracing::info!("the filter of Services' addresses is as it should be again"),
            _ => {}
        }
        self.0 = failing;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mainstay_core::filter::Admission;
    use tokio::time::Instant;

    use super::*;

    fn filter(host: u8) -> Filter {
        Filter([([10, 0, 0, host].into(), Admission::Ports(BTreeSet::new()))].into())
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_wait_until_it_was_tried_and_half_a_second_at_most() {
        let (keeper, begin) = (Keeper::new(Switch::On), Instant::now());
        keeper.put(filter(1)).await;
        assert_eq!(begin.elapsed(), FIRST_WITHIN, "nobody tries");
        keeper.tried.send_replace(Some(Arc::new(filter(1))));
        keeper.put(filter(1)).await;
        assert_eq!(begin.elapsed(), FIRST_WITHIN, "it was tried");
        keeper.put(filter(2)).await;
        assert_eq!(begin.elapsed(), 2 * FIRST_WITHIN, "that one was not");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_setting_nobody_waits_and_nothing_is_wanted() {
        let (keeper, begin) = (Keeper::new(Switch::Off), Instant::now());
        keeper.put(filter(1)).await;
        keeper.leave().await;
        assert_eq!((begin.elapsed(), keeper.wanted.borrow().filter()), (Duration::ZERO, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_is_that_nothing_is_wanted_and_an_agent_that_knew_nothing_says_none() {
        let keeper = Keeper::new(Switch::On);
        keeper.leave().await;
        assert!(keeper.wanted.borrow().filter().is_none());
        keeper.put(filter(1)).await;
        keeper.leave().await;
        keeper.put(filter(2)).await;
        assert_eq!(keeper.wanted.borrow().filter(), Some(&Arc::default()));
    }
}
