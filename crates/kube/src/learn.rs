//! Learns where the API servers are, from the EndpointSlices of the Service `kubernetes`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::adapter::Settings;
use crate::engine::{Observer, Plan};
use crate::fleet::Fleet;

/// API servers come and go rarely: patience costs little here.
const WATCH_FOR: Duration = Duration::from_secs(1800);
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Whoever may not read EndpointSlices now will hardly be allowed to in a minute; nor does a server that is too old for
/// them (before Kubernetes 1.21) grow up in one.
const REFUSAL_PAUSE: Duration = Duration::from_secs(600);

/// Keeps the fleet's learned servers current.
pub(crate) struct SliceObserver {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) learned: watch::Sender<Vec<String>>,
    pub(crate) slices: BTreeMap<String, Vec<String>>,
}

impl SliceObserver {
    fn tell(&self) {
        let urls: BTreeSet<&String> = self.slices.values().flatten().collect();
        let urls: Vec<String> = urls.into_iter().cloned().collect();
        // No server at all cannot be true, for one has just said so: what was known stays.
        if urls.is_empty() {
            return;
        }
        self.fleet.learn(&urls);
        self.learned.send_if_modified(|old| {
            let changed = *old != urls;
            *old = urls;
            changed
        });
    }
}

impl Observer for SliceObserver {
    async fn listed(&mut self, items: Vec<Value>) {
        self.slices = items.iter().map(|slice| (name(slice), urls(slice))).collect();
        self.tell();
    }

    async fn present(&mut self, object: Value) {
        self.slices.insert(name(&object), urls(&object));
        self.tell();
    }

    async fn deleted(&mut self, object: Value) {
        self.slices.remove(&name(&object));
        self.tell();
    }

    async fn lost(&mut self) {}
}

/// How to follow the EndpointSlices.
pub(crate) fn plan(settings: &Settings) -> Plan {
    Plan {
        path: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices".to_owned(),
        selector: "labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes".to_owned(),
        silence: None,
        watch_for: WATCH_FOR,
        backoff_cap: BACKOFF_CAP,
        refusal_pause: Some(REFUSAL_PAUSE),
        pace: settings.timing.pace(settings.timing.list_deadline),
    }
}

fn name(slice: &Value) -> String {
    slice["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The servers in one slice: every ready address (absent means ready) at the port named `https`, or the first one.
pub(crate) fn urls(slice: &Value) -> Vec<String> {
    let none = Vec::new();
    let ports = slice["ports"].as_array().unwrap_or(&none);
    let port = ports.iter().find(|port| port["name"] == "https").or(ports.first());
    let Some(number) = port.and_then(|port| port["port"].as_u64()) else { return Vec::new() };
    let scheme = if port.is_some_and(|port| port["name"] == "http") { "http" } else { "https" };
    let endpoints = slice["endpoints"].as_array().unwrap_or(&none);
    let ready = endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false));
    let addresses = ready.flat_map(|endpoint| endpoint["addresses"].as_array().unwrap_or(&none));
    let url = |address: &str| match address.contains(':') {
        true => format!("{scheme}://[{address}]:{number}"),
        false => format!("{scheme}://{address}:{number}"),
    };
    addresses.filter_map(Value::as_str).map(url).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slices_become_urls() {
        let port = json!([{"name": "https", "port": 6443, "protocol": "TCP"}]);
        for (slice, expected) in [
            (
                json!({"ports": port, "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                    {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}}]}),
                vec!["https://10.0.0.1:6443", "https://10.0.0.2:6443"],
            ),
            (
                json!({"ports": port, "endpoints": [{"addresses": ["fd00::1"]}]}),
                vec!["https://[fd00::1]:6443"],
            ),
            (
                json!({"ports": [{"name": "metrics", "port": 1}, {"name": "https", "port": 443}],
                    "endpoints": [{"addresses": ["10.0.0.1"]}]}),
                vec!["https://10.0.0.1:443"],
            ),
            (
                json!({"ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
                vec!["http://10.0.0.1:8080"],
            ),
            (json!({"ports": port, "endpoints": null}), vec![]),
            (json!({"ports": null, "endpoints": [{"addresses": ["10.0.0.1"]}]}), vec![]),
            (json!({}), vec![]),
        ] {
            assert_eq!(urls(&slice), expected, "{slice}");
        }
    }
}
