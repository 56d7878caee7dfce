//! Order is proven by what the pacer says.

use std::net::IpAddr;

use mainstay_core::names::NodeName;
use mainstay_core::vip::Tenure;

use super::*;

fn vip(last: u8) -> Vip {
    IpAddr::from([10, 0, 0, last])
}

fn mark() -> Mark {
    Mark { tenure: Tenure::Confirmed, epoch: 1, node: NodeName::new("n1").id() }
}

fn claim() -> ClaimId {
    ClaimId::control_plane()
}

fn ms(milliseconds: u64) -> Moment {
    Moment::from_millis(milliseconds)
}

fn books() -> Books {
    Books::new(Pacer::new(Duration::from_secs(3), 1))
}

#[test]
fn nothing_is_announced_before_it_is_there() {
    let mut books = books();
    books.announce(ms(0), &claim(), (&[vip(8), vip(9)], mark()), Pace::Burst);
    books.announce(ms(1), &claim(), (&[vip(8), vip(9)], mark()), Pace::Steady);
    assert!(books.pacer.due(ms(2)).is_empty());
    books.assigned(ms(4), &[vip(8), vip(9)], ms(15_000));
    assert_eq!(books.pacer.due(ms(4)).len(), 4, "both forms of both, and the burst was not forgotten");
    assert_eq!(books.pacer.next_deadline(), Some(ms(54)));
}

#[test]
fn one_that_is_missing_does_not_keep_the_others_silent() {
    let mut books = books();
    books.announce(ms(0), &claim(), (&[vip(8), vip(9)], mark()), Pace::Burst);
    books.assigned(ms(2), &[vip(8)], ms(15_000));
    let due = books.pacer.due(ms(2));
    assert_eq!(due.iter().map(|one| one.vip).collect::<Vec<_>>(), [vip(8); 2], "both forms of the one");
    // Refreshes and a new mark leave the schedule of the one alone while the other is refused.
    books.pacer.due(ms(2_000));
    let next = books.pacer.next_deadline();
    books.assigned(ms(2_100), &[vip(8)], ms(17_000));
    books.announce(ms(2_200), &claim(), (&[vip(8), vip(9)], mark()), Pace::Steady);
    assert_eq!(books.pacer.next_deadline(), next);
    books.assigned(ms(2_300), &[vip(9)], ms(17_000));
    let late = books.pacer.due(ms(2_300)).iter().filter(|one| one.vip == vip(9)).count();
    assert_eq!(late, 2, "its take-over is announced when it comes");
}

#[test]
fn a_refresh_leaves_the_schedule_alone() {
    let mut books = books();
    books.assigned(ms(0), &[vip(9)], ms(15_000));
    books.announce(ms(0), &claim(), (&[vip(9)], mark()), Pace::Steady);
    assert_eq!(books.pacer.due(ms(0)).len(), 1);
    let next = books.pacer.next_deadline();
    books.assigned(ms(500), &[vip(9)], ms(15_500));
    assert_eq!(books.pacer.next_deadline(), next);
}

#[test]
fn what_goes_is_silent_until_it_is_back() {
    let mut books = books();
    books.assigned(ms(0), &[vip(8), vip(9)], ms(15_000));
    books.announce(ms(0), &claim(), (&[vip(8), vip(9)], mark()), Pace::Steady);
    books.pacer.due(ms(0));
    assert_eq!(books.removed(ms(10), vip(9), Some(false)), Some(false));
    assert_eq!(books.removed(ms(10), vip(9), Some(false)), None, "told once");
    assert!(books.pacer.due(ms(4_000)).iter().all(|one| one.vip == vip(8)));
    books.assigned(ms(4_010), &[vip(9)], ms(15_000));
    assert!(books.pacer.due(ms(4_010)).iter().any(|one| one.vip == vip(9)), "at once");
}

#[test]
fn expiry_is_told_from_removal() {
    let mut books = books();
    books.assigned(ms(0), &[vip(7), vip(8), vip(9)], ms(15_000));
    assert_eq!(books.removed(ms(1), vip(7), Some(true)), Some(true), "the kernel's word counts");
    let kept =
        Present { ip: vip(9), prefix: 32, owner: Owner::Ours, remaining: Some(Duration::from_secs(9)) };
    assert_eq!(books.compare(ms(6_000), &[kept]), [(vip(8), false)]);
    assert_eq!(books.compare(ms(15_001), &[]), [(vip(9), true)]);
}

#[test]
fn a_withdrawal_is_no_removal() {
    let mut books = books();
    books.assigned(ms(0), &[vip(9)], ms(15_000));
    books.announce(ms(0), &claim(), (&[vip(9)], mark()), Pace::Steady);
    books.withdrawing(&[vip(9)]);
    assert_eq!(books.removed(ms(2), vip(9), Some(false)), None);
    assert!(books.compare(ms(3), &[]).is_empty());
    assert!(books.pacer.due(ms(4_000)).is_empty(), "and not announced any more");
    books.silence(&claim());
    assert_eq!(books.pacer.next_deadline(), None);
}

