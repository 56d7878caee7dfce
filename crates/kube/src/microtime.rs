//! Times as client-go writes them into a Lease: `metav1.MicroTime`, RFC 3339 in UTC with exactly six decimals.

use jiff::Timestamp;

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
    fn the_present_has_the_same_form() {
        let text = now();
        assert_eq!(text.len(), "2026-01-02T03:04:05.000000Z".len(), "{text}");
        assert!(text.parse::<Timestamp>().is_ok());
    }
}
