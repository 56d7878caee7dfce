//! Addresses in a real kernel: how they look, who removes them, and who is told.

use std::time::{Duration, Instant};

use crate::support::{
    INTERFACE, PATIENCE, Pair, address, address_of, alongside, announce, assign, done, ears, ip, marked, on,
    open, until, withdraw,
};
use mainstay_core::effect::Pace;
use mainstay_core::input::{AddressChange, Input, Link, Outcome};
use mainstay_core::names::Mac;
use mainstay_core::snapshot::Member;
use mainstay_core::vip::Vip;
use mainstay_dataplane::FaultNews;
use mainstay_dataplane::plane::{Dataplane, LinkSettings};

/// Everything is read anew every ten seconds; what is told sooner was noticed otherwise.
const BEFORE_THE_NEXT_SURVEY: Duration = Duration::from_secs(5);

fn vips() -> [Vip; 2] {
    [address_of("10.77.0.9"), address_of("fd77::9")]
}

async fn removed(plane: &mut Dataplane, wanted: Vip) -> bool {
    until(plane, "removal", |input| match input {
        Input::Address(AddressChange::Removed { vip, expired }) if *vip == wanted => Some(*expired),
        _ => None,
    })
    .await
}

async fn link(plane: &mut Dataplane, wanted: Link) {
    until(plane, "link news", |input| (*input == Input::Link(wanted)).then_some(())).await;
}

fn looks_as_ordered(host: &str, vip: Vip, seconds: std::ops::RangeInclusive<u64>) {
    let seen = address(host, vip).unwrap_or_else(|| panic!("{vip} is not there"));
    let prefix = if vip.is_ipv4() { 32 } else { 128 };
    assert_eq!(seen["prefixlen"], prefix, "{seen}");
    assert!(seen["valid_life_time"].as_u64().is_some_and(|left| seconds.contains(&left)), "{seen}");
    assert_eq!(seen["preferred_life_time"], 0, "{seen}");
    assert_eq!(seen["deprecated"], true, "{seen}");
    assert_eq!(seen["scope"], "global", "{seen}");
    if vip.is_ipv6() {
        assert_eq!(seen["nodad"], true, "{seen}");
        assert_eq!(seen.get("tentative"), None, "{seen}");
    }
}

#[test]
fn an_address_looks_as_ordered_and_a_refresh_keeps_it_so() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        for (id, seconds) in [(1, 15), (2, 40), (3, 20)] {
            assert_eq!(done(&mut plane, assign(id, &vips(), seconds)).await, Outcome::Done);
            for vip in vips() {
                looks_as_ordered(&pair.a, vip, seconds - 5..=seconds);
                // On IPv4 a flag of the first time only: one that is taken over has no prefix route anyway.
                assert_eq!(address(&pair.a, vip).map(|seen| seen["noprefixroute"] == true), Some(true));
            }
        }
        for id in [4, 5] {
            assert_eq!(done(&mut plane, withdraw(id, &vips())).await, Outcome::Done);
        }
        vips().into_iter().for_each(|vip| assert_eq!(address(&pair.a, vip), None));
        for own in ["10.77.0.1", "fd77::1"] {
            assert!(address(&pair.a, address_of(own)).is_some(), "the host's own stays");
        }
        assert_eq!(plane.counters().removed, 0, "what was ordered is no news");
    });
}

#[test]
fn the_hosts_own_address_is_refused_and_stays() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        for (id, own) in [(1, "10.77.0.1"), (2, "fd77::1")] {
            let before = address(&pair.a, address_of(own));
            let outcome = done(&mut plane, assign(id, &[address_of(own)], 15)).await;
            let Outcome::Failed(words) = outcome else { panic!("{outcome:?}") };
            assert!(words.contains("the host's own address"), "{words}");
            assert_eq!(done(&mut plane, withdraw(id + 10, &[address_of(own)])).await, Outcome::Done);
            assert_eq!(address(&pair.a, address_of(own)), before);
        }
    });
}

#[test]
fn what_another_agent_left_is_taken_over_in_place() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        for (vip, prefix) in [("10.77.0.9", "32"), ("fd77::9", "128")] {
            ip(&["-n", &pair.a, "addr", "add", &format!("{vip}/{prefix}"), "dev", INTERFACE]);
        }
        let mut plane = open().await;
        assert_eq!(done(&mut plane, assign(1, &vips(), 15)).await, Outcome::Done);
        vips().into_iter().for_each(|vip| looks_as_ordered(&pair.a, vip, 10..=15));
        assert_eq!(done(&mut plane, withdraw(2, &vips())).await, Outcome::Done);
        vips().into_iter().for_each(|vip| assert_eq!(address(&pair.a, vip), None));
    });
}

