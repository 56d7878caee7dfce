//! Another agent under our name writes itself over our entry among the members.

use super::*;
use crate::authority::annotations;
use crate::names::Mac;

fn another() -> Member {
    Member { macs: vec![Mac([2, 0, 0, 0, 0, 9])], addresses: Vec::new() }
}

/// Whom the record has under our name.
fn listed(record: &LeaseRecord) -> Option<Member> {
    annotations::members(record).remove(&NodeName::new("n1"))
}

/// Follows for `duration` while another agent puts itself in our place `times` times, each as soon as we are listed.
/// How we called it, and when.
fn follow(bench: &mut Bench, duration: Duration, mut times: u32) -> Vec<(Moment, Member)> {
    let end = bench.now + duration;
    let mut told = Vec::new();
    while bench.now < end {
        bench.turn(&stay());
        told.extend(bench.machine.take_namesake(bench.now).map(|member| (bench.now, member)));
        let object = bench.store.object.as_mut().expect("there is one");
        if listed(object) != Some(Member::default()) {
            continue;
        }
        assert!(bench.machine.poll(bench.now, &stay(), EffectId(0)).is_none(), "nothing is due at once");
        if times > 0 {
            times -= 1;
            annotations::join(&mut object.annotations, &NodeName::new("n1"), &another());
            bench.store.version += 1;
            object.resource_version = bench.store.version.to_string();
            let record = object.clone();
            bench.machine.observe(bench.now, record, Source::Watch);
        }
    }
    told
}

fn follower() -> Bench {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 0);
    bench
}

#[test]
fn it_is_told_once_and_the_two_do_not_write_without_end() {
    let mut bench = follower();
    let (begin, writes) = (bench.now, bench.store.writes);
    let told = follow(&mut bench, Duration::from_secs(600), u32::MAX);
    let [(at, member)] = &told[..] else { panic!("told {} times", told.len()) };
    assert_eq!(*member, another());
    assert!(at.since(begin) < Duration::from_secs(10), "after {:?}", at.since(begin));
    assert!(bench.store.writes - writes < 24, "{} writes in ten minutes", bench.store.writes - writes);
}

#[test]
fn one_that_stays_is_told_of_once_an_hour() {
    let told = follow(&mut follower(), Duration::from_secs(2 * 3_600), u32::MAX);
    let [(first, _), (second, _)] = &told[..] else { panic!("told {} times in two hours", told.len()) };
    assert!(second.since(*first) >= Duration::from_secs(3_600), "after {:?}", second.since(*first));
}

#[test]
fn an_older_lease_from_a_backup_is_no_other_agent() {
    let mut bench = follower();
    assert_eq!(follow(&mut bench, Duration::from_secs(600), 2), []);
    assert_eq!(follow(&mut bench, Duration::from_secs(600), 2), [], "what was long ago is forgotten");
    assert_eq!(listed(bench.store.object.as_ref().expect("there is one")), Some(Member::default()));
}

#[test]
fn one_that_went_and_comes_back_is_told_again() {
    let mut bench = follower();
    assert_eq!(follow(&mut bench, Duration::from_secs(60), u32::MAX).len(), 1);
    assert_eq!(follow(&mut bench, Duration::from_secs(1_200), 0).len(), 0);
    assert_eq!(follow(&mut bench, Duration::from_secs(60), u32::MAX).len(), 1);
}

/// Addresses that change again and again while no write succeeds: what is listed is still ours.
#[test]
fn what_is_listed_is_not_forgotten_for_what_never_was() {
    let member = |mac: u8| as_having(mac).publication.member.expect("it is listed");
    let (now, listed) = (Moment::from_millis(1_000), member(0));
    let mut namesakes = crate::authority::lease::namesakes::Namesakes::default();
    namesakes.look(now, Some(&listed), &listed);
    for mac in 1..20 {
        namesakes.look(now, Some(&listed), &member(mac));
        namesakes.remember(&member(mac));
    }
    namesakes.look(now, Some(&listed), &member(20));
    assert!(!namesakes.is_recent(now), "it was never another's");
}

fn as_having(mac: u8) -> Wants {
    let mut wants = stay();
    wants.publication.member = Some(Member { macs: vec![Mac([2, 0, 0, 0, 0, mac])], addresses: Vec::new() });
    wants
}

/// A bond that fails over and back, or a link that drops its addresses and gets them back, while the write is under way.
#[test]
fn a_changing_address_of_ours_is_no_other_agent() {
    let mut bench = follower();
    let mut told = Vec::new();
    for round in 0..4 {
        for _ in 0..6 {
            bench.turn(&as_having(1));
        }
        let changed = bench.machine.poll(bench.now, &as_having(2), EffectId(10_000 + round));
        let (request, _) = changed.expect("the change is written");
        assert!(bench.machine.poll(bench.now, &as_having(1), EffectId(0)).is_none(), "and undone meanwhile");
        let outcome = bench.store.serve(&request);
        bench.conclude(outcome);
        bench.machine.poll(bench.now, &as_having(1), EffectId(20_000 + round));
        told.extend(bench.machine.take_namesake(bench.now));
    }
    assert_eq!(told, [], "we alone wrote it");
}
