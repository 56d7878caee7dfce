//! The lease machine against a store that behaves as the API server does, one request at a time, with the reply lost
//! wherever a test wants it.

mod namesakes;
mod pressure;

use std::collections::BTreeMap;

use super::*;
use crate::authority::Standing;
use crate::authority::annotations::Invite;
use crate::effect::{LeaseDraft, LeaseRequest, Stamp};
use crate::snapshot::Member;

const TIMING: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

/// One Lease in an API server, or none.
#[derive(Default)]
struct Store {
    object: Option<LeaseRecord>,
    version: u64,
    writes: u32,
}

impl Store {
    fn serve(&mut self, request: &LeaseRequest) -> LeaseOutcome {
        match request {
            LeaseRequest::Read => self.object.clone().map_or(LeaseOutcome::Absent, LeaseOutcome::Record),
            LeaseRequest::Create(_) if self.object.is_some() => LeaseOutcome::Conflict,
            LeaseRequest::Create(draft) => self.write("uid-1", draft),
            LeaseRequest::Update { resource_version, draft } => match &self.object {
                None => LeaseOutcome::Absent,
                Some(object) if object.resource_version != *resource_version => LeaseOutcome::Conflict,
                Some(object) => {
                    let uid = object.uid.clone();
                    self.write(&uid, draft)
                }
            },
        }
    }

    fn write(&mut self, uid: &str, draft: &LeaseDraft) -> LeaseOutcome {
        self.version += 1;
        self.writes += 1;
        let stamp = |stamp: &Stamp| match stamp {
            Stamp::Now => format!("t{}", self.version),
            Stamp::Keep(text) => text.clone(),
        };
        let record = LeaseRecord {
            uid: uid.to_owned(),
            resource_version: self.version.to_string(),
            holder: draft.holder.clone(),
            duration_seconds: draft.duration_seconds,
            acquire_time: stamp(&draft.acquire_time),
            renew_time: stamp(&draft.renew_time),
            transitions: draft.transitions,
            annotations: draft.annotations.clone(),
        };
        self.object = Some(record.clone());
        LeaseOutcome::Record(record)
    }

    /// client-go of another node takes or renews the lease.
    fn foreign(&mut self, holder: &str, transitions: u32) -> LeaseRecord {
        let annotations = self.object.as_ref().map(|object| object.annotations.clone()).unwrap_or_default();
        let draft = LeaseDraft {
            holder: Some(holder.to_owned()),
            duration_seconds: 15,
            acquire_time: Stamp::Keep("a".to_owned()),
            renew_time: Stamp::Now,
            transitions,
            annotations,
        };
        self.write("uid-1", &draft);
        self.object.clone().expect("just written")
    }
}

/// A machine and the clock it is driven by.
struct Bench {
    machine: LeaseMachine,
    store: Store,
    rng: Rng,
    now: Moment,
    next_id: u64,
}

impl Bench {
    fn new() -> Self {
        let now = Moment::from_millis(1_000_000);
        let machine = LeaseMachine::new(NodeName::new("n1"), InstanceId(1), TIMING, 0, now);
        Self { machine, store: Store::default(), rng: Rng::new(1), now, next_id: 1 }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// The next request under `wants`, waiting for it as long as the machine says.
    fn request(&mut self, wants: &Wants) -> LeaseRequest {
        for _ in 0..10 {
            let id = EffectId(self.next_id);
            self.next_id += 1;
            if let Some((request, _)) = self.machine.poll(self.now, wants, id) {
                return request;
            }
            self.now = self.machine.next_deadline(wants).expect("the machine wants something").max(self.now);
        }
        panic!("no request came");
    }

    fn conclude(&mut self, outcome: LeaseOutcome) {
        self.machine.conclude(self.now, outcome, &mut self.rng);
    }

    /// One request, served and answered.
    fn turn(&mut self, wants: &Wants) -> LeaseRequest {
        let request = self.request(wants);
        let outcome = self.store.serve(&request);
        self.conclude(outcome);
        request
    }

    /// One request, served, and its reply lost.
    fn turn_losing_reply(&mut self, wants: &Wants) -> LeaseRequest {
        let request = self.request(wants);
        self.store.serve(&request);
        self.conclude(LeaseOutcome::Unknown);
        request
    }

    fn granted(&mut self) {
        self.turn(&wants(Campaign::Take, GrantWish::Keep));
        self.turn(&wants(Campaign::Take, GrantWish::Keep));
        assert_eq!(self.machine.standing(), Standing::Granted { epoch: 0 });
    }
}

fn wants(campaign: Campaign, grant: GrantWish) -> Wants {
    let publication = Publication {
        member: Some(Member::default()),
        remembered: BTreeMap::new(),
        forget: Vec::new(),
        invite: Invite::No,
        false_takeovers: None,
        addresses: None,
    };
    Wants { campaign, grant, publication }
}

fn stay() -> Wants {
    wants(Campaign::Stay, GrantWish::Keep)
}

#[test]
fn reads_before_it_creates_and_renews_once_in_a_retry_period() {
    let mut bench = Bench::new();
    bench.granted();
    let (start, writes) = (bench.now, bench.store.writes);
    for _ in 0..10 {
        bench.turn(&stay());
    }
    assert_eq!(bench.store.writes - writes, 10);
    assert!(bench.now.since(start) >= TIMING.retry_period * 10);
    assert!(bench.machine.is_fresh(bench.now));
    let record = bench.store.object.as_ref().expect("created");
    assert_eq!((record.transitions, record.acquire_time.as_str()), (0, "t1"), "a renewal is no new grant");
}

#[test]
fn an_acquisition_whose_reply_is_lost_is_read_back() {
    let mut bench = Bench::new();
    bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    bench.turn_losing_reply(&wants(Campaign::Take, GrantWish::Keep));
    assert_eq!(bench.machine.standing(), Standing::Absent, "nothing is assumed");
    let request = bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    assert_eq!(request, LeaseRequest::Read);
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 0 });
    assert!(bench.machine.is_fresh(bench.now), "the write was sent a moment ago");
}

