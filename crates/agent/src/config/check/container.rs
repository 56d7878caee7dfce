//! The settings of one container: its environment and its arguments, with kube-vip's precedence or ours.

use std::collections::BTreeMap;

use super::manifest::{Container, Written};
use super::{CheckedPart, CheckedSetting, in_force, row, unknown};
use crate::config::layer::{Layer, Layers, by_flag, by_variable, nearest};
use crate::config::resolve::Precedence;
use crate::config::table::{Key, MASK, NOT_SHOWN, Secrecy, Setting, settings};

/// Variables that programs are given besides their settings.
const NO_SETTINGS: &[&str] =
    &["HOME", "HTTPS_PROXY", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "NO_PROXY", "PATH", "TZ"];

/// The commands that run an agent.
const COMMANDS: [&str; 2] = ["run", "manager"];

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
        Written::There(_) | Written::Composed(_) => stand_in(name).map(|text| (name.clone(), text)),
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
            Written::Here(text) | Written::Composed(text) => uses(text),
            Written::There(_) => false,
        });
        in_variables || container.arguments.iter().any(|argument| uses(argument))
    };
    let rows = container.environment.iter().map(|(name, written)| match by_variable(name) {
        Some(setting) => variable_row(setting, name, written),
        None if NO_SETTINGS.contains(&name.as_str()) || used(name) => ignored(name),
        None => {
            let known = settings().flat_map(|setting| setting.environment).copied();
            unknown(name, not_ours(nearest(name, known)))
        }
    });
    rows.collect()
}

fn not_ours(nearest: &str) -> String {
    format!("no setting of kube-vip's or ours; did you mean {nearest}?")
}

fn variable_row(setting: &Setting, name: &str, written: &Written) -> CheckedSetting {
    match written {
        // As kube-vip's generator writes what nobody named.
        Written::Here(text) if text.is_empty() => row(setting, name, setting.default),
        Written::Here(text) => row(setting, name, text),
        Written::There(source) => elsewhere_row(setting, name, format!("({source})")),
        Written::Composed(text) => elsewhere_row(setting, name, composed(setting, text)),
    }
}

/// A text that the kubelet completes, as it may be shown: what stands around the `$(NAME)` may be the secret itself.
fn composed(setting: &Setting, text: &str) -> String {
    match setting.secrecy {
        Secrecy::Secret => MASK.to_owned(),
        Secrecy::Open => format!("({text}, put in by the kubelet)"),
    }
}

/// A setting whose value is known only where the Pod runs.
fn elsewhere_row(setting: &Setting, name: &str, shown: String) -> CheckedSetting {
    CheckedSetting {
        name: name.to_owned(),
        value: shown.clone(),
        effective: shown,
        verdict: setting.verdict.word().to_owned(),
        note: setting.verdict.reason().to_owned(),
        fine: setting.verdict.is_heeded(),
    }
}

/// What is for others. Its value is not shown: it may be what a secret is made of.
fn ignored(name: &str) -> CheckedSetting {
    CheckedSetting {
        name: name.to_owned(),
        value: NOT_SHOWN.to_owned(),
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
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let position = arguments.len() - rest.len();
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            if read.command.is_none() {
                read.command = Some(argument.clone());
            } else {
                let note = "neither a command nor a flag: a flag's value follows it, or its =".to_owned();
                read.rows.push(unknown(&format!("argument {position}"), note));
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
            None => {
                let nearest = nearest(name, settings().filter_map(Setting::flag));
                let written_as = argument.split('=').next().unwrap_or_default();
                read.rows.push(unknown(written_as, not_ours(nearest)));
                if value.is_none() {
                    // What follows may be its value, and is no command.
                    rest.next_if(|next| !next.starts_with('-') && !COMMANDS.contains(&next.as_str()));
                }
            }
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
