//! Who is behind the VIP, and who of them serves: a list from elsewhere, and what the checks of each answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use crate::time::Moment;

/// Answers in a row before a backend's health is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, to serve again.
    pub rise: NonZeroU32,
    /// Bad ones, to serve no more.
    pub fall: NonZeroU32,
}

/// Who is listed: the name of the node of each, if it has one.
pub type Listed = BTreeMap<SocketAddr, Option<String>>;

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It was not checked yet.
    #[default]
    Untried,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// One backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The name of its node, if it has one.
    pub node: Option<String>,
    /// Its health.
    pub health: Health,
    /// Since when it is so, if it ever was otherwise.
    pub since: Option<Moment>,
    /// What the last bad answer was.
    pub last_error: Option<String>,
    /// Answers in a row that speak against its health.
    against: u32,
}

/// Whether checks of a backend go wrong that do not count as a fall yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The next check should be soon.
    Yes,
    /// There is no hurry.
    No,
}

/// Who serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Where new connections go.
    pub takes: BTreeSet<SocketAddr>,
    /// Whose connections stay.
    pub keeps: BTreeSet<SocketAddr>,
    /// None is known to be healthy, and those are better than nobody (fail open).
    pub in_doubt: bool,
}

/// All backends.
#[derive(Clone, Debug)]
pub struct Pool {
    thresholds: Thresholds,
    members: BTreeMap<SocketAddr, Member>,
    /// Who was up when somebody was.
    last_up: BTreeSet<SocketAddr>,
}

impl Pool {
    /// None yet.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, members: BTreeMap::new(), last_up: BTreeSet::new() }
    }

    /// Takes in the whole list. Whoever was there before keeps what is known of it. An empty list is no news: a cluster
    /// has an API server, or nobody could have said so.
    pub fn list(&mut self, listed: &Listed) {
        if listed.is_empty() {
            return;
        }
        self.members.retain(|address, _| listed.contains_key(address));
        for (address, node) in listed {
            self.members.entry(*address).or_default().node.clone_from(node);
        }
        self.settle();
    }

    /// Takes in what the check of one answered, at `now`. Of one that is not listed (any more) it means nothing.
    pub fn answered(&mut self, now: Moment, address: SocketAddr, answer: Result<(), String>) {
        let Some(member) = self.members.get_mut(&address) else { return };
        member.take(now, answer, self.thresholds);
        self.settle();
    }

    /// Whether checks of that one go wrong that do not count yet.
    #[must_use]
    pub fn failing(&self, address: SocketAddr) -> Failing {
        let hesitates = |member: &Member| member.health == Health::Up && member.against > 0;
        if self.members.get(&address).is_some_and(hesitates) { Failing::Yes } else { Failing::No }
    }

    /// The backends, by address.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<SocketAddr, Member> {
        &self.members
    }

    /// Whether each was checked once at least.
    #[must_use]
    pub fn all_tried(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.health != Health::Untried)
    }

    /// Who serves: those that are up. If none is, those that were when one was; if none ever was, those that were not tried
    /// yet; else all. Where one of them has an address of `here`, it alone takes what is new.
    #[must_use]
    pub fn serving(&self, here: Option<&BTreeSet<IpAddr>>) -> Serving {
        let up = self.with(Health::Up);
        let in_doubt = up.is_empty();
        let candidates =
            [up, self.last_up.clone(), self.with(Health::Untried), self.members.keys().copied().collect()];
        let keeps = candidates.into_iter().find(|some| !some.is_empty()).unwrap_or_default();
        let is_here = |one: &&SocketAddr| here.is_some_and(|here| here.contains(&one.ip()));
        let local: BTreeSet<_> = keeps.iter().filter(is_here).copied().collect();
        // A family without a backend here is served by others.
        let of_family = |one: &SocketAddr| local.iter().any(|local| local.is_ipv4() == one.is_ipv4());
        let takes = keeps.iter().filter(|one| local.contains(one) || !of_family(one)).copied().collect();
        Serving { takes, keeps, in_doubt }
    }

    fn with(&self, health: Health) -> BTreeSet<SocketAddr> {
        let some = self.members.iter().filter(|(_, member)| member.health == health);
        some.map(|(address, _)| *address).collect()
    }

    fn settle(&mut self) {
        let up = self.with(Health::Up);
        if !up.is_empty() {
            self.last_up = up;
        }
        self.last_up.retain(|address| self.members.contains_key(address));
    }
}

impl Member {
    fn take(&mut self, now: Moment, answer: Result<(), String>, thresholds: Thresholds) {
        let found = if answer.is_ok() { Health::Up } else { Health::Down };
        let needed = match (self.health, found) {
            // The first answer counts.
            (Health::Untried, _) => 1,
            (_, Health::Up) => thresholds.rise.get(),
            _ => thresholds.fall.get(),
        };
        self.last_error = answer.err().or(self.last_error.take());
        if found == self.health {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        if self.against >= needed {
            let was = std::mem::replace(&mut self.health, found);
            self.against = 0;
            self.since = (was != Health::Untried).then_some(now);
        }
    }
}
