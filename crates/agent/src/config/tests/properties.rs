//! What holds for any settings at all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{environment, host, run};
use crate::config::table::{Key, settings};
use crate::config::{Layer, Layers, Precedence, Warning, resolve, value};

/// Texts that are something to some setting, and texts that are nothing to any.
fn any_text() -> impl Strategy<Value = String> {
    let known: Vec<&str> = settings()
        .map(|setting| setting.default)
        .chain([
            "true",
            "false",
            "0",
            "1",
            "-1",
            "10.0.0.5",
            "10.0.0.100",
            "fd00::1",
            "a.b",
            "eth0",
            "x/y",
            "5s",
            "{}",
            ",",
        ])
        .collect();
    prop_oneof![proptest::sample::select(known).prop_map(str::to_owned), "\\PC{0,40}"]
}

/// Some settings, each in the environment (under any of its names) or as a flag.
fn any_settings() -> impl Strategy<Value = Vec<(usize, bool, usize, String)>> {
    let count = settings().filter(|setting| setting.is_for_agents()).count();
    proptest::collection::vec((0..count, any::<bool>(), 0..3_usize, any_text()), 0..8)
}

proptest! {
    #[test]
    fn no_combination_panics_and_a_refusal_names_its_setting_as_written(chosen in any_settings(), manager in any::<bool>()) {
        let all: Vec<_> = settings().filter(|setting| setting.is_for_agents()).collect();
        let mut variables = environment(&[]);
        let mut flags = Layer::default();
        let mut names: BTreeSet<String> = settings().map(|setting| setting.environment.first().map_or_else(|| format!("--{}", setting.name()), |name| (*name).to_owned())).collect();
        let mut written: BTreeMap<String, &str> = BTreeMap::new();
        for (index, in_environment, name, text) in &chosen {
            let setting = all[*index];
            match setting.flag().filter(|_| !in_environment) {
                Some(flag) => {
                    flags = flags.with_flag(setting.key, text);
                    names.insert(format!("--{flag}"));
                    written.insert(format!("--{flag}"), text);
                }
                None if !setting.environment.is_empty() => {
                    let name = setting.environment[name % setting.environment.len()];
                    variables.insert(name.to_owned(), text.clone());
                    names.insert(name.to_owned());
                    written.insert(name.to_owned(), text);
                }
                None => {}
            }
        }
        let precedence = if manager { Precedence::EnvironmentFirst } else { Precedence::FlagsFirst };
        let host = host();
        match resolve(Layers::new(flags, &variables), precedence, &host) {
            Ok(resolved) => {
                for Warning(line) in &resolved.warnings {
                    prop_assert_eq!(line.lines().count(), 1, "{}", line);
                }
            }
            Err(refused) => {
                prop_assert_eq!(refused.to_string().lines().count(), 1, "{}", refused);
                prop_assert!(names.contains(&refused.setting), "{}", refused);
                // The value is the one that was written there, unless that is a secret, or nothing.
                if let Some(text) = written.get(&refused.setting).filter(|text| !text.trim().is_empty()) {
                    prop_assert!(refused.value == text.trim() || refused.value == crate::config::table::MASK, "{}", refused);
                }
                prop_assert!(!refused.problem.is_empty() && !refused.remedy.is_empty());
            }
        }
    }

    #[test]
    fn every_text_that_its_kind_takes_is_resolved(index in 0..200_usize, text in any_text()) {
        let all: Vec<_> = settings().filter(|setting| setting.is_for_agents()).collect();
        let setting = all[index % all.len()];
        let text = text.trim();
        if text.is_empty() || matches!(setting.key, Key::Interface | Key::Address | Key::Kubeconfig) || setting.environment.is_empty() {
            return Ok(());
        }
        let refused = run(&[(setting.environment[0], text)]).err();
        let well_formed = value::check(setting.kind, text).is_ok();
        if let Some(refused) = refused.filter(|refused| well_formed && refused.setting == setting.environment[0]) {
            // What is well formed is refused only where it contradicts another setting, or asks for what is not done.
            let contradicts = matches!(
                setting.key,
                Key::Arp | Key::ControlPlane | Key::LeaseDuration | Key::RenewDeadline | Key::RetryPeriod
            );
            let unheeded = !setting.verdict.is_heeded() && resolve::asks_for_something(setting, text);
            prop_assert!(contradicts || unheeded, "{}", refused);
        }
    }
}
