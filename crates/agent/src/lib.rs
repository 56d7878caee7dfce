//! Joins the rooms: configuration, the loop, supervision, admin API, metrics.
#![forbid(unsafe_code)]

pub mod config;