#[test]
fn an_acquisition_that_was_lost_with_its_reply_is_not_assumed() {
    let mut bench = Bench::new();
    bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    bench.request(&wants(Campaign::Take, GrantWish::Keep));
    bench.conclude(LeaseOutcome::Unknown);
    bench.store.foreign("n2", 0);
    assert_eq!(bench.turn(&stay()), LeaseRequest::Read);
    assert_eq!(bench.machine.standing(), Standing::Denied { holder: "n2".to_owned(), epoch: 0 });
}

#[test]
fn a_renewal_whose_reply_is_lost_is_read_back_and_counts() {
    let mut bench = Bench::new();
    bench.granted();
    bench.turn_losing_reply(&stay());
    let lost_at = bench.now;
    assert_eq!(bench.turn(&stay()), LeaseRequest::Read);
    assert_eq!(bench.machine.renewed_at(), Some(lost_at));
    let request = bench.turn(&stay());
    assert!(matches!(request, LeaseRequest::Update { .. }));
}

#[test]
fn a_release_whose_reply_is_lost_is_read_back_and_not_contested() {
    let mut bench = Bench::new();
    bench.granted();
    let release = wants(Campaign::Stay, GrantWish::Release);
    bench.turn_losing_reply(&release);
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 0 });
    assert_eq!(bench.turn(&release), LeaseRequest::Read);
    assert_eq!(bench.machine.standing(), Standing::Vacant { epoch: 0 });
    let record = bench.store.object.as_ref().expect("released");
    assert_eq!((record.duration_seconds, record.transitions), (1, 0), "client-go's release");
}

#[test]
fn a_release_that_was_lost_is_written_again() {
    let mut bench = Bench::new();
    bench.granted();
    let release = wants(Campaign::Stay, GrantWish::Release);
    bench.request(&release);
    bench.conclude(LeaseOutcome::Unknown);
    assert_eq!(bench.turn(&release), LeaseRequest::Read);
    assert!(matches!(bench.turn(&release), LeaseRequest::Update { .. }));
    assert_eq!(bench.machine.standing(), Standing::Vacant { epoch: 0 });
}

/// Follows `n2`'s renewals, one in a retry period, for `count` of them.
fn follow(bench: &mut Bench, count: u32) {
    for _ in 0..count {
        let record = bench.store.foreign("n2", 3);
        bench.machine.observe(bench.now, record, Source::Watch);
        bench.pass(TIMING.retry_period);
    }
}

#[test]
fn a_follower_of_a_live_lease_asks_nothing() {
    let mut bench = Bench::new();
    let record = bench.store.foreign("n2", 3);
    bench.machine.observe(bench.now, record, Source::Watch);
    bench.turn(&stay());
    for _ in 0..20 {
        follow(&mut bench, 1);
        assert!(bench.machine.poll(bench.now, &stay(), EffectId(0)).is_none(), "no polling read, no write");
    }
}

