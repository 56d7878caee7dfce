//! Times as client-go writes them into a Lease: `metav1.MicroTime`, RFC 3339 in UTC with exactly six decimals. And times
//! for people, in whole seconds.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;

/// A moment of this process in the wall clock's time as it is now: RFC 3339 in UTC, in whole seconds.
#[must_use]
pub fn wall_text(at: Instant) -> String {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let at = if at > now { wall + (at - now) } else { wall - (now - at) };
    Timestamp::try_from(at).map(|at| format!("{at:.0}")).unwrap_or_default()
}

/// The present, as a `MicroTime`.
pub(crate) fn now() -> String {
    format(Timestamp::now())
}

/// `moment` as a `MicroTime`: `2026-01-02T03:04:05.000000Z`.
pub(crate) fn format(moment: Timestamp) -> String {
    format!("{moment:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_decimals_in_utc_whatever_the_fraction() {
        for (nanoseconds, text) in [
            (1_767_323_045_000_000_000_i128, "2026-01-02T03:04:05.000000Z"),
            (1_767_323_045_000_001_000, "2026-01-02T03:04:05.000001Z"),
            (1_767_323_045_999_999_999, "2026-01-02T03:04:05.999999Z"),
            (1_767_323_045_120_000_000, "2026-01-02T03:04:05.120000Z"),
        ] {
            let moment = Timestamp::from_nanosecond(nanoseconds).unwrap();
            assert_eq!(format(moment), text);
        }
    }

    #[test]
    fn a_moment_of_this_process_is_told_in_whole_seconds() {
        let hour = std::time::Duration::from_secs(3600);
        let read = |at| wall_text(at).parse::<Timestamp>().expect("RFC 3339").as_second();
        let (now, wall) = (Instant::now(), Timestamp::now().as_second());
        assert_eq!(wall_text(now).len(), "2026-01-02T03:04:05Z".len());
        // Rounded, and read at another moment.
        assert!((read(now) - wall).abs() <= 1);
        assert!((read(now + hour) - wall - 3600).abs() <= 1);
    }

    #[test]
    fn the_present_has_the_same_form() {
        let text = now();
        assert_eq!(text.len(), "2026-01-02T03:04:05.000000Z".len(), "{text}");
        assert!(text.parse::<Timestamp>().is_ok());
    }
}
