//! The one table of settings. Flags, environment, configuration file, defaults, help, the reference page and
//! `mainstay config check` all come from it.
//!
//! Names are those that kube-vip's code reads; what its documentation writes instead, and what older versions read, are
//! further names of the same setting. Each setting says what becomes of it here: its [`Verdict`].

mod addresses;
mod bgp;
mod control_plane;
mod election;
mod generator;
mod key;
mod modes;
mod node;
mod own;
mod services;

use std::sync::LazyLock;

use super::refusal::Fault;
pub use key::Key;

/// What the names of Mainstay's own environment variables begin with.
pub const OWN_PREFIX: &str = "MAINSTAY_";

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does what it says.
    Works,
    /// It is read and checked; what follows from the design is done, as said.
    Accepted(&'static str),
    /// It is read and checked; what it asks for is not done yet, because of this.
    NotYet(&'static str),
    /// What it asks for will not be done, because of this.
    Never(&'static str),
}

impl Verdict {
    /// In one or two words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Accepted(_) => "accepted",
            Self::NotYet(_) => "not yet",
            Self::Never(_) => "never",
        }
    }

    /// The reason; empty where it works.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Works => "",
            Self::Accepted(reason) | Self::NotYet(reason) | Self::Never(reason) => reason,
        }
    }

    /// Whether it does what is asked, or what follows from the design.
    #[must_use]
    pub fn is_heeded(self) -> bool {
        matches!(self, Self::Works | Self::Accepted(_))
    }
}

/// What happens when a setting that is not heeded asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// A warning; the agent runs without it.
    Warned,
    /// The agent does not start: it could not do its job.
    Refused,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// On or off; its flag may stand alone.
    Switch,
    /// A whole number in that unit.
    Number {
        /// The unit, or what is counted.
        unit: &'static str,
        /// The least it may be.
        least: i64,
        /// The most.
        most: i64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text(&'static str),
    /// Text in a form of its own.
    Formed(&'static str, Check),
}

/// Says what is wrong with a text, if anything.
pub type Check = fn(&str) -> Result<(), Fault>;

impl Kind {
    /// What to write for a value in help.
    #[must_use]
    pub fn placeholder(self) -> String {
        match self {
            Self::Switch => "true|false".to_owned(),
            Self::Number { unit, .. } => unit.to_owned(),
            Self::Choice(words) => words.join("|"),
            Self::Text(placeholder) | Self::Formed(placeholder, _) => placeholder.to_owned(),
        }
    }
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// It may.
    Open,
    /// It is shown as [`MASK`].
    Secret,
}

/// What a secret is shown as.
pub const MASK: &str = "(secret)";

/// What the value of a name that is no setting is shown as: the name may be a secret's, misspelt.
pub const NOT_SHOWN: &str = "(not shown)";

/// What an empty environment variable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// As in kube-vip, for whose generator an absent value is an empty one: nobody said anything.
    Unset,
    /// The empty text is the value.
    Value,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the code.
    pub key: Key,
    /// Its environment variable, then further names of it. Empty where only a flag says it.
    pub environment: &'static [&'static str],
    /// Its flag without the dashes, then further names of it. Empty where kube-vip has none.
    pub flags: &'static [&'static str],
    /// Its key in kube-vip's configuration file (a field's path in Go), where that is another name than those above.
    /// Empty where it is not.
    pub go_name: &'static str,
    /// What it is when nobody says.
    pub default: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// What it does, for help.
    pub help: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What happens when it is not heeded, and asks for something.
    pub consequence: Consequence,
    /// Whether its value may be shown.
    pub secrecy: Secrecy,
    /// What an empty environment variable means.
    pub empty: Empty,
}

