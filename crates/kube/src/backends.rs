//! Which nodes are the control plane's, and where: by their label, watched.
//!
//! Whether a Node is `Ready` does not matter here: that is said by others from afar, of a kubelet and not of an API server,
//! and the load balancer asks each API server itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::adapter::supervise;
use crate::engine::{Observer, Plan};
use crate::fleet::Fleet;
use crate::race::Pace;

/// Nodes of a control plane come and go rarely.
const WATCH_FOR: Duration = Duration::from_secs(1800);
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// Whoever may not read Nodes now will hardly be allowed to in a few seconds.
const REFUSAL_PAUSE: Duration = Duration::from_secs(30);
const PACE: Pace = Pace {
    hedge_after: Duration::from_millis(500),
    unanswered_after: Duration::from_secs(2),
    deadline: Duration::from_secs(10),
};

/// The nodes of the control plane, each with the addresses that others reach it at. `None` before the first list.
pub type ControlPlaneNodes = Option<BTreeMap<String, BTreeSet<IpAddr>>>;

/// Keeps them current.
struct NodeObserver {
    nodes: BTreeMap<String, BTreeSet<IpAddr>>,
    told: watch::Sender<ControlPlaneNodes>,
}

impl NodeObserver {
    fn tell(&self) {
        self.told.send_if_modified(|told| {
            let news = told.as_ref() != Some(&self.nodes);
            *told = Some(self.nodes.clone());
            news
        });
    }
}

impl Observer for NodeObserver {
    async fn listed(&mut self, items: Vec<Value>) {
        self.nodes = items.iter().filter_map(node).collect();
        self.tell();
    }

    async fn present(&mut self, object: Value) {
        self.nodes.extend(node(&object));
        self.tell();
    }

    async fn deleted(&mut self, object: Value) {
        if let Some((name, _)) = node(&object) {
            self.nodes.remove(&name);
        }
        self.tell();
    }

    async fn lost(&mut self) {}
}

/// Follows until dropped, and says each change.
pub(crate) fn follow(
    fleet: &Arc<Fleet>,
    told: watch::Sender<ControlPlaneNodes>,
) -> impl Future<Output = ()> + Send + use<> {
    let observer = move || NodeObserver { nodes: BTreeMap::new(), told: told.clone() };
    supervise(Arc::clone(fleet), plan(), observer)
}

fn plan() -> Plan {
    Plan {
        path: "/api/v1/nodes".to_owned(),
        selector: "labelSelector=node-role.kubernetes.io%2Fcontrol-plane".to_owned(),
        silence: None,
        watch_for: WATCH_FOR,
        backoff_cap: BACKOFF_CAP,
        refusal_pause: Some(REFUSAL_PAUSE),
        pace: PACE,
    }
}

/// Its name, and its addresses of the type `InternalIP`.
fn node(object: &Value) -> Option<(String, BTreeSet<IpAddr>)> {
    let name = object["metadata"]["name"].as_str()?.to_owned();
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses.filter(|address| address["type"] == "InternalIP");
    let texts = internal.filter_map(|address| address["address"].as_str()?.parse().ok());
    Some((name, texts.map(|ip: IpAddr| ip.to_canonical()).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_at_its_internal_addresses() {
        let object = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"},
            {"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"},
            {"type": "InternalIP", "address": "nonsense"}]}});
        let at = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().expect("an address"));
        assert_eq!(node(&object), Some(("n1".to_owned(), at.into())));
        assert_eq!(node(&json!({"metadata": {"name": "n2"}})), Some(("n2".to_owned(), BTreeSet::new())));
        assert_eq!(node(&json!({})), None);
    }

    #[tokio::test]
    async fn each_change_is_told_once() {
        let (told, mut seen) = watch::channel(None);
        let mut observer = NodeObserver { nodes: BTreeMap::new(), told };
        let one = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}]}});
        observer.listed(vec![one.clone()]).await;
        assert!(seen.has_changed().expect("open"));
        assert_eq!(seen.borrow_and_update().as_ref().map(BTreeMap::len), Some(1));
        observer.present(one.clone()).await;
        assert!(!seen.has_changed().expect("open"), "a kubelet says every few minutes that it lives");
        observer.deleted(one).await;
        assert_eq!(seen.borrow_and_update().as_ref().map(BTreeMap::len), Some(0));
    }
}
