//! The settings of one container: its environment and its arguments, with kube-vip's precedence or ours.

use std::collections::BTreeMap;

use super::manifest::{Container, Written};
use super::{CheckedPart, CheckedSetting, in_force, row, unknown};
use crate::config::layer::{Layer, Layers, by_flag, by_variable, nearest};
use crate::config::resolve::Precedence;
use crate::config::table::{Key, Setting, settings};

/// Variables that programs are given besides their settings.
const NO_SETTINGS: &[&str] =
    &["HOME", "HTTPS_PROXY", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "NO_PROXY", "PATH", "TZ"];

pub(super) fn check(container: &Container) -> CheckedPart {
    let arguments = read_arguments(&container.arguments);
    let mut part = CheckedPart {
        name: container.name.clone(),
        settings: environment_rows(container),
        problems: Vec::new(),
        remarks: remarks(container),
    };
    part.settings.extend(arguments.rows);
    let precedence = match arguments.command.as_deref() {
        Some("run") => Precedence::FlagsFirst,
        Some("manager") => Precedence::EnvironmentFirst,
        other => {
            let said = other.map_or_else(|| "no command".to_owned(), |other| format!("the command {other}"));
            part.problems.push(format!("args: {said} runs no agent; write manager as the first argument"));
            return part;
        }
    };
    let layers = Layers { flags: arguments.flags, ..Layers::new(Layer::default(), &variables(container)) };
    in_force(&mut part, layers, precedence);
    part
}

/// The variables whose values are known here. Of two of one name the container gets the last.
fn variables(container: &Container) -> BTreeMap<String, String> {
    let known = container.environment.iter().filter_map(|(name, written)| match written {
        Written::Here(text) => Some((name.clone(), text.clone())),
        Written::There(_) => stand_in(name).map(|text| (name.clone(), text)),
    });
    known.collect()
}

/// For a value that is known only where the Pod runs, one that is well formed where a setting needs one.
fn stand_in(name: &str) -> Option<String> {
    let text = match by_variable(name)?.key {
        Key::Address => "192.0.2.10",
        _ => return None,
    };
    Some(text.to_owned())
}

fn remarks(container: &Container) -> Vec<String> {
    let elsewhere = container.elsewhere.iter();
    let mut remarks: Vec<_> = elsewhere.map(|map| format!("what {map} sets is not seen here")).collect();
    for (index, (name, _)) in container.environment.iter().enumerate() {
        if container.environment[index + 1..].iter().any(|(later, _)| later == name) {
            remarks.push(format!("{name} is set twice: the container gets the last"));
        }
    }
    remarks
}

fn environment_rows(container: &Container) -> Vec<CheckedSetting> {
    let used = |name: &str| {
        let reference = format!("$({name})");
        let uses = |text: &str| text.contains(&reference);
        let in_variables = container.environment.iter().any(|(_, written)| match written {
            Written::Here(text) | Written::There(text) => uses(text),
        });
        in_variables || container.arguments.iter().any(|argument| uses(argument))
    };
    let rows = container.environment.iter().map(|(name, written)| match by_variable(name) {
        Some(setting) => variable_row(setting, name, written),
        None if NO_SETTINGS.contains(&name.as_str()) || used(name) => ignored(name, written),
        None => {
            let known = settings().flat_map(|setting| setting.environment).copied();
            unknown(name, shown(written), nearest(name, known))
        }
    });
    rows.collect()
}

fn shown(written: &Written) -> &str {
    match written {
        Written::Here(text) | Written::There(text) => text,
    }
}

fn variable_row(setting: &Setting, name: &str, written: &Written) -> CheckedSetting {
    match written {
        // As kube-vip's generator writes what nobody named.
        Written::Here(text) if text.is_empty() => row(setting, name, setting.default),
        Written::Here(text) => row(setting, name, text),
        Written::There(source) => CheckedSetting {
            name: name.to_owned(),
            value: format!("({source})"),
            effective: format!("({source})"),
            verdict: setting.verdict.word().to_owned(),
            note: setting.verdict.reason().to_owned(),
            fine: setting.verdict.is_heeded(),
        },
    }
}

fn ignored(name: &str, written: &Written) -> CheckedSetting {
    CheckedSetting {
        name: name.to_owned(),
        value: shown(written).to_owned(),
        effective: String::new(),
        verdict: "ignored".to_owned(),
        note: "no setting".to_owned(),
        fine: true,
    }
}

/// What the arguments say.
#[derive(Default)]
struct Arguments {
    /// The first that is no flag.
    command: Option<String>,
    flags: Layer,
    rows: Vec<CheckedSetting>,
}

/// Reads `--flag=value`, `--flag value`, `--switch` and `-n value`.
fn read_arguments(arguments: &[String]) -> Arguments {
    let mut read = Arguments::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            if read.command.is_none() {
                read.command = Some(argument.clone());
            } else {
                let known = settings().filter_map(Setting::flag);
                read.rows.push(unknown(argument, "", nearest(argument, known)));
            }
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let name = match name {
            "n" => "namespace",
            "c" => "configMap",
            name => name,
        };
        match by_flag(name) {
            None => read.rows.push(unknown(
                argument,
                value.as_deref().unwrap_or_default(),
                nearest(name, settings().filter_map(Setting::flag)),
            )),
            Some(setting) => {
                let standing_alone =
                    || if setting.is_switch() { Some("true".to_owned()) } else { rest.next().cloned() };
                let text = value.or_else(standing_alone).unwrap_or_default();
                let written_as = format!("--{}", setting.flag().unwrap_or(name));
                read.rows.push(row(setting, &written_as, &text));
                read.flags = std::mem::take(&mut read.flags).with_flag(setting.key, &text);
            }
        }
    }
    read
}
