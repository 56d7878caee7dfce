//! The Leases of many seats against the embedded API server, over HTTPS, with the rights of an agent: one watch for all of
//! them, and nothing that the watch leaves out is taken for gone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that cannot go on fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::effect::{LeaseDraft, LeaseRequest, Stamp};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord, LeaseReport, Outcome};
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_kube::{LeaseCall, LeaseName, SeatAdapter, SeatCall, Settings, Source, Timing};
use mainstay_lab::apiserver::{
    Cluster, Fault, FrontEndHandle, LEASE, Part, Preconditions, StoreOptions, Target, UserInfo, Verb,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// The deadline of each request.
const DEADLINE: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "mainstay-seat-";
const SEATS: usize = 20;

/// Two API servers, and an adapter that follows the Leases of twenty seats.
struct Bench {
    fronts: Vec<FrontEndHandle>,
    cluster: Cluster,
    config: PathBuf,
    calls: mpsc::Sender<SeatCall>,
    inputs: mpsc::Receiver<Input>,
    /// What was told of seats and not looked at yet.
    told: Vec<(ClaimId, LeaseReport)>,
    outcomes: BTreeMap<EffectId, LeaseOutcome>,
    _seats: watch::Sender<BTreeSet<ClaimId>>,
    next: u64,
    cancel: CancellationToken,
}

fn seat(number: usize) -> ClaimId {
    ClaimId::seat(&NodeName::new(&format!("n{number}")))
}

fn target(number: usize) -> Target {
    Target::new(LEASE, NAMESPACE, &format!("{PREFIX}n{number}"))
}

impl Bench {
    fn new(name: &str) -> Self {
        let cluster = Cluster::new(StoreOptions::default()).unwrap();
        let front = |name| cluster.serve_https(name, TcpListener::bind("127.0.0.1:0").unwrap(), &[]).unwrap();
        let fronts = vec![front("one"), front("two")];
        let config =
            std::env::temp_dir().join(format!("mainstay-lab-seats-{name}-{}.yaml", std::process::id()));
        cluster.create_all(include_str!("../../../manifests/rbac.yaml")).unwrap();
        cluster.create_all(include_str!("../../../manifests/rbac-seats.yaml")).unwrap();
        let token = cluster.new_token(UserInfo::service_account(NAMESPACE, "mainstay"));
        std::fs::write(&config, cluster.kubeconfig_with_token(&fronts[0].url(), &token)).unwrap();
        let settings = Settings {
            source: Source::Kubeconfig(config.clone()),
            server: None,
            local: None,
            learned: vec![fronts[1].url()],
            vips: watch::channel(Vec::new()).1,
            vip_names: Vec::new(),
            lease: LeaseName { namespace: NAMESPACE.to_owned(), name: "plndr-svcs-lock".to_owned() },
            annotations: BTreeMap::new(),
            timing: Timing {
                backoff_cap: Duration::from_millis(300),
                ..Timing::for_retry_period(Duration::from_secs(10))
            },
        };
        let (calls, requests) = mpsc::channel(64);
        let (reports, inputs) = mpsc::channel(64);
        let (seats, followed) = watch::channel((0..SEATS).map(seat).collect());
        let cancel = CancellationToken::new();
        tokio::spawn(SeatAdapter::new(settings, PREFIX).run(requests, followed, reports, cancel.clone()));
        let (told, outcomes) = (Vec::new(), BTreeMap::new());
        Self { fronts, cluster, config, calls, inputs, told, outcomes, _seats: seats, next: 0, cancel }
    }

    /// With a Lease for each seat, made by its home, and seen.
    async fn begun(name: &str) -> Self {
        let mut bench = Self::new(name);
        bench.all_are("absent", |report| *report == LeaseReport::Absent).await;
        for number in 0..SEATS {
            let outcome = bench.ask(number, LeaseRequest::Create(draft(&format!("n{number}")))).await;
            assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
        }
        bench.all_are("observed", |report| matches!(report, LeaseReport::Observed(_))).await;
        bench
    }

    async fn send(&mut self, number: usize, request: LeaseRequest) -> EffectId {
        self.next += 1;
        let id = EffectId(self.next);
        self.calls.send((seat(number), LeaseCall { id, request, deadline: DEADLINE })).await.unwrap();
        id
    }

    async fn ask(&mut self, number: usize, request: LeaseRequest) -> LeaseOutcome {
        let id = self.send(number, request).await;
        self.outcome(id).await
    }

    async fn outcome(&mut self, id: EffectId) -> LeaseOutcome {
        loop {
            if let Some(outcome) = self.outcomes.remove(&id) {
                return outcome;
            }
            self.take().await;
        }
    }

    async fn take(&mut self) {
        let input = tokio::time::timeout(PATIENCE, self.inputs.recv()).await;
        match input
            .unwrap_or_else(|_| panic!("nothing is told any more; last {:?}", self.told.last()))
            .unwrap()
        {
            Input::SeatLease { seat, report } => self.told.push((seat, report)),
            Input::Outcome { id, outcome: Outcome::Lease(outcome) } => {
                assert_eq!(self.outcomes.insert(id, outcome), None, "one outcome for each call");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits for this to be told of a seat, and says what was told of it before.
    async fn told(&mut self, number: usize, wanted: impl Fn(&LeaseReport) -> bool) -> Vec<LeaseReport> {
        loop {
            let of = |(one, _): &(ClaimId, LeaseReport)| *one == seat(number);
            if let Some(at) = self.told.iter().position(|told| of(told) && wanted(&told.1)) {
                let until: Vec<_> = self.told.drain(..=at).collect();
                let (seen, of_others): (Vec<_>, Vec<_>) = until.into_iter().partition(of);
                self.told.splice(0..0, of_others);
                return seen.into_iter().map(|(_, report)| report).collect();
            }
            self.take().await;
        }
    }

    /// Waits until this was told of each seat.
    async fn all_are(&mut self, what: &str, wanted: impl Fn(&LeaseReport) -> bool) {
        let mut lacking: BTreeSet<ClaimId> = (0..SEATS).map(seat).collect();
        while !lacking.is_empty() {
            self.told.drain(..).filter(|(_, report)| wanted(report)).for_each(|(seat, _)| {
                lacking.remove(&seat);
            });
            if !lacking.is_empty() {
                self.take().await;
            }
        }
        assert!(lacking.is_empty(), "{what}");
    }

    fn renewal(&self, number: usize, holder: &str) -> LeaseRequest {
        let lease = self.cluster.store().get(&target(number)).unwrap();
        let resource_version = lease["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        LeaseRequest::Update { resource_version, draft: draft(holder) }
    }

    /// Somebody takes a Lease's label away.
    fn strip(&self, number: usize) {
        let mut lease = (*self.cluster.store().get(&target(number)).unwrap()).clone();
        lease["metadata"]["labels"] = json!({});
        self.cluster.store().update(&target(number), lease, Part::Main).unwrap();
    }

    fn labels(&self, number: usize) -> Value {
        self.cluster.store().get(&target(number)).unwrap()["metadata"]["labels"].clone()
    }

    fn count(&self, verb: Verb) -> u64 {
        self.fronts.iter().map(|front| front.account().count(verb, "leases")).sum()
    }

    fn for_all(&self, act: impl Fn(&FrontEndHandle)) {
        self.fronts.iter().for_each(act);
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
        duration_seconds: 40,
        acquire_time: Stamp::Now,
        renew_time: Stamp::Now,
        transitions: 1,
        annotations: BTreeMap::new(),
    }
}

fn is_held_by<'a>(holder: &'a str) -> impl Fn(&LeaseReport) -> bool + 'a {
    move |report| matches!(report, LeaseReport::Observed(record) if record.holder.as_deref() == Some(holder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_watch_tells_of_all_and_a_renewal_costs_one_write_and_no_read() {
    let mut bench = Bench::begun("steady").await;
    let before = (bench.count(Verb::Get), bench.count(Verb::List));
    for number in 0..SEATS {
        let holder = format!("another-{number}");
        let request = bench.renewal(number, &holder);
        let outcome = bench.ask(number, request).await;
        assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
        bench.told(number, is_held_by(&holder)).await;
    }
    assert_eq!(bench.count(Verb::Watch), 1, "of twenty Leases");
    assert_eq!((bench.count(Verb::Get), bench.count(Verb::List)), before, "followed without asking");
    assert_eq!(bench.count(Verb::Update), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_upon_an_older_version_is_a_conflict() {
    let mut bench = Bench::begun("conflict").await;
    let older = bench.renewal(3, "late");
    let renewal = bench.renewal(3, "early");
    bench.ask(3, renewal).await;
    assert_eq!(bench.ask(3, older).await, LeaseOutcome::Conflict);
    bench.told(3, is_held_by("early")).await;
}

/// An agent that starts asks for all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_come_together_are_few_and_each_has_its_own_answer() {
    let mut bench = Bench::begun("reads").await;
    let before = bench.count(Verb::Get) + bench.count(Verb::List);
    // Slow enough for all to come while the first is under way.
    bench.for_all(|front| front.inject(Fault::Slow(Duration::from_millis(100))));
    let mut asked = Vec::new();
    for number in 0..SEATS {
        asked.push((number, bench.send(number, LeaseRequest::Read).await));
    }
    for (number, id) in asked {
        let LeaseOutcome::Record(LeaseRecord { holder, .. }) = bench.outcome(id).await else {
            panic!("it is there")
        };
        assert_eq!(holder, Some(format!("n{number}")));
    }
    let reads = bench.count(Verb::Get) + bench.count(Verb::List) - before;
    assert!(reads <= 6, "{reads} reads for twenty, each by two servers at most");
}

/// A label that is taken away ends the watch's word of a Lease, and not the Lease; the next write puts it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_loses_its_label_is_not_gone() {
    let mut bench = Bench::begun("label").await;
    assert_eq!(bench.labels(0), json!({"mainstay.io/lease": "seat"}));
    bench.told.clear();
    bench.strip(0);
    let told = bench.told(0, |_| true).await;
    assert!(matches!(told[..], [LeaseReport::Observed(_)]), "{told:?}");
    // Read together with others, it is not in the list either.
    let asked = [bench.send(0, LeaseRequest::Read).await, bench.send(1, LeaseRequest::Read).await];
    for id in asked {
        assert!(matches!(bench.outcome(id).await, LeaseOutcome::Record(_)));
    }
    let renewal = bench.renewal(0, "n0");
    bench.ask(0, renewal).await;
    assert_eq!(bench.labels(0), json!({"mainstay.io/lease": "seat"}));
    bench.told.clear();
    bench.cluster.store().delete(&target(0), &Preconditions::default()).unwrap();
    bench.told(0, |report| *report == LeaseReport::Absent).await;
}

/// After an outage, and a list that is empty: what it does not name is looked for by its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_an_outage_nor_an_empty_list_says_that_a_lease_is_gone() {
    let mut bench = Bench::begun("outage").await;
    bench.told.clear();
    bench.for_all(|front| front.inject(Fault::Refuse));
    bench.for_all(FrontEndHandle::drop_watches);
    bench.all_are("lost", |report| *report == LeaseReport::WatchLost).await;
    (0..SEATS).for_each(|number| bench.strip(number));
    bench.told.clear();
    bench.for_all(FrontEndHandle::heal);
    for number in 0..SEATS {
        let told = bench.told(number, |report| matches!(report, LeaseReport::Observed(_))).await;
        assert!(!told.contains(&LeaseReport::Absent), "{told:?}");
    }
}

/// A version that is too old to go on from: all are listed anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_cannot_go_on_is_followed_by_a_list() {
    let mut bench = Bench::begun("gone").await;
    let lists = bench.count(Verb::List);
    bench.told.clear();
    // The watch is not told of what it did not ask for, and what is older is forgotten.
    let unlabelled = json!({"metadata": {"name": "another", "namespace": NAMESPACE}, "spec": {}});
    bench.cluster.store().create(LEASE, NAMESPACE, unlabelled).unwrap();
    bench.cluster.store().compact();
    bench.for_all(FrontEndHandle::drop_watches);
    bench.all_are("observed", |report| matches!(report, LeaseReport::Observed(_))).await;
    assert!(bench.count(Verb::List) > lists);
}
