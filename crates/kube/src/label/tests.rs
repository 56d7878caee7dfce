//! The keeper against a scripted API, in virtual time.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// What the API says in turn, and then always yes.
#[derive(Default)]
struct Script {
    answers: RefCell<Vec<Answer<()>>>,
    /// How long each write takes.
    takes: Duration,
    /// Whether any server answers.
    up: watch::Sender<bool>,
    written: Rc<RefCell<Vec<(u64, bool)>>>,
    origin: Option<Instant>,
}

impl Api for Script {
    async fn answering(&self) {
        drop(self.up.subscribe().wait_for(|up| *up).await);
    }

    async fn write(&self, present: bool) -> Answer<()> {
        let seconds = self.origin.expect("it runs").elapsed().as_secs();
        self.written.borrow_mut().push((seconds, present));
        tokio::time::sleep(self.takes).await;
        let mut answers = self.answers.borrow_mut();
        if answers.is_empty() { Answer::Success(()) } else { answers.remove(0) }
    }
}

fn script(answers: Vec<Answer<()>>) -> Script {
    let script = Script { answers: answers.into(), origin: Some(Instant::now()), ..Script::default() };
    script.up.send_replace(true);
    script
}

fn label() -> NodeLabel {
    NodeLabel::has_ip("n1", IpAddr::from([10, 0, 0, 100]))
}

fn forbidden() -> Answer<()> {
    Answer::Forbidden(Trouble::new(ErrorClass::Forbidden, "HTTP 403 Forbidden"))
}

fn timeout() -> Answer<()> {
    Answer::unknown(ErrorClass::Timeout, "no answer within 10000 ms")
}

fn seconds(seconds: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_secs(seconds))
}

/// Runs the keeper while `story` says what is wanted; at its end nobody does. Gives what was written when, in seconds,
/// and how it stood at the end.
async fn run(
    script: &Script,
    story: impl AsyncFnOnce(&watch::Sender<Option<bool>>, &watch::Receiver<LabelStatus>),
) -> (Vec<(u64, bool)>, LabelStatus) {
    let (say, mut wanted) = watch::channel(None);
    let (seen, status) = watch::channel(LabelStatus::default());
    let told = async {
        story(&say, &status).await;
        drop(say);
    };
    let label = label();
    tokio::join!(keep(script, &label, &mut wanted, &seen), told);
    let last = status.borrow().clone();
    (script.written.borrow().clone(), last)
}

