//! What is read, taken in and handed out, without a server.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::intent::{Extent, Intent, Kind};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, advance};

use super::hub::Hub;
use super::observed::{self, ObservedServices};
use super::plan::{Key, Plan, Watched};
use super::problems::Problems;
use super::step::{Aside, Names, Step, apply};
use super::{Following, Pools, VIP_HOST};

const EVERY: Duration = Duration::from_millis(50);

fn following() -> Following {
    Following::all("kube-system/kubevip".parse().expect("a name"))
}

fn plan(watched: Watched) -> Plan {
    Plan::new(watched, &following())
}

fn service(name: &str, uid: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": "7"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    })
}

fn present(objects: &[Value]) -> Step {
    Step::Present(Kind::Service, objects.iter().map(|object| plan(Watched::Services).item(object)).collect())
}

fn key(name: &str) -> Key {
    Key::Service(format!("shop/{name}").parse().expect("a name"))
}

fn listed(extent: Extent, names: &[&str]) -> Step {
    let names = Names { extent, names: names.iter().map(|name| Some(key(name))).collect() };
    Step::Listed(Watched::Services, Kind::Service, names)
}

fn names(intent: &Intent) -> Vec<String> {
    intent.services.iter().map(|(name, _)| name.name().to_owned()).collect()
}

#[test]
fn requests_are_as_narrow_as_their_rights() {
    let paths =
        |following: &Following| Watched::ALL.map(|watched| Plan::new(watched, following).list(None)).to_vec();
    assert_eq!(
        paths(&following()),
        [
            "/api/v1/services?limit=500",
            "/apis/discovery.k8s.io/v1/endpointslices?limit=500",
            "/api/v1/nodes?limit=100",
            "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkubevip&limit=500",
        ]
    );
    let narrow = paths(&Following { namespace: Some("shop".to_owned()), ..following() });
    assert_eq!(narrow[0], "/api/v1/namespaces/shop/services?limit=500");
    assert_eq!(narrow[1], "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?limit=500");
    assert_eq!(
        plan(Watched::Services).list(Some("a+b/c=")),
        "/api/v1/services?limit=500&continue=a%2Bb%2Fc%3D"
    );
    assert_eq!(
        plan(Watched::Nodes).watch("7", 300),
        "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=7"
    );
}

#[test]
fn only_a_whole_list_takes_away_and_an_empty_one_only_if_it_was_read_twice() {
    let (mut intent, mut aside) = (Intent::default(), Aside::default());
    let mut take = |step| {
        let changed = apply(&mut intent, &mut aside, step);
        (names(&intent).join(" "), intent.services.is_listed(), changed.intent, aside.problems.iter().count())
    };
    let is = |names: &str, listed, changed, problems| (names.to_owned(), listed, changed, problems);
    assert_eq!(take(present(&[service("a", "1"), service("b", "2")])), is("a b", false, true, 0));
    assert_eq!(take(listed(Extent::Complete, &["a", "b"])), is("a b", true, true, 0));
    assert_eq!(take(present(&[service("c", "3")])), is("a b c", true, true, 0));
    assert_eq!(take(present(&[service("c", "3")])), is("a b c", true, false, 0), "no news");
    assert_eq!(take(listed(Extent::Complete, &["a", "c"])), is("a c", true, true, 0));
    assert_eq!(take(listed(Extent::Complete, &[])), is("a c", true, false, 1));
    let nameless = Names { extent: Extent::Complete, names: vec![Some(key("a")), None] };
    assert_eq!(take(Step::Listed(Watched::Services, Kind::Service, nameless)), is("a c", true, false, 0));
    assert_eq!(take(listed(Extent::Confirmed, &[])), is("", true, true, 0));
    assert_eq!(take(present(&[service("a", "1")])), is("a", true, true, 0));
    assert_eq!(take(Step::Gone(Kind::Service, key("a"))), is("", true, true, 0));
}

