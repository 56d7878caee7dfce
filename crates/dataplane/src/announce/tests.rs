//! The schedule by table, and its bounds by property.

use std::net::IpAddr;

use mainstay_core::names::NodeName;
use mainstay_core::vip::Tenure;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;

fn mark(epoch: u32) -> Mark {
    Mark { tenure: Tenure::Confirmed, epoch, node: NodeName::new("n1").id() }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn v6() -> IpAddr {
    "fd00::9".parse().expect("an address")
}

fn claim() -> ClaimId {
    ClaimId::control_plane()
}

fn ms(milliseconds: u64) -> Moment {
    Moment::from_millis(milliseconds)
}

/// Runs the pacer by its own deadlines until `end`; what was sent, and when (milliseconds).
fn run(pacer: &mut Pacer, end: Moment) -> Vec<(u64, Announcement)> {
    let mut sent = Vec::new();
    while let Some(at) = pacer.next_deadline().filter(|at| *at <= end) {
        let due = pacer.due(at);
        assert!(!due.is_empty(), "a deadline with nothing to say");
        sent.extend(due.into_iter().map(|one| (at.as_nanos() / 1_000_000, one)));
    }
    sent
}

#[test]
fn a_take_over_is_a_burst_of_both_forms_and_then_steady() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 1);
    pacer.set(ms(1_000), &claim(), &[v4(9)], mark(4), Pace::Burst);
    let sent = run(&mut pacer, ms(1_000 + 20 * SECOND));
    let burst: Vec<_> = sent.iter().take(12).map(|(at, one)| (at - 1_000, one.form)).collect();
    let expected: Vec<_> = [0, 50, 150, 500, 850, 1_200]
        .into_iter()
        .flat_map(|at| [(at, Form::Request), (at, Form::Reply)])
        .collect();
    assert_eq!(burst, expected);
    let steady: Vec<_> = sent[11..].iter().map(|(at, _)| *at).collect();
    assert!(steady.len() >= 6);
    for pair in steady.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((2_700..=3_300).contains(&gap), "a gap of {gap} ms");
    }
    let forms: Vec<_> = sent[12..].iter().map(|(_, one)| one.form).collect();
    assert!(forms.windows(2).all(|pair| pair[0] != pair[1]), "the steady one alternates: {forms:?}");
    assert!(sent.iter().all(|(_, one)| one.mark == mark(4)));
}

#[test]
fn an_ipv6_address_has_one_form() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 1);
    pacer.set(ms(0), &claim(), &[v6()], mark(1), Pace::Burst);
    let sent = run(&mut pacer, ms(2_000));
    assert_eq!(sent.len(), BURST.len());
    assert!(sent.iter().all(|(_, one)| one.form == Form::Reply));
}

#[test]
fn steady_changes_the_mark_and_nothing_else() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 7);
    pacer.set(ms(0), &claim(), &[v4(9)], mark(1), Pace::Burst);
    let mut twin = pacer.clone();
    run(&mut pacer, ms(100));
    run(&mut twin, ms(100));
    pacer.set(ms(120), &claim(), &[v4(9)], mark(2), Pace::Steady);
    let strip =
        |sent: Vec<(u64, Announcement)>| sent.into_iter().map(|(at, one)| (at, one.form)).collect::<Vec<_>>();
    let sent = run(&mut pacer, ms(10_000));
    assert!(sent.iter().all(|(_, one)| one.mark == mark(2)));
    assert_eq!(strip(sent), strip(run(&mut twin, ms(10_000))));
}

#[test]
fn steady_starts_at_once_what_was_not_announced() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 7);
    pacer.set(ms(500), &claim(), &[v4(9)], mark(1), Pace::Steady);
    assert_eq!(pacer.next_deadline(), Some(ms(500)));
    assert_eq!(pacer.due(ms(500)).len(), 1);
}

#[test]
fn a_defence_is_now_and_after_1100_ms_and_leaves_the_schedule_alone() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 3);
    pacer.set(ms(0), &claim(), &[v4(9)], mark(1), Pace::Burst);
    let first_steady = {
        run(&mut pacer, ms(1_300));
        pacer.next_deadline().expect("it goes on")
    };
    pacer.set(ms(1_400), &claim(), &[v4(9)], mark(1), Pace::Defend);
    let times: Vec<_> = run(&mut pacer, first_steady).into_iter().map(|(at, one)| (at, one.form)).collect();
    assert_eq!(
        times[..4],
        [(1_400, Form::Request), (1_400, Form::Reply), (2_500, Form::Request), (2_500, Form::Reply)]
    );
    assert_eq!(times[4].0, first_steady.as_nanos() / 1_000_000);
}

