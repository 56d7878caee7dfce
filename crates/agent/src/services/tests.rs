//! What is held of what is known: the damper, and the words for refusals.

use std::collections::BTreeSet;

use super::*;

fn vips(hosts: &[u8]) -> BTreeSet<Vip> {
    hosts.iter().map(|host| Vip::from([10, 1, 0, *host])).collect()
}

fn held(hosts: &[u8]) -> Vec<Vip> {
    vips(hosts).into_iter().collect()
}

#[test]
fn an_address_outlives_its_last_endpoint_by_a_second() {
    let (mut damper, start) = (Damper::default(), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    assert_eq!(damper.take(at(0), &vips(&[1, 2]), &vips(&[1])), held(&[1]), "2 never had any");
    assert_eq!(damper.next(), None);
    assert_eq!(damper.take(at(100), &vips(&[1, 2]), &vips(&[])), held(&[1]));
    assert_eq!(damper.next(), Some(at(1_100)));
    assert_eq!(damper.take(at(1_099), &vips(&[1, 2]), &vips(&[])), held(&[1]));
    assert_eq!(damper.take(at(1_100), &vips(&[1, 2]), &vips(&[])), held(&[]));
    assert_eq!(damper.next(), None);
    assert_eq!(damper.take(at(1_200), &vips(&[1, 2]), &vips(&[1, 2])), held(&[1, 2]), "and back at once");
}

#[test]
fn a_flap_counts_from_its_own_start_and_a_service_that_is_gone_goes_at_once() {
    let (mut damper, start) = (Damper::default(), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    damper.take(at(0), &vips(&[1, 2]), &vips(&[1, 2]));
    damper.take(at(100), &vips(&[1, 2]), &vips(&[2]));
    damper.take(at(600), &vips(&[1, 2]), &vips(&[1, 2]));
    assert_eq!(damper.take(at(1_000), &vips(&[1, 2]), &vips(&[2])), held(&[1, 2]), "bare anew since now");
    assert_eq!(damper.next(), Some(at(2_000)));
    assert_eq!(damper.take(at(1_050), &vips(&[2]), &vips(&[2])), held(&[2]), "nobody asks for it any more");
    assert_eq!(damper.next(), None);
}
