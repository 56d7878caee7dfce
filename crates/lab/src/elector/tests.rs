//! client-go's rules by table, and against a recording of the real one.

use std::path::Path;

use mainstay_core::rng::Rng;
use serde_json::Value;

use super::chronicle::check_order;
use super::rules::{First, Record, Rules, Then, Timing};
use super::*;

const TIMING: Timing = Timing::seconds(15, 10, 2);
const NOW: &str = "2026-01-02T03:04:05.000000Z";

fn at(seconds: u64) -> Moment {
    Moment::from_millis(1_000_000 + seconds * 1_000)
}

fn record(holder: &str, duration_seconds: u64, renewed: &str, transitions: u64) -> Record {
    let acquire_time = format!("{holder} acquired");
    Record {
        holder: holder.to_owned(),
        duration_seconds,
        acquire_time,
        renew_time: renewed.to_owned(),
        transitions,
    }
}

fn rules() -> Rules {
    Rules::new("n1", TIMING, at(0))
}

/// What n1 writes when it takes what was counted this far.
fn taken(transitions: u64) -> Record {
    let now = NOW.to_owned();
    Record {
        holder: "n1".to_owned(),
        duration_seconds: 15,
        acquire_time: now.clone(),
        renew_time: now,
        transitions,
    }
}

#[test]
fn what_was_read_and_for_how_long_decides_what_is_written() {
    let held = Then::Held("n2".to_owned());
    for (what, found, again_after, expected) in [
        ("there is none", None, 0, Then::Create(taken(0))),
        (
            "another's, new to us, however old its times",
            Some(record("n2", 15, "long ago", 3)),
            0,
            held.clone(),
        ),
        ("unchanged for less than its duration", Some(record("n2", 15, "a", 3)), 14, held.clone()),
        ("unchanged for its duration", Some(record("n2", 15, "a", 3)), 15, Then::Update(taken(4))),
        ("its duration counts, not ours", Some(record("n2", 5, "a", 3)), 5, Then::Update(taken(4))),
        ("its duration counts, not ours, if it is longer", Some(record("n2", 60, "a", 3)), 59, held),
        ("released", Some(record("", 1, "a", 3)), 0, Then::Update(taken(4))),
        (
            "our own name, by an earlier run: kept as it was acquired, and not counted",
            Some(record("n1", 15, "a", 3)),
            0,
            Then::Update(Record { acquire_time: "n1 acquired".to_owned(), transitions: 3, ..taken(0) }),
        ),
    ] {
        let mut rules = rules();
        let first = rules.then(at(0), NOW, found.clone());
        let last = if again_after == 0 { first } else { rules.then(at(again_after), NOW, found) };
        assert_eq!(last, expected, "{what}");
    }
}

#[test]
fn a_renewal_that_is_read_counts_from_when_it_is_read() {
    let mut rules = rules();
    rules.then(at(0), NOW, Some(record("n2", 15, "a", 3)));
    rules.then(at(10), NOW, Some(record("n2", 15, "b", 3)));
    assert_eq!(rules.then(at(24), NOW, Some(record("n2", 15, "b", 3))), Then::Held("n2".to_owned()));
    assert_eq!(rules.then(at(25), NOW, Some(record("n2", 15, "b", 3))), Then::Update(taken(4)));
}

#[test]
fn a_leader_renews_without_reading_while_its_lease_is_valid() {
    let mut rules = rules();
    assert_eq!(rules.first(at(0), NOW), First::Read, "no leader");
    rules.observe(at(0), Record { acquire_time: "before".to_owned(), ..taken(7) });
    let renewal = Record { acquire_time: "before".to_owned(), ..taken(7) };
    assert_eq!(rules.first(at(14), NOW), First::Update(renewal));
    assert_eq!(rules.first(at(15), NOW), First::Read, "it may have been taken");
    assert_eq!(rules.then(at(16), NOW, Some(record("n2", 15, "a", 8))), Then::Held("n2".to_owned()));
    assert_eq!((rules.is_leader(), rules.release(NOW)), (false, None), "nothing to give up");
}

#[test]
fn a_release_names_nobody_for_a_second_and_counts_nothing() {
    let mut rules = rules();
    rules.observe(at(0), taken(7));
    let released = Record { holder: String::new(), duration_seconds: 1, ..taken(7) };
    assert_eq!(rules.release(NOW), Some(released));
}

