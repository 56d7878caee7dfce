//! What each setting is in the end, and where that comes from: for `mainstay status --config`.

use serde::{Deserialize, Serialize};

use super::Config;
use super::layer::{Layer, Origin};
use super::resolve::asks_for_something;
use super::table::{Key, Setting, Verdict, settings};
use super::value::OFF;

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The name it goes by: its environment variable, or its flag where it has none.
    pub setting: String,
    /// Its value; a secret's is masked.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// The name it was written under: `--port`, `port`, `/etc/mainstay.yaml: port`. Absent where nobody wrote it.
    pub written_as: Option<String>,
    /// What becomes of it: `works`, `accepted`, `not yet`, `never`.
    pub verdict: String,
    /// Why, where it does not simply work.
    pub note: String,
}

/// Every setting of an agent.
pub(super) fn effective(layer: &Layer, config: &Config) -> Vec<Effective> {
    settings().filter(|setting| setting.is_for_agents()).map(|setting| one(setting, layer, config)).collect()
}

fn one(setting: &Setting, layer: &Layer, config: &Config) -> Effective {
    let given = layer.get(setting.key);
    let derived = derived(setting.key, config).filter(|value| *value != given.text);
    let origin = match (&derived, given.origin) {
        // A default that follows from other settings, not from the host.
        (Some(_), Origin::Default) if setting.key != Key::HealthAddress => Origin::Host,
        (_, origin) => origin,
    };
    let value = derived.unwrap_or(given.text);
    let note = note(setting, &value);
    Effective {
        setting: setting.name().to_owned(),
        value: setting.shown(&value),
        origin,
        written_as: layer.written(setting.key).map(|given| given.name.clone()),
        verdict: setting.verdict.word().to_owned(),
        note,
    }
}

/// The reason of its verdict, or that nothing is asked for.
pub(super) fn note(setting: &Setting, value: &str) -> String {
    match setting.verdict {
        Verdict::NotYet(_) | Verdict::Never(_) if !asks_for_something(setting, value) => {
            "nothing is asked for".to_owned()
        }
        verdict => verdict.reason().to_owned(),
    }
}

/// What the agent made of it, where that may be another text than the one written.
fn derived(key: Key, config: &Config) -> Option<String> {
    let joined = |texts: Vec<String>| texts.join(",");
    match key {
        Key::Interface => Some(config.interface.clone()),
        Key::Address => Some(joined(config.addresses.iter().map(ToString::to_string).collect())),
        Key::NodeName => Some(config.node.to_string()),
        Key::Witnesses => Some(joined(config.witnesses.iter().map(ToString::to_string).collect())),
        Key::Namespace => Some(config.lease.namespace.clone()),
        Key::HealthAddress => {
            Some(config.features.health_check.url.clone().unwrap_or_else(|| OFF.to_owned()))
        }
        Key::ArpRate => Some(config.announce_every.as_millis().to_string()),
        _ => None,
    }
}
