//! Reports of small manifests; those of deploy/compat are checked by the command's own tests.

use super::*;

fn part(yaml: &str) -> CheckedPart {
    check("f.yaml", yaml).expect("a file that can be read").parts.remove(0)
}

/// A Pod whose one container has this environment and these arguments, each in YAML.
fn pod(environment: &str, arguments: &str) -> CheckedPart {
    part(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: kube-vip, namespace: kube-system}}\n\
         spec:\n  containers:\n  - name: kube-vip\n    args: {arguments}\n    env: {environment}\n"
    ))
}

const GOOD: &str = "{name: address, value: 192.0.2.10}, {name: vip_arp, value: 'true'}, {name: cp_enable, value: 'true'}, \
                    {name: vip_interface, value: eth0}";

fn good_and(more: &str) -> String {
    format!("[{GOOD}, {more}]")
}

fn find<'a>(part: &'a CheckedPart, name: &str) -> &'a CheckedSetting {
    part.settings.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name} in {part:?}"))
}

#[test]
fn what_works_is_fine() {
    let part = pod(&format!("[{GOOD}]"), "[manager]");
    assert_eq!(part.name, "Pod kube-system/kube-vip, container kube-vip");
    assert!(part.is_fine(), "{part:?}");
    assert_eq!(find(&part, "vip_arp").verdict, "works");
}

#[test]
fn each_setting_has_its_verdict() {
    let more = "{name: vip_cidr, value: '24'}, {name: vip_ddns, value: 'false'}, {name: bgp_as, value: '65001'}, \
                {name: bgp_peerpass, value: hunter2}, {name: vip_interfce, value: x}, {name: port, value: '0'}, {name: TZ, value: UTC}";
    let part = pod(&good_and(more), "[manager, --arp, --lbPort=6443]");
    let of = |name| {
        let row = find(&part, name);
        (row.verdict.as_str(), row.fine)
    };
    assert_eq!(of("vip_cidr"), ("accepted", true));
    assert_eq!(of("vip_ddns"), ("not yet", true), "at its default it asks for nothing");
    assert_eq!(of("bgp_as"), ("not yet", false));
    assert_eq!(
        (of("bgp_peerpass"), find(&part, "bgp_peerpass").value.as_str()),
        (("not yet", false), "(secret)")
    );
    assert_eq!(of("vip_interfce"), ("unknown", false));
    assert!(find(&part, "vip_interfce").note.contains("vip_interface"));
    assert_eq!(of("port"), ("refused", false));
    assert_eq!(of("TZ"), ("ignored", true));
    assert_eq!(of("--arp"), ("works", true));
    assert_eq!(of("--lbPort"), ("works", true));
    assert!(!part.is_fine());
}

#[test]
fn no_row_tells_a_secret() {
    let environments = [
        "[{name: BGPPW, value: hunter2}, {name: bgp_peerpass, value: $(BGPPW)}]",
        "[{name: N, value: x}, {name: bgp_peers, value: '192.0.2.1:65000:hunter2$(N)'}]",
        "[{name: bgp_peerpas, value: hunter2}]",
        "[{name: bgp_peerpas, value: 'hunter2$(N)'}]",
        "[{name: bgp_peerpass, value: hunter2}, {name: bgp_peerpass, value: hunter3}]",
        "[{name: TZ, value: hunter2}]",
    ];
    for environment in environments {
        let part = pod(environment, "[manager, --peerPass, hunter4]");
        assert!(!format!("{part:?}").contains("hunter"), "{part:?}");
    }
    let arguments = [
        "[manager, --peerPas=hunter2]",
        "[manager, --peerPas, hunter2]",
        "[--peerPas, hunter2, manager]",
        "[manager, --peerPass, a, hunter2]",
        "[manager, --peerPass=hunter2]",
    ];
    for arguments in arguments {
        let part = pod(&format!("[{GOOD}]"), arguments);
        assert!(!format!("{part:?}").contains("hunter"), "{part:?}");
        assert!(!part.is_fine() && part.problems.is_empty(), "{part:?}");
    }
    let misspelt = pod(&format!("[{GOOD}]"), "[--peerPas, manager]");
    assert_eq!((find(&misspelt, "--peerPas").value.as_str(), misspelt.problems.len()), ("(not shown)", 0));
}

