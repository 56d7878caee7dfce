//! Names, parsed once: nodes, claims, hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vip::Vip;

/// What the ids of seats begin with.
const SEAT: &str = "seat/";

/// A Kubernetes node's name, lower-cased as kube-vip does. It is the Lease's `holderIdentity`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct NodeName {
    name: String,
    /// Of the name; the order of a claim's members asks for it with every input.
    id: NodeId,
}

impl NodeName {
    /// A node's name; upper case becomes lower case.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_lowercase();
        let id = NodeId(crate::placement::hash(name.as_bytes()));
        Self { name, id }
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The 64-bit id that marks on the wire carry in place of the name (FNV-1a, then a finalizer).
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        Self::new(&name)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.name
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A node in a mark on the wire: the hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

/// One run of an agent that shares no memory with another: it tells two processes with one node name apart.
/// It survives a restart by the snapshot, and does not survive a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The unit of ownership: `control-plane`, `services` for all Services together, `seat/NODE` for those that are placed at a
/// node's seat; or `svc/ADDRESS` for what the Services on an address ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(String);

impl ClaimId {
    /// The claim of the control plane's endpoint.
    #[must_use]
    pub fn control_plane() -> Self {
        Self("control-plane".to_owned())
    }

    /// The claim of all Services together: one node holds what any of them has.
    #[must_use]
    pub fn services() -> Self {
        Self("services".to_owned())
    }

    /// The claim of Services, by the lowest of its addresses. Not by a Service: several share an address, and whichever of
    /// them goes first, the rest must not find their claim under another name.
    #[must_use]
    pub fn service(lowest: Vip) -> Self {
        Self(format!("svc/{lowest}"))
    }

    /// The claim of the Services that are placed at a node's seat ([`crate::seats`]).
    #[must_use]
    pub fn seat(home: &NodeName) -> Self {
        Self(format!("{SEAT}{home}"))
    }

    /// The node whose seat it is, if it is a seat.
    #[must_use]
    pub fn home(&self) -> Option<NodeName> {
        self.0.strip_prefix(SEAT).map(NodeName::new)
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ethernet hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no hardware address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no hardware address: write six pairs of hexadecimal digits, as in 02:00:5e:10:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            // `from_str_radix` would take a sign, too.
            let digits = |part: &&str| part.len() == 2 && part.bytes().all(|one| one.is_ascii_hexdigit());
            let part = parts.next().filter(digits);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| MacError(text.to_owned()))?;
        }
        parts.next().map_or(Ok(Self(bytes)), |_| Err(MacError(text.to_owned())))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_read_as_it_is_written() {
        assert_eq!("02:00:5E:10:00:fF".parse::<Mac>().unwrap(), Mac([2, 0, 0x5e, 0x10, 0, 0xff]));
        // The fuzz target `annotations` asks for signs.
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:",
            "+2:00:5e:10:00:01",
            "2:0:5e:10:0:1",
            "02-00-5e-10-00-01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text:?}");
        }
    }
}
