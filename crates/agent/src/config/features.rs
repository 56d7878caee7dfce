//! The settings of features, each parsed into types. Which of them are acted on, the table says; those that are not yet
//! are here already, so that whoever builds the feature has only to use them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::balance::Distribution;
use mainstay_core::intent::ExcludeLabel;
use mainstay_core::vip::Vip;
use mainstay_dataplane::ipvs::{Forwarding, Scheduler};

use super::LeaseName;

/// What an address setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A virtual address.
    Ip(Vip),
    /// A name that has to be resolved into one.
    Name(DnsName),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(vip) => vip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A host's name as DNS has them (RFC 1123 section 2.1), in lower case and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(String);

impl DnsName {
    /// Reads a name. The last label is not all digits, which tells a mistyped IPv4 address from a name (RFC 3696
    /// section 2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(letter)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last_is_word = !name.rsplit('.').next()?.chars().all(|c| c.is_ascii_digit());
        (name.len() <= 253 && name.split('.').all(label) && last_is_word).then_some(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that no log and no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::table::MASK)
    }
}

/// What is parsed beyond what every agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// `vip_leaseannotations`.
    pub lease_annotations: BTreeMap<String, String>,
    /// `enable_node_labeling`.
    pub label_node: bool,
    /// `instance_name`; `None` where there is none.
    pub instance_name: Option<String>,
    /// `vip_interfaceloglobal`.
    pub lo_global_scope: bool,
    /// `dns_mode`.
    pub dns_mode: DnsMode,
    /// DHCP.
    pub dhcp: Dhcp,
    /// `control_plane_health_check_*`.
    pub health_check: HealthCheck,
    /// The load balancer behind the control plane's VIP.
    pub balancer: Balancer,
    /// Services of type `LoadBalancer`.
    pub services: Services,
    /// Egress through Services' VIPs.
    pub egress: Egress,
    /// Routing-table mode.
    pub routing_table: RoutingTable,
    /// BGP mode.
    pub bgp: Bgp,
    /// An election on etcd.
    pub etcd: Etcd,
    /// `vip_wireguard`.
    pub wireguard: bool,
}

/// Which addresses of a DNS name become VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsMode {
    /// The first that is answered.
    First,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// One of each family.
    Dual,
}

/// Which addresses to ask of DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpMode {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// One of each family.
    Dual,
}

/// DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// `vip_ddns`: ask for the control plane's address by DHCP, and send its name along.
    pub ddns: bool,
    /// `dhcp_mode`, or what `dns_mode` says, or IPv4.
    pub mode: DhcpMode,
    /// `dhcp_backoff_attempts`; `None` is for ever.
    pub attempts: Option<u32>,
}

/// `control_plane_health_check_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The URL to get; `None` where nothing is to be checked.
    pub url: Option<String>,
    /// Between checks.
    pub period: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How many failures in a row count.
    pub failure_threshold: u32,
    /// The certificate authority of an `https` URL.
    pub ca: Option<PathBuf>,
}

/// `lb_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// `lb_enable`.
    pub enabled: bool,
    /// `lb_port`.
    pub port: u16,
    /// `lb_fwdmethod`.
    pub forwarding: Forwarding,
    /// `backend_health_check_interval`.
    pub check_every: Duration,
    /// `lb_backend`.
    pub backend: BalancerBackend,
    /// `MAINSTAY_LB_BACKENDS`; empty where the cluster is asked.
    pub backends: Vec<SocketAddr>,
    /// `MAINSTAY_LB_DISTRIBUTION`.
    pub distribution: Distribution,
    /// `MAINSTAY_LB_SCHEDULER`; `None` where the distribution decides.
    pub scheduler: Option<Scheduler>,
    /// `MAINSTAY_LB_CHECK`.
    pub check: BackendCheck,
    /// `MAINSTAY_LB_CHECK_TIMEOUT`.
    pub check_timeout: Duration,
    /// `MAINSTAY_LB_RISE`.
    pub rise: NonZeroU32,
    /// `MAINSTAY_LB_FALL`.
    pub fall: NonZeroU32,
    /// `MAINSTAY_LB_KEEP_CONNECTIONS`.
    pub keep_connections: bool,
}

/// What in the kernel balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancerBackend {
    /// nftables.
    Nftables,
    /// IPVS.
    Ipvs,
    /// nftables, unless the way to forward needs IPVS and the kernel has it.
    Auto,
}

/// What a check of a backend asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendCheck {
    /// `/readyz`.
    Ready,
    /// `/livez`.
    Live,
    /// A connection alone.
    Tcp,
}

