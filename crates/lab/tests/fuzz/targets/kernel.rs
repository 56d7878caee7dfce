//! Netlink messages: the bytes as a datagram, and as the values of messages that another library writes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mainstay_core::input::Link;
use mainstay_core::names::Mac;
use mainstay_dataplane::parsers::{
    Said, ipvs as said_of_ipvs, ipvs_connections, netlink as said, nftables as said_of_tables,
};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, State};

use super::bytes::Bytes;

/// Bytes of a netlink message's header.
const HEADER: usize = 16;

pub(super) fn netlink(data: &[u8]) {
    let read = said(data);
    assert!(read.len() <= data.len() / HEADER, "{} of {} bytes", read.len(), data.len());
    let names = read.iter().map(|one| if let Said::Link { name, .. } = one { name.len() } else { 0 });
    // A byte that is no UTF-8 is shown as a character of three.
    assert!(names.sum::<usize>() <= 3 * data.len());
    for one in &read {
        if let Said::Address { present, .. } = one {
            assert!(present.remaining.is_none_or(|left| left.as_secs() < u64::from(u32::MAX)));
        }
    }
    written_by_others(Bytes(data));
}

/// No more is read than is there: a byte belongs to one text or one element at most.
pub(super) fn nftables(data: &[u8]) {
    let (texts, elements) = said_of_tables(data);
    let elements: usize = elements.iter().map(Vec::len).sum();
    // A byte that is no UTF-8 is shown as a character of three.
    let texts: usize = texts.iter().map(String::len).sum();
    assert!(texts + elements <= 3 * data.len(), "{texts} and {elements} of {} bytes", data.len());
}

/// The bytes as a datagram, and as the table of connections. A message has one service and one destination at most, a line
/// one connection.
pub(super) fn ipvs(data: &[u8]) {
    let (places, names) = said_of_ipvs(data, SocketAddr::from(([10, 0, 0, 9], 6443)));
    assert!(places.len() <= 2 * (data.len() / HEADER), "{} of {} bytes", places.len(), data.len());
    // A byte that is no UTF-8 is shown as a character of three.
    assert!(names.iter().map(String::len).sum::<usize>() <= 3 * data.len());
    let table = String::from_utf8_lossy(data);
    for [client, virtual_address, backend] in ipvs_connections(&table) {
        let line = format!("TCP {} {} {} CLOSE 1", row(client), row(virtual_address), row(backend));
        assert_eq!(ipvs_connections(&line), [[client, virtual_address, backend]], "{line}");
    }
}

/// As the kernel writes an address and a port.
fn row(at: SocketAddr) -> String {
    match at.ip() {
        IpAddr::V4(v4) => format!("{:08X} {:04X}", u32::from(v4), at.port()),
        IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:04x}"));
            format!("{} {:04X}", groups.join(":"), at.port())
        }
    }
}

fn written_by_others(mut bytes: Bytes<'_>) {
    let (link, link_said) = a_link(&mut bytes);
    let (address, index, ip) = an_address(&mut bytes);
    let mut datagram = wire(RouteNetlinkMessage::NewLink(link));
    datagram.extend(wire(RouteNetlinkMessage::NewAddress(address)));
    match said(&datagram).as_slice() {
        [first, Said::Address { index: on, present }] => {
            assert_eq!(*first, link_said);
            assert_eq!((*on, present.ip), (index, ip));
        }
        other => panic!("{other:?} was read of a link and an address"),
    }
}

fn a_link(bytes: &mut Bytes<'_>) -> (LinkMessage, Said) {
    let (index, mac, mtu) = (bytes.u32(), bytes.array::<6>(), bytes.u32());
    // As the kernel has them: no zero byte, no slash, at most 15.
    let name: String = bytes.text().chars().filter(|c| !c.is_control()).take(15).collect();
    let up = bytes.flag();
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.link_layer_type = LinkLayerType::Ether;
    link.header.flags = if up { LinkFlags::Up | LinkFlags::LowerUp } else { LinkFlags::empty() };
    let state = if up { State::Up } else { State::Down };
    link.attributes = vec![
        LinkAttribute::IfName(name.clone()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::OperState(state),
    ];
    let state = if up { Link::Up } else { Link::Down };
    (link, Said::Link { gone: false, index, name, mac: Some(Mac(mac)), mtu, state })
}

fn an_address(bytes: &mut Bytes<'_>) -> (AddressMessage, u32, IpAddr) {
    let (index, ip) = (bytes.u32(), IpAddr::V4(Ipv4Addr::from(bytes.array())));
    let mut address = AddressMessage::default();
    address.header.index = index;
    address.header.prefix_len = bytes.byte();
    let peer = IpAddr::V4(Ipv4Addr::from(bytes.array()));
    // On a point-to-point link IFA_ADDRESS is the peer's.
    address.attributes = vec![AddressAttribute::Address(peer), AddressAttribute::Local(ip)];
    (address, index, ip)
}

fn wire(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
