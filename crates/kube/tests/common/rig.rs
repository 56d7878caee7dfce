//! A lease adapter that runs, with its configuration, and what it says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_core::effect::{LeaseDraft, LeaseRequest, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_kube::{Handles, LeaseAdapter, LeaseCall, LeaseName, Settings, Source, Timing};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// A lease held by `holder`.
pub fn lease(holder: &str) -> Value {
    json!({
        "metadata": {"name": "plndr-cp-lock", "namespace": "kube-system", "uid": "u-1", "labels": {"kept": "yes"}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 5, "leaseTransitions": 1},
    })
}

/// What node-b wants to write.
pub fn draft() -> LeaseDraft {
    LeaseDraft {
        holder: Some("node-b".to_owned()),
        duration_seconds: 5,
        acquire_time: Stamp::Now,
        renew_time: Stamp::Now,
        transitions: 2,
        annotations: BTreeMap::from([("mainstay.io/epoch".to_owned(), "2".to_owned())]),
    }
}

/// A kubeconfig in a directory of its own, removed at the end.
pub struct ConfigFile(pub PathBuf);

impl ConfigFile {
    /// A path at which there is no file yet.
    pub fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mainstay-kube-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory.join("config"))
    }

    pub fn write(&self, server: &str, token: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": token}}],
        });
        std::fs::write(&self.0, config.to_string()).unwrap();
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// A running adapter.
pub struct Rig {
    pub handles: Handles,
    pub config: ConfigFile,
    calls: mpsc::Sender<LeaseCall>,
    inputs: mpsc::Receiver<Input>,
    /// Reports that were passed over while waiting for another.
    pub reports: Vec<LeaseReport>,
    next: u64,
    cancel: CancellationToken,
}

/// Quick timing, so that tests are.
pub fn timing() -> Timing {
    Timing {
        watch_silence: Duration::from_secs(60),
        backoff_cap: Duration::from_millis(300),
        list_deadline: Duration::from_secs(2),
        ..Timing::for_retry_period(Duration::from_secs(1))
    }
}

impl Rig {
    pub fn start(server: &str, learned: &[&str]) -> Self {
        let config = ConfigFile::reserve();
        config.write(server, "t1");
        Self::with(config, learned, timing())
    }

    pub fn with(config: ConfigFile, learned: &[&str], timing: Timing) -> Self {
        let settings = Settings {
            source: Source::Kubeconfig(config.0.clone()),
            server: None,
            local: None,
            learned: learned.iter().map(|url| (*url).to_owned()).collect(),
            vips: tokio::sync::watch::channel(Vec::new()).1,
            vip_names: Vec::new(),
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-cp-lock".to_owned() },
            annotations: [("example.com/team".to_owned(), "network".to_owned())].into(),
            timing,
        };
        let (adapter, handles) = LeaseAdapter::new(settings);
        let (calls, requests) = mpsc::channel(8);
        let (reports, inputs) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        tokio::spawn(adapter.run(requests, reports, cancel.clone()));
        Self { handles, config, calls, inputs, reports: Vec::new(), next: 0, cancel }
    }

    pub async fn send(&mut self, request: LeaseRequest, deadline: Duration) -> EffectId {
        self.next += 1;
        let id = EffectId(self.next);
        self.calls.send(LeaseCall { id, request, deadline }).await.unwrap();
        id
    }

    /// Asks and waits for the outcome.
    pub async fn ask(&mut self, request: LeaseRequest) -> LeaseOutcome {
        let id = self.send(request, Duration::from_secs(3)).await;
        self.outcome(id).await
    }

    pub async fn outcome(&mut self, wanted: EffectId) -> LeaseOutcome {
        loop {
            match self.input().await {
                Input::Outcome { id, outcome: Outcome::Lease(outcome) } if id == wanted => return outcome,
                Input::Lease(report) => self.reports.push(report),
                other => panic!("while waiting for {wanted:?}: {other:?}"),
            }
        }
    }

    /// Waits for a report that fits.
    pub async fn report(&mut self, what: &str, fits: impl Fn(&LeaseReport) -> bool) -> LeaseReport {
        let mut passed = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.inputs.recv()).await {
                Ok(Some(Input::Lease(report))) if fits(&report) => return report,
                Ok(Some(input)) => passed.push(input),
                _ => panic!("no report: {what}; but {passed:?}"),
            }
        }
    }

    /// Waits until the lease is seen to be held by `holder`.
    pub async fn observed(&mut self, holder: &str) -> LeaseRecord {
        let fits = |report: &LeaseReport| matches!(report, LeaseReport::Observed(record) if record.holder.as_deref() == Some(holder));
        match self.report(holder, fits).await {
            LeaseReport::Observed(record) => record,
            _ => unreachable!("only such reports fit"),
        }
    }

    async fn input(&mut self) -> Input {
        tokio::time::timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
