//! How long to wait before asking again.
//!
//! Exponential with full jitter: the n-th wait is anything from zero to `base * 2^n`, at most `cap`. Full jitter
//! spreads the retries of many clients best for the load it costs (M. Brooker, "Exponential Backoff And Jitter", 2015).
//! There is no last attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// The longest `Retry-After` that is believed. A server that names an hour must not keep a client away for an hour
/// when it is well again after ten seconds.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The state of one series of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    floor: Duration,
}

impl Backoff {
    /// Waits that begin at up to `base` and grow up to `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0, floor: Duration::ZERO }
    }

    /// Counts one failure and gives the wait before the next attempt: at most `cap`, or [`RETRY_AFTER_MAX`] and `cap`
    /// together after [`Self::retry_after`].
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        std::mem::take(&mut self.floor) + rng.duration(doubled.min(self.cap))
    }

    /// The server said how long to stay away: the next wait, and only that, is no shorter than this or
    /// [`RETRY_AFTER_MAX`], whichever is less. The jitter comes on top, so that clients that were all told the same do
    /// not return together.
    pub fn retry_after(&mut self, wait: Duration) {
        self.floor = self.floor.max(wait.min(RETRY_AFTER_MAX));
    }

    /// An attempt succeeded: the next series begins at the base.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.floor = Duration::ZERO;
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Backoff, Duration, RETRY_AFTER_MAX, Rng};

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(10);

    proptest! {
        #[test]
        fn waits_stay_under_the_doubling_bound(seed: u64, attempts in 1_u32..100) {
            let (mut backoff, mut rng) = (Backoff::new(BASE, CAP), Rng::new(seed));
            for failures in 0..attempts {
                prop_assert_eq!(backoff.failures(), failures);
                let bound = BASE.saturating_mul(1 << failures.min(20)).min(CAP);
                prop_assert!(backoff.next(&mut rng) <= bound);
            }
        }

        #[test]
        fn reset_begins_anew(seed: u64, attempts in 0_u32..50, wait: u32) {
            let (mut backoff, mut rng) = (Backoff::new(BASE, CAP), Rng::new(seed));
            for _ in 0..attempts {
                backoff.next(&mut rng);
            }
            backoff.retry_after(Duration::from_millis(wait.into()));
            backoff.reset();
            prop_assert_eq!(backoff, Backoff::new(BASE, CAP));
        }

        #[test]
        fn retry_after_is_a_floor_once(seed: u64, wait in 0_u64..1_000_000) {
            let (mut backoff, mut rng) = (Backoff::new(BASE, CAP), Rng::new(seed));
            let told = Duration::from_millis(wait);
            backoff.retry_after(told);
            backoff.retry_after(told / 2);
            let first = backoff.next(&mut rng);
            prop_assert!(first >= told.min(RETRY_AFTER_MAX) && first <= RETRY_AFTER_MAX + BASE);
            prop_assert!(backoff.next(&mut rng) <= BASE * 2);
        }
    }

    /// Full jitter uses the whole range: a wait with a fixed part would show here.
    #[test]
    fn waits_fill_their_range() {
        let mut rng = Rng::new(3);
        let waits: Vec<_> = (0..1_000).map(|_| Backoff::new(BASE, CAP).next(&mut rng)).collect();
        assert!(
            waits.iter().any(|wait| *wait < BASE / 20) && waits.iter().any(|wait| *wait > BASE / 20 * 19)
        );
    }

    #[test]
    fn waits_reach_the_cap_and_stay() {
        let (mut backoff, mut rng) = (Backoff::new(BASE, CAP), Rng::new(5));
        let longest = (0..2_000).map(|_| backoff.next(&mut rng)).max().expect("some");
        assert!(longest > CAP / 10 * 9 && longest <= CAP, "{longest:?}");
    }
}
