//! BGP, and what kube-vip once had for Equinix Metal.

use super::{Key, Kind, Setting, number};
use crate::config::value;

const BGP: &str = "BGP is not built yet";
const ZEBRA: &str = "BGP is not built yet, and FRR's zebra not asked";
const METAL: &str = "Equinix Metal's API is no more, and kube-vip has dropped it as well";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Key::BgpRouterId,
        &["bgp_routerid"],
        &["bgpRouterID"],
        Kind::Formed("IPV4", |text| value::given(text, value::ipv4)),
    )
    .in_file("bgpConfig.routerID")
    .not_yet("This router's id", BGP),
    Setting::new(Key::BgpRouterInterface, &["bgp_routerinterface"], &[], Kind::Text("NAME"))
        .not_yet("The interface whose address is the router's id", BGP),
    Setting::new(Key::BgpAs, &["bgp_as"], &["localAS"], number("AS", 0, 4_294_967_295))
        .in_file("bgpConfig.AS")
        .else_is("65000")
        .not_yet("This router's autonomous system", BGP),
    Setting::new(Key::BgpPeerAddress, &["bgp_peeraddress"], &["peerAddress"], Kind::Text("IP"))
        .in_file("bgpPeerConfig.address")
        .not_yet("The one peer's address", BGP),
    Setting::new(Key::BgpPeerAs, &["bgp_peeras"], &["peerAS"], number("AS", 0, 4_294_967_295))
        .in_file("bgpPeerConfig.AS")
        .else_is("65000")
        .not_yet("The one peer's autonomous system", BGP),
    Setting::new(Key::BgpPeerPassword, &["bgp_peerpass"], &["peerPass"], Kind::Text("PASSWORD"))
        .in_file("bgpPeerConfig.password")
        .secret()
        .not_yet("The one peer's password (TCP MD5)", BGP),
    Setting::new(
        Key::BgpPeers,
        &["bgp_peers"],
        &["bgppeers"],
        Kind::Text("ADDRESS:AS[:PASSWORD[:MULTIHOP]][,..]"),
    )
    .secret()
    .not_yet("The peers", BGP),
    Setting::new(Key::BgpMultihop, &["bgp_multihop"], &["multihop", "multiHop"], Kind::Switch)
        .in_file("bgpPeerConfig.multiHop")
        .not_yet("The one peer may be several hops away", BGP),
    Setting::new(Key::BgpSourceInterface, &["bgp_sourceif"], &["sourceIF", "sourceif"], Kind::Text("NAME"))
        .in_file("bgpConfig.sourceIF")
        .not_yet("The interface to speak from", BGP),
    Setting::new(
        Key::BgpSourceIp,
        &["bgp_sourceip"],
        &["sourceIP", "sourceip"],
        Kind::Formed("IP", |text| value::given(text, value::addresses)),
    )
    .in_file("bgpConfig.sourceIP")
    .not_yet("The address to speak from", BGP),
    Setting::new(Key::BgpHoldTime, &["bgp_hold_time"], &["bgpHoldTimer"], number("SECONDS", 0, 65_535))
        .in_file("bgpConfig.holdTime")
        .else_is("30")
        .not_yet("How long a session lives without a sign of the peer", BGP),
    Setting::new(
        Key::BgpKeepalive,
        &["bgp_keepalive_interval"],
        &["bgpKeepAliveInterval"],
        number("SECONDS", 0, 65_535),
    )
    .in_file("bgpConfig.keepaliveInterval")
    .else_is("10")
    .not_yet("Between signs of life", BGP),
    Setting::new(
        Key::BgpAttachIp,
        &["bgp_attach_ip_to_interface"],
        &["bgpAttachIPToInterface"],
        Kind::Switch,
    )
    .not_yet("Put Services' VIPs on an interface as well", BGP),
    Setting::new(
        Key::NodeAnnotations,
        &["annotation", "annotations"],
        &["annotations"],
        Kind::Text("PREFIX"),
    )
    .not_yet("Take the peers from the node's annotations of that prefix", BGP),
    Setting::new(
        Key::MpbgpNexthop,
        &["mpbgp_nexthop"],
        &[],
        Kind::Choice(&["", "fixed", "auto_sourceip", "auto_sourceif"]),
    )
    .in_file("bgpConfig.mpbgpNexthop")
    .not_yet("The next hop of the other address family", BGP),
    Setting::new(
        Key::MpbgpIpv4,
        &["mpbgp_ipv4"],
        &[],
        Kind::Formed("IPV4", |text| value::given(text, value::ipv4)),
    )
    .in_file("bgpConfig.mpbgpIPv4")
    .not_yet("The fixed IPv4 next hop", BGP),
    Setting::new(
        Key::MpbgpIpv6,
        &["mpbgp_ipv6"],
        &[],
        Kind::Formed("IPV6", |text| value::given(text, value::ipv6)),
    )
    .in_file("bgpConfig.mpbgpIPv6")
    .not_yet("The fixed IPv6 next hop", BGP),
    Setting::new(Key::ZebraEnable, &["zebra_enable"], &["zebra"], Kind::Switch)
        .in_file("bgpConfig.zebra.enabled")
        .not_yet("Install routes through FRR's zebra", ZEBRA),
    Setting::new(Key::ZebraUrl, &["zebra_url"], &["zebraUrl"], Kind::Text("URL"))
        .in_file("bgpConfig.zebra.URL")
        .else_is("unix:/var/run/frr/zserv.api")
        .not_yet("Where zebra listens", ZEBRA),
    Setting::new(Key::ZebraVersion, &["zebra_version"], &["zebraVersion"], number("NUMBER", 0, 255))
        .in_file("bgpConfig.zebra.version")
        .else_is("6")
        .not_yet("The version of zebra's API", ZEBRA),
    Setting::new(Key::ZebraSoftware, &["zebra_software_name"], &["zebraSoftwareName"], Kind::Text("NAME"))
        .in_file("bgpConfig.zebra.softwareName")
        .else_is("frr8.3")
        .not_yet("Which zebra it is", ZEBRA),
    Setting::new(Key::Packet, &["vip_packet"], &["metal"], Kind::Switch)
        .never("Move an address by Equinix Metal's API (kube-vip up to 0.8)", METAL)
        .or_refused(),
    Setting::new(Key::PacketProject, &["vip_packetproject"], &["metalProject"], Kind::Text("NAME"))
        .never("Its project", METAL),
    Setting::new(Key::PacketProjectId, &["vip_packetprojectid"], &["metalProjectID"], Kind::Text("ID"))
        .never("Its project's id", METAL),
    Setting::new(Key::PacketToken, &["PACKET_AUTH_TOKEN"], &["metalKey"], Kind::Text("TOKEN"))
        .secret()
        .never("Its token", METAL),
    Setting::new(Key::ProviderConfig, &["provider_config"], &["provider-config"], Kind::Text("FILE"))
        .never("Its configuration", METAL),
];
