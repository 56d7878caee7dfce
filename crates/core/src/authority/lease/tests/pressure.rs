//! However a server fails, it is never pressed, and never given up.

use super::*;

#[test]
fn a_holder_out_of_reach_asks_at_least_every_third_of_a_lease_for_ever() {
    for outcome in [
        LeaseOutcome::Unreachable,
        LeaseOutcome::Forbidden,
        LeaseOutcome::Unknown,
        LeaseOutcome::Throttled { retry_after: Some(Duration::from_secs(3600)) },
    ] {
        let mut bench = Bench::new();
        bench.granted();
        for _ in 0..200 {
            let before = bench.now;
            bench.request(&stay());
            assert!(bench.now.since(before) <= TIMING.duration / 3, "{outcome:?}");
            bench.conclude(outcome.clone());
        }
        assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 0 }, "nothing was withdrawn");
        assert!(!bench.machine.is_fresh(bench.now), "detached");
    }
}

#[test]
fn a_server_that_drops_annotations_is_not_pressed() {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 0);
    bench.turn(&stay());
    let (begin, writes) = (bench.now, bench.store.writes);
    while bench.now.since(begin) < Duration::from_secs(600) {
        bench.turn(&stay());
        bench.store.object.as_mut().expect("written").annotations.clear();
        let record = bench.store.object.clone().expect("written");
        bench.machine.observe(bench.now, record, Source::Read(bench.now));
    }
    assert!(bench.store.writes - writes < 20, "{} writes in ten minutes", bench.store.writes - writes);
}

#[test]
fn a_server_that_refuses_at_once_is_not_pressed_however_short_the_lease() {
    let mut bench = Bench::new();
    let [duration, renew_deadline, retry_period] = [3, 2, 1].map(Duration::from_secs);
    let timing = LeaseTiming { duration, renew_deadline, retry_period };
    bench.machine = LeaseMachine::new(NodeName::new("n1"), InstanceId(1), timing, 0, bench.now);
    let end = bench.now + Duration::from_secs(10);
    let mut requests = 0;
    while bench.now < end && requests < 1_000 {
        bench.request(&stay());
        bench.conclude(LeaseOutcome::Unreachable);
        requests += 1;
    }
    assert!(requests < 100, "{requests} requests in 10 s");
}

/// Requests in ten seconds of an endless campaign against a server that answers every write with `answer`.
fn campaign_against(answer: impl Fn(&mut Store, &LeaseRequest) -> LeaseOutcome) -> u32 {
    let mut bench = Bench::new();
    let end = bench.now + Duration::from_secs(10);
    let mut requests = 0;
    while bench.now < end && requests < 1_000 {
        let request = bench.request(&wants(Campaign::Take, GrantWish::Keep));
        let outcome = answer(&mut bench.store, &request);
        bench.conclude(outcome);
        bench.pass(Duration::from_millis(1));
        requests += 1;
    }
    requests
}

#[test]
fn a_namespace_that_does_not_exist_is_not_asked_without_end() {
    let requests = campaign_against(|_, _| LeaseOutcome::Absent);
    assert!((5..60).contains(&requests), "{requests} requests in 10 s");
}

#[test]
fn conflicts_without_end_are_not_answered_without_end() {
    let requests = campaign_against(|store, request| match request {
        LeaseRequest::Read => store.serve(request),
        _ => LeaseOutcome::Conflict,
    });
    assert!((5..60).contains(&requests), "{requests} requests in 10 s");
}

#[test]
fn a_server_that_strips_our_annotations_is_not_asked_without_end() {
    let requests = campaign_against(|store, request| {
        let outcome = store.serve(request);
        let Some(object) = &mut store.object else { return outcome };
        object.annotations.clear();
        LeaseOutcome::Record(object.clone())
    });
    assert!((5..60).contains(&requests), "{requests} requests in 10 s");
}

#[test]
fn a_holder_whose_members_are_dropped_does_not_write_more_for_it() {
    let mut bench = Bench::new();
    bench.granted();
    let (begin, writes) = (bench.now, bench.store.writes);
    while bench.now.since(begin) < Duration::from_secs(600) {
        bench.turn(&stay());
        bench.store.object.as_mut().expect("written").annotations.remove(annotations::MEMBERS);
        let record = bench.store.object.clone().expect("written");
        bench.machine.observe(bench.now, record, Source::Read(bench.now));
    }
    let promised = 600 / TIMING.retry_period.as_secs();
    assert!(u64::from(bench.store.writes - writes) < promised + 20, "{} writes", bench.store.writes - writes);
}
