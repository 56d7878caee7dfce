//! Frames on a real wire: what the peer hears of us, and what we hear of the peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use mainstay_core::effect::{Effect, Pace, ProbeTo};
use mainstay_core::input::{EffectId, Frame, Input, Outcome};
use mainstay_core::vip::Tenure;
use mainstay_dataplane::clock;
use mainstay_dataplane::plane::Dataplane;
use mainstay_wire as wire;
use wire::Kind;

use crate::support::{
    self, INTERFACE, Pair, address, address_of, alongside, announce, assign, claim, done, ears, ip, listen,
    mark, marked, on, open, send, until,
};

const V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9);
const ROGUE: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

async fn frame(plane: &mut Dataplane) -> Frame {
    until(plane, "frame", |input| match input {
        Input::Frame(frame) => Some(frame.clone()),
        _ => None,
    })
    .await
}

#[test]
fn a_take_over_is_heard_as_a_burst_and_then_steadily() {
    let Some(pair) = Pair::new() else { return };
    let ears = ears(&pair.b);
    let (began, heard) = on(&pair.a, || async {
        let mut plane = open().await;
        let began = Instant::now();
        // Announce is given before the address can be there; the first frame must wait for it.
        assert_eq!(plane.submit(assign(1, &[V4.into(), V6.into()], 60)), None);
        assert_eq!(plane.submit(announce(&[V4.into(), V6.into()], Pace::Burst)), None);
        let heard = alongside(&mut plane, move || marked(&ears, 18 + 2)).await;
        let sent = plane.counters().announced.clone();
        assert!(sent[&V4.into()].sent >= 12 && sent[&V6.into()].sent >= 6, "{sent:?}");
        (began, heard)
    });
    let of = |ip: IpAddr| heard.iter().filter(move |(_, one)| one.sender == Some(ip)).collect::<Vec<_>>();
    let (v4, v6) = (of(V4.into()), of(V6.into()));
    let kinds: Vec<_> = v4.iter().take(12).map(|(_, one)| one.kind).collect();
    assert_eq!(kinds, [Kind::ArpRequest, Kind::ArpReply].repeat(6));
    assert!(
        v6.iter()
            .all(|(_, one)| one.kind == Kind::NeighbourAdvertisement { overriding: true, solicited: false })
    );
    for (name, burst) in [("v4", v4.iter().step_by(2).collect::<Vec<_>>()), ("v6", v6.iter().collect())] {
        for (step, due) in [(1, 50), (2, 150), (3, 500), (4, 850), (5, 1_200), (6, 1_200 + 2_700)] {
            // A busy machine can only make it later.
            let after = burst[step].0 - began;
            assert!(after >= Duration::from_millis(due), "{name} {step}: {after:?}");
        }
    }
    for (_, one) in &heard {
        let mark = one.mark.expect("marked");
        assert_eq!(
            (mark.epoch, mark.tenure, mark.node),
            (7, wire::Tenure::Confirmed, support::mark().node.0)
        );
    }
}

#[test]
fn nothing_is_announced_for_an_address_that_cannot_be_assigned() {
    let Some(pair) = Pair::new() else { return };
    let ears = ears(&pair.b);
    let own = address_of("10.77.0.1");
    on(&pair.a, || async {
        let mut plane = open().await;
        assert!(matches!(done(&mut plane, assign(1, &[own], 15)).await, Outcome::Failed(_)));
        assert_eq!(plane.submit(announce(&[own], Pace::Burst)), None);
        assert_eq!(plane.next_announcement(), None);
        // A second claim's frames prove that the ear hears.
        assert_eq!(done(&mut plane, assign(2, &[V4.into()], 15)).await, Outcome::Done);
        assert_eq!(plane.submit(Effect::Silence { claim: claim() }), None);
        assert_eq!(plane.submit(announce(&[V4.into()], Pace::Steady)), None);
        let heard = alongside(&mut plane, move || marked(&ears, 1)).await;
        assert!(heard.iter().all(|(_, one)| one.sender == Some(V4.into())), "{heard:?}");
    });
}

