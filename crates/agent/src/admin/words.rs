//! How things are written for people, by the agent and by `mainstay` alike.

use std::time::Duration;

/// A span: `0.4s`, `12s`, `3m07s`, `5h02m`, `4d03h`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = Duration::from_secs_f64(seconds.min(1e12)).as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_for_people() {
        let cases =
            [(0.42, "0.4s"), (59.9, "59s"), (187.0, "3m07s"), (18_120.0, "5h02m"), (356_400.0, "4d03h")];
        for (number, text) in cases {
            assert_eq!(seconds(number), text);
        }
    }
}
