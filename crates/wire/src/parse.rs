//! Any Ethernet frame to what it says of an address, or the reason why it says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::{ETHERNET_LEN, field};
use crate::{ETHERTYPE_ARP, ETHERTYPE_IPV6, Mac, Mark, arp, ndp};

/// A frame that speaks of an address: ARP, or a neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Destination in the Ethernet header.
    pub ethernet_destination: Mac,
    /// Source in the Ethernet header. A switch has learned this one.
    pub ethernet_source: Mac,
    /// The hardware address that the message itself gives for its sender (ARP `sha`, the link-layer option of ND), or
    /// the Ethernet source where it gives none. Hosts learn this one.
    pub sender_mac: Mac,
    /// The address that the sender calls its own: ARP `spa`, the target of an advertisement. `None` for 0.0.0.0 and
    /// for a solicitation.
    pub sender: Option<IpAddr>,
    /// The address asked for or spoken of: ARP `tpa`, the target of a neighbour message.
    pub target: IpAddr,
    /// What kind of message it is.
    pub kind: Kind,
    /// Mainstay's mark, if the frame carries one that is whole.
    pub mark: Option<Mark>,
}

/// The kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARP request.
    ArpRequest,
    /// ARP reply.
    ArpReply,
    /// Neighbour solicitation.
    NeighbourSolicitation,
    /// Neighbour advertisement.
    NeighbourAdvertisement {
        /// Flag O.
        overriding: bool,
        /// Flag S.
        solicited: bool,
    },
}

/// Why a frame says nothing of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither ARP nor a neighbour message: nothing is wrong with it.
    #[error("the frame is neither ARP nor a neighbour solicitation or advertisement")]
    Other,
    /// It ends before its fields do.
    #[error("the frame ends before its {0} does")]
    Truncated(&'static str),
    /// ARP for other hardware or another protocol, or another operation than request and reply.
    #[error("the ARP packet is not a request or reply for Ethernet and IPv4")]
    ArpForm,
    /// A router passed it on, so it does not speak for this link.
    #[error("the neighbour message has hop limit {0}, not 255")]
    HopLimit(u8),
    /// The ICMPv6 checksum is wrong.
    #[error("the neighbour message's ICMPv6 checksum is wrong")]
    Checksum,
    /// RFC 4861 section 7.1 has receivers discard it.
    #[error("the neighbour message {0}")]
    Invalid(&'static str),
}

/// Reads one Ethernet frame, which may be longer than its content.
///
/// # Errors
///
/// [`ParseError::Other`] for any sound frame of another protocol (also for a neighbour message behind IPv6 extension
/// headers, which nobody sends); the other variants for a malformed one.
pub fn parse(frame: &[u8]) -> Result<Parsed, ParseError> {
    const HEADER: ParseError = ParseError::Truncated("Ethernet header");
    let ethernet_destination = field(frame, 0).ok_or(HEADER)?;
    let ethernet_source = field(frame, 6).ok_or(HEADER)?;
    let ethertype = u16::from_be_bytes(field(frame, 12).ok_or(HEADER)?);
    let content = frame.get(ETHERNET_LEN..).unwrap_or_default();
    let said = match ethertype {
        ETHERTYPE_ARP => parse_arp(content)?,
        ETHERTYPE_IPV6 => parse_ipv6(content)?,
        _ => return Err(ParseError::Other),
    };
    Ok(Parsed {
        ethernet_destination,
        ethernet_source,
        sender_mac: said.mac.unwrap_or(ethernet_source),
        sender: said.sender,
        target: said.target,
        kind: said.kind,
        mark: said.mark,
    })
}

/// What a message says, the Ethernet header aside.
struct Said {
    mac: Option<Mac>,
    sender: Option<IpAddr>,
    target: IpAddr,
    kind: Kind,
    mark: Option<Mark>,
}

fn parse_arp(content: &[u8]) -> Result<Said, ParseError> {
    let (packet, padding) =
        content.split_first_chunk::<{ arp::PACKET_LEN }>().ok_or(ParseError::Truncated("ARP packet"))?;
    let kind = match packet[6..8] {
        [0, 1] => Kind::ArpRequest,
        [0, 2] => Kind::ArpReply,
        _ => return Err(ParseError::ArpForm),
    };
    if packet[..6] != arp::PREFIX {
        return Err(ParseError::ArpForm);
    }
    let address = |at| field(packet, at).map(|octets: [u8; 4]| Ipv4Addr::from(octets));
    let target = address(24).ok_or(ParseError::Truncated("ARP packet"))?;
    Ok(Said {
        mac: field(packet, 8),
        sender: address(14).filter(|sender| !sender.is_unspecified()).map(IpAddr::V4),
        target: IpAddr::V4(target),
        kind,
        mark: Mark::decode(padding, packet),
    })
}

/// The fields of an IPv6 header that neighbour discovery looks at, and the payload.
struct Packet<'a> {
    hop_limit: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    message: &'a [u8],
}

