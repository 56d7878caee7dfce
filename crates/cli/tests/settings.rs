//! The binary refuses what cannot work: one line on stderr, nothing on stdout, exit code 2.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Scratch;

fn mainstay(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

const GOOD: &[(&str, &str)] = &[("address", "192.0.2.10"), ("cp_enable", "true"), ("vip_arp", "true")];

/// `ARPHRD_ETHER` (if_arp.h), as the kernel writes it.
const ETHERNET: &str = "1";

/// An interface of this host's that could wear a VIP: nothing is done to it, for nothing here gets so far.
fn interface() -> String {
    let names = std::fs::read_dir("/sys/class/net").expect("a kernel that shows its interfaces");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let kind = |name: &String| std::fs::read_to_string(format!("/sys/class/net/{name}/type"));
    let ethernet = |name: &String| kind(name).is_ok_and(|kind| kind.trim() == ETHERNET);
    names.filter(ethernet).min().expect("a host with an Ethernet interface")
}

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let interface = interface();
    let first = [("vip_interface", interface.as_str())];
    let all: Vec<_> = first.iter().chain(GOOD).chain(variables).copied().collect();
    let output = mainstay(arguments, &all);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said.trim_end().to_owned()
}

#[test]
fn what_cannot_work_is_refused_with_one_line_and_exit_code_2() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "address",
            "10.0.0.300",
            r#"mainstay: address="10.0.0.300": "10.0.0.300" is no IP address and no DNS name; write an unused IPv4 or IPv6 address of the interface's network, such as 192.0.2.10"#,
        ),
        (
            "port",
            "70000",
            r#"mainstay: port="70000": no whole number in the range allowed; write a whole number from 1 to 65535"#,
        ),
        (
            "vip_leaseduration",
            "10",
            r#"mainstay: vip_leaseduration="10": not longer than vip_renewdeadline=10; write at least 11"#,
        ),
    ];
    for (name, value, line) in cases {
        for command in ["run", "manager"] {
            assert_eq!(refused(&[command], &[(name, value)]), *line);
        }
    }
}

#[test]
fn an_interface_that_does_not_exist_is_answered_with_those_that_do() {
    let said = refused(&["run", "--interface", "nosuch0"], &[]);
    let begins = r#"mainstay: --interface="nosuch0": there is no such interface on this host; set vip_interface to one of: "#;
    let interfaces = said.strip_prefix(begins).unwrap_or_else(|| panic!("{said}"));
    let offered: Vec<&str> = interfaces.split(", ").collect();
    assert!(offered.contains(&interface().as_str()) && !offered.contains(&"lo"), "{said}");
}

