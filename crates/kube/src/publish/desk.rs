//! Which write is next, and when. Makes no request itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::backoff::{Backoff, RETRY_AFTER_MAX};
use mainstay_core::intent::ObjectName;
use mainstay_core::rng::Rng;
use tokio::time::Instant;

use super::due::{Part, PortsAre, What, Write, lacks, leaves};
use super::{Publication, Wanted, remedy};
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::reflect::ObservedServices;
use crate::reflect::observed::Observed;

/// Between attempts at one Service, with full jitter: from this ...
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// ... to this.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// All of one part rest, where a server is too busy or does not let us: from this ...
const GATE_BASE: Duration = Duration::from_millis(500);
/// ... to this.
const GATE_CAP: Duration = Duration::from_secs(30);
/// After a 409, at least: what the watch shows is decided on anew before it is written on again.
const SETTLES: Duration = Duration::from_millis(500);
/// A write that has to be done again after this is no contest.
const FORGIVE: Duration = Duration::from_secs(60);

/// How it goes with writing on Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishStatus {
    /// Services on which something shall stand.
    pub wanted: usize,
    /// Services that wait for a write, or for another attempt.
    pub waiting: usize,
    /// Writes under way.
    pub under_way: usize,
    /// Writes that were done.
    pub writes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Failures in a row, of whatever Service.
    pub failures_in_a_row: u32,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<Trouble>,
    /// Writes that had to be done again because somebody had changed the same.
    pub contested: u64,
}

/// What there is to do.
pub(super) enum Look {
    Write(ObjectName, Write),
    Nothing,
}

/// What was done on one part of a Service.
struct Record {
    backoff: Backoff,
    rest_until: Option<Instant>,
    /// The last write that was done, and when.
    done: Option<(What, Instant)>,
}

impl Record {
    fn new() -> Self {
        Self { backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP), rest_until: None, done: None }
    }
}

/// A part of all Services.
struct Gate {
    backoff: Backoff,
    closed_until: Option<Instant>,
    /// The kind of trouble that the log has last been told.
    said: Option<ErrorClass>,
}

/// What was written, what is to be looked at, and when.
pub(super) struct Desk {
    ready: BTreeSet<ObjectName>,
    later: BTreeSet<(Instant, ObjectName)>,
    under_way: BTreeSet<ObjectName>,
    /// What was wanted, and is not any more.
    leaving: BTreeMap<ObjectName, Publication>,
    records: BTreeMap<(ObjectName, Part), Record>,
    gates: BTreeMap<Part, Gate>,
    /// What the last status was like that came back.
    ports: PortsAre,
    rng: Rng,
    status: PublishStatus,
}

impl Desk {
    pub(super) fn new(rng: Rng) -> Self {
        let gate = || Gate { backoff: Backoff::new(GATE_BASE, GATE_CAP), closed_until: None, said: None };
        Self {
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            under_way: BTreeSet::new(),
            leaving: BTreeMap::new(),
            records: BTreeMap::new(),
            gates: [(Part::Annotations, gate()), (Part::Status, gate())].into(),
            ports: PortsAre::Kept,
            rng,
            status: PublishStatus::default(),
        }
    }

    /// Takes in what is wanted now, in place of what was.
    pub(super) fn adopt(&mut self, was: &Wanted, now: &Wanted) {
        for (name, publication) in &now.services {
            if was.services.get(name) != Some(publication) {
                self.leaving.remove(name);
                self.forget(name);
                self.ready.insert(name.clone());
            }
        }
        for (name, publication) in &was.services {
            if !now.services.contains_key(name) {
                self.leaving.insert(name.clone(), publication.clone());
                self.ready.insert(name.clone());
            }
        }
        self.leaving.retain(|name, _| !now.elsewhere.contains(name));
    }

    /// Something changed on these Services.
    pub(super) fn look_at(&mut self, names: BTreeSet<ObjectName>) {
        self.ready.extend(names);
    }

