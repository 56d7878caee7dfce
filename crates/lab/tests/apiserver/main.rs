//! The embedded API server over real sockets: conformance, faults and accounting.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails the test")]

use std::net::TcpListener;
use std::time::Duration;

use mainstay_lab::apiserver::client::{ApiClient, Watching};
use mainstay_lab::apiserver::{Cluster, FrontEndHandle, LEASE, StoreOptions, Target};
use serde_json::{Value, json};
use tokio::time::timeout;

mod conformance;
mod faults;
mod transcript;
mod watches;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// Long enough for anything that is to happen at all on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Long enough to say that something did not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// A cluster with one HTTPS front end.
struct Bench {
    cluster: Cluster,
    front: FrontEndHandle,
    client: ApiClient,
}

impl Bench {
    fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    fn with(options: StoreOptions) -> Self {
        let cluster = Cluster::new(options).unwrap();
        let front = cluster.serve_https("one", loopback(), &[]).unwrap();
        let client = client(&cluster, &front);
        Self { cluster, front, client }
    }

    /// Writes a lease behind the front ends' back.
    fn lease(&self, name: &str) -> String {
        let created = self.cluster.store().create(LEASE, "kube-system", lease(name)).unwrap();
        created["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.cluster.store().get(&Target::new(LEASE, "kube-system", name)).is_ok()
    }
}

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn client(cluster: &Cluster, front: &FrontEndHandle) -> ApiClient {
    ApiClient::new(&front.url(), Some(cluster.authority().pem()), Some(cluster.token())).unwrap()
}

fn lease(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "holderIdentity": "n1" } })
}

/// The next event of a watch, soon.
async fn next(watch: &mut Watching) -> Option<Value> {
    timeout(SOON, watch.next()).await.expect("an event or the end").expect("a readable stream")
}
