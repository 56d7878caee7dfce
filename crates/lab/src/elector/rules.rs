//! client-go's rules of leader election, as a pure function of what was seen and when: `tryAcquireOrRenew`, `release` and
//! the pauses between them (client-go v0.36, `tools/leaderelection/leaderelection.go`). Time is an argument.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_core::rng::Rng;
use mainstay_core::time::Moment;
use serde_json::{Value, json};

/// `JitterFactor` is 1.2: an acquisition's pause is a retry period, and up to this part of it longer.
const JITTER_PERCENT: u32 = 120;

/// client-go's three durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For how long others leave an unrenewed Lease alone.
    pub lease_duration: Duration,
    /// For how long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Between two attempts.
    pub retry_period: Duration,
}

impl Timing {
    /// In seconds.
    #[must_use]
    pub const fn seconds(lease_duration: u64, renew_deadline: u64, retry_period: u64) -> Self {
        Self {
            lease_duration: Duration::from_secs(lease_duration),
            renew_deadline: Duration::from_secs(renew_deadline),
            retry_period: Duration::from_secs(retry_period),
        }
    }

    /// # Errors
    /// Where client-go's `NewLeaderElector` refuses it.
    pub fn check(&self) -> Result<()> {
        let Self { lease_duration, renew_deadline, retry_period } = *self;
        ensure!(lease_duration > renew_deadline, "leaseDuration must be greater than renewDeadline");
        ensure!(
            renew_deadline > retry_period * JITTER_PERCENT / 100,
            "renewDeadline must be greater than retryPeriod*JitterFactor"
        );
        ensure!(lease_duration >= Duration::from_secs(1), "a Lease counts in whole seconds");
        ensure!(!retry_period.is_zero(), "retryPeriod must be greater than zero");
        Ok(())
    }
}

/// `LeaderElectionRecord`: the whole of what an elector writes, which is a Lease's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `holderIdentity`; empty for nobody.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_seconds: u64,
    /// `acquireTime`, in microseconds as `metav1.MicroTime` writes it.
    pub acquire_time: String,
    /// `renewTime`, likewise.
    pub renew_time: String,
    /// `leaseTransitions`.
    pub transitions: u64,
}

impl Record {
    /// Of a Lease; what is not there is empty or zero (`LeaseSpecToLeaderElectionRecord`).
    #[must_use]
    pub fn of(lease: &Value) -> Self {
        let spec = &lease["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            holder: text(&spec["holderIdentity"]),
            duration_seconds: spec["leaseDurationSeconds"].as_u64().unwrap_or(0),
            acquire_time: text(&spec["acquireTime"]),
            renew_time: text(&spec["renewTime"]),
            transitions: spec["leaseTransitions"].as_u64().unwrap_or(0),
        }
    }

    /// The `spec` of a Lease (`LeaderElectionRecordToLeaseSpec`).
    #[must_use]
    pub fn spec(&self) -> Value {
        json!({
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration_seconds,
            "acquireTime": self.acquire_time,
            "renewTime": self.renew_time,
            "leaseTransitions": self.transitions,
        })
    }

    /// How long others leave it alone.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_seconds)
    }
}

/// How an attempt begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// The leader, whose Lease is valid: write, under the version last seen, without reading before. When that fails, read.
    Update(Record),
    /// Read the Lease.
    Read,
}

/// How an attempt goes on when the Lease was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// There is none: make it.
    Create(Record),
    /// Take it, or renew it, under the version that was read.
    Update(Record),
    /// Another holds it, and it has not expired: not now.
    Held(String),
}

/// What one elector has seen.
#[derive(Clone, Debug)]
pub struct Rules {
    identity: String,
    timing: Timing,
    observed: Record,
    observed_at: Moment,
    /// What was read last: a record counts as changed when it differs from this. A write of its own is not read.
    read: Record,
}

impl Rules {
    /// An elector that has seen nothing.
    #[must_use]
    pub fn new(identity: &str, timing: Timing, now: Moment) -> Self {
        let (observed, read) = (Record::default(), Record::default());
        Self { identity: identity.to_owned(), timing, observed, observed_at: now, read }
    }

    /// `IsLeader`: whether the record seen last names it. By the name alone.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.observed.holder == self.identity
    }

    /// `isLeaseValid`: counted from when this elector saw the record, over the duration written in it. The times in it
    /// count for nothing.
    fn is_valid(&self, now: Moment) -> bool {
        self.observed_at + self.observed.duration() > now
    }

    /// What it would write if nobody had held the Lease. `stamp` is its wall clock.
    fn fresh(&self, stamp: &str) -> Record {
        Record {
            holder: self.identity.clone(),
            duration_seconds: self.timing.lease_duration.as_secs(),
            acquire_time: stamp.to_owned(),
            renew_time: stamp.to_owned(),
            transitions: 0,
        }
    }

    /// `tryAcquireOrRenew`, step 1.
    #[must_use]
    pub fn first(&self, now: Moment, stamp: &str) -> First {
        if !(self.is_leader() && self.is_valid(now)) {
            return First::Read;
        }
        First::Update(Record {
            acquire_time: self.observed.acquire_time.clone(),
            transitions: self.observed.transitions,
            ..self.fresh(stamp)
        })
    }

    /// `tryAcquireOrRenew`, steps 2 to 4: `found` is the Lease that was read.
    pub fn then(&mut self, now: Moment, stamp: &str, found: Option<Record>) -> Then {
        let Some(found) = found else { return Then::Create(self.fresh(stamp)) };
        if found != self.read {
            self.observe(now, found.clone());
            self.read = found.clone();
        }
        if !found.holder.is_empty() && self.is_valid(now) && !self.is_leader() {
            return Then::Held(found.holder);
        }
        let fresh = self.fresh(stamp);
        Then::Update(if self.is_leader() {
            Record { acquire_time: found.acquire_time, transitions: found.transitions, ..fresh }
        } else {
            Record { transitions: found.transitions + 1, ..fresh }
        })
    }

    /// A write of its own was done; or, from the reading above, a record is new.
    pub fn observe(&mut self, now: Moment, record: Record) {
        self.observed = record;
        self.observed_at = now;
    }

    /// `release`: what gives the Lease up, if it is the leader.
    #[must_use]
    pub fn release(&self, stamp: &str) -> Option<Record> {
        self.is_leader().then(|| Record {
            holder: String::new(),
            duration_seconds: 1,
            transitions: self.observed.transitions,
            ..self.fresh(stamp)
        })
    }

    /// The pause after an acquisition that failed (`wait.Jitter`).
    #[must_use]
    pub fn pause(&self, rng: &mut Rng) -> Duration {
        let period = self.timing.retry_period;
        period + rng.duration(period * JITTER_PERCENT / 100)
    }
}