/// `svc_*`, `lb_class_*` and what else is said of Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// `svc_enable`.
    pub enabled: bool,
    /// `vip_servicesinterface`.
    pub interface: ServicesInterface,
    /// Addresses on it whose answer proves that its link works.
    pub witnesses: Vec<IpAddr>,
    /// `svc_namespace`; `None` is all.
    pub namespace: Option<String>,
    /// `svc_election` and `per_service_election_on_demand`.
    pub election: ServicesElection,
    /// `svc_leasename`.
    pub lease: LeaseName,
    /// What the label that excludes a node means.
    pub exclude_label: ExcludeLabel,
    /// `MAINSTAY_REPORT_NODE_FAILURE`.
    pub report_failures: bool,
    /// `lb_class_*`.
    pub class: ServiceClass,
    /// The reverse of `disable_service_updates`.
    pub write_status: bool,
    /// `enable_service_security`.
    pub only_service_ports: bool,
    /// `--debounceTime`.
    pub debounce: Duration,
    /// `mirror_dest_interface`.
    pub mirror_to: Option<String>,
    /// `enable_upnp`.
    pub upnp: bool,
}

/// The interface of Services' VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicesInterface {
    /// The control plane's.
    Same,
    /// That one.
    Named(String),
    /// The one whose network the address is in.
    Auto,
}

impl ServicesInterface {
    /// Its name, where the control plane's is that.
    #[must_use]
    pub fn name<'a>(&'a self, control_plane: &'a str) -> &'a str {
        match self {
            Self::Named(name) => name,
            Self::Same | Self::Auto => control_plane,
        }
    }
}

/// How Services are spread over the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicesElection {
    /// One node holds them all.
    Global,
    /// Each has its own holder.
    PerService,
    /// Those that are annotated so have.
    OnDemand,
}

/// Which Services are ours, by `spec.loadBalancerClass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceClass {
    /// `lb_class_only`.
    pub only: bool,
    /// `lb_class_name`; empty matches Services without a class.
    pub name: String,
    /// `lb_class_legacy_handling`.
    pub legacy: bool,
}

/// `egress_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// `egress_clean`.
    pub clean: bool,
    /// `egress_podcidr`: addresses and prefix lengths.
    pub pod_networks: Vec<(IpAddr, u8)>,
    /// `egress_servicecidr`.
    pub service_networks: Vec<(IpAddr, u8)>,
    /// `egress_enableinternalsnat`.
    pub internal_snat: bool,
}

/// `vip_routingtable*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    /// `vip_routingtable`.
    pub enabled: bool,
    /// `vip_routingtableid`.
    pub table: u32,
    /// `vip_routingtabletype`: rtnetlink's number.
    pub route_type: u8,
    /// `vip_routingprotocol`.
    pub protocol: u8,
    /// `vip_cleanroutingtable`.
    pub clean: bool,
}

/// `bgp_*`, `mpbgp_*`, `zebra_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// `bgp_enable`.
    pub enabled: bool,
    /// `bgp_routerid`.
    pub router_id: Option<Ipv4Addr>,
    /// `bgp_routerinterface`.
    pub router_interface: Option<String>,
    /// `bgp_as`.
    pub local_as: u32,
    /// `bgp_peeraddress` and its like, where there is one.
    pub peer: Option<BgpPeer>,
    /// `bgp_peers` as written: `ADDRESS:AS:PASSWORD:MULTIHOP...`, one each.
    pub peers: Vec<Secret>,
    /// `bgp_sourceif`.
    pub source_interface: Option<String>,
    /// `bgp_sourceip`.
    pub source_ips: Vec<IpAddr>,
    /// `bgp_hold_time`.
    pub hold_time: Duration,
    /// `bgp_keepalive_interval`.
    pub keepalive: Duration,
    /// `bgp_attach_ip_to_interface`.
    pub attach_ip: bool,
    /// `annotation`: the prefix of node annotations to take peers from.
    pub node_annotations: Option<String>,
    /// `mpbgp_nexthop`.
    pub nexthop: Option<MpbgpNexthop>,
    /// `mpbgp_ipv4`.
    pub nexthop_ipv4: Option<Ipv4Addr>,
    /// `mpbgp_ipv6`.
    pub nexthop_ipv6: Option<Ipv6Addr>,
    /// `zebra_*`, where it is on.
    pub zebra: Option<Zebra>,
}

/// `bgp_peeraddress`, `bgp_peeras`, `bgp_peerpass`, `bgp_multihop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// Its address.
    pub address: String,
    /// Its autonomous system.
    pub remote_as: u32,
    /// Its password, where there is one.
    pub password: Option<Secret>,
    /// Whether it may be several hops away.
    pub multihop: bool,
}

/// The next hop of the other address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MpbgpNexthop {
    /// The addresses of `mpbgp_ipv4` and `mpbgp_ipv6`.
    Fixed,
    /// Of the interface that has `bgp_sourceip`.
    AutoSourceIp,
    /// Of `bgp_sourceif`.
    AutoSourceInterface,
}

/// `zebra_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zebra {
    /// `zebra_url`.
    pub url: String,
    /// `zebra_version`.
    pub version: u8,
    /// `zebra_software_name`.
    pub software: String,
}

/// `--etcd*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// `--etcdCACert`.
    pub ca: Option<PathBuf>,
    /// `--etcdCert`.
    pub certificate: Option<PathBuf>,
    /// `--etcdKey`.
    pub key: Option<PathBuf>,
    /// `--etcdEndpoints`.
    pub endpoints: Vec<String>,
}
