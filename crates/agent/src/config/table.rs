//! The one table of settings. Flags, environment, defaults, help and (later) the reference page come from it.

/// Names one setting in the code.
#[expect(missing_docs, reason = "the table below says what each is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Interface,
    Address,
    Port,
    Arp,
    ControlPlane,
    Services,
    LeaderElection,
    Namespace,
    LeaseName,
    LeaseDuration,
    RenewDeadline,
    RetryPeriod,
    NodeName,
    ArpRate,
    Subnet,
    Kubeconfig,
    KubernetesAddress,
    Metrics,
    LogLevel,
    LogFormat,
    StateDir,
    AdminSocket,
    OnAuthorityLoss,
    RestartGrace,
    DetectionInterval,
    DetectionMultiplier,
    Witnesses,
    Record,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the code.
    pub key: Key,
    /// Its environment variable, and older names of it.
    pub environment: &'static [&'static str],
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What it is when nobody says.
    pub default: &'static str,
    /// What to write for its value in help; empty for a switch, whose flag may stand alone.
    pub value: &'static str,
    /// What it does, for help.
    pub help: &'static str,
}

impl Setting {
    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.environment.first().copied().unwrap_or_default()
    }

    /// Whether it is on or off, and nothing else.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    /// Whether it is Mainstay's own and not kube-vip's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.variable().starts_with(OWN_PREFIX)
    }
}

/// What the names of Mainstay's own environment variables begin with.
pub const OWN_PREFIX: &str = "MAINSTAY_";

/// The setting of that key.
#[must_use]
pub fn setting(key: Key) -> &'static Setting {
    &SETTINGS[key as usize]
}

const fn own(
    key: Key,
    environment: &'static [&'static str],
    flag: &'static str,
    default: &'static str,
) -> Setting {
    Setting { key, environment, flag, default, value: "", help: "" }
}

impl Setting {
    const fn takes(self, value: &'static str, help: &'static str) -> Self {
        Self { value, help, ..self }
    }

    const fn switches(self, help: &'static str) -> Self {
        Self { help, ..self }
    }
}

/// Every setting, in the order of [`Key`].
pub const SETTINGS: &[Setting] = &[
    own(Key::Interface, &["vip_interface"], "interface", "")
        .takes("NAME", "The interface that wears the VIP [default: the default route's]"),
    own(Key::Address, &["address", "vip_address"], "address", "")
        .takes("IP[,IP]", "The virtual address, IPv4 or IPv6; several move together"),
    own(Key::Port, &["port"], "port", "6443").takes("PORT", "The port of what the VIP serves"),
    own(Key::Arp, &["vip_arp"], "arp", "false").switches("Announce the VIP on layer 2 (ARP and NDP)"),
    own(Key::ControlPlane, &["cp_enable"], "controlplane", "false")
        .switches("Hold a VIP for the control plane"),
    own(Key::Services, &["svc_enable"], "services", "false")
        .switches("Hold VIPs for Services (accepted, not built yet)"),
    own(Key::LeaderElection, &["vip_leaderelection"], "leaderElection", "false").switches(
        "Let a Kubernetes Lease say who holds the VIP; without it the agents agree on the wire alone",
    ),
    own(Key::Namespace, &["cp_namespace"], "namespace", "kube-system")
        .takes("NAMESPACE", "The Lease's namespace, unless the Pod's service account names one"),
    own(Key::LeaseName, &["vip_leasename"], "leaseName", "plndr-cp-lock")
        .takes("[NAMESPACE/]NAME", "The Lease's name"),
    own(Key::LeaseDuration, &["vip_leaseduration"], "leaseDuration", "15")
        .takes("SECONDS", "How long a grant is good for"),
    own(Key::RenewDeadline, &["vip_renewdeadline"], "leaseRenewDuration", "10")
        .takes("SECONDS", "How long a holder tries to renew before its tenure counts as detached"),
    own(Key::RetryPeriod, &["vip_retryperiod"], "leaseRetry", "2").takes("SECONDS", "Between renewals"),
    own(Key::NodeName, &["vip_nodename"], "nodeName", "")
        .takes("NAME", "This node's name, the Lease's holder identity [default: the host's name]"),
    own(Key::ArpRate, &["vip_arpRate"], "arpRate", "3000")
        .takes("MILLISECONDS", "Between announcements; at least 500"),
    own(Key::Subnet, &["vip_subnet"], "vipSubnet", "")
        .takes("PREFIX", "Accepted for kube-vip's sake: a VIP is always a /32 or a /128"),
    own(Key::Kubeconfig, &["k8s_config_file"], "k8sConfigPath", "/etc/kubernetes/admin.conf").takes(
        "FILE",
        "The kubeconfig; where the default is absent, $HOME/.kube/config, then in-cluster access",
    ),
    own(Key::KubernetesAddress, &["kubernetes_addr"], "kubernetesAddr", "")
        .takes("URL", "An API server to use in place of the kubeconfig's"),
    own(Key::Metrics, &["prometheus_server"], "prometheusHTTPServer", ":2112")
        .takes("[IP]:PORT", "Where /metrics, /healthz and /readyz are served; empty switches them off"),
    own(Key::LogLevel, &["vip_loglevel"], "log", "0")
        .takes("LEVEL", "-4 debug, 0 information, 4 warnings, 8 errors"),
    own(Key::LogFormat, &["MAINSTAY_LOG_FORMAT"], "logFormat", "text")
        .takes("text|json", "A log line's form"),
    own(Key::StateDir, &["MAINSTAY_STATE_DIR"], "stateDir", "/var/lib/mainstay")
        .takes("DIR", "Where the last known state is kept across a restart"),
    own(Key::AdminSocket, &["MAINSTAY_ADMIN_SOCKET"], "adminSocket", "/run/mainstay/agent.sock")
        .takes("PATH", "The Unix socket that `mainstay status` asks"),
    own(Key::OnAuthorityLoss, &["MAINSTAY_ON_AUTHORITY_LOSS"], "onAuthorityLoss", "hold").takes(
        "hold|release_after:DURATION",
        "What a holder does when no API server answers; release_after is for strict singletons",
    ),
    own(Key::RestartGrace, &["MAINSTAY_RESTART_GRACE"], "restartGrace", "10m")
        .takes("DURATION", "How long the VIP outlives an agent that stops while nobody can succeed it"),
    own(Key::DetectionInterval, &["MAINSTAY_DETECTION_INTERVAL"], "detectionInterval", "100ms")
        .takes("DURATION", "Between probes of the holder"),
    own(Key::DetectionMultiplier, &["MAINSTAY_DETECTION_MULTIPLIER"], "detectionMultiplier", "3")
        .takes("COUNT", "How many intervals without an answer are silence"),
    own(Key::Witnesses, &["MAINSTAY_WITNESSES"], "witnesses", "").takes(
        "IP[,IP]",
        "Neighbours whose answer proves that our own link works [default: the interface's gateways]",
    ),
    own(Key::Record, &["MAINSTAY_RECORD"], "record", "").takes(
        "FILE",
        "Record what the agent is given and decides, for `mainstay replay`, up to 1 GiB; the file of the run before \
         becomes FILE.before",
    ),
];

