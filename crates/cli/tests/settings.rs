//! The binary refuses what cannot work: one line on stderr, nothing on stdout, exit code 2.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]
use std::process::{Command, Output};

fn mainstay(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

const GOOD: &[(&str, &str)] =
    &[("vip_interface", "lo"), ("address", "192.0.2.10"), ("cp_enable", "true"), ("vip_arp", "true")];

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let all: Vec<_> = GOOD.iter().chain(variables).copied().collect();
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
            r#"mainstay: address="10.0.0.300": "10.0.0.300" is no IP address; write an unused IPv4 or IPv6 address of the interface's network, such as 192.0.2.10"#,
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
    assert!(interfaces.split(", ").any(|name| name == "lo"), "{said}");
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
