//! What is written on Services at the embedded API server, over HTTPS, with the rights of an agent: no more than lacks, and
//! whatever becomes of it, nothing else notices.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that cannot go on fails the test")]

mod events;
mod faults;
mod real;
#[path = "../services/mod.rs"]
mod services;
mod writes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, Input, LeaseOutcome, Outcome};
use mainstay_core::intent::{ObjectName, Port, Protocol};
use mainstay_kube::{
    ErrorClass, EventKind, EventSink, LeaseAdapter, LeaseCall, Publication, PublishStatus, ServiceEvent,
    VIP_HOST, Wanted,
};
use mainstay_lab::apiserver::real::{Place, RealServer, assets};
use mainstay_lab::apiserver::{EVENT, Fault, SERVICE, Scan, StoreOptions, Verb};
use serde_json::{Value, json};
use services::{Bench, PATIENCE, service};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Desk {
    bench: Bench,
    wanted: watch::Sender<Arc<Wanted>>,
    status: watch::Receiver<PublishStatus>,
    events: EventSink,
    _guard: DropGuard,
}

impl Desk {
    /// Services of these names that were listed, and a publisher that is wanted nothing of.
    async fn new(name: &str, services: &[&str]) -> Self {
        let bench = Bench::new(name, StoreOptions::default());
        services.iter().for_each(|name| bench.put(SERVICE, "shop", service(name)));
        let bench = bench.follow();
        bench.until("all was listed", |intent| intent.complete().is_ok()).await;
        bench.until_watching().await;
        let (wanted, desired) = watch::channel(Arc::default());
        let (publisher, status) = bench.handles.objects.publisher(bench.feed.observed.clone(), desired);
        let (events, writer) = bench.handles.objects.events("node-1");
        let cancel = CancellationToken::new();
        tokio::spawn(publisher.run(cancel.clone()));
        tokio::spawn(writer.run(cancel.clone()));
        Self { bench, wanted, status, events, _guard: cancel.drop_guard() }
    }

    fn object(&self, name: &str) -> Arc<Value> {
        self.bench.get(SERVICE, "shop", name)
    }

    fn publication(&self, name: &str, address: &str) -> Publication {
        Publication {
            uid: self.object(name)["metadata"]["uid"].as_str().unwrap().to_owned(),
            ingress: vec![address.parse().unwrap()],
            ports: BTreeSet::new(),
            annotations: Arc::new([(VIP_HOST.to_owned(), "node-1".to_owned())].into()),
        }
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        self.wanted.send_modify(|wanted| change(Arc::make_mut(wanted)));
    }

    fn publish(&self, name: &str, address: &str) {
        let publication = self.publication(name, address);
        self.want(|wanted| drop(wanted.services.insert(named(name), publication)));
    }

    /// Waits until this holds of a Service's object.
    async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let mut commits = self.bench.cluster.store().subscribe();
        // Looked at only after the word of the commit is let go: the store tells of it under its own lock.
        let held = async {
            while !holds(&self.object(name)) {
                commits.changed().await.unwrap();
            }
        };
        let held = tokio::time::timeout(PATIENCE, held).await.is_ok();
        assert!(held, "{what}: {:#} {:?}", self.object(name), self.status.borrow());
    }

    async fn until_says(&self, name: &str, address: &str) {
        let holds = |object: &Value| says(object, address);
        self.until(name, "the status", holds).await;
    }

    async fn until_status(&self, what: &str, holds: impl Fn(&PublishStatus) -> bool) {
        let mut status = self.status.clone();
        let held = tokio::time::timeout(PATIENCE, status.wait_for(|status| holds(status))).await.is_ok();
        assert!(held, "{what}: {:?}", self.status.borrow());
    }

    /// Waits until nothing is due, and all that was written has come back by the watch.
    async fn settled(&self) {
        self.until_status("nothing is due", |status| status.waiting == 0 && status.under_way == 0).await;
        self.bench.put(SERVICE, "shop", service("mark"));
        self.bench.until("what comes after it", |intent| intent.services.get(&named("mark")).is_some()).await;
        self.bench.delete(SERVICE, "shop", "mark");
        self.bench.until("that it is gone", |intent| intent.services.get(&named("mark")).is_none()).await;
        self.until_status("nothing is due", |status| status.waiting == 0 && status.under_way == 0).await;
    }

    async fn until_sent(&self, number: u64) {
        let waited = async {
            while self.events.sent() < number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let held = tokio::time::timeout(PATIENCE, waited).await.is_ok();
        assert!(held, "{} Events of {number} were delivered", self.events.sent());
    }

    /// The Events that are there: about which Service, and of which kind.
    fn told(&self) -> Vec<String> {
        let store = self.bench.cluster.store();
        let events = store.list(&Scan::all(EVENT), mainstay_lab::apiserver::At::Newest).unwrap().items;
        let told = events.iter().map(|one| format!("{} {}", one["involvedObject"]["name"], one["reason"]));
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    }

    fn patches(&self) -> u64 {
        self.bench.count(Verb::Patch, "services")
    }
}

fn named(name: &str) -> ObjectName {
    ObjectName::new("shop", name).unwrap()
}

fn says(object: &Value, address: &str) -> bool {
    let holder = object["metadata"]["annotations"][VIP_HOST] == "node-1";
    holder && object["status"]["loadBalancer"]["ingress"] == json!([{"ip": address, "ipMode": "VIP"}])
}

fn says_nothing(object: &Value) -> bool {
    object["metadata"]["annotations"].get(VIP_HOST).is_none()
        && object["status"]["loadBalancer"].get("ingress").is_none_or(|ingress| *ingress == json!([]))
}

fn names() -> Vec<String> {
    (0..20).map(|number| format!("service-{number:02}")).collect()
}
