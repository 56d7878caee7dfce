//! What traffic to Services' addresses meets, with real agents, real network stacks and the embedded API server: the filter
//! (`enable_service_security`), and kube-proxy beside it.
//!
//! The bounds are wide: what takes milliseconds is given seconds on a busy machine.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod filter;
mod ipvs;
mod kube_proxy;
