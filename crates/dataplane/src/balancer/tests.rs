//! The balancer's elements, in words and back, and the form that `nft` is to show.

use proptest::prelude::*;

use super::*;
use crate::nftables::Elements;

fn balance(vips: &[&str], takes: &[&str], distribution: Distribution) -> Balance {
    let takes: BTreeSet<SocketAddr> = takes.iter().map(|one| one.parse().expect("an address")).collect();
    let vips = vips.iter().map(|vip| vip.parse().expect("an address")).collect();
    Balance { vips, port: 6443, distribution, keeps: takes.clone(), takes }
}

#[test]
fn slots_lead_to_backends_as_the_registers_have_them() {
    let balance = balance(&["10.0.0.9"], &["10.0.0.1:6443", "10.0.0.2:6444"], Distribution::RoundRobin);
    let contents = contents(&balance);
    assert_eq!(contents["vips-ipv4"], [(vec![10, 0, 0, 9, 6, 0, 0, 0, 25, 43, 0, 0], vec![])].into());
    let slot = |at: u32| contents["slots-ipv4"][&at.to_ne_bytes().to_vec()].clone();
    assert_eq!(slot(0), [10, 0, 0, 1, 25, 43, 0, 0]);
    assert_eq!(slot(839), [10, 0, 0, 2, 25, 44, 0, 0]);
    assert_eq!(contents["slots-ipv4"].len(), 840);
    assert!(contents["vips-ipv6"].is_empty() && contents["slots-ipv6"].is_empty());
}

/// Connections to a VIP that no backend serves would end nowhere: it is not in the table.
#[test]
fn a_vip_without_a_backend_of_its_family_is_left_alone() {
    let balance = balance(&["10.0.0.9", "fd00::9"], &["10.0.0.1:6443"], Distribution::SourceHash);
    let contents = contents(&balance);
    assert_eq!((contents["vips-ipv4"].len(), contents["vips-ipv6"].len()), (1, 0));
}

#[test]
fn each_way_to_choose_has_a_form_of_its_own() {
    let [turns, clients] =
        [Distribution::RoundRobin, Distribution::SourceHash].map(|one| table(one).marker());
    assert_ne!(turns, clients);
}

proptest! {
    #[test]
    fn what_is_in_the_maps_is_read_back(
        hosts in prop::collection::btree_set(1..250_u8, 1..8), port in 1_u16.., by_client: bool, v6: bool,
    ) {
        let distribution = if by_client { Distribution::SourceHash } else { Distribution::RoundRobin };
        let address = |host: u8| if v6 { format!("[fd00::{host:x}]:{port}") } else { format!("10.0.0.{host}:{port}") };
        let takes: Vec<String> = hosts.iter().map(|host| address(*host)).collect();
        let takes: Vec<&str> = takes.iter().map(String::as_str).collect();
        let balance = balance(&[if v6 { "fd00::ff" } else { "10.0.0.255" }], &takes, distribution);
        let elements = contents(&balance).into_iter().map(|(set, elements)| (set.to_owned(), elements)).collect();
        let read = read_back(&Found { elements, ..Found::default() });
        prop_assert_eq!(read, balance.vips.iter().map(|vip| (*vip, balance.takes.clone())).collect());
    }

    /// Whatever somebody else put into them.
    #[test]
    fn any_elements_are_read(
        rows in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..30), prop::collection::vec(any::<u8>(), 0..30), 0..6),
    ) {
        let sets = FAMILIES.iter().flat_map(|family| [family.vips, family.slots]);
        let elements: BTreeMap<String, Elements> = sets.map(|set| (set.to_owned(), rows.clone())).collect();
        let read = read_back(&Found { elements, ..Found::default() });
        prop_assert!(read.len() <= 2 * rows.len());
    }
}
