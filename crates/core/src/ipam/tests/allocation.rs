//! One Service or a few, and what becomes of them.

use super::*;
use crate::intent::Family::{Ipv4 as V4, Ipv6 as V6};
use crate::intent::FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
use crate::names::NodeName;

const DUAL: (&str, &str) = ("range-global", "10.0.0.8-10.0.0.9,fd00::1-fd00::2");
pub(super) const V4_ONLY: (&str, &str) = ("range-global", "10.0.0.8-10.0.0.15");
const V6_ONLY: (&str, &str) = ("range-global", "fd00::1-fd00::10");

/// What one Service alone in the world gets.
pub(super) fn alone(entries: &[(&str, &str)], service: Service) -> Vec<String> {
    World::new(entries).with("web/a", service).lines("web/a")
}

/// A Service that keeps `address` away from others.
fn holder(address: &str) -> Service {
    web().has(&[address])
}

#[test]
fn families_are_those_that_the_service_asks_for() {
    let no_v6 = "web/a: range-global has no IPv6 addresses; add some to it, or leave IPv6 out of ipFamilies";
    let no_v4 = "web/a: range-global has no IPv4 addresses; add some to it, or leave IPv4 out of ipFamilies";
    let one_family = |line: &str| {
        format!("{line}; until then it has one family, as ipFamilyPolicy PreferDualStack allows")
    };
    for (entry, policy, families, expected) in [
        (V4_ONLY, SingleStack, vec![], vec!["assign 10.0.0.8".to_owned()]),
        (V4_ONLY, SingleStack, vec![V4], vec!["assign 10.0.0.8".to_owned()]),
        (V4_ONLY, SingleStack, vec![V6], vec!["refuse".to_owned(), no_v6.to_owned()]),
        (V6_ONLY, SingleStack, vec![], vec!["assign fd00::1".to_owned()]),
        (V6_ONLY, SingleStack, vec![V4], vec!["refuse".to_owned(), no_v4.to_owned()]),
        (DUAL, SingleStack, vec![], vec!["assign 10.0.0.8".to_owned()]),
        (DUAL, SingleStack, vec![V6], vec!["assign fd00::1".to_owned()]),
        (DUAL, PreferDualStack, vec![], vec!["assign 10.0.0.8,fd00::1".to_owned()]),
        (DUAL, PreferDualStack, vec![V4, V6], vec!["assign 10.0.0.8,fd00::1".to_owned()]),
        (DUAL, PreferDualStack, vec![V6, V4], vec!["assign fd00::1,10.0.0.8".to_owned()]),
        // The API server lists one family where the cluster has one.
        (DUAL, PreferDualStack, vec![V4], vec!["assign 10.0.0.8".to_owned()]),
        (V4_ONLY, PreferDualStack, vec![V6, V4], vec!["assign 10.0.0.8".to_owned(), one_family(no_v6)]),
        (V6_ONLY, PreferDualStack, vec![V4, V6], vec!["assign fd00::1".to_owned(), one_family(no_v4)]),
        (DUAL, RequireDualStack, vec![], vec!["assign 10.0.0.8,fd00::1".to_owned()]),
        (DUAL, RequireDualStack, vec![V6, V4], vec!["assign fd00::1,10.0.0.8".to_owned()]),
        (DUAL, RequireDualStack, vec![V6], vec!["assign fd00::1,10.0.0.8".to_owned()]),
        (V4_ONLY, RequireDualStack, vec![V4, V6], vec!["refuse".to_owned(), no_v6.to_owned()]),
        (V6_ONLY, RequireDualStack, vec![V4, V6], vec!["refuse".to_owned(), no_v4.to_owned()]),
    ] {
        assert_eq!(alone(&[entry], dual(policy, &families)), expected, "{entry:?} {policy:?} {families:?}");
    }
}

