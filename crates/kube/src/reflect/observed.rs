//! What is written on Services already, as the watch shows it: what a writer of their status compares with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::intent::{ObjectName, Port};
use serde_json::Value;
use tokio::sync::Notify;

use crate::watch_stream::version;

/// What is written on one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) uid: String,
    pub(crate) version: String,
    /// `status.loadBalancer.ingress`: an address in mode VIP each, or `None` for anything else.
    pub(crate) ingress: Vec<Option<IpAddr>>,
    /// The ports that each of them says; `None` where they say different ones, or none that can be read.
    pub(crate) ports: Option<BTreeSet<Port>>,
    /// Those annotations that somebody writes here.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What is written on a Service; `None` where nothing is, nor could be: it is no LoadBalancer.
pub(crate) fn read(object: &Value, annotations: &BTreeSet<String>) -> Option<Observed> {
    let metadata = &object["metadata"];
    let entries = object["status"]["loadBalancer"]["ingress"].as_array();
    let ingress: Vec<Option<IpAddr>> = entries.into_iter().flatten().map(plain).collect();
    let ports = common_ports(entries.map(Vec::as_slice).unwrap_or_default());
    let written = |name: &String| Some((name.clone(), metadata["annotations"][name].as_str()?.to_owned()));
    let annotations: BTreeMap<String, String> = annotations.iter().filter_map(written).collect();
    let matters = object["spec"]["type"] == "LoadBalancer" || !ingress.is_empty() || !annotations.is_empty();
    let uid = metadata["uid"].as_str().filter(|_| matters)?.to_owned();
    Some(Observed { uid, version: version(object).to_owned(), ingress, ports, annotations })
}

fn common_ports(entries: &[Value]) -> Option<BTreeSet<Port>> {
    let Some((first, others)) = entries.split_first() else { return Some(BTreeSet::new()) };
    let ports = ports(first)?;
    others.iter().all(|entry| self::ports(entry).as_ref() == Some(&ports)).then_some(ports)
}

/// The ports that an entry says, each with no more than a number and a protocol.
fn ports(entry: &Value) -> Option<BTreeSet<Port>> {
    let Some(listed) = entry.get("ports") else { return Some(BTreeSet::new()) };
    let port = |one: &Value| -> Option<Port> {
        let known = one.as_object()?.keys().all(|field| matches!(field.as_str(), "port" | "protocol"));
        let number = u16::try_from(one["port"].as_u64()?).ok()?;
        let protocol = serde_json::from_value(one["protocol"].clone()).ok()?;
        known.then_some(Port { protocol, port: number })
    };
    listed.as_array()?.iter().map(port).collect()
}

/// An entry that says no more than an address, and its ports. One without a mode means VIP: API servers before 1.29 have no modes
/// ([KEP-1860](https://github.com/kubernetes/enhancements/issues/1860)).
fn plain(entry: &Value) -> Option<IpAddr> {
    let fields = entry.as_object()?;
    let known = fields.keys().all(|field| matches!(field.as_str(), "ip" | "ipMode" | "ports"));
    let is_vip = matches!(entry["ipMode"].as_str(), None | Some("VIP"));
    entry["ip"].as_str()?.parse().ok().filter(|_| known && is_vip)
}

/// What is written on the Services, as it is known last.
#[derive(Clone, Debug, Default)]
pub struct ObservedServices(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Those that are looked at.
    annotations: BTreeSet<String>,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    services: BTreeMap<ObjectName, Observed>,
    /// Of which something changed since the last look; only while somebody looks.
    changed: Option<BTreeSet<ObjectName>>,
}

impl ObservedServices {
    pub(crate) fn new(annotations: BTreeSet<String>) -> Self {
        Self(Arc::new(Shared { annotations, ..Shared::default() }))
    }

    /// What is written on this one.
    pub(crate) fn read(&self, object: &Value) -> Option<Observed> {
        read(object, &self.0.annotations)
    }

    /// Remembers from now on what changes.
    pub(crate) fn listen(&self) {
        self.lock().changed.get_or_insert_default();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was seen of a Service, unless something later is known.
    pub(crate) fn note(&self, name: &ObjectName, observed: Option<Observed>) {
        let mut table = self.lock();
        let known = table.services.get(name);
        if known == observed.as_ref()
            || known.zip(observed.as_ref()).is_some_and(|(old, new)| is_older(new, old))
        {
            return;
        }
        match observed {
            Some(observed) => drop(table.services.insert(name.clone(), observed)),
            None => drop(table.services.remove(name)),
        }
        if let Some(changed) = &mut table.changed {
            changed.insert(name.clone());
            self.0.changed.notify_one();
        }
    }

    /// Forgets what is not among those.
    pub(crate) fn keep(&self, mut is_there: impl FnMut(&ObjectName) -> bool) {
        let gone: Vec<ObjectName> =
            self.lock().services.keys().filter(|name| !is_there(name)).cloned().collect();
        gone.iter().for_each(|name| self.note(name, None));
    }

    /// What is written on one Service.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<Observed> {
        self.lock().services.get(name).cloned()
    }

    /// Waits until something changed, and says of which Services. For one caller at a time.
    pub(crate) async fn changed(&self) -> BTreeSet<ObjectName> {
        loop {
            let changed = std::mem::take(self.lock().changed.get_or_insert_default());
            if !changed.is_empty() {
                return changed;
            }
            self.0.changed.notified().await;
        }
    }
}

/// Resource versions of one object are numbers that grow (KEP-5504), until it is made anew.
fn is_older(new: &Observed, old: &Observed) -> bool {
    let number = |observed: &Observed| observed.version.parse::<u64>().ok();
    new.uid == old.uid && number(new).zip(number(old)).is_some_and(|(new, old)| new < old)
}
