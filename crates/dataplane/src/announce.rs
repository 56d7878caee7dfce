//! When each virtual address is announced: pure pacing, time is an argument.
//!
//! A take-over is announced at 0, 50, 150, 500, 850 and 1,200 ms (rule 3), then about every interval for ever. The winner
//! of a conflict announces now and once more 1.1 s after (rule 5): Linux ignores for a second (`locktime`) what it
//! could take for a flapping neighbour, so the later one is what settles a client that heard the loser last.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use mainstay_core::effect::Pace;
use mainstay_core::names::ClaimId;
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Vip};

#[cfg(test)]
mod tests;

/// The steps of a burst, counted from the take-over.
pub const BURST: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(500),
    // Two frames of a rival must fit into the 1 s that two holders may last, with the 500 ms between them that the API
    // is waited for: without this one a hand-over while the API stalls lasted for 1,016 ms (the simulation, seed 382).
    Duration::from_millis(850),
    Duration::from_millis(1_200),
];

/// How long after the last `Defend` the final announcement of a defence is sent: past Linux's `locktime` of 1 s.
pub const DEFENCE_SETTLES: Duration = Duration::from_millis(1_100);

/// The least time between two immediate announcements of one address in its defence.
pub const DEFENCE_SPACING: Duration = Duration::from_millis(50);

/// In which of the two gratuitous forms (RFC 5227 section 3) an IPv4 address is announced: some hosts learn from one
/// only. An IPv6 address has one form, the unsolicited neighbour advertisement, called `Reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// An ARP request for the sender's own address.
    Request,
    /// An ARP reply that nobody asked for; for IPv6 the unsolicited neighbour advertisement.
    Reply,
}

/// One frame to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The address announced.
    pub vip: Vip,
    /// What the frame carries.
    pub mark: Mark,
    /// In which form.
    pub form: Form,
}

/// The announcement schedules of all claims of one interface.
#[derive(Clone, Debug)]
pub struct Pacer {
    interval: Duration,
    random: u64,
    claims: BTreeMap<ClaimId, Claim>,
}

/// All but the interval and the next jitter: two schedules that go on alike but for chance are the same.
impl Hash for Pacer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.claims.hash(state);
    }
}

#[derive(Clone, Debug)]
struct Claim {
    mark: Mark,
    schedules: BTreeMap<Vip, Schedule>,
    /// When each is due, so that nobody looks at thousands to find the next.
    agenda: BTreeSet<(Moment, Vip)>,
}

/// The agenda follows from the schedules.
impl Hash for Claim {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.mark, &self.schedules).hash(state);
    }
}

/// One address's. Three clocks run side by side and disturb each other only in that what is due together is sent once.
#[derive(Clone, Debug, Hash)]
struct Schedule {
    burst: Option<Burst>,
    steady_at: Moment,
    steady_form: Form,
    defence: Defence,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Burst {
    began: Moment,
    step: usize,
}

#[derive(Clone, Copy, Debug, Default, Hash)]
struct Defence {
    now_at: Option<Moment>,
    settle_at: Option<Moment>,
    last: Option<Moment>,
}

impl Pacer {
    /// A pacer that announces steadily every `interval` +-10 %; `seed` feeds the jitter.
    #[must_use]
    pub fn new(interval: Duration, seed: u64) -> Self {
        Self { interval, random: seed, claims: BTreeMap::new() }
    }

    /// Announces exactly `vips` for `claim` from now on. Addresses that it announced and that are not named are
    /// dropped; those that are new start as `pace` says (`Steady`: with one announcement at once).
    #[expect(
        clippy::too_many_arguments,
        reason = "the moment, and the fields of the one effect it carries out"
    )]
    pub fn set(&mut self, now: Moment, claim: &ClaimId, vips: &[Vip], mark: Mark, pace: Pace) {
        let these: BTreeSet<Vip> = vips.iter().copied().collect();
        let claim = self.claims.entry(claim.clone()).or_insert_with(|| Claim::new(mark));
        claim.mark = mark;
        claim.keep(&these);
        for vip in these {
            claim.change(now, vip, |schedule| match pace {
                Pace::Burst => schedule.begin_burst(now),
                Pace::Steady => {}
                Pace::Defend => schedule.defence.ask(now),
            });
        }
    }

    /// Announces these of the claim's addresses as at a take-over; the others go on as they are.
    pub fn burst(&mut self, now: Moment, claim: &ClaimId, vips: &[Vip]) {
        let Some(claim) = self.claims.get_mut(claim) else { return };
        for vip in vips.iter().filter(|vip| claim.schedules.contains_key(vip)).collect::<Vec<_>>() {
            claim.change(now, *vip, |schedule| schedule.begin_burst(now));
        }
    }

    /// Announces one of the claim's addresses no more; the others go on as they are.
    pub fn drop_one(&mut self, claim: &ClaimId, vip: Vip) {
        if let Some(claim) = self.claims.get_mut(claim) {
            claim.drop_one(vip);
        }
    }

    /// Announces the claim's addresses no more.
    pub fn silence(&mut self, claim: &ClaimId) {
        self.claims.remove(claim);
    }

    /// When [`Self::due`] has something to say; `None` when nothing is announced.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.claims.values().filter_map(|claim| claim.agenda.first()).map(|(at, _)| *at).min()
    }

    /// What is to be sent `now`. What was missed is not made up for: each address is announced once, however late.
    pub fn due(&mut self, now: Moment) -> Vec<Announcement> {
        let Self { interval, random, claims } = self;
        let mut out = Vec::new();
        for claim in claims.values_mut() {
            let mark = claim.mark;
            for vip in claim.due(now) {
                let taken = claim.change(now, vip, |one| one.take(now, || jittered(*interval, random)));
                let forms = if vip.is_ipv6() { taken.map(|_| &[Form::Reply][..]) } else { taken };
                out.extend(forms.into_iter().flatten().map(|form| Announcement { vip, mark, form: *form }));
            }
        }
        out
    }
}

