//! Netlink messages and their attributes (`man 7 netlink`), as plain bytes.
//!
//! The few kinds of message that matter here are read attribute by attribute, and attributes that nobody asked for
//! are never looked at: a driver's odd one cannot hide a link's change.

/// Bytes of a message header: length, kind, flags, sequence number, port.
const HEADER: usize = 16;
/// Bytes of an attribute header: length, kind.
const ATTRIBUTE: usize = 4;
/// The flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The kind of an attribute without the flags `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND_MASK: u16 = 0x3fff;

/// One message as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram. One that is cut short ends it.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            sequence: u32_at(datagram, 8)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(align(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes, kind and value each. One that is cut short ends them.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let found = (u16_at(bytes, 2)? & KIND_MASK, bytes.get(ATTRIBUTE..length)?);
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some(found)
    })
}

/// Attributes under construction, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// With one attribute more. Its length takes 16 bits: whoever has more to say says it in several messages.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    /// With one more, which holds attributes itself.
    pub(crate) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.with(kind | NESTED, &inner.bytes)
    }

    /// How many bytes they take.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A request under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// `flags` besides `NLM_F_REQUEST`; `header` is the fixed part of this kind of message.
    pub(crate) fn new(kind: u16, flags: libc::c_int, header: &[u8]) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        bytes.resize(align(bytes.len()), 0);
        Self { bytes }
    }

    /// With one attribute more.
    pub(crate) fn with(self, kind: u16, value: &[u8]) -> Self {
        self.with_all(&Attributes::default().with(kind, value))
    }

    /// With these attributes more.
    pub(crate) fn with_all(mut self, attributes: &Attributes) -> Self {
        self.bytes.extend(&attributes.bytes);
        self
    }

    /// The same, to be answered with an acknowledgment.
    pub(crate) fn acknowledged(mut self) -> Self {
        let ack = u16::try_from(libc::NLM_F_ACK).unwrap_or_default();
        let flags = u16_at(&self.bytes, 6).unwrap_or_default() | ack;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// The finished bytes.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A number in the host's byte order at `at`, if the bytes reach so far.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// As [`u32_at`].
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn align(length: usize) -> usize {
    length.max(1).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_holds_attributes_is_read_back() {
        let inner = Attributes::default().with(1, b"x").with(2, &[0; 5]);
        let outer = Attributes::default().with(7, &[9]).nested(8, &inner);
        assert_eq!(outer.len(), 8 + 4 + 8 + 12);
        let datagram = Request::new(20, 0, &[0; 4]).with_all(&outer).finish(1);
        let body = messages(&datagram).next().expect("a message").body;
        let found: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [7, 8]);
        let inside: Vec<_> = attributes(found[1].1).collect();
        assert_eq!(inside, [(1, &b"x"[..]), (2, &[0; 5][..])]);
    }

    #[test]
    fn what_is_built_is_read_back() {
        let one = Request::new(20, libc::NLM_F_ACK, &[2, 32, 0, 0, 7, 0, 0, 0])
            .with(1, &[10, 0, 0, 9])
            .with(11, &[77]);
        let mut datagram = one.finish(5);
        datagram.extend(Request::new(21, 0, &[1]).finish(6));
        let read: Vec<_> = messages(&datagram).collect();
        assert_eq!(read.iter().map(|one| (one.kind, one.sequence)).collect::<Vec<_>>(), [(20, 5), (21, 6)]);
        let found: Vec<_> = attributes(&read[0].body[8..]).collect();
        assert_eq!(found, [(1, &[10, 0, 0, 9][..]), (11, &[77][..])]);
    }

    proptest! {
        /// Neither reads past the end nor stands still, whatever the bytes.
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