#[test]
fn an_exhausted_family_is_a_refusal_or_a_note() {
    let world = World::new(&[DUAL]).with("x/1", holder("fd00::1")).with("x/2", holder("fd00::2"));
    let why = "web/a: no IPv6 address is free in range-global, which has 2; add addresses to it, or delete a Service";
    let prefer = world.clone().with("web/a", dual(PreferDualStack, &[V6, V4]));
    let note = format!("{why}; until then it has one family, as ipFamilyPolicy PreferDualStack allows");
    assert_eq!(prefer.lines("web/a"), ["assign 10.0.0.8", &note]);
    let require = world.clone().with("web/a", dual(RequireDualStack, &[V6, V4]));
    assert_eq!(require.lines("web/a"), ["refuse", why]);
    // What it did not get is there for others.
    assert_eq!(require.with("web/b", web().created(1)).lines("web/b"), ["assign 10.0.0.8"]);
    let single = world.clone().with("web/a", dual(SingleStack, &[V6]));
    assert_eq!(single.lines("web/a"), ["refuse", why]);
    let full = world.with("x/3", holder("10.0.0.8")).with("x/4", holder("10.0.0.9"));
    let why_v4 = why.replace("IPv6", "IPv4");
    let neither = full.with("web/a", dual(PreferDualStack, &[V6, V4]));
    assert_eq!(neither.lines("web/a"), ["refuse", why, &why_v4]);
}

#[test]
fn what_is_there_stays_and_what_is_missing_is_added() {
    let prefer = dual(PreferDualStack, &[V6, V4]);
    assert_eq!(alone(&[DUAL], prefer.clone().has(&["10.0.0.9"])), ["assign fd00::1,10.0.0.9"]);
    assert_eq!(alone(&[DUAL], prefer.clone().has(&["10.0.0.9", "fd00::2"])), ["keep 10.0.0.9,fd00::2"]);
    assert_eq!(alone(&[DUAL], web().has(&["10.0.0.9", "10.0.0.8"])), ["keep 10.0.0.9,10.0.0.8"]);
    assert_eq!(alone(&[DUAL], web().has(&["10.0.0.9", "10.0.0.9"])), ["keep 10.0.0.9"]);
    // A Service that names no family keeps the one it has.
    assert_eq!(alone(&[DUAL], web().has(&["fd00::2"])), ["keep fd00::2"]);
    let half = dual(RequireDualStack, &[V4, V6]).has(&["10.0.0.9"]);
    let why = "web/a: range-global has no IPv6 addresses; add some to it, or leave IPv6 out of ipFamilies";
    assert_eq!(alone(&[V4_ONLY], half), ["keep 10.0.0.9", why]);
}

#[test]
fn a_family_is_given_back_when_it_is_no_longer_wanted() {
    let downgraded = dual(SingleStack, &[V4]).has(&["fd00::2", "10.0.0.9"]);
    assert_eq!(
        alone(&[DUAL], downgraded),
        ["assign 10.0.0.9", "web/a: fd00::2 is given back, because IPv6 is no longer among its ipFamilies"]
    );
    let moved = dual(SingleStack, &[V4]).has(&["fd00::2"]);
    assert_eq!(alone(&[DUAL], moved.clone())[0], "assign 10.0.0.8");
    // Not before something takes its place.
    assert_eq!(
        alone(&[V6_ONLY], moved),
        [
            "keep fd00::2",
            "web/a: range-global has no IPv4 addresses; add some to it, or leave IPv4 out of ipFamilies",
            "web/a: fd00::2 is IPv6, which is not among its ipFamilies: no endpoint is behind it; add the family, or name \
             another address",
        ]
    );
}

#[test]
fn no_pool_is_a_refusal() {
    let why = "web/a: no pool serves namespace web; add cidr-web or cidr-global to the ConfigMap of pools, or name an \
               address in kube-vip.io/loadbalancerIPs";
    assert_eq!(alone(&[], web()), ["refuse", why]);
    assert_eq!(alone(&[("cidr-other", "10.0.0.0/24")], web()), ["refuse", why]);
    assert_eq!(alone(&[], dual(RequireDualStack, &[V4, V6])), ["refuse", why]);
    assert_eq!(alone(&[], web().has(&["10.0.0.1"])), ["keep 10.0.0.1"]);
}

