//! What the rows of sets are made of: addresses, transports and ports, as the registers have them side by side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mainstay_core::vip::Vip;

use super::{Comparison, Expression, Header, IPV4, Load, Register};

/// Loads the destination's address to where the registers begin; how many it takes.
pub(crate) fn destination(family: u8) -> (Expression, u8) {
    let (offset, length, registers) = if family == IPV4 { (16, 4, 1) } else { (24, 16, 4) };
    let what = Load::Payload { of: Header::Network, offset, length };
    (Expression::Load { what, to: Register(0) }, registers)
}

/// Goes on if what is in the first register is that.
pub(crate) fn equal(value: Vec<u8>) -> Expression {
    Expression::Compare { at: Register(0), by: Comparison::Equal, value }
}

/// The address as it is in a packet.
pub(crate) fn octets(vip: Vip) -> Vec<u8> {
    match vip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address that these bytes are.
pub(crate) fn address(bytes: &[u8]) -> Option<Vip> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

/// Address, transport and port: a register or four, one, and one.
pub(crate) fn service(vip: Vip, transport: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [octets(vip).as_slice(), &[transport, 0, 0, 0, high, low, 0, 0]].concat()
}

/// Reads such a row.
pub(crate) fn read_service(row: &[u8]) -> Option<(Vip, u8, u16)> {
    let (vip, rest) = row.split_at_checked(row.len().checked_sub(8)?)?;
    let port = u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?]);
    Some((address(vip)?, *rest.first()?, port))
}
