//! The limiter, the queue, and the courier against a scripted API, in virtual time.

use std::cell::RefCell;
use std::rc::Rc;

use super::limiter::{Limiter, ONE_EACH, Passes, REMEMBERED, TEXTS};
use super::queue::WAITING;
use super::*;
use crate::answer::{ErrorClass, Trouble};

fn event(name: &str, reason: &'static str, note: &str) -> ServiceEvent {
    let service = format!("shop/{name}").parse().expect("a name");
    ServiceEvent { service, uid: "u".into(), kind: EventKind::Warning, reason, note: note.to_owned() }
}

#[test]
fn one_of_a_kind_passes_each_minute_and_counts_the_others() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    let mut at = |seconds, name, reason| {
        limiter.passes(start + Duration::from_secs(seconds), &event(name, reason, "x"))
    };
    assert_eq!(at(0, "a", "Refused"), Passes::Now { count: 1 });
    assert_eq!(at(1, "a", "Refused"), Passes::CountedInTheNext);
    assert_eq!(at(1, "a", "Held"), Passes::Now { count: 1 });
    assert_eq!(at(1, "b", "Refused"), Passes::Now { count: 1 });
    assert_eq!(at(59, "a", "Refused"), Passes::CountedInTheNext);
    assert_eq!(at(60, "a", "Refused"), Passes::Now { count: 3 });
    assert_eq!(at(61, "a", "Refused"), Passes::CountedInTheNext);
}

#[test]
fn other_words_pass_at_once_a_few_times_a_minute() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    let mut at =
        |seconds, note| limiter.passes(start + Duration::from_secs(seconds), &event("a", "Refused", note));
    assert_eq!(at(0, "no pool"), Passes::Now { count: 1 });
    assert_eq!(at(1, "no pool"), Passes::CountedInTheNext);
    assert_eq!(at(1, "the pool is full"), Passes::Now { count: 2 });
    assert_eq!(at(2, "the pool is full"), Passes::CountedInTheNext);
    for (told, note) in (2..TEXTS).zip(["c", "d", "e"]) {
        assert!(matches!(at(3, note), Passes::Now { .. }), "{told} were told");
    }
    assert_eq!(at(4, "f"), Passes::CountedInTheNext, "{TEXTS} were told");
    assert_eq!(at(5, "no pool"), Passes::CountedInTheNext);
    assert_eq!(at(59, "g"), Passes::CountedInTheNext);
    assert_eq!(at(60, "h"), Passes::Now { count: 4 });
    assert_eq!(at(61, "h"), Passes::CountedInTheNext, "not once more because a minute began");
}

#[test]
fn what_is_remembered_is_bounded_and_makes_room() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    for number in 0..REMEMBERED {
        let passes = limiter.passes(start, &event(&number.to_string(), "Refused", "x"));
        assert_eq!(passes, Passes::Now { count: 1 });
    }
    assert_eq!(limiter.passes(start, &event("more", "Refused", "x")), Passes::NoRoom);
    let later = start + ONE_EACH;
    assert_eq!(limiter.passes(later, &event("more", "Refused", "x")), Passes::Now { count: 1 });
    assert_eq!(limiter.remembered(), 1);
}

#[test]
fn an_event_names_its_service_and_fits() {
    let event = event("a", "Refused", &"x".repeat(2000));
    let wall = "2026-01-02T03:04:05Z";
    let (since, wall) = (Instant::now(), wall.to_owned());
    let object =
        object(&Happening { event, since, wall: wall.clone(), tag: 7, count: 3, attempts: 0 }, "node-1");
    assert_eq!(object["metadata"]["name"], "a.0000000000000007");
    assert_eq!(object["involvedObject"]["uid"], "u");
    assert_eq!((&object["type"], &object["count"]), (&json!("Warning"), &json!(3)));
    assert_eq!(object["message"].as_str().map(str::len), Some(LONGEST));
    assert_eq!((&object["firstTimestamp"], &object["lastTimestamp"]), (&json!(wall), &json!(wall)));
}

// === delivery ===

