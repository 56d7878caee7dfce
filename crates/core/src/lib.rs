//! Decides who holds a virtual IP, and what must happen next.
//!
//! Pure: no I/O, no clock, no tasks. Three closed enums are the whole boundary: [`input::Input`] is everything that
//! can happen to us, [`effect::Effect`] everything we may ask of the world, [`event::Event`] everything worth
//! telling a person. [`node::Node`] turns the first into the other two; time is an argument.
#![forbid(unsafe_code)]

pub mod authority;
pub mod backoff;
pub mod balance;
pub mod beacon;
pub mod check;
pub mod conflict;
pub mod effect;
pub mod event;
pub mod filter;
pub mod input;
pub mod intent;
pub mod ipam;
pub mod names;
pub mod node;
mod ownership;
pub mod placement;
pub mod recording;
pub mod rng;
pub mod seats;
pub mod settings;
pub mod snapshot;
pub mod spread;
pub mod status;
pub mod time;
pub mod vip;
pub mod watcher;