#[test]
fn flags_win_for_run_and_the_environment_for_manager() {
    let arguments = |command| [command, "--port", "70001"];
    assert!(refused(&arguments("run"), &[("port", "70002")]).contains(r#"--port="70001""#));
    assert!(refused(&arguments("manager"), &[("port", "70002")]).contains(r#": port="70002""#));
}

#[test]
fn switches_stand_alone_or_carry_a_value() {
    assert!(refused(&["run", "--arp=false"], &[]).contains(r#"--arp="false""#));
    assert!(refused(&["run", "--arp", "--port", "0"], &[("vip_arp", "false")]).contains("--port"));
}

#[test]
fn help_teaches_and_versions_are_data() {
    let help = String::from_utf8(mainstay(&["run", "--help"], &[]).stdout).unwrap();
    for word in ["--leaseRenewDuration", "vip_renewdeadline", "[default: 10]", "Smallest complete call"] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
    let json = mainstay(&["version", "-o", "json"], &[]);
    let version: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(version["apiVersion"], "mainstay.io/v1");
    assert_eq!(version["kind"], "Version");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json.status.code(), Some(0));
}

#[test]
fn a_status_without_an_agent_fails_and_says_what_to_look_at() {
    let output = mainstay(&["status", "--socket", "/nonexistent/agent.sock"], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("/nonexistent/agent.sock") && said.contains("--socket"), "{said}");
}

/// The manifests of deploy/compat: those whose every setting is done, and those that ask for more.
const COMPATIBLE: &[(&str, i32)] = &[
    ("pod-arp-controlplane.yaml", 0),
    ("pod-arp-controlplane-vip-cidr.yaml", 0),
    ("pod-arp-controlplane-dual-stack.yaml", 0),
    ("daemonset-arp-controlplane-services.yaml", 0),
    ("daemonset-arp-services.yaml", 0),
    ("daemonset-bgp-controlplane-services.yaml", 1),
    ("rbac.yaml", 0),
];

fn compat() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/compat")
}

#[test]
fn kube_vips_manifests_are_understood_without_an_unknown_setting() {
    let there = std::fs::read_dir(compat()).unwrap().count();
    assert_eq!(there, COMPATIBLE.len(), "each file of deploy/compat has its line here");
    for (file, code) in COMPATIBLE {
        let path = compat().join(file);
        let output = mainstay(&["config", "check", "-o", "json", path.to_str().unwrap()], &[]);
        assert_eq!(output.status.code(), Some(*code), "{file}: {}", String::from_utf8_lossy(&output.stdout));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["kind"], "CheckReport");
        for part in report["parts"].as_array().unwrap() {
            for setting in part["settings"].as_array().unwrap() {
                assert_ne!(setting["verdict"], "unknown", "{file}: {setting}");
                let refused = setting["verdict"] == "refused";
                assert!(!refused || *code == 1, "{file}: {setting}");
            }
        }
    }
}

#[test]
fn a_check_shows_each_setting_and_what_is_in_force() {
    let path = compat().join("pod-arp-controlplane.yaml");
    let output = mainstay(&["config", "check", path.to_str().unwrap()], &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Pod kube-system/kube-vip, container kube-vip\n"), "{said}");
    assert!(said.ends_with("All is well.\n"), "{said}");
    for word in ["(the Pod's field spec.nodeName)", "vip_subnet", "accepted", "192.168.0.40"] {
        assert!(said.contains(word), "{word} is missing in:\n{said}");
    }
}

#[test]
fn a_file_that_cannot_be_checked_is_exit_code_2_and_one_line() {
    for file in ["/nonexistent/kube-vip.yaml", env!("CARGO_BIN_EXE_mainstay")] {
        let output = mainstay(&["config", "check", file], &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.starts_with(&format!("mainstay: {file}: ")), "{said}");
    }
}

#[test]
fn the_reference_is_printed_as_it_is_committed() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let output = mainstay(&["config", "reference"], &[]);
    let printed = String::from_utf8(output.stdout).expect("text");
    let committed = std::fs::read_to_string(committed).expect("the file");
    let differs = printed.lines().zip(committed.lines()).find(|(printed, committed)| printed != committed);
    assert_eq!(differs, None, "run `mainstay config reference > docs/configuration.md`");
    assert_eq!(printed.len(), committed.len(), "run `mainstay config reference > docs/configuration.md`");
}

#[test]
fn a_file_of_settings_is_read_below_flags_and_environment() {
    let scratch = Scratch::new("settings");
    let file = scratch.0.join("mainstay.yaml");
    std::fs::write(&file, "port: 70001\nleaseDuration: 20\n").unwrap();
    let path = file.to_str().unwrap();
    let named = format!(r#"mainstay: {path}: port="70001": no whole number"#);
    assert!(refused(&["run", "--config", path], &[]).starts_with(&named));
    assert!(refused(&["manager"], &[("config_file", path)]).starts_with(&named));
    assert!(refused(&["run", "--config", path, "--port", "70002"], &[]).contains(r#"--port="70002""#));
    assert!(refused(&["run", "--config", path], &[("port", "70003")]).contains(r#": port="70003""#));
    let other = [("config_file", "/nonexistent.yaml")];
    assert!(refused(&["run", "--config", path], &other).starts_with(&named), "the flag's file");
    assert!(refused(&["manager", "--config", path], &other).contains(r#"config_file="/nonexistent.yaml""#));
    std::fs::write(&file, "prot: 6443\n").unwrap();
    assert_eq!(
        refused(&["run", "--config", path], &[]),
        format!(
            r#"mainstay: {path}: prot="(not shown)": there is no such setting; remove it, or did you mean port?"#
        )
    );
}