#[test]
fn the_search_begins_where_it_is_told_to() {
    let entries = [("cidr-global", "10.0.0.253-10.0.1.2,10.0.2.0/30"), ("search-order", "desc")];
    let world = World::new(&entries[..1]).with("x/1", holder("10.0.0.253")).with("x/2", holder("10.0.0.254"));
    assert_eq!(world.with("web/a", web()).lines("web/a"), ["assign 10.0.1.1"]);
    let world = World::new(&entries).with("x/1", holder("10.0.2.3")).with("x/2", holder("10.0.2.2"));
    let world = world.with("x/3", holder("10.0.2.1")).with("x/4", holder("10.0.1.2"));
    assert_eq!(world.with("web/a", web()).lines("web/a"), ["assign 10.0.1.1"]);
    let all = [("range-global", "10.0.0.255-10.0.1.0"), ("avoid-buggy-ips", "false")];
    assert_eq!(alone(&all, web()), ["assign 10.0.0.255"]);
}

#[test]
fn pools_that_overlap_hand_nothing_out_twice() {
    let world = World::new(&[("cidr-a", "10.0.0.1-10.0.0.3"), ("cidr-b", "10.0.0.2-10.0.0.4")]);
    let services = ["b/1", "b/2", "b/3", "a/4", "a/5"];
    let world =
        services.iter().zip(0..).fold(world, |world, (name, age)| world.with(name, web().created(age)));
    let got = services.map(|name| world.lines(name).remove(0));
    assert_eq!(got, ["assign 10.0.0.2", "assign 10.0.0.3", "assign 10.0.0.4", "assign 10.0.0.1", "refuse"]);
}

#[test]
fn what_others_use_is_not_handed_out() {
    let world = World::new(&[V4_ONLY])
        .used("10.0.0.8", Occupant::Node(NodeName::new("n1")))
        .used("10.0.0.9", Occupant::ControlPlane)
        .used("10.0.0.10", Occupant::Service(name("x/other")));
    assert_eq!(world.clone().with("web/a", web()).lines("web/a"), ["assign 10.0.0.11"]);
    for (address, by) in [
        ("10.0.0.8", "node n1"),
        ("10.0.0.9", "the control plane"),
        ("10.0.0.10", "the Service x/other of another controller"),
    ] {
        let asks = world.clone().with("web/a", web().annotated(address));
        let refusal = format!("web/a: {address} is in use by {by}; name another address");
        assert_eq!(asks.lines("web/a"), ["refuse", &refusal]);
        if address == "10.0.0.9" {
            let has = world.clone().with("web/a", web().has(&[address]));
            assert_eq!(has.lines("web/a"), ["assign 10.0.0.11", &refusal], "it is never two's");
            continue;
        }
        let has = world.clone().with("web/a", web().annotated(address).has(&[address]));
        let note = format!("web/a: {address} is also in use by {by}; give one of them another address");
        assert_eq!(has.lines("web/a"), [format!("keep {address}"), note]);
    }
}

#[test]
fn what_is_named_is_given() {
    for service in [
        web().annotated("10.0.0.12"),
        web().specified("10.0.0.12"),
        web().annotated("10.0.0.12").specified("x"),
    ] {
        assert_eq!(alone(&[V4_ONLY], service), ["assign 10.0.0.12"]);
    }
    let both = dual(PreferDualStack, &[V4, V6]);
    assert_eq!(
        alone(&[DUAL], both.clone().annotated(" fd00::2 , 10.0.0.9,fd00::2")),
        ["assign fd00::2,10.0.0.9"]
    );
    // One address that is named is all that is wanted.
    assert_eq!(alone(&[DUAL], both.clone().annotated("10.0.0.9")), ["assign 10.0.0.9"]);
    assert_eq!(alone(&[DUAL], both.clone().specified("10.0.0.9")), ["assign 10.0.0.9"]);
    assert_eq!(alone(&[DUAL], both.specified("10.0.0.9").has(&["10.0.0.9"])), ["keep 10.0.0.9"]);
    // A blank one is nothing, and the pool is asked.
    assert_eq!(alone(&[V4_ONLY], web().annotated(" ").specified("")), ["assign 10.0.0.8"]);
    // What is avoided may be asked for.
    assert_eq!(
        alone(&[("cidr-global", "10.0.0.0/24")], web().annotated("10.0.0.255")),
        ["assign 10.0.0.255"]
    );
}

