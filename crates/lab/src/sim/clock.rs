//! A host's own monotonic clock: an offset and a rate of its own.

use mainstay_core::time::Moment;

/// A clock that started somewhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset: i64,
    ppm: i64,
}

impl Clock {
    pub(super) fn new(offset_nanos: i64, ppm: i64) -> Self {
        Self { offset: offset_nanos, ppm }
    }

    /// What it shows at the virtual time `at` (nanoseconds).
    pub(super) fn moment(self, at: u64) -> Moment {
        let at = at.cast_signed();
        Moment::from_nanos((self.offset + at + at / 1_000_000 * self.ppm).cast_unsigned())
    }

    /// The first virtual time at which it shows `moment` or later.
    pub(super) fn when(self, moment: Moment) -> u64 {
        // Far-away deadlines stay far away instead of overflowing.
        let elapsed =
            i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4) - self.offset;
        let guess = elapsed - elapsed / (1_000_000 + self.ppm) * self.ppm;
        let mut at = guess.max(0).cast_unsigned();
        while self.moment(at) < moment && at < u64::MAX / 8 {
            at += 1_000;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_inverse_of_moment() {
        for ppm in [-20_000, -200, 0, 17, 200, 20_000] {
            let clock = Clock::new(5_000_000_000_000, ppm);
            for at in [0_u64, 1, 999_999, 1_000_001, 61_123_456_789] {
                let back = clock.when(clock.moment(at));
                assert!(back.abs_diff(at) < 200_000, "{ppm} ppm: {at} came back as {back}");
                assert!(clock.moment(back) >= clock.moment(at), "a deadline must not fire early");
            }
        }
    }

    #[test]
    fn a_fast_clock_gains() {
        let clock = Clock::new(0, 200);
        assert_eq!(clock.moment(1_000_000_000).as_nanos(), 1_000_200_000);
    }
}