impl Setting {
    /// The name it goes by: its environment variable, or its flag where it has none.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.environment.first().or(self.flags.first()).copied().unwrap_or_default()
    }

    /// Its flag without the dashes, where it has one.
    #[must_use]
    pub fn flag(&self) -> Option<&'static str> {
        self.flags.first().copied()
    }

    /// Its key in a configuration file: the flag's name, or the variable's where there is no flag.
    #[must_use]
    pub fn file_key(&self) -> &'static str {
        self.flag().unwrap_or(self.name())
    }

    /// Whether a configuration file may call it so: by any name it has, in any case, as in kube-vip.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let all = self.environment.iter().chain(self.flags).chain([&self.go_name]);
        !name.is_empty() && all.into_iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it is on or off, and nothing else.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch)
    }

    /// Whether it is Mainstay's own and not kube-vip's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.name().starts_with(OWN_PREFIX)
    }

    /// Whether a running agent is given it; the others are for the generator of manifests alone.
    #[must_use]
    pub fn is_for_agents(&self) -> bool {
        !generator::SETTINGS.iter().any(|other| other.key == self.key)
    }

    /// What may be shown of `text`.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        match self.secrecy {
            Secrecy::Secret if !text.is_empty() => MASK.to_owned(),
            _ => text.to_owned(),
        }
    }
}

/// How the tables below are written: a line for what it is called, one for what it does.
impl Setting {
    const fn new(
        key: Key,
        environment: &'static [&'static str],
        flags: &'static [&'static str],
        kind: Kind,
    ) -> Self {
        let default = if matches!(kind, Kind::Switch) { "false" } else { "" };
        Self {
            key,
            environment,
            flags,
            go_name: "",
            default,
            kind,
            help: "",
            verdict: Verdict::Works,
            consequence: Consequence::Warned,
            secrecy: Secrecy::Open,
            empty: Empty::Unset,
        }
    }

    const fn else_is(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn in_file(self, go_name: &'static str) -> Self {
        Self { go_name, ..self }
    }

    const fn works(self, help: &'static str) -> Self {
        Self { help, verdict: Verdict::Works, ..self }
    }

    const fn accepted(self, help: &'static str, what_follows: &'static str) -> Self {
        Self { help, verdict: Verdict::Accepted(what_follows), ..self }
    }

    const fn not_yet(self, help: &'static str, why: &'static str) -> Self {
        Self { help, verdict: Verdict::NotYet(why), ..self }
    }

    const fn never(self, help: &'static str, why: &'static str) -> Self {
        Self { help, verdict: Verdict::Never(why), ..self }
    }

    const fn or_refused(self) -> Self {
        Self { consequence: Consequence::Refused, ..self }
    }

    const fn secret(self) -> Self {
        Self { secrecy: Secrecy::Secret, ..self }
    }

    const fn may_be_empty(self) -> Self {
        Self { empty: Empty::Value, ..self }
    }
}

const fn number(unit: &'static str, least: i64, most: i64) -> Kind {
    Kind::Number { unit, least, most }
}

/// Settings that belong together.
#[derive(Debug)]
pub struct Group {
    /// Its heading.
    pub title: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
}

/// Every setting, in the order of the reference page.
pub const GROUPS: &[Group] = &[
    Group { title: "Addresses", settings: addresses::SETTINGS },
    Group { title: "Ways to announce", settings: modes::SETTINGS },
    Group { title: "Election", settings: election::SETTINGS },
    Group { title: "Control plane", settings: control_plane::SETTINGS },
    Group { title: "This node", settings: node::SETTINGS },
    Group { title: "Mainstay's own", settings: own::SETTINGS },
    Group { title: "Services", settings: services::SETTINGS },
    Group { title: "Egress", settings: services::EGRESS },
    Group { title: "BGP", settings: bgp::SETTINGS },
    Group { title: "Generator of manifests", settings: generator::SETTINGS },
];

/// Every setting, in the order of [`Key`].
static BY_KEY: LazyLock<Vec<&'static Setting>> = LazyLock::new(|| {
    let mut all: Vec<&Setting> = GROUPS.iter().flat_map(|group| group.settings).collect();
    all.sort_by_key(|setting| setting.key);
    all
});

/// Every setting, in the order of [`Key`].
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    BY_KEY.iter().copied()
}

/// The setting of that key.
#[must_use]
pub fn setting(key: Key) -> &'static Setting {
    BY_KEY[key as usize]
}
