//! The only netlink, raw sockets and `unsafe` of this crate.

pub(crate) mod addresses;
pub mod clock;
pub(crate) mod conntrack;
pub(crate) mod filter;
pub mod forwarding;
pub(crate) mod ipvs;
pub(crate) mod links;
pub mod memory;
pub(crate) mod message;
pub(crate) mod monitor;
pub(crate) mod nftables;
pub(crate) mod nudge;
pub(crate) mod packet;
pub mod realtime;
pub(crate) mod route;
pub(crate) mod strict_arp;
pub(crate) mod timer;
pub(crate) mod worker;
