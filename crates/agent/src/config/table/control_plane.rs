//! The control plane's VIP: what is behind it.

use super::{Key, Kind, Setting, number};
use crate::config::value;

const IPVS: &str = "the IPVS load balancer is not built yet";

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
        .not_yet("Spread connections to the VIP over all API servers (IPVS)", IPVS),
    Setting::new(Key::BalancerPort, &["lb_port"], &["lbPort"], number("PORT", 1, 65_535))
        .in_file("loadBalancerPort")
        .else_is("6443")
        .not_yet("The port of the load balancer", IPVS),
    Setting::new(
        Key::BalancerForwarding,
        &["lb_fwdmethod"],
        &["lbForwardingMethod"],
        Kind::Choice(&["local", "masquerade", "tunnel", "directroute", "bypass"]),
    )
    .in_file("loadBalancerForwardingMethod")
    .else_is("local")
    .not_yet("How IPVS forwards", IPVS),
    Setting::new(
        Key::BackendCheckInterval,
        &["backend_health_check_interval"],
        &[],
        number("SECONDS", 1, 3_600),
    )
    .in_file("backendHealthCheckInterval")
    .else_is("5")
    .not_yet("Between checks of the load balancer's backends", IPVS),
];
