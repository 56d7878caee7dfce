//! Chance from a seed, so that the same seed gives the same run.
//!
//! splitmix64 (Steele, Lea and Flood, 2014): one word of state, equal on every machine. It spreads retries and picks
//! faults; it keeps no secrets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::placement::mix;

/// A small deterministic generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rng(u64);

impl Rng {
    /// The generator whose sequence `seed` names.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits
    }

    /// A number below `n`, each as likely as the others (within one part in 2^64 / `n`); 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let scaled = (u128::from(self.next_u64()) * u128::from(n)) >> 64;
        u64::try_from(scaled).expect("a product of two 64-bit numbers, shifted by 64, has 64 bits")
    }

    /// A duration from zero to `max`, both possible.
    pub fn duration(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// `duration` give or take `percent` of it (at most 100).
    pub fn jitter(&mut self, duration: Duration, percent: u32) -> Duration {
        let reach = duration / 100 * percent.min(100);
        duration - reach + self.duration(reach * 2)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Rng;

    /// The first outputs for seed 1234567, as the algorithm's reference implementation gives them.
    #[test]
    fn sequence_is_splitmix64() {
        let mut rng = Rng::new(1_234_567);
        let first = [(); 3].map(|()| rng.next_u64());
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_reaches_every_number_about_equally() {
        let mut rng = Rng::new(7);
        let mut seen = [0_u32; 5];
        for _ in 0..10_000 {
            seen[usize::try_from(rng.below(5)).expect("below 5")] += 1;
        }
        assert!(seen.iter().all(|count| (1_800..2_200).contains(count)), "{seen:?}");
    }

    proptest! {
        #[test]
        fn below_is_below(seed: u64, n in 1_u64..) {
            prop_assert!(Rng::new(seed).below(n) < n);
        }

        #[test]
        fn duration_is_within_its_bound(seed: u64, nanos: u64) {
            let max = Duration::from_nanos(nanos);
            prop_assert!(Rng::new(seed).duration(max) <= max);
        }

        #[test]
        fn jitter_is_within_its_percentage(seed: u64, millis in 0_u64..1_000_000, percent in 0_u32..=100) {
            let base = Duration::from_millis(millis);
            let reach = base * percent / 100;
            let jittered = Rng::new(seed).jitter(base, percent);
            prop_assert!(base - reach <= jittered && jittered <= base + reach, "{jittered:?}");
        }
    }
}