#[test]
fn expiry_is_counted_from_the_last_observed_change() {
    let mut bench = Bench::new();
    follow(&mut bench, 3);
    let last_change = bench.now - TIMING.retry_period;
    for _ in 0..3 {
        bench.turn(&stay());
    }
    assert_eq!(bench.machine.expires_at(), Some(last_change + TIMING.duration));
}

/// The first node back from an outage found every lease expired, and took it: 67 % of outages moved the VIP.
#[test]
fn an_outage_by_itself_expires_nothing() {
    let mut bench = Bench::new();
    follow(&mut bench, 3);
    bench.machine.unreachable(bench.now);
    bench.pass(TIMING.duration * 4);
    assert_eq!(bench.machine.expires_at(), None, "out of reach, nothing can be told");
    let record = bench.store.object.clone().expect("written");
    let returned = bench.machine.observe(bench.now, record, Source::Read(bench.now));
    assert_eq!(returned, Some(Reach::Returned(TIMING.duration * 4)));
    assert_eq!(bench.machine.expires_at(), Some(bench.now + TIMING.duration));
}

#[test]
fn a_silence_nobody_noticed_expires_nothing_either() {
    let mut bench = Bench::new();
    follow(&mut bench, 3);
    bench.pass(TIMING.duration * 2);
    assert!(!bench.machine.is_current(bench.now), "the last contact is too old to vouch for anything");
    let record = bench.store.object.clone().expect("written");
    bench.machine.observe(bench.now, record, Source::Read(bench.now));
    assert_eq!(bench.machine.expires_at(), Some(bench.now + TIMING.duration));
}

#[test]
fn a_late_watch_event_takes_nothing_away() {
    let mut bench = Bench::new();
    let late = bench.store.foreign("n2", 0);
    bench.turn(&stay());
    bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 1 });
    bench.machine.observe(bench.now, late, Source::Watch);
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 1 });
}

#[test]
fn a_later_grant_denies_and_a_lower_epoch_is_contested() {
    for (transitions, denied) in [(4, true), (1, true), (0, false)] {
        let mut bench = Bench::new();
        bench.store.foreign("n2", 0);
        bench.turn(&stay());
        bench.turn(&wants(Campaign::Take, GrantWish::Keep));
        assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 1 });
        let record = bench.store.foreign("n3", transitions);
        bench.machine.observe(bench.now, record, Source::Watch);
        let is_denied = matches!(bench.machine.standing(), Standing::Denied { .. });
        assert_eq!(is_denied, denied, "epoch {transitions} after 1");
        if !denied {
            bench.turn(&stay());
            assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 2 }, "contested and won");
        }
    }
}

#[test]
fn a_deleted_lease_is_made_again_above_its_last_epoch() {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 6);
    bench.turn(&stay());
    bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    bench.store.object = None;
    bench.machine.observe_absent(bench.now);
    assert!(!bench.machine.is_fresh(bench.now));
    bench.turn(&stay());
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 8 });
}

#[test]
fn another_run_under_our_name_is_another() {
    let mut bench = Bench::new();
    bench.granted();
    let mut other = LeaseMachine::new(NodeName::new("n1"), InstanceId(2), TIMING, 0, bench.now);
    other.observe(bench.now, bench.store.object.clone().expect("created"), Source::Watch);
    assert_eq!(other.standing(), Standing::Denied { holder: "n1".to_owned(), epoch: 0 });
}

#[test]
fn a_conflict_is_read_back_at_once() {
    let mut bench = Bench::new();
    bench.granted();
    bench.store.foreign("n2", 1);
    let before = bench.now;
    bench.turn(&stay());
    assert_eq!(bench.turn(&stay()), LeaseRequest::Read);
    assert!(bench.now.since(before) <= TIMING.retry_period);
    assert_eq!(bench.machine.standing(), Standing::Denied { holder: "n2".to_owned(), epoch: 1 });
}

#[test]
fn a_follower_joins_the_members_once() {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 0);
    bench.turn(&stay());
    let request = bench.turn(&stay());
    assert!(matches!(request, LeaseRequest::Update { .. }), "it writes itself down");
    let record = bench.store.object.clone().expect("written");
    assert_eq!(record.holder.as_deref(), Some("n2"));
    assert_eq!(record.renew_time, "t1", "that is no renewal");
    assert!(annotations::members(&record).contains_key(&NodeName::new("n1")));
    assert_eq!(bench.turn(&stay()), LeaseRequest::Read, "then only the check of a silent lease");
}

