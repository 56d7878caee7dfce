//! The settings of one container: its environment and its arguments, with kube-vip's precedence or ours.

use std::collections::BTreeMap;

use super::manifest::{Container, Written};
use super::together::{Elsewhere, in_force};
use super::{CheckedPart, CheckedSetting, row, unknown};
use crate::config::layer::{Layer, Layers, by_flag, by_variable, nearest};
use crate::config::resolve::Precedence;
use crate::config::table::{MASK, NOT_SHOWN, Secrecy, Setting, settings};

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
        problems: container.problems.clone(),
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
    let mut elsewhere = elsewhere(container);
    elsewhere.extend(arguments.elsewhere);
    in_force(&mut part, (layers, precedence), &elsewhere);
    part
}

/// What the environment is, by name: of two of one name the container gets the last.
fn last_written(container: &Container) -> BTreeMap<&str, &Written> {
    container.environment.iter().map(|(name, written)| (name.as_str(), written)).collect()
}

/// The variables whose values are known here.
fn variables(container: &Container) -> BTreeMap<String, String> {
    let known = last_written(container).into_iter().filter_map(|(name, written)| match written {
        Written::Here(text) => Some((name.to_owned(), text.clone())),
        Written::There(_) | Written::Composed(_) => None,
    });
    known.collect()
}

/// The settings whose values are known only where the Pod runs, and why. A whole map may have any that is not written.
fn elsewhere(container: &Container) -> Vec<Elsewhere> {
    let written = last_written(container);
    let of = |name: &str, source: String| {
        by_variable(name).map(|setting| Elsewhere { key: setting.key, why: format!("{name} {source}") })
    };
    let single = written.iter().filter_map(|(name, written)| match written {
        Written::Here(_) => None,
        Written::There(source) => of(name, format!("comes from {source}")),
        Written::Composed(_) => of(name, "is put together by the kubelet".to_owned()),
    });
    let is_written = |setting: &Setting| setting.environment.iter().any(|name| written.contains_key(name));
    let maps = container.elsewhere.iter().flat_map(|map| {
        let open = settings().filter(|setting| !is_written(setting));
        open.filter_map(move |setting| of(setting.environment.first()?, format!("may come from {map}")))
    });
    single.chain(maps).collect()
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
    /// Those that the kubelet completes.
    elsewhere: Vec<Elsewhere>,
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
                if text.contains("$(") {
                    read.rows.push(elsewhere_row(setting, &written_as, composed(setting, &text)));
                    let why = format!("{written_as} is put together by the kubelet");
                    read.elsewhere.push(Elsewhere { key: setting.key, why });
                    continue;
                }
                read.rows.push(row(setting, &written_as, &text));
                read.flags = std::mem::take(&mut read.flags).with_flag(setting.key, &text);
            }
        }
    }
    read
}
