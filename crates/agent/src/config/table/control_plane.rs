//! The control plane's VIP: what is behind it.

use super::{Key, Kind, Setting, number};
use crate::config::value;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::ControlPlane, &["cp_enable"], &["controlplane"], Kind::Switch)
        .in_file("enableControlPlane")
        .works("Hold a VIP for the control plane"),
    Setting::new(
        Key::Namespace,
        &["cp_namespace"],
        &["namespace"],
        Kind::Formed("NAMESPACE", |text| value::given(text, value::kubernetes_name)),
    )
    .else_is("kube-system")
    .works("The Lease's namespace, unless the Pod's service account names one"),
    Setting::new(Key::DetectControlPlane, &["cp_detect"], &["autodetectcp"], Kind::Switch)
        .in_file("detectControlPlane")
        .accepted(
            "Look for an API server on this host",
            "that is always so: the local API server is asked first, and the others where it fails",
        ),
    Setting::new(
        Key::HealthAddress,
        &["control_plane_health_check_address"],
        &["controlPlaneHealthCheckAddress"],
        Kind::Formed("URL", |text| value::given(text, value::health_check)),
    )
    .in_file("controlPlaneHealthCheck.address")
    .works(
        "The URL whose answer says that the local API server lives: any answer below 500 does, 401 and 404 as well. \
         Without a path it is /livez; off asks for nothing [default: https://127.0.0.1:PORT/livez where a Lease \
         elects, else off]",
    ),
    Setting::new(
        Key::HealthPeriod,
        &["control_plane_health_check_period_seconds"],
        &["controlPlaneHealthCheckPeriodSeconds"],
        number("SECONDS", 1, 3_600),
    )
    .in_file("controlPlaneHealthCheck.periodSeconds")
    .else_is("5")
    .works("Between health checks"),
    Setting::new(
        Key::HealthTimeout,
        &["control_plane_health_check_timeout_seconds"],
        &["controlPlaneHealthCheckTimeoutSeconds"],
        number("SECONDS", 1, 3_600),
    )
    .in_file("controlPlaneHealthCheck.timeoutSeconds")
    .else_is("3")
    .works("How long a health check may take"),
    Setting::new(
        Key::HealthThreshold,
        &["control_plane_health_check_failure_threshold"],
        &["controlPlaneHealthCheckFailureThreshold"],
        number("COUNT", 1, 1_000),
    )
    .in_file("controlPlaneHealthCheck.failureThreshold")
    .else_is("3")
    .works("How many failures in a row count"),
    Setting::new(
        Key::HealthCa,
        &["control_plane_health_check_ca_path"],
        &["controlPlaneHealthCheckCAPath"],
        Kind::Text("FILE"),
    )
    .in_file("controlPlaneHealthCheck.caPath")
    .works("The certificate authority of that URL; none accepts any certificate"),
    Setting::new(Key::BalancerEnable, &["lb_enable"], &["enableLoadBalancer"], Kind::Switch)
        .works("Spread connections to the VIP over all API servers"),
    Setting::new(Key::BalancerPort, &["lb_port"], &["lbPort"], number("PORT", 1, 65_535))
        .in_file("loadBalancerPort")
        .else_is("6443")
        .works("The port of the VIP that is spread"),
    Setting::new(
        Key::BalancerForwarding,
        &["lb_fwdmethod"],
        &["lbForwardingMethod"],
        Kind::Choice(&["local", "masquerade", "tunnel", "directroute", "bypass"]),
    )
    .in_file("loadBalancerForwardingMethod")
    .else_is("local")
    .works(
        "local: this node's own API server takes all that is new while it is up, and else all others; masquerade: all take \
         turns; the rest needs IPVS",
    ),
    Setting::new(
        Key::BackendCheckInterval,
        &["backend_health_check_interval"],
        &[],
        number("SECONDS", 1, 3_600),
    )
    .in_file("backendHealthCheckInterval")
    .else_is("5")
    .works("Between checks of the API servers behind the VIP"),
    Setting::new(
        Key::BalancerBackend,
        &["lb_backend"],
        &["lbBackend"],
        Kind::Choice(&["nftables", "ipvs", "auto"]),
    )
    .else_is("auto")
    .works("What in the kernel balances; auto is IPVS where lb_fwdmethod needs it, and nftables where the kernel has none"),
    Setting::new(
        Key::BalancerBackends,
        &["MAINSTAY_LB_BACKENDS"],
        &["lbBackends"],
        Kind::Formed("IP[:PORT][,IP[:PORT]]", |text| value::given(text, value::backends)),
    )
    .works("The API servers behind the VIP [default: the nodes with the label node-role.kubernetes.io/control-plane]"),
    Setting::new(
        Key::BalancerDistribution,
        &["MAINSTAY_LB_DISTRIBUTION"],
        &["lbDistribution"],
        Kind::Choice(&["round-robin", "source-hash"]),
    )
    .else_is("round-robin")
    .works("How one is chosen for a connection: in turn, or by the client's address"),
    Setting::new(
        Key::BalancerScheduler,
        &["MAINSTAY_LB_SCHEDULER"],
        &["lbScheduler"],
        Kind::Formed("rr|wrr|sh|mh", |text| value::given(text, value::scheduler)),
    )
    .works("The same in IPVS's words, where IPVS balances [default: rr, or mh for source-hash]"),
    Setting::new(
        Key::BackendCheck,
        &["MAINSTAY_LB_CHECK"],
        &["lbCheck"],
        Kind::Choice(&["readyz", "livez", "tcp"]),
    )
    .else_is("readyz")
    .works("What a check asks: the API server's readiness, its liveness, or a connection alone"),
    Setting::new(
        Key::BackendCheckTimeout,
        &["MAINSTAY_LB_CHECK_TIMEOUT"],
        &["lbCheckTimeout"],
        number("SECONDS", 1, 60),
    )
    .else_is("2")
    .works("How long a check may take"),
    Setting::new(Key::BackendRise, &["MAINSTAY_LB_RISE"], &["lbRise"], number("COUNT", 1, 100))
        .else_is("2")
        .works("Good checks in a row until a backend that was out is in rotation again"),
    Setting::new(Key::BackendFall, &["MAINSTAY_LB_FALL"], &["lbFall"], number("COUNT", 1, 100))
        .else_is("2")
        .works("Bad checks in a row, 50 ms apart, until a backend is out of rotation"),
    Setting::new(
        Key::BalancerKeepConnections,
        &["MAINSTAY_LB_KEEP_CONNECTIONS"],
        &["lbKeepConnections"],
        Kind::Switch,
    )
    .else_is("true")
    .works("Whether connections outlive that the VIP moves: nodes pass on what they do not know, with the client's address"),
];