#[test]
fn the_annotation_goes_before_the_status_and_that_before_the_spec() {
    assert_eq!(alone(&[V4_ONLY], web().annotated("10.0.0.9").has(&["10.0.0.10"])), ["assign 10.0.0.9"]);
    assert_eq!(alone(&[V4_ONLY], web().specified("10.0.0.9").has(&["10.0.0.9"])), ["keep 10.0.0.9"]);
    // A spec that says otherwise was changed since; of the other family it says nothing.
    assert_eq!(alone(&[V4_ONLY], web().specified("10.0.0.9").has(&["10.0.0.10"])), ["assign 10.0.0.9"]);
    let dual = dual(PreferDualStack, &[V4, V6]);
    let changed = dual.clone().specified("10.0.0.9").has(&["10.0.0.8", "fd00::1"]);
    assert_eq!(alone(&[DUAL], changed), ["assign 10.0.0.9,fd00::1"]);
    assert_eq!(alone(&[DUAL], dual.specified("fd00::1").has(&["10.0.0.8"])), ["keep 10.0.0.8"]);
    assert_eq!(alone(&[V4_ONLY], web().specified("a.example").has(&["10.0.0.10"])), ["keep 10.0.0.10"]);
    assert_eq!(alone(&[V4_ONLY], web().annotated("10.0.0.9").specified("10.0.0.10")), ["assign 10.0.0.9"]);
}

#[test]
fn an_address_outside_every_pool_is_told_of_and_stays() {
    let note = "web/a: 10.9.9.9 is outside every pool and stays; add it to a pool if that is not meant";
    assert_eq!(alone(&[V4_ONLY], web().has(&["10.9.9.9"])), ["keep 10.9.9.9", note]);
    assert_eq!(alone(&[V4_ONLY], web().annotated("10.9.9.9")), ["assign 10.9.9.9", note]);
    assert_eq!(alone(&[("cidr-other", "10.9.9.0/24")], web().has(&["10.9.9.9"])), ["keep 10.9.9.9"]);
    // Without pools there is nothing to be outside of.
    assert_eq!(alone(&[], web().annotated("10.9.9.9")), ["assign 10.9.9.9"]);
}

#[test]
fn an_ipv4_address_that_is_written_as_an_ipv6_one_is_that_address() {
    assert_eq!(alone(&[V4_ONLY], web().has(&["::ffff:10.0.0.9"])), ["keep 10.0.0.9"]);
    assert_eq!(alone(&[V4_ONLY], web().annotated("::ffff:10.0.0.9")), ["assign 10.0.0.9"]);
}

