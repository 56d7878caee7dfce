//! The table against kube-vip's names, against itself, and against the committed reference.

use std::collections::BTreeMap;

use crate::config::table::{GROUPS, Kind, Verdict, setting, settings};
use crate::config::{layer, reference, value};

/// What kube-vip's code knows, one name a line.
const NAMES: &str = include_str!("kube-vip-names.txt");

/// docs/configuration.md as it is committed.
const REFERENCE: &str = include_str!("../../../../../docs/configuration.md");

fn names(of: &'static str) -> impl Iterator<Item = &'static str> {
    NAMES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(move |(kind, _)| *kind == of)
        .map(|(_, name)| name)
}

#[test]
fn every_name_of_kube_vips_is_in_the_table() {
    // 96, and two of them in upper case as well.
    assert_eq!((names("env").count(), names("flag").count()), (98, 88));
    let missing =
        |known: &dyn Fn(&str) -> bool, of| names(of).filter(|name| !known(name)).collect::<Vec<_>>();
    let variable = |name: &str| settings().any(|setting| setting.environment.contains(&name));
    let flag = |name: &str| settings().any(|setting| setting.flags.contains(&name));
    assert_eq!((missing(&variable, "env"), missing(&flag, "flag")), (vec![], vec![]));
}

#[test]
fn the_names_of_kube_vips_code_come_first_and_misspellings_after() {
    for (wrong, right) in
        [("annotations", "annotation"), ("enableUPNP", "enable_upnp"), ("vip_cidr", "vip_subnet")]
    {
        assert_eq!(layer::by_variable(wrong).map(|setting| setting.name()), Some(right));
    }
    for (wrong, right) in [
        ("servicesInterface", "serviceInterface"),
        ("loseLeadershipTimeoutSeconds", "loseLeadershiptTimeoutSeconds"),
        ("multiHop", "multihop"),
        ("sourceip", "sourceIP"),
        ("config", "config-file"),
    ] {
        assert_eq!(layer::by_flag(wrong).and_then(|setting| setting.flag()), Some(right));
    }
}

#[test]
fn a_name_means_one_setting_and_a_key_is_in_its_place() {
    for (index, one) in settings().enumerate() {
        assert_eq!((one.key as usize, setting(one.key).key), (index, one.key), "{one:?}");
        assert!(!one.help.is_empty() && !one.name().is_empty(), "{one:?}");
    }
    let mut variables = BTreeMap::new();
    let mut flags = BTreeMap::new();
    for one in settings() {
        for name in one.environment {
            assert_eq!(variables.insert(*name, one.key), None, "{name}");
        }
        for name in one.flags {
            assert_eq!(flags.insert(*name, one.key), None, "{name}");
        }
    }
    for one in settings() {
        for name in
            one.environment.iter().chain(one.flags).chain([&one.go_name]).filter(|name| !name.is_empty())
        {
            let called: Vec<_> =
                settings().filter(|other| other.is_called(name)).map(|other| other.key).collect();
            assert_eq!(called, [one.key], "{name} in a file");
        }
    }
    // A value that is a mapping is the setting's own, and no path to others.
    for path in settings().map(|one| one.go_name).filter(|name| name.contains('.')) {
        for (end, _) in path.match_indices('.') {
            assert!(settings().all(|other| !other.is_called(&path[..end])), "{path}");
        }
    }
    assert_eq!(GROUPS.iter().map(|group| group.settings.len()).sum::<usize>(), settings().count());
}

#[test]
fn every_default_is_of_its_kind_and_every_verdict_has_its_reason() {
    for one in settings() {
        if let Err(fault) = value::check(one.kind, one.default) {
            assert!(matches!(one.kind, Kind::Choice(_)) && one.default.is_empty(), "{one:?}: {fault:?}");
        }
        assert_eq!(one.verdict == Verdict::Works, one.verdict.reason().is_empty(), "{one:?}");
        assert!(!one.verdict.reason().contains('\n') && !one.help.contains('\n'), "{one:?}");
    }
}

#[test]
fn the_committed_reference_is_the_tables() {
    let generated = reference();
    for (line, (committed, generated)) in REFERENCE.lines().zip(generated.lines()).enumerate() {
        assert_eq!(
            committed,
            generated,
            "docs/configuration.md, line {}: mainstay config reference > docs/configuration.md",
            line + 1
        );
    }
    assert_eq!(REFERENCE, generated, "mainstay config reference > docs/configuration.md");
}
