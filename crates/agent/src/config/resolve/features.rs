//! The settings of features, each parsed into its type.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::balance::Distribution;
use mainstay_core::intent::ExcludeLabel;
use mainstay_core::settings::Authority;
use mainstay_dataplane::ipvs::Forwarding;

use super::Resolver;
use crate::config::Address;
use crate::config::features::{
    BackendCheck, Balancer, BalancerBackend, Bgp, BgpPeer, Dhcp, DhcpMode, DnsMode, Egress, Etcd, Features,
    HealthCheck, MpbgpNexthop, RoutingTable, Secret, ServiceClass, Services, ServicesElection,
    ServicesInterface, Zebra,
};
use crate::config::refusal::Refusal;
use crate::config::table::Key;
use crate::config::value;

impl Resolver<'_> {
    /// `interface` is the control plane's, which Services share where they have none of their own.
    pub(super) fn features(&self, interface: &str) -> Result<Features, Refusal> {
        Ok(Features {
            lease_annotations: self.optional(Key::LeaseAnnotations, value::annotations)?.unwrap_or_default(),
            label_node: self.switch(Key::NodeLabeling)?,
            instance_name: self.text(Key::InstanceName),
            lo_global_scope: self.switch(Key::LoGlobalScope)?,
            dns_mode: self.dns_mode()?,
            dhcp: self.dhcp()?,
            health_check: self.health_check()?,
            balancer: self.balancer()?,
            services: self.services(interface)?,
            egress: self.egress()?,
            routing_table: self.routing_table()?,
            bgp: self.bgp()?,
            etcd: self.etcd(),
            wireguard: self.switch(Key::Wireguard)?,
        })
    }

    fn seconds(&self, key: Key) -> Result<Duration, Refusal> {
        self.number(key).map(Duration::from_secs)
    }

    fn file(&self, key: Key) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn dns_mode(&self) -> Result<DnsMode, Refusal> {
        self.choice(Key::DnsMode, &[DnsMode::First, DnsMode::Ipv4, DnsMode::Ipv6, DnsMode::Dual])
    }

    /// As kube-vip: where nobody names a mode, DNS's is taken.
    fn dhcp(&self) -> Result<Dhcp, Refusal> {
        let named = self.choice(Key::DhcpMode, &[DhcpMode::Ipv4, DhcpMode::Ipv6, DhcpMode::Dual])?;
        let mode = match self.dns_mode()? {
            _ if self.layer.written(Key::DhcpMode).is_some() => named,
            DnsMode::First | DnsMode::Ipv4 => DhcpMode::Ipv4,
            DnsMode::Ipv6 => DhcpMode::Ipv6,
            DnsMode::Dual => DhcpMode::Dual,
        };
        let attempts = Some(self.number(Key::DhcpBackoffAttempts)?).filter(|attempts| *attempts > 0);
        Ok(Dhcp { ddns: self.switch(Key::Ddns)?, mode, attempts })
    }

    fn health_check(&self) -> Result<HealthCheck, Refusal> {
        Ok(HealthCheck {
            url: self.health_check_url()?,
            period: self.seconds(Key::HealthPeriod)?,
            timeout: self.seconds(Key::HealthTimeout)?,
            failure_threshold: self.number(Key::HealthThreshold)?,
            ca: self.file(Key::HealthCa),
        })
    }

    /// By default the local API server, as the kubelet asks it, where the API servers elect. An agent without an
    /// authority may serve anything, on a host without an API server; it asks for what somebody names. With a load balancer
    /// this node serves as well as any, whatever becomes of its own API server: the VIP need not leave it.
    fn health_check_url(&self) -> Result<Option<String>, Refusal> {
        match (self.optional(Key::HealthAddress, value::health_check)?, self.authority()?) {
            (Some(named), _) => Ok(named),
            (None, Authority::Standalone) => Ok(None),
            (None, Authority::Lease) if self.switch(Key::BalancerEnable)? => Ok(None),
            (None, Authority::Lease) => {
                Ok(Some(format!("https://127.0.0.1:{}/livez", self.number::<u16>(Key::Port)?)))
            }
        }
    }

    fn balancer(&self) -> Result<Balancer, Refusal> {
        const METHODS: &[Forwarding] = &[
            Forwarding::Local,
            Forwarding::Masquerade,
            Forwarding::Tunnel,
            Forwarding::DirectRoute,
            Forwarding::Bypass,
        ];
        let balancer = Balancer {
            enabled: self.switch(Key::BalancerEnable)?,
            port: self.number(Key::BalancerPort)?,
            forwarding: self.choice(Key::BalancerForwarding, METHODS)?,
            check_every: self.seconds(Key::BackendCheckInterval)?,
            backend: self.choice(
                Key::BalancerBackend,
                &[BalancerBackend::Nftables, BalancerBackend::Ipvs, BalancerBackend::Auto],
            )?,
            backends: self.backends()?,
            distribution: self
                .choice(Key::BalancerDistribution, &[Distribution::RoundRobin, Distribution::SourceHash])?,
            scheduler: self.optional(Key::BalancerScheduler, value::scheduler)?,
            check: self
                .choice(Key::BackendCheck, &[BackendCheck::Ready, BackendCheck::Live, BackendCheck::Tcp])?,
            check_timeout: self.seconds(Key::BackendCheckTimeout)?,
            rise: self.count(Key::BackendRise)?,
            fall: self.count(Key::BackendFall)?,
            keep_connections: self.switch(Key::BalancerKeepConnections)?,
        };
        self.check_balancer(balancer)
    }

    fn count(&self, key: Key) -> Result<NonZeroU32, Refusal> {
        let number: u32 = self.number(key)?;
        Ok(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    /// Without a port, a backend has the API servers'.
    fn backends(&self) -> Result<Vec<SocketAddr>, Refusal> {
        let port: u16 = self.number(Key::Port)?;
        let named = self.optional(Key::BalancerBackends, value::backends)?.unwrap_or_default();
        let at = |(ip, own): (IpAddr, Option<u16>)| SocketAddr::new(ip, own.unwrap_or(port));
        let backends: Vec<SocketAddr> = named.into_iter().map(at).collect();
        let twice = (1..).zip(&backends).find(|(next, one)| backends[*next..].contains(one));
        match twice {
            Some((_, one)) => {
                self.refuse(Key::BalancerBackends, &format!("{one} is there twice"), "name each backend once")
            }
            None => Ok(backends),
        }
    }

    /// What contradicts itself, or cannot be done.
    fn check_balancer(&self, balancer: Balancer) -> Result<Balancer, Refusal> {
        if !balancer.enabled {
            return Ok(balancer);
        }
        let vips = self.optional(Key::Address, value::addresses_of)?.unwrap_or_default();
        let is_vip = |one: &SocketAddr| vips.contains(&Address::Ip(one.ip()));
        if let Some(vip) = balancer.backends.iter().find(|one| is_vip(one)) {
            let problem = format!("{} is the VIP itself: connections would go round in circles", vip.ip());
            return self.refuse(Key::BalancerBackends, &problem, "name the API servers' own addresses");
        }
        let families = |family: fn(&IpAddr) -> bool| {
            let of_vips = vips.iter().any(|vip| matches!(vip, Address::Ip(ip) if family(ip)));
            (of_vips, balancer.backends.iter().any(|one| family(&one.ip())))
        };
        let named = vips.iter().any(|vip| matches!(vip, Address::Name(_)));
        for (family, name) in [(IpAddr::is_ipv4 as fn(&IpAddr) -> bool, "IPv4"), (IpAddr::is_ipv6, "IPv6")] {
            let problem = match families(family) {
                _ if named || balancer.backends.is_empty() => continue,
                (true, false) => format!("none is {name}, and a VIP is"),
                (false, true) => format!("one is {name}, and no VIP is"),
                _ => continue,
            };
            let remedy = "name backends of the VIPs' families, and of each of them";
            return self.refuse(Key::BalancerBackends, &problem, remedy);
        }
        let needs_ipvs = !matches!(balancer.forwarding, Forwarding::Local | Forwarding::Masquerade);
        if needs_ipvs && balancer.backend == BalancerBackend::Nftables {
            let problem = "nftables cannot forward so";
            return self.refuse(
                Key::BalancerForwarding,
                problem,
                "write local or masquerade, or set lb_backend to auto",
            );
        }
        Ok(balancer)
    }

    fn services(&self, control_plane: &str) -> Result<Services, Refusal> {
        let election =
            match (self.switch(Key::ServicesElection)?, self.switch(Key::PerServiceElectionOnDemand)?) {
                (_, true) => ServicesElection::OnDemand,
                (true, false) => ServicesElection::PerService,
                (false, false) => ServicesElection::Global,
            };
        let quiet = self.switch(Key::DisableServiceUpdates)?;
        if quiet && election == ServicesElection::PerService && self.switch(Key::Services)? {
            let problem = "where Services are spread over nodes, which node has which is written on them";
            return self.refuse(Key::DisableServiceUpdates, problem, "leave it out, or svc_election");
        }
        let interface = self.services_interface()?;
        let class = ServiceClass {
            only: self.switch(Key::ClassOnly)?,
            name: self.layer.get(Key::ClassName).text,
            legacy: self.switch(Key::ClassLegacyHandling)?,
        };
        Ok(Services {
            enabled: self.switch(Key::Services)?,
            // Services have addresses of both families, or may.
            witnesses: self.witnesses(interface.name(control_plane), |_| true)?,
            interface,
            namespace: self.optional(Key::ServicesNamespace, value::kubernetes_name)?,
            election,
            lease: self.lease_name(Key::ServicesLeaseName)?,
            exclude_label: self
                .choice(Key::ServicesExcludeLabel, &[ExcludeLabel::Honoured, ExcludeLabel::Ignored])?,
            report_failures: self.switch(Key::ReportNodeFailure)?,
            class,
            write_status: !self.switch(Key::DisableServiceUpdates)?,
            only_service_ports: self.switch(Key::ServiceSecurity)?,
            debounce: self.parse(Key::DebounceTime, value::go_duration)?,
            mirror_to: self.text(Key::MirrorInterface),
            upnp: self.switch(Key::Upnp)?,
        })
    }

    fn services_interface(&self) -> Result<ServicesInterface, Refusal> {
        let Some(name) = self.text(Key::ServicesInterface) else { return Ok(ServicesInterface::Same) };
        if !self.switch(Key::Services)? || self.host.interfaces.contains(&name) {
            return Ok(if name == "auto" { ServicesInterface::Auto } else { ServicesInterface::Named(name) });
        }
        let problem = if name == "auto" {
            "choosing an interface for each Service is not built yet"
        } else {
            "there is no such interface on this host"
        };
        self.refuse(Key::ServicesInterface, problem, &self.interfaces("vip_servicesinterface"))
    }

    fn egress(&self) -> Result<Egress, Refusal> {
        Ok(Egress {
            clean: self.switch(Key::EgressClean)?,
            pod_networks: self.parse(Key::EgressPodCidr, value::networks)?,
            service_networks: self.parse(Key::EgressServiceCidr, value::networks)?,
            internal_snat: self.switch(Key::EgressInternalSnat)?,
        })
    }

    fn routing_table(&self) -> Result<RoutingTable, Refusal> {
        Ok(RoutingTable {
            enabled: self.switch(Key::RoutingTable)?,
            table: self.number(Key::RoutingTableId)?,
            route_type: self.number(Key::RoutingTableType)?,
            protocol: self.number(Key::RoutingProtocol)?,
            clean: self.switch(Key::CleanRoutingTable)?,
        })
    }

    fn bgp(&self) -> Result<Bgp, Refusal> {
        const NEXTHOPS: &[Option<MpbgpNexthop>] = &[
            None,
            Some(MpbgpNexthop::Fixed),
            Some(MpbgpNexthop::AutoSourceIp),
            Some(MpbgpNexthop::AutoSourceInterface),
        ];
        let peers = self.text(Key::BgpPeers).unwrap_or_default();
        let peers = peers.split(',').map(str::trim).filter(|peer| !peer.is_empty());
        Ok(Bgp {
            enabled: self.switch(Key::BgpEnable)?,
            router_id: self.optional(Key::BgpRouterId, value::ipv4)?,
            router_interface: self.text(Key::BgpRouterInterface),
            local_as: self.number(Key::BgpAs)?,
            peer: self.bgp_peer()?,
            peers: peers.map(|peer| Secret(peer.to_owned())).collect(),
            source_interface: self.text(Key::BgpSourceInterface),
            source_ips: self.parse(Key::BgpSourceIp, value::addresses)?,
            hold_time: self.seconds(Key::BgpHoldTime)?,
            keepalive: self.seconds(Key::BgpKeepalive)?,
            attach_ip: self.switch(Key::BgpAttachIp)?,
            node_annotations: self.text(Key::NodeAnnotations),
            nexthop: self.choice(Key::MpbgpNexthop, NEXTHOPS)?,
            nexthop_ipv4: self.optional(Key::MpbgpIpv4, value::ipv4)?,
            nexthop_ipv6: self.optional(Key::MpbgpIpv6, value::ipv6)?,
            zebra: self.zebra()?,
        })
    }

    fn bgp_peer(&self) -> Result<Option<BgpPeer>, Refusal> {
        let (remote_as, multihop) = (self.number(Key::BgpPeerAs)?, self.switch(Key::BgpMultihop)?);
        let password = self.text(Key::BgpPeerPassword).map(Secret);
        let peer = |address| BgpPeer { address, remote_as, password, multihop };
        Ok(self.text(Key::BgpPeerAddress).map(peer))
    }

    fn zebra(&self) -> Result<Option<Zebra>, Refusal> {
        let zebra = Zebra {
            url: self.layer.get(Key::ZebraUrl).text,
            version: self.number(Key::ZebraVersion)?,
            software: self.layer.get(Key::ZebraSoftware).text,
        };
        Ok(self.switch(Key::ZebraEnable)?.then_some(zebra))
    }

    fn etcd(&self) -> Etcd {
        let endpoints = self.text(Key::EtcdEndpoints).unwrap_or_default();
        let endpoints = endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
        Etcd {
            ca: self.file(Key::EtcdCa),
            certificate: self.file(Key::EtcdCertificate),
            key: self.file(Key::EtcdKey),
            endpoints: endpoints.map(str::to_owned).collect(),
        }
    }
}
