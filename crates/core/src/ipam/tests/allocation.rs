//! One Service or a few, and what becomes of them.

use super::*;
use crate::intent::Family::{Ipv4 as V4, Ipv6 as V6};
use crate::intent::FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
use crate::names::NodeName;

const DUAL: (&str, &str) = ("range-global", "10.0.0.8-10.0.0.9,fd00::1-fd00::2");
const V4_ONLY: (&str, &str) = ("range-global", "10.0.0.8-10.0.0.15");
const V6_ONLY: (&str, &str) = ("range-global", "fd00::1-fd00::10");

/// What one Service alone in the world gets.
fn alone(entries: &[(&str, &str)], service: Service) -> Vec<String> {
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

const TAKEN: &str = "10.0.0.9 is taken by web/a; name another address, or let both share it: allow-share for both \
                     namespaces, or the address named by both, and ports on both";

#[test]
fn a_named_address_that_is_taken_is_refused() {
    let world = World::new(&[V4_ONLY]).with("web/a", web().created(5).has(&["10.0.0.9"]));
    // Age does not help against what is assigned.
    let asks = world.clone().with("web/b", web().created(1).annotated("10.0.0.9").on(&["443/TCP"]));
    assert_eq!(asks.lines("web/b"), ["refuse", &format!("web/b: {TAKEN}")]);
    assert_eq!(asks.lines("web/a"), ["keep 10.0.0.9"]);
    let moves = world.with("web/b", web().annotated("10.0.0.9").has(&["10.0.0.10"]));
    assert_eq!(moves.lines("web/b"), ["keep 10.0.0.10", &format!("web/b: {TAKEN}")]);
    // Of two that ask, the older one is asked first, and a name goes before a pool's choice.
    let world = World::new(&[V4_ONLY]).with("web/a", web().created(1).annotated("10.0.0.9"));
    let both = world.clone().with("web/b", web().created(2).annotated("10.0.0.9"));
    assert_eq!(both.lines("web/a"), ["assign 10.0.0.9"]);
    assert_eq!(both.lines("web/b")[0], "refuse");
    let chosen = World::new(&[("range-global", "10.0.0.9-10.0.0.10")]);
    let chosen = chosen.with("web/a", web().created(2).annotated("10.0.0.9")).with("web/b", web().created(1));
    assert_eq!(chosen.lines("web/b"), ["assign 10.0.0.10"]);
}

const CLASH: &str = "10.0.0.9 is shared, but web/a has 80/TCP on it; choose another port or another address";

#[test]
fn of_two_that_have_a_port_of_it_the_older_keeps_it() {
    let world = World::new(&[V4_ONLY]).with("web/b", web().created(2).has(&["10.0.0.9"]));
    let older = world.clone().with("web/a", web().created(1).has(&["10.0.0.9"]));
    assert_eq!(older.lines("web/a"), ["keep 10.0.0.9"]);
    assert_eq!(older.lines("web/b"), ["assign 10.0.0.8", &format!("web/b: {CLASH}")]);
    let by_name = world.clone().with("web/a", web().created(2).has(&["10.0.0.9"]));
    assert_eq!(by_name.lines("web/b"), ["assign 10.0.0.8", &format!("web/b: {CLASH}")]);
    // Namespaces go before names.
    let by_namespace = world.with("x/a", web().created(2).has(&["10.0.0.9"]));
    assert_eq!(by_namespace.lines("web/b"), ["keep 10.0.0.9"]);
    // Who names it gets no other.
    let named = older.with("web/b", web().created(2).has(&["10.0.0.9"]).annotated("10.0.0.9"));
    assert_eq!(named.lines("web/b"), ["refuse", &format!("web/b: {CLASH}")]);
    let specified = named.with("web/b", web().created(2).has(&["10.0.0.9"]).specified("10.0.0.9"));
    assert_eq!(specified.lines("web/b"), ["refuse", &format!("web/b: {CLASH}")]);
    // What it has beside the lost one stays.
    let beside =
        specified.with("web/b", web().created(2).has(&["10.0.0.9", "10.0.0.11"]).specified("10.0.0.9"));
    assert_eq!(beside.lines("web/b"), ["assign 10.0.0.11", &format!("web/b: {CLASH}")]);
}

#[test]
fn a_port_that_came_late_goes_behind_those_that_were_there() {
    let shop = || {
        World::new(&[V4_ONLY]).with("web/b", web().created(2).had("10.0.0.9", &["443/TCP"]).on(&["443/TCP"]))
    };
    let edited = web().created(1).had("10.0.0.9", &["80/TCP"]).on(&["80/TCP", "443/TCP"]);
    let world = shop().with("web/a", edited.clone());
    let clash =
        "web/a: 10.0.0.9 is shared, but web/b has 443/TCP on it; choose another port or another address";
    assert_eq!(world.lines("web/a"), ["assign 10.0.0.8", clash]);
    assert_eq!(world.lines("web/b")[0], "keep 10.0.0.9");
    // Nobody gets what it leaves before that is written.
    let third = world.with("web/c", web().created(3).annotated("10.0.0.9").on(&["22/TCP"]));
    assert_eq!(third.lines("web/c")[0], "refuse");
    // All of its ports are new: it is the last all the same.
    let replaced = shop().with("web/a", edited.clone().had("10.0.0.9", &["22/TCP"]));
    assert_eq!(replaced.lines("web/a")[0], "assign 10.0.0.8");
    // Of two that both get it late, the older has it.
    let both = shop()
        .with("web/a", edited.clone())
        .with("web/b", web().created(2).had("10.0.0.9", &["53/UDP"]).on(&["53/UDP", "443/TCP"]));
    assert_eq!(both.lines("web/a")[0], "keep 10.0.0.9");
    assert_eq!(both.lines("web/b")[0], "assign 10.0.0.8");
    // What is published of ports that it has no more counts for nothing.
    let gone = shop().with("web/b", web().created(2).had("10.0.0.9", &["443/TCP"]).on(&["22/TCP"]));
    assert_eq!(gone.with("web/a", edited).lines("web/a")[0], "keep 10.0.0.9");
}

#[test]
fn who_shares_already_needs_nobodys_leave() {
    let unasked = |service: &str| {
        format!(
            "{service}: 10.0.0.9 stays shared, though it does not agree to that any more; set allow-share for its \
             namespace, or name the address"
        )
    };
    let on = |port: &str| web().on(&[port]).has(&["10.0.0.9"]);
    let both = |pools: &[(&str, &str)]| World::new(pools).with("a/1", on("80/TCP")).with("b/2", on("81/TCP"));
    let allowed = both(&[("allow-share-global", "true")]);
    assert_eq!([allowed.lines("a/1"), allowed.lines("b/2")], [["keep 10.0.0.9"], ["keep 10.0.0.9"]]);
    let revoked = both(&[]);
    for name in ["a/1", "b/2"] {
        assert_eq!(revoked.lines(name), ["keep 10.0.0.9", &unasked(name)]);
    }
    let half = both(&[("allow-share-a", "true")]);
    assert_eq!(half.lines("a/1"), ["keep 10.0.0.9"]);
    assert_eq!(half.lines("b/2"), ["keep 10.0.0.9", &unasked("b/2")]);
    // But nobody joins, though it agrees, and some do.
    let third = half.with("a/3", web().on(&["82/TCP"]).annotated("10.0.0.9"));
    assert_eq!(third.lines("a/3")[0], "refuse");
}

#[test]
fn what_the_cloud_provider_wrote_is_assigned_and_nobodys_wish() {
    let marked = || web().annotated("10.0.0.9").specified("10.0.0.9").by_cloud_provider();
    assert_eq!(alone(&[V4_ONLY], marked()), ["keep 10.0.0.9"], "though the status says nothing yet");
    assert_eq!(alone(&[V4_ONLY], web().specified("10.0.0.9").by_cloud_provider()), ["keep 10.0.0.9"]);
    assert_eq!(alone(&[V4_ONLY], web().annotated("0.0.0.0").by_cloud_provider()), ["assign 10.0.0.8"]);
    let other = "web/a: it names addresses that its status does not have, and that are not followed: by its label \
                 implementation=kube-vip it was kube-vip-cloud-provider that wrote them; remove the label if they are meant";
    assert_eq!(alone(&[V4_ONLY], marked().has(&["10.0.0.10"])), ["keep 10.0.0.10", other]);
    assert_eq!(alone(&[V4_ONLY], marked().has(&["10.0.0.9"])), ["keep 10.0.0.9"]);
    // It is no consent to share: neither to join nor to be joined.
    let world = World::new(&[V4_ONLY]).with("web/a", marked().created(1).has(&["10.0.0.9"]));
    let joins = world.clone().with("web/b", web().created(2).annotated("10.0.0.9").on(&["81/TCP"]));
    assert_eq!(joins.lines("web/b"), ["refuse", &format!("web/b: {TAKEN}")]);
    let person =
        World::new(&[V4_ONLY]).with("web/a", web().created(1).annotated("10.0.0.9").has(&["10.0.0.9"]));
    let late =
        person.with("web/b", web().created(2).annotated("10.0.0.9").by_cloud_provider().on(&["81/TCP"]));
    assert_eq!(late.lines("web/b")[0], "assign 10.0.0.8");
    // Behind all that has a status, and before all that is asked for.
    let status = World::new(&[V4_ONLY]).with("web/a", marked().created(1));
    let young = status.clone().with("web/b", web().created(2).has(&["10.0.0.9"]));
    assert_eq!(
        [young.lines("web/a").remove(0), young.lines("web/b").remove(0)],
        ["assign 10.0.0.8", "keep 10.0.0.9"]
    );
    let old = status.with("web/b", web().created(0).annotated("10.0.0.9"));
    assert_eq!([old.lines("web/a").remove(0), old.lines("web/b").remove(0)], ["keep 10.0.0.9", "refuse"]);
    // Who loses it asks the pools, for no person named it.
    let lost = world.with("web/b", marked().created(2).has(&["10.0.0.9"]));
    assert_eq!(lost.lines("web/b")[0], "assign 10.0.0.8");
}

#[test]
fn what_two_have_nobody_else_gets_before_that_is_settled() {
    let sharing = [V4_ONLY, ("allow-share-global", "true")];
    let world = World::new(&sharing)
        .with("web/a", web().created(1).has(&["10.0.0.9"]))
        .with("web/b", web().created(2).has(&["10.0.0.9"]).on(&["80/TCP", "443/TCP"]));
    // On web/a's address port 443 is free only once web/b has left it, for 10.0.0.8.
    let third = world.clone().with("web/c", web().created(3).on(&["443/TCP"]));
    assert_eq!(third.lines("web/c"), ["assign 10.0.0.10"]);
    let named = world.clone().with("web/c", web().created(3).on(&["443/TCP"]).annotated("10.0.0.9"));
    assert_eq!(named.lines("web/c"), ["refuse", &format!("web/c: {TAKEN}")]);
    let after = named.after(&named.allocate());
    assert_eq!(after.lines("web/c"), ["assign 10.0.0.9"]);
    // One that has it, and disturbs nobody, keeps it.
    let there = world.with("web/c", web().created(3).on(&["53/UDP"]).has(&["10.0.0.9"]));
    assert_eq!(there.lines("web/c"), ["keep 10.0.0.9"]);
}

#[test]
fn services_share_where_the_namespace_allows_it() {
    let entries = [("range-global", "10.0.0.8-10.0.0.15,fd00::1-fd00::2"), ("allow-share-web", "true")];
    let world = World::new(&entries).with("web/a", web().has(&["10.0.0.9"]));
    let joins = |service: Service| world.clone().with("web/b", service.created(1)).lines("web/b");
    assert_eq!(joins(web().on(&["443/TCP"])), ["assign 10.0.0.9"]);
    assert_eq!(joins(web().on(&["80/UDP"])), ["assign 10.0.0.9"]);
    assert_eq!(joins(web()), ["assign 10.0.0.8"]);
    assert_eq!(joins(web().on(&["443/TCP", "80/TCP"])), ["assign 10.0.0.8"]);
    assert_eq!(joins(web().on(&[])), ["assign 10.0.0.8"]);
    // IPv6 has addresses enough: it is not shared unasked.
    let six = world.clone().with("web/c", dual(SingleStack, &[V6]).has(&["fd00::1"]));
    let six = six.with("web/b", dual(SingleStack, &[V6]).on(&["443/TCP"]).created(1));
    assert_eq!(six.lines("web/b"), ["assign fd00::2"]);
    // Of another namespace, and of one without ports, nothing is shared.
    let foreign = World::new(&entries).with("other/a", web().has(&["10.0.0.9"]));
    assert_eq!(foreign.with("web/b", web().on(&["443/TCP"])).lines("web/b"), ["assign 10.0.0.8"]);
    let portless = World::new(&entries).with("web/a", web().on(&[]).has(&["10.0.0.9"]));
    assert_eq!(portless.with("web/b", web().on(&["443/TCP"])).lines("web/b"), ["assign 10.0.0.8"]);
    let asks = world.clone().with("other/b", web().on(&["443/TCP"]).annotated("10.0.0.8"));
    assert_eq!(asks.lines("other/b"), ["assign 10.0.0.8"]);
    // One that does not agree stays where it is already, and gets no other's.
    let unasked = world.clone().with("other/b", web().created(1).on(&["443/TCP"]).has(&["10.0.0.9"]));
    assert_eq!(unasked.lines("other/b").len(), 2, "{:?}", unasked.lines("other/b"));
    let asks = world.clone().with("other/b", web().created(1).on(&["443/TCP"]));
    assert_eq!(asks.lines("other/b"), ["assign 10.0.0.8"]);
    let outside = World::new(&entries).with("web/a", web().has(&["10.9.9.9"]));
    assert_eq!(outside.with("web/b", web().on(&["443/TCP"])).lines("web/b"), ["assign 10.0.0.8"]);
}

#[test]
fn an_address_just_given_is_shared_at_once() {
    let world = World::new(&[V4_ONLY, ("allow-share-global", "1")])
        .with("web/a", web().created(1))
        .with("web/b", web().created(2).on(&["443/TCP"]))
        .with("web/c", web().created(3))
        .with("web/d", web().created(4).on(&["443/TCP"]))
        .with("web/e", web().created(5).on(&["53/UDP"]));
    let got = ["web/a", "web/b", "web/c", "web/d", "web/e"].map(|name| world.lines(name).remove(0));
    assert_eq!(got, ["8", "8", "9", "9", "8"].map(|last| format!("assign 10.0.0.{last}")));
}

#[test]
fn services_share_what_all_of_them_name() {
    // kube-vip's own way, without a ConfigMap: the same address in each Service, and ports that differ.
    let world = World::new(&[]).with("web/a", web().created(1).specified("10.0.0.9").has(&["10.0.0.9"]));
    let joins = world.clone().with("web/b", web().created(2).specified("10.0.0.9").on(&["81/TCP"]));
    assert_eq!(joins.lines("web/b"), ["assign 10.0.0.9"]);
    let clash =
        "web/b: 10.0.0.9 is shared, but web/a has 80/TCP on it; choose another port or another address";
    let clashes =
        world.clone().with("web/b", web().created(2).annotated("10.0.0.9").on(&["81/TCP", "80/TCP"]));
    assert_eq!(clashes.lines("web/b"), ["refuse", clash]);
    let had = world.with("web/b", web().created(2).annotated("10.0.0.9").has(&["10.0.0.9"]));
    assert_eq!(had.lines("web/b"), ["refuse", clash]);
    // One that names it is not enough.
    let unasked = World::new(&[]).with("web/a", web().created(1).has(&["10.0.0.9"]));
    let unasked = unasked.with("web/b", web().created(2).annotated("10.0.0.9").on(&["81/TCP"]));
    assert_eq!(unasked.lines("web/b"), ["refuse", &format!("web/b: {TAKEN}")]);
    let mixed = World::new(&[("allow-share-web", "true")]).with("web/a", web().has(&["10.0.0.9"]));
    let mixed = mixed.with("other/b", web().annotated("10.0.0.9").on(&["81/TCP"]));
    assert_eq!(mixed.lines("other/b"), ["assign 10.0.0.9"]);
}

#[test]
fn nothing_that_is_avoided_or_in_use_is_shared_unasked() {
    let sharing = [V4_ONLY, ("allow-share-global", "true")];
    let world = World::new(&sharing).used("10.0.0.9", Occupant::ControlPlane);
    let world =
        world.with("web/a", web().has(&["10.0.0.9"])).with("web/b", web().created(1).on(&["443/TCP"]));
    assert_eq!(world.lines("web/b"), ["assign 10.0.0.8"]);
    let buggy =
        World::new(&[("cidr-global", "10.0.0.0/24"), sharing[1]]).with("web/a", web().has(&["10.0.0.0"]));
    assert_eq!(buggy.with("web/b", web().created(1).on(&["443/TCP"])).lines("web/b"), ["assign 10.0.0.1"]);
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
