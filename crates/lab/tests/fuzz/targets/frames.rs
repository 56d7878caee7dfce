//! Frames of other hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mainstay_wire::arp::{self, Operation};
use mainstay_wire::{Kind, Mac, Mark, Parsed, Tenure, To, ndp, parse};

use super::bytes::Bytes;

/// Where the mark ends in an ARP frame.
const ARP_END: usize = 60;

/// The bytes as a frame, and as the values of frames to build.
pub(super) fn frame(data: &[u8]) {
    read(data);
    built(&mut Bytes(data));
}

fn read(data: &[u8]) {
    let Ok(parsed) = parse(data) else { return };
    if matches!(parsed.kind, Kind::NeighbourAdvertisement { .. }) {
        assert_eq!(parsed.sender, Some(parsed.target));
    }
    if data.len() >= ARP_END {
        let longer = [data, &[0xa5; 7]].concat();
        assert_eq!(parse(&longer), Ok(parsed), "what follows the content was read");
    }
    if parsed.mark.is_some() && matches!(parsed.kind, Kind::ArpRequest | Kind::ArpReply) {
        one_bit_voids_the_mark(data, parsed.mark);
    }
    let again = rebuilt(&parsed);
    let read = parse(&again).expect("a frame that was built here");
    assert_eq!(said(&read), said(&parsed));
    assert_eq!(rebuilt(&read), again, "built from what was read, and not the same");
}

/// The mark is bound to the packet that it travels in.
fn one_bit_voids_the_mark(data: &[u8], mark: Option<Mark>) {
    let bits = (ARP_END - 14) * 8;
    let bit = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % bits;
    let mut changed = data.to_vec();
    changed[14 + bit / 8] ^= 1 << (bit % 8);
    let read = parse(&changed).ok().and_then(|parsed| parsed.mark);
    assert_eq!(read, None, "bit {bit} of a marked packet changed, and {mark:?} still counts");
}

/// What the frames that are built here say as well.
fn said(parsed: &Parsed) -> (Mac, IpAddr, Option<Mark>, bool) {
    let asks = matches!(parsed.kind, Kind::ArpRequest | Kind::NeighbourSolicitation);
    (parsed.sender_mac, parsed.target, parsed.mark, asks)
}

fn rebuilt(parsed: &Parsed) -> Vec<u8> {
    let (from, to) = (parsed.sender_mac, To::One(parsed.ethernet_destination));
    match (parsed.kind, parsed.target) {
        (Kind::ArpReply, IpAddr::V4(target)) => {
            arp::gratuitous(Operation::Reply, from, target, parsed.mark).to_vec()
        }
        (Kind::ArpRequest, IpAddr::V4(target)) => arp::probe(from, to, target, parsed.mark).to_vec(),
        (Kind::NeighbourAdvertisement { .. }, IpAddr::V6(target)) => {
            ndp::unsolicited(from, Ipv6Addr::LOCALHOST, target, parsed.mark)
        }
        (Kind::NeighbourSolicitation, IpAddr::V6(target)) => {
            ndp::probe(from, Ipv6Addr::LOCALHOST, to, target, parsed.mark)
        }
        (kind, target) => panic!("{kind:?} of {target}"),
    }
}

fn built(bytes: &mut Bytes<'_>) {
    let (from, to): (Mac, Mac) = (bytes.array(), bytes.array());
    let (v4, v6) = (Ipv4Addr::from(bytes.array()), Ipv6Addr::from(bytes.array()));
    let tenures = [Tenure::Candidate, Tenure::Provisional, Tenure::Detached, Tenure::Confirmed];
    let mark =
        bytes.optional(|bytes| Mark { tenure: bytes.pick(&tenures), epoch: bytes.u32(), node: bytes.u64() });
    let expect = |frame: &[u8], sender: Option<IpAddr>, target: IpAddr| {
        let read = parse(frame).expect("a frame that was built here");
        assert_eq!((read.ethernet_source, read.sender_mac), (from, from));
        assert_eq!((read.sender, read.target, read.mark), (sender, target, mark));
    };
    let sender = Some(IpAddr::V4(v4)).filter(|_| !v4.is_unspecified());
    for operation in [Operation::Request, Operation::Reply] {
        expect(&arp::gratuitous(operation, from, v4, mark), sender, v4.into());
    }
    expect(&arp::probe(from, To::One(to), v4, mark), None, v4.into());
    if !v6.is_multicast() {
        expect(&ndp::unsolicited(from, v6, v6, mark), Some(v6.into()), v6.into());
        for source in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
            expect(&ndp::probe(from, source, To::One(to), v6, mark), None, v6.into());
        }
    }
}