/// Environment variables of kube-vip that Mainstay knows of and does not act on yet.
pub(super) const NOT_BUILT_YET: &[&str] = &[
    "annotation",
    "backend_health_check_interval",
    "bgp_as",
    "bgp_attach_ip_to_interface",
    "bgp_enable",
    "bgp_hold_time",
    "bgp_keepalive_interval",
    "bgp_multihop",
    "bgp_peeras",
    "bgp_peeraddress",
    "bgp_peerpass",
    "bgp_peers",
    "bgp_routerid",
    "bgp_routerinterface",
    "bgp_sourceif",
    "bgp_sourceip",
    "config_file",
    "control_plane_health_check_address",
    "control_plane_health_check_ca_path",
    "control_plane_health_check_failure_threshold",
    "control_plane_health_check_period_seconds",
    "control_plane_health_check_timeout_seconds",
    "cp_detect",
    "dhcp_backoff_attempts",
    "dhcp_mode",
    "disable_service_updates",
    "dns_mode",
    "egress_clean",
    "egress_enableinternalsnat",
    "egress_podcidr",
    "egress_servicecidr",
    "egress_withnftables",
    "enable_endpoints",
    "enable_node_labeling",
    "enable_service_security",
    "enable_upnp",
    "health_check_port",
    "instance_name",
    "iptables_backend",
    "lb_class_legacy_handling",
    "lb_class_name",
    "lb_class_only",
    "lb_enable",
    "lb_fwdmethod",
    "lb_port",
    "mirror_dest_interface",
    "mpbgp_ipv4",
    "mpbgp_ipv6",
    "mpbgp_nexthop",
    "per_service_election_on_demand",
    "svc_election",
    "svc_leasename",
    "svc_namespace",
    "vip_allow_interface_not_up",
    "vip_cleanroutingtable",
    "vip_configmap",
    "vip_ddns",
    "vip_interfaceloglobal",
    "vip_leaseannotations",
    "vip_loseleadership",
    "vip_loseleadership_timeout_seconds",
    "vip_preserve_on_leadership_loss",
    "vip_routingprotocol",
    "vip_routingtable",
    "vip_routingtableid",
    "vip_routingtabletype",
    "vip_servicesinterface",
    "vip_skipdad",
    "vip_wireguard",
    "zebra_enable",
    "zebra_software_name",
    "zebra_url",
    "zebra_version",
];
