//! Events about Services; and the rights that all of this takes.

use super::*;

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
    assert_eq!(desk.events.dropped(), 0, "there is room for what a node that dies may have");
    desk.publish("a", "192.0.2.10");
    desk.until_says("a", "192.0.2.10").await;
    desk.bench.heal();
    desk.until_sent(3 + 400).await;
    assert_eq!(desk.told().len(), 3 + 400, "each of them once");
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
    desk.until_sent(1).await;
    let asked = desk.bench.cluster.store().account().asked();
    let agent: Vec<_> = asked.iter().filter(|asked| asked.user.ends_with(":mainstay")).collect();
    assert!(agent.iter().all(|asked| asked.allowed), "{agent:#?}");
    let mut written: Vec<String> = agent
        .iter()
        .filter(|asked| asked.verb != "list" && asked.verb != "watch")
        .map(|asked| format!("{} {}", asked.verb, asked.resource))
        .collect();
    written.retain(|one| !one.contains("leases"));
    written.sort();
    written.dedup();
    assert_eq!(written, ["create events", "patch services", "patch services/status"]);
}
