//! The last known valid state, kept across a restart of the agent.
//!
//! A snapshot is bound to the boot: after a reboot the kernel holds nothing of ours and another node may hold the
//! claim, so what an earlier boot knew is not believed. Little is as good as before ([`Lasting`]).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::{ClaimId, InstanceId, Mac, NodeName};
use crate::vip::Vip;

/// What an agent writes down whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The run that wrote it; a restart in the same boot goes on as the same run.
    pub instance: InstanceId,
    /// What was known of each claim.
    pub claims: BTreeMap<ClaimId, ClaimMemory>,
    /// API servers learned, as URLs. The core carries them and does not look.
    pub api_servers: Vec<String>,
    /// The last good answer of each DNS name among the VIPs' addresses. The core does not look at it either.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, Vec<Vip>>,
    /// Which cluster it is of, where a beacon follows from that ([`crate::beacon`]). Nor at that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// What of a snapshot outlasts a reboot: nothing of who held, and no addresses of Services, which may be anybody's by now and
/// are read again where an API server can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// What the names meant: a reboot changes no DNS.
    pub names: BTreeMap<String, Vec<Vip>>,
    /// Which cluster it is.
    pub cluster: Option<String>,
}

impl Lasting {
    fn of(snapshot: Snapshot) -> Self {
        let Snapshot { names, cluster, .. } = snapshot;
        Self { names, cluster }
    }
}

/// What is remembered of one claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimMemory {
    /// The Lease's uid.
    pub uid: String,
    /// The highest epoch seen in that uid.
    pub epoch: u32,
    /// Whether this node held the claim, and by grant of `epoch`, when the snapshot was written.
    pub held: bool,
    /// The members published on the Lease.
    pub members: BTreeMap<NodeName, Member>,
    /// The addresses that its names meant, where it has names: those that are on the interface and that the names mean no
    /// more are the next run's to drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Vip>,
    /// The addresses that the holder, another node, last said it wears, where the claim has names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Vip>,
    /// Addresses of Services that the holder wears beside the claim's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Vip>,
}

/// A node of the claim as it published itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Hardware addresses of the VIP's interface.
    pub macs: Vec<Mac>,
    /// Its own addresses on that interface, of each of the VIPs' families.
    pub addresses: Vec<IpAddr>,
}

impl Member {
    /// The same as it is published for a claim of these VIPs: without the VIPs themselves, and without addresses of
    /// families that none of them has.
    #[must_use]
    pub fn for_vips(mut self, vips: &[Vip]) -> Self {
        let familiar = |address: &IpAddr| vips.iter().any(|vip| vip.is_ipv4() == address.is_ipv4());
        self.addresses.retain(|address| familiar(address) && !vips.contains(address));
        self
    }
}

/// The format's version: raised when an older program could misread a newer file.
const VERSION: u32 = 1;
const MAGIC: &str = "mainstay-snapshot ";

/// Why a snapshot is not believed. Each is a warning: the agent starts as if there were none.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file ends before its content does: a write was cut short.
    #[error("the snapshot is truncated: {have} bytes of content of {want}; starting without it")]
    Truncated {
        /// Bytes of content there are.
        have: usize,
        /// Bytes of content its first line promises, or 1 if even that line is cut.
        want: usize,
    },
    /// The content is not what was written, or the file is no snapshot.
    #[error("the snapshot is damaged: its checksum or its first line does not fit; starting without it")]
    Checksum,
    /// Another version of Mainstay wrote it.
    #[error("the snapshot has format version {found}, this program reads {VERSION}; starting without it")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// It is whole, and from before a reboot.
    #[error("the snapshot is of boot {found}, this is boot {this}; starting without it")]
    OtherBoot {
        /// The boot that wrote it.
        found: String,
        /// This boot.
        this: String,
        /// What of it is as good as before.
        lasting: Box<Lasting>,
    },
    /// It is whole, and does not say what a snapshot says.
    #[error("the snapshot's content cannot be read; starting without it")]
    Content(#[source] serde_json::Error),
}

/// The snapshot as a file's content: a line with version, length and checksum, then JSON that a person can read.
///
/// ```text
/// mainstay-snapshot 1 212 cbf43926
/// {"boot_id":...}
/// ```
#[must_use]
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let content =
        serde_json::to_vec(snapshot).expect("its map keys are texts, and a vector takes every write");
    let mut bytes = first_line(&content).into_bytes();
    bytes.extend(content);
    bytes
}

/// Reads a file's content back.
///
/// # Errors
///
/// For anything that was not written whole by [`encode`] of this version in the boot `boot_id`.
pub fn decode(bytes: &[u8], boot_id: &str) -> Result<Snapshot, SnapshotError> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(SnapshotError::Truncated { have: 0, want: 1 })?;
    let (line, content) = bytes.split_at(end + 1);
    check_first_line(line, content)?;
    let snapshot: Snapshot = serde_json::from_slice(content).map_err(SnapshotError::Content)?;
    if snapshot.boot_id != boot_id {
        let (found, this) = (snapshot.boot_id.clone(), boot_id.to_owned());
        return Err(SnapshotError::OtherBoot { found, this, lasting: Lasting::of(snapshot).into() });
    }
    Ok(snapshot)
}

/// The line as it must be for this content, byte for byte.
fn first_line(content: &[u8]) -> String {
    format!("{MAGIC}{VERSION} {} {:08x}\n", content.len(), crc32(content))
}

fn check_first_line(line: &[u8], content: &[u8]) -> Result<(), SnapshotError> {
    if line == first_line(content).as_bytes() {
        return Ok(());
    }
    let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MAGIC));
    let mut words = text.ok_or(SnapshotError::Checksum)?.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    let (version, length) = (number(), number());
    if let Some(found) = version.filter(|version| *version != VERSION) {
        return Err(SnapshotError::Version { found });
    }
    let want = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let have = content.len();
    Err(if have < want { SnapshotError::Truncated { have, want } } else { SnapshotError::Checksum })
}

/// CRC-32 as in IEEE 802.3, bit by bit: a snapshot has a few kilobytes and changes seldom.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests;
