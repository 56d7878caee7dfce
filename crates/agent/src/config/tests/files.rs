//! Settings from a file: its place among the others, kube-vip's own form, and what is refused by the name it was given.

use std::time::Duration;

use super::{flags, host};
use crate::config::table::Key;
use crate::config::{Layer, Layers, Origin, Precedence, check, file, read_file, resolve};

#[test]
fn a_file_is_below_flags_and_environment_and_above_defaults() {
    let mapping = serde_json::json!({"port": 1, "address": ["10.0.0.100", "fd00::100"], "vip_nodename": "File", "arp": true});
    let file = file::layer("f.yaml", mapping.as_object().expect("a mapping")).expect("a file's settings");
    let flags = Layer::default().with_flag(Key::Port, "3");
    let variables = [("port", "2"), ("vip_interface", "eth0"), ("cp_enable", "true")];
    let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let layers = Layers { file, ..Layers::new(flags, &variables) };
    for (precedence, port, origin) in
        [(Precedence::FlagsFirst, 3, Origin::Flag), (Precedence::EnvironmentFirst, 2, Origin::Environment)]
    {
        let resolved = resolve(layers.clone(), precedence, &host()).expect("settings that work");
        assert_eq!(resolved.config.port, port);
        assert_eq!(resolved.config.vips.len(), 2, "a list is the same as commas");
        let effective = |name| {
            resolved.effective.iter().find(|one| one.setting == name).expect("every setting is listed")
        };
        assert_eq!(effective("port").origin, origin);
        let node = effective("vip_nodename");
        assert_eq!((node.value.as_str(), node.origin), ("file", Origin::File));
        assert_eq!(node.written_as.as_deref(), Some("f.yaml: vip_nodename"));
        let interface = effective("vip_leaseduration");
        assert_eq!((interface.value.as_str(), interface.origin), ("15", Origin::Default));
    }
}

#[test]
fn what_a_file_cannot_say_is_refused_with_its_key() {
    let cases = [
        (
            r#"{"adress": "10.0.0.100"}"#,
            r#"f.yaml: adress="(not shown)": there is no such setting; remove it, or did you mean address?"#,
        ),
        (
            r#"{"port": [[1]]}"#,
            r#"f.yaml: port="[[1]]": neither a text nor a list of texts; write one value, or a list of them"#,
        ),
        (
            r#"{"bgpConfig": {"peers": [{"address": "192.0.2.1"}]}}"#,
            r#"f.yaml: bgpConfig.peers="(not shown)": there is no such setting; remove it, or did you mean bgppeers?"#,
        ),
        (
            r#"{"arp": true, "vip_arp": true}"#,
            r#"f.yaml: vip_arp="true": it is said twice; remove it, or remove f.yaml: arp"#,
        ),
        (
            r#"{"config_file": "g.yaml"}"#,
            r#"f.yaml: config_file="(not shown)": a file cannot name another; remove it, and put everything into one file"#,
        ),
    ];
    for (json, line) in cases {
        let mapping: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let refused =
            file::layer("f.yaml", mapping.as_object().expect("a mapping")).expect_err(line).to_string();
        assert_eq!(refused, line);
    }
}

#[test]
fn kube_vips_own_file_is_understood() {
    let yaml = "enableARP: true\nENABLECONTROLPLANE: true\nvip: ''\naddress: 10.0.0.100\ninterface: eth0\nrenewDeadline: 8\n\
                leaseAnnotations: {team: network}\ncontrolPlaneHealthCheck:\n  periodSeconds: 2\nbgpConfig: {AS: 65001, zebra: {version: 5}}\n";
    let documents = file::documents(yaml).expect("YAML");
    let file =
        file::layer("f.yaml", documents[0].as_object().expect("a mapping")).expect("a file's settings");
    let config = resolve(Layers { file, ..Layers::default() }, Precedence::FlagsFirst, &host())
        .expect("settings that work")
        .config;
    assert_eq!(config.timing.renew_deadline, Duration::from_secs(8));
    assert_eq!(config.features.lease_annotations["team"], "network");
    assert_eq!(config.features.health_check.period, Duration::from_secs(2));
    assert_eq!(config.features.bgp.local_as, 65_001);
    let report = check("f.yaml", yaml).expect("a file that can be read");
    assert!(report.parts[0].settings.iter().all(|row| row.verdict != "unknown"), "{report:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_the_name_it_was_given() {
    let scratch = crate::testing::Scratch::new("config");
    let path = scratch.path().join("c.yaml");
    let mut layers = flags(Key::ConfigFile, path.to_str().expect("a name in UTF-8"));
    let mut read = || read_file(&mut layers, Precedence::FlagsFirst).map_err(|refused| refused.to_string());
    let missing = read().expect_err("there is no file");
    assert!(missing.starts_with("--config-file=") && missing.contains("it cannot be read"), "{missing}");
    for (text, says) in
        [("a: [", "it is no YAML"), ("- a", "it is no mapping"), ("a: 1\n---\nb: 2\n", "2 documents")]
    {
        std::fs::write(&path, text).expect("written");
        let refused = read().expect_err(says);
        assert!(refused.contains(says) && refused.lines().count() == 1, "{refused}");
    }
    std::fs::write(&path, "# nothing\n").expect("written");
    read().expect("a file without settings");
}
