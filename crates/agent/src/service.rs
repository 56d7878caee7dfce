//! What is behind the VIP: does the API server on this host live, and does one answer through the VIP? (rules 6 and 12)
//!
//! The core decides what follows. A check that fails here takes nothing away: where every node's fails, nothing moves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::input::{Health, Input};
use mainstay_kube::{Liveness, LivenessError};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::admin::reply::LocalService;

/// What is checked, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceCheck {
    /// The URL of what this host serves.
    pub(crate) local: String,
    /// The same through the VIP.
    pub(crate) through_vip: String,
    /// Between two checks.
    pub(crate) period: Duration,
    /// The longest wait for an answer.
    pub(crate) longest: Duration,
    /// Failures in a row before it counts as dead.
    pub(crate) failure_threshold: u32,
    /// A PEM file with the certificates that sign the server's; `None` accepts any.
    pub(crate) authority: Option<PathBuf>,
}

/// What is known of it, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceView(Arc<Mutex<Option<LocalService>>>);

impl ServiceView {
    /// What was found last, if anything is checked.
    pub(crate) fn read(&self) -> Option<LocalService> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, url: &str, streak: &Streak, error: Option<String>) {
        let found = LocalService {
            url: url.to_owned(),
            state: streak.word().to_owned(),
            failures_in_a_row: streak.failures,
            last_error: error,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Failures in a row, and what was made of them.
#[derive(Clone, Debug)]
struct Streak {
    threshold: u32,
    failures: u32,
    told: Option<Health>,
}

impl Streak {
    fn new(threshold: u32) -> Self {
        Self { threshold: threshold.max(1), failures: 0, told: None }
    }

    /// Takes one answer in. What it changes is to be told: dead after so many failures in a row, alive with the first
    /// answer, so that a holder whose server is back does not invite. (For how long it has to be back before this node
    /// answers an invitation, the core knows.)
    fn take<E>(&mut self, answer: &Result<(), E>) -> Option<Health> {
        self.failures = if answer.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let now = match answer {
            Ok(()) => Health::Healthy,
            Err(_) if self.failures >= self.threshold => Health::Unhealthy,
            Err(_) => return None,
        };
        (self.told.replace(now) != Some(now)).then_some(now)
    }

    fn word(&self) -> &'static str {
        match (self.told, self.failures) {
            (Some(Health::Healthy), 0) => "healthy",
            (Some(Health::Unhealthy), _) => "unhealthy",
            (None, _) => "unknown",
            _ => "failing",
        }
    }
}

/// Checks for ever, and tells the core what changes. The two checks do not wait for each other: through the VIP a black
/// hole may be asked.
///
/// # Errors
/// When an address cannot be checked at all (another start may find the file that is missing), or nobody takes the news.
pub(crate) async fn run(
    check: &ServiceCheck,
    inputs: &mpsc::Sender<Input>,
    view: &ServiceView,
) -> anyhow::Result<()> {
    let (local, through_vip) = match (check.of(&check.local), check.of(&check.through_vip)) {
        (Ok(local), Ok(through_vip)) => (local, through_vip),
        (Err(error), _) | (_, Err(error)) => {
            view.set(&check.local, &Streak::new(check.failure_threshold), Some(error.to_string()));
            return Err(error.into());
        }
    };
    let ours = async {
        let (mut streak, mut every) = check.rhythm();
        loop {
            every.tick().await;
            let answer = local.check().await;
            if let Some(health) = streak.take(&answer) {
                inputs.send(Input::Health(health)).await.context("the loop is gone")?;
            }
            view.set(&check.local, &streak, answer.err());
        }
    };
    let served = async {
        let (mut streak, mut every) = check.rhythm();
        loop {
            every.tick().await;
            if let Some(health) = streak.take(&through_vip.check().await) {
                inputs.send(Input::Service(health)).await.context("the loop is gone")?;
            }
        }
    };
    tokio::select! {
        ended = ours => ended,
        ended = served => ended,
    }
}

impl ServiceCheck {
    fn of(&self, url: &str) -> Result<Liveness, LivenessError> {
        Liveness::new(url, self.authority.clone(), self.longest)
    }

    fn rhythm(&self) -> (Streak, Interval) {
        let mut every = interval(self.period);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (Streak::new(self.failure_threshold), every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in order, `.` alive and `x` not; what is told of each: `+`, `-` or nothing.
    #[test]
    fn it_is_dead_after_the_threshold_and_alive_with_the_first_answer() {
        for (threshold, answers, expected) in [
            (3, "...", "+  "),
            (3, "xxxx", "  - "),
            (3, ".xx.xx.", "+      "),
            (3, ".xxx.x", "+  -+ "),
            (3, "xx.", "  +"),
            (1, "x.x", "-+-"),
            (0, "x.", "-+"),
        ] {
            let mut streak = Streak::new(threshold);
            let told = |answer| match streak.take(&if answer == '.' { Ok(()) } else { Err(()) }) {
                Some(Health::Healthy) => '+',
                Some(Health::Unhealthy) => '-',
                None => ' ',
            };
            assert_eq!(answers.chars().map(told).collect::<String>(), expected, "{threshold} of {answers}");
        }
    }
}
