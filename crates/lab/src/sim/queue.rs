//! What is due, and when.

use std::sync::Arc;

use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord};
use mainstay_core::names::ClaimId;
use mainstay_core::vip::Vip;

use super::faults::Edge;
use super::segment::Packet;
use super::spread::{Record, Records};

/// Everything that can be due.
#[derive(Debug)]
pub(super) enum Ev {
    Start { host: usize },
    Arrive { to: usize, packet: Packet },
    Input { host: usize, run: u32, input: Box<Input> },
    Tick { host: usize, run: u32 },
    Pace { host: usize, run: u32 },
    Assign { host: usize, run: u32, id: EffectId, vips: Vec<Vip>, lifetime: u64 },
    Withdraw { host: usize, run: u32, id: EffectId, vips: Vec<Vip> },
    Expire { host: usize },
    Health { host: usize },
    Ask { request: usize, turn: usize },
    Perform { request: usize, server: usize, reply: bool },
    Reply { request: usize, server: usize, outcome: Box<LeaseOutcome> },
    Deadline { request: usize },
    Watched { host: usize, generation: u32, seat: Option<ClaimId>, record: Option<Arc<LeaseRecord>> },
    Recorded { host: usize, generation: u32, records: Arc<Records> },
    Spread { host: usize, run: u32 },
    Write { record: Record },
    Reconnect { host: usize, generation: u32 },
    StaleWatch { host: usize, generation: u32 },
    Ping { client: usize },
    Forget { client: usize },
    Rogue,
    Fault { index: usize, edge: Edge },
}

/// What an event may change of what the checker sees.
#[derive(Clone, Copy)]
pub(super) enum Touch {
    Nothing,
    Host(usize),
    /// An endpoint of the segment that a frame reached.
    End(usize),
    World,
}

impl Ev {
    pub(super) fn touches(&self) -> Touch {
        match self {
            Self::Start { host }
            | Self::Input { host, .. }
            | Self::Tick { host, .. }
            | Self::Pace { host, .. }
            | Self::Assign { host, .. }
            | Self::Withdraw { host, .. }
            | Self::Expire { host } => Touch::Host(*host),
            Self::Arrive { to, .. } => Touch::End(*to),
            Self::Perform { .. } | Self::Forget { .. } | Self::Rogue | Self::Fault { .. } => Touch::World,
            Self::Health { .. }
            | Self::Ask { .. }
            | Self::Reply { .. }
            | Self::Deadline { .. }
            | Self::Watched { .. }
            | Self::Recorded { .. }
            | Self::Spread { .. }
            | Self::Write { .. }
            | Self::Reconnect { .. }
            | Self::StaleWatch { .. }
            | Self::Ping { .. } => Touch::Nothing,
        }
    }
}

/// What is due, in order of time, and then of being queued.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) number: u64,
    pub(super) event: Ev,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