impl Claim {
    fn new(mark: Mark) -> Self {
        Self { mark, schedules: BTreeMap::new(), agenda: BTreeSet::new() }
    }

    /// Changes one address's schedule, which begins `now` if there is none.
    fn change<R>(&mut self, now: Moment, vip: Vip, how: impl FnOnce(&mut Schedule) -> R) -> R {
        let mut before = None;
        let schedule = self
            .schedules
            .entry(vip)
            .and_modify(|schedule| before = Some(schedule.deadline()))
            .or_insert_with(|| Schedule::new(now));
        let result = how(schedule);
        let after = schedule.deadline();
        if before != Some(after) {
            before.map(|at| self.agenda.remove(&(at, vip)));
            self.agenda.insert((after, vip));
        }
        result
    }

    /// Drops all but `these`.
    fn keep(&mut self, these: &BTreeSet<Vip>) {
        let gone: Vec<Vip> = self.schedules.keys().copied().filter(|vip| !these.contains(vip)).collect();
        gone.into_iter().for_each(|vip| self.drop_one(vip));
    }

    fn drop_one(&mut self, vip: Vip) {
        if let Some(schedule) = self.schedules.remove(&vip) {
            self.agenda.remove(&(schedule.deadline(), vip));
        }
    }

    /// Those due `now`, in the addresses' order.
    fn due(&self, now: Moment) -> Vec<Vip> {
        let mut due: Vec<Vip> =
            self.agenda.iter().take_while(|(at, _)| *at <= now).map(|(_, vip)| *vip).collect();
        due.sort_unstable();
        due
    }
}

impl Schedule {
    fn new(now: Moment) -> Self {
        Self { burst: None, steady_at: now, steady_form: Form::Request, defence: Defence::default() }
    }

    fn begin_burst(&mut self, now: Moment) {
        self.burst = Some(Burst { began: now, step: 0 });
    }

    fn deadline(&self) -> Moment {
        // The steady clock waits for the burst, which ends in setting it.
        let paced = self.burst.map_or(self.steady_at, Burst::at);
        [self.defence.now_at, self.defence.settle_at].into_iter().flatten().fold(paced, Moment::min)
    }

    /// The forms due at `now`, if any; `pause` says how long until the next steady announcement.
    fn take(&mut self, now: Moment, pause: impl FnOnce() -> Duration) -> Option<&'static [Form]> {
        let defended = self.defence.take(now);
        let burst = self.burst.filter(|burst| burst.at() <= now);
        if let Some(burst) = burst {
            self.burst = burst.after(now);
        }
        // Whoever ends the burst, or finds none, keeps the steady clock.
        if self.burst.is_none() && (burst.is_some() || self.steady_at <= now) {
            self.steady_at = now + pause();
            if burst.is_none() && !defended {
                return Some(self.alternate());
            }
        }
        (defended || burst.is_some()).then_some(&[Form::Request, Form::Reply])
    }

    fn alternate(&mut self) -> &'static [Form] {
        let (forms, next): (&'static [Form], Form) = match self.steady_form {
            Form::Request => (&[Form::Request], Form::Reply),
            Form::Reply => (&[Form::Reply], Form::Request),
        };
        self.steady_form = next;
        forms
    }
}

impl Burst {
    fn at(self) -> Moment {
        self.began + BURST[self.step.min(BURST.len() - 1)]
    }

    /// What is left of the burst after an announcement at `now`: the steps passed over are dropped.
    fn after(self, now: Moment) -> Option<Self> {
        (self.step + 1..BURST.len()).map(|step| Self { step, ..self }).find(|burst| burst.at() > now)
    }
}

impl Defence {
    fn ask(&mut self, now: Moment) {
        let earliest = self.last.map_or(now, |last| last + DEFENCE_SPACING);
        // `last` is in the future only if the clock went back, which it does not.
        self.now_at = Some(self.now_at.unwrap_or_else(|| earliest.max(now)));
        self.settle_at = Some(now + DEFENCE_SETTLES);
    }

    fn take(&mut self, now: Moment) -> bool {
        let at_once = self.now_at.take_if(|at| *at <= now).is_some();
        let settled = self.settle_at.take_if(|at| *at <= now).is_some();
        if at_once || settled {
            self.last = Some(now);
        }
        at_once || settled
    }
}

/// `interval` +-10 %, from splitmix64.
fn jittered(interval: Duration, random: &mut u64) -> Duration {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let per_mille = u32::try_from(900 + z % 201).unwrap_or(1_000);
    interval * per_mille / 1_000
}
