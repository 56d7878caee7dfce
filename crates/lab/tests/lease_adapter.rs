//! The lease adapter against the embedded API server, over HTTPS: three front ends on one store, and every fault.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that cannot go on fails the test")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mainstay_core::effect::{LeaseDraft, LeaseRequest, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_kube::{Handles, LeaseAdapter, LeaseCall, LeaseName, Settings, Source, Timing};
use mainstay_lab::apiserver::{Cluster, Fault, FrontEndHandle, StoreOptions, UserInfo, Verb};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// The deadline of each request.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A cluster of three API servers, and an adapter that knows them all.
struct Bench {
    fronts: Vec<FrontEndHandle>,
    _cluster: Cluster,
    config: PathBuf,
    calls: mpsc::Sender<LeaseCall>,
    inputs: mpsc::Receiver<Input>,
    unanswered: usize,
    /// Who held by the newest report, which may come before the outcome of the write it is about.
    last_seen: Option<String>,
    handles: Handles,
    next: u64,
    cancel: CancellationToken,
}

impl Bench {
    fn new(name: &str) -> Self {
        let cluster = Cluster::new(StoreOptions::default()).unwrap();
        let fronts: Vec<FrontEndHandle> = ["one", "two", "three"]
            .into_iter()
            .map(|name| cluster.serve_https(name, TcpListener::bind("127.0.0.1:0").unwrap(), &[]).unwrap())
            .collect();
        let config = std::env::temp_dir().join(format!("mainstay-lab-{name}-{}.yaml", std::process::id()));
        // With the rights of an agent and no more: what the adapter asks for is what an operator has to grant.
        cluster.create_all(include_str!("../../../manifests/rbac.yaml")).unwrap();
        let token = cluster.new_token(UserInfo::service_account("kube-system", "mainstay"));
        std::fs::write(&config, cluster.kubeconfig_with_token(&fronts[0].url(), &token)).unwrap();
        let settings = Settings {
            source: Source::Kubeconfig(config.clone()),
            server: None,
            local: None,
            learned: fronts[1..].iter().map(FrontEndHandle::url).collect(),
            vips: tokio::sync::watch::channel(Vec::new()).1,
            vip_names: Vec::new(),
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-cp-lock".to_owned() },
            annotations: std::collections::BTreeMap::new(),
            timing: Timing {
                watch_silence: Duration::from_secs(1),
                backoff_cap: Duration::from_millis(300),
                list_deadline: DEADLINE,
                ..Timing::for_retry_period(Duration::from_secs(1))
            },
        };
        let (adapter, handles) = LeaseAdapter::new(settings);
        let (calls, requests) = mpsc::channel(8);
        let (reports, inputs) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        tokio::spawn(adapter.run(requests, reports, cancel.clone()));
        let (unanswered, last_seen, next) = (0, None, 0);
        Self {
            fronts,
            _cluster: cluster,
            config,
            calls,
            inputs,
            unanswered,
            last_seen,
            handles,
            next,
            cancel,
        }
    }

