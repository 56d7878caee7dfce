//! Makes the kernel and the wire match what the core ordered: addresses, announcements, probes, listening.
//!
//! It acts on the kernel and on the wire and cannot name Kubernetes: nothing that happens to the API server can
//! reach it. [`plane::Dataplane`] is the face; [`announce`], [`plan`] and [`kernel`] are its pure parts.
#![deny(unsafe_code)]

pub mod announce;
pub mod balancer;
mod books;
pub mod counters;
mod faults;
pub mod filter;
pub mod ipvs;
pub mod kernel;
#[expect(unsafe_code, reason = "the one place that talks to the kernel in the kernel's own terms")]
mod linux;
mod nftables;
#[doc(hidden)]
pub mod parsers;
pub mod plan;
pub mod plane;
mod segment;

pub use faults::FaultNews;
pub use linux::addresses::ADDRESS_PROTOCOL;
pub use linux::clock;
pub use linux::forwarding;
pub use linux::links::{DescribeError, LinkDescription, addresses_on, default_interface, describe};
pub use linux::memory;
pub use linux::realtime;
pub use linux::strict_arp::{LooseArp, loose_arp};
