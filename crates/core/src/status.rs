//! What the core says of itself, for `mainstay status` and the state dump.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::ClaimId;
use crate::vip::{Tenure, Vip};

/// One claim on this node, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// The claim.
    pub claim: ClaimId,
    /// Its addresses; those that are about to go come last.
    pub vips: Vec<Vip>,
    /// Those of them that its names mean no more: worn for a while yet where the claim is held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Vip>,
    /// `released`, `probing`, `holding` or `yielding`.
    pub state: String,
    /// How it is held, if it is.
    pub tenure: Option<Tenure>,
    /// How long the state and tenure have been so.
    pub since: Duration,
    /// The epoch of our grant, or the highest seen.
    pub epoch: u32,
    /// Whom the authority last named.
    pub holder: Option<String>,
    /// What the authority last told this node: `granted`, `denied`, `vacant` or `unknown`.
    pub standing: String,
    /// Whether the authority is in reach.
    pub authority_in_reach: bool,
    /// Since the last successful contact with it.
    pub last_contact: Option<Duration>,
    /// Failed lease requests in a row.
    pub failures_in_a_row: u32,
    /// Until the next lease request, when one is planned.
    pub next_request: Option<Duration>,
    /// Conflicts seen since the start.
    pub conflicts: u64,
    /// Since the holder's last answer on the wire, for a node that watches it.
    pub holder_last_answer: Option<Duration>,
    /// In words, why this node does not hold the claim or may not campaign for it.
    pub reason: String,
    /// Members known, by name.
    pub members: Vec<String>,
    /// Those of the others that were not heard on the wire lately: within 25 s, where each is asked every ten.
    pub unheard: Vec<String>,
}
