//! Frames built here are read back whole, other readers agree, and no bytes make the parser panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{LinkSlice, NetSlice, SlicedPacket, TransportSlice};
use mainstay_wire::arp::{self, Operation};
use mainstay_wire::{BROADCAST, Kind, Mac, Mark, ParseError, Parsed, Tenure, To, ndp, parse};
use proptest::prelude::*;

const MAC: Mac = [0x02, 0, 0x5e, 0x10, 0, 1];
const OTHER: Mac = [0x02, 0, 0x5e, 0x10, 0, 2];
const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xab, 0xcdef);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 1);
const MARK: Mark = Mark { tenure: Tenure::Confirmed, epoch: 42, node: 0xdead_beef_0bad_cafe };
const ARP_PADDING_AT: usize = 42;

fn mac() -> impl Strategy<Value = Mac> {
    any::<Mac>()
}

fn mark() -> impl Strategy<Value = Option<Mark>> {
    let tenure = prop::sample::select(vec![
        Tenure::Candidate,
        Tenure::Provisional,
        Tenure::Detached,
        Tenure::Confirmed,
    ]);
    prop::option::of((tenure, any::<u32>(), any::<u64>()).prop_map(|(tenure, epoch, node)| Mark {
        tenure,
        epoch,
        node,
    }))
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![Just(To::All), mac().prop_map(To::One)]
}

fn unicast6() -> impl Strategy<Value = Ipv6Addr> {
    any::<Ipv6Addr>().prop_filter("unicast", |address| !address.is_multicast() && !address.is_unspecified())
}

fn destination4(to: To) -> Mac {
    match to {
        To::All => BROADCAST,
        To::One(mac) => mac,
    }
}

