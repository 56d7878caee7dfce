//! What the loop says of itself when it is asked.

use std::collections::BTreeMap;

use mainstay_core::status::ClaimStatus;
use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;
use mainstay_dataplane::counters::Counters;

/// What the loop says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// When it was made.
    pub(crate) now: Moment,
    /// The core's view.
    pub(crate) status: ClaimStatus,
    /// The data plane's numbers.
    pub(crate) counters: Counters,
    /// Whether the link is up, as the core was told last.
    pub(crate) link_up: bool,
    /// What the kernel said to the last addresses ordered, if it refused them all.
    pub(crate) address_failure: Option<String>,
    /// Addresses that it refuses while it has others.
    pub(crate) refused: BTreeMap<Vip, String>,
    /// The seats, where Services are spread over nodes.
    pub(crate) seats: Vec<ClaimStatus>,
}

impl Report {
    /// What the kernel says to the addresses that it refuses, all of them or some; one line.
    pub(crate) fn refusal(&self) -> Option<String> {
        let some = self.refused.iter().map(|(vip, cause)| format!("{vip}: {cause}")).collect::<Vec<_>>();
        self.address_failure.clone().or_else(|| (!some.is_empty()).then(|| some.join("; ")))
    }
}
