//! This node: its name, its access to the API servers, its log and its ports.

use super::{Key, Kind, Setting, number};
use crate::config::value;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Key::NodeName,
        &["vip_nodename"],
        &["nodeName"],
        Kind::Formed("NAME", |text| value::given(&text.to_lowercase(), value::kubernetes_name)),
    )
    .works("This node's name, the Lease's holder identity [default: the host's name]"),
    Setting::new(Key::NodeLabeling, &["enable_node_labeling"], &["enableNodeLabeling"], Kind::Switch)
        .works(
            "Label the node that holds the control plane's VIP with kube-vip.io/has-ip=ADDRESS: its first one, an IPv6 \
             address as 32 hexadecimal digits. Needs the verb patch on nodes, which `mainstay manifest rbac \
             --enableNodeLabeling` grants; no VIP depends on it",
        ),
    Setting::new(
        Key::InstanceName,
        &["instance_name", "INSTANCE_NAME"],
        &["instanceName"],
        Kind::Formed("NAME", value::instance_name),
    )
    .not_yet(
        "Tells apart several agents on one host, in the names of nftables tables",
        "egress and its tables are not built yet",
    ),
    Setting::new(Key::Kubeconfig, &["k8s_config_file"], &["k8sConfigPath"], Kind::Text("FILE"))
        .in_file("k8sConfigFile")
        .else_is("/etc/kubernetes/admin.conf")
        .works("The kubeconfig; where the default is absent, $HOME/.kube/config, then in-cluster access"),
    Setting::new(
        Key::KubernetesAddress,
        &["kubernetes_addr"],
        &["kubernetesAddr"],
        Kind::Formed("URL", |text| value::given(text, value::server)),
    )
    .works("An API server to use in place of the kubeconfig's"),
    Setting::new(Key::ConfigFile, &["config_file"], &["config-file", "config"], Kind::Text("FILE"))
        .works("A YAML file of settings, which environment and flags override"),
    Setting::new(Key::ConfigMap, &["vip_configmap"], &["configMap"], Kind::Text("NAME")).accepted(
        "The ConfigMap of kube-vip's old service mode",
        "without effect, as in today's kube-vip: Services are found in the API",
    ),
    Setting::new(Key::LogLevel, &["vip_loglevel"], &["log"], number("LEVEL", -100, 100))
        .in_file("logging")
        .else_is("0")
        .works("-4 debug, 0 information, 4 warnings, 8 errors"),
    Setting::new(
        Key::Metrics,
        &["prometheus_server"],
        &["prometheusHTTPServer"],
        Kind::Formed("[IP]:PORT", |text| value::given(text, value::listen)),
    )
    .else_is(":2112")
    .may_be_empty()
    .works("Where /metrics, /healthz and /readyz are served; empty switches them off"),
    Setting::new(
        Key::HealthPort,
        &["health_check_port"],
        &["healthCheckPort"],
        Kind::Formed("PORT", |text| value::given(text, value::health_port)),
    )
    .else_is("0")
    .works("A port of its own for /healthz and /readyz, at least 1024; 0 is none"),
];
