//! What the watches found, taken in one step at a time. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_core::intent::{Change, Extent, Intent, Kind, Known, Listing, Problem, Reading};

use super::Pools;
use super::observed::ObservedServices;
use super::plan::{Item, Key, ServiceItem, Watched};
use super::problems::Problems;

/// What a watch found.
#[derive(Debug)]
pub(super) enum Step {
    /// Objects that are there: a page of a list, or one that changed.
    Present(Kind, Vec<Item>),
    /// The API server said that the object is gone.
    Gone(Kind, Key),
    /// A list was read to its end, and named these; what it said of each has been taken in before.
    Listed(Watched, Kind, Names),
}

/// What a list named.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) extent: Extent,
    /// Objects without a name are `None`.
    pub(super) names: Vec<Option<Key>>,
}

/// What is known beside the intent.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) pools: Pools,
    pub(super) problems: Problems,
    pub(super) observed: ObservedServices,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) intent: bool,
    pub(super) pools: bool,
    pub(super) problems: bool,
}

impl Changed {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            intent: self.intent || other.intent,
            pools: self.pools || other.pools,
            problems: self.problems || other.problems,
        }
    }
}

/// Takes a step in.
pub(super) fn apply(intent: &mut Intent, aside: &mut Aside, step: Step) -> Changed {
    match step {
        Step::Present(kind, items) => {
            let changes = items.into_iter().map(|item| present(intent, aside, kind, item));
            changes.fold(Changed::default(), Changed::and)
        }
        Step::Gone(kind, key) => gone(intent, aside, kind, key),
        Step::Listed(watched, kind, names) => listed(intent, aside, (watched, kind), names),
    }
}

fn present(intent: &mut Intent, aside: &mut Aside, kind: Kind, item: Item) -> Changed {
    match item {
        Item::Service(service) => {
            let ServiceItem { reading, observed } = *service;
            if let Some(name) = &reading.key {
                aside.observed.note(name, observed);
            }
            take(&mut intent.services, aside, kind, reading)
        }
        Item::Slice(reading) => take(&mut intent.slices, aside, kind, reading),
        Item::Node(reading) => take(&mut intent.nodes, aside, kind, reading),
        Item::Pools(Some(data)) => {
            let known = matches!(&aside.pools, Pools::Present(known) if **known == data);
            aside.pools = if known { aside.pools.clone() } else { Pools::Present(Arc::new(data)) };
            Changed { pools: !known, ..Changed::default() }
        }
        Item::Pools(None) | Item::Stranger => Changed::default(),
    }
}

/// Takes one object in. One that says what is known of it is no change: Nodes tell every few minutes that they live.
fn take<K: Ord + Clone + ToString, T: PartialEq>(
    known: &mut Known<K, T>,
    aside: &mut Aside,
    kind: Kind,
    mut reading: Reading<K, T>,
) -> Changed {
    let problems = std::mem::take(&mut reading.problems);
    let name = reading.key.as_ref().map(ToString::to_string);
    let changed = match (&reading.key, &reading.value) {
        (Some(key), Some(value)) => known.get(key) != Some(value),
        _ => false,
    };
    if changed {
        known.apply(Change::Present(reading));
    }
    Changed { intent: changed, pools: false, problems: aside.problems.set(kind, name, problems) }
}

fn gone(intent: &mut Intent, aside: &mut Aside, kind: Kind, key: Key) -> Changed {
    let forget = |aside: &mut Aside, name: String| aside.problems.set(kind, Some(name), Vec::new());
    let (intent, problems) = match key {
        Key::Service(name) => {
            aside.observed.note(&name, None);
            let problems = forget(aside, name.to_string());
            (remove(&mut intent.services, name), problems)
        }
        Key::Slice(name) => {
            let problems = forget(aside, name.to_string());
            (remove(&mut intent.slices, name), problems)
        }
        Key::Node(name) => {
            let problems = forget(aside, name.to_string());
            (remove(&mut intent.nodes, name), problems)
        }
        Key::Pools => return no_pools(aside),
    };
    Changed { intent, pools: false, problems }
}

fn remove<K: Ord + Clone, T>(known: &mut Known<K, T>, key: K) -> bool {
    let before = known.len();
    known.apply(Change::Gone(key));
    known.len() != before
}

fn no_pools(aside: &mut Aside) -> Changed {
    let before = std::mem::replace(&mut aside.pools, Pools::Absent);
    Changed { pools: before != Pools::Absent, ..Changed::default() }
}

fn listed(intent: &mut Intent, aside: &mut Aside, (watched, kind): (Watched, Kind), names: Names) -> Changed {
    let told: BTreeSet<Option<String>> = names.names.iter().map(text).collect();
    let (changed, list) = match watched {
        Watched::Services => {
            let done = conclude(&mut intent.services, kind, names, |key| match key {
                Key::Service(name) => Some(name),
                _ => None,
            });
            aside.observed.keep(|name| intent.services.get(name).is_some());
            done
        }
        Watched::Endpoints => conclude(&mut intent.slices, kind, names, |key| match key {
            Key::Slice(name) => Some(name),
            _ => None,
        }),
        Watched::Nodes => conclude(&mut intent.nodes, kind, names, |key| match key {
            Key::Node(name) => Some(name),
            _ => None,
        }),
        Watched::Pools if names.extent == Extent::Confirmed && names.names.is_empty() => {
            return no_pools(aside);
        }
        Watched::Pools => return Changed::default(),
    };
    // A list that was not believed names nothing, and says nothing of what is wrong with what is known.
    let forgotten = list.is_empty() && aside.problems.keep(kind, &told);
    let problems = aside.problems.set(kind, Some("list".to_owned()), list) || forgotten;
    Changed { intent: changed, pools: false, problems }
}

/// Gives up what a list does not name, where that can be concluded.
fn conclude<K: Ord + Clone, T>(
    known: &mut Known<K, T>,
    kind: Kind,
    names: Names,
    key: impl Fn(Key) -> Option<K>,
) -> (bool, Vec<Problem>) {
    let before = (known.len(), known.is_listed());
    // What each of them says has been taken in: here they are only named.
    let named = |name: Option<Key>| Reading::unreadable(name.and_then(&key), Vec::new());
    let readings = names.names.into_iter().map(named).collect();
    let told = known.replace(Listing { kind, extent: names.extent, readings });
    (before != (known.len(), known.is_listed()), told)
}

fn text(key: &Option<Key>) -> Option<String> {
    Some(match key.as_ref()? {
        Key::Service(name) | Key::Slice(name) => name.to_string(),
        Key::Node(name) => name.to_string(),
        Key::Pools => String::new(),
    })
}
