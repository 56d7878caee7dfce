//! What `mainstay manifest` prints: accepted by `mainstay config check`, and with no privilege that is not used.

use std::process::{Command, Output};

use serde_json::{Value, json};

const SETTINGS: [&str; 6] = [
    "--interface=eth0",
    "--address=192.0.2.10",
    "--controlplane",
    "--arp",
    "--leaderElection",
    "--leaseDuration=20",
];

fn mainstay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainstay")).args(args).output().expect("it runs")
}

fn printed(kind: &str, more: &[&str]) -> Value {
    let output = mainstay(&[&["manifest", kind], &SETTINGS[..], more].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    serde_saphyr::from_slice(&output.stdout).expect("YAML")
}

fn variable<'a>(container: &'a Value, name: &str) -> &'a Value {
    let all = container["env"].as_array().expect("an environment");
    all.iter().find(|variable| variable["name"] == name).expect(name)
}

#[test]
fn a_static_pod_has_its_settings_and_two_capabilities() {
    let pod = printed("pod", &[]);
    let container = &pod["spec"]["containers"][0];
    assert_eq!((&pod["kind"], &container["args"][0]), (&"Pod".into(), &"manager".into()));
    for (name, value) in [("address", "192.0.2.10"), ("vip_interface", "eth0"), ("vip_leaseduration", "20")] {
        assert_eq!(variable(container, name)["value"], value);
    }
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 35, "the lease's 20 s, and 15 s more");
    assert_eq!(variable(container, "vip_nodename")["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"]["add"], json!(["NET_ADMIN", "NET_RAW"]));
    let of = |more: &[&str]| {
        let pod = printed("pod", more);
        pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"].clone()
    };
    assert_eq!(of(&["--realtime=false"]), json!(["NET_ADMIN", "NET_RAW"]));
    assert_eq!(of(&["--realtime"]), json!(["NET_ADMIN", "NET_RAW", "SYS_NICE", "IPC_LOCK"]));
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    let paths: Vec<_> = pod["spec"]["volumes"].as_array().expect("volumes").iter().collect();
    let paths: Vec<_> = paths.iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
    assert_eq!(paths, ["/var/lib/mainstay", "/run/mainstay", "/etc/kubernetes/admin.conf"]);
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
}