proptest! {
    #[test]
    fn gratuitous_arp_round_trips(from in mac(), address: Ipv4Addr, mark in mark(), reply: bool) {
        let operation = if reply { Operation::Reply } else { Operation::Request };
        let frame = arp::gratuitous(operation, from, address, mark);
        let sender = (!address.is_unspecified()).then_some(IpAddr::V4(address));
        let kind = if reply { Kind::ArpReply } else { Kind::ArpRequest };
        prop_assert_eq!(parse(&frame), Ok(Parsed {
            ethernet_destination: BROADCAST, ethernet_source: from, sender_mac: from,
            sender, target: IpAddr::V4(address), kind, mark,
        }));
    }

    #[test]
    fn arp_probe_round_trips(from in mac(), to in to(), target: Ipv4Addr, mark in mark()) {
        prop_assert_eq!(parse(&arp::probe(from, to, target, mark)), Ok(Parsed {
            ethernet_destination: destination4(to), ethernet_source: from, sender_mac: from,
            sender: None, target: IpAddr::V4(target), kind: Kind::ArpRequest, mark,
        }));
    }

    #[test]
    fn advertisement_round_trips(from in mac(), source in unicast6(), target in unicast6(), mark in mark()) {
        let target_ip = IpAddr::V6(target);
        prop_assert_eq!(parse(&ndp::unsolicited(from, source, target, mark)), Ok(Parsed {
            ethernet_destination: [0x33, 0x33, 0, 0, 0, 1], ethernet_source: from, sender_mac: from,
            sender: Some(target_ip), target: target_ip,
            kind: Kind::NeighbourAdvertisement { overriding: true, solicited: false }, mark,
        }));
    }

    #[test]
    fn solicitation_round_trips(
        from in mac(), source in prop_oneof![Just(Ipv6Addr::UNSPECIFIED), unicast6()],
        to in to(), target in unicast6(), mark in mark(),
    ) {
        let [.., a, b, c] = target.octets();
        let ethernet_destination = match to { To::All => [0x33, 0x33, 0xff, a, b, c], To::One(mac) => mac };
        prop_assert_eq!(parse(&ndp::probe(from, source, to, target, mark)), Ok(Parsed {
            ethernet_destination, ethernet_source: from, sender_mac: from,
            sender: None, target: IpAddr::V6(target), kind: Kind::NeighbourSolicitation, mark,
        }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// Bytes that look right at the front get further into the parser.
    #[test]
    fn arbitrary_content_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        start in prop::sample::select(vec![14_usize, 20, 22, 54, 56, 78, 80]),
        arp: bool,
    ) {
        let mut frame = if arp {
            arp::gratuitous(Operation::Request, MAC, VIP4, Some(MARK)).to_vec()
        } else {
            ndp::unsolicited(MAC, LOCAL, VIP6, Some(MARK))
        };
        frame.truncate(start);
        frame.extend(bytes);
        let _ = parse(&frame);
    }

    #[test]
    fn a_cut_frame_is_refused_or_loses_its_mark(length in 0_usize..110, arp: bool) {
        let frame = if arp {
            arp::gratuitous(Operation::Request, MAC, VIP4, Some(MARK)).to_vec()
        } else {
            ndp::unsolicited(MAC, LOCAL, VIP6, Some(MARK))
        };
        let length = length.min(frame.len() - 1);
        if let Ok(parsed) = parse(&frame[..length]) {
            prop_assert!(arp && length >= ARP_PADDING_AT);
            prop_assert_eq!(parsed.mark, None);
        }
    }

    /// One changed byte anywhere in an ARP packet or its mark: the frame may still be ARP, the mark is gone.
    #[test]
    fn a_mutated_arp_mark_is_no_mark(at in 14_usize..arp::FRAME_LEN, flip in 1_u8..) {
        let mut frame = arp::gratuitous(Operation::Reply, MAC, VIP4, Some(MARK));
        frame[at] ^= flip;
        if let Ok(parsed) = parse(&frame) {
            prop_assert_eq!(parsed.mark, None);
        }
    }

    /// One changed byte of an IPv6 packet is noticed by the checksum, the header checks, or the version.
    #[test]
    fn a_mutated_neighbour_message_is_refused(at in 18_usize..110, flip in 1_u8..) {
        let mut frame = ndp::unsolicited(MAC, LOCAL, VIP6, Some(MARK));
        frame[at] ^= flip;
        prop_assert!(parse(&frame).is_err());
    }

    #[test]
    fn noise_in_the_padding_is_no_mark(padding in any::<[u8; 18]>()) {
        let mut frame = arp::gratuitous(Operation::Reply, MAC, VIP4, None);
        frame[ARP_PADDING_AT..].copy_from_slice(&padding);
        prop_assert_eq!(parse(&frame).map(|parsed| parsed.mark), Ok(None));
    }

    #[test]
    fn etherparse_accepts_the_icmpv6_checksum(
        from in mac(), source in unicast6(), to in to(), target in unicast6(), mark in mark(),
    ) {
        for frame in [ndp::unsolicited(from, source, target, mark), ndp::probe(from, source, to, target, mark)] {
            let packet = SlicedPacket::from_ethernet(&frame).expect("etherparse reads it");
            let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (packet.net, packet.transport)
            else { panic!("not ICMPv6") };
            prop_assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
        }
    }
}

/// The padding of one of our frames, leaked by another host's driver into an answer of its own (CVE-2003-0001).
#[test]
fn a_mark_leaked_into_another_hosts_frame_is_no_mark() {
    let ours = arp::gratuitous(Operation::Request, MAC, VIP4, Some(MARK));
    let mut theirs = arp::gratuitous(Operation::Reply, OTHER, VIP4, None);
    theirs[ARP_PADDING_AT..].copy_from_slice(&ours[ARP_PADDING_AT..]);
    assert_eq!(parse(&theirs).map(|parsed| (parsed.sender_mac, parsed.mark)), Ok((OTHER, None)));
}

#[test]
fn an_arp_frame_without_padding_is_read() {
    let frame = arp::gratuitous(Operation::Reply, MAC, VIP4, Some(MARK));
    let parsed = parse(&frame[..ARP_PADDING_AT]).expect("42 bytes are a whole ARP frame");
    assert_eq!((parsed.sender, parsed.mark), (Some(IpAddr::V4(VIP4)), None));
}

#[test]
fn etherparse_reads_the_same_arp() {
    let frame = arp::gratuitous(Operation::Reply, MAC, VIP4, Some(MARK));
    assert_eq!(frame.len(), 60);
    let packet = SlicedPacket::from_ethernet(&frame).expect("etherparse reads it");
    let (Some(LinkSlice::Ethernet2(ethernet)), Some(NetSlice::Arp(arp))) = (packet.link, packet.net) else {
        panic!("not Ethernet with ARP")
    };
    assert_eq!((ethernet.destination(), ethernet.source()), (BROADCAST, MAC));
    assert_eq!(arp.operation(), etherparse::ArpOperation::REPLY);
    assert_eq!((arp.sender_hw_addr(), arp.sender_protocol_addr()), (&MAC[..], &VIP4.octets()[..]));
    assert_eq!((arp.target_hw_addr(), arp.target_protocol_addr()), (&MAC[..], &VIP4.octets()[..]));
}

#[test]
fn etherparse_reads_the_same_ipv6() {
    let frame = ndp::probe(MAC, LOCAL, To::One(OTHER), VIP6, Some(MARK));
    let packet = SlicedPacket::from_ethernet(&frame).expect("etherparse reads it");
    let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("not IPv6") };
    assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (LOCAL, VIP6));
    assert_eq!((ip.header().hop_limit(), usize::from(ip.header().payload_length())), (255, frame.len() - 54));
}