#[test]
fn the_value_is_kube_vips() {
    for (address, value) in [
        ("10.0.0.100", "kube-vip.io/has-ip=10.0.0.100"),
        ("fd00::1:64", "kube-vip.io/has-ip=fd000000000000000000000000010064"),
    ] {
        assert_eq!(NodeLabel::has_ip("n1", address.parse().unwrap()).to_string(), value);
    }
    let removal = label().ask(false);
    assert_eq!(removal.body, r#"{"metadata":{"labels":{"kube-vip.io/has-ip":null}}}"#);
    assert!(removal.path.starts_with("/api/v1/nodes/n1?"), "{}", removal.path);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_until_it_is_known_what_is_wanted() {
    let (written, status) = run(&script(vec![]), async |_, _| seconds(600).await).await;
    assert_eq!((written, status), (vec![], LabelStatus::default()));
}

/// The first word is written also when it is *no*: an earlier run may have left a label.
#[tokio::test(start_paused = true)]
async fn each_change_is_written_once() {
    let (written, status) = run(&script(vec![]), async |say, _| {
        for wanted in [false, false, true, true, false] {
            say.send_replace(Some(wanted));
            seconds(300).await;
        }
    })
    .await;
    assert_eq!(written, [(0, false), (600, true), (1200, false)]);
    assert_eq!((status.written, status.writes, status.last_error), (Some(false), 3, None));
}

#[tokio::test(start_paused = true)]
async fn while_a_write_is_slow_only_the_newest_state_counts() {
    let slow = Script { takes: Duration::from_secs(8), ..script(vec![]) };
    let (written, status) = run(&slow, async |say, _| {
        for wanted in [true, false, true, false] {
            say.send_replace(Some(wanted));
            seconds(1).await;
        }
        seconds(60).await;
    })
    .await;
    assert_eq!(written, [(0, true), (8, false)], "one at a time, and of three changes one");
    assert_eq!(status.written, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_asked_again_ever_more_rarely_and_comes_right_when_it_ends() {
    let script = script((0..20).map(|_| forbidden()).collect());
    let (written, status) = run(&script, async |say, status| {
        say.send_replace(Some(true));
        seconds(5).await;
        let refused = status.borrow().clone();
        assert_eq!((refused.written, refused.wanted), (None, Some(true)));
        assert_eq!(refused.last_error.map(|trouble| trouble.class), Some(ErrorClass::Forbidden));
        seconds(900).await;
    })
    .await;
    assert_eq!(written.len(), 21, "20 times refused: {written:?}");
    // Full jitter: each wait is at most the cap, and 21 attempts take longer than without any backoff.
    let waits = written.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(waits.clone().all(|wait| wait <= 30) && waits.sum::<u64>() > 60, "{written:?}");
    assert_eq!((status.written, status.failures_in_a_row), (Some(true), 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let script = script(vec![Answer::Throttled(Some(Duration::from_secs(20)))]);
    let (written, _) = run(&script, async |say, _| {
        say.send_replace(Some(true));
        seconds(60).await;
    })
    .await;
    assert!(written.len() == 2 && written[1].0 >= 20, "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_nothing_is_sent_and_after_it_the_newest_state_is() {
    let script = script(vec![]);
    script.up.send_replace(false);
    let (written, _) = run(&script, async |say, _| {
        for wanted in [false, true, false, true] {
            say.send_replace(Some(wanted));
            seconds(100).await;
        }
        script.up.send_replace(true);
        seconds(1).await;
    })
    .await;
    assert_eq!(written, [(400, true)]);
}

/// A request that was given up may still be done, after the next one: so that one is said again.
#[tokio::test(start_paused = true)]
async fn what_a_lost_request_may_undo_is_written_again() {
    let slow = Script { takes: Duration::from_secs(10), ..script(vec![timeout()]) };
    let (written, _) = run(&slow, async |say, _| {
        say.send_replace(Some(true));
        seconds(1).await;
        say.send_replace(Some(false));
        seconds(300).await;
    })
    .await;
    let wanted: Vec<_> = written.iter().map(|(_, wanted)| *wanted).collect();
    assert_eq!(wanted, [true, false, false], "{written:?}");
    assert_eq!(written[2].0, 70, "a minute after it was given up: {written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_that_asked_for_the_same_needs_no_more_than_a_repetition() {
    let (written, _) = run(&script(vec![timeout(), timeout()]), async |say, _| {
        say.send_replace(Some(true));
        seconds(300).await;
    })
    .await;
    assert_eq!(written.len(), 3, "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_tried_once_and_not_while_nobody_answers() {
    let refusing = script((0..9).map(|_| forbidden()).collect());
    let (written, _) = run(&refusing, async |say, _| {
        say.send_replace(Some(true));
        seconds(1).await;
        say.send_replace(Some(false));
    })
    .await;
    assert_eq!(written.last(), Some(&(1, false)), "at once, whatever the backoff: {written:?}");

    let silent = script(vec![]);
    let (written, _) = run(&silent, async |say, _| {
        say.send_replace(Some(true));
        seconds(1).await;
        silent.up.send_replace(false);
        say.send_replace(Some(false));
    })
    .await;
    assert_eq!(written, [(0, true)]);
    assert_eq!(silent.origin.expect("it ran").elapsed().as_secs(), 1, "and nothing is waited for");
}