#[test]
fn an_object_that_cannot_be_read_stays_known_and_its_problem_goes_when_it_is_well_or_gone() {
    let (mut intent, mut aside) = (Intent::default(), Aside::default());
    let mut odd = service("a", "1");
    odd["spec"]["type"] = json!("Odd");
    for mend in
        [present(&[service("a", "1")]), Step::Gone(Kind::Service, key("a")), listed(Extent::Confirmed, &[])]
    {
        apply(&mut intent, &mut aside, present(&[service("a", "1")]));
        let changed = apply(&mut intent, &mut aside, present(std::slice::from_ref(&odd)));
        assert_eq!((changed.intent, changed.problems), (false, true));
        assert_eq!((names(&intent), aside.problems.iter().count()), (vec!["a".to_owned()], 1));
        apply(&mut intent, &mut aside, mend);
        assert_eq!(aside.problems.iter().count(), 0);
    }
}

#[test]
fn problems_are_bounded_and_counted() {
    let mut problems = Problems::default();
    let flaw = |number: u32| {
        let name = Some(format!("shop/{number}"));
        mainstay_core::intent::Problem {
            kind: Kind::Service,
            name,
            flaw: mainstay_core::intent::Flaw::Truncated,
        }
    };
    for number in 0..300 {
        assert!(problems.set(Kind::Service, flaw(number).name, vec![flaw(number)]));
    }
    assert_eq!((problems.iter().count(), problems.untold()), (256, 44));
    assert!(!problems.set(Kind::Service, flaw(0).name, vec![flaw(0)]), "told already");
}

#[test]
fn pools_are_texts_or_nothing_is_learned() {
    let (mut intent, mut aside) = (Intent::default(), Aside::default());
    let pools = plan(Watched::Pools);
    let map =
        |data: Value| json!({"metadata": {"namespace": "kube-system", "name": "kubevip"}, "data": data});
    let mut take = |object: &Value| {
        let step = Step::Present(Kind::Service, vec![pools.item(object)]);
        (apply(&mut intent, &mut aside, step).pools, aside.pools.clone())
    };
    let says = |text: &str| Pools::Present(Arc::new([("range-global".to_owned(), text.to_owned())].into()));
    assert_eq!(take(&map(json!({"range-global": 7}))), (false, Pools::Unknown));
    assert_eq!(take(&map(json!({"range-global": "a"}))), (true, says("a")));
    assert_eq!(take(&map(json!({"range-global": "a"}))), (false, says("a")));
    assert_eq!(take(&map(json!([]))), (false, says("a")));
    let mut another = map(json!({"range-global": "b"}));
    another["metadata"]["name"] = json!("another");
    assert_eq!(take(&another), (false, says("a")));
    assert_eq!(take(&map(Value::Null)), (true, Pools::Present(Arc::default())));
}