fn parse_ipv6(content: &[u8]) -> Result<Said, ParseError> {
    let packet = ipv6_header(content)?;
    let kind = packet.message.first().copied();
    if !matches!(kind, Some(ndp::SOLICITATION | ndp::ADVERTISEMENT)) {
        return Err(ParseError::Other);
    }
    check_packet(&packet)?;
    let options = read_options(packet.message)?;
    let target = target_of(packet.message)?;
    let mut said = if kind == Some(ndp::SOLICITATION) {
        solicitation(&packet, &options, target)?
    } else {
        advertisement(&packet, &options, target)?
    };
    said.mark = options.mark.and_then(|body| Mark::decode(body, &target.octets()));
    Ok(said)
}

fn ipv6_header(content: &[u8]) -> Result<Packet<'_>, ParseError> {
    let (header, rest) =
        content.split_first_chunk::<{ ndp::IPV6_LEN }>().ok_or(ParseError::Truncated("IPv6 header"))?;
    if header[0] >> 4 != 6 || header[6] != ndp::NEXT_HEADER_ICMPV6 {
        return Err(ParseError::Other);
    }
    let address = |at| field(header, at).map(|octets: [u8; 16]| Ipv6Addr::from(octets));
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    Ok(Packet {
        hop_limit: header[7],
        source: address(8).ok_or(ParseError::Truncated("IPv6 header"))?,
        destination: address(24).ok_or(ParseError::Truncated("IPv6 header"))?,
        message: rest.get(..length).ok_or(ParseError::Truncated("IPv6 payload"))?,
    })
}

/// The checks that RFC 4861 sections 7.1.1 and 7.1.2 have in common.
fn check_packet(packet: &Packet<'_>) -> Result<(), ParseError> {
    if packet.hop_limit != ndp::HOP_LIMIT {
        return Err(ParseError::HopLimit(packet.hop_limit));
    }
    if packet.message.len() < ndp::MESSAGE_LEN {
        return Err(ParseError::Truncated("neighbour message"));
    }
    if ndp::checksum(packet.source, packet.destination, packet.message) != 0 {
        return Err(ParseError::Checksum);
    }
    if packet.message.get(1) != Some(&0) {
        return Err(ParseError::Invalid("has an ICMPv6 code other than 0"));
    }
    Ok(())
}

fn target_of(message: &[u8]) -> Result<Ipv6Addr, ParseError> {
    let octets: [u8; 16] = field(message, 8).ok_or(ParseError::Truncated("neighbour message"))?;
    let target = Ipv6Addr::from(octets);
    if target.is_multicast() {
        return Err(ParseError::Invalid("has a multicast target"));
    }
    Ok(target)
}

/// RFC 4861 section 7.1.1.
fn solicitation(packet: &Packet<'_>, options: &Options<'_>, target: Ipv6Addr) -> Result<Said, ParseError> {
    if packet.source.is_unspecified() {
        if options.source.is_some() {
            return Err(ParseError::Invalid("comes from :: and names a source link-layer address"));
        }
        if ndp::solicited_node(packet.destination) != packet.destination {
            return Err(ParseError::Invalid("comes from :: and goes to no solicited-node group"));
        }
    }
    let kind = Kind::NeighbourSolicitation;
    Ok(Said { mac: options.source, sender: None, target: IpAddr::V6(target), kind, mark: None })
}

/// RFC 4861 section 7.1.2.
fn advertisement(packet: &Packet<'_>, options: &Options<'_>, target: Ipv6Addr) -> Result<Said, ParseError> {
    let flags = packet.message.get(4).copied().unwrap_or_default();
    let solicited = flags & ndp::FLAG_SOLICITED != 0;
    if solicited && packet.destination.is_multicast() {
        return Err(ParseError::Invalid("is solicited and goes to a group"));
    }
    let kind = Kind::NeighbourAdvertisement { overriding: flags & ndp::FLAG_OVERRIDE != 0, solicited };
    let target = IpAddr::V6(target);
    Ok(Said { mac: options.target, sender: Some(target), target, kind, mark: None })
}

/// The options that matter here; of several of one kind, the first.
#[derive(Default)]
struct Options<'a> {
    source: Option<Mac>,
    target: Option<Mac>,
    mark: Option<&'a [u8]>,
}

/// RFC 4861 section 4.6: each option names its length in units of 8 bytes; zero is invalid.
fn read_options(message: &[u8]) -> Result<Options<'_>, ParseError> {
    let mut options = Options::default();
    let mut rest = message.get(ndp::MESSAGE_LEN..).unwrap_or_default();
    while !rest.is_empty() {
        let [kind, units] = field(rest, 0).ok_or(ParseError::Truncated("ND option"))?;
        let (option, others) =
            rest.split_at_checked(usize::from(units) * 8).ok_or(ParseError::Truncated("ND option"))?;
        let body = option.get(2..).ok_or(ParseError::Invalid("has an option of length 0"))?;
        match kind {
            ndp::OPTION_SOURCE => options.source = options.source.or(field(body, 0)),
            ndp::OPTION_TARGET => options.target = options.target.or(field(body, 0)),
            ndp::OPTION_MARK => options.mark = options.mark.or(Some(body)),
            _ => {}
        }
        rest = others;
    }
    Ok(options)
}
