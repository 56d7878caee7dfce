//! Who serves, and that a choice by the client's address moves nobody but a lost backend's clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::time::Moment;

fn backend(host: u8) -> SocketAddr {
    SocketAddr::new([10, 0, 0, host].into(), 6443)
}

fn backends(hosts: impl IntoIterator<Item = u8>) -> BTreeSet<SocketAddr> {
    hosts.into_iter().map(backend).collect()
}

fn listed(hosts: impl IntoIterator<Item = u8>) -> Listed {
    backends(hosts).into_iter().map(|one| (one, None)).collect()
}

fn pool(hosts: impl IntoIterator<Item = u8>) -> Pool {
    let three = |count| NonZeroU32::new(count).expect("not zero");
    let mut pool = Pool::new(Thresholds { rise: three(2), fall: three(3) });
    pool.list(&listed(hosts));
    pool
}

/// Answers one after another: `.` good, `x` bad.
fn answer(pool: &mut Pool, host: u8, answers: &str) {
    for (at, answer) in (1..).zip(answers.chars()) {
        let answer = if answer == '.' { Ok(()) } else { Err("connection refused".to_owned()) };
        pool.answered(Moment::from_millis(at), backend(host), answer);
    }
}

fn takes(pool: &Pool) -> BTreeSet<SocketAddr> {
    pool.serving(None).takes
}

/// The answers of backend 1, and whether it serves beside backend 2, which is up.
#[test]
fn the_first_answer_counts_and_then_it_takes_several() {
    for (answers, serves) in [
        ("", false),
        (".", true),
        ("x", false),
        (".xx", true),
        (".xxx", false),
        (".xx.xx.", true),
        ("x.", false),
        ("x..", true),
        (".xxx.x.", false),
        (".xxx.x..", true),
    ] {
        let mut pool = pool([1, 2]);
        answer(&mut pool, 2, ".");
        answer(&mut pool, 1, answers);
        assert_eq!(takes(&pool).contains(&backend(1)), serves, "{answers}");
    }
}

#[test]
fn only_what_may_soon_fall_is_looked_at_soon() {
    for (answers, failing) in [
        ("", Failing::No),
        (".", Failing::No),
        (".x", Failing::Yes),
        (".xxx", Failing::No),
        ("x.", Failing::No),
    ] {
        let mut pool = pool([1]);
        answer(&mut pool, 1, answers);
        assert_eq!(pool.failing(backend(1)), failing, "{answers}");
    }
}

#[test]
fn when_none_is_up_those_serve_that_were_up_last() {
    let mut pool = pool([1, 2, 3]);
    assert_eq!(
        pool.serving(None),
        Serving { takes: backends([1, 2, 3]), keeps: backends([1, 2, 3]), in_doubt: true }
    );
    answer(&mut pool, 1, "x");
    assert_eq!(takes(&pool), backends([2, 3]), "of those, nobody knows anything bad");
    answer(&mut pool, 2, ".");
    answer(&mut pool, 3, ".");
    assert_eq!(
        pool.serving(None),
        Serving { takes: backends([2, 3]), keeps: backends([2, 3]), in_doubt: false }
    );
    answer(&mut pool, 2, "xxx");
    assert_eq!((takes(&pool), pool.serving(None).in_doubt), (backends([3]), false));
    answer(&mut pool, 3, "xxx");
    assert_eq!((takes(&pool), pool.serving(None).in_doubt), (backends([3]), true), "the last one that was");
    pool.list(&listed([1, 2]));
    assert_eq!(takes(&pool), backends([1, 2]), "which is gone for good");
    answer(&mut pool, 1, "..");
    assert_eq!((takes(&pool), pool.serving(None).in_doubt), (backends([1]), false));
}

#[test]
fn an_empty_list_is_no_news_and_another_keeps_what_is_known() {
    let mut pool = pool([1, 2]);
    answer(&mut pool, 1, ".");
    answer(&mut pool, 2, "x");
    pool.list(&Listed::new());
    assert_eq!(takes(&pool), backends([1]));
    pool.list(&listed([1, 2, 3]));
    assert_eq!(takes(&pool), backends([1]), "who comes is checked first");
    assert!(!pool.all_tried());
    answer(&mut pool, 3, ".");
    answer(&mut pool, 9, ".");
    assert_eq!((takes(&pool), pool.all_tried()), (backends([1, 3]), true));
    assert_eq!(pool.members()[&backend(2)].last_error.as_deref(), Some("connection refused"));
}