#[test]
fn a_daemonset_uses_its_service_account() {
    let daemonset = printed("daemonset", &["--taint", "--image=example.org/mainstay:1"]);
    let spec = &daemonset["spec"]["template"]["spec"];
    assert_eq!(spec["serviceAccountName"], "mainstay");
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(spec["containers"][0]["image"], "example.org/mainstay:1");
    let security = &spec["containers"][0]["securityContext"];
    assert_eq!((&security["runAsUser"], &security["runAsNonRoot"]), (&65532.into(), &true.into()));
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(security["capabilities"]["add"], serde_json::json!(["NET_ADMIN", "NET_RAW"]));
    assert_eq!(security["allowPrivilegeEscalation"], false);
    let volumes = spec["volumes"].as_array().expect("volumes");
    assert!(
        volumes.iter().all(|volume| volume["emptyDir"].is_object()),
        "nothing of the host's: {volumes:?}"
    );
    let labels = &daemonset["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&daemonset["spec"]["selector"]["matchLabels"], labels);
}

#[test]
fn what_an_agent_would_refuse_is_not_printed() {
    let output = mainstay(&[
        "manifest",
        "pod",
        "--interface=eth0",
        "--address=192.0.2.300",
        "--controlplane",
        "--arp",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("192.0.2.300"), "{errors}");
}

#[test]
fn permissions_are_those_that_the_laboratory_runs_agents_with() {
    let output = mainstay(&["manifest", "rbac"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("../../../manifests/rbac.yaml"));
}

/// The namespace and name of each object, and the names that its rules are for.
fn permissions(args: &[&str]) -> Vec<(String, Option<String>, Vec<Value>)> {
    let output = mainstay(&[&["manifest", "rbac"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let one = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let names =
            object["rules"].as_array().into_iter().flatten().map(|rule| rule["resourceNames"].clone());
        (kind, object["metadata"]["namespace"].as_str().map(str::to_owned), names.collect())
    };
    objects.iter().map(one).collect()
}

#[test]
fn another_lease_is_permitted_where_it_is() {
    let default = permissions(&[]);
    let another = permissions(&["--leaseName=vips/other"]);
    let changed: Vec<_> = another.iter().zip(&default).filter(|(one, other)| one != other).collect();
    let (role, binding) = (&changed[0].0, &changed[1].0);
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!((role.0.as_str(), role.1.as_deref()), ("Role", Some("vips")));
    assert_eq!(role.2, [json!(["other"]), Value::Null], "a creation cannot be allowed by name");
    assert_eq!((binding.0.as_str(), binding.1.as_deref()), ("RoleBinding", Some("vips")));
    assert_eq!(permissions(&["--leaseName=kube-system/plndr-cp-lock"]), default);
    for odd in ["null", "123", "true"] {
        let role = permissions(&[&format!("--leaseName={odd}/{odd}")]).swap_remove(1);
        assert_eq!(role, ("Role".to_owned(), Some(odd.to_owned()), vec![json!([odd]), Value::Null]));
    }

    let in_vain = mainstay(&["manifest", "rbac", "--namespace=vips"]);
    assert!(in_vain.status.success());
    let warning = String::from_utf8_lossy(&in_vain.stderr).into_owned();
    assert!(warning.contains("give --leaseName=vips/NAME"), "{warning}");
    assert_eq!(in_vain.stdout, mainstay(&["manifest", "rbac"]).stdout);
    let refused = mainstay(&["manifest", "rbac", "--leaseName=Not A Name"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
}

#[test]
fn kubeadms_steps_print_the_static_pod() {
    let print = |words: &[&str]| mainstay(&[words, &SETTINGS[..]].concat()).stdout;
    let pod = print(&["manifest", "pod"]);
    assert!(!pod.is_empty());
    assert_eq!(print(&["kubeadm", "init"]), pod);
    assert_eq!(print(&["kubeadm", "join"]), pod);
}

/// What a manifest grants: each rule's group, resource and verbs.
fn granted(args: &[&str]) -> Vec<String> {
    let output = mainstay(&[&["manifest", "rbac"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let rules = objects.iter().filter_map(|object| object["rules"].as_array()).flatten();
    rules.map(|rule| format!("{} {} {}", rule["apiGroups"], rule["resources"], rule["verbs"])).collect()
}

#[test]
fn nodes_may_be_patched_only_where_they_are_labelled() {
    let nodes = r#"[""] ["nodes"] ["patch"]"#;
    let without = granted(&[]);
    assert!(!without.iter().any(|rule| rule.contains("nodes")), "{without:?}");
    assert_eq!(granted(&["--enableNodeLabeling=false"]), without);
    let with = granted(&["--enableNodeLabeling"]);
    assert_eq!(with.split_last(), Some((&nodes.to_owned(), &without[..])), "that, and nothing else");
    let refused = mainstay(&["manifest", "rbac", "--enableNodeLabeling=perhaps"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
}

#[test]
fn dead_nodes_may_be_written_on_only_where_they_are_reported() {
    let (without, held) = (granted(&[]), granted(&["--services"]));
    assert_eq!(granted(&["--reportNodeFailure"]), without, "only where Services are held");
    let with = granted(&["--services", "--reportNodeFailure"]);
    assert_eq!(with[..held.len()], held[..]);
    assert_eq!(
        with[held.len()..],
        [
            r#"[""] ["nodes"] ["get"]"#,
            r#"[""] ["pods"] ["list"]"#,
            r#"[""] ["nodes/status","pods/status"] ["patch"]"#
        ]
    );
}

#[test]
fn services_are_permitted_only_where_they_are_held() {
    let without = granted(&[]);
    let with = granted(&["--services"]);
    assert_eq!(with[..without.len()], without[..]);
    let more = &with[without.len()..];
    for rule in [
        r#"[""] ["services","nodes"] ["list","watch"]"#,
        r#"["discovery.k8s.io"] ["endpointslices"] ["list","watch"]"#,
        r#"[""] ["services","services/status"] ["patch"]"#,
        r#"[""] ["events"] ["create"]"#,
        r#"["coordination.k8s.io"] ["leases"] ["get","list","watch","update"]"#,
    ] {
        assert!(more.iter().any(|one| one == rule), "{rule}: {more:?}");
    }
    let all_leases = r#"["coordination.k8s.io"] ["leases"] ["get","list","watch","create","update"]"#;
    assert!(!with.iter().any(|one| one == all_leases), "{with:?}");
    let spread = granted(&["--services", "--servicesElection"]);
    // And whether kube-vip still holds a Service, by its own Lease of it, in whatever namespace.
    let of_kube_vip = r#"["coordination.k8s.io"] ["leases"] ["list"]"#;
    assert_eq!(
        (&spread[..with.len()], &spread[with.len()..]),
        (&with[..], &[all_leases, of_kube_vip].map(str::to_owned)[..])
    );
    assert_eq!(granted(&["--servicesElection"]), without, "only where Services are held");
    let elsewhere = permissions(&["--services", "--servicesLeaseName=vips/other"]);
    let default = permissions(&["--services"]);
    let changed: Vec<_> = elsewhere.iter().zip(&default).filter(|(one, other)| one != other).collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    let role = ("Role".to_owned(), Some("vips".to_owned()), vec![json!(["other"]), Value::Null]);
    assert_eq!(*changed[0].0, role);
}
