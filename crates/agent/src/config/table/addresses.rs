//! What the VIP is, and where it is worn.

use super::{Key, Kind, Setting, number};
use crate::config::value;

const DHCP: &str = "an address is an IP address or a DNS name so far: DHCP is not built yet";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::Interface, &["vip_interface"], &["interface"], Kind::Text("NAME"))
        .works("The interface that wears the VIP [default: the default route's]"),
    Setting::new(
        Key::Address,
        &["address", "vip_address"],
        &["address", "vip"],
        Kind::Formed("IP|NAME[,IP|NAME]", |text| value::given(text, value::addresses_of)),
    )
    .works("The virtual address, IPv4 or IPv6, or a DNS name of it, resolved anew every 10 s; several move together"),
    Setting::new(Key::Port, &["port"], &["port"], number("PORT", 1, 65_535))
        .else_is("6443")
        .works("The port of what the VIP serves"),
    Setting::new(
        Key::Subnet,
        &["vip_subnet", "vip_cidr"],
        &["vipSubnet", "cidr"],
        Kind::Formed("PREFIX[,PREFIX]", value::prefixes),
    )
    .accepted(
        "The prefix length that kube-vip gives the VIP",
        "a VIP is always a /32 or a /128, so that its expiry cannot take the node's own address along",
    ),
    Setting::new(Key::DnsMode, &["dns_mode"], &["dnsMode"], Kind::Choice(&["first", "ipv4", "ipv6", "dual"]))
        .else_is("first")
        .works("Which addresses of a DNS name become VIPs; dual is one of each family"),
    Setting::new(Key::Ddns, &["vip_ddns"], &["ddns"], Kind::Switch)
        .not_yet("Have the address from DHCP, and its name with it", DHCP),
    Setting::new(Key::DhcpMode, &["dhcp_mode"], &["dhcpMode"], Kind::Choice(&["ipv4", "ipv6", "dual"]))
        .else_is("ipv4")
        .not_yet("Which addresses to ask of DHCP [default: dns_mode's, or ipv4]", DHCP),
    Setting::new(
        Key::DhcpBackoffAttempts,
        &["dhcp_backoff_attempts"],
        &["dhcpBackoffAttempts"],
        number("COUNT", 0, 1_000_000),
    )
    .else_is("3")
    .not_yet("How often to ask DHCP before giving up; 0 for ever", DHCP),
    Setting::new(Key::LoGlobalScope, &["vip_interfaceloglobal"], &["loInterfaceGlobalScope"], Kind::Switch)
        .not_yet("A VIP on lo gets the global scope", "a VIP on lo is not built yet"),
    Setting::new(
        Key::AllowInterfaceNotUp,
        &["vip_allow_interface_not_up"],
        &["allowInterfaceNotUp"],
        Kind::Switch,
    )
    .accepted(
        "Start even when the interface is down",
        "that is always so: a VIP is announced as soon as its link is up",
    ),
];