#[test]
fn what_is_named_wrongly_takes_nothing_away() {
    let malformed = |value: &str| {
        format!(
            "web/a: kube-vip.io/loadbalancerIPs={value:?}: is no IP address; write addresses such as 192.0.2.10 or \
             2001:db8::10, with commas between"
        )
    };
    assert_eq!(alone(&[V4_ONLY], web().annotated("10.0.0.300")), ["refuse", &malformed("10.0.0.300")]);
    let held = web().annotated("10.0.0.300").has(&["10.0.0.9"]);
    assert_eq!(alone(&[V4_ONLY], held), ["keep 10.0.0.9", &malformed("10.0.0.300")]);
    let one_bad = dual(PreferDualStack, &[V4, V6]).annotated("10.0.0.8,fd00::x");
    assert_eq!(alone(&[DUAL], one_bad.clone()), ["assign 10.0.0.8", &malformed("fd00::x")]);
    let moved = one_bad.has(&["10.0.0.9", "fd00::2"]);
    assert_eq!(alone(&[DUAL], moved), ["assign 10.0.0.8,10.0.0.9,fd00::2", &malformed("fd00::x")]);
    let slip = web().annotated("10.0.0.8,10.0.0.300").has(&["10.0.0.8", "10.0.0.9"]);
    assert_eq!(alone(&[V4_ONLY], slip), ["keep 10.0.0.8,10.0.0.9", &malformed("10.0.0.300")]);
    assert_eq!(alone(&[V4_ONLY], web().annotated("10.0.0.9,")), ["assign 10.0.0.9"]);
    let name = "web/a: spec.loadBalancerIP=\"web.example.org\": addresses by DNS name are not built yet; write addresses";
    assert_eq!(alone(&[V4_ONLY], web().specified("web.example.org")), ["refuse", name]);
    assert_eq!(
        alone(&[V4_ONLY], web().annotated("127.0.0.1")),
        [
            "refuse",
            "web/a: 127.0.0.1 is loopback (127.0.0.0/8), which no Service can have; name another address"
        ]
    );
    assert_eq!(
        alone(&[DUAL], dual(SingleStack, &[V4]).annotated("fd00::1")),
        [
            "refuse",
            "web/a: fd00::1 is IPv6, which is not among its ipFamilies; name an address of another family, or add this one"
        ]
    );
    let many: Vec<_> = (1..=17).map(|last| format!("10.0.7.{last}")).collect();
    let lines = alone(&[("cidr-global", "10.0.7.0/24")], web().annotated(&many.join(",")));
    assert_eq!(lines[0].split(',').count(), 16);
    assert_eq!(
        lines[1..],
        [
            "web/a: more than 16 addresses are named in kube-vip.io/loadbalancerIPs, and the rest is ignored; name fewer"
        ]
    );
}

#[test]
fn a_named_address_of_a_foreign_family_stays_where_it_is() {
    let note = "web/a: fd00::1 is IPv6, which is not among its ipFamilies: no endpoint is behind it; add the family, or \
                name another address";
    let service = dual(SingleStack, &[V4]).annotated("fd00::1").has(&["fd00::1"]);
    assert_eq!(alone(&[DUAL], service), ["keep fd00::1", note]);
}

#[test]
fn both_families_are_required_of_names_too() {
    let require = dual(RequireDualStack, &[V4, V6]);
    let one = "web/a: ipFamilyPolicy is RequireDualStack, and no IPv6 address is named in kube-vip.io/loadbalancerIPs; \
               name one of each family, or none";
    assert_eq!(alone(&[DUAL], require.clone().annotated("10.0.0.9")), ["refuse", one]);
    assert_eq!(alone(&[DUAL], require.clone().annotated("10.0.0.9").has(&["10.0.0.9"])), ["keep 10.0.0.9"]);
    assert_eq!(
        alone(&[DUAL], require.clone().annotated("10.0.0.9").has(&["10.0.0.8", "fd00::1"])),
        ["keep 10.0.0.8,fd00::1", one]
    );
    assert_eq!(
        alone(&[DUAL], require.clone().annotated("fd00::1").has(&["fd00::1", "10.0.0.8"])),
        ["keep fd00::1,10.0.0.8", &one.replace("IPv6", "IPv4")]
    );
    assert_eq!(alone(&[DUAL], require.clone().annotated("10.0.0.9,fd00::1")), ["assign 10.0.0.9,fd00::1"]);
    let taken = World::new(&[DUAL])
        .with("x/1", holder("fd00::1"))
        .with("web/a", require.annotated("10.0.0.9,fd00::1"));
    assert_eq!(taken.lines("web/a")[0], "refuse");
    assert_eq!(taken.lines("web/a").len(), 2);
    // What it did not get is there for others.
    assert_eq!(
        taken.with("web/b", web().created(9).annotated("10.0.0.9")).lines("web/b"),
        ["assign 10.0.0.9"]
    );
}