#[test]
fn the_kernel_removes_what_is_not_refreshed_and_it_is_called_expired() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        for (id, vip) in vips().into_iter().enumerate() {
            assert_eq!(done(&mut plane, assign(id as u64, &[vip], 2)).await, Outcome::Done);
            assert!(removed(&mut plane, vip).await, "{vip} expired");
            assert_eq!(address(&pair.a, vip), None);
        }
    });
}

#[test]
fn what_somebody_deletes_is_told_at_once_and_can_be_put_back() {
    let Some(pair) = Pair::new() else { return };
    let told = on(&pair.a, || async {
        let mut plane = open().await;
        let mut told = Vec::new();
        for round in 0..10 {
            for (id, vip) in vips().into_iter().enumerate() {
                assert_eq!(done(&mut plane, assign(round * 2 + id as u64, &[vip], 15)).await, Outcome::Done);
                let before = Instant::now();
                ip(&["-n", &pair.a, "addr", "del", &vip.to_string(), "dev", INTERFACE]);
                assert!(!removed(&mut plane, vip).await, "{vip} was deleted");
                told.push(before.elapsed());
            }
        }
        told
    });
    // The quickest says what the path costs, the machine's load aside.
    assert!(told.iter().min() < Some(&Duration::from_millis(100)), "{told:?}");
    eprintln!("told of a deletion, `ip` included: {told:?}");
}

#[test]
fn a_deletion_in_the_middle_of_an_order_is_not_lost() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        let [vip, other] = vips();
        // What is read at the start is behind us: orders are carried out one after another.
        for id in [1, 2] {
            assert_eq!(done(&mut plane, assign(id, &[other], 60)).await, Outcome::Done);
        }
        assert_eq!(plane.submit(assign(3, &[vip], 15)), None);
        // The order is carried out while nobody looks; so is the deletion.
        while address(&pair.a, vip).is_none() {}
        ip(&["-n", &pair.a, "addr", "del", &vip.to_string(), "dev", INTERFACE]);
        let before = Instant::now();
        assert!(!removed(&mut plane, vip).await);
        assert!(before.elapsed() < BEFORE_THE_NEXT_SURVEY, "{:?}", before.elapsed());
    });
}

#[test]
fn an_address_left_by_an_earlier_run_is_found_and_watched() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        assert_eq!(done(&mut open().await, assign(1, &vips(), 30)).await, Outcome::Done);
        let settings =
            LinkSettings { interface: INTERFACE.to_owned(), announce_every: Duration::from_secs(3), seed: 1 };
        let (mut plane, link) = Dataplane::open(settings).await.expect("it opens");
        let found: Vec<_> = link.found.iter().map(|one| one.ip).collect();
        assert_eq!(found, vips());
        assert!(
            link.found.iter().all(|one| one.remaining.is_some_and(|left| left <= Duration::from_secs(30)))
        );
        assert!(link.addresses.contains(&address_of("10.77.0.1")) && !link.addresses.contains(&vips()[0]));
        ip(&["-n", &pair.a, "addr", "del", &vips()[0].to_string(), "dev", INTERFACE]);
        assert!(!removed(&mut plane, vips()[0]).await);
    });
}

#[test]
fn the_link_is_told_of_and_what_going_down_takes_along() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        let [v4, v6] = vips();
        assert_eq!(done(&mut plane, assign(1, &vips(), 60)).await, Outcome::Done);
        ip(&["-n", &pair.a, "link", "set", INTERFACE, "down"]);
        assert!(!removed(&mut plane, v6).await, "the kernel flushes IPv6 addresses");
        // The other way round is told first or last; both are told.
        ip(&["-n", &pair.a, "link", "set", INTERFACE, "up"]);
        link(&mut plane, Link::Up).await;
        looks_as_ordered(&pair.a, v4, 30..=60);
        ip(&["-n", &pair.b, "link", "set", INTERFACE, "down"]);
        link(&mut plane, Link::Down).await;
        ip(&["-n", &pair.b, "link", "set", INTERFACE, "up"]);
        link(&mut plane, Link::Up).await;
    });
}

#[test]
fn a_device_that_is_replaced_is_followed() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        let [v4, _] = vips();
        assert_eq!(done(&mut plane, assign(1, &[v4], 60)).await, Outcome::Done);
        pair.unplug();
        assert!(!removed(&mut plane, v4).await);
        pair.plug();
        link(&mut plane, Link::Up).await;
        assert_eq!(done(&mut plane, assign(2, &[v4], 60)).await, Outcome::Done);
        looks_as_ordered(&pair.a, v4, 30..=60);
        let probe = mainstay_core::effect::Effect::Probe {
            id: mainstay_core::input::EffectId(3),
            target: address_of("10.77.0.2"),
            to: mainstay_core::effect::ProbeTo::All,
            mark: Some(crate::support::mark()),
        };
        assert_eq!(plane.submit(crate::support::listen(&[], &[address_of("10.77.0.2")])), None);
        assert!(matches!(done(&mut plane, probe).await, Outcome::Sent(_)));
        let mac = until(&mut plane, "answer", |input| match input {
            Input::Frame(frame) => Some(frame.mac),
            _ => None,
        })
        .await;
        assert_eq!(mac, crate::support::mac(&pair.b));
    });
}

