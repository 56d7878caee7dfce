//! The filter's sets, in words and back.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn filter(entries: &[(&str, &[Port])]) -> Filter {
    let entry = |(vip, ports): &(&str, &[Port])| {
        (vip.parse().expect("an address"), Admission::Ports(ports.iter().copied().collect()))
    };
    Filter(entries.iter().map(entry).collect())
}

fn port(protocol: Protocol, port: u16) -> Port {
    Port { protocol, port }
}

#[test]
fn rows_are_what_the_registers_have_side_by_side() {
    let filter =
        filter(&[("10.0.0.1", &[port(Protocol::Tcp, 443)]), ("fd00::1", &[port(Protocol::Udp, 53)])]);
    let contents = contents(&filter);
    let keys = |set| contents[set].keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(GUARDED_IPV4), [vec![10, 0, 0, 1]]);
    assert_eq!(keys(OPEN_IPV4), [vec![10, 0, 0, 1, 6, 0, 0, 0, 1, 187, 0, 0]]);
    let address = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(keys(GUARDED_IPV6), [address.to_vec()]);
    assert_eq!(keys(OPEN_IPV6), [[&address[..], &[17, 0, 0, 0, 0, 53, 0, 0]].concat()]);
}

/// Of an address that lets in everything there is nothing in the table.
#[test]
fn an_address_without_a_filter_is_in_no_set() {
    let open = Filter([(Vip::from([10, 0, 0, 1]), Admission::Everything)].into());
    assert!(contents(&open).values().all(Elements::is_empty));
    assert_eq!(contents(&open).len(), 4, "empty sets are named: what is in them is to go");
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let vip = prop_oneof![
        any::<[u8; 4]>().prop_map(Vip::from),
        any::<[u8; 16]>().prop_map(|bytes| Vip::from(Ipv6Addr::from(bytes))),
    ];
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let ports =
        prop::collection::btree_set((protocol, 1_u16..).prop_map(|(one, number)| port(one, number)), 0..5);
    prop::collection::btree_map(vip, ports.prop_map(Admission::Ports), 0..8).prop_map(Filter)
}

proptest! {
    #[test]
    fn what_is_in_the_sets_is_read_back(filter in any_filter()) {
        let elements = contents(&filter).into_iter().map(|(set, keys)| (set.to_owned(), keys)).collect();
        prop_assert_eq!(filter_of(&Found { elements, ..Found::default() }), filter);
    }

    /// Whatever somebody else put into the sets.
    #[test]
    fn any_elements_are_read(keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..6)) {
        let sets = [GUARDED_IPV4, GUARDED_IPV6, OPEN_IPV4, OPEN_IPV6];
        let elements = sets.map(|set| (set.to_owned(), keys.iter().map(|key| (key.clone(), Vec::new())).collect())).into();
        let filter = filter_of(&Found { elements, ..Found::default() });
        prop_assert!(filter.0.len() <= 2 * keys.len());
    }
}
