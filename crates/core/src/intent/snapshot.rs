//! What a restart remembers of Services: how each was last understood.
//!
//! A Service whose annotation was mistyped stays as it was known, and a restart of the agent must not be what takes its address
//! away. What was remembered decides nothing by itself: it is there for objects that a list names and that cannot be
//! read, so nothing old comes back to life.
//!
//! Of endpoints and nodes nothing is remembered: the API server has validated them, and they change by the minute.

use serde::{Deserialize, Serialize};

use super::known::{Item, Known};
use super::name::ObjectName;
use super::service::{Service, ServiceType};

/// How many Services of type `LoadBalancer` are remembered: the scale that Mainstay is built for. Of more, the oldest are.
pub const SERVICES_MAX: usize = 10_000;

/// One Service, as it is written.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a ObjectName,
    item: &'a Item<Service>,
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Read {
    name: ObjectName,
    item: Item<Service>,
}

/// What is to be remembered of `services`: a line of JSON without its end for each, in the order of their names.
pub fn lines(services: &Known<ObjectName, Service>) -> impl Iterator<Item = String> {
    let mut kept: Vec<_> = services.items().filter(|(_, item)| is_worth_it(item)).collect();
    if kept.len() > SERVICES_MAX {
        kept.sort_by_key(|(name, item)| (item.value().created, *name));
        kept.truncate(SERVICES_MAX);
        kept.sort_by_key(|(name, _)| *name);
    }
    kept.into_iter().map(|(name, item)| {
        serde_json::to_string(&Written { name, item }).expect("names and numbers have a JSON form")
    })
}

/// What was remembered, not listed; and how many lines cannot be read.
pub fn recall<'a>(lines: impl Iterator<Item = &'a str>) -> (Known<ObjectName, Service>, usize) {
    let (mut known, mut unreadable) = (Known::default(), 0);
    for line in lines {
        match serde_json::from_str::<Read>(line) {
            Ok(Read { name, item }) => known.remember(name, item),
            Err(_) => unreadable += 1,
        }
    }
    (known, unreadable)
}

/// What could only be saved of a torn one is no understanding of it.
fn is_worth_it(item: &Item<Service>) -> bool {
    item.is_whole() && item.value().service_type == ServiceType::LoadBalancer
}