/// One request as it was posted.
#[derive(Clone, Debug, PartialEq)]
struct Posted {
    at: Duration,
    message: String,
    name: String,
    times: Value,
    /// The server that is asked after the others.
    last: Option<String>,
}

/// What the API says in turn, and then always yes.
#[derive(Clone)]
struct Script {
    answers: Rc<RefCell<Vec<Answer<Value>>>>,
    posted: Rc<RefCell<Vec<Posted>>>,
    origin: Instant,
}

impl Post for Script {
    async fn post(&self, ask: &Ask) -> (Answer<Value>, Option<String>) {
        let object: Value = serde_json::from_slice(&ask.body).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        self.posted.borrow_mut().push(Posted {
            at: self.origin.elapsed(),
            message: text(&object["message"]),
            name: text(&object["metadata"]["name"]),
            times: json!([object["firstTimestamp"], object["lastTimestamp"]]),
            last: ask.last.clone(),
        });
        let mut answers = self.answers.borrow_mut();
        let answer = if answers.is_empty() { Answer::Success(Value::Null) } else { answers.remove(0) };
        (answer, Some("server-1".to_owned()))
    }
}

/// Delivers while `story` tells, and then what is left. Gives what was posted, and the counts.
async fn run(answers: Vec<Answer<Value>>, story: impl AsyncFnOnce(&EventSink)) -> (Vec<Posted>, (u64, u64)) {
    let script =
        Script { answers: Rc::new(RefCell::new(answers)), posted: Rc::default(), origin: Instant::now() };
    let (sink, mut courier) = Courier::new("node-1", Rng::new(1));
    let counts = Arc::clone(&sink.counts);
    let told = async {
        story(&sink).await;
        drop(sink);
    };
    tokio::join!(courier.deliver_all(&script), told);
    let posted = script.posted.borrow().clone();
    (posted, (counts.sent.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed)))
}

fn tell(sink: &EventSink, notes: &[&str]) {
    notes.iter().for_each(|note| sink.tell(event(note, "Refused", note)));
}

fn times<T>(number: usize, make: impl Fn() -> T) -> Vec<T> {
    (0..number).map(|_| make()).collect()
}

fn trouble(class: ErrorClass) -> Trouble {
    Trouble::new(class, "trouble")
}

fn refused() -> Answer<Value> {
    Answer::Refused(trouble(ErrorClass::Connect))
}

fn lost() -> Answer<Value> {
    Answer::Unknown(trouble(ErrorClass::Timeout))
}

