//! Layers: what was written where, as text, before anybody asks what it means.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::table::{Empty, Key, OWN_PREFIX, Setting, setting, settings};

/// Something the operator should know that does not stop the agent. One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The configuration file.
    File,
    /// What the host says of itself: its name, its default route.
    Host,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Host => "host",
            Self::Default => "default",
        })
    }
}

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The text.
    pub(super) text: String,
    /// The name it was written under: `--port`, the environment variable `port`, or `config.yaml: port`.
    pub(super) name: String,
    /// Where it was written.
    pub(super) origin: Origin,
}

impl Given {
    /// `name="value"`, with a secret's value masked.
    pub(super) fn shown(&self, setting: &Setting) -> String {
        format!("{}={:?}", self.name, setting.shown(&self.text))
    }
}

/// What one source says; what it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer(BTreeMap<Key, Given>);

/// All that is said, and by whom.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The command line.
    pub flags: Layer,
    /// The environment.
    pub environment: Layer,
    /// The configuration file.
    pub file: Layer,
    /// What was noticed in reading them.
    pub warnings: Vec<Warning>,
}

impl Layers {
    /// What flags and environment say. `variables` is the whole environment, so that misspelt names can be told.
    #[must_use]
    pub fn new(flags: Layer, variables: &BTreeMap<String, String>) -> Self {
        let (environment, warnings) = Layer::from_environment(variables);
        Self { flags, environment, file: Layer::default(), warnings }
    }
}

impl Layer {
    /// What the environment says.
    fn from_environment(variables: &BTreeMap<String, String>) -> (Self, Vec<Warning>) {
        let mut layer = Self::default();
        let mut warnings = Vec::new();
        for setting in settings().filter(|setting| setting.is_for_agents()) {
            layer.add_variables(setting, variables, &mut warnings);
        }
        warnings.extend(variables.keys().filter_map(|name| unknown(name)));
        (layer, warnings)
    }

    /// The first name that is set wins.
    fn add_variables(
        &mut self,
        setting: &Setting,
        variables: &BTreeMap<String, String>,
        warnings: &mut Vec<Warning>,
    ) {
        for name in setting.environment {
            let Some(text) = variables.get(*name).map(|text| text.trim()) else { continue };
            if text.is_empty() && setting.empty == Empty::Unset {
                continue;
            }
            let given =
                Given { text: text.to_owned(), name: (*name).to_owned(), origin: Origin::Environment };
            match self.0.get(&setting.key) {
                None => drop(self.0.insert(setting.key, given)),
                Some(first) if first.text != given.text => warnings.push(differs(setting, first, &given)),
                Some(_) => {}
            }
        }
    }

    /// A flag's value, for a caller that parses flags itself.
    #[must_use]
    pub fn with_flag(self, key: Key, text: &str) -> Self {
        let name = format!("--{}", setting(key).flag().unwrap_or_default());
        self.with(key, Given { text: text.trim().to_owned(), name, origin: Origin::Flag })
    }

    pub(super) fn with(mut self, key: Key, given: Given) -> Self {
        self.0.insert(key, given);
        self
    }

    /// This layer over `below`; also says where the two differ.
    pub(super) fn over(self, below: Self) -> (Self, Vec<Warning>) {
        let mut all = below.0;
        let mut warnings = Vec::new();
        for (key, given) in self.0 {
            if let Some(hidden) = all.get(&key).filter(|hidden| hidden.text != given.text) {
                warnings.push(differs(setting(key), &given, hidden));
            }
            all.insert(key, given);
        }
        (Self(all), warnings)
    }

    /// What was written for `key`, or its default under the setting's name.
    pub(super) fn get(&self, key: Key) -> Given {
        let setting = setting(key);
        self.0.get(&key).cloned().unwrap_or_else(|| Given {
            text: setting.default.to_owned(),
            name: match setting.environment.first() {
                Some(variable) => (*variable).to_owned(),
                None => format!("--{}", setting.name()),
            },
            origin: Origin::Default,
        })
    }

    /// What was written for `key`, as it was written, or its default.
    #[must_use]
    pub fn text(&self, key: Key) -> String {
        self.get(key).text
    }

    /// What was written for `key`, if anything was.
    pub(super) fn written(&self, key: Key) -> Option<&Given> {
        self.0.get(&key)
    }

    /// The same as environment variables, for a manifest: names in the order of the table, and the texts.
    pub fn as_variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let variable = |(setting, given): (&'static Setting, _)| Some((*setting.environment.first()?, given));
        self.iter().filter_map(variable).map(|(name, given): (_, &Given)| (name, given.text.as_str()))
    }

    /// All that was written.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Setting, &Given)> {
        self.0.iter().map(|(key, given)| (setting(*key), given))
    }
}

fn differs(setting: &Setting, used: &Given, hidden: &Given) -> Warning {
    let (used, hidden) = (used.shown(setting), hidden.shown(setting));
    Warning(format!("{used} is used and {hidden} is not: set one of them only"))
}

/// What an environment variable that is a setting begins with; other programs' do not.
const PREFIXES: [&str; 11] = [
    OWN_PREFIX,
    "vip_",
    "cp_",
    "svc_",
    "bgp_",
    "control_plane_",
    "egress_",
    "mpbgp_",
    "zebra_",
    "dhcp_",
    "lb_",
];

/// What to say of a variable that looks like a setting and is none.
fn unknown(name: &str) -> Option<Warning> {
    let looks_like_one = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if !looks_like_one || by_variable(name).is_some() {
        return None;
    }
    let nearest = nearest(name, settings().flat_map(|setting| setting.environment).copied());
    let name = name.escape_debug();
    Some(Warning(format!("{name} is no setting and is ignored: did you mean {nearest}?")))
}

/// The setting that this environment variable says.
pub(super) fn by_variable(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.environment.contains(&name))
}

/// The setting that this flag says, named without its dashes.
pub(super) fn by_flag(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.is_for_agents() && setting.flags.contains(&name))
}

/// Of `known`, the name that is most like `name`.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> &'static str {
    known.min_by_key(|known| distance(name, known)).unwrap_or_default()
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
