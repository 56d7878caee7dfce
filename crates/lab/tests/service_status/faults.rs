//! What becomes of writes that are refused, slow or throttled: they wait, and nothing else does.

use super::*;

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
