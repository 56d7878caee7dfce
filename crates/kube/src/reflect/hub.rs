//! Puts together what the watches found, and hands it out: whole, the latest, and not too often.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::intent::Intent;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::Pools;
use super::observed::ObservedServices;
use super::problems::Problems;
use super::step::{Aside, Changed, Step, apply};

/// Objects taken in under one lock of the published value: whoever looks at it waits for so many at most.
const AT_ONCE: usize = 100;
/// Steps kept back while somebody holds the published value. Policy when they are that many: the watches wait.
const KEPT_BACK: usize = 256;
/// How often a publication is put off for somebody who holds the last.
const HELD_AT_MOST: usize = 20;

/// The ends at which others look.
pub(super) type Published =
    (watch::Receiver<Arc<Intent>>, watch::Receiver<Pools>, watch::Receiver<Arc<Problems>>, ObservedServices);

/// Takes steps in, and publishes.
pub(super) struct Hub {
    steps: mpsc::Receiver<Step>,
    /// Publications are this far apart.
    every: Duration,
    intent: watch::Sender<Arc<Intent>>,
    pools: watch::Sender<Pools>,
    problems: watch::Sender<Arc<Problems>>,
    aside: Aside,
    /// Steps that could not be taken in because somebody holds the published value.
    kept_back: Vec<Step>,
    /// What changed since the last publication.
    changed: Changed,
}

impl Hub {
    /// One that begins with what is `known`.
    pub(super) fn new(
        steps: mpsc::Receiver<Step>,
        every: Duration,
        observed: ObservedServices,
        known: Arc<Intent>,
    ) -> (Self, Published) {
        let aside = Aside { observed, ..Aside::default() };
        let (intent, intent_seen) = watch::channel(known);
        let (pools, pools_seen) = watch::channel(Pools::Unknown);
        let (problems, problems_seen) = watch::channel(Arc::default());
        let published = (intent_seen, pools_seen, problems_seen, aside.observed.clone());
        let (kept_back, changed) = (Vec::new(), Changed::default());
        (Self { steps, every, intent, pools, problems, aside, kept_back, changed }, published)
    }

    /// Runs until nothing can come any more.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now();
        while let Some(step) = self.steps.recv().await {
            self.absorb(step);
            self.gather(due).await;
            self.await_release().await;
            if self.publish() {
                due = Instant::now() + self.every;
            }
        }
    }

    /// Takes in what else comes until a publication is due: at least what is there already.
    async fn gather(&mut self, due: Instant) {
        // Those on their way are bounded, or a storm would put the publication off for ever.
        let mut overdue = 0;
        while self.kept_back.len() < KEPT_BACK && overdue < KEPT_BACK {
            overdue += usize::from(due <= Instant::now());
            let step = match self.steps.try_recv() {
                Ok(step) => Some(step),
                Err(_) if due > Instant::now() => timeout_at(due, self.steps.recv()).await.ok().flatten(),
                Err(_) => None,
            };
            match step {
                Some(step) => self.absorb(step),
                None => return,
            }
        }
        tokio::time::sleep_until(due).await;
    }

    /// Takes a step in where the published value is: nobody is told yet. Where somebody holds it, it is kept back, and
    /// with it all that come later.
    fn absorb(&mut self, step: Step) {
        for step in portions(step) {
            let mut left = Some(step);
            if self.kept_back.is_empty() {
                let (aside, changed) = (&mut self.aside, &mut self.changed);
                self.intent.send_if_modified(|published| {
                    if let Some(intent) = Arc::get_mut(published) {
                        let applied = left.take().map(|step| apply(intent, aside, step));
                        *changed = changed.and(applied.unwrap_or_default());
                    }
                    false
                });
            }
            self.kept_back.extend(left);
        }
    }

    /// Waits while somebody decides on what is published, and something is kept back for it: with thousands of Services a
    /// copy takes as long, and as much memory again.
    async fn await_release(&self) {
        for _ in 0..HELD_AT_MOST {
            let held = Arc::strong_count(&self.intent.borrow()) > 1;
            if !held || self.kept_back.is_empty() {
                return;
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// Tells of what changed. Whether anything did.
    fn publish(&mut self) -> bool {
        for step in std::mem::take(&mut self.kept_back) {
            self.absorb(step);
        }
        if !self.kept_back.is_empty() {
            // Whoever holds it keeps what they have, and the others get a copy.
            let mut copy = Intent::clone(&self.intent.borrow());
            for step in std::mem::take(&mut self.kept_back) {
                self.changed = self.changed.and(apply(&mut copy, &mut self.aside, step));
            }
            if self.changed.intent {
                self.intent.send_replace(Arc::new(copy));
            }
        } else if self.changed.intent {
            self.intent.send_modify(|_| {});
        }
        if self.changed.pools {
            self.pools.send_replace(self.aside.pools.clone());
        }
        if self.changed.problems {
            self.problems.send_replace(Arc::new(self.aside.problems.clone()));
        }
        std::mem::take(&mut self.changed) != Changed::default()
    }
}

/// Cuts a page, so that no lock is held for the whole of it.
fn portions(step: Step) -> Vec<Step> {
    match step {
        Step::Present(kind, items) if items.len() > AT_ONCE => {
            let (mut items, mut portions) = (items.into_iter().peekable(), Vec::new());
            while items.peek().is_some() {
                portions.push(Step::Present(kind, items.by_ref().take(AT_ONCE).collect()));
            }
            portions
        }
        step => vec![step],
    }
}