#[test]
fn who_is_here_takes_what_is_new_while_it_is_up_and_others_keep_what_they_have() {
    let here: BTreeSet<IpAddr> = [backend(2).ip()].into();
    let mut pool = pool([1, 2, 3]);
    (1..=3).for_each(|host| answer(&mut pool, host, "."));
    let serving = pool.serving(Some(&here));
    assert_eq!((serving.takes, serving.keeps), (backends([2]), backends([1, 2, 3])));
    answer(&mut pool, 2, "xxx");
    let serving = pool.serving(Some(&here));
    assert_eq!((serving.takes, serving.keeps), (backends([1, 3]), backends([1, 3])));
}

#[test]
fn a_family_without_a_backend_here_is_served_by_others() {
    let v6: SocketAddr = "[fd00::1]:6443".parse().expect("an address");
    let mut pool = pool([]);
    pool.list(&[backend(1), backend(2), v6].map(|one| (one, None)).into());
    for one in [backend(1), backend(2), v6] {
        pool.answered(Moment::ZERO, one, Ok(()));
    }
    let takes = pool.serving(Some(&[backend(1).ip()].into())).takes;
    assert_eq!(takes, [backend(1), v6].into());
}

fn balance(distribution: Distribution, takes: BTreeSet<SocketAddr>) -> Balance {
    Balance { vips: [[10, 0, 0, 100].into()].into(), keeps: takes.clone(), takes, port: 6443, distribution }
}

fn slots(distribution: Distribution, hosts: &[u8]) -> Vec<SocketAddr> {
    balance(distribution, backends(hosts.iter().copied())).slots([10, 0, 0, 100].into())
}

#[test]
fn turns_are_even_for_up_to_eight_and_clients_within_a_tenth_for_a_few() {
    for count in 1..=8_u8 {
        let hosts: Vec<u8> = (1..=count).collect();
        for (distribution, off) in [(Distribution::RoundRobin, 0), (Distribution::SourceHash, 10)] {
            let even = distribution.slots() / usize::from(count);
            let mut parts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
            slots(distribution, &hosts).into_iter().for_each(|one| *parts.entry(one).or_default() += 1);
            let most = if count > 3 { 2 * off } else { off };
            assert!(
                parts.len() == hosts.len()
                    && parts.values().all(|part| part.abs_diff(even) * 100 <= even * most),
                "{distribution:?} {parts:?}"
            );
        }
    }
}

#[test]
fn each_family_has_its_own_backends() {
    let v6: SocketAddr = "[fd00::1]:6443".parse().expect("an address");
    let vips: BTreeSet<Vip> = [[10, 0, 0, 100].into(), "fd00::100".parse().expect("an address")].into();
    let both = Balance { vips: vips.clone(), ..balance(Distribution::RoundRobin, [backend(1), v6].into()) };
    for vip in &vips {
        assert!(both.slots(*vip).iter().all(|one| one.is_ipv4() == vip.is_ipv4()));
    }
    assert_eq!(both.served().collect::<BTreeSet<_>>(), vips);
    let one = Balance { vips: vips.clone(), ..balance(Distribution::RoundRobin, backends([1])) };
    assert!(one.slots("fd00::100".parse().expect("an address")).is_empty());
    assert_eq!(one.served().count(), 1);
}

#[test]
fn whoever_passes_strays_on_asks_each_node_once() {
    let nodes: BTreeSet<IpAddr> = [2, 5, 7].map(|host| [10, 0, 0, host].into()).into();
    let next = |here: u8| {
        let next = next_in_ring(&nodes, &[[10, 0, 0, here].into()].into(), [10, 0, 0, 100].into());
        next.map(|next| next.to_string())
    };
    for (here, expected) in
        [(2, "10.0.0.5"), (5, "10.0.0.7"), (7, "10.0.0.2"), (9, "10.0.0.2"), (1, "10.0.0.2")]
    {
        assert_eq!(next(here).as_deref(), Some(expected), "{here}");
    }
    let v6: IpAddr = "fd00::100".parse().expect("an address");
    assert_eq!(next_in_ring(&nodes, &BTreeSet::new(), v6), None, "none of that family");
    assert_eq!(next_in_ring(&nodes, &nodes, [10, 0, 0, 100].into()), None, "nobody else");
}

proptest! {
    /// Whoever has a slot that was the lost backend's is new there; every other slot is whose it was.
    #[test]
    fn a_backend_takes_its_own_clients_along_and_no_others(hosts in proptest::collection::btree_set(1..=200_u8, 2..7)) {
        let hosts: Vec<u8> = hosts.into_iter().collect();
        let (lost, left) = hosts.split_first().expect("two at least");
        let (before, after) = (slots(Distribution::SourceHash, &hosts), slots(Distribution::SourceHash, left));
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(before == after || *before == backend(*lost));
        }
        prop_assert_eq!(before.len(), after.len());
    }
}
