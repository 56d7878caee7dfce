//! Figures: repeated measurements of one thing, their bounds, and the file they are kept in.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Which of the repeated measurements a bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stat {
    /// The one in the middle.
    Median,
    /// The greatest.
    Max,
}

/// A promise about a figure: the statistic is at most the value, or at least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Of which statistic.
    pub stat: Stat,
    /// How it is compared: `<=` or `>=`.
    pub op: &'static str,
    /// With what, in the figure's unit.
    pub value: f64,
}

impl Bound {
    /// The median is at most this.
    #[must_use]
    pub const fn median(value: f64) -> Self {
        Self { stat: Stat::Median, op: "<=", value }
    }

    /// The median is at least this.
    #[must_use]
    pub const fn median_at_least(value: f64) -> Self {
        Self { stat: Stat::Median, op: ">=", value }
    }

    /// The greatest is at most this.
    #[must_use]
    pub const fn max(value: f64) -> Self {
        Self { stat: Stat::Max, op: "<=", value }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The least.
    pub min: f64,
    /// The one in the middle; of an even number the mean of the two.
    pub median: f64,
    /// The greatest.
    pub max: f64,
    /// How many measurements.
    pub runs: usize,
    /// What is promised.
    pub bounds: Vec<Bound>,
    /// Whether all of it is kept. Nothing measured keeps nothing.
    pub ok: bool,
}

impl Figure {
    /// The figure of these measurements.
    #[must_use]
    pub fn of(name: &'static str, unit: &'static str, mut values: Vec<f64>, bounds: &[Bound]) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        let min = values.first().copied().unwrap_or(f64::NAN);
        let max = values.last().copied().unwrap_or(f64::NAN);
        let statistic = |stat| match stat {
            Stat::Median => median,
            Stat::Max => max,
        };
        let kept = |bound: &Bound| match bound.op {
            ">=" => statistic(bound.stat) >= bound.value,
            _ => statistic(bound.stat) <= bound.value,
        };
        let ok = !values.is_empty() && bounds.iter().all(kept);
        Self { name, unit, min, median, max, runs: values.len(), bounds: bounds.to_vec(), ok }
    }
}

/// A table for people.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<32} {:>6} {:>9} {:>9} {:>9} {:>5}  {}\n",
        "figure", "unit", "min", "median", "max", "runs", "promise"
    );
    for figure in figures {
        let promises: Vec<String> = figure
            .bounds
            .iter()
            .map(|bound| format!("{:?} {} {}", bound.stat, bound.op, bound.value).to_lowercase())
            .collect();
        let verdict = match (figure.ok, promises.is_empty()) {
            (_, true) => "-",
            (true, _) => "kept",
            (false, _) => "BROKEN",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<32} {:>6} {:>9.2} {:>9.2} {:>9.2} {:>5}  {verdict} {}",
            figure.name,
            figure.unit,
            figure.min,
            figure.median,
            figure.max,
            figure.runs,
            promises.join(", ")
        );
    }
    text
}

/// Writes `{"figures": [...]}`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, figures: &[Figure]) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(&serde_json::json!({ "figures": figures }))?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_of_the_sorted_values() {
        let figure = Figure::of("x", "ms", vec![5.0, 1.0, 3.0, 2.0], &[]);
        assert_eq!((figure.min, figure.median, figure.max, figure.runs), (1.0, 2.5, 5.0, 4));
    }

    #[test]
    fn a_bound_can_be_broken_by_its_own_statistic_only() {
        for (bound, ok) in [
            (Bound::median(3.0), true),
            (Bound::median(2.9), false),
            (Bound::max(9.0), true),
            (Bound::max(8.9), false),
        ] {
            assert_eq!(Figure::of("x", "ms", vec![1.0, 3.0, 9.0], &[bound]).ok, ok, "{bound:?}");
        }
    }

    #[test]
    fn nothing_measured_keeps_no_promise() {
        assert!(!Figure::of("x", "ms", vec![], &[Bound::max(1.0)]).ok);
        assert!(!Figure::of("x", "ms", vec![], &[]).ok);
    }
}
