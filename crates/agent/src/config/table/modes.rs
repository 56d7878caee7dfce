//! How the VIP is made known.

use super::{Key, Kind, Setting, number};

const BGP: &str = "BGP is not built yet";
const TABLE: &str = "routing-table mode is not built yet";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::Arp, &["vip_arp"], &["arp"], Kind::Switch)
        .in_file("enableARP")
        .works("Announce the VIP on layer 2 (ARP and NDP)"),
    Setting::new(Key::ArpRate, &["vip_arpRate"], &["arpRate"], number("MILLISECONDS", 1, 3_600_000))
        .in_file("arpBroadcastRate")
        .else_is("3000")
        .works("Between announcements; below 500, the default is used, as in kube-vip"),
    Setting::new(Key::SkipDad, &["vip_skipdad"], &[], Kind::Switch).in_file("skipDAD").accepted(
        "Put an IPv6 VIP on the interface without duplicate address detection",
        "that is always so: probes and marks on the wire find a second holder",
    ),
    Setting::new(Key::BgpEnable, &["bgp_enable"], &["bgp"], Kind::Switch)
        .in_file("enableBGP")
        .not_yet("Announce the VIP to routers by BGP", BGP)
        .or_refused(),
    Setting::new(Key::RoutingTable, &["vip_routingtable"], &["table"], Kind::Switch)
        .in_file("enableRoutingTable")
        .not_yet("Announce the VIP by a route in a table of its own", TABLE)
        .or_refused(),
    Setting::new(
        Key::RoutingTableId,
        &["vip_routingtableid"],
        &["tableID"],
        number("NUMBER", 0, 4_294_967_295),
    )
    .in_file("routingTableID")
    .else_is("198")
    .not_yet("The routing table", TABLE),
    Setting::new(Key::RoutingTableType, &["vip_routingtabletype"], &["tableType"], number("NUMBER", 0, 255))
        .in_file("routingTableType")
        .else_is("1")
        .not_yet("The routes' type (rtnetlink's number; 1 is unicast)", TABLE),
    Setting::new(
        Key::RoutingProtocol,
        &["vip_routingprotocol"],
        &["routingProtocol"],
        number("NUMBER", 0, 255),
    )
    .else_is("248")
    .not_yet("The routes' protocol number", TABLE),
    Setting::new(Key::CleanRoutingTable, &["vip_cleanroutingtable"], &["cleanRoutingTable"], Kind::Switch)
        .not_yet("Remove routes of that table and protocol that nobody wants", TABLE),
    Setting::new(Key::Wireguard, &["vip_wireguard"], &["wireguard"], Kind::Switch)
        .in_file("enableWireguard")
        .not_yet("Carry the VIP in a WireGuard tunnel", "WireGuard mode is not built yet")
        .or_refused(),
];