#[test]
fn what_somebody_deletes_is_not_announced_until_it_is_back() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(done(&mut plane, assign(1, &[V4.into()], 60)).await, Outcome::Done);
        assert_eq!(plane.submit(announce(&[V4.into()], Pace::Steady)), None);
        plane.drain();
        let before = plane.counters().announced[&V4.into()].sent;
        assert!(before > 0 && plane.next_announcement().is_some());
        ip(&["-n", &pair.a, "addr", "del", &V4.to_string(), "dev", INTERFACE]);
        until(&mut plane, "removal", |input| matches!(input, Input::Address(_)).then_some(())).await;
        assert_eq!(plane.next_announcement(), None);
        assert_eq!(done(&mut plane, assign(2, &[V4.into()], 60)).await, Outcome::Done);
        plane.drain();
        assert!(plane.counters().announced[&V4.into()].sent > before, "at once");
    });
}

#[test]
fn a_claim_by_another_host_is_heard_with_its_mark_and_its_hardware_address() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(plane.submit(listen(&[V4.into(), V6.into()], &[])), None);
        let before = clock::now();
        let mark = wire::Mark { tenure: wire::Tenure::Detached, epoch: 3, node: 99 };
        for mark in [Some(mark), None] {
            for sent in [
                wire::arp::gratuitous(wire::arp::Operation::Reply, ROGUE, V4, mark).to_vec(),
                wire::ndp::unsolicited(ROGUE, V6, V6, mark),
            ] {
                send(&pair.b, &[sent]);
                let heard = frame(&mut plane).await;
                assert_eq!(heard.mac.0, ROGUE);
                assert_eq!(heard.sender, Some(heard.target));
                assert!([V4.into(), V6.into()].contains(&heard.target));
                let read = heard.mark.map(|mark| (mark.tenure, mark.epoch, mark.node.0));
                assert_eq!(read, mark.map(|_| (Tenure::Detached, 3, 99)));
                assert!(heard.heard_at >= before && heard.heard_at <= clock::now(), "{heard:?}");
            }
        }
    });
}

#[test]
fn a_probe_by_another_host_is_heard_also_where_the_address_is_not_worn() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(plane.submit(listen(&[V4.into(), V6.into()], &[])), None);
        for (sent, target) in [
            (wire::arp::probe(ROGUE, wire::To::All, V4, None).to_vec(), IpAddr::from(V4)),
            (
                wire::ndp::probe(ROGUE, "fe80::66".parse().expect("an address"), wire::To::All, V6, None),
                V6.into(),
            ),
        ] {
            send(&pair.b, &[sent]);
            let heard = frame(&mut plane).await;
            assert_eq!((heard.sender, heard.target, heard.mac.0), (None, target, ROGUE));
        }
    });
}

#[test]
fn unrelated_traffic_costs_nothing_and_our_own_is_not_a_conflict() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(plane.submit(listen(&[V4.into(), V6.into()], &[address_of("10.77.0.3")])), None);
        let mut noise = Vec::new();
        for number in 0..=255_u8 {
            let (v4, v6) = (
                Ipv4Addr::new(10, 78, 0, number),
                Ipv6Addr::from_bits(V6.to_bits() + 256 + u128::from(number)),
            );
            noise.push(wire::arp::gratuitous(wire::arp::Operation::Reply, ROGUE, v4, None).to_vec());
            noise.push(wire::arp::probe(ROGUE, wire::To::All, v4, None).to_vec());
            noise.push(wire::ndp::unsolicited(ROGUE, v6, v6, None));
            noise.push(wire::ndp::probe(ROGUE, v6, wire::To::All, v6, None));
        }
        // Ours, come back by a loop in the network.
        let own = support::mac(&pair.a).0;
        noise.push(wire::arp::gratuitous(wire::arp::Operation::Reply, own, V4, None).to_vec());
        // Malformed: an ARP operation that does not exist, by "us".
        let mut malformed = wire::arp::gratuitous(wire::arp::Operation::Reply, ROGUE, V4, None).to_vec();
        malformed[21] = 99;
        noise.push(malformed);
        noise.push(
            wire::arp::gratuitous(wire::arp::Operation::Reply, ROGUE, Ipv4Addr::new(10, 77, 0, 3), None)
                .to_vec(),
        );
        send(&pair.b, &noise);
        assert_eq!(
            frame(&mut plane).await.sender,
            Some(address_of("10.77.0.3")),
            "the last one, and the first heard"
        );
        let counters = plane.counters();
        assert_eq!(counters.frames_read, 3, "of {} sent: {counters:?}", noise.len());
        assert_eq!((counters.frames_own, counters.frames_malformed, counters.frames_delivered), (1, 1, 1));
    });
}

