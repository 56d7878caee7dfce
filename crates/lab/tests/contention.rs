//! What an agent makes of a Lease that client-go's elector also holds: a recording of both, contending for it on a real
//! API server, is replayed through the embedded one and the adapter into the core's lease machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that cannot go on fails the test")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::authority::Standing;
use mainstay_core::authority::lease::{LeaseMachine, Source as Told};
use mainstay_core::input::{Input, LeaseRecord, LeaseReport};
use mainstay_core::names::{InstanceId, NodeName};
use mainstay_core::settings::LeaseTiming;
use mainstay_core::time::Moment;
use mainstay_kube::{LeaseAdapter, LeaseName, Settings, Source, Timing};
use mainstay_lab::apiserver::client::ApiClient;
use mainstay_lab::apiserver::{Cluster, FrontEndHandle, StoreOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
/// An expiry is judged by when the taker saw the last renewal, and the recording by when the watch did.
const LATENCY: Duration = Duration::from_millis(100);

/// One revision, as it was recorded.
struct Revision {
    at: Duration,
    object: Value,
}

impl Revision {
    fn all() -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/contention.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| Self::of(serde_json::from_str(line).unwrap())).collect()
    }

    fn of(mut line: Value) -> Self {
        Self { at: Duration::from_millis(line["at_ms"].as_u64().unwrap()), object: line["object"].take() }
    }

    fn holder(&self) -> &str {
        self.object["spec"]["holderIdentity"].as_str().unwrap_or_default()
    }

    /// Agents are nodes: `n1`, `n2`. client-go's elector is called after its host and a UUID.
    fn is_agents(&self) -> bool {
        self.holder().starts_with('n')
    }

    fn transitions(&self) -> u32 {
        self.object["spec"]["leaseTransitions"].as_u64().unwrap().try_into().unwrap()
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.object["spec"]["leaseDurationSeconds"].as_u64().unwrap())
    }
}

/// A server, and an adapter that follows the Lease on it.
struct Bench {
    client: ApiClient,
    version: Option<Value>,
    inputs: mpsc::Receiver<Input>,
    cancel: CancellationToken,
    config: PathBuf,
    _front: FrontEndHandle,
    _cluster: Cluster,
}

impl Bench {
    fn new() -> Self {
        let cluster = Cluster::new(StoreOptions::default()).unwrap();
        let front = cluster.serve_https("replay", TcpListener::bind("127.0.0.1:0").unwrap(), &[]).unwrap();
        let config = std::env::temp_dir().join(format!("mainstay-lab-contention-{}", std::process::id()));
        std::fs::write(&config, cluster.kubeconfig(&front.url())).unwrap();
        let client =
            ApiClient::new(&front.url(), Some(cluster.authority().pem()), Some(cluster.token())).unwrap();
        let (adapter, _) = LeaseAdapter::new(Settings {
            source: Source::Kubeconfig(config.clone()),
            server: None,
            local: None,
            learned: Vec::new(),
            vips: tokio::sync::watch::channel(Vec::new()).1,
            vip_names: Vec::new(),
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-cp-lock".to_owned() },
            annotations: std::collections::BTreeMap::new(),
            timing: Timing::for_retry_period(Duration::from_secs(1)),
        });
        let (reports, inputs) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let (calls, requests) = mpsc::channel(1);
        let ended = cancel.clone();
        tokio::spawn(async move {
            adapter.run(requests, reports, ended).await;
            drop(calls);
        });
        Self { client, version: None, inputs, cancel, config, _front: front, _cluster: cluster }
    }

    /// Writes a revision, and gives the record that the adapter reports of it.
    async fn replay(&mut self, revision: &Revision) -> LeaseRecord {
        let mut object = revision.object.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "annotations" | "labels"));
        let written = match self.version.take() {
            None => self.client.post(LEASES, &object).await.unwrap(),
            Some(version) => {
                object["metadata"]["resourceVersion"] = version;
                self.client.put(&format!("{LEASES}/plndr-cp-lock"), &object).await.unwrap()
            }
        };
        let version = written.body["metadata"]["resourceVersion"].clone();
        assert!(version.is_string(), "{}", written.body);
        self.version = Some(version.clone());
        loop {
            match timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap() {
                Input::Lease(LeaseReport::Observed(record))
                    if version == record.resource_version.as_str() =>
                {
                    return record;
                }
                Input::Lease(LeaseReport::WatchLost) => panic!("the watch is lost"),
                _ => {}
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
        drop(std::fs::remove_file(&self.config));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_revision_is_read_as_what_it_is() {
    let (mut bench, revisions) = (Bench::new(), Revision::all());
    let timing = LeaseTiming {
        duration: Duration::from_secs(5),
        renew_deadline: Duration::from_secs(3),
        retry_period: Duration::from_secs(1),
    };
    let mut machine = LeaseMachine::new(NodeName::new("n9"), InstanceId(9), timing, 0, Moment::ZERO);
    let mut renewed: Option<(Value, Moment)> = None;
    for revision in &revisions {
        let record = bench.replay(revision).await;
        let (now, spec) = (Moment::ZERO + revision.at, revision.object["spec"].clone());
        assert_eq!(record.acquire_time, spec["acquireTime"].as_str().unwrap_or_default());
        assert_eq!(record.renew_time, spec["renewTime"].as_str().unwrap_or_default());
        machine.observe(now, record, Told::Watch);
        // A change of the annotations alone renews nothing.
        let since = match &renewed {
            Some((before, since)) if *before == spec => *since,
            _ => now,
        };
        renewed = Some((spec, since));
        let (holder, epoch) = (revision.holder().to_owned(), revision.transitions());
        let vacant = holder.is_empty();
        let expected = if vacant { Standing::Vacant { epoch } } else { Standing::Denied { holder, epoch } };
        assert_eq!(machine.standing(), expected, "{}", revision.object);
        let expiry = (!vacant).then(|| since + revision.duration());
        assert_eq!(machine.expires_at(), expiry, "{}", revision.object);
        // client-go leaves an agent's annotations standing: they are not its own.
        assert_eq!(machine.holder_is_mainstay(), revision.is_agents(), "{}", revision.object);
    }
}

/// Each take-over in the recording is one that client-go would have made: after the expiry of what was seen last, or of
/// what was released; counted once; and with a new time of acquisition.
#[test]
fn both_take_the_lease_as_client_go_does() {
    let revisions = Revision::all();
    let (mut by_agent, mut by_elector, mut of_released) = (0, 0, 0);
    for pair in revisions.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        if after.holder().is_empty() || after.holder() == before.holder() {
            assert_eq!(before.transitions(), after.transitions(), "{}", after.object);
            continue;
        }
        assert_eq!(after.transitions(), before.transitions() + 1, "{}", after.object);
        assert_ne!(before.object["spec"]["acquireTime"], after.object["spec"]["acquireTime"]);
        if before.holder().is_empty() {
            of_released += 1;
        } else {
            let waited = after.at.saturating_sub(before.at);
            assert!(waited + LATENCY >= before.duration(), "taken after {waited:?}: {}", after.object);
        }
        if after.is_agents() { by_agent += 1 } else { by_elector += 1 }
    }
    assert!(by_agent >= 2 && by_elector >= 2 && of_released >= 1, "{by_agent} {by_elector} {of_released}");
    assert_eq!(revisions[0].object["metadata"]["name"], json!("plndr-cp-lock"));
}
