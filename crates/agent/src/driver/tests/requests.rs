//! What is asked of Leases: passed on, and answered once.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_passed_on_was_not_made() {
    let (driver, held) = driver(vec![vec![read(1), read(2)]], vec![], Wire::default());
    let answer = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.inputs.send(lease(1, LeaseOutcome::Absent)).await.unwrap();
        shut_down_at(&held, at(5_000)).await;
    };
    tokio::join!(driver.run(), answer);
    let expected =
        [Input::Tick, lease(2, LeaseOutcome::Unreachable), lease(1, LeaseOutcome::Absent), Input::Shutdown];
    assert_eq!(held.record.inputs(), expected, "the queue of this test has one place");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_dies_with_its_adapter_is_unknown_and_a_late_answer_is_no_second_one() {
    let (driver, mut held) = driver(vec![vec![read(1)]], vec![], Wire::default());
    let late = async {
        assert_eq!(held.calls.recv().await.unwrap().id, EffectId(1));
        tokio::time::sleep(at(3_000).since(clock())).await;
        let seen = held.record.0.borrow().clone();
        assert_eq!(seen.last().unwrap().1, lease(1, LeaseOutcome::Unknown));
        assert!((at(1_500)..=at(1_510)).contains(&held.record.last_at()), "{:?}", held.record.last_at());
        held.inputs.send(lease(1, LeaseOutcome::Absent)).await.unwrap();
        held.inputs.send(Input::Lease(LeaseReport::Absent)).await.unwrap();
        shut_down_at(&held, at(4_000)).await;
    };
    tokio::join!(driver.run(), late);
    let rest = &held.record.inputs()[1..];
    assert_eq!(rest, [lease(1, LeaseOutcome::Unknown), Input::Lease(LeaseReport::Absent), Input::Shutdown]);
}

/// A core that broke off had asked; the one after it counts its requests from one again.
#[tokio::test(start_paused = true)]
async fn what_a_loop_before_had_asked_is_answered_to_nobody() {
    let (mut first, mut held) = driver(vec![vec![read(1)]], vec![], Wire::default());
    first.handle(&Input::Tick);
    let asked = held.calls.recv().await.expect("asked").id;
    first.edges.begin_anew();
    let again = Script::new(Record::default(), vec![vec![read(1)]], vec![]);
    let record = again.record.clone();
    let mut second = Driver::new((again, Wire::default()), clock, first.edges, true);
    second.handle(&Input::Tick);
    let asked_again = held.calls.recv().await.expect("asked").id;
    assert_ne!(asked, asked_again);
    let absent = |id| Input::Outcome { id, outcome: Outcome::Lease(LeaseOutcome::Absent) };
    for id in [asked, asked_again] {
        held.inputs.send(absent(id)).await.expect("the loop is there");
    }
    let (ending, ()) = tokio::join!(second.run(), shut_down_at(&held, at(50)));
    assert_eq!(ending, Ending::Stopped);
    let answered: Vec<Input> =
        record.inputs().into_iter().filter(|input| matches!(input, Input::Outcome { .. })).collect();
    assert_eq!(answered, [absent(EffectId(1))], "its own, and by its own name for it");
}

/// All at one moment, with nobody there to take them yet; more than any cluster has nodes.
#[test]
fn every_seat_may_ask_at_one_moment() {
    let (sender, mut taken) = mpsc::channel(SEAT_CALL_QUEUE);
    let mut calls = Calls::new(None).with_seats(sender);
    for number in 0..5_000 {
        let seat = ClaimId::seat(&NodeName::new(&format!("n{number}")));
        let (request, deadline) = (LeaseRequest::Read, Duration::from_secs(3));
        let refused = calls.place(at(0), &seat, LeaseCall { id: EffectId(number), request, deadline });
        assert_eq!(refused, None, "it is not told that no API server is in reach");
    }
    for number in 0..5_000 {
        assert_eq!(
            taken.try_recv().expect("it is passed on").0.home(),
            Some(NodeName::new(&format!("n{number}")))
        );
    }
}
