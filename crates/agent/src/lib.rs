//! Joins the rooms: configuration, the loop, supervision, admin API, metrics.
//!
//! [`config::resolve`] makes a [`config::Config`] of flags and environment; [`run()`] runs the agent with it;
//! [`admin::client`] asks a running one.
#![forbid(unsafe_code)]

pub mod admin;
mod api_log;
mod balancer;
pub mod config;
mod control;
pub mod doctor;
mod driver;
mod explain;
mod health;
mod history;
mod http;
mod insight;
mod label;
mod latest;
mod log;
mod metrics;
mod names;
mod node_failure;
mod privileges;
mod probes;
mod record;
pub mod replay;
mod role;
mod run;
mod seats;
mod service;
mod services;
mod signals;
mod store;
mod strict_arp;
mod supervise;
#[cfg(test)]
mod testing;
mod vitals;

pub use driver::Ending;
pub use run::run;

#[cfg(test)]
mod serving_tests;
