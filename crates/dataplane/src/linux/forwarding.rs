//! Whether this host passes on packets that are for others (`Documentation/networking/ip-sysctl.rst`): a load balancer's
//! host has to. It takes them in and sends them out by one interface, and must not tell the senders to go there by
//! themselves: they know no connection there. (To find out for each packet whether to tell costs a tenth of passing it on.)

use std::collections::BTreeSet;
use std::fs;
use std::io;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const OF_INTERFACES: &str = "/proc/sys/net/ipv4/conf";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Has the host pass packets on by `interface` in the families that are asked for, `true` for IPv4, without redirects. IPv4 is switched on where it is off, as
/// kube-vip does. IPv6 is not: the host would then take no router advertisements any more. What is not so, in one line each.
pub fn allow(interface: &str, families: impl Iterator<Item = bool>) -> Vec<String> {
    let families: BTreeSet<bool> = families.collect();
    // Either is enough for redirects to be sent, and other interfaces have their own. Where it cannot be switched off, it is
    // no more than a cost.
    for of in ["all", interface] {
        let _ = fs::write(format!("{OF_INTERFACES}/{of}/send_redirects"), "0");
    }
    families.into_iter().filter_map(|is_ipv4| if is_ipv4 { allow_ipv4() } else { look_at_ipv6() }).collect()
}

fn allow_ipv4() -> Option<String> {
    if is_on(IPV4) {
        return None;
    }
    let refused = fs::write(IPV4, "1").err()?;
    Some(problem("net.ipv4.ip_forward", &refused))
}

fn look_at_ipv6() -> Option<String> {
    let remedy =
        "the host would then need net.ipv6.conf.all.accept_ra=2 to go on taking router advertisements";
    (!is_on(IPV6)).then(|| problem("net.ipv6.conf.all.forwarding", &io::Error::other(remedy)))
}

fn problem(setting: &str, why: &io::Error) -> String {
    format!(
        "this host passes no packets on, so only its own API server is reached through the VIP: set {setting}=1 on it ({why})"
    )
}

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
}
