//! What is recorded is replayed the same; what is not a recording says where and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::input::{AddressChange, EffectId, Frame, Health, LeaseOutcome, LeaseReport, Link, Outcome, Seat};
use crate::names::{ClaimId, InstanceId, Mac, NodeName};
use crate::settings::{Authority, Detection, LeaseTiming, OnAuthorityLoss};
use crate::snapshot::{ClaimMemory, Member};
use crate::vip::{Mark, Tenure, Vip};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));

fn start(seed: u64) -> Start {
    let settings = Settings {
        node: NodeName::new("n1"),
        instance: InstanceId(u64::MAX),
        boot_id: "boot".to_owned(),
        claim: ClaimId::control_plane(),
        vips: vec![VIP],
        own: Member { macs: vec![Mac([2; 6])], addresses: vec![IpAddr::from([10, 0, 0, 1])] },
        witnesses: vec![],
        lease: LeaseTiming::default(),
        authority: Authority::Lease,
        detection: Detection::default(),
        on_authority_loss: OnAuthorityLoss::Hold,
        lifetime: Duration::from_secs(15),
        restart_grace: Duration::from_secs(600),
        report_failures: false,
    };
    let found = Found { link_up: true, ..Found::default() };
    Start { settings, found, now: Moment::from_nanos((1 << 60) + 1), seed }
}

fn input() -> impl Strategy<Value = Input> {
    let outcome = prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::Failed("no".to_owned())),
        Just(Outcome::Lease(LeaseOutcome::Absent)),
        Just(Outcome::Lease(LeaseOutcome::Conflict)),
        Just(Outcome::Lease(LeaseOutcome::Unreachable)),
    ];
    let mark = (any::<bool>(), 0..9_u32).prop_map(|(confirmed, epoch)| Mark {
        tenure: if confirmed { Tenure::Confirmed } else { Tenure::Provisional },
        epoch,
        node: NodeName::new("n2").id(),
    });
    prop_oneof![
        Just(Input::Tick),
        any::<bool>().prop_map(|up| Input::Link(if up { Link::Up } else { Link::Down })),
        Just(Input::Health(Health::Unhealthy)),
        proptest::collection::vec(0..4_u8, 0..3).prop_map(|hosts| Input::Vips(
            hosts.into_iter().map(|host| [10, 0, 0, 98 + host].into()).collect()
        )),
        proptest::collection::vec(0..4_u8, 0..3).prop_map(|hosts| Input::Services(
            hosts.into_iter().map(|host| [10, 1, 0, host].into()).collect()
        )),
        (0..3_u8, proptest::collection::btree_set((0..4_u8).prop_map(|host| [10, 2, 0, host].into()), 0..3))
            .prop_map(|(homes, services)| Input::Seats(seats(homes, &services))),
        Just(Input::SeatLease { seat: ClaimId::seat(&NodeName::new("n1")), report: LeaseReport::Absent }),
        Just(Input::Lease(LeaseReport::Absent)),
        Just(Input::Lease(LeaseReport::WatchLost)),
        any::<bool>().prop_map(|expired| Input::Address(AddressChange::Removed { vip: VIP, expired })),
        Just(Input::Address(AddressChange::Appeared { vip: VIP })),
        Just(Input::Address(AddressChange::Refused { vip: VIP })),
        Just(Input::Address(AddressChange::Accepted { vip: VIP })),
        (0..40_u64, outcome).prop_map(|(id, outcome)| Input::Outcome { id: EffectId(id), outcome }),
        proptest::option::of(mark).prop_map(|mark| Input::Frame(Frame {
            heard_at: Moment::from_millis(5),
            mac: Mac([4; 6]),
            sender: Some(VIP),
            target: VIP,
            mark,
        })),
    ]
}

/// So many seats, the first of which has these addresses.
fn seats(homes: u8, services: &BTreeSet<Vip>) -> BTreeMap<ClaimId, Seat> {
    let seat = |home: u8| {
        let there = if home == 0 { services.clone() } else { BTreeSet::new() };
        let (memory, found) = (Some(ClaimMemory::default()), BTreeSet::new());
        let beacon = [169, 254, 200, home].into();
        (
            ClaimId::seat(&NodeName::new(&format!("n{home}"))),
            Seat { beacon, services: Some(there), memory, found },
        )
    };
    (0..homes).map(seat).collect()
}

/// Runs a core and records it.
fn record(start: Start, inputs: Vec<(u64, Input)>) -> Recording {
    let (mut node, mut now, mut turns) = (start.node(), start.now, Vec::new());
    for (wait, input) in inputs {
        now = now + Duration::from_millis(wait);
        let output = node.handle(now, &input);
        turns.push(Turn::new(now, input, output));
    }
    Recording { version: "1.2.3".to_owned(), start, turns, end: Some("the agent ended".to_owned()) }
}

fn small() -> Recording {
    let inputs = [Input::Tick, Input::Lease(LeaseReport::Absent), Input::Tick];
    record(start(7), inputs.map(|input| (3_000, input)).into())
}

