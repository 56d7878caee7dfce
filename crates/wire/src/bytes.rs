//! Reading fixed-size fields without a panic, and the Ethernet header.

use crate::Mac;

/// Bytes of an Ethernet header without a VLAN tag.
pub(crate) const ETHERNET_LEN: usize = 14;

/// The `N` bytes at offset `at`, if the slice is that long.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// An Ethernet header: destination, source, type.
pub(crate) fn ethernet(to: Mac, from: Mac, ethertype: u16) -> [u8; ETHERNET_LEN] {
    let mut header = [0; ETHERNET_LEN];
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&from);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}
