//! Makes the kernel and the wire match what the core ordered: addresses, announcements, probes, listening.
//!
//! It acts on the kernel and on the wire and cannot name Kubernetes: nothing that happens to the API server can
//! reach it.

pub mod announce;
