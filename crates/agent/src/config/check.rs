//! `mainstay config check`: what becomes of every setting of a manifest or a configuration file.
//!
//! Pure: text in, a report out. What depends on a host (which interfaces there are, which addresses are its own) cannot
//! be known here, and is checked when the agent starts.

mod container;
mod manifest;
mod together;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::effective::note;
use super::file::{documents, flattened, known, layer, name_in, no_setting, text_of};
use super::layer::Layers;
use super::resolve::{Precedence, asks_for_something};
use super::table::{NOT_SHOWN, Setting};
use super::value;
use manifest::{Part, parts};
use together::{in_force, refuse};

/// What becomes of everything that a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// One for each container or configuration file; other objects of a manifest have no settings.
    pub parts: Vec<CheckedPart>,
    /// Objects of the file that have no settings: `ClusterRole system:kube-vip-role`.
    pub without_settings: Vec<String>,
}

impl CheckReport {
    /// Whether all is known, and is done or has a good answer.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.parts.iter().all(CheckedPart::is_fine)
    }
}

/// A container, or a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedPart {
    /// What it is: `Pod kube-system/kube-vip, container kube-vip`.
    pub name: String,
    /// Its settings in the order of the file, the environment before the arguments.
    pub settings: Vec<CheckedSetting>,
    /// What keeps the agent from starting, or nobody understands, beyond single settings.
    pub problems: Vec<String>,
    /// What else is worth knowing.
    pub remarks: Vec<String>,
}

impl CheckedPart {
    fn is_fine(&self) -> bool {
        self.problems.is_empty() && self.settings.iter().all(|setting| setting.fine)
    }
}

/// One setting as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedSetting {
    /// Its name as written: `vip_arp`, `--arp`.
    pub name: String,
    /// Its value as written, masked if it is a secret or may be one; where it is not in the file, where it comes from.
    pub value: String,
    /// What it is in the end. As written, if that cannot be told.
    pub effective: String,
    /// `works`, `accepted`, `not yet`, `never`, `refused`, `unknown`; `ignored` for what is no setting and need not be.
    pub verdict: String,
    /// Why, where it does not simply work.
    pub note: String,
    /// Whether it is done, has a good answer, or asks for nothing.
    pub fine: bool,
}

/// Why a file cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}; give a kube-vip manifest (Pod, DaemonSet) or a configuration file in YAML")]
pub struct Unreadable {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub problem: String,
}

/// Checks the text of the file called `file`.
///
/// # Errors
/// When it is no YAML, or is empty.
pub fn check(file: &str, yaml: &str) -> Result<CheckReport, Unreadable> {
    let unreadable = |problem: String| Unreadable { file: file.to_owned(), problem };
    let documents = documents(yaml).map_err(unreadable)?;
    let mut report = CheckReport::default();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let Value::Object(object) = document else {
            return Err(unreadable("a document in it is no mapping".to_owned()));
        };
        if object.contains_key("kind") && object.contains_key("apiVersion") {
            for part in parts(object) {
                match part {
                    Part::Container(container) => report.parts.push(container::check(&container)),
                    Part::Other(name) => report.without_settings.push(name),
                }
            }
        } else {
            report.parts.push(configuration_file(file, object));
        }
    }
    if report == CheckReport::default() {
        return Err(unreadable("there is nothing in it".to_owned()));
    }
    Ok(report)
}

/// A configuration file as `mainstay run --config` reads it.
fn configuration_file(file: &str, mapping: &Map<String, Value>) -> CheckedPart {
    let mapping = &flattened(mapping);
    let rows = mapping.iter().map(|(key, value)| file_row(file, key, value));
    let mut part = CheckedPart {
        name: format!("configuration file {file}"),
        settings: rows.collect(),
        problems: Vec::new(),
        remarks: Vec::new(),
    };
    match layer(file, mapping) {
        Ok(layer) => {
            let layers = Layers { file: layer, ..Layers::default() };
            in_force(&mut part, (layers, Precedence::FlagsFirst), &[]);
        }
        Err(refusal) => refuse(&mut part, &refusal),
    }
    part
}

fn file_row(file: &str, key: &str, value: &Value) -> CheckedSetting {
    let name = name_in(file, key);
    let Some(setting) = known(key) else {
        let (problem, remedy) = no_setting(key);
        return unknown(&name, format!("{problem}; {remedy}"));
    };
    match text_of(setting, value).unwrap_or_else(|| value.to_string()) {
        text if text.is_empty() || value.is_null() => row(setting, &name, setting.default),
        text => row(setting, &name, &text),
    }
}

/// A setting whose value is in the file.
fn row(setting: &Setting, name: &str, text: &str) -> CheckedSetting {
    let shown = setting.shown(text);
    let row = |verdict: &str, note: String, fine| CheckedSetting {
        name: name.to_owned(),
        value: shown.clone(),
        effective: shown.clone(),
        verdict: verdict.to_owned(),
        note,
        fine,
    };
    match value::check(setting.kind, text) {
        Err(fault) => row("refused", format!("{}; {}", fault.problem, fault.remedy), false),
        Ok(()) => {
            let fine = setting.verdict.is_heeded() || !asks_for_something(setting, text);
            row(setting.verdict.word(), note(setting, text), fine)
        }
    }
}

/// What is no setting. Its value is not shown: its name may be a secret's, misspelt.
fn unknown(name: &str, note: String) -> CheckedSetting {
    CheckedSetting {
        name: name.to_owned(),
        value: NOT_SHOWN.to_owned(),
        effective: String::new(),
        verdict: "unknown".to_owned(),
        note,
        fine: false,
    }
}

#[cfg(test)]
mod tests;
