//! What is written on Services at the embedded API server, over HTTPS, with the rights of an agent: no more than lacks, and
//! whatever becomes of it, nothing else notices.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that cannot go on fails the test")]

mod services;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_written_once_and_a_quiet_time_costs_nothing() {
    let all = names();
    let desk = Desk::new("once", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    desk.settled().await;
    assert_eq!(desk.patches(), 0, "nothing is wanted: `disable_service_updates`");
    all.iter().for_each(|name| desk.publish(name, "192.0.2.10"));
    for name in &all {
        desk.until_says(name, "192.0.2.10").await;
    }
    desk.settled().await;
    assert_eq!(desk.patches(), 40, "the annotation and the status of each");
    // The same wanted again, the watches anew, and what else changes on a Service: nothing lacks.
    desk.want(|wanted| wanted.elsewhere.clear());
    desk.bench.drop_watches();
    desk.bench.update(SERVICE, "shop", &all[0], |object| object["metadata"]["labels"]["more"] = json!("yes"));
    desk.settled().await;
    assert_eq!(desk.patches(), 40);
    desk.publish(&all[3], "192.0.2.11");
    desk.until_says(&all[3], "192.0.2.11").await;
    desk.settled().await;
    assert_eq!((desk.patches(), desk.status.borrow().writes), (41, 41));
    let object = desk.object(&all[3]);
    let managers: Vec<&Value> = object["metadata"]["managedFields"].as_array().unwrap().iter().collect();
    let written = managers.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!(written["manager"], "mainstay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changes_comes_back_and_ever_more_slowly() {
    let desk = Desk::new("back", &["a"]).await;
    desk.publish("a", "192.0.2.10");
    desk.until_says("a", "192.0.2.10").await;
    desk.settled().await;
    for round in 1..=3 {
        let before = desk.patches();
        desk.bench.update_status(SERVICE, "shop", "a", |object| object["status"]["loadBalancer"] = json!({}));
        desk.until_says("a", "192.0.2.10").await;
        desk.bench.update(SERVICE, "shop", "a", |object| {
            object["metadata"]["annotations"][VIP_HOST] = json!("node-2");
        });
        desk.until_says("a", "192.0.2.10").await;
        desk.settled().await;
        assert_eq!(desk.patches(), before + 2, "round {round}");
    }
    assert_eq!(desk.status.borrow().contested, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wanted_any_more_is_cleaned_unless_somebody_else_has_written() {
    let desk = Desk::new("leave", &["gone", "moved", "taken", "other"]).await;
    for name in ["gone", "moved", "taken"] {
        desk.publish(name, "192.0.2.10");
        desk.until_says(name, "192.0.2.10").await;
    }
    desk.settled().await;
    desk.bench.update_status(SERVICE, "shop", "other", |object| {
        object["status"]["loadBalancer"] = json!({"ingress": [{"ip": "192.0.2.20"}]});
    });
    let before = desk.patches();
    desk.want(|wanted| {
        wanted.services.remove(&named("moved"));
        wanted.elsewhere.insert(named("moved"));
        wanted.services.remove(&named("gone"));
    });
    desk.until("gone", "it is cleaned", says_nothing).await;
    desk.settled().await;
    assert!(says(&desk.object("moved"), "192.0.2.10"), "another agent's now");
    assert_eq!(desk.patches(), before + 2);
    // Another holder has written that it is the holder, before we knew that we are not.
    desk.want(|wanted| drop(wanted.services.remove(&named("moved"))));
    desk.bench.deny("services");
    desk.want(|wanted| drop(wanted.services.remove(&named("taken"))));
    desk.bench.update(SERVICE, "shop", "taken", |object| {
        object["metadata"]["annotations"][VIP_HOST] = json!("node-2");
    });
    desk.bench.heal();
    desk.settled().await;
    let taken = desk.object("taken");
    assert_eq!(taken["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.10");
    assert_eq!(taken["metadata"]["annotations"][VIP_HOST], "node-2");
    assert_eq!(desk.object("other")["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.20");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_made_anew_does_not_get_what_was_meant_for_the_one_before() {
    let desk = Desk::new("anew", &["a"]).await;
    let hang = Fault::HangWritesBut("leases".to_owned());
    desk.bench.fronts.iter().for_each(|front| front.inject(hang.clone()));
    desk.publish("a", "192.0.2.10");
    desk.until_status("a write is under way", |status| status.under_way == 1).await;
    let uid = desk.object("a")["metadata"]["uid"].clone();
    desk.bench.delete(SERVICE, "shop", "a");
    desk.bench.put(SERVICE, "shop", service("a"));
    assert_ne!(desk.object("a")["metadata"]["uid"], uid);
    // The write that was under way is done now, on a Service that it was not meant for.
    desk.bench.heal();
    desk.until_status("it has landed", |status| status.under_way == 0 && status.failures > 0).await;
    desk.settled().await;
    assert!(says_nothing(&desk.object("a")), "{:#}", desk.object("a"));
    assert_eq!(desk.status.borrow().writes, 0);
    desk.publish("a", "192.0.2.11");
    desk.until_says("a", "192.0.2.11").await;
}

/// Two hold at one moment, or one has not seen yet what the other wrote: what was written meanwhile stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_holder_wrote_meanwhile_is_not_written_over() {
    let desk = Desk::new("meanwhile", &["annotation", "status"]).await;
    desk.publish("status", "192.0.2.10");
    desk.until_says("status", "192.0.2.10").await;
    desk.settled().await;
    let writes = desk.status.borrow().writes;
    let hang = Fault::HangWritesBut("leases".to_owned());
    desk.bench.fronts.iter().for_each(|front| front.inject(hang.clone()));
    desk.publish("annotation", "192.0.2.10");
    desk.publish("status", "192.0.2.11");
    desk.until_status("both are under way", |status| status.under_way == 2).await;
    let theirs = json!({"ingress": [{"ip": "192.0.2.20", "ipMode": "VIP"}]});
    for name in ["annotation", "status"] {
        desk.bench
            .update_status(SERVICE, "shop", name, |object| object["status"]["loadBalancer"] = theirs.clone());
    }
    desk.bench.update(SERVICE, "shop", "annotation", |object| {
        object["metadata"]["annotations"][VIP_HOST] = json!("node-2");
    });
    // It learns that they are another's before it could look again.
    desk.want(|wanted| {
        wanted.elsewhere = std::mem::take(&mut wanted.services).into_keys().collect();
    });
    desk.bench.heal();
    desk.until_status("both have landed", |status| status.under_way == 0).await;
    desk.settled().await;
    assert_eq!(desk.object("annotation")["metadata"]["annotations"][VIP_HOST], "node-2");
    for name in ["annotation", "status"] {
        assert_eq!(desk.object(name)["status"]["loadBalancer"], theirs, "{name}");
    }
    assert_eq!(desk.status.borrow().writes, writes);
    // Whoever holds them and has seen that, writes.
    desk.publish("annotation", "192.0.2.10");
    desk.until_says("annotation", "192.0.2.10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_published_with_the_address_and_read_back() {
    let desk = Desk::new("ports", &["a"]).await;
    let port = |protocol, port| Port { protocol, port };
    let ports = BTreeSet::from([port(Protocol::Tcp, 80), port(Protocol::Udp, 53)]);
    let publication = Publication { ports: ports.clone(), ..desk.publication("a", "192.0.2.10") };
    desk.want(|wanted| drop(wanted.services.insert(named("a"), publication)));
    let said = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
    desk.until("a", "the ports", |object| object["status"]["loadBalancer"]["ingress"][0]["ports"] == said)
        .await;
    let read = |intent: &mainstay_core::intent::Intent| {
        let published = intent.services.get(&named("a")).map(|service| service.published.clone());
        published.is_some_and(|all| all.len() == 1 && all[0].ports == ports)
    };
    desk.bench.until("they are read back", read).await;
    desk.settled().await;
    assert_eq!(desk.patches(), 2, "and seen as they were written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_heals_and_reaches_nothing_else() {
    let all = names();
    let mut desk = Desk::new("heals", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let status = |code, retry_after| Fault::Status { code, rate: 1.0, retry_after };
    let second = Duration::from_secs(1);
    for (round, (fault, writes_only)) in [
        (Fault::HangWritesBut("leases".to_owned()), true),
        (Fault::DenyWritesBut("leases".to_owned()), true),
        (Fault::Refuse, false),
        (Fault::Hang, false),
        (status(500, None), false),
        (status(401, None), false),
        (status(429, Some(second)), false),
        (Fault::LoseReply { rate: 1.0 }, false),
    ]
    .into_iter()
    .enumerate()
    {
        desk.bench.fronts.iter().for_each(|front| front.inject(fault.clone()));
        let (address, failures) = (format!("192.0.2.{}", round + 10), desk.status.borrow().failures);
        all.iter().for_each(|name| desk.publish(name, &address));
        let held = |status: &PublishStatus| status.under_way == 8 || status.failures > failures;
        desk.until_status("writes are held or refused", held).await;
        if writes_only {
            let (reads, took) = lease_read(&mut desk.bench).await;
            assert!(matches!(reads, LeaseOutcome::Absent), "{reads:?}");
            assert!(took < second, "a read of the Lease took {took:?}");
        }
        desk.bench.heal();
        for name in &all {
            desk.until_says(name, &address).await;
        }
        desk.until_status("it is well", |status| status.waiting == 0 && status.under_way == 0).await;
        assert_eq!(desk.status.borrow().last_error, None, "{fault:?}");
    }
}

async fn lease_read(bench: &mut Bench) -> (LeaseOutcome, Duration) {
    let call = LeaseCall { id: EffectId(1), request: LeaseRequest::Read, deadline: Duration::from_secs(2) };
    let began = Instant::now();
    let mut inputs = bench.call(call).await;
    loop {
        match tokio::time::timeout(PATIENCE, inputs.recv()).await.unwrap() {
            Ok(Input::Outcome { outcome: Outcome::Lease(outcome), .. }) => return (outcome, began.elapsed()),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_busy_is_left_alone_for_as_long_as_it_says() {
    let all = names();
    let desk = Desk::new("busy", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let busy = Fault::Status { code: 429, rate: 1.0, retry_after: Some(Duration::from_secs(3)) };
    desk.bench.fronts.iter().for_each(|front| front.inject(busy.clone()));
    let began = Instant::now();
    all.iter().for_each(|name| desk.publish(name, "192.0.2.10"));
    // The first eight of either part: then all rest.
    desk.until_status("it is refused", |status| status.failures > 8 && status.under_way == 0).await;
    desk.bench.heal();
    desk.until_says(&all[0], "192.0.2.10").await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    for name in &all {
        desk.until_says(name, "192.0.2.10").await;
    }
    desk.settled().await;
    // Those that were under way in either part when the word came, and what is written.
    assert!(desk.patches() <= 40 + 16, "{} requests", desk.patches());
    let failed = desk.status.borrow().failures;
    assert!(failed <= 16, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_not_allowed_does_not_keep_the_other() {
    let desk = Desk::new("part", &["a"]).await;
    desk.bench.update_role(|rule| {
        if rule["resources"] == json!(["services", "services/status"]) {
            rule["resources"] = json!(["services/status"]);
        }
    });
    desk.publish("a", "192.0.2.10");
    let ingress = json!([{"ip": "192.0.2.10", "ipMode": "VIP"}]);
    desk.until("a", "the status alone", |object| object["status"]["loadBalancer"]["ingress"] == ingress)
        .await;
    let refused = |status: &PublishStatus| {
        status.failures > 1
            && status.last_error.as_ref().is_some_and(|trouble| trouble.class == ErrorClass::Forbidden)
    };
    desk.until_status("the annotation is refused", refused).await;
    desk.bench.update_role(|rule| {
        if rule["resources"] == json!(["services/status"]) {
            rule["resources"] = json!(["services", "services/status"]);
        }
    });
    desk.until_says("a", "192.0.2.10").await;
}

fn event(name: &str, reason: &'static str) -> ServiceEvent {
    let (service, uid) = (named(name), "u".to_owned());
    ServiceEvent { service, uid, kind: EventKind::Warning, reason, note: "told".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_told_once_a_minute_and_an_outage_costs_none_of_those_that_have_room() {
    let desk = Desk::new("events", &["a", "b"]).await;
    for _ in 0..5 {
        desk.events.tell(event("a", "AddressRefused"));
        desk.events.tell(event("b", "AddressRefused"));
    }
    desk.events.tell(event("a", "Held"));
    desk.until_sent(3).await;
    assert_eq!(desk.told(), [r#""a" "AddressRefused""#, r#""a" "Held""#, r#""b" "AddressRefused""#]);
    // Nobody waits for what cannot be told, and the Services' status is written all the same.
    desk.bench.fronts.iter().for_each(|front| front.inject(Fault::HangWritesBut("services".to_owned())));
    let reasons = ["A", "B", "C", "D"];
    let began = Instant::now();
    for number in 0..100 {
        reasons.iter().for_each(|reason| desk.events.tell(event(&format!("x-{number}"), reason)));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "telling took {:?}", began.elapsed());
    assert_eq!(desk.events.dropped(), 400 - 64);
    desk.publish("a", "192.0.2.10");
    desk.until_says("a", "192.0.2.10").await;
    desk.bench.heal();
    desk.until_sent(3 + 64).await;
    assert_eq!(desk.told().len(), 3 + 64, "each of them once");
}

/// The one that was under way may have been done: then it is there already when it is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_answer_was_lost_is_told_once() {
    let desk = Desk::new("lost", &["a"]).await;
    desk.bench.fronts.iter().for_each(|front| front.inject(Fault::LoseReply { rate: 1.0 }));
    desk.events.tell(event("a", "Held"));
    let asked_again = async {
        while desk.bench.count(Verb::Create, "events") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asked_again).await.is_ok(), "it is asked for once more");
    desk.bench.heal();
    desk.until_sent(1).await;
    assert_eq!((desk.told().len(), desk.events.dropped()), (1, 0));
}

/// What an operator has to grant is what is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_what_the_manifest_grants() {
    let desk = Desk::new("rights", &["a"]).await;
    desk.publish("a", "192.0.2.10");
    desk.events.tell(event("a", "Held"));
    desk.until_says("a", "192.0.2.10").await;
    desk.want(|wanted| wanted.services.clear());
    desk.until("a", "it is cleaned", says_nothing).await;
    let asked = desk.bench.cluster.store().account().asked();
    let agent: Vec<_> = asked.iter().filter(|asked| asked.user.ends_with(":mainstay")).collect();
    assert!(agent.iter().all(|asked| asked.allowed), "{agent:#?}");
    let mut written: Vec<String> = agent
        .iter()
        .filter(|asked| asked.verb != "list" && asked.verb != "watch")
        .map(|asked| format!("{} {}", asked.verb, asked.resource))
        .collect();
    written.retain(|one| !one.contains("leases"));
    written.dedup();
    assert_eq!(written, ["create events", "patch services", "patch services/status"]);
}

/// Also one that knows no modes (before 1.29), and takes ports away (before 1.24): what is wanted is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_is_written_on_and_then_left_alone() {
    let assets = match assets() {
        Ok(assets) => assets,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let server = RealServer::start(&assets, Place::Loopback, &std::env::temp_dir(), &[]).unwrap();
    let client = server.client().unwrap();
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await.unwrap();
    let path = "/api/v1/namespaces/shop/services";
    let mut object = service("a");
    object["spec"].as_object_mut().unwrap().remove("clusterIP");
    let made = client.post(path, &object).await.unwrap();
    assert_eq!(made.code, 201, "{:#}", made.body);
    let real = Real::follow(&server);
    let (name, port) = (named("a"), Port { protocol: Protocol::Tcp, port: 80 });
    let publication = Publication {
        uid: made.body["metadata"]["uid"].as_str().unwrap().to_owned(),
        ingress: vec!["192.0.2.10".parse().unwrap()],
        ports: [port].into(),
        annotations: Arc::new([(VIP_HOST.to_owned(), "node-1".to_owned())].into()),
    };
    let services = [(name, publication)].into();
    real.wanted.send_replace(Arc::new(Wanted { services, ..Wanted::default() }));
    let done = |status: &PublishStatus| status.writes >= 2 && status.waiting + status.under_way == 0;
    let mut status = real.status.clone();
    let written = tokio::time::timeout(PATIENCE, status.wait_for(done)).await.is_ok();
    assert!(written, "{:?}", real.status.borrow());
    let object = client.get(&format!("{path}/a")).await.unwrap().body;
    assert_eq!(object["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.10", "{object:#}");
    assert_eq!(object["metadata"]["annotations"][VIP_HOST], "node-1");
    // Whatever else changes, nothing lacks: what comes after it is seen, and nothing was written.
    let label = json!({"metadata": {"labels": {"more": "yes"}}});
    client.merge_patch(&format!("{path}/a"), &label).await.unwrap();
    let mut later = service("later");
    later["spec"].as_object_mut().unwrap().remove("clusterIP");
    client.post(path, &later).await.unwrap();
    let (mut intent, name) = (real.intent.clone(), named("later"));
    let seen = intent.wait_for(|intent| intent.services.get(&name).is_some());
    assert!(tokio::time::timeout(PATIENCE, seen).await.is_ok_and(|seen| seen.is_ok()), "the watch goes on");
    let status = real.status.borrow();
    assert_eq!((status.writes, status.failures, status.contested), (2, 0, 0), "{status:?}");
}

/// An agent's half that follows a real API server.
struct Real {
    wanted: watch::Sender<Arc<Wanted>>,
    status: watch::Receiver<PublishStatus>,
    intent: watch::Receiver<Arc<mainstay_core::intent::Intent>>,
    _calls: mpsc::Sender<LeaseCall>,
    _guard: DropGuard,
    config: std::path::PathBuf,
}

impl Real {
    fn follow(server: &RealServer) -> Self {
        let config = std::env::temp_dir().join(format!("mainstay-status-real-{}.yaml", std::process::id()));
        std::fs::write(&config, server.kubeconfig()).unwrap();
        let settings = services::settings_of(&config, &[server.url()]);
        let (adapter, handles) = LeaseAdapter::new(settings);
        let (reflector, feed) = handles.objects.reflector(services::following());
        let (wanted, desired) = watch::channel(Arc::default());
        let (publisher, status) = handles.objects.publisher(feed.observed.clone(), desired);
        let cancel = CancellationToken::new();
        let ((calls, requests), (reports, mut heard)) = (mpsc::channel(1), mpsc::channel(64));
        tokio::spawn(adapter.run(requests, reports, cancel.clone()));
        tokio::spawn(async move { while heard.recv().await.is_some() {} });
        tokio::spawn(reflector.run(cancel.clone()));
        tokio::spawn(publisher.run(cancel.clone()));
        Self { wanted, status, intent: feed.intent, _calls: calls, _guard: cancel.drop_guard(), config }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.config));
    }
}
