//! A set of spans is the set of its addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::address::{SearchOrder, Span, is_buggy, step};
use super::super::set::AddressSet;
use super::{Family, ip};

const ORDERS: [SearchOrder; 2] = [SearchOrder::Ascending, SearchOrder::Descending];

/// Addresses at both edges of IPv4 and around a boundary of octets, in order.
fn universe() -> Vec<std::net::IpAddr> {
    let edges = [0..=9, 250..=261, u32::MAX - 9..=u32::MAX];
    edges.into_iter().flatten().map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
}

proptest! {
    #[test]
    fn a_set_contains_what_was_put_in(spans in prop::collection::vec((0_usize..32, 0_usize..4), 0..12)) {
        let all = universe();
        let (mut set, mut model) = (AddressSet::default(), BTreeSet::new());
        for (first, length) in spans {
            let last = (first + length).min(all.len() - 1);
            let span = Span::new(all[first], all[last]).unwrap();
            set.insert_span(span);
            model.extend(all.iter().copied().filter(|one| (span.first..=span.last).contains(one)));
        }
        for one in &all {
            prop_assert_eq!(set.contains(*one), model.contains(one), "{}", one);
        }
        let spans: Vec<_> = set.spans().collect();
        for pair in spans.windows(2) {
            let next = step(pair[0].last, SearchOrder::Ascending);
            prop_assert!(next.is_some_and(|next| next < pair[1].first), "{} touches {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn a_search_finds_the_first(present in prop::collection::btree_set(0_usize..32, 0..32), from in 0_usize..32) {
        let all = universe();
        let mut set = AddressSet::default();
        present.iter().for_each(|index| set.insert(all[*index]));
        // The universe has gaps: only what is in it counts as absent.
        let is_absent = |index: &usize| !present.contains(index);
        let up = |wanted: &dyn Fn(&usize) -> bool| (from..32).find(|index| wanted(index)).map(|index| all[index]);
        let down = |wanted: &dyn Fn(&usize) -> bool| (0..=from).rev().find(|index| wanted(index)).map(|index| all[index]);
        prop_assert_eq!(set.first_present(all[from], SearchOrder::Ascending), up(&|index| present.contains(index)));
        prop_assert_eq!(set.first_present(all[from], SearchOrder::Descending), down(&|index| present.contains(index)));
        for order in ORDERS {
            let found = set.first_absent(all[from], order);
            let expected = if order == SearchOrder::Ascending { up(&is_absent) } else { down(&is_absent) };
            // What is found between the edges is nearer than the next address of the universe.
            let in_universe = found.filter(|found| all.contains(found));
            prop_assert!(found.is_none_or(|found| !set.contains(found)));
            prop_assert!(in_universe.is_none() || in_universe == expected, "{:?} {:?}", found, expected);
            prop_assert!(found.is_some() || expected.is_none());
        }
    }

    #[test]
    fn addresses_to_avoid_are_counted_without_looking_at_each(first: u32, length in 0_u32..2_000) {
        let last = first.saturating_add(length);
        let address = |bits| std::net::IpAddr::V4(Ipv4Addr::from_bits(bits));
        let counted = (first..=last).filter(|bits| is_buggy(address(*bits))).count();
        let span = Span::new(address(first), address(last)).unwrap();
        prop_assert_eq!(span.buggy_size(), counted as u128);
        prop_assert_eq!(span.size(), u128::from(last - first) + 1);
    }
}

#[test]
fn families_do_not_touch() {
    let mut set = AddressSet::default();
    set.insert(ip("255.255.255.255"));
    set.insert(ip("::"));
    assert_eq!(set.spans().map(|span| span.to_string()).collect::<Vec<_>>(), ["255.255.255.255", "::"]);
    assert_eq!(set.first_present(ip("10.0.0.0"), SearchOrder::Ascending), Some(ip("255.255.255.255")));
    assert_eq!(set.first_absent(ip("255.255.255.255"), SearchOrder::Ascending), None);
    assert_eq!(set.first_absent(ip("::"), SearchOrder::Descending), None);
    let mut six = AddressSet::default();
    six.insert(ip("fd00::1"));
    assert_eq!(six.first_present(ip("10.0.0.0"), SearchOrder::Ascending), None);
    let mut four = AddressSet::default();
    four.insert(ip("10.0.0.1"));
    assert_eq!(four.first_present(ip("fd00::1"), SearchOrder::Descending), None);
}

#[test]
fn a_prefix_is_a_span() {
    for (address, length, expected) in [
        ("192.168.0.220", 29, "192.168.0.216-192.168.0.223"),
        ("10.1.2.3", 32, "10.1.2.3"),
        ("10.1.2.3", 0, "0.0.0.0-255.255.255.255"),
        ("fd00::5", 126, "fd00::4-fd00::7"),
        ("fd00::5", 0, "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fd00::5", 128, "fd00::5"),
    ] {
        assert_eq!(Span::of_prefix(ip(address), length).unwrap().to_string(), expected);
    }
    assert_eq!(Span::of_prefix(ip("10.0.0.0"), 33), None);
    assert_eq!(Span::of_prefix(ip("::"), 129), None);
    assert_eq!(Span::new(ip("10.0.0.2"), ip("10.0.0.1")), None);
    assert_eq!(Span::new(ip("10.0.0.2"), ip("fd00::")), None);
    assert_eq!(Span::of_prefix(ip("::"), 0).unwrap().size(), u128::MAX);
    assert_eq!(Span::of_prefix(ip("fd00::"), 64).unwrap().size(), 1 << 64);
    assert_eq!(Family::of(ip("::ffff:10.0.0.1")), Family::Ipv6);
}