#[test]
fn a_storm_of_defences_is_bounded_and_still_ends_in_the_last_word() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 3);
    pacer.set(ms(0), &claim(), &[v4(9)], mark(1), Pace::Steady);
    let mut sent = run(&mut pacer, ms(10));
    for at in 10..2_000 {
        pacer.set(ms(at), &claim(), &[v4(9)], mark(1), Pace::Defend);
        sent.extend(run(&mut pacer, ms(at)));
    }
    let moments = sent.iter().map(|(at, _)| *at).collect::<std::collections::BTreeSet<_>>().len();
    assert!((38..=42).contains(&moments), "{moments} moments in 2 s");
    let rest = run(&mut pacer, ms(5_000));
    assert!(rest.iter().any(|(at, _)| *at == 1_999 + 1_100), "{rest:?}");
}

#[test]
fn a_jump_in_time_is_no_backlog() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 3);
    pacer.set(ms(0), &claim(), &[v4(8), v4(9)], mark(1), Pace::Burst);
    pacer.set(ms(0), &claim(), &[v4(8), v4(9)], mark(1), Pace::Defend);
    assert_eq!(pacer.due(ms(3_600 * SECOND)).len(), 4, "both forms of two addresses, once");
    let next = pacer.next_deadline().expect("it goes on");
    assert!(next >= ms(3_600 * SECOND + 2_700), "{next:?}");
}

#[test]
fn silence_and_a_smaller_set_end_announcements() {
    let mut pacer = Pacer::new(Duration::from_secs(3), 3);
    pacer.set(ms(0), &claim(), &[v4(8), v4(9)], mark(1), Pace::Steady);
    pacer.set(ms(0), &claim(), &[v4(9)], mark(1), Pace::Steady);
    assert!(pacer.due(ms(0)).iter().all(|one| one.vip == v4(9)));
    pacer.silence(&claim());
    assert_eq!(pacer.next_deadline(), None);
    assert!(pacer.due(ms(60 * SECOND)).is_empty());
}

fn any_pace() -> impl Strategy<Value = Pace> {
    prop_oneof![Just(Pace::Burst), Just(Pace::Steady), Just(Pace::Defend)]
}

proptest! {
    /// Whatever is asked, an announced address is never silent for longer than 1.1 intervals, nor sent more than
    /// burst, defence and schedule together allow; and the deadline always names a moment that has something to say.
    #[test]
    fn announcements_never_pause_and_never_flood(
        seed in any::<u64>(),
        asks in proptest::collection::vec((0_u64..4_000, any_pace()), 1..40),
    ) {
        let interval = Duration::from_secs(3);
        let mut pacer = Pacer::new(interval, seed);
        let mut now = ms(0);
        pacer.set(now, &claim(), &[v4(9)], mark(1), Pace::Steady);
        let mut sent: Vec<u64> = Vec::new();
        let mut asked = 1_usize;
        for (wait, pace) in asks {
            now = now + Duration::from_millis(wait);
            sent.extend(run(&mut pacer, now).into_iter().map(|(at, _)| at));
            pacer.set(now, &claim(), &[v4(9)], mark(1), pace);
            asked += 1;
        }
        sent.extend(run(&mut pacer, now + interval * 2).into_iter().map(|(at, _)| at));
        prop_assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= 3_300), "{:?}", sent);
        let steady = usize::try_from(now.since(Moment::ZERO).as_millis() / 2_700).unwrap_or(0) + 4;
        prop_assert!(sent.len() <= 2 * (asked * BURST.len() + steady), "{} sent", sent.len());
    }

    /// What the pacer keeps to find the next address quickly is what its schedules say.
    #[test]
    fn the_agenda_says_what_the_schedules_say(
        seed in any::<u64>(),
        steps in proptest::collection::vec((0_u64..4_000, 0_u8..5, 0_u8..64, any_pace()), 1..60),
    ) {
        let mut pacer = Pacer::new(Duration::from_secs(3), seed);
        let mut now = ms(0);
        for (wait, what, which, pace) in steps {
            now = now + Duration::from_millis(wait);
            let vips: Vec<IpAddr> = (0..6).filter(|bit| which & (1 << bit) != 0).map(v4).collect();
            match what {
                0 => pacer.set(now, &claim(), &vips, mark(1), pace),
                1 => pacer.burst(now, &claim(), &vips),
                2 => pacer.drop_one(&claim(), v4(which % 6)),
                3 if which == 0 => pacer.silence(&claim()),
                _ => drop(pacer.due(now)),
            }
            for claim in pacer.claims.values() {
                let kept: Vec<_> = claim.agenda.iter().copied().collect();
                let mut right: Vec<_> = claim.schedules.iter().map(|(vip, one)| (one.deadline(), *vip)).collect();
                right.sort_unstable();
                prop_assert_eq!(kept, right);
            }
        }
    }
}