#[test]
fn one_that_comes_a_moment_later_has_its_burst_alone() {
    let mut books = books();
    books.announce(ms(0), &claim(), (&[vip(8), vip(9)], mark()), Pace::Burst);
    books.assigned(ms(2), &[vip(8)], ms(15_000));
    books.pacer.due(ms(2));
    books.assigned(ms(4), &[vip(9)], ms(15_000));
    let due = books.pacer.due(ms(4));
    assert_eq!(due.iter().map(|one| one.vip).collect::<Vec<_>>(), [vip(9); 2], "the first goes on as it is");
    let due = books.pacer.due(ms(52));
    assert_eq!(due.iter().map(|one| one.vip).collect::<Vec<_>>(), [vip(8); 2]);
    let due = books.pacer.due(ms(54));
    assert_eq!(due.iter().map(|one| one.vip).collect::<Vec<_>>(), [vip(9); 2], "a burst, too");
}

/// The claim's names mean another address: that is a take-over of it, and nothing to the others.
#[test]
fn an_address_new_to_the_claim_begins_with_a_burst_of_its_own() {
    for there_before in [false, true] {
        let mut books = books();
        books.assigned(ms(0), &[vip(8)], ms(15_000));
        books.announce(ms(0), &claim(), (&[vip(8)], mark()), Pace::Burst);
        books.pacer.due(ms(0));
        while let Some(at) = books.pacer.next_deadline().filter(|at| *at < ms(4_000)) {
            books.pacer.due(at);
        }
        let next = books.pacer.next_deadline();
        if there_before {
            books.assigned(ms(4_000), &[vip(8), vip(9)], ms(19_000));
            books.announce(ms(4_000), &claim(), (&[vip(9), vip(8)], mark()), Pace::Steady);
        } else {
            books.announce(ms(4_000), &claim(), (&[vip(9), vip(8)], mark()), Pace::Steady);
            assert_eq!(books.pacer.next_deadline(), next, "it is not there yet");
            books.assigned(ms(4_000), &[vip(8), vip(9)], ms(19_000));
        }
        for at in [4_000, 4_050, 4_150, 4_500, 4_850, 5_200] {
            let due = books.pacer.due(ms(at));
            assert_eq!(due.iter().filter(|one| one.vip == vip(9)).count(), 2, "both forms at {at} ms");
            assert!(due.iter().filter(|one| one.vip == vip(8)).count() <= 1, "the other goes on as it was");
        }
    }
}

/// ... and what it means no more is dropped without a word about the rest.
#[test]
fn an_address_that_is_dropped_leaves_the_schedule_of_the_others_alone() {
    let mut books = books();
    books.assigned(ms(0), &[vip(8), vip(9)], ms(15_000));
    books.announce(ms(0), &claim(), (&[vip(9), vip(8)], mark()), Pace::Steady);
    books.pacer.due(ms(0));
    books.announce(ms(500), &claim(), (&[vip(9)], mark()), Pace::Steady);
    books.withdrawing(&[vip(8)]);
    assert!(books.pacer.next_deadline().is_some_and(|at| (ms(2_700)..=ms(3_300)).contains(&at)));
    assert!(!books.has(vip(8)) && books.has(vip(9)));
    // A report of an order from before it was dropped comes late.
    books.assigned(ms(501), &[vip(8), vip(9)], ms(15_501));
    let due = books.pacer.due(ms(9_000));
    assert!(due.iter().all(|one| one.vip == vip(9)), "{due:?}");
}

/// Removals and reports one by one come to the same as a claim that begins with what is there.
#[test]
fn what_is_announced_is_what_is_there_and_wanted_whatever_came_before() {
    let hosts = |bits: u64| (0..6).filter(|bit| bits & (1 << bit) != 0).map(vip).collect::<Vec<_>>();
    let mut books = books();
    let (mut wanted, mut there) = (BTreeSet::new(), BTreeSet::new());
    let mut random = 7_u64;
    for step in 0..2_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (what, some, one) =
            (random >> 61, hosts(random >> 40), vip(u8::try_from((random >> 34) % 6).expect("small")));
        match what {
            0 | 1 => {
                // One of them at least is there, as the core has it.
                wanted = some.iter().copied().chain(there.first().copied()).collect();
                let vips: Vec<Vip> = wanted.iter().copied().collect();
                books.announce(ms(step), &claim(), (&vips, mark()), Pace::Steady);
            }
            2 | 3 => {
                there.extend(some.iter().copied());
                books.assigned(ms(step), &some, ms(1_000_000));
            }
            4 => {
                there.retain(|vip| !some.contains(vip));
                books.withdrawing(&some);
            }
            _ => {
                there.remove(&one);
                books.removed(ms(step), one, None);
            }
        }
        let announced = books.pacer.clone().due(ms(1_000_000));
        let announced: BTreeSet<Vip> = announced.into_iter().map(|one| one.vip).collect();
        let right: BTreeSet<Vip> = wanted.intersection(&there).copied().collect();
        assert_eq!(announced, right, "step {step}");
    }
}
