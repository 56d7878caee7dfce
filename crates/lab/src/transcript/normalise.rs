//! Takes out of a conversation what differs from run to run, and keeps how it hangs together: UIDs, resource versions
//! and generated names are called after the step that showed them first, so that the same thing has the same name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Line;

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// What stands for what: UIDs and generated names.
    names: BTreeMap<String, String>,
    /// Objects' resource versions, by number, and what stands for each.
    versions: BTreeMap<u64, String>,
    step: String,
    /// Times that the script itself gives.
    given: String,
}

/// Normalises all answers, in order.
pub fn normalise(lines: &mut [Line]) {
    let given = lines.iter().map(|line| line.step.body.to_string()).collect();
    let mut seen = Seen { given, ..Seen::default() };
    for line in lines {
        line.step.step.clone_into(&mut seen.step);
        seen.learn(&line.answer);
        seen.rewrite(&mut line.answer, "", false);
    }
}

impl Seen {
    /// Learns the names that this answer shows for the first time.
    fn learn(&mut self, value: &Value) {
        if let Value::Object(fields) = value {
            if let Some(metadata) = fields.get("metadata") {
                self.learn_metadata(metadata);
            }
            fields.values().for_each(|field| self.learn(field));
        } else if let Value::Array(items) = value {
            items.iter().for_each(|item| self.learn(item));
        }
    }

    fn learn_metadata(&mut self, metadata: &Value) {
        let text = |name: &str| metadata[name].as_str().filter(|text| !text.is_empty());
        if let Some(uid) = text("uid") {
            self.name(uid, "uid");
            // A list or a bookmark has a resource version and no UID: see `version`.
            let version = text("resourceVersion").and_then(|version| version.parse().ok());
            if let Some(version) = version {
                let late = self.versions.last_key_value().is_some_and(|(last, _)| *last > version);
                let order = if late { ", out of order" } else { "" };
                let stands = format!("<version of {}{order}>", self.step);
                self.versions.entry(version).or_insert(stands);
            }
        }
        if let (Some(prefix), Some(name)) = (text("generateName"), text("name"))
            && name.len() > prefix.len()
            && name.starts_with(prefix)
        {
            self.name(name, "generated name");
        }
    }

    fn name(&mut self, text: &str, what: &str) {
        if self.names.contains_key(text) {
            return;
        }
        let stem = format!("<{what} of {}", self.step);
        let before = self.names.values().filter(|name| name.starts_with(&stem)).count();
        let number = if before == 0 { String::new() } else { format!(", {}", before + 1) };
        self.names.insert(text.to_owned(), format!("{stem}{number}>"));
    }

    /// `at` is the field's name; `of_object` says whether the metadata is of an object, and not of a list.
    fn rewrite(&self, value: &mut Value, at: &str, of_object: bool) {
        match value {
            Value::Object(fields) => {
                // From its cache, a real server lists in no order (Kubernetes before 1.31).
                if let Some(Value::Array(items)) = fields.get_mut("items") {
                    items.sort_by_key(|item| item["metadata"]["name"].as_str().map(str::to_owned));
                }
                let object = fields.contains_key("uid");
                fields.iter_mut().for_each(|(name, field)| self.rewrite(field, name, object));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite(item, at, of_object)),
            Value::String(text) => *text = self.rewritten(text, at, of_object),
            _ => {}
        }
    }

    fn rewritten(&self, text: &str, at: &str, of_object: bool) -> String {
        match at {
            "resourceVersion" if !text.is_empty() => self.version(text, of_object),
            "continue" if !text.is_empty() => "<continue>".to_owned(),
            "cells" if is_age(text) => "<age>".to_owned(),
            _ if is_time(text) && !self.given.contains(text) => {
                let precision = if text.contains('.') { "<time in microseconds>" } else { "<time>" };
                precision.to_owned()
            }
            "serverAddress" => "<address>".to_owned(),
            "message" if text.contains("resource version") || text.contains("ResourceVersion in") => {
                without_numbers(&self.named(text))
            }
            _ => self.named(text),
        }
    }

    /// The version of an object is that object's; the version of a list or a bookmark is at least the newest object's.
    fn version(&self, text: &str, of_object: bool) -> String {
        let Ok(number) = text.parse::<u64>() else { return text.to_owned() };
        match self.versions.range(..=number).next_back() {
            Some((known, stands)) if of_object && *known == number => stands.clone(),
            Some((_, stands)) if !of_object => format!("<at least {}", stands.trim_start_matches('<')),
            _ if number == 0 => "0".to_owned(),
            _ => "<a version from before>".to_owned(),
        }
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, stands)| text.replace(name, stands))
    }
}

/// RFC 3339, as Kubernetes writes it.
fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

/// How old something is, in a table: `3s`, `<unknown>`.
fn is_age(text: &str) -> bool {
    let number = text.trim_end_matches(|letter: char| "smhd".contains(letter));
    text == "<unknown>"
        || (number.len() < text.len() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transcript::script;

    fn lines(answers: &[Value]) -> Vec<Line> {
        let steps = script::all().into_iter().zip(["a", "b", "c"]);
        let mut lines: Vec<Line> =
            steps.zip(answers).map(|((step, _), answer)| Line { step, answer: answer.clone() }).collect();
        lines.iter_mut().zip(["a", "b", "c"]).for_each(|(line, name)| name.clone_into(&mut line.step.step));
        normalise(&mut lines);
        lines
    }

    fn object(uid: &str, version: &str) -> Value {
        json!({"body": {"metadata": {"uid": uid, "resourceVersion": version}}})
    }

    #[test]
    fn what_is_the_same_has_the_same_name_and_order_is_kept() {
        let list = json!({"body": {"metadata": {"resourceVersion": "9"}}, "message": "uid u-1 is not u-2"});
        let lines = lines(&[object("u-1", "5"), object("u-2", "7"), list]);
        assert_eq!(lines[0].answer, object("<uid of a>", "<version of a>"));
        assert_eq!(lines[1].answer, object("<uid of b>", "<version of b>"));
        assert_eq!(lines[2].answer["body"]["metadata"]["resourceVersion"], "<at least version of b>");
        assert_eq!(lines[2].answer["message"], "uid <uid of a> is not <uid of b>");
    }

    #[test]
    fn a_version_that_goes_back_shows() {
        let lines = lines(&[object("u-1", "7"), object("u-1", "5")]);
        assert_eq!(lines[1].answer, object("<uid of a>", "<version of b, out of order>"));
    }

    #[test]
    fn times_ages_and_numbers_go() {
        for text in ["2026-11-22T20:00:00Z", "2026-11-22T20:00:00.000001Z"] {
            assert!(is_time(text), "{text}");
        }
        assert!(!is_time("2026") && !is_time("not a time at all, Z"));
        assert!(is_age("12s") && !is_age("3m4s") && is_age("<unknown>") && !is_age("s") && !is_age("n1"));
        assert_eq!(without_numbers("too old: 1 (345)"), "too old: # (#)");
    }
}
