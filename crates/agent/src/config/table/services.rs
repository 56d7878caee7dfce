//! Services of type `LoadBalancer`, and egress through their VIPs.

use super::{Key, Kind, Setting};
use crate::config::value;

const ALL_OR_NONE: &str = "Services are held by one node, or spread over all of them (svc_election)";
const ONE_WATCH: &str = "every change is acted on at once, and those that come together are taken together";
const EGRESS_LATER: &str = "egress is not built yet";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::Services, &["svc_enable"], &["services"], Kind::Switch)
        .in_file("enableServices")
        .works("Hold VIPs for Services of type LoadBalancer"),
    Setting::new(
        Key::ServicesInterface,
        &["vip_servicesinterface"],
        &["serviceInterface", "servicesInterface"],
        Kind::Text("NAME|auto"),
    )
    .works("The interface of Services' VIPs [default: the control plane's]"),
    Setting::new(
        Key::ServicesNamespace,
        &["svc_namespace"],
        &[],
        Kind::Formed("NAMESPACE", |text| value::given(text, value::kubernetes_name)),
    )
    .in_file("serviceNamespace")
    .works("Only Services of that namespace [default: all]"),
    Setting::new(Key::ServicesElection, &["svc_election"], &["servicesElection"], Kind::Switch)
        .in_file("enableServicesElection")
        .works("Spread Services over the nodes, each at one node's seat"),
    Setting::new(
        Key::ServicesLeaseName,
        &["svc_leasename"],
        &["servicesLeaseName"],
        Kind::Formed("[NAMESPACE/]NAME", |text| value::given(text, value::lease_name)),
    )
    .else_is("plndr-svcs-lock")
    .works("The Lease for Services"),
    Setting::new(
        Key::ServicesExcludeLabel,
        &["MAINSTAY_SVC_EXCLUDE_LABEL"],
        &["svcExcludeLabel"],
        Kind::Choice(&["honoured", "ignored"]),
    )
    .else_is("honoured")
    .works(
        "What the node label node.kubernetes.io/exclude-from-external-load-balancers means: as long as another node \
         without it has an agent, its node holds no Services; or nothing, as in kube-vip",
    ),
    Setting::new(
        Key::ReportNodeFailure,
        &["MAINSTAY_REPORT_NODE_FAILURE"],
        &["reportNodeFailure"],
        Kind::Switch,
    )
    .in_file("report_node_failure")
    .works(
        "Say that a node is dead as soon as it is on the wire, 40 s before Kubernetes does: its Pods are not ready, and the \
         Node's condition Ready is Unknown, until its kubelet says otherwise. Never of more than a third of the nodes with \
         agents. Needs what `mainstay manifest rbac --reportNodeFailure` grants, and svc_enable; no VIP depends on it",
    ),
    Setting::new(
        Key::PerServiceElectionOnDemand,
        &["per_service_election_on_demand"],
        &["perServiceElectionOnDemand"],
        Kind::Switch,
    )
    .not_yet("Spread only the Services that are annotated so", ALL_OR_NONE),
    Setting::new(Key::ClassOnly, &["lb_class_only"], &["lbClassOnly"], Kind::Switch)
        .in_file("loadBalancerClassOnly")
        .works("Only Services that name the load balancer's class"),
    Setting::new(Key::ClassName, &["lb_class_name"], &["lbClassName"], Kind::Text("NAME"))
        .in_file("loadBalancerClassName")
        .else_is("kube-vip.io/kube-vip-class")
        .may_be_empty()
        .works("The load balancer's class"),
    Setting::new(
        Key::ClassLegacyHandling,
        &["lb_class_legacy_handling"],
        &["lbClassNameLegacyHandling"],
        Kind::Switch,
    )
    .in_file("loadBalancerClassLegacyHandling")
    .else_is("true")
    .works("Serve Services without a class as well"),
    Setting::new(
        Key::DisableServiceUpdates,
        &["disable_service_updates"],
        &["disableServiceUpdates"],
        Kind::Switch,
    )
    .works("Never write a Service's status"),
    Setting::new(Key::Endpoints, &["enable_endpoints"], &["enableEndpoints"], Kind::Switch).never(
        "Read Endpoints in place of EndpointSlices",
        "Kubernetes has deprecated Endpoints, and they leave addresses out: EndpointSlices are read",
    ),
    Setting::new(Key::EndpointSlices, &["enable_endpointslices"], &[], Kind::Switch)
        .else_is("true")
        .accepted("Read EndpointSlices (kube-vip up to 0.8)", "EndpointSlices are always read"),
    Setting::new(
        Key::ServiceSecurity,
        &["enable_service_security"],
        &["onlyAllowTrafficServicePorts"],
        Kind::Switch,
    )
    .in_file("enableServiceSecurity")
    .works("Drop what is sent to a Service's VIP on other ports than Services have there"),
    Setting::new(
        Key::DebounceTime,
        &["debounce_time"],
        &["debounceTime"],
        Kind::Formed("DURATION", |text| value::given(text, value::go_duration)),
    )
    .else_is("0s")
    .accepted("How long to wait for more events of a Service", ONE_WATCH),
    Setting::new(
        Key::MirrorInterface,
        &["mirror_dest_interface"],
        &["mirrorDestInterface"],
        Kind::Text("NAME"),
    )
    .not_yet("Copy the Services' traffic to that interface", "mirroring is not built yet"),
    Setting::new(Key::Upnp, &["enable_upnp", "enableUPNP"], &[], Kind::Switch)
        .not_yet("Have the gateway forward Services' ports by UPnP", "UPnP is not built yet"),
];

pub(super) const EGRESS: &[Setting] = &[
    Setting::new(Key::EgressClean, &["egress_clean", "EGRESS_CLEAN"], &[], Kind::Switch)
        .in_file("egressClean")
        .not_yet("Remove rules that an earlier run left", EGRESS_LATER),
    Setting::new(
        Key::EgressPodCidr,
        &["egress_podcidr"],
        &[],
        Kind::Formed("CIDR[,CIDR]", |text| value::given(text, value::networks)),
    )
    .in_file("egressPodCidr")
    .not_yet("The Pods' network", EGRESS_LATER),
    Setting::new(
        Key::EgressServiceCidr,
        &["egress_servicecidr"],
        &[],
        Kind::Formed("CIDR[,CIDR]", |text| value::given(text, value::networks)),
    )
    .in_file("egressServiceCidr")
    .not_yet("The Services' network", EGRESS_LATER),
    Setting::new(Key::EgressNftables, &["egress_withnftables"], &["egressWithNftables"], Kind::Switch)
        .else_is("true")
        .never("Use nftables for egress", "there are no rules but nftables'"),
    Setting::new(Key::EgressInternalSnat, &["egress_enableinternalsnat"], &[], Kind::Switch)
        .in_file("enableInternalSNAT")
        .not_yet("Translate traffic inside the cluster as well", EGRESS_LATER),
    Setting::new(Key::IptablesBackend, &["iptables_backend"], &[], Kind::Choice(&["nft", "legacy"]))
        .in_file("iptablesBackend")
        .else_is("nft")
        .never("Which iptables to use for egress", "there are no rules but nftables'"),
];