fn messages(posted: &[Posted]) -> Vec<&str> {
    posted.iter().map(|posted| posted.message.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_delivered_is_sent_again_and_what_never_can_is_dropped() {
    let rejected = || Answer::Forbidden(trouble(ErrorClass::Rejected));
    let forbidden = || Answer::Forbidden(trouble(ErrorClass::Forbidden));
    let server_error = || Answer::Unknown(trouble(ErrorClass::ServerError));
    let busy = || Answer::Throttled(None);
    for (answers, posts, sent) in [
        (vec![], 1, 1),
        (times(3, refused), 4, 1),
        (times(3, lost), 4, 1),
        (times(3, server_error), 4, 1),
        (times(3, busy), 4, 1),
        (vec![lost(), Answer::Conflict], 2, 1),
        (vec![Answer::Conflict], 1, 0),
        (vec![rejected()], 1, 0),
        (vec![forbidden()], 1, 0),
        (vec![refused(), forbidden()], 2, 0),
        (vec![Answer::Absent], 1, 0),
        (vec![Answer::Gone], 1, 0),
    ] {
        let what = format!("{answers:?}");
        let (posted, counts) = run(answers, async |sink| tell(sink, &["a"])).await;
        assert_eq!((posted.len(), counts), (posts, (sent, 1 - sent)), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_changes_neither_order_nor_name_nor_times() {
    let (posted, counts) = run(times(6, refused), async |sink| {
        tell(sink, &["a", "b"]);
        sleep(Duration::from_secs(1)).await;
        tell(sink, &["c"]);
    })
    .await;
    assert_eq!(counts, (3, 0));
    assert_eq!(messages(&posted), ["a", "a", "a", "a", "a", "a", "a", "b", "c"]);
    assert!(posted[..7].iter().all(|one| one.name == posted[0].name && one.times == posted[0].times));
    assert_ne!(posted[0].name, posted[7].name);
}

/// The wall clock does not know virtual time: the times of the object are those that were noted with the Event.
#[tokio::test(start_paused = true)]
async fn the_times_are_those_of_the_happening() {
    let then = "2026-01-02T03:04:05Z";
    let (posted, _) = run(times(4, refused), async |sink| {
        let taken = lock(&sink.queue).take(Instant::now(), then.to_owned(), event("a", "Refused", "a"));
        assert_eq!(taken, Taken::Waits);
        sink.bell.try_send(()).expect("nobody has rung");
    })
    .await;
    assert_eq!(posted.last().map(|posted| &posted.times), Some(&json!([then, then])));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_ever_rarer_and_end_after_some_minutes() {
    let (posted, counts) = run(times(10_000, refused), async |sink| tell(sink, &["a"])).await;
    assert_eq!(counts, (0, 1));
    let last = posted.last().expect("some").at;
    assert!(last < KEPT && last + BACKOFF_CAP >= KEPT, "{last:?}");
    let waits: Vec<_> = posted.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits.iter().all(|wait| *wait <= BACKOFF_CAP + Duration::from_millis(1)), "{waits:?}");
    // Full jitter: half the cap on average.
    assert!((40..150).contains(&posted.len()), "{} attempts", posted.len());
    let first = &waits[..2];
    assert!(first.iter().all(|wait| *wait <= BACKOFF_BASE * 2 + Duration::from_millis(1)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_after_an_outage_does_not_wait() {
    let (posted, _) = run(times(12, refused), async |sink| tell(sink, &["a", "b"])).await;
    let [.., a, b] = &posted[..] else { unreachable!("14 were posted") };
    assert_eq!((a.message.as_str(), b.message.as_str(), b.at), ("a", "b", a.at));
    let mut answers = times(12, refused);
    answers.extend([Answer::Success(Value::Null), refused()]);
    let (posted, _) = run(answers, async |sink| tell(sink, &["a", "b"])).await;
    let again = posted[14].at - posted[13].at;
    assert!(again <= BACKOFF_BASE + Duration::from_millis(1), "it backs off anew: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let busy = vec![Answer::Throttled(Some(Duration::from_secs(20)))];
    let (posted, counts) = run(busy, async |sink| tell(sink, &["a"])).await;
    assert_eq!((posted.len(), counts), (2, (1, 0)));
    assert!(posted[1].at >= Duration::from_secs(20), "{posted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gave_no_good_end_is_asked_last() {
    let (posted, _) = run(vec![refused(), lost()], async |sink| tell(sink, &["a", "b"])).await;
    let last: Vec<_> = posted.iter().map(|posted| posted.last.as_deref()).collect();
    assert_eq!(last, [None, None, Some("server-1"), None]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_what_had_no_room_may_be_told_again() {
    let names: Vec<String> = (0..WAITING + 10).map(|number| format!("x-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (posted, counts) = run(times(2, refused), async |sink| {
        tell(sink, &names);
        assert_eq!(sink.dropped(), 10);
        sleep(Duration::from_secs(20)).await;
        tell(sink, &names[WAITING..]);
    })
    .await;
    assert_eq!(counts, (WAITING as u64 + 10, 10));
    assert_eq!(messages(&posted[2..]), names);
}

/// Told again and again in an outage, it does not take the room of others.
#[tokio::test(start_paused = true)]
async fn what_is_repeated_in_an_outage_takes_one_place() {
    let (posted, counts) = run(times(3, refused), async |sink| {
        (0..WAITING * 2).for_each(|_| tell(sink, &["a"]));
        tell(sink, &["b"]);
    })
    .await;
    assert_eq!(counts, (2, 0));
    assert_eq!(messages(&posted), ["a", "a", "a", "a", "b"]);
}
