//! Talks to the Kubernetes API servers: the Lease of a claim, its watch, and where the other API servers are.
//!
//! This is the only crate that may name kube-rs, and it holds no network privilege. It decides nothing: it carries
//! out [`mainstay_core::effect::Effect::Lease`] and says what it sees as [`mainstay_core::input::Input`].
//!
//! ```text
//!            ┌ adapter ── one task a lease call ─┐
//! LeaseCall ─┤                                   ├─ race ─ fleet ─┬ servers (pure: which, in what order)
//!            ├ follow ─── list, watch ───────────┤                ├ credentials (kubeconfig, in-cluster)
//!            └ learn ──── EndpointSlices ────────┘                └ transport (own pools, TLS, TCP time-outs)
//! ```
//!
//! Beside that, a [`SeatAdapter`] does the same for the Leases of all seats together, and a [`Reflector`] follows Services, their endpoints, nodes and the address pools, and says them in the core's
//! words ([`convert`]). It shares the fleet with the Lease, and nothing that the Lease waits for. A [`Publisher`] writes on Services what
//! is decided about them, and an [`EventWriter`] tells of it. No agent runs them yet.
//!
//! Deliberately absent: a cache of whole objects, a polling read (but for [`LeaseLister`]), a retry of a write (the core reads back instead).
#![forbid(unsafe_code)]

mod access;
mod adapter;
mod answer;
mod backends;
mod calls;
mod chance;
mod cluster;
pub mod convert;
pub mod credentials;
mod engine;
mod fleet;
mod follow;
mod label;
mod learn;
mod lease;
mod lease_lists;
mod livez;
mod lookup;
mod microtime;
mod node_failure;
#[doc(hidden)]
pub mod parsers;
mod publish;
mod race;
mod reflect;
mod seats;
pub mod servers;
mod transport;
mod verify;
mod watch_stream;

pub use adapter::{Handles, LeaseAdapter, LeaseCall, LeaseName, Objects, Settings, Timing};
pub use answer::{ErrorClass, Trouble};
pub use backends::ControlPlaneNodes;
pub use credentials::Source;
pub use label::{LabelStatus, Labeller, NodeLabel};
pub use lease_lists::LeaseLister;
pub use livez::{Liveness, LivenessError};
pub use microtime::wall_text;
pub use node_failure::{NodeReport, NodeReporter, Reported, allows};
pub use publish::events::{EventKind, EventSink, EventWriter, ServiceEvent};
pub use publish::{Publication, PublishStatus, Publisher, Wanted};
pub use reflect::{
    Feed, Following, FollowingTiming, ObservedServices, Pools, Problems, Reflector, SEAT, VIP_HOST,
    WatchPhase, WatchState, WatchStates, Watched,
};
pub use seats::{SEAT_LABEL, SeatAdapter, SeatCall};
pub use servers::{ServerKind, ServerState, ServerStatus};