#[test]
fn what_is_written_on_a_service_is_seen_as_it_is() {
    let read = |status: Value| {
        let mut object = service("a", "1");
        object["status"] = status;
        observed::read(&object, &[VIP_HOST.to_owned()].into()).map(|observed| observed.ingress)
    };
    let ip = |text: &str| Some(text.parse().expect("an address"));
    let ingress = |entries: Value| json!({"loadBalancer": {"ingress": entries}});
    assert_eq!(read(Value::Null), Some(vec![]));
    let all = json!([
        {"ip": "192.0.2.1"}, {"ip": "2001:db8::1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Proxy"},
        {"hostname": "a.example"}, {"ip": "192.0.2.3", "hostname": "a.example"}, {"ip": "no"}, 7,
    ]);
    let expected = vec![ip("192.0.2.1"), ip("2001:db8::1"), None, None, None, None, None];
    assert_eq!(read(ingress(all)), Some(expected));
    let ports = |entries: Value| {
        let mut object = service("a", "1");
        object["status"] = ingress(entries);
        let observed = observed::read(&object, &[].into()).expect("a LoadBalancer");
        observed.ports.map(|ports| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let with = |ports: Value| json!({"ip": "192.0.2.1", "ports": ports});
    let (web, dns) = (json!({"port": 80, "protocol": "TCP"}), json!({"port": 53, "protocol": "UDP"}));
    for (entries, expected) in [
        (json!([]), Some("")),
        (json!([{"ip": "192.0.2.1"}]), Some("")),
        (json!([with(json!([web, dns])), with(json!([dns, web]))]), Some("80/TCP 53/UDP")),
        (json!([with(json!([web])), with(json!([dns]))]), None),
        (json!([with(json!([web])), {"ip": "192.0.2.2"}]), None),
        (json!([with(json!([{"port": 80, "protocol": "TCP", "error": "no"}]))]), None),
        (json!([with(json!([{"port": 80, "protocol": "XYZ"}]))]), None),
        (json!([with(json!([{"port": 70_000, "protocol": "TCP"}]))]), None),
        (json!([with(json!("80"))]), None),
    ] {
        assert_eq!(ports(entries.clone()).as_deref(), expected, "{entries}");
    }
    assert_eq!(read(ingress(json!([with(json!([web]))]))), Some(vec![ip("192.0.2.1")]));
    let mut other = service("a", "1");
    other["spec"]["type"] = json!("ClusterIP");
    assert_eq!(observed::read(&other, &[VIP_HOST.to_owned()].into()), None);
    other["metadata"]["annotations"] = json!({VIP_HOST: "node-1", "another": "x"});
    let observed = observed::read(&other, &[VIP_HOST.to_owned()].into()).expect("what is left of us");
    assert_eq!(observed.annotations, [(VIP_HOST.to_owned(), "node-1".to_owned())].into());
}

#[test]
fn what_was_written_on_a_service_does_not_go_back_in_time() {
    let (services, name) = (ObservedServices::default(), "shop/a".parse().expect("a name"));
    let at = |version: &str, uid: &str| {
        let mut object = service("a", uid);
        object["metadata"]["resourceVersion"] = json!(version);
        observed::read(&object, &[].into())
    };
    services.note(&name, at("9", "1"));
    services.note(&name, at("10", "1"));
    services.note(&name, at("9", "1"));
    assert_eq!(services.get(&name), at("10", "1"));
    services.note(&name, at("3", "2"));
    assert_eq!(services.get(&name), at("3", "2"), "made anew");
    services.note(&name, None);
    assert_eq!(services.get(&name), None);
}

fn hub() -> (mpsc::Sender<Step>, watch::Receiver<Arc<Intent>>) {
    hub_that_knows(Arc::default())
}

fn hub_that_knows(known: Arc<Intent>) -> (mpsc::Sender<Step>, watch::Receiver<Arc<Intent>>) {
    let (steps, taken) = mpsc::channel(64);
    let (hub, (intent, ..)) = Hub::new(taken, EVERY, ObservedServices::default(), known);
    tokio::spawn(hub.run());
    (steps, intent)
}

#[tokio::test(start_paused = true)]
async fn a_hub_goes_on_from_what_another_knew() {
    let (steps, mut intent) = hub();
    steps.send(present(&[service("a", "1")])).await.expect("the hub");
    intent.changed().await.expect("the hub");
    let known = Arc::clone(&intent.borrow());
    let (steps, mut intent) = hub_that_knows(Arc::clone(&known));
    assert_eq!(*intent.borrow(), known);
    steps.send(present(&[service("b", "1")])).await.expect("the hub");
    intent.changed().await.expect("the hub");
    assert_eq!(intent.borrow().services.len(), 2);
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_change_of_a_quiet_time_is_told_at_once_and_those_of_a_storm_together() {
    let (steps, mut intent) = hub();
    let began = Instant::now();
    steps.send(present(&[service("a", "1")])).await.expect("the hub");
    intent.changed().await.expect("the hub");
    assert_eq!(began.elapsed(), Duration::ZERO);
    for round in 0..30 {
        steps.send(present(&[service(&format!("b-{round:02}"), "1")])).await.expect("the hub");
        settle().await;
        advance(Duration::from_millis(1)).await;
    }
    assert!(!intent.has_changed().expect("the hub"), "30 ms, and nobody is woken");
    intent.changed().await.expect("the hub");
    assert_eq!(began.elapsed(), EVERY);
    assert_eq!(intent.borrow_and_update().services.len(), 31);
    advance(EVERY * 3).await;
    let quiet = Instant::now();
    steps.send(present(&[service("c", "1")])).await.expect("the hub");
    intent.changed().await.expect("the hub");
    assert_eq!(quiet.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_value_changes_in_place_unless_somebody_holds_it() {
    let (steps, mut intent) = hub();
    let place = |intent: &watch::Receiver<Arc<Intent>>| Arc::as_ptr(&intent.borrow());
    let first = place(&intent);
    for name in ["a", "b"] {
        steps.send(present(&[service(name, "1")])).await.expect("the hub");
        intent.changed().await.expect("the hub");
        assert_eq!(place(&intent), first, "not copied");
        advance(EVERY).await;
    }
    let held = Arc::clone(&intent.borrow());
    for name in ["c", "d"] {
        steps.send(present(&[service(name, "1")])).await.expect("the hub");
    }
    intent.changed().await.expect("the hub");
    assert_eq!(
        (names(&held).concat(), names(&intent.borrow()).concat()),
        ("ab".to_owned(), "abcd".to_owned())
    );
    drop(held);
    let second = place(&intent);
    advance(EVERY).await;
    steps.send(Step::Gone(Kind::Service, key("a"))).await.expect("the hub");
    intent.changed().await.expect("the hub");
    assert_eq!((place(&intent), names(&intent.borrow()).concat()), (second, "bcd".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_value_for_a_moment_costs_no_copy() {
    let (steps, mut intent) = hub();
    let place = |intent: &watch::Receiver<Arc<Intent>>| Arc::as_ptr(&intent.borrow());
    let first = place(&intent);
    let held = Arc::clone(&intent.borrow());
    steps.send(present(&[service("a", "1")])).await.expect("the hub");
    advance(EVERY * 3).await;
    assert!(!intent.has_changed().expect("the hub"), "it is waited for");
    drop(held);
    intent.changed().await.expect("the hub");
    assert_eq!((place(&intent), names(&intent.borrow()).concat()), (first, "a".to_owned()));
}

proptest! {
    /// However steps are cut and whoever holds the value meanwhile, all come to the same.
    #[test]
    fn no_step_is_lost_and_their_order_is_kept(
        steps in prop::collection::vec((0_u8..6, 0_u8..4, any::<bool>()), 0..60),
        hold in prop::collection::vec(any::<bool>(), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let step = |(name, uid, there): (u8, u8, bool)| match there {
            true => present(&[service(&name.to_string(), &uid.to_string())]),
            false => Step::Gone(Kind::Service, key(&name.to_string())),
        };
        let (mut expected, mut aside) = (Intent::default(), Aside::default());
        for one in &steps {
            apply(&mut expected, &mut aside, step(*one));
        }
        let seen = runtime.expect("a runtime").block_on(async {
            let (sender, intent) = hub();
            let mut held = None;
            for (one, hold) in steps.iter().zip(hold) {
                sender.send(step(*one)).await.expect("the hub");
                settle().await;
                held = if hold { Some(Arc::clone(&intent.borrow())) } else { held.filter(|_| one.2) };
            }
            // Longer than a publication waits for whoever holds the last.
            tokio::time::sleep(EVERY * 100).await;
            drop(held);
            Intent::clone(&intent.borrow())
        });
        prop_assert_eq!(seen, expected);
    }
}