#[test]
fn an_address_that_is_left_is_free_once_that_is_written() {
    let world = World::new(&[("range-global", "10.0.0.9-10.0.0.9")])
        .with("web/a", web().annotated("10.9.9.9").has(&["10.0.0.9"]))
        .with("web/b", web().created(1));
    assert_eq!(world.lines("web/a")[0], "assign 10.9.9.9");
    assert_eq!(world.lines("web/b")[0], "refuse");
    assert_eq!(world.after(&world.allocate()).lines("web/b"), ["assign 10.0.0.9"]);
    // Two that want each other's both stay where they are.
    let swap = World::new(&[V4_ONLY])
        .with("web/a", web().annotated("10.0.0.9").has(&["10.0.0.8"]))
        .with("web/b", web().annotated("10.0.0.8").has(&["10.0.0.9"]));
    assert_eq!(swap.lines("web/a")[0], "keep 10.0.0.8");
    assert_eq!(swap.lines("web/b")[0], "keep 10.0.0.9");
}

/// DHCP is not built: whoever asks for it is told so, and what it has stays, as with all that is refused; but not as if
/// a DHCP server had given it.
#[test]
fn dhcp_is_refused_and_what_it_gave_stays() {
    let why = |family: &str| {
        format!(
            "web/a: {family} is to come from DHCP, which is not built yet; name an address, or write a pool of addresses"
        )
    };
    let dhcp = [("cidr-global", "0.0.0.0/32")];
    assert_eq!(alone(&dhcp, web()), ["refuse", &why("IPv4")]);
    assert_eq!(alone(&dhcp, web().has(&["0.0.0.0"])), ["refuse", &why("IPv4")]);
    let outside = "web/a: 192.168.7.7 is outside every pool and stays; add it to a pool if that is not meant";
    assert_eq!(alone(&dhcp, web().has(&["192.168.7.7"])), ["keep 192.168.7.7", outside]);
    assert_eq!(alone(&dhcp, web().has(&["192.168.7.7"]).leased("192.168.7.7")), ["keep 192.168.7.7"]);
    let both = [("cidr-global", "0.0.0.0/32,::/128")];
    let lines = alone(&both, dual(RequireDualStack, &[V6, V4]));
    assert_eq!(lines, ["refuse", &why("IPv6"), &why("IPv4")]);
    for service in [web().annotated("0.0.0.0"), web().specified("0.0.0.0")] {
        assert_eq!(alone(&[V4_ONLY], service.clone()), ["refuse", &why("IPv4")]);
        let leased = service.clone().has(&["192.168.7.7"]).leased("192.168.7.7");
        assert_eq!(alone(&[V4_ONLY], leased), ["keep 192.168.7.7"]);
        assert_eq!(
            alone(&[V4_ONLY], service.has(&["192.168.7.7"])),
            ["keep 192.168.7.7", &why("IPv4"), outside]
        );
    }
    // What is named beside it is given, and is not what the server gave.
    let beside = web().annotated("192.168.7.7,0.0.0.0");
    assert_eq!(alone(&[], beside.clone().has(&["192.168.7.7"])), ["keep 192.168.7.7", &why("IPv4")]);
    let leased = beside.has(&["192.168.7.9", "192.168.7.7"]).leased("192.168.7.9");
    assert_eq!(alone(&[], leased), ["keep 192.168.7.9,192.168.7.7"]);
    // What was leased to one is not given to another.
    let leased = World::new(&[V4_ONLY])
        .with("web/a", web().annotated("0.0.0.0").has(&["10.0.0.8"]).leased("10.0.0.8"));
    assert_eq!(leased.with("web/b", web()).lines("web/b"), ["assign 10.0.0.9"]);
}
