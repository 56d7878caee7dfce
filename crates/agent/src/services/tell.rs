//! What of Services is worth telling: a line of log for each change on each node, and an Event from the node that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_core::intent::ObjectName;
use mainstay_core::ipam::Configuration;
use mainstay_kube::{EventKind, Pools, Problems, ServiceEvent};
use tokio::sync::watch;

use super::incumbents::Left;

/// What was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// This node holds Services.
    pub(super) holds: bool,
    /// What is refused to each, in one line.
    pub(super) refused: BTreeMap<ObjectName, String>,
    /// Those that are left to another elector, and why, where that is known by now.
    pub(super) left: Left,
    /// Which addresses of each are held by which node, in one line.
    pub(super) held: BTreeMap<ObjectName, String>,
}

/// An Event, but for the Service's uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) service: ObjectName,
    kind: EventKind,
    reason: &'static str,
    note: String,
}

impl Said {
    #[cfg(test)]
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    pub(super) fn about(self, uid: String) -> ServiceEvent {
        let Self { service, kind, reason, note } = self;
        ServiceEvent { service, uid, kind, reason, note }
    }
}

impl Told {
    /// Tells what is other than before.
    pub(super) fn change_to(&mut self, now: Self, mut tell: impl FnMut(Said)) {
        self.log(&now);
        if now.holds {
            self.events(&now).into_iter().for_each(&mut tell);
        }
        *self = now;
    }

    fn log(&self, now: &Self) {
        for (service, why) in news(&self.refused, &now.refused) {
            tracing::warn!(%service, "the Service does not get all it asks for: {why}");
        }
        for service in self.refused.keys().filter(|service| !now.refused.contains_key(*service)) {
            tracing::info!(%service, "nothing is refused to the Service any more");
        }
        for (service, why) in newly_left(&self.left, &now.left) {
            tracing::info!(%service, "{why}");
        }
    }

    /// A node that begins to hold tells of everything: whoever held before may not have had the time.
    fn events(&self, now: &Self) -> Vec<Said> {
        let before = if self.holds { self.clone() } else { Self::default() };
        let event =
            |service: &ObjectName, kind, reason, note| Said { service: service.clone(), kind, reason, note };
        let refused = news(&before.refused, &now.refused)
            .map(|(service, why)| event(service, EventKind::Warning, "AddressRefused", why.clone()));
        let left = newly_left(&before.left, &now.left)
            .map(|(service, why)| event(service, EventKind::Normal, "LeftToKubeVip", why.clone()));
        let held = news(&before.held, &now.held)
            .map(|(service, line)| event(service, EventKind::Normal, "AddressHeld", line.clone()));
        let is_bare =
            |service: &&ObjectName| !now.held.contains_key(*service) && !now.left.contains_key(*service);
        let bare = before.held.keys().filter(is_bare).map(|service| {
            let note = "nothing serves it: its address is not held until an endpoint is ready".to_owned();
            event(service, EventKind::Warning, "AddressNotHeld", note)
        });
        refused.chain(left).chain(held).chain(bare).collect()
    }
}

/// What is left to another elector and was not told of yet: once each, whoever has its Lease afterwards.
fn newly_left<'a>(before: &'a Left, now: &'a Left) -> impl Iterator<Item = (&'a ObjectName, &'a String)> {
    let was_told = |service: &ObjectName| before.get(service).is_some_and(Option::is_some);
    now.iter().filter_map(move |(service, why)| Some((service, why.as_ref().filter(|_| !was_told(service))?)))
}

/// What is new, or other than before.
fn news<'a>(
    before: &'a BTreeMap<ObjectName, String>,
    now: &'a BTreeMap<ObjectName, String>,
) -> impl Iterator<Item = (&'a ObjectName, &'a String)> {
    now.iter().filter(|(service, text)| before.get(*service) != Some(*text))
}

/// A line for each thing that is wrong with an object, and with the pools; each once, until it is mended and comes again.
pub(super) async fn watch_problems(
    mut problems: watch::Receiver<Arc<Problems>>,
    mut pools: watch::Receiver<Pools>,
) {
    let mut told = BTreeSet::new();
    loop {
        let mut now: BTreeSet<String> =
            problems.borrow_and_update().iter().map(ToString::to_string).collect();
        now.extend(of_pools(&pools.borrow_and_update()));
        for line in now.difference(&told) {
            tracing::warn!("{line}");
        }
        told = now;
        let changed = tokio::select! {
            changed = problems.changed() => changed,
            changed = pools.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn of_pools(pools: &Pools) -> Vec<String> {
    let Pools::Present(data) = pools else { return Vec::new() };
    let Configuration { problems, notes, .. } = Configuration::of(data);
    let problems = problems.iter().map(ToString::to_string).chain(notes.iter().map(ToString::to_string));
    problems.map(|line| format!("configmap kube-system/kubevip: {line}")).collect()
}
