//! The programs, run on frames that the wire crate builds.

use mainstay_wire as wire;
use proptest::prelude::*;

use super::*;

/// Runs a program as the kernel does: a load past the end drops the frame.
fn passes(program: &[sock_filter], frame: &[u8]) -> bool {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let one = program[at];
        at += 1;
        let offset = usize::try_from(one.k).expect("an offset");
        match one.code {
            LOAD_32 | LOAD_16 | LOAD_8 => {
                let width = match one.code {
                    LOAD_32 => 4,
                    LOAD_16 => 2,
                    _ => 1,
                };
                let Some(bytes) = frame.get(offset..offset + width) else { return false };
                accumulator = bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            }
            IF_EQUAL => at += usize::from(if accumulator == one.k { one.jt } else { one.jf }),
            0x05 => at += offset,
            RETURN => return one.k != 0,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

fn wanted(vips: &[IpAddr], others: &[IpAddr]) -> Wanted {
    Wanted { vips: vips.iter().copied().collect(), others: others.iter().copied().collect() }
}

const MAC: wire::Mac = [2, 0, 0, 0, 0, 1];

#[test]
fn arp_by_table() {
    let filter = arp(&wanted(&[v4(9).into(), v6(9).into()], &[v4(7).into()]));
    let announce = |last| wire::arp::gratuitous(wire::arp::Operation::Reply, MAC, v4(last), None);
    let probe = |last| wire::arp::probe(MAC, wire::To::All, v4(last), None);
    assert!(passes(&filter, &announce(9)), "a VIP's announcement");
    assert!(passes(&filter, &announce(7)), "another's answer");
    assert!(!passes(&filter, &announce(8)), "unrelated");
    assert!(passes(&filter, &probe(9)), "a probe of a VIP");
    assert!(!passes(&filter, &probe(7)), "a probe of another's");
    assert!(!passes(&filter, &[0; 20]), "cut short");
    assert!(!passes(&arp(&Wanted::default()), &announce(9)), "nothing is wanted at first");
}

#[test]
fn nd_by_table() {
    let filter = nd(&wanted(&[v6(9).into(), v6(0x1_09).into(), v4(9).into()], &[v6(7).into()]));
    let announce = |last| wire::ndp::unsolicited(MAC, v6(last), v6(last), None);
    let probe = |last| wire::ndp::probe(MAC, v6(1), wire::To::All, v6(last), None);
    assert!(passes(&filter, &announce(9)));
    assert!(passes(&filter, &announce(0x1_09)));
    assert!(passes(&filter, &announce(7)));
    assert!(!passes(&filter, &announce(8)));
    assert!(passes(&filter, &probe(9)));
    assert!(!passes(&filter, &probe(7)));
    assert!(!passes(&filter, &probe(8)));
}

#[test]
fn more_addresses_than_a_program_holds_pass_everything_that_could_matter() {
    let many: Vec<IpAddr> = (0..3_000_u32).map(|n| Ipv4Addr::from_bits(0x0a01_0000 + n).into()).collect();
    let many6: Vec<IpAddr> = (0..900_u16).map(|n| v6(n).into()).collect();
    let (arp, nd) = (arp(&wanted(&many, &[])), nd(&wanted(&many6, &[])));
    assert!(arp.len() <= LONGEST && nd.len() <= LONGEST);
    assert!(passes(&arp, &wire::arp::gratuitous(wire::arp::Operation::Reply, MAC, v4(9), None)));
    assert!(passes(&nd, &wire::ndp::unsolicited(MAC, v6(9), v6(9), None)));
    assert!(!passes(&nd, &[0; 100]));
}

proptest! {
    /// The program in the kernel and the check in the process agree on every frame of ours.
    #[test]
    fn the_program_says_what_wanted_says(
        vips in proptest::collection::btree_set(0_u8..12, 0..6),
        others in proptest::collection::btree_set(0_u8..12, 0..6),
        last in 0_u8..12,
        is_probe in any::<bool>(),
    ) {
        let both = |set: &BTreeSet<u8>| -> Vec<IpAddr> {
            set.iter().flat_map(|n| [v4(*n).into(), v6(u16::from(*n)).into()]).collect()
        };
        let wanted = wanted(&both(&vips), &both(&others));
        let frames = if is_probe {
            [
                wire::arp::probe(MAC, wire::To::All, v4(last), None).to_vec(),
                wire::ndp::probe(MAC, v6(1), wire::To::All, v6(last.into()), None),
            ]
        } else {
            [
                wire::arp::gratuitous(wire::arp::Operation::Request, MAC, v4(last), None).to_vec(),
                wire::ndp::unsolicited(MAC, v6(last.into()), v6(last.into()), None),
            ]
        };
        for (frame, program) in frames.iter().zip([arp(&wanted), nd(&wanted)]) {
            let parsed = wire::parse(frame).expect("a frame of ours");
            prop_assert_eq!(passes(&program, frame), wanted.includes(parsed.sender, parsed.target));
        }
    }
}
