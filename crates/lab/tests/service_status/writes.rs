//! What is written, how often, and what is left alone.

use super::*;

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