#[test]
fn followers_that_join_together_all_become_members_soon() {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 0);
    bench.turn(&stay());
    let begin = bench.now;
    for rival in ["n3", "n4", "n5"] {
        bench.request(&stay());
        let record = bench.store.object.as_mut().expect("written");
        annotations::join(&mut record.annotations, &NodeName::new(rival), &Member::default());
        bench.store.foreign("n2", 0);
        bench.conclude(LeaseOutcome::Conflict);
        assert_eq!(bench.turn(&stay()), LeaseRequest::Read);
    }
    bench.turn(&stay());
    let record = bench.store.object.clone().expect("written");
    assert!(annotations::members(&record).contains_key(&NodeName::new("n1")));
    assert!(bench.now.since(begin) < TIMING.retry_period * 3, "{:?}", bench.now.since(begin));
}

#[test]
fn false_takeovers_halve_every_ten_minutes() {
    let mut bench = Bench::new();
    bench.granted();
    let mut counted = stay();
    counted.publication.false_takeovers = Some(4);
    bench.turn(&counted);
    for (minutes, expected) in [(0, 4), (10, 2), (10, 1), (10, 0)] {
        bench.pass(Duration::from_secs(minutes * 60));
        assert_eq!(bench.machine.false_takeovers(bench.now), expected);
    }
}

#[test]
fn foreign_annotations_survive_every_write_of_ours() {
    let mut bench = Bench::new();
    bench.store.foreign("n2", 0);
    let foreign = BTreeMap::from([("example.com/owner".to_owned(), "someone".to_owned())]);
    bench.store.object.as_mut().expect("written").annotations = foreign;
    bench.turn(&stay());
    bench.turn(&wants(Campaign::Take, GrantWish::Keep));
    bench.turn(&wants(Campaign::Stay, GrantWish::Release));
    let record = bench.store.object.as_ref().expect("written");
    assert_eq!(record.annotations.get("example.com/owner").map(String::as_str), Some("someone"));
    assert!(annotations::grant(record).is_none(), "released");
}

/// Rule 4: what another object says, however high its epoch, is a reset of ours and no denial.
#[test]
fn another_object_is_contested_whatever_its_epoch() {
    let mut bench = Bench::new();
    bench.granted();
    let mut record = bench.store.foreign("n2", 9);
    record.uid = "uid-2".to_owned();
    bench.store.object = Some(record.clone());
    bench.machine.observe(bench.now, record, Source::Watch);
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 0 });
    assert!(!bench.machine.is_fresh(bench.now), "detached");
    bench.turn(&stay());
    assert_eq!(bench.machine.standing(), Standing::Granted { epoch: 10 });
}

/// Rule 6: also an outage that is shorter than what breaks a chain of contacts by itself.
#[test]
fn a_short_outage_that_was_noticed_expires_nothing_either() {
    let mut bench = Bench::new();
    follow(&mut bench, 3);
    bench.machine.unreachable(bench.now);
    bench.pass(TIMING.retry_period * 2);
    let record = bench.store.object.clone().expect("written");
    bench.machine.observe(bench.now, record, Source::Read(bench.now));
    assert_eq!(bench.machine.expires_at(), Some(bench.now + TIMING.duration));
}

/// Rule 7: client-go carries annotations forward, so one proves nothing under another holder or another epoch.
#[test]
fn a_grants_annotation_is_void_under_another_holder_or_epoch() {
    for (holder, epoch, ours) in [("n1", 0, true), ("n1", 1, false), ("n2", 0, false), ("n2", 1, false)] {
        let mut bench = Bench::new();
        bench.granted();
        let record = bench.store.foreign(holder, epoch);
        assert_eq!(annotations::grant(&record).is_some(), ours, "{holder} in epoch {epoch}");
    }
}

#[test]
fn a_renewal_that_was_lost_with_its_reply_is_not_assumed() {
    let mut bench = Bench::new();
    bench.granted();
    let renewed = bench.machine.renewed_at();
    bench.request(&stay());
    bench.conclude(LeaseOutcome::Unknown);
    let before = bench.store.object.clone().expect("granted");
    bench.machine.observe(bench.now, before, Source::Watch);
    assert_eq!(bench.machine.renewed_at(), renewed, "a watch that repeats what was known proves nothing");
    assert_eq!(bench.turn(&stay()), LeaseRequest::Read);
    assert_eq!(bench.machine.renewed_at(), renewed, "nor does reading it");
    let writes = bench.store.writes;
    bench.turn(&stay());
    assert_eq!(bench.store.writes, writes + 1, "renewed at once");
}