#[test]
fn acquisitions_are_spread_over_1_to_2_2_retry_periods() {
    let (rules, mut rng) = (rules(), Rng::new(1));
    let pauses: Vec<_> = (0..1_000).map(|_| rules.pause(&mut rng).as_millis()).collect();
    let (least, most) = (pauses.iter().min(), pauses.iter().max());
    assert!((Some(&2_000)..Some(&2_100)).contains(&least), "{least:?}");
    assert!((Some(&4_300)..=Some(&4_400)).contains(&most), "{most:?}");
}

#[test]
fn timings_that_client_go_refuses_are_refused() {
    for (timing, sound) in [
        (Timing::seconds(15, 10, 2), true),
        (Timing::seconds(5, 3, 1), true),
        (Timing::seconds(10, 10, 2), false),
        (Timing::seconds(15, 6, 5), false),
        (Timing::seconds(15, 10, 0), false),
    ] {
        assert_eq!(timing.check().is_ok(), sound, "{timing:?}");
    }
}

#[test]
fn a_chronicle_refuses_what_no_elector_writes() {
    let seconds = Duration::from_secs;
    let (n2, n1) = (record("n2", 15, "a", 3), taken(4));
    let released = Record { holder: String::new(), duration_seconds: 1, ..taken(3) };
    for (what, before, after, unchanged, sound) in [
        ("taken when it expired", &n2, &n1, 15, true),
        ("taken before", &n2, &n1, 14, false),
        ("taken when released", &released, &n1, 0, true),
        ("not counted", &released, &taken(3), 0, false),
        ("counted twice", &released, &taken(5), 0, false),
        ("released", &record("n1", 15, "a", 3), &released, 0, true),
        ("a release that counts", &record("n1", 15, "a", 2), &released, 0, false),
        ("renewed", &n2, &record("n2", 15, "b", 3), 1, true),
        ("renewed and counted", &n2, &record("n2", 15, "b", 4), 1, false),
        ("annotations alone, on what was just taken", &taken(4), &taken(4), 0, true),
        ("another run under the name", &record("n1", 15, "a", 3), &taken(4), 0, true),
        ("another run that is not counted", &record("n1", 15, "a", 3), &taken(3), 0, false),
        ("acquired by a renewal", &n2, &Record { acquire_time: "z".to_owned(), ..n2.clone() }, 1, false),
    ] {
        assert_eq!(check_order(before, after, seconds(unchanged)).is_ok(), sound, "{what}");
    }
}

/// kube-controller-manager 1.20.2 and an agent contended for this Lease (`examples/record_contention.rs`). These rules
/// write what the real elector wrote when it did, and leave alone what it left alone.
#[test]
fn the_recorded_elector_is_predicted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/contention.jsonl");
    let text = std::fs::read_to_string(path).expect("it is committed");
    let seen: Vec<(Moment, Record)> = text.lines().map(revision).collect();
    let (mut taken, mut renewed, mut left_alone) = (0, 0, 0);
    let mut since = seen[0].0;
    for pair in seen.windows(2) {
        let [(_, before), (now, after)] = pair else { unreachable!("windows of two") };
        let name = if is_electors(after) { after.holder.as_str() } else { "controller_that_follows" };
        let mut rules = Rules::new(name, Timing::seconds(5, 3, 1), since);
        let first = rules.then(since, NOW, Some(before.clone()));
        if is_electors(after) && before.holder == after.holder {
            rules.observe(since, before.clone());
            assert_eq!(rules.first(*now, &after.renew_time), First::Update(after.clone()));
            renewed += 1;
        } else if is_electors(after) {
            assert_eq!(matches!(first, Then::Held(_)), !before.holder.is_empty(), "{before:?}");
            let then = rules.then(*now, &after.renew_time, Some(before.clone()));
            assert_eq!(then, Then::Update(after.clone()), "{before:?}");
            taken += 1;
        } else if before.holder == after.holder {
            let then = rules.then(*now, &after.renew_time, Some(before.clone()));
            assert_eq!(then, Then::Held(before.holder.clone()));
            left_alone += 1;
        }
        since = if before == after { since } else { *now };
    }
    assert!(taken >= 2 && renewed >= 10 && left_alone >= 20, "{taken} {renewed} {left_alone}");
}

fn revision(line: &str) -> (Moment, Record) {
    let line: Value = serde_json::from_str(line).expect("JSON");
    (Moment::from_millis(line["at_ms"].as_u64().expect("a time")), Record::of(&line["object"]))
}

fn is_electors(record: &Record) -> bool {
    record.holder.starts_with("controller_")
}