#[test]
fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let error = mainstay_dataplane::describe("eth9").expect_err("there is none").to_string();
        assert_eq!(error, "interface \"eth9\" does not exist; this host has: lo, eth0");
        let error = mainstay_dataplane::describe("lo").expect_err("no Ethernet").to_string();
        assert!(error.contains("no Ethernet"), "{error}");
    });
}

#[test]
fn the_gateway_and_its_interface_are_known() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        assert_eq!(mainstay_dataplane::default_interface().expect("routes"), None);
        ip(&["-n", &pair.a, "route", "add", "default", "via", "10.77.0.2"]);
        ip(&["-n", &pair.a, "-6", "route", "add", "default", "via", "fd77::2"]);
        assert_eq!(mainstay_dataplane::default_interface().expect("routes").as_deref(), Some(INTERFACE));
        let link = mainstay_dataplane::describe(INTERFACE).expect("it exists");
        assert_eq!(link.gateways, [address_of("10.77.0.2"), address_of("fd77::2")]);
        assert_eq!((link.mtu, link.state), (1_500, Link::Up));
        assert_eq!(link.mac(), crate::support::mac(&pair.a));
    });
}

/// The source address that `host` would take towards `to`.
fn source(host: &str, to: &str) -> Vip {
    let routes: serde_json::Value =
        serde_json::from_str(&ip(&["-n", host, "-j", "route", "get", to])).expect("json");
    routes[0]["prefsrc"]
        .as_str()
        .map(address_of)
        .unwrap_or_else(|| panic!("no source towards {to}: {routes}"))
}

#[test]
fn a_virtual_address_is_no_source_of_the_hosts_own_traffic() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(done(&mut plane, assign(1, &vips(), 60)).await, Outcome::Done);
        // The host's own addresses come second now, as after a restart of its network manager.
        for own in ["10.77.0.1/24", "fd77::1/64"] {
            ip(&["-n", &pair.a, "addr", "del", own, "dev", INTERFACE]);
            ip(&["-n", &pair.a, "addr", "add", own, "dev", INTERFACE]);
        }
        ip(&["-n", &pair.a, "route", "replace", "default", "via", "10.77.0.2"]);
        ip(&["-n", &pair.a, "-6", "route", "replace", "default", "via", "fd77::2"]);
        for (to, own) in [
            ("10.77.0.2", "10.77.0.1"),
            ("192.0.2.1", "10.77.0.1"),
            ("fd77::2", "fd77::1"),
            ("2001:db8::1", "fd77::1"),
        ] {
            assert_eq!(source(&pair.a, to), address_of(own), "towards {to}");
        }
    });
}

#[test]
fn a_deletion_among_lost_news_is_found_by_reading_anew() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        let [vip, _] = vips();
        assert_eq!(done(&mut plane, assign(1, &[vip], 60)).await, Outcome::Done);
        // More news than the socket holds, while nobody reads; the one that matters comes last and is lost.
        let churn: String = (0..4_000_u32)
            .map(|n| format!("addr add 10.88.{}.{}/32 dev {INTERFACE}\n", n / 250, n % 250 + 1))
            .chain([format!("addr del {vip}/32 dev {INTERFACE}\n")])
            .collect();
        let file = std::env::temp_dir().join(format!("{}.batch", pair.a));
        std::fs::write(&file, churn).expect("a file");
        ip(&["-n", &pair.a, "-batch", file.to_str().expect("a path")]);
        std::fs::remove_file(&file).expect("it is removed");
        let before = Instant::now();
        assert!(!removed(&mut plane, vip).await);
        assert!(before.elapsed() < BEFORE_THE_NEXT_SURVEY, "{:?}", before.elapsed());
        assert!(plane.counters().news_lost > 0, "{:?}", plane.counters());
    });
}

#[test]
fn a_port_that_leaves_a_bridge_is_no_link_that_went() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        let [vip, other] = vips();
        assert_eq!(done(&mut plane, assign(1, &[vip], 60)).await, Outcome::Done);
        ip(&["-n", &pair.a, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &pair.a, "link", "set", INTERFACE, "master", "br0"]);
        ip(&["-n", &pair.a, "link", "set", INTERFACE, "nomaster"]);
        // What was told of it is read before the outcome of a later order is.
        assert_eq!(done(&mut plane, assign(2, &[other], 60)).await, Outcome::Done);
        assert_eq!(plane.counters().removed, 0);
        assert!(!plane.drain().contains(&Input::Link(Link::Down)));
    });
}

