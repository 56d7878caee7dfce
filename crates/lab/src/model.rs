//! The machines under every fault at every moment: a world of three nodes whose next states can be listed.
//!
//! A [`World`] is one state: three hosts (a kernel, and an agent that is the core's own machine with the real
//! announcer), the Lease, what is under way, a client's neighbour entry, what is left of the budget of faults, and the
//! checker's ages. [`World::choices`] lists what may happen next and [`World::take`] does it; a search over them visits
//! every world that can come about within the budget. Nothing is random here but the machines' own jitter, which
//! follows a seed.
//!
//! **Time.** Messages that nothing hinders take [`PROMPT`]; timers of an agent fire at multiples of [`TIMER`]. Time goes
//! from one moment at which something is due to the next. The fingerprint has no absolute moment in it: all are
//! hashed relative to the present, and what is older than [`MEMORY`] counts as just that old (`hash.rs`).
//!
//! **Choice.** At a moment of choice any fault of the plan may begin that its budget still allows, and any message
//! under way may be lost or become late. Such moments are all at which more happened than a probe and its answer, and
//! else one every [`CHOICE`]: while nothing but probing goes on, a fault a few milliseconds sooner or later meets the
//! same machines. A plan says how long after the start, and after the last fault, further ones may begin. Then the run
//! goes on until all is well again for a while, or until the promises' bound for that is over.

mod hash;
mod hosts;
mod lease;
mod look;
mod plan;
mod steps;
#[cfg(test)]
mod tests;
mod wire;
mod world;

use std::time::Duration;

pub use plan::{Action, Budget, Fault, Group, Plan, Start, Tally};
pub use world::World;

/// How long a message that nothing hinders is under way, and an operation of the kernel.
pub const PROMPT: Duration = Duration::from_millis(1);
/// Timers of an agent fire at multiples of this.
pub const TIMER: Duration = Duration::from_millis(10);
/// Between moments of choice while nothing happens but probing.
pub const CHOICE: Duration = Duration::from_millis(100);
/// A late frame's delay: longer than the silence that is evidence.
pub const LATE_FRAME: Duration = Duration::from_millis(350);
/// A late request's or reply's: longer than the patience after which a request counts as unanswered.
pub const LATE_REQUEST: Duration = Duration::from_millis(700);
/// A late watch event's: longer than a renewal's period.
pub const LATE_WATCH: Duration = Duration::from_secs(2);
/// Moments older than this are all alike: longer than expiry, grace and lifetime together, and than any run.
pub const MEMORY: Duration = Duration::from_secs(60);
