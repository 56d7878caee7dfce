//! The probe, the capture and the rogue, judged by faults whose effect is known.
#![expect(clippy::unwrap_used, reason = "a test bed that cannot be made fails its test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use mainstay_lab::netns::{self, Addresses, Host, Segment};
use mainstay_lab::probe::{Answerer, Capture, Plan, Probe, Rogue, Speech, now, ping};

const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const VIP: IpAddr = IpAddr::V4(VIP_V4);
const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x100));
const LONG: Duration = Duration::from_secs(600);

struct Bed {
    segment: Segment,
    one: Host,
    other: Host,
    client: Host,
}

/// Two nodes and a client, or `None` (and the reason in print) where that cannot be.
fn bed(hint: &str) -> Option<Bed> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let segment = Segment::new(hint).unwrap();
    let host = |name, number| segment.host(name, Addresses::numbered(number)).unwrap();
    let (one, other, client) = (host("n1", 11), host("n2", 12), host("client", 50));
    Some(Bed { segment, one, other, client })
}

fn wear(host: &Host, vip: IpAddr) {
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let mut words = vec!["addr", "add"];
    let text = format!("{vip}/{length}");
    words.extend([text.as_str(), "dev", "eth0"]);
    if vip.is_ipv6() {
        words.push("nodad");
    }
    host.output("ip", &words).unwrap();
}

fn take_off(host: &Host, vip: IpAddr) {
    let length = if vip.is_ipv4() { 32 } else { 128 };
    host.output("ip", &["addr", "del", &format!("{vip}/{length}"), "dev", "eth0"]).unwrap();
}

/// Waits until `condition` holds, twenty seconds at most.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `count` echoes were sent since `from`.
fn sent(probe: &Probe, from: mainstay_core::time::Moment, count: usize) {
    eventually("echoes are sent", || probe.report(from, now()).sent >= count);
}

#[test]
fn a_quiet_segment_loses_nothing_though_the_neighbour_is_forgotten() {
    let Some(bed) = bed("quiet") else { return };
    for vip in [VIP, VIP_V6] {
        wear(&bed.one, vip);
        // Forgotten every 50 ms: sixty times in this test.
        let plan = Plan { forget_every: Duration::from_millis(50), ..Plan::new(vip).with_tcp(6443) };
        let capture = Capture::start(&bed.segment).unwrap();
        let probe = Probe::start(&bed.client, plan).unwrap();
        let begun = now();
        sent(&probe, begun, 3000);
        let end = now();
        let report = probe.settled_report(begun, end);
        eprintln!("{vip}: {report:?} in {:?}", end.since(begun));
        assert_eq!((report.lost, report.pending, report.tcp.lost), (0, 0, 0), "{report:?}");
        assert_eq!(report.answerers, [Answerer { mac: bed.one.mac(), count: report.sent }]);
        assert_eq!(report.changes.len(), 1);
        // The rate holds: one a millisecond, 50 connects a second.
        let expected = usize::try_from(end.since(begun).as_millis()).unwrap();
        assert!(report.sent.abs_diff(expected) <= expected / 20 + 20, "{} in {expected} ms", report.sent);
        assert!(report.tcp.sent.abs_diff(expected / 20) <= expected / 200 + 5, "{:?}", report.tcp);
        // It was really forgotten: the holder was asked again and again.
        let answers =
            |heard: &&mainstay_lab::probe::Heard| heard.speech == Speech::Answer && heard.address == vip;
        assert!(capture.heard().iter().filter(answers).count() >= 40, "{:?}", capture.heard().len());
        assert_eq!(capture.claimants(vip, begun, end).into_keys().collect::<Vec<_>>(), [bed.one.mac()]);
    }
}

/// The kernel answers echoes from one socket for each core, which all namespaces share and which holds few replies at once:
/// a crowd of echoes that waited for their neighbour would cost each other, and every other probe, their answers.
#[test]
fn echoes_that_waited_for_their_neighbour_are_all_answered() {
    let Some(bed) = bed("waited") else { return };
    for vip in [VIP, VIP_V6] {
        let probe = Probe::start(&bed.client, Plan::new(vip)).unwrap();
        let begun = now();
        sent(&probe, begun, 400);
        wear(&bed.one, vip);
        eventually("an answer", || !probe.report(begun, now()).answerers.is_empty());
        assert_eq!(probe.settled_report(begun, now()).pending, 0);
        let echoes = probe.echoes();
        let answered = echoes.iter().skip_while(|echo| echo.answer.is_none());
        let holes = answered.clone().filter(|echo| echo.answer.is_none()).count();
        assert_eq!(holes, 0, "{vip}: of {}", answered.count());
    }
}

#[test]
fn tcp_connects_are_answered_lost_and_leave_nothing() {
    let Some(bed) = bed("tcp") else { return };
    wear(&bed.one, VIP);
    let listener = bed.one.bind_tcp((VIP, 6443)).unwrap();
    let probe =
        Probe::start(&bed.client, Plan { forget_every: LONG, ..Plan::new(VIP).with_tcp(6443) }).unwrap();
    let begun = now();
    sent(&probe, begun, 500);
    bed.segment.drop_tcp(&bed.one, 6443).unwrap();
    let cut = now();
    sent(&probe, cut, 500);
    let end = now();
    let before = probe.settled_report(begun, cut - Duration::from_millis(100));
    let after = probe.settled_report(cut, end);
    assert!(before.tcp.sent > 10 && before.tcp.lost == 0, "{before:?}");
    assert!(after.tcp.sent > 10 && after.tcp.lost == after.tcp.sent, "{after:?}");
    assert_eq!(after.lost, 0, "echoes pass");
    drop(listener);
    let sockets = bed.one.output("cat", &["/proc/net/tcp"]).unwrap();
    // 08 is CLOSE_WAIT, 01 ESTABLISHED: a RST leaves neither (the accept queue went with the listener).
    assert!(!sockets.lines().any(|line| line.contains(" 01 ") && line.contains(":192B")), "{sockets}");
}