    /// When something that rests is to be looked at.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Looks at what has rested.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            self.ready.extend(self.later.pop_first().map(|(_, name)| name));
        }
    }

    /// The next write.
    pub(super) fn next(&mut self, wanted: &Wanted, observed: &ObservedServices) -> Look {
        while let Some(name) = self.ready.pop_first() {
            // It is looked at again when it lands.
            if self.under_way.contains(&name) {
                continue;
            }
            let writes = self.due(&name, wanted, observed);
            let waits: Vec<Option<Instant>> = writes.iter().map(|write| self.wait(&name, write)).collect();
            let now = Instant::now();
            let open = waits.iter().position(|wait| wait.is_none_or(|until| until <= now));
            if let Some(write) = open.and_then(|place| writes.into_iter().nth(place)) {
                self.under_way.insert(name.clone());
                return Look::Write(name, write);
            }
            self.later.extend(waits.into_iter().flatten().min().map(|at| (at, name)));
        }
        Look::Nothing
    }

    fn due(&mut self, name: &ObjectName, wanted: &Wanted, observed: &ObservedServices) -> Vec<Write> {
        let observed = observed.get(name);
        let writes = match (wanted.services.get(name), &observed) {
            (Some(publication), Some(observed)) => lacks(publication, observed, self.ports),
            (None, Some(observed)) => {
                self.leaving.get(name).and_then(|was| leaves(was, observed)).into_iter().collect()
            }
            // What is not there is not written on.
            (_, None) => Vec::new(),
        };
        if writes.is_empty() && !wanted.services.contains_key(name) {
            self.leaving.remove(name);
            self.forget(name);
        }
        if observed.is_none() {
            self.forget(name);
        }
        writes
    }

    fn forget(&mut self, name: &ObjectName) {
        for part in [Part::Annotations, Part::Status] {
            self.records.remove(&(name.clone(), part));
        }
    }

    /// Until when the write has to wait; `None` is not at all.
    fn wait(&mut self, name: &ObjectName, write: &Write) -> Option<Instant> {
        let part = write.part();
        let gate = self.gates.get(&part).and_then(|gate| gate.closed_until);
        let Some(record) = self.records.get_mut(&(name.clone(), part)) else { return gate };
        // It was done and does not stand there: somebody else writes too.
        if let Some((_, at)) = record.done.take_if(|(done, _)| *done == write.what) {
            self.status.contested += 1;
            if at.elapsed() >= FORGIVE {
                record.backoff.reset();
            }
            record.rest_until = Some(Instant::now() + record.backoff.next(&mut self.rng));
        }
        gate.max(record.rest_until)
    }

    /// Learns from how a write came back whether ports stay where they are written.
    pub(super) fn learn(&mut self, write: &Write, seen: Option<&Observed>) {
        if let (What::Status(ingress), Some(seen)) = (&write.what, seen)
            && !ingress.ports.is_empty()
            && !ingress.addresses.is_empty()
        {
            let none = seen.ports.as_ref().is_some_and(BTreeSet::is_empty);
            self.ports = if none { PortsAre::Dropped } else { PortsAre::Kept };
        }
    }

    /// Takes in what became of a write.
    pub(super) fn landed(&mut self, name: &ObjectName, write: &Write, answer: &Answer<()>) {
        self.under_way.remove(name);
        self.ready.insert(name.clone());
        match answer {
            Answer::Success(()) => self.done(name, write),
            Answer::Throttled(wait) => {
                self.close(write.part(), wait.unwrap_or_default());
                self.failed(
                    write.part(),
                    &Trouble::new(ErrorClass::Overloaded, "the API server is overloaded"),
                );
            }
            Answer::Forbidden(trouble) if is_general(trouble.class) => self.shut(write.part(), trouble),
            Answer::Refused(trouble) => self.shut(write.part(), trouble),
            Answer::Forbidden(trouble) | Answer::Unknown(trouble) => {
                self.rest(name, write.part(), Duration::ZERO);
                self.failed(write.part(), trouble);
            }
            // It is another one, or gone, or changed: the watch says which. Till then no part of it is written on, or
            // what is another's by now would be.
            Answer::Absent | Answer::Conflict | Answer::Gone => {
                [Part::Annotations, Part::Status].into_iter().for_each(|part| self.rest(name, part, SETTLES));
                self.status.failures += 1;
            }
        }
    }

    fn done(&mut self, name: &ObjectName, write: &Write) {
        let (part, now) = (write.part(), Instant::now());
        self.status.writes += 1;
        (self.status.failures_in_a_row, self.status.last_error) = (0, None);
        // One that was on its way when the others were told to wait opens nothing.
        let open = |gate: &&mut Gate| gate.closed_until.is_none_or(|until| until <= now);
        if let Some(gate) = self.gates.get_mut(&part).filter(open) {
            (gate.closed_until, gate.said) = (None, None);
            gate.backoff.reset();
        }
        let record = self.records.entry((name.clone(), part)).or_insert_with(Record::new);
        (record.done, record.rest_until) = (Some((write.what.clone(), now)), None);
        // Our fields are given up, whoever else owns them.
        if let (What::Status(given), Some(was)) = (&write.what, self.leaving.get_mut(name)) {
            was.ingress.clone_from(&given.addresses);
        }
    }

    fn shut(&mut self, part: Part, trouble: &Trouble) {
        self.close(part, Duration::ZERO);
        self.failed(part, trouble);
    }

    /// All of that part rest. What is under way already counts once.
    fn close(&mut self, part: Part, at_least: Duration) {
        let now = Instant::now();
        let Some(gate) = self.gates.get_mut(&part) else { return };
        let until = match gate.closed_until.filter(|until| *until > now) {
            // Others that were under way: their number says nothing of how long to wait.
            Some(until) => until.max(now + at_least.min(RETRY_AFTER_MAX)),
            None => {
                gate.backoff.retry_after(at_least);
                now + gate.backoff.next(&mut self.rng)
            }
        };
        gate.closed_until = Some(until);
    }

    fn rest(&mut self, name: &ObjectName, part: Part, at_least: Duration) {
        let record = self.records.entry((name.clone(), part)).or_insert_with(Record::new);
        record.backoff.retry_after(at_least);
        record.rest_until = Some(Instant::now() + record.backoff.next(&mut self.rng));
    }

    /// One line for each kind of trouble, until it has gone well once.
    fn failed(&mut self, part: Part, trouble: &Trouble) {
        self.status.failures += 1;
        self.status.failures_in_a_row = self.status.failures_in_a_row.saturating_add(1);
        self.status.last_error = Some(trouble.clone());
        let Some(gate) = self.gates.get_mut(&part) else { return };
        if gate.said.replace(trouble.class) != Some(trouble.class) {
            let what = if part == Part::Status { "status" } else { "annotations" };
            tracing::warn!("the {what} of Services cannot be written: {}{}", trouble.text, remedy(trouble));
        }
    }

    pub(super) fn status(&self, wanted: usize, under_way: usize) -> PublishStatus {
        let waiting = self.ready.len() + self.later.len();
        PublishStatus { wanted, waiting, under_way, ..self.status.clone() }
    }
}

/// Whether it is about us, and not about that Service.
fn is_general(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Forbidden | ErrorClass::Unauthorized | ErrorClass::Access)
}