/// etherparse builds the frames that a host without Mainstay would send: we read them, and find no mark.
#[test]
fn a_foreign_advertisement_is_read() {
    let flags =
        etherparse::icmpv6::NeighborAdvertisementHeader { router: false, solicited: true, r#override: true };
    let mut body = VIP6.octets().to_vec();
    body.extend([2, 1]);
    body.extend(OTHER);
    let builder = etherparse::PacketBuilder::ethernet2(OTHER, MAC)
        .ipv6(VIP6.octets(), LOCAL.octets(), 255)
        .icmpv6(etherparse::Icmpv6Type::NeighborAdvertisement(flags));
    let mut frame = Vec::new();
    builder.write(&mut frame, &body).expect("a vector takes it");
    let parsed = parse(&frame).expect("a sound advertisement");
    assert_eq!(parsed.sender, Some(IpAddr::V6(VIP6)));
    assert_eq!(parsed.kind, Kind::NeighbourAdvertisement { overriding: true, solicited: true });
    assert_eq!((parsed.sender_mac, parsed.ethernet_source, parsed.mark), (OTHER, OTHER, None));
}

#[test]
fn a_message_that_a_router_passed_on_is_refused() {
    let mut frame = ndp::unsolicited(MAC, LOCAL, VIP6, None);
    frame[21] = 254;
    assert_eq!(parse(&frame), Err(ParseError::HopLimit(254)));
}

#[test]
fn an_option_of_length_zero_is_refused_not_looped_over() {
    let mut frame = ndp::unsolicited(MAC, LOCAL, VIP6, None);
    let (option_length_at, checksum_at) = (79, 56);
    frame[option_length_at] = 0;
    // The byte went from 1 to 0 in the low half of a word: the ones' complement checksum grows by one.
    let checksum = u16::from_be_bytes([frame[checksum_at], frame[checksum_at + 1]]);
    frame[checksum_at..checksum_at + 2].copy_from_slice(&(checksum + 1).to_be_bytes());
    assert_eq!(parse(&frame), Err(ParseError::Invalid("has an option of length 0")));
}

#[test]
fn other_traffic_is_other() {
    let mut frame = arp::gratuitous(Operation::Request, MAC, VIP4, None);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    assert_eq!(parse(&frame), Err(ParseError::Other));
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame[21] = 8;
    assert_eq!(parse(&frame), Err(ParseError::ArpForm));
}