#[test]
fn an_address_that_is_gone_is_dark_for_as_long_as_it_is_gone() {
    let Some(bed) = bed("dark") else { return };
    wear(&bed.one, VIP);
    // Not forgotten here: a resolution that fails is repeated only after a second, which would be measured too.
    let probe = Probe::start(&bed.client, Plan { forget_every: LONG, ..Plan::new(VIP) }).unwrap();
    let begun = now();
    sent(&probe, begun, 300);
    let gone = [now(), {
        take_off(&bed.one, VIP);
        now()
    }];
    sent(&probe, gone[1], 400);
    let back = [now(), {
        wear(&bed.one, VIP);
        now()
    }];
    sent(&probe, back[1], 300);
    let report = probe.settled_report(begun, now());
    eprintln!("gone {:?} to {:?}: {report:?}", back[0].since(gone[1]), back[1].since(gone[0]));
    let slack = Duration::from_millis(20);
    assert!(report.longest_dark + slack >= back[0].since(gone[1]), "{report:?}");
    assert!(report.longest_dark <= back[1].since(gone[0]) + slack, "{report:?}");
    assert!(report.lost >= 300, "{report:?}");
    assert_eq!(report.answerers.len(), 1);
}

#[test]
fn a_vip_that_moves_unannounced_is_found_again_by_forgetting() {
    let Some(bed) = bed("moved") else { return };
    wear(&bed.one, VIP);
    let probe = Probe::start(&bed.client, Plan::new(VIP)).unwrap();
    let begun = now();
    sent(&probe, begun, 300);
    take_off(&bed.one, VIP);
    wear(&bed.other, VIP);
    let moved = now();
    let answerer = |from| probe.report(from, now()).answerers.first().map(|first| first.mac);
    eventually("the new holder answers", || answerer(moved) == Some(bed.other.mac()));
    let report = probe.settled_report(begun, now());
    eprintln!("{report:?}");
    let who: Vec<_> = report.changes.iter().map(|(_, mac)| *mac).collect();
    assert_eq!(who, [bed.one.mac(), bed.other.mac()]);
    // The forgetting limits it to a second; the margin is for a busy machine.
    assert!(report.longest_dark < Duration::from_millis(1600), "{report:?}");
}

#[test]
fn a_stale_path_stays_dark_without_forgetting_until_announced() {
    let Some(bed) = bed("stale") else { return };
    wear(&bed.one, VIP);
    let probe = Probe::start(&bed.client, Plan { forget_every: LONG, ..Plan::new(VIP) }).unwrap();
    let begun = now();
    sent(&probe, begun, 300);
    take_off(&bed.one, VIP);
    wear(&bed.other, VIP);
    sent(&probe, now(), 500);
    assert_eq!(probe.report(begun, now()).changes.len(), 1);
    // The announcement of the rightful holder turns the client's path.
    let announcer = Rogue::start(&bed.other, VIP_V4, LONG).unwrap();
    eventually("announced", || !announcer.sent().is_empty());
    let announced = announcer.sent()[0];
    eventually("answered", || probe.report(begun, now()).changes.len() == 2);
    let change = probe.report(begun, now()).changes[1];
    assert_eq!(change.1, bed.other.mac());
    eprintln!("announced to answered: {:?}", change.0.since(announced));
}

#[test]
fn a_rogue_takes_the_path_and_the_capture_knows_its_port() {
    let Some(bed) = bed("rogue") else { return };
    wear(&bed.one, VIP);
    let capture = Capture::start(&bed.segment).unwrap();
    let probe = Probe::start(&bed.client, Plan::new(VIP)).unwrap();
    let begun = now();
    sent(&probe, begun, 300);
    assert!(capture.announcements(VIP, begun, now()).is_empty());
    let rogue = Rogue::start(&bed.other, VIP_V4, Duration::from_millis(100)).unwrap();
    let seized = now();
    eventually("five announcements", || capture.announcements(VIP, seized, now()).len() >= 5);
    eventually("the path is taken", || probe.report(seized, now()).longest_dark > Duration::from_millis(200));
    let end = rogue.finish().unwrap().unwrap();
    let heard = capture.announcements(VIP, seized, now());
    assert!(
        heard.iter().all(|one| one.host == "n2" && one.sender_mac == bed.other.mac() && one.mark.is_none())
    );
    assert!(capture.claimants(VIP, begun, now()).contains_key(&bed.other.mac()));
    assert!(capture.longest_announcement_gap(VIP, seized, end) < end.since(seized));
    // Forgotten within a second, the client asks again and only the holder answers.
    eventually("the path is right again", || {
        probe.report(end, now()).answerers.first().is_some_and(|first| first.mac == bed.one.mac())
    });
    assert_eq!(capture.malformed(), 0);
}

#[test]
fn the_capture_hears_a_host_that_is_cut_off_and_the_client_does_not() {
    let Some(bed) = bed("cutoff") else { return };
    let capture = Capture::start(&bed.segment).unwrap();
    bed.segment.partition(&bed.one).unwrap();
    let cut = now();
    let rogue = Rogue::start(&bed.one, VIP_V4, LONG).unwrap();
    eventually("heard at the port", || {
        capture.announcements(VIP, cut, now()).iter().any(|one| one.host == "n1")
    });
    assert!(ping(&bed.client, bed.one.ipv4().into(), Duration::from_millis(200)).unwrap().is_none());
    drop(rogue);
}
