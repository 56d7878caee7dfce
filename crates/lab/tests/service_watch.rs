//! Services, endpoints, nodes and pools followed at the embedded API server, over HTTPS, with the rights of an agent: three
//! front ends on one store, and every fault.

mod services;

use std::time::{Duration, Instant};

use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::EffectId;
use mainstay_core::intent::{Flaw, Intent};
use mainstay_kube::{ErrorClass, LeaseCall, Pools, WatchPhase, WatchState, Watched};
use mainstay_lab::apiserver::{
    CONFIG_MAP, ENDPOINT_SLICE, Fault, NODE, Part, SERVICE, StoreOptions, Target, Verb,
};
use serde_json::json;
use services::{Bench, config_map, intent_names, node, service, slice};

fn state(bench: &Bench, watched: Watched) -> WatchState {
    bench.feed.watches.borrow()[&watched].clone()
}

/// A bench that has seen two Services, their endpoints and a node.
async fn begun(name: &str) -> Bench {
    let bench = Bench::new(name, StoreOptions::default());
    bench.put(NODE, "", node("node-1"));
    for name in ["a", "b"] {
        bench.put(SERVICE, "shop", service(name));
        bench.put(ENDPOINT_SLICE, "shop", slice(name));
    }
    let bench = bench.follow();
    bench.until("all was listed", |intent| intent.complete().is_ok()).await;
    bench.until_watching().await;
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_watch_of_each_kind_says_what_changes_and_nothing_is_polled() {
    let mut bench = begun("steady").await;
    assert_eq!(intent_names(&bench.intent()), ["shop/a", "shop/b"]);
    let before = bench.asked();
    bench.put(SERVICE, "shop", service("c"));
    bench.put(ENDPOINT_SLICE, "shop", slice("c"));
    bench.put(NODE, "", node("node-2"));
    bench.until("the new Service", |intent| intent.services.len() == 3).await;
    bench.until("its endpoints", |intent| intent.slices.len() == 3).await;
    bench.until("the new node", |intent| intent.nodes.len() == 2).await;
    bench.delete(SERVICE, "shop", "a");
    bench.until("the Service is gone", |intent| intent_names(intent) == ["shop/b", "shop/c"]).await;
    assert_eq!(bench.asked(), before, "nothing is asked for what a watch tells");
    // What does not change what is asked of us is no news: a node that says that it lives, a label of a Service.
    bench.feed.intent.borrow_and_update();
    let mut beat = (*bench.cluster.store().get(&Target::new(NODE, "", "node-1")).unwrap()).clone();
    beat["metadata"]["annotations"] = json!({"heartbeat": "2"});
    let revision = bench.cluster.store().update(&Target::new(NODE, "", "node-1"), beat, Part::Main).unwrap();
    let heard = revision.object["metadata"]["resourceVersion"].clone();
    bench.until_state(Watched::Nodes, |state| state.events >= 2).await;
    assert!(!bench.feed.intent.has_changed().unwrap(), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pools_are_unknown_absent_or_what_they_say() {
    let bench = Bench::new("pools", StoreOptions::default());
    assert_eq!(*bench.feed.pools.borrow(), Pools::Unknown);
    bench.fronts[0].inject(Fault::Deny { verb: None, resource: Some("configmaps".to_owned()) });
    bench.fronts[1].inject(Fault::Deny { verb: None, resource: Some("configmaps".to_owned()) });
    bench.fronts[2].inject(Fault::Deny { verb: None, resource: Some("configmaps".to_owned()) });
    let bench = bench.follow();
    let refused = |state: &WatchState| {
        state.last_error.as_ref().is_some_and(|trouble| trouble.class == ErrorClass::Forbidden)
    };
    bench.until_state(Watched::Pools, refused).await;
    assert_eq!(*bench.feed.pools.borrow(), Pools::Unknown, "what may not be read is not known");
    bench.heal();
    bench.until_pools(|pools| *pools == Pools::Absent).await;
    bench.put(CONFIG_MAP, "kube-system", config_map("kubevip", "192.0.2.0/28"));
    bench.put(CONFIG_MAP, "kube-system", config_map("another", "192.0.2.16/28"));
    let says = |range: &'static str| move |pools: &Pools| matches!(pools, Pools::Present(data) if data["range-global"] == range);
    bench.until_pools(says("192.0.2.0/28")).await;
    bench.deny("configmaps");
    bench.drop_watches();
    bench.until_state(Watched::Pools, refused).await;
    assert!(says("192.0.2.0/28")(&bench.feed.pools.borrow()), "the last that was known stays");
    bench.heal();
    bench.until_state(Watched::Pools, |state| state.phase == WatchPhase::Watching).await;
    bench.delete(CONFIG_MAP, "kube-system", "kubevip");
    bench.until_pools(|pools| *pools == Pools::Absent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_all_servers_takes_nothing_away_and_heals() {
    let bench = begun("faults").await;
    let status = |code, retry_after| Fault::Status { code, rate: 1.0, retry_after };
    for (round, fault) in [
        Fault::Refuse,
        Fault::Hang,
        Fault::Blackhole,
        status(500, None),
        status(503, Some(Duration::from_secs(1))),
        status(429, Some(Duration::from_secs(1))),
        status(401, None),
        Fault::Deny { verb: None, resource: None },
        Fault::Slow(Duration::from_millis(300)),
    ]
    .into_iter()
    .enumerate()
    {
        let known = bench.intent();
        bench.fronts.iter().for_each(|front| front.inject(fault.clone()));
        bench.drop_watches();
        if !matches!(fault, Fault::Slow(_)) {
            bench.until_state(Watched::Services, |state| state.failures_in_a_row > 0).await;
        }
        assert_eq!(known, bench.intent(), "{fault:?}");
        drop(known);
        let name = format!("round-{round}");
        bench.put(SERVICE, "shop", service(&name));
        bench.heal();
        bench.until(&name, |intent| intent_names(intent).contains(&format!("shop/{name}"))).await;
    }
    for watched in Watched::ALL {
        bench.until_state(watched, |state| state.phase == WatchPhase::Watching).await;
        assert_eq!(state(&bench, watched).failures_in_a_row, 0);
    }
    // An outage is no reason to read all of it again, unless it outlasts the belief in the version.
    let lists = bench.count(Verb::List, "services");
    let read = state(&bench, Watched::Services).lists;
    assert!(read <= 9, "{read} whole lists, {lists} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_server_that_is_watched_moves_the_watch() {
    let bench = begun("one").await;
    for (round, fault) in [
        Fault::Refuse,
        Fault::Hang,
        Fault::Blackhole,
        Fault::Status { code: 500, rate: 1.0, retry_after: None },
        Fault::Deny { verb: None, resource: Some("services".to_owned()) },
    ]
    .into_iter()
    .enumerate()
    {
        let at = state(&bench, Watched::Services).server.unwrap();
        let sick = bench.fronts.iter().find(|front| front.url() == at).unwrap();
        sick.inject(fault.clone());
        sick.drop_watches();
        let name = format!("round-{round}");
        bench.put(SERVICE, "shop", service(&name));
        bench.until(&name, |intent| intent_names(intent).contains(&format!("shop/{name}"))).await;
        assert_ne!(state(&bench, Watched::Services).server, Some(at), "{fault:?}");
        sick.heal();
    }
    assert_eq!(state(&bench, Watched::Services).lists, 1, "two servers answered all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_fell_silent_goes_on_elsewhere_without_a_list() {
    let bench = begun("silent").await;
    assert_eq!(state(&bench, Watched::Services).server, Some(bench.fronts[0].url()), "the local one");
    bench.fronts[0].inject(Fault::Hang);
    bench.put(SERVICE, "shop", service("c"));
    bench.until("the new Service", |intent| intent.services.len() == 3).await;
    assert_ne!(state(&bench, Watched::Services).server, Some(bench.fronts[0].url()));
    assert_eq!(state(&bench, Watched::Services).lists, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_lease_finds_out_about_a_server_moves_the_watch() {
    let mut bench = Bench::new("overtaken", StoreOptions::default());
    bench.following.timing.silence = Duration::from_secs(3600);
    let mut bench = bench.follow();
    bench.until_watching().await;
    assert_eq!(state(&bench, Watched::Services).server, Some(bench.fronts[0].url()), "the local one");
    bench.fronts[0].inject(Fault::Hang);
    bench.put(SERVICE, "shop", service("a"));
    let call = LeaseCall { id: EffectId(1), request: LeaseRequest::Read, deadline: Duration::from_secs(1) };
    let _heard = bench.call(call).await;
    bench.until("the Service", |intent| intent.services.len() == 1).await;
    assert_eq!(state(&bench, Watched::Services).lists, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_cut_goes_on_without_a_list() {
    let bench = begun("cut").await;
    for round in 0..5 {
        bench.drop_watches();
        let name = format!("round-{round}");
        bench.put(SERVICE, "shop", service(&name));
        bench.until(&name, |intent| intent_names(intent).contains(&format!("shop/{name}"))).await;
    }
    assert_eq!(state(&bench, Watched::Services).lists, 1);
    // One page each, and a second look at the ConfigMap, of which there is none.
    assert_eq!(bench.count(Verb::List, "services"), 1);
    assert_eq!(bench.count(Verb::List, "configmaps"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_too_old_costs_one_list() {
    let bench = begun("gone").await;
    for round in 0..3 {
        let lists = state(&bench, Watched::Services).lists;
        bench.deny("services");
        bench.drop_watches();
        bench.until_state(Watched::Services, |state| state.failures_in_a_row > 0).await;
        bench.delete(SERVICE, "shop", if round == 0 { "a" } else { "gone" });
        bench.put(SERVICE, "shop", service("gone"));
        bench.cluster.store().compact();
        bench.heal();
        bench.until_state(Watched::Services, |state| state.lists == lists + 1).await;
        bench.until("the list's state", |intent| intent_names(intent) == ["shop/b", "shop/gone"]).await;
        bench.until_state(Watched::Services, |state| state.phase == WatchPhase::Watching).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_empty_all_of_a_sudden_is_read_twice() {
    let bench = begun("empty").await;
    bench.deny("services");
    bench.drop_watches();
    bench.until_state(Watched::Services, |state| state.failures_in_a_row > 0).await;
    bench.delete(SERVICE, "shop", "a");
    bench.delete(SERVICE, "shop", "b");
    bench.cluster.store().compact();
    let lists = bench.count(Verb::List, "services");
    bench.heal();
    bench.until("both are gone", |intent| intent.services.is_empty()).await;
    assert!(bench.count(Verb::List, "services") >= lists + 2);
    assert_eq!(bench.feed.problems.borrow().iter().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_makes_no_sense_leaves_what_was_known_and_is_told() {
    let bench = begun("senseless").await;
    let mut odd = service("a");
    odd["metadata"]["annotations"] = json!({"kube-vip.io/loadbalancerIPs": "192.0.2.300"});
    let before = bench.intent();
    bench.update(SERVICE, "shop", "a", |object| {
        object["metadata"]["annotations"] = odd["metadata"]["annotations"].clone()
    });
    bench.until_problems(|problems| problems.len() == 1).await;
    let told: Vec<String> = bench.feed.problems.borrow().iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("Service shop/a: kube-vip.io/loadbalancerIPs=\"192.0.2.300\""), "{told:?}");
    assert_eq!(before, bench.intent());
    bench.update(SERVICE, "shop", "a", |object| object["metadata"]["annotations"] = json!({}));
    bench.until_problems(|problems| problems.is_empty()).await;
    let told: Vec<Flaw> = bench.feed.problems.borrow().iter().map(|problem| problem.flaw.clone()).collect();
    assert_eq!(told, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_namespace_is_followed_if_one_is_set() {
    let mut bench = Bench::new("narrow", StoreOptions::default());
    bench.following.namespace = Some("shop".to_owned());
    bench.put(SERVICE, "shop", service("a"));
    bench.put(SERVICE, "default", service("b"));
    bench.put(ENDPOINT_SLICE, "shop", slice("a"));
    bench.put(ENDPOINT_SLICE, "default", slice("b"));
    let bench = bench.follow();
    bench.until("all was listed", |intent| intent.complete().is_ok()).await;
    assert_eq!(intent_names(&bench.intent()), ["shop/a"]);
    assert_eq!(bench.intent().slices.len(), 1);
    let asked = bench.cluster.store().account().asked();
    let agents =
        asked.iter().filter(|asked| asked.user.ends_with(":mainstay") && asked.resource == "services");
    assert!(agents.clone().all(|asked| asked.namespace == "shop") && agents.count() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_read_in_pages_and_a_half_read_list_takes_nothing_away() {
    let bench = begun("pages").await;
    for number in 0..1_200 {
        bench.put(SERVICE, "shop", service(&format!("many-{number:04}")));
    }
    bench.until("all of them", |intent| intent.services.len() == 1_202).await;
    bench.deny("services");
    bench.drop_watches();
    bench.until_state(Watched::Services, |state| state.failures_in_a_row > 0).await;
    bench.delete(SERVICE, "shop", "many-0000");
    bench.cluster.store().compact();
    // Each server answers one page and then refuses: no list is read to its end.
    let lists = bench.count(Verb::List, "services");
    let read = state(&bench, Watched::Services).lists;
    bench.heal();
    bench.fronts.iter().for_each(|front| {
        front.inject(Fault::Status { code: 500, rate: 0.5, retry_after: None });
    });
    bench.until_state(Watched::Services, |state| state.lists == read + 1).await;
    bench.heal();
    bench.until("what is gone is gone", |intent| intent.services.len() == 1_201).await;
    let pages = bench.count(Verb::List, "services") - lists;
    assert!(pages >= 3, "{pages} requests for three pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_told_a_few_times_and_whoever_holds_the_value_keeps_it() {
    let mut bench = begun("storm").await;
    let held = bench.intent();
    let copy = Intent::clone(&held);
    bench.feed.intent.borrow_and_update();
    let (began, mut told) = (Instant::now(), 0_u32);
    for number in 0..500 {
        bench.put(SERVICE, "shop", service(&format!("many-{number:04}")));
    }
    while bench.feed.intent.borrow().services.len() < 502 {
        tokio::time::timeout(services::PATIENCE, bench.feed.intent.changed()).await.unwrap().unwrap();
        told += 1;
    }
    let windows = u32::try_from(began.elapsed().as_millis() / 50).unwrap() + 2;
    assert!(told <= windows, "told {told} times in {windows} windows");
    assert_eq!(*held, copy, "a value that is held does not change");
}

/// What an operator has to grant is what is asked for, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_what_the_manifest_grants() {
    let bench = begun("rights").await;
    bench.drop_watches();
    bench.put(SERVICE, "shop", service("c"));
    bench.until("the new Service", |intent| intent.services.len() == 3).await;
    let asked = bench.cluster.store().account().asked();
    let agent = asked.iter().filter(|asked| asked.user.ends_with(":mainstay"));
    let refused: Vec<_> = agent.clone().filter(|asked| !asked.allowed).collect();
    assert_eq!(refused, Vec::<&mainstay_lab::apiserver::Asked>::new());
    for (resource, verb) in ["services", "endpointslices", "nodes", "configmaps"]
        .into_iter()
        .flat_map(|one| [(one, "list"), (one, "watch")])
    {
        assert!(
            agent.clone().any(|asked| asked.resource == resource && asked.verb == verb),
            "{verb} {resource}"
        );
    }
}
