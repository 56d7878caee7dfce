//! The plan by table.

use proptest::prelude::*;

use super::*;

const LIFE: Duration = Duration::from_secs(15);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn there(text: &str, prefix: u8, owner: Owner, seconds: Option<u64>) -> Present {
    Present { ip: ip(text), prefix, owner, remaining: seconds.map(Duration::from_secs) }
}

#[test]
fn an_assignment_by_table() {
    let own = there("10.0.0.5", 24, Owner::Other, None);
    let own6 = there("fd00::5", 64, Owner::Other, None);
    let local6 = there("fe80::1", 64, Owner::Other, None);
    let (vip, vip6) = (ip("10.0.0.9"), ip("fd00::9"));
    let cases = [
        ("absent", vip, vec![own], Ok(Step::Add { vip, lifetime: LIFE })),
        (
            "ours",
            vip,
            vec![own, there("10.0.0.9", 32, Owner::Ours, Some(3))],
            Ok(Step::Refresh { vip, lifetime: LIFE }),
        ),
        (
            "left by another agent",
            vip,
            vec![own, there("10.0.0.9", 32, Owner::Other, None)],
            Ok(Step::Refresh { vip, lifetime: LIFE }),
        ),
        (
            "the host's subnet address",
            vip,
            vec![there("10.0.0.9", 24, Owner::Other, None)],
            Err(Refused::HasSubnet { vip, prefix: 24 }),
        ),
        (
            "the host's beside ours",
            vip,
            vec![there("10.0.0.9", 32, Owner::Ours, Some(3)), there("10.0.0.9", 24, Owner::Other, None)],
            Err(Refused::HasSubnet { vip, prefix: 24 }),
        ),
        (
            "with a subnet and our mark",
            vip,
            vec![there("10.0.0.9", 24, Owner::Ours, None)],
            Err(Refused::HasSubnet { vip, prefix: 24 }),
        ),
        (
            "by DHCP as /32",
            vip,
            vec![own, there("10.0.0.9", 32, Owner::Other, Some(600))],
            Err(Refused::Leased { vip }),
        ),
        (
            "all the host has",
            vip,
            vec![own6, there("10.0.0.9", 32, Owner::Other, None)],
            Err(Refused::OnlyOne { vip }),
        ),
        (
            "a link-local address is no address of the host's",
            vip6,
            vec![local6, there("fd00::9", 128, Owner::Other, None)],
            Err(Refused::OnlyOne { vip: vip6 }),
        ),
    ];
    for (name, vip, present, expected) in cases {
        assert_eq!(assign(vip, LIFE, &present), expected, "{name}");
        assert_eq!(is_left_over(vip, &present), name == "left by another agent", "{name}");
    }
}

#[test]
fn a_host_is_found_by_what_does_not_move() {
    let node = there("10.0.0.5", 24, Owner::Other, Some(3_600));
    let left = there("10.0.0.9", 32, Owner::Other, None);
    let ours = there("10.0.0.8", 32, Owner::Ours, Some(9));
    assert_eq!(own_addresses(&[node, left, ours]), [node.ip]);
    let cloud = ["10.0.0.5", "10.0.0.6"].map(|text| there(text, 32, Owner::Other, None));
    assert_eq!(own_addresses(&cloud), cloud.map(|one| one.ip), "all without a subnet");
}

#[test]
fn only_ours_and_what_another_agent_left_is_removed() {
    let vip = ip("10.0.0.9");
    assert_eq!(withdraw(vip, &[]), None);
    assert_eq!(withdraw(vip, &[there("10.0.0.9", 32, Owner::Other, None)]), None);
    assert_eq!(withdraw(vip, &[there("10.0.0.9", 24, Owner::Ours, Some(1))]), None);
    let node = there("10.0.0.5", 24, Owner::Other, None);
    let leases = there("10.0.0.9", 32, Owner::Other, Some(600));
    assert_eq!(withdraw(vip, &[node, leases]), None, "DHCP's");
    let left = there("10.0.0.9", 32, Owner::Other, None);
    assert_eq!(withdraw(vip, &[node, left]), Some(Step::Remove { vip }));
    assert_eq!(withdraw(vip, &[there("10.0.0.9", 32, Owner::Ours, Some(1))]), Some(Step::Remove { vip }));
}

fn any_present() -> impl Strategy<Value = Present> {
    (0_u8..4, prop_oneof![Just(24_u8), Just(32)], any::<bool>(), proptest::option::of(1_u64..60)).prop_map(
        |(last, prefix, ours, seconds)| {
            let owner = if ours { Owner::Ours } else { Owner::Other };
            there(&format!("10.0.0.{last}"), prefix, owner, seconds)
        },
    )
}

proptest! {
    /// No plan ever changes an address that the host has with a subnet's prefix, or a leased one.
    #[test]
    fn the_hosts_own_is_never_touched(present in proptest::collection::vec(any_present(), 0..8), last in 0_u8..4) {
        let vip = IpAddr::from([10, 0, 0, last]);
        let hosts = present.iter().any(|one| one.ip == vip && one.prefix == 24);
        if hosts {
            prop_assert!(assign(vip, LIFE, &present).is_err());
        }
        if let Some(Step::Remove { vip: removed }) = withdraw(vip, &present) {
            let one_of = |owner| present.iter().any(|one| one.ip == removed && one.owner == owner && one.prefix == 32);
            let lasts = present.iter().any(|one| one.ip == removed && one.remaining.is_none());
            prop_assert!(one_of(Owner::Ours) || (one_of(Owner::Other) && lasts && !hosts));
        }
    }
}
