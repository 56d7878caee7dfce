//! Where the rightful holder is recorded, and what it last told this node.

pub mod annotations;
pub mod lease;

use serde::{Deserialize, Serialize};

/// What the authority last told this node about its claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing yet.
    Unknown,
    /// There is no record of the claim: never made, or deleted.
    Absent,
    /// The record has no holder: it was released.
    Vacant {
        /// The last holder's epoch.
        epoch: u32,
    },
    /// This node, in this run, is the rightful holder.
    Granted {
        /// The grant's fencing number.
        epoch: u32,
    },
    /// Another is.
    Denied {
        /// Its identity.
        holder: String,
        /// Its epoch.
        epoch: u32,
    },
}

impl Standing {
    /// The word that `mainstay status` shows.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Vacant { .. } => "vacant",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
        }
    }
}
