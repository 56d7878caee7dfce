//! Where two conversations differ, and which of that is known.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Line;

/// One place in which the answers to a step differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The step.
    pub step: String,
    /// Where in the answer: a JSON pointer.
    pub at: String,
    /// What the real server has there.
    pub real: Option<Value>,
    /// What the other one has there.
    pub ours: Option<Value>,
}

/// A difference that is meant, or not mended yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The step's name; `*` stands for any text.
    pub step: String,
    /// The place, with all that is below it; `*` stands for any text.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// What is wrong: differences that nobody knows of, and known ones that are there no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Differences that are not on the list.
    pub unknown: Vec<Difference>,
    /// Entries of the list that fit nothing.
    pub obsolete: Vec<Known>,
}

/// Compares two conversations of the same script.
#[must_use]
pub fn differences(real: &[Line], ours: &[Line]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (real, ours) in real.iter().zip(ours) {
        walk(&real.step.step, "", (Some(&real.answer), Some(&ours.answer)), &mut found);
    }
    found
}

fn walk(step: &str, at: &str, (real, ours): (Option<&Value>, Option<&Value>), found: &mut Vec<Difference>) {
    match (real, ours) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                walk(step, &at, (one.get(name), other.get(name)), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for place in 0..one.len().max(other.len()) {
                walk(step, &format!("{at}/{place}"), (one.get(place), other.get(place)), found);
            }
        }
        (real, ours) if real != ours => found.push(Difference {
            step: step.to_owned(),
            at: at.to_owned(),
            real: real.cloned(),
            ours: ours.cloned(),
        }),
        _ => {}
    }
}

/// Judges differences by the list of those that are known.
#[must_use]
pub fn judge(differences: Vec<Difference>, known: &[Known]) -> Verdict {
    let obsolete = known.iter().filter(|known| !differences.iter().any(|one| known.fits(one)));
    let obsolete = obsolete.cloned().collect();
    let unknown = differences.into_iter().filter(|one| !known.iter().any(|known| known.fits(one))).collect();
    Verdict { unknown, obsolete }
}

/// Reads the list: a line of JSON each.
///
/// # Errors
/// When a line is none, or has no reason.
pub fn known(text: &str) -> Result<Vec<Known>> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("known differences, line {}", number + 1);
        let known: Known = serde_json::from_str(line).with_context(place)?;
        anyhow::ensure!(!known.reason.is_empty(), "{}: no reason", place());
        all.push(known);
    }
    Ok(all)
}

impl Known {
    /// Whether this is the difference that is meant.
    #[must_use]
    pub fn fits(&self, difference: &Difference) -> bool {
        let below = format!("{}/*", self.at);
        fits(&self.step, &difference.step) && (fits(&self.at, &difference.at) || fits(&below, &difference.at))
    }
}

/// Whether `text` fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut places = rest.char_indices().map(|(place, _)| place).chain([rest.len()]);
            places.any(|place| fits(after, &rest[place..]))
        }),
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        write!(out, "{} {}: real {}, ours {}", self.step, self.at, shown(&self.real), shown(&self.ours))
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            out,
            "{} unknown differences, {} obsolete entries",
            self.unknown.len(),
            self.obsolete.len()
        )?;
        self.unknown.iter().try_for_each(|difference| writeln!(out, "  {difference}"))?;
        self.obsolete.iter().try_for_each(|known| {
            writeln!(out, "  no longer there, take it off the list: {} {}", known.step, known.at)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transcript::script;

    fn said(answer: Value) -> Vec<Line> {
        let step = script::all().swap_remove(0);
        vec![Line { step, answer }]
    }

    #[test]
    fn a_difference_is_found_wherever_it_is() {
        let real = said(json!({"code": 200, "body": {"a": [1, 2], "b/c": true}}));
        let ours = said(json!({"code": 201, "body": {"a": [1], "d": null}}));
        let found: Vec<String> = differences(&real, &ours).into_iter().map(|one| one.at).collect();
        assert_eq!(found, ["/body/a/1", "/body/b~1c", "/body/d", "/code"]);
        assert_eq!(differences(&real, &real), []);
    }

    #[test]
    fn an_unknown_difference_and_an_obsolete_entry_are_both_wrong() {
        let (real, ours) = (said(json!({"body": {"a": 1}})), said(json!({"body": {"a": 2}})));
        let entry = |step: &str, at: &str| Known {
            step: step.to_owned(),
            at: at.to_owned(),
            reason: "because".to_owned(),
        };
        let found = differences(&real, &ours);
        assert_eq!(judge(found.clone(), &[entry("*", "/body")]), Verdict::default());
        assert_eq!(judge(found.clone(), &[]).unknown, found);
        let gone = entry("*", "/code");
        let verdict = judge(found.clone(), &[entry("*", "/body/a"), gone.clone()]);
        assert_eq!(verdict, Verdict { unknown: vec![], obsolete: vec![gone] });
        assert_eq!(judge(found, &[entry("another", "/body")]).unknown.len(), 1);
    }

    #[test]
    fn patterns_fit_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("/items/*/metadata", "/items/3/metadata", true),
            ("/items/*/metadata", "/items/3/spec", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
