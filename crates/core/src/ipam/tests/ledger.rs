//! Who is on an address: with whom, before whom, and by whose leave.

use super::allocation::{V4_ONLY, alone};
use super::*;
use crate::intent::Family::Ipv6 as V6;
use crate::intent::FamilyPolicy::{PreferDualStack, SingleStack};

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
fn what_is_given_of_ipv6_hides_nothing_that_is_shared() {
    let entries = [("allow-share-global", "true"), ("search-order", "desc")];
    let pool = ("cidr-web", "10.0.0.1-10.0.0.2,fd00::1-fd00::2");
    let world = World::new(&[entries[0], entries[1], pool])
        .with("web/a", web().created(1).on(&["53/UDP"]).has(&["10.0.0.1"]))
        .with("web/b", dual(PreferDualStack, &[]).created(2).on(&["53/TCP", "53/UDP"]))
        .with("web/c", web().created(3).on(&["53/TCP"]));
    // web/a has a port of web/b's, but none of web/c's.
    assert_eq!(world.lines("web/b"), ["assign 10.0.0.2,fd00::2"]);
    assert_eq!(world.lines("web/c"), ["assign 10.0.0.1"]);
}

#[test]
fn what_is_given_of_ipv6_is_not_shared_in_place_of_ipv4() {
    let world = World::new(&[("cidr-web", "10.0.0.1/32,fd00::1/128"), ("allow-share-global", "true")])
        .with("web/a", web().created(1).on(&["53/UDP"]).has(&["10.0.0.1"]))
        .with("web/b", web().created(2).on(&["53/UDP"]))
        .with("web/c", dual(PreferDualStack, &[]).created(3).on(&["80/TCP"]))
        .with("web/d", web().created(4).on(&["53/UDP"]));
    assert_eq!(world.lines("web/c"), ["assign 10.0.0.1,fd00::1"]);
    // The port that web/b did not find free is free on web/c's second address only.
    assert_eq!([world.lines("web/b").remove(0), world.lines("web/d").remove(0)], ["refuse", "refuse"]);
}

#[test]
fn what_is_given_up_goes_on_from_one_to_the_next() {
    // web/b's first address is web/a's to leave, which it does for the one that web/b leaves for its second.
    let world = World::new(&[])
        .with("web/a", web().specified("10.0.0.5").has(&["10.0.0.1"]))
        .with("web/b", web().annotated("10.0.0.1,10.0.0.9").has(&["10.0.0.5", "fd00::2"]));
    let steps = std::iter::successors(Some(world), |world| Some(world.after(&world.allocate())));
    let verdicts = |world: World| ["web/a", "web/b"].map(|name| world.lines(name).remove(0));
    let expected = [
        ["keep 10.0.0.1", "assign 10.0.0.9,fd00::2"],
        ["assign 10.0.0.5", "keep 10.0.0.9,fd00::2"],
        ["keep 10.0.0.5", "assign 10.0.0.1,10.0.0.9"],
        ["keep 10.0.0.5", "keep 10.0.0.1,10.0.0.9"],
    ];
    assert_eq!(steps.take(expected.len()).map(verdicts).collect::<Vec<_>>(), expected);
}
