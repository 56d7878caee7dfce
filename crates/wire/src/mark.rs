//! The mark: who announces, by what right, under which epoch.
//!
//! Eighteen bytes, which is exactly the padding that brings an ARP frame to Ethernet's minimum of 60:
//!
//! ```text
//!  0      2         3       4        8           16         18
//!  +------+---------+-------+--------+-----------+----------+
//!  | "Ms" | version | flags | epoch  | node      | checksum |
//!  |      | +tenure | = 0   | u32 BE | u64 BE    | u16 BE   |
//!  +------+---------+-------+--------+-----------+----------+
//! ```
//!
//! The checksum is CRC-16 (polynomial 0x1021, initial value 0xffff) over the message that the mark travels in and
//! then the mark. Padding of zeros or of noise is no mark; neither is ours when another host's driver leaks it into
//! the padding of a frame of its own (as in CVE-2003-0001).

use crate::bytes::field;

/// Bytes of an encoded mark.
pub(crate) const MARK_LEN: usize = 18;

const MAGIC: [u8; 2] = *b"Ms";
const VERSION: u8 = 1;
const CHECKSUM_AT: usize = MARK_LEN - 2;

/// How the sender holds the claim, in rising order of right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tenure {
    /// Holds nothing: the mark of a probe.
    Candidate = 0,
    /// Taken without a grant.
    Provisional = 1,
    /// Held by a grant while the authority is out of reach.
    Detached = 2,
    /// Held by a fresh grant.
    Confirmed = 3,
}

impl Tenure {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Candidate, Self::Provisional, Self::Detached, Self::Confirmed].get(usize::from(bits)).copied()
    }
}

/// What an announcement or a probe of ours carries besides what the protocol asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// How the sender holds the claim.
    pub tenure: Tenure,
    /// The fencing number of its grant.
    pub epoch: u32,
    /// The sender: a hash of its node's name.
    pub node: u64,
}

impl Mark {
    /// The mark's bytes, bound to the `message` that it travels in.
    pub(crate) fn encode(self, message: &[u8]) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION << 4 | self.tenure as u8;
        bytes[4..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..CHECKSUM_AT].copy_from_slice(&self.node.to_be_bytes());
        let checksum = checksum(message, &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The mark that `bytes` begin with, if it is one, whole, and bound to `message`.
    ///
    /// The flags are reserved: sent as zero, ignored on receipt.
    pub(crate) fn decode(bytes: &[u8], message: &[u8]) -> Option<Self> {
        let bytes: [u8; MARK_LEN] = field(bytes, 0)?;
        let known = bytes[..2] == MAGIC && bytes[2] >> 4 == VERSION;
        let whole = field(&bytes, CHECKSUM_AT)? == checksum(message, &bytes[..CHECKSUM_AT]).to_be_bytes();
        let mark = Self {
            tenure: Tenure::from_bits(bytes[2] & 0x0f)?,
            epoch: u32::from_be_bytes(field(&bytes, 4)?),
            node: u64::from_be_bytes(field(&bytes, 8)?),
        };
        (known && whole).then_some(mark)
    }
}

/// CRC-16/CCITT-FALSE: it notices every change within 16 bits in a row.
fn checksum(message: &[u8], mark: &[u8]) -> u16 {
    message.iter().chain(mark).fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that CRC catalogues publish for CRC-16/CCITT-FALSE (also called CRC-16/IBM-3740).
    #[test]
    fn checksum_matches_the_published_check_value() {
        assert_eq!(checksum(b"12345", b"6789"), 0x29b1);
    }

    #[test]
    fn layout_is_the_documented_one() {
        let mark = Mark { tenure: Tenure::Detached, epoch: 0x0102_0304, node: 0x1112_1314_1516_1718 };
        let bytes = mark.encode(b"");
        assert_eq!(
            bytes[..16],
            [b'M', b's', 0x12, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
        assert_eq!(Mark::decode(&bytes, b""), Some(mark));
    }

    #[test]
    fn another_version_is_no_mark() {
        let mut bytes = Mark { tenure: Tenure::Confirmed, epoch: 7, node: 9 }.encode(b"");
        bytes[2] = 2 << 4 | 3;
        let checksum = checksum(b"", &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(Mark::decode(&bytes, b""), None);
    }

    #[test]
    fn reserved_flags_are_ignored() {
        let mark = Mark { tenure: Tenure::Confirmed, epoch: 7, node: 9 };
        let mut bytes = mark.encode(b"");
        bytes[3] = 0xa5;
        let checksum = checksum(b"", &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(Mark::decode(&bytes, b""), Some(mark));
    }
}