#[test]
fn a_probe_is_answered_by_the_peers_kernel() {
    let Some(pair) = Pair::new() else { return };
    let peer = support::mac(&pair.b);
    on(&pair.a, || async {
        let mut plane = open().await;
        let targets = [address_of("10.77.0.2"), address_of("fd77::2")];
        assert_eq!(plane.submit(listen(&[], &targets)), None);
        let mut id = 0;
        for target in targets {
            for to in [ProbeTo::All, ProbeTo::One(peer)] {
                id += 1;
                let before = clock::now();
                let probe = Effect::Probe { id: EffectId(id), target, to, mark: Some(mark()) };
                let Outcome::Sent(sent) = done(&mut plane, probe).await else { panic!("{target} {to:?}") };
                assert!(sent >= before && sent <= clock::now());
                let answer = frame(&mut plane).await;
                assert_eq!((answer.mac, answer.sender), (peer, Some(target)), "{to:?}");
                assert!(
                    answer.heard_at >= before,
                    "heard {:?} before it was asked",
                    before.since(answer.heard_at)
                );
            }
        }
        assert_eq!(plane.counters().probes_sent, id);
        assert!(address(&pair.a, V4.into()).is_none());
    });
}

#[test]
fn what_has_arrived_is_drained_without_waiting() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(plane.submit(listen(&[V4.into()], &[])), None);
        assert!(plane.drain().iter().all(|input| !matches!(input, Input::Frame(_))));
        // A veth hands the frame over before `send` returns; the runtime has not been asked since.
        send(&pair.b, &[wire::arp::gratuitous(wire::arp::Operation::Request, ROGUE, V4, None).to_vec()]);
        assert!(plane.drain().iter().any(|input| matches!(input, Input::Frame(_))));
    });
}

/// The answer may be behind a burst of announcements: a part of what came is no silence, and what had no room is none.
#[test]
fn a_burst_is_drained_whole_and_what_had_no_room_is_told() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        assert_eq!(plane.submit(listen(&[V4.into()], &[])), None);
        let one = wire::arp::gratuitous(wire::arp::Operation::Request, ROGUE, V4, None).to_vec();
        let frames =
            |inputs: &[Input]| inputs.iter().filter(|input| matches!(input, Input::Frame(_))).count();
        send(&pair.b, &vec![one.clone(); 1_000]);
        let inputs = plane.drain();
        assert!(!inputs.contains(&Input::Missed), "there is room for so many");
        assert!(frames(&inputs) > 500, "all that came before: {}", frames(&inputs));
        send(&pair.b, &vec![one; 20_000]);
        assert!(plane.drain().contains(&Input::Missed), "{:?}", plane.counters());
        assert!(plane.counters().frames_missed > 0 && plane.counters().frames_read < 21_000);
        assert!(!plane.drain().contains(&Input::Missed), "once");
    });
}

#[test]
fn who_does_not_wear_an_address_still_joins_the_group_that_is_asked_for_it() {
    let Some(pair) = Pair::new() else { return };
    on(&pair.a, || async {
        let mut plane = open().await;
        // 33:33 and the last four bytes of ff02::1:ff00:9 (RFC 2464 section 7).
        let joined = || ip(&["-n", &pair.a, "maddr", "show", "dev", INTERFACE]).contains("33:33:ff:00:00:09");
        assert!(!joined());
        assert_eq!(plane.submit(listen(&[V6.into()], &[])), None);
        assert!(joined());
        assert_eq!(plane.submit(listen(&[], &[])), None);
        assert!(!joined());
    });
}
