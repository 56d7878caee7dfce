//! The sweep over many addresses, judged by faults whose effect is known.
#![expect(clippy::unwrap_used, reason = "a test bed that cannot be made fails its test")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mainstay_lab::netns::{self, Addresses, Host, Segment};
use mainstay_lab::probe::{Sweep, SweepPlan, now};

/// More than one burst.
const TARGETS: u8 = 40;
const SPACING: Duration = Duration::from_millis(20);

fn address(place: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + place)
}

fn change(host: &Host, verb: &str, places: impl Iterator<Item = u8>) {
    for place in places {
        host.output("ip", &["addr", verb, &format!("{}/32", address(place)), "dev", "eth0"]).unwrap();
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_address_is_judged_for_itself_and_a_mover_is_found_by_forgetting() {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let segment = Segment::new("sweep").unwrap();
    let host = |name, number| segment.host(name, Addresses::numbered(number)).unwrap();
    let (one, other, client) = (host("n1", 11), host("n2", 12), host("client", 50));
    change(&one, "add", 0..TARGETS);
    let plan = SweepPlan::new((0..TARGETS).map(address).collect(), SPACING);
    let sweep = Sweep::start(&client, plan).unwrap();

    // Each entry is forgotten within this, and nothing is lost by it.
    let begin = now();
    eventually("echoes are sent", || sweep.reports(begin, now()).iter().all(|report| report.sent > 120));
    let end = now();
    for report in sweep.settled_reports(begin, end) {
        assert_eq!((report.lost, report.pending), (0, 0), "{report:?}");
        assert_eq!(report.answerers.iter().map(|answerer| answerer.mac).collect::<Vec<_>>(), [one.mac()]);
    }

    // Two are taken away, and one of them appears elsewhere, which nobody announces.
    let moved = now();
    change(&one, "del", 7..9);
    change(&other, "add", 8..9);
    eventually("the mover is found", || sweep.first_answers(moved, Some(one.mac()))[8].is_some());
    let answers = sweep.first_answers(moved, Some(one.mac()));
    assert_eq!((0..usize::from(TARGETS)).filter(|place| answers[*place].is_some()).collect::<Vec<_>>(), [8]);
    for (place, report) in sweep.settled_reports(moved, now()).iter().enumerate() {
        assert_eq!(report.lost > 0, [7, 8].contains(&place), "{place}: {report:?}");
    }
}
