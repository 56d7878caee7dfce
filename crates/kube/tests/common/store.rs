//! What the front ends share: one lease, EndpointSlices, the history of events and who watches it.

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What all front ends share.
#[derive(Default)]
pub struct Store {
    pub(super) version: u64,
    pub(super) lease: Option<Value>,
    pub(super) slices: Vec<Value>,
    /// What every request for EndpointSlices is answered with, if not with them.
    pub slices_refused: Option<u16>,
    /// Of Nodes.
    pub nodes: Nodes,
    /// Events by resource version.
    pub(super) history: Vec<(u64, String)>,
    /// Watches from before this version get 410.
    pub compacted: u64,
    pub(super) watchers: Vec<mpsc::Sender<String>>,
    pub(super) muted: Vec<mpsc::Sender<String>>,
    /// The token that is accepted; any, while empty.
    pub token: String,
    /// How many connections came with a client certificate that we trust.
    pub client_certificates: usize,
    /// Method and path of each request, by front end.
    pub requests: Vec<(usize, String)>,
}

/// What becomes of requests for Nodes.
#[derive(Default)]
pub struct Nodes {
    /// They are refused with this.
    pub refused: Option<u16>,
    /// They are taken, and not answered.
    pub hang: bool,
    /// Media type and body of each.
    pub patches: Vec<(String, String)>,
}

impl Store {
    /// Puts the lease in, as another client would.
    pub fn put(&mut self, mut object: Value) {
        self.version += 1;
        let kind = if self.lease.is_some() { "MODIFIED" } else { "ADDED" };
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.emit(&json!({"type": kind, "object": object}));
        self.lease = Some(object);
    }

    pub fn delete(&mut self) {
        self.version += 1;
        let mut object = self.lease.take().unwrap();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.emit(&json!({"type": "DELETED", "object": object}));
    }

    pub fn lease(&self) -> Value {
        self.lease.clone().unwrap_or_default()
    }

    /// Sends a raw event to all watchers, without a place in the history.
    pub fn emit_raw(&mut self, event: &Value) {
        self.watchers.retain(|watcher| watcher.try_send(format!("{event}\n")).is_ok());
    }

    pub fn watchers(&mut self) -> usize {
        self.watchers.retain(|watcher| !watcher.is_closed());
        self.watchers.len()
    }

    /// Ends all watches, as a server does after their time-out.
    pub fn drop_watches(&mut self) {
        self.watchers.clear();
    }

    /// Takes the watchers out, so that they stay open and hear nothing.
    pub fn mute(&mut self) -> Vec<mpsc::Sender<String>> {
        std::mem::take(&mut self.watchers)
    }

    /// Keeps muted watchers open.
    pub fn keep(&mut self, watchers: Vec<mpsc::Sender<String>>) {
        self.muted.extend(watchers);
    }

    /// Ends the watches that hear nothing: those of EndpointSlices.
    pub fn end_quiet_watches(&mut self) {
        self.muted.clear();
    }

    pub fn slice(&mut self, slice: Value) {
        self.slices.push(slice);
    }

    /// How many requests so far contain all of these words.
    pub fn count(&self, words: &[&str]) -> usize {
        self.requests.iter().filter(|(_, line)| words.iter().all(|word| line.contains(word))).count()
    }

    /// How many lists of leases.
    pub fn lists(&self) -> usize {
        let listed = |line: &str| line.contains("/leases?fieldSelector") && !line.contains("watch=true");
        self.requests.iter().filter(|(_, line)| listed(line)).count()
    }

    fn emit(&mut self, event: &Value) {
        self.history.push((self.version, format!("{event}\n")));
        self.emit_raw(event);
    }

    pub(super) fn write(&mut self, mut object: Value) -> Result<Value, u16> {
        let current = self.lease.as_ref();
        let given = object["metadata"]["resourceVersion"].clone();
        match current {
            Some(lease) if lease["metadata"]["resourceVersion"] != given => return Err(409),
            None if !given.is_null() => return Err(404),
            Some(lease) => object["metadata"]["uid"] = lease["metadata"]["uid"].clone(),
            None => object["metadata"]["uid"] = format!("uid-{}", self.version).into(),
        }
        self.put(object);
        Ok(self.lease())
    }
}
