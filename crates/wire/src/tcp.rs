//! One TCP segment: the bare acknowledgment that has the other side of a connection give a sign of life.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader};

/// As Linux sends them.
const HOP_LIMIT: u8 = 64;

/// An IP packet, without a frame around it, with an acknowledgment from one to the other that carries no data and whose
/// numbers mean nothing. A host that has such a connection answers it with its own numbers (RFC 9293 section 3.10.7.4).
/// Empty if the two are of different families.
#[must_use]
pub fn acknowledgment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut segment = TcpHeader::new(from.port(), to.port(), 0, 0);
    segment.ack = true;
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let Ok(header) =
                Ipv4Header::new(segment.header_len_u16(), HOP_LIMIT, IpNumber::TCP, source, destination)
            else {
                return Vec::new();
            };
            let checksum = segment.calc_checksum_ipv4(&header, &[]);
            segment.checksum = checksum.unwrap_or_default();
            [header.to_bytes().as_slice(), &segment.to_bytes()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: segment.header_len_u16(),
                next_header: IpNumber::TCP,
                hop_limit: HOP_LIMIT,
                source: source.octets(),
                destination: destination.octets(),
            };
            segment.checksum = segment.calc_checksum_ipv6(&header, &[]).unwrap_or_default();
            [header.to_bytes().as_slice(), &segment.to_bytes()].concat()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::*;

    #[test]
    fn it_is_what_it_says_in_both_families() {
        for (from, to) in [("10.0.0.9:6443", "10.0.0.1:40000"), ("[fd00::9]:6443", "[fd00::1]:40000")] {
            let [from, to]: [SocketAddr; 2] = [from, to].map(|one| one.parse().expect("an address"));
            let packet = acknowledgment(from, to);
            let read = PacketHeaders::from_ip_slice(&packet).expect("a packet");
            let Some(TransportHeader::Tcp(segment)) = read.transport else { panic!("{:?}", read.transport) };
            assert!(segment.ack && !segment.syn && !segment.rst && !segment.fin);
            assert_eq!((segment.source_port, segment.destination_port), (from.port(), to.port()));
            let (source, right) = match read.net.expect("IP") {
                NetHeaders::Ipv4(header, _) => {
                    (IpAddr::from(header.source), segment.calc_checksum_ipv4(&header, &[]))
                }
                NetHeaders::Ipv6(header, _) => {
                    (IpAddr::from(header.source), segment.calc_checksum_ipv6(&header, &[]))
                }
                other => panic!("{other:?}"),
            };
            assert_eq!((source, Ok(segment.checksum)), (from.ip(), right.map_err(drop)));
        }
    }

    #[test]
    fn there_is_none_between_families() {
        let [v4, v6]: [SocketAddr; 2] =
            ["10.0.0.9:1", "[fd00::9]:1"].map(|one| one.parse().expect("an address"));
        assert!(acknowledgment(v4, v6).is_empty());
    }
}