#[test]
fn what_is_in_force_follows_the_commands_precedence() {
    let more = "{name: port, value: '6444'}, {name: vip_arpRate, value: '100'}";
    let manager = pod(&good_and(more), "[manager, --port, '6445']");
    assert_eq!(find(&manager, "port").effective, "6444");
    assert_eq!(manager.remarks, [r#"port="6444" is used and --port="6445" is not: set one of them only"#]);
    assert_eq!(find(&manager, "vip_arpRate").effective, "3000");
    let run = pod(&good_and(more), "[run, --port, '6445']");
    assert_eq!((find(&run, "--port").effective.as_str(), run.remarks.len()), ("6445", 0));
}

#[test]
fn settings_that_contradict_each_other_are_refused_where_they_stand() {
    let part = pod(&good_and("{name: vip_leaseduration, value: '5'}"), "[manager]");
    let row = find(&part, "vip_leaseduration");
    assert_eq!(
        (row.verdict.as_str(), row.note.as_str()),
        ("refused", "not longer than vip_renewdeadline=10; write at least 11")
    );
    let nothing = pod("[{name: vip_arp, value: 'true'}]", "[manager]");
    assert_eq!(
        nothing.problems,
        [r#"cp_enable="false": there is nothing to hold a VIP for; set cp_enable to true, or svc_enable"#]
    );
    let idle = pod(&format!("[{GOOD}]"), "[]");
    assert_eq!(idle.problems, ["args: no command runs no agent; write manager as the first argument"]);
}

#[test]
fn a_value_from_elsewhere_is_said_to_be() {
    let more = "{name: vip_nodename, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}, \
                {name: bgp_peers, valueFrom: {secretKeyRef: {name: s, key: k}}}, \
                {name: vip_leasename, valueFrom: {configMapKeyRef: {name: m, key: l}}}, \
                {name: HOST, value: a}, {name: kubernetes_addr, value: 'https://$(HOST):6443'}";
    let part = pod(&good_and(more), "[manager]");
    assert_eq!(find(&part, "vip_nodename").effective, "(the Pod's field spec.nodeName)");
    assert!(find(&part, "vip_nodename").fine);
    assert_eq!(find(&part, "bgp_peers").value, "(key k of Secret s)");
    assert_eq!(find(&part, "vip_leasename").value, "(key l of ConfigMap m)");
    assert_eq!(find(&part, "kubernetes_addr").value, "(https://$(HOST):6443, put in by the kubelet)");
    assert_eq!(find(&part, "HOST").verdict, "ignored");
}

#[test]
fn of_two_of_one_name_the_last_counts() {
    let part = pod(&good_and("{name: port, value: '1'}, {name: port, value: '2'}"), "[manager]");
    assert_eq!(part.remarks, ["port is set twice: the container gets the last"]);
    assert_eq!(find(&part, "port").effective, "2");
}

#[test]
fn templates_lists_and_several_documents_are_gone_through() {
    let report = check(
        "f.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: kube-vip}\n---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: DaemonSet\n  metadata: {name: ds}\n  spec: {template: {spec: {containers: \
         [{name: side}, {name: a, image: ghcr.io/kube-vip/kube-vip:v1, args: [manager], envFrom: [{configMapRef: {name: m}}]}]}}}\n---\n",
    )
    .unwrap();
    assert_eq!(report.without_settings, ["ServiceAccount kube-vip"]);
    let names: Vec<_> = report.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["DaemonSet ds, container a"]);
    let remarks = &report.parts[0].remarks;
    assert_eq!(
        *remarks,
        [
            "what ConfigMap m sets is not seen here",
            "not decided here: cp_enable may come from ConfigMap m",
            "not decided here: vip_arp may come from ConfigMap m",
            "not decided here: address may come from ConfigMap m",
        ]
    );
    assert!(report.is_fine(), "{report:?}");
}

#[test]
fn what_hangs_on_a_value_from_elsewhere_is_not_decided() {
    let from = |name: &str| format!("{{name: {name}, valueFrom: {{configMapKeyRef: {{name: m, key: k}}}}}}");
    let good = |without: &str| {
        let all = [("address", "192.0.2.9"), ("vip_arp", "'true'"), ("cp_enable", "'true'")];
        let kept = all.iter().filter(|(name, _)| *name != without);
        kept.map(|(name, value)| format!("{{name: {name}, value: {value}}}, ")).collect::<String>()
    };
    for name in ["cp_enable", "vip_arp", "address"] {
        let part = pod(&format!("[{}{}]", good(name), from(name)), "[manager]");
        assert!(part.is_fine(), "{part:?}");
        assert_eq!(part.remarks, [format!("not decided here: {name} comes from key k of ConfigMap m")]);
        assert_eq!(find(&part, name).effective, "(key k of ConfigMap m)", "nothing invented is shown");
        // The rest is judged all the same.
        let more = format!("[{}{}, {{name: vip_leaseduration, value: '5'}}]", good(name), from(name));
        assert_eq!(find(&pod(&more, "[manager]"), "vip_leaseduration").verdict, "refused");
    }
    let renew = "{name: vip_renewdeadline, value: '20'}";
    let part = pod(&good_and(&format!("{renew}, {}", from("vip_leaseduration"))), "[manager]");
    assert_eq!(part.remarks, ["not decided here: vip_leaseduration comes from key k of ConfigMap m"]);
    assert!(part.is_fine() && find(&part, "vip_renewdeadline").effective == "20", "{part:?}");
    let flag = pod(&format!("[{}]", good("address")), "[manager, '--address=$(VIP)']");
    assert_eq!(flag.remarks, ["not decided here: --address is put together by the kubelet"]);
    assert!(flag.is_fine(), "{flag:?}");
}

#[test]
fn what_is_no_text_is_a_problem_as_for_kubernetes() {
    let part = pod(&good_and("{name: port, value: 6443}, {name: bgp_peerpass, value: 4711}"), "[manager, 5]");
    assert_eq!(
        part.problems,
        [
            "env port: its value is no text; put it in quotes",
            "env bgp_peerpass: its value is no text; put it in quotes",
            "argument 2: it is no text; put it in quotes",
        ]
    );
    assert!(!pod(&good_and("{name: vip_ddns, value: false}"), "[manager]").is_fine());
}

#[test]
fn the_cloud_provider_is_no_agent() {
    let provider = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: kube-vip-cloud-provider}\n\
                    spec: {template: {spec: {containers: [{name: c, image: ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.12}]}}}\n";
    let report = check("f.yaml", provider).expect("a file that can be read");
    assert_eq!(report.without_settings, ["Deployment kube-vip-cloud-provider"]);
    assert!(report.parts.is_empty());
}

#[test]
fn a_configuration_file_is_checked_as_it_is_read() {
    let good = part("address: 192.0.2.10\narp: true\ncontrolplane: true\ninterface: eth0\n");
    assert!(good.is_fine(), "{good:?}");
    assert_eq!(find(&good, "f.yaml: address").effective, "192.0.2.10");
    let bad = part("address: 192.0.2.10\narp: true\ncontrolplane: true\nadress: x\nbgp: true\n");
    assert_eq!(find(&bad, "f.yaml: adress").verdict, "unknown");
    assert_eq!((find(&bad, "f.yaml: bgp").verdict.as_str(), bad.is_fine()), ("not yet", false));
}

#[test]
fn what_cannot_be_read_says_so_in_one_line() {
    for (yaml, says) in [("", "there is nothing in it"), ("a: [", "it is no YAML"), ("- a\n", "no mapping")] {
        let unreadable = check("f.yaml", yaml).unwrap_err().to_string();
        assert!(unreadable.starts_with("f.yaml: ") && unreadable.contains(says), "{unreadable}");
        assert_eq!(unreadable.lines().count(), 1, "{unreadable}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", name in "[a-z_]{1,12}", argument in "-{0,3}[a-zA-Z=]{0,12}") {
        let _ = check("f.yaml", &text);
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let _ = pod(&format!("[{{name: {name}, value: {}}}]", quoted(&text)), &format!("[manager, {}]", quoted(&argument)));
    }
}
