//! Keeps control-plane tasks alive: one that panics or ends early is logged, counted and started again, for ever.
//!
//! Nothing that happens here ends the process or takes a VIP away.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use mainstay_core::backoff::Backoff;
use mainstay_core::rng::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// Between restarts: from this ...
const BACKOFF_BASE: Duration = Duration::from_millis(200);

/// ... to this, with full jitter.
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// A task that ran for this long is well again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// So many failures in a row, none of them after [`WELL_AFTER`], are a crash loop.
const CRASH_LOOP: u32 = 5;

/// What is known of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskState {
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// How often it panicked.
    pub(crate) panics: u64,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Why it ended last, until it is well again.
    pub(crate) last_failure: Option<String>,
}

impl TaskState {
    /// Whether it does nothing but fail.
    pub(crate) fn in_crash_loop(&self) -> bool {
        self.failures >= CRASH_LOOP
    }
}

/// Starts tasks and knows how they do.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    tasks: Arc<Mutex<BTreeMap<&'static str, TaskState>>>,
    stop: CancellationToken,
}

impl Supervisor {
    /// One whose tasks end when `stop` is cancelled.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tasks: Arc::default(), stop }
    }

    /// No task begins any more, and those that run end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// All tasks.
    pub(crate) fn tasks(&self) -> BTreeMap<&'static str, TaskState> {
        self.lock().clone()
    }

    /// Runs what `make` makes, again and again, until the stop. The future ends only when told to stop.
    pub(crate) async fn keep<M, F>(self, name: &'static str, seed: u64, mut make: M)
    where
        M: FnMut() -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        self.lock().entry(name).or_default();
        let mut rng = Rng::new(seed);
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        loop {
            let began = Instant::now();
            let run = AssertUnwindSafe(async { make().await }).catch_unwind();
            let Some(end) = self.stop.run_until_cancelled(self.watched(name, run)).await else { return };
            if began.elapsed() >= WELL_AFTER {
                backoff.reset();
                self.well(name);
            }
            let wait = backoff.next(&mut rng);
            self.failed(name, end, wait);
            if self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Waits for the task, and notes when it has run long enough to be well.
    async fn watched<T>(&self, name: &'static str, run: impl Future<Output = T>) -> T {
        let mut run = std::pin::pin!(run);
        match tokio::time::timeout(WELL_AFTER, &mut run).await {
            Ok(end) => end,
            Err(_) => {
                self.well(name);
                run.await
            }
        }
    }

    fn well(&self, name: &'static str) {
        let mut tasks = self.lock();
        let task = tasks.entry(name).or_default();
        task.failures = 0;
        task.last_failure = None;
    }

    fn failed(&self, name: &'static str, end: std::thread::Result<anyhow::Result<()>>, wait: Duration) {
        let panicked = end.is_err();
        let why = match end {
            Ok(Ok(())) => "it ended early".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("it panicked: {}", words(panic.as_ref())),
        };
        let mut tasks = self.lock();
        let task = tasks.entry(name).or_default();
        let news = task.last_failure.as_ref() != Some(&why);
        task.restarts += 1;
        task.panics += u64::from(panicked);
        task.failures = task.failures.saturating_add(1);
        let (failures, level) = (task.failures, panicked);
        task.last_failure = Some(why.clone());
        drop(tasks);
        let wait = wait.as_millis();
        match (level, news) {
            (true, _) => tracing::error!(task = name, failures, "{why}; starting it again in {wait} ms"),
            (false, true) => tracing::warn!(task = name, failures, "{why}; starting it again in {wait} ms"),
            (false, false) => tracing::debug!(task = name, failures, "{why}; starting it again in {wait} ms"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, TaskState>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text that a panic carries.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
