//! Breaks things: simulated and real networks with faults, an embedded API server, probes and benchmarks.
//!
//! Everything here judges the agents from outside: by frames on the wire and by what each kernel says it holds.

#![deny(unsafe_code)]

pub mod apiserver;
pub mod bench;
pub mod cluster;
pub mod demo;
pub mod elector;
pub mod kube_proxy;
pub mod model;
mod netlink;
pub mod netns;
pub mod probe;
pub mod report;
pub mod shop;
pub mod sim;
#[expect(
    unsafe_code,
    reason = "setns, packet sockets and clocks have no safe interface in the standard library"
)]
mod sys;
pub mod transcript;