fn refused(text: &str) -> String {
    Recording::read(text, Extent::Whole).expect_err("it cannot be replayed").to_string()
}

#[test]
fn a_difference_is_shown_where_it_is_and_nothing_after_it() {
    let mut recording = small();
    assert!(recording.turns[0].effects.len() > 1, "{recording:?}");
    assert!(recording.replay().all(|replayed| !replayed.differs && replayed.difference().is_empty()));
    let taken = recording.turns[1].effects.pop();
    recording.turns[1].events.clear();
    let replayed: Vec<_> = recording.replay().collect();
    let last = replayed.last().expect("a turn");
    assert_eq!((replayed.len(), last.line, last.differs), (2, 3, true));
    let difference = last.difference();
    assert!(taken.is_none() || difference.contains("recorded: none"), "{difference}");
    assert!(difference.contains("replayed: {"), "{difference}");
}

#[test]
fn what_cannot_be_replayed_is_named_with_line_and_remedy() {
    let text = small().write();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 5);
    assert!(refused("").starts_with("line 1: this does not begin as a recording does; give a file"));
    assert!(refused("{\"kind\":\"Lease\"}\n").contains("line 1"));
    let other = text.replacen("\"format\":1", "\"format\":9", 1);
    assert!(
        refused(&other).contains("format 9, and this program reads format 1; replay it with Mainstay 1.2.3")
    );
    let cut = refused(&lines[..3].concat());
    assert!(cut.contains("line 3: the recording breaks off") && cut.contains("--partial"), "{cut}");
    let torn = refused(&text[..text.len() - 5]);
    assert!(torn.contains("line 5: the recording breaks off"), "{torn}");
    let damaged = refused(&text.replacen("\"at\"", "\"ta\"", 1));
    assert!(damaged.contains("line 2: missing field `at`; the file was changed"), "{damaged}");
    assert!(refused(&(text.clone() + lines[1])).contains("line 6: the recording ended before"));
    assert!(refused(&text.replacen(lines[2], lines[0], 1)).contains("line 3: a recording begins inside"));
}

/// Found by the fuzz target `recording`: an overflow in the core, when such a file was replayed.
#[test]
fn settings_that_no_agent_accepts_are_refused() {
    let mut without = start(1);
    without.settings.vips.clear();
    let mut long = start(1);
    long.settings.detection.interval = Duration::MAX;
    for (start, what) in [(without, "a claim without an address"), (long, "a time of years")] {
        let text = Line::first("0.1.0", start).encode();
        let error = Recording::read(&text, Extent::UpToDamage).unwrap_err().to_string();
        assert_eq!(error, format!("line 1: no agent begins with {what}; the file was changed or damaged"));
    }
}

/// Found by the fuzz target `recording`: messages go to a terminal.
#[test]
fn a_message_repeats_nothing_that_a_terminal_would_obey() {
    let other =
        format!("{{\"recording\":{{\"format\":2,\"version\":\"9\\u001b[2J{}\"}}}}\n", "9".repeat(9_999));
    let unknown = Line::first("0.1.0", start(1)).encode() + "{\"\\u001b[2J\":1}\n";
    for text in [other, unknown] {
        let message = Recording::read(&text, Extent::Whole).unwrap_err().to_string();
        assert!(!message.contains(char::is_control) && message.contains("?[2J"), "{message:?}");
        assert!(message.len() < 500, "{message}");
    }
}

proptest! {
    /// The same inputs at the same moments: the same effects and events, through the file and back.
    #[test]
    fn a_recording_replays_the_same(seed in any::<u64>(), inputs in proptest::collection::vec((0..4_000_u64, input()), 0..60)) {
        let recording = record(start(seed), inputs);
        let read = Recording::read(&recording.write(), Extent::Whole).expect("it was written whole");
        prop_assert_eq!(&read, &recording);
        prop_assert_eq!(read.replay().count(), recording.turns.len());
        prop_assert!(read.replay().all(|replayed| !replayed.differs));
    }

    /// Wherever it was cut, what is before the cut can be replayed, and the whole is refused.
    #[test]
    fn a_cut_recording_is_refused_and_replays_up_to_the_cut(cut in 0..100_usize) {
        let recording = small();
        let text = recording.write();
        let cut = text.len() * cut / 100;
        prop_assert!(Recording::read(&text[..cut], Extent::Whole).is_err());
        if let Ok(part) = Recording::read(&text[..cut], Extent::UpToDamage) {
            prop_assert!(recording.turns.starts_with(&part.turns));
            prop_assert!(part.replay().all(|replayed| !replayed.differs));
        }
    }

    /// Neither panics nor hangs, whatever the bytes.
    #[test]
    fn any_text_is_read_to_a_word(text in ".{0,200}") {
        let _ = Recording::read(&text, Extent::Whole);
        let _ = Recording::read(&(small().write() + &text), Extent::UpToDamage);
    }
}
