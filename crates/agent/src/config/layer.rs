//! Layers: what was written where, as text, before anybody asks what it means.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::table::{Key, NOT_BUILT_YET, OWN_PREFIX, SETTINGS, Setting};

/// Something the operator should know that does not stop the agent. One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The text.
    pub(super) text: String,
    /// The name it was written under: `--port`, or the environment variable `port`.
    pub(super) name: String,
}

/// What one source says; what it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer(BTreeMap<Key, Given>);

impl Layer {
    /// What the environment says. `variables` is the whole environment, so that misspelt names can be told.
    #[must_use]
    pub fn from_environment(variables: &BTreeMap<String, String>) -> (Self, Vec<Warning>) {
        let mut layer = Self::default();
        let mut warnings = Vec::new();
        for setting in SETTINGS {
            layer.add_variables(setting, variables, &mut warnings);
        }
        warnings.extend(variables.keys().filter_map(|name| unknown(name)));
        (layer, warnings)
    }

    /// The first name that is set wins. An empty value counts as set: it switches the metrics server off.
    fn add_variables(
        &mut self,
        setting: &Setting,
        variables: &BTreeMap<String, String>,
        warnings: &mut Vec<Warning>,
    ) {
        for name in setting.environment {
            let Some(text) = variables.get(*name) else { continue };
            let given = Given { text: text.trim().to_owned(), name: (*name).to_owned() };
            match self.0.get(&setting.key) {
                None => drop(self.0.insert(setting.key, given)),
                Some(first) if first.text != given.text => warnings.push(differs(first, &given)),
                Some(_) => {}
            }
        }
    }

    /// A flag's value, for a caller that parses flags itself.
    #[must_use]
    pub fn with_flag(mut self, key: Key, text: &str) -> Self {
        let name = format!("--{}", super::table::setting(key).flag);
        self.0.insert(key, Given { text: text.trim().to_owned(), name });
        self
    }

    /// This layer over `below`; also says where the two differ.
    pub(super) fn over(self, below: Self) -> (Self, Vec<Warning>) {
        let mut all = below.0;
        let mut warnings = Vec::new();
        for (key, given) in self.0 {
            if let Some(hidden) = all.get(&key).filter(|hidden| hidden.text != given.text) {
                warnings.push(differs(&given, hidden));
            }
            all.insert(key, given);
        }
        (Self(all), warnings)
    }

    /// What was written for `key`, or its default under its variable's name.
    pub(super) fn get(&self, key: Key) -> Given {
        let setting = super::table::setting(key);
        self.0.get(&key).cloned().unwrap_or_else(|| Given {
            text: setting.default.to_owned(),
            name: setting.variable().to_owned(),
        })
    }

    /// Whether anybody wrote anything for `key`.
    pub(super) fn says(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }
}

fn differs(used: &Given, hidden: &Given) -> Warning {
    Warning(format!(
        "{}={:?} is used and {}={:?} is not: set one of them only",
        used.name, used.text, hidden.name, hidden.text
    ))
}

/// What to say of a variable that looks like a setting and is none that we act on.
fn unknown(name: &str) -> Option<Warning> {
    if NOT_BUILT_YET.contains(&name) {
        return Some(Warning(format!(
            "{name} is kube-vip's; Mainstay does not act on it yet and ignores it"
        )));
    }
    let known = || SETTINGS.iter().filter(|setting| setting.is_own()).map(Setting::variable);
    if !name.starts_with(OWN_PREFIX) || known().any(|variable| variable == name) {
        return None;
    }
    let nearest = known().min_by_key(|variable| distance(name, variable)).unwrap_or_default();
    Some(Warning(format!("{name} is no setting and is ignored: did you mean {nearest}?")))
}

/// Levenshtein's distance, over bytes: the names are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The flags of `mainstay run` and `mainstay manager`, made from the table.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags(pub Layer);

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.flag) {
                self.0 = std::mem::take(&mut self.0).with_flag(setting.key, text);
            }
        }
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let default = if setting.default.is_empty() || setting.is_switch() {
        String::new()
    } else {
        format!(" [default: {}]", setting.default)
    };
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .action(ArgAction::Set)
        .help(format!("{}{default} [env: {}]", setting.help, setting.variable()))
        .help_heading(if setting.is_own() {
            "Mainstay's own settings"
        } else {
            "Settings shared with kube-vip"
        });
    if setting.is_switch() {
        return arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    let arg = arg.value_name(setting.value).allow_hyphen_values(matches!(setting.key, Key::LogLevel));
    if setting.key == Key::Namespace { arg.short('n') } else { arg }
}
