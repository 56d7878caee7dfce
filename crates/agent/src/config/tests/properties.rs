//! What holds for any settings at all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{environment, host, run};
use crate::config::table::{Key, MASK, NOT_SHOWN, Setting, settings};
use crate::config::{Layer, Layers, Precedence, Refusal, Resolved, Warning, file, resolve, value};

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

/// Where a value is written.
#[derive(Clone, Copy, Debug)]
enum Place {
    Environment,
    Flag,
    File,
}

/// Some settings, each in one place, under any of its names there.
fn any_settings() -> impl Strategy<Value = Vec<(usize, Place, usize, String)>> {
    let count = settings().filter(|setting| setting.is_for_agents()).count();
    let place = prop_oneof![Just(Place::Environment), Just(Place::Flag), Just(Place::File)];
    proptest::collection::vec((0..count, place, 0..3_usize, any_text()), 0..8)
}

/// What was written: the sources, and each value by the name that a refusal may call it.
#[derive(Default)]
struct Sources {
    flags: Layer,
    variables: BTreeMap<String, String>,
    file: serde_json::Map<String, serde_json::Value>,
    written: BTreeMap<String, String>,
}

impl Sources {
    fn write(&mut self, setting: &Setting, place: Place, name: usize, text: &str) {
        let of = |names: &[&'static str]| (!names.is_empty()).then(|| names[name % names.len()]);
        let name = match place {
            Place::Environment => of(setting.environment).map(|name| {
                self.variables.insert(name.to_owned(), text.to_owned());
                name.to_owned()
            }),
            Place::Flag => setting.flag().map(|flag| {
                self.flags = std::mem::take(&mut self.flags).with_flag(setting.key, text);
                format!("--{flag}")
            }),
            Place::File => of(setting.environment).or(of(setting.flags)).map(|key| {
                self.file.insert(key.to_owned(), text.into());
                format!("f.yaml: {key}")
            }),
        };
        if let Some(name) = name {
            self.written.insert(name, text.trim().to_owned());
        }
    }

    fn resolve(self, precedence: Precedence) -> Result<Resolved, Refusal> {
        let file = file::layer("f.yaml", &self.file)?;
        resolve(Layers { file, ..Layers::new(self.flags, &self.variables) }, precedence, &host())
    }
}

/// Names that a refusal may call a setting that nobody wrote: its default is as much a reason as a value.
fn unwritten() -> BTreeSet<String> {
    let name = |setting: &Setting| match setting.environment.first() {
        Some(variable) => (*variable).to_owned(),
        None => format!("--{}", setting.name()),
    };
    settings().map(name).collect()
}

proptest! {
    #[test]
    fn no_combination_panics_and_a_refusal_names_its_setting_as_written(
        chosen in any_settings(),
        precedence in prop_oneof![Just(Precedence::FlagsFirst), Just(Precedence::EnvironmentFirst)],
    ) {
        let all: Vec<_> = settings().filter(|setting| setting.is_for_agents()).collect();
        let mut sources = Sources { variables: environment(&[]), ..Sources::default() };
        sources.written = sources.variables.clone();
        for (index, place, name, text) in &chosen {
            sources.write(all[*index], *place, *name, text);
        }
        let written = sources.written.clone();
        match sources.resolve(precedence) {
            Ok(resolved) => {
                for Warning(line) in &resolved.warnings {
                    prop_assert_eq!(line.lines().count(), 1, "{}", line);
                }
                for one in resolved.effective.iter().filter_map(|one| one.written_as.as_ref()) {
                    prop_assert!(written.contains_key(one), "{}", one);
                }
            }
            Err(refused) => {
                prop_assert_eq!(refused.to_string().lines().count(), 1, "{}", refused);
                prop_assert!(!refused.problem.is_empty() && !refused.remedy.is_empty());
                // The value is the one written there, unless that is a secret, or no setting of a file, or empty: then it is the default's.
                match written.get(&refused.setting).filter(|text| !text.is_empty()) {
                    Some(text) => prop_assert!([text, MASK, NOT_SHOWN].contains(&refused.value.as_str()), "{}", refused),
                    None => prop_assert!(written.contains_key(&refused.setting) || unwritten().contains(&refused.setting), "{}", refused),
                }
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