#[test]
fn one_address_refused_leaves_the_other_announced_and_is_taken_when_the_kernel_lets_it() {
    let Some(pair) = Pair::new() else { return };
    let ears = ears(&pair.b);
    let switch = |off: u8| {
        let setting = format!("net.ipv6.conf.{INTERFACE}.disable_ipv6={off}");
        ip(&["netns", "exec", &pair.a, "sysctl", "-qw", &setting]);
    };
    switch(1);
    on(&pair.a, || async {
        let mut plane = open().await;
        let [v4, v6] = vips();
        assert_eq!(done(&mut plane, assign(1, &vips(), 60)).await, Outcome::Done, "one of two is held");
        assert_eq!(plane.submit(announce(&vips(), Pace::Burst)), None);
        let refusals = plane.take_fault_news();
        let [FaultNews::Refused { vip, cause }] = &refusals[..] else { panic!("{refusals:?}") };
        assert_eq!(*vip, v6);
        assert!(cause.contains("disable_ipv6=0"), "with the remedy: {cause}");
        // Attempts go on, and tell nothing new; meanwhile the other is announced.
        let heard = alongside(&mut plane, move || marked(&ears, 10)).await;
        assert!(heard.len() >= 10 && heard.iter().all(|(_, one)| one.sender == Some(v4)), "{heard:?}");
        assert_eq!(plane.take_fault_news(), []);
        assert_eq!(plane.refused().keys().copied().collect::<Vec<_>>(), [v6]);
        switch(0);
        // The next attempt needs no new order, and is no input: look now and then.
        let began = Instant::now();
        while !plane.counters().announced.contains_key(&v6) {
            assert!(began.elapsed() < PATIENCE, "it is tried again: {:?}", plane.counters());
            let _ = tokio::time::timeout(Duration::from_millis(20), plane.next()).await;
        }
        assert_eq!(plane.take_fault_news(), [FaultNews::Accepted { vip: v6 }]);
        looks_as_ordered(&pair.a, v6, 50..=60);
    });
}

#[test]
fn all_addresses_refused_is_a_failed_order() {
    let Some(pair) = Pair::new() else { return };
    let setting = format!("net.ipv6.conf.{INTERFACE}.disable_ipv6=1");
    ip(&["netns", "exec", &pair.a, "sysctl", "-qw", &setting]);
    on(&pair.a, || async {
        let mut plane = open().await;
        let refused = [address_of("fd77::9"), address_of("fd77::10")];
        let outcome = done(&mut plane, assign(1, &refused, 60)).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert_eq!(plane.take_fault_news(), [], "the outcome says it");
    });
}

async fn own(plane: &mut Dataplane, what: &str, wanted: impl Fn(&Member) -> bool) {
    until(plane, what, |input| match input {
        Input::Own(own) if wanted(own) => Some(()),
        _ => None,
    })
    .await;
}

#[test]
fn another_hardware_address_and_another_address_of_the_host_are_told_and_used() {
    let Some(pair) = Pair::new() else { return };
    let ears = ears(&pair.b);
    let other: Mac = "02:00:00:00:77:01".parse().expect("a hardware address");
    on(&pair.a, || async {
        let mut plane = open().await;
        let [vip, _] = vips();
        assert_eq!(done(&mut plane, assign(1, &[vip], 60)).await, Outcome::Done);
        assert_eq!(plane.submit(announce(&[vip], Pace::Steady)), None);
        ip(&["-n", &pair.a, "link", "set", INTERFACE, "address", &other.to_string()]);
        let began = Instant::now();
        own(&mut plane, "news of the hardware address", |own| own.macs == [other]).await;
        // A burst, not the steady announcement that is due in three seconds.
        let heard = alongside(&mut plane, move || marked(&ears, 5)).await;
        let new: Vec<_> = heard.iter().filter(|(_, one)| one.sender_mac == other.0).collect();
        assert!(new.len() >= 4, "{heard:?}");
        assert!(new[0].0.duration_since(began) < Duration::from_secs(1), "{new:?}");

        let lease = address_of("10.77.0.31");
        ip(&["-n", &pair.a, "addr", "add", "10.77.0.31/24", "dev", INTERFACE]);
        own(&mut plane, "news of an address", |own| own.addresses.contains(&lease)).await;
        ip(&["-n", &pair.a, "addr", "del", "10.77.0.31/24", "dev", INTERFACE]);
        own(&mut plane, "news of its end", |own| !own.addresses.contains(&lease)).await;
        assert_eq!(done(&mut plane, assign(2, &[vip], 60)).await, Outcome::Done);
        let more = plane.drain();
        assert!(!more.iter().any(|input| matches!(input, Input::Own(_))), "a refresh is no news: {more:?}");
    });
}