    async fn ask(&mut self, request: LeaseRequest) -> LeaseOutcome {
        self.next += 1;
        let wanted = EffectId(self.next);
        self.calls.send(LeaseCall { id: wanted, request, deadline: DEADLINE }).await.unwrap();
        loop {
            match self.input().await {
                Input::Outcome { id, outcome: Outcome::Lease(outcome) } if id == wanted => return outcome,
                Input::Lease(LeaseReport::Unanswered { .. }) => self.unanswered += 1,
                Input::Lease(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until it works.
    async fn read(&mut self) -> LeaseRecord {
        let began = Instant::now();
        loop {
            match self.ask(LeaseRequest::Read).await {
                LeaseOutcome::Record(record) => return record,
                other => assert!(began.elapsed() < PATIENCE, "not readable again: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a read comes to, whose outcome shall be `expected`. Where that is that nothing was sent: a connection that is
    /// kept open may break under a request, which was sent then and whose outcome is unknown; once for each server.
    async fn settled_read(&mut self, expected: &LeaseOutcome) -> LeaseOutcome {
        for _ in 0..self.fronts.len() {
            let outcome = self.ask(LeaseRequest::Read).await;
            if outcome != LeaseOutcome::Unknown || *expected != LeaseOutcome::Unreachable {
                return outcome;
            }
        }
        self.ask(LeaseRequest::Read).await
    }

    /// Writes another holder into the lease, which the server must accept.
    async fn renew(&mut self, holder: &str) -> LeaseRecord {
        let resource_version = self.read().await.resource_version;
        let draft = draft(holder);
        match self.ask(LeaseRequest::Update { resource_version, draft }).await {
            LeaseOutcome::Record(record) => record,
            other => panic!("not renewed: {other:?}"),
        }
    }

    /// Waits for this report.
    async fn report(&mut self, wanted: LeaseReport) {
        while self.input().await != Input::Lease(wanted.clone()) {}
    }

    /// Waits until the watch has shown this holder.
    async fn observed(&mut self, holder: &str) {
        while self.last_seen.as_deref() != Some(holder) {
            self.input().await;
        }
    }

    async fn input(&mut self) -> Input {
        let input = tokio::time::timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap();
        if let Input::Lease(LeaseReport::Observed(record)) = &input {
            self.last_seen.clone_from(&record.holder);
        }
        input
    }

    fn count(&self, verb: Verb) -> u64 {
        self.fronts.iter().map(|front| front.account().count(verb, "leases")).sum()
    }

    fn reads(&self) -> u64 {
        self.fronts.iter().map(|front| front.account().reads("leases")).sum()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = std::fs::remove_file(&self.config);
    }
}

fn draft(holder: &str) -> LeaseDraft {
    LeaseDraft {
        holder: Some(holder.to_owned()),
        duration_seconds: 5,
        acquire_time: Stamp::Now,
        renew_time: Stamp::Now,
        transitions: 1,
        annotations: BTreeMap::from([("mainstay.io/macs".to_owned(), "02:00:00:00:00:01".to_owned())]),
    }
}

async fn created(name: &str) -> Bench {
    let mut bench = Bench::new(name);
    bench.report(LeaseReport::Absent).await;
    let outcome = bench.ask(LeaseRequest::Create(draft("node-a"))).await;
    assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_cost_one_write_each_and_no_read() {
    let mut bench = created("steady").await;
    let mut record = bench.renew("node-0").await;
    bench.observed("node-0").await;
    let before = (bench.reads(), bench.count(Verb::Watch), bench.count(Verb::Update));
    for round in 1..=20 {
        let holder = format!("node-{round}");
        let request =
            LeaseRequest::Update { resource_version: record.resource_version, draft: draft(&holder) };
        record = match bench.ask(request).await {
            LeaseOutcome::Record(record) => record,
            other => panic!("round {round}: {other:?}"),
        };
        bench.observed(&holder).await;
    }
    let (reads, watches, updates) = before;
    assert_eq!((bench.reads(), bench.count(Verb::Watch)), (reads, watches), "followed without asking");
    assert_eq!(bench.count(Verb::Update), updates + 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_all_servers_has_its_outcome_and_heals() {
    let mut bench = created("faults").await;
    let second = Duration::from_secs(1);
    let status = |code, retry_after| Fault::Status { code, rate: 1.0, retry_after };
    let throttled = || LeaseOutcome::Throttled { retry_after: Some(second) };
    for (round, (fault, expected, watch_is_lost)) in [
        (Fault::Refuse, LeaseOutcome::Unreachable, true),
        (Fault::Hang, LeaseOutcome::Unknown, true),
        (Fault::Blackhole, LeaseOutcome::Unknown, true),
        (status(500, None), LeaseOutcome::Unknown, false),
        (status(503, None), LeaseOutcome::Unknown, false),
        (status(503, Some(second)), throttled(), false),
        (status(429, Some(second)), throttled(), false),
        (status(401, None), LeaseOutcome::Forbidden, false),
        (Fault::Deny { verb: None, resource: None }, LeaseOutcome::Forbidden, false),
    ]
    .into_iter()
    .enumerate()
    {
        for front in &bench.fronts {
            front.inject(fault.clone());
        }
        if watch_is_lost {
            bench.report(LeaseReport::WatchLost).await;
        }
        assert_eq!(bench.settled_read(&expected).await, expected, "{fault:?}");
        for front in &bench.fronts {
            front.heal();
        }
        let holder = format!("node-{round}");
        bench.renew(&holder).await;
        bench.observed(&holder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_one_server_costs_nothing_but_a_moment() {
    let mut bench = created("one").await;
    let status = |code| Fault::Status { code, rate: 1.0, retry_after: None };
    for (round, fault) in [
        Fault::Refuse,
        Fault::Hang,
        Fault::Blackhole,
        Fault::Slow(Duration::from_secs(5)),
        status(500),
        status(401),
        Fault::Deny { verb: None, resource: None },
    ]
    .into_iter()
    .enumerate()
    {
        // The one that is asked first.
        let first = bench.handles.servers.borrow()[0].url.clone();
        let sick = bench.fronts.iter().position(|front| front.url() == first).unwrap();
        bench.fronts[sick].inject(fault.clone());
        let began = Instant::now();
        let outcome = bench.ask(LeaseRequest::Read).await;
        let took = began.elapsed();
        let LeaseOutcome::Record(record) = outcome else { panic!("{fault:?}: {outcome:?}") };
        assert!(took < DEADLINE, "{fault:?} took {took:?}");
        let holder = format!("node-{round}");
        let request =
            LeaseRequest::Update { resource_version: record.resource_version, draft: draft(&holder) };
        let outcome = bench.ask(request).await;
        assert!(matches!(outcome, LeaseOutcome::Record(_)), "{fault:?}: {outcome:?}");
        bench.observed(&holder).await;
        bench.fronts[sick].heal();
    }
    assert_eq!(bench.unanswered, 0, "two servers answered all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_reply_is_lost_is_settled_by_reading_back() {
    let mut bench = created("lost").await;
    let record = bench.renew("node-b").await;
    for front in &bench.fronts {
        front.inject(Fault::LoseReply { rate: 1.0 });
    }
    let request = LeaseRequest::Update { resource_version: record.resource_version, draft: draft("node-c") };
    // The first copy's reply is lost. A second copy, sent to the next server, meets the first one's write; whether it
    // says so or its reply is lost as well, the core has to read back.
    let outcome = bench.ask(request).await;
    assert!(matches!(outcome, LeaseOutcome::Conflict | LeaseOutcome::Unknown), "{outcome:?}");
    let read = bench.read().await;
    assert_eq!(read.holder.as_deref(), Some("node-c"), "it was done all the same");
    bench.observed("node-c").await;
}
