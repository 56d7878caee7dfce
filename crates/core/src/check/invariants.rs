//! The invariants themselves, one function each, over what is seen of the cluster at one moment.

use super::*;

impl Checker {
    pub(super) fn one_holder(&mut self, view: &View) {
        let nodes = view.nodes.len();
        if self.together == 0 && view.holders().nth(1).is_none() {
            return;
        }
        self.together = 0;
        for i in 0..nodes {
            for j in i + 1..nodes {
                let path = worse(view.path(i, j), view.path(j, i));
                let both = view.holds(i) && view.holds(j) && path != Path::Cut;
                let slot = &mut self.pairs[i * nodes + j];
                // Losing frames at any time since both hold gives the longer bound.
                *slot =
                    both.then(|| slot.map_or((view.at, path), |(since, seen)| (since, worse(seen, path))));
                let Some((since, seen)) = *slot else {
                    if !self.reported.is_empty() {
                        self.clear(Invariant::OneHolder, i * nodes + j);
                    }
                    continue;
                };
                self.together += 1;
                let age = view.at.saturating_sub(since);
                let bound = match seen {
                    Path::Open => self.bounds.two_holders,
                    _ => self.bounds.two_holders_lossy,
                };
                if seen == Path::Open {
                    self.longest_pair = self.longest_pair.max(age);
                }
                if age > bound {
                    let marks = (view.nodes[i].announces, view.nodes[j].announces);
                    self.report(view, Invariant::OneHolder, i * nodes + j, || {
                        format!("nodes {i} and {j} both hold for {age:?} (bound {bound:?}): {marks:?}")
                    });
                }
            }
        }
    }

    pub(super) fn served(&mut self, view: &View) {
        let dark = !view.lit();
        for (slot, node) in self.fit_since.iter_mut().zip(&view.nodes) {
            mark_since(slot, view.at, node.fit && node.agent == AgentState::Running);
        }
        mark_since(&mut self.dark_since, view.at, dark);
        mark_since(&mut self.dark_calm_since, view.at, dark && view.disturbance == Disturbance::None);
        let Some(fit) = self.fit_since.iter().flatten().min().copied() else { return };
        let Some(dark_since) = self.dark_since else {
            self.clear(Invariant::Served, 0);
            return;
        };
        let age = view.at.saturating_sub(dark_since.max(fit));
        self.longest_dark = self.longest_dark.max(age);
        let calm =
            self.dark_calm_since.map_or(Duration::ZERO, |since| view.at.saturating_sub(since.max(fit)));
        if age > self.bounds.dark || calm > self.bounds.dark_calm {
            let Bounds { dark, dark_calm, .. } = self.bounds;
            self.report(view, Invariant::Served, 0, || {
                format!("dark for {age:?} (bound {dark:?}), {calm:?} of it in calm (bound {dark_calm:?})")
            });
        }
    }

    pub(super) fn announcements(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let running = node.agent == AgentState::Running;
            let bare = running && node.announces.is_some() && !node.wears;
            mark_since(&mut self.bare_since[i], view.at, bare);
            if let Some(age) = self.bare_since[i].map(|since| view.at.saturating_sub(since))
                && age > self.bounds.announced_bare
            {
                self.report(view, Invariant::PresentThenAnnounced, i, || {
                    format!("node {i} announces an address that it has not had for {age:?}")
                });
            }
            mark_since(&mut self.announcing_since[i], view.at, view.holds(i));
            let Some(since) = self.announcing_since[i] else { continue };
            let last = node.last_announced.unwrap_or_default().max(since).max(node.agent_since);
            let gap = view.at.saturating_sub(last);
            if gap > self.bounds.announcement_gap {
                self.report(view, Invariant::AnnouncementGap, i, || {
                    format!("node {i} holds and has not announced for {gap:?}")
                });
            }
        }
    }

    pub(super) fn orphans(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let orphan = matches!(node.agent, AgentState::Dead | AgentState::Frozen) && node.wears;
            let age = view.at.saturating_sub(node.agent_since);
            if orphan && age > self.bounds.orphan {
                self.report(view, Invariant::DeadMan, i, || {
                    format!("node {i} still has the VIP {age:?} after its agent")
                });
            }
        }
    }

    pub(super) fn storms(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let rate = &mut self.rates[i];
            if node.effects < rate.effects || view.at.saturating_sub(rate.began) >= Duration::from_secs(1) {
                *rate = Rate { began: view.at, effects: node.effects };
            }
            let count = node.effects - rate.effects;
            if count > self.bounds.effects_per_second {
                self.report(view, Invariant::Storm, i, || {
                    format!("node {i} ordered {count} effects within a second")
                });
            }
        }
    }

    pub(super) fn epoch_grows(&mut self, view: &View) {
        if self.lease == view.lease {
            return;
        }
        if let (Some(before), Some(now)) = (&self.lease, &view.lease)
            && before.uid == now.uid
            && before.resets == now.resets
            && now.epoch < before.epoch
        {
            let (was, is) = (before.epoch, now.epoch);
            self.report(view, Invariant::EpochGrows, 0, || format!("the epoch went from {was} to {is}"));
        }
        if view.lease.is_some() {
            self.lease.clone_from(&view.lease);
        }
    }

    /// Marks carry no UID, so a new object's epochs are counted from its creation: an epoch is one pair of the
    /// number of objects seen and its number.
    pub(super) fn one_confirmed(&mut self, view: &View) {
        self.note_marks(view);
        for i in 0..view.nodes.len() {
            let node = &view.nodes[i];
            let Some(Mark { tenure: Tenure::Confirmed, epoch, .. }) = node.announces else { continue };
            if node.agent != AgentState::Running {
                continue;
            }
            let Some(resets) = self.marked[i].1 else { continue };
            for j in 0..i {
                let other = &view.nodes[j];
                let confirmed = |mark: Mark| mark.tenure == Tenure::Confirmed && mark.epoch == epoch;
                let same = other.announces.is_some_and(confirmed) && self.marked[j].1 == Some(resets);
                if same && other.agent == AgentState::Running {
                    self.report(view, Invariant::OneConfirmed, i * view.nodes.len() + j, || {
                        format!("nodes {j} and {i} are both confirmed in epoch {epoch}")
                    });
                }
            }
            let owner = *self.confirmed.entry((resets, epoch)).or_insert(i);
            if owner != i {
                self.report(view, Invariant::OneConfirmed, i, || {
                    format!("epoch {epoch} was node {owner}'s and now node {i} is confirmed in it")
                });
            }
        }
    }

    /// How often the Lease had been reset when each node took on its mark: until it hears of a reset, its mark speaks of
    /// the history before. It is not known of one that may have been on its way when the Lease was reset.
    fn note_marks(&mut self, view: &View) {
        let now = view.lease.as_ref().map_or(self.resets.0, |lease| lease.resets);
        if now != self.resets.0 {
            self.resets = (now, view.at);
        }
        let (resets, at) = self.resets;
        let known = resets == 0 || view.at.saturating_sub(at) > HISTORY_UNKNOWN;
        for (slot, node) in self.marked.iter_mut().zip(&view.nodes) {
            if slot.0 != node.announces {
                *slot = (node.announces, known.then_some(resets));
            }
        }
    }

    /// While only the API fails the holder stays. Excused: it alone is without the API for so long that rule 6 gives
    /// the lease to somebody who has it.
    pub(super) fn nothing_moves(&mut self, view: &View) {
        self.only_api_ever &= view.disturbance <= Disturbance::Api;
        let Some(since) = self.undisturbed_since else {
            self.incumbent = None;
            return;
        };
        let mut holders = view.holders();
        let (first, second) = (holders.next(), holders.next());
        drop(holders);
        if let Some(was) = self.incumbent {
            // Whoever has the API, and be it with pauses, counts expiry and grace since it first had it.
            // What lasts for a moment answers nothing: it pauses between requests, and one that is open is not sent again.
            let reach = view.nodes[was].reach;
            mark_since(&mut self.answered_since, view.at, reach == Reach::Good);
            let answered = self.answered_since.is_some_and(|at| view.at - at > self.bounds.asks_within);
            let behind = reach == Reach::Impaired || (self.disfavoured_since.is_some() && !answered);
            let ahead = view.nodes.iter().any(|node| node.reach != Reach::Impaired);
            let since_then = self.disfavoured_since.or(ahead.then_some(view.at));
            self.disfavoured_since = since_then.filter(|_| behind);
            if self.disfavoured_since.is_some_and(|since| view.at - since > self.bounds.favour) {
                self.incumbent = None;
                self.only_api_ever = false;
                return;
            }
            if first != Some(was) || second.is_some() {
                self.incumbent = None;
                let holders: Vec<usize> = view.holders().collect();
                self.report(view, Invariant::OutageMovesNothing, 0, || {
                    format!("node {was} held, nothing but the API failed, and now {holders:?} hold")
                });
            }
            return;
        }
        // After a start nothing can linger that would move it; after other faults something may. An API that failed
        // during the start leaves something, too: a grant that its node learns of when the API is back.
        let patience = if self.only_api_ever { FIRST_HOLDER } else { self.bounds.settle };
        let lasting =
            |since: Option<Duration>| since.is_some_and(|since| view.at.saturating_sub(since) > FIRST_HOLDER);
        let calm = lasting(self.calm_since) && view.at.saturating_sub(since) > patience;
        if calm && second.is_none() {
            self.incumbent = first;
            (self.disfavoured_since, self.answered_since) = (None, None);
        }
    }

    pub(super) fn settled(&mut self, view: &View) {
        let Some(since) = self.calm_since else {
            self.cost_base = None;
            return;
        };
        if view.at.saturating_sub(since) <= self.bounds.settle
            || !view.nodes.iter().any(|node| node.agent == AgentState::Running && node.fit)
        {
            self.cost_base = None;
            return;
        }
        self.api_cost(view);
        if let Some(detail) = unsettled(view) {
            let settle = self.bounds.settle;
            self.report(view, Invariant::Settled, 0, || format!("{settle:?} after the last fault {detail}"));
        }
    }

    pub(super) fn api_cost(&mut self, view: &View) {
        let reads = view.nodes.iter().map(|node| node.reads).sum();
        let writes = view.nodes.iter().map(|node| node.writes).sum();
        let Some((since, reads_then, writes_then)) = self.cost_base else {
            self.cost_base = Some((view.at, reads, writes));
            return;
        };
        let periods = view.at.saturating_sub(since).as_nanos() / self.bounds.write_period.as_nanos().max(1);
        // Clocks drift and phases differ: a fence post at either end, and one in a hundred for drift.
        let allowed = u64::try_from(periods + periods / 100).unwrap_or(u64::MAX).saturating_add(2);
        let (read, written) = (reads - reads_then, writes - writes_then);
        if read > 0 || written > allowed {
            self.report(view, Invariant::ApiCost, 0, || {
                format!("{read} reads and {written} writes in {periods} write periods of calm")
            });
        }
    }
}

/// What is not as it shall be after the faults, if anything.
fn unsettled(view: &View) -> Option<String> {
    let holders: Vec<usize> = view.holders().collect();
    let [holder] = holders[..] else {
        return Some(format!("{holders:?} hold, and it should be one node"));
    };
    let wearers: Vec<usize> = (0..view.nodes.len()).filter(|i| view.nodes[*i].wears).collect();
    if wearers != [holder] {
        return Some(format!("node {holder} holds, and the kernels of {wearers:?} have the VIP"));
    }
    let mark = view.nodes[holder].announces;
    if mark.is_none_or(|mark| mark.tenure != Tenure::Confirmed) {
        return Some(format!("node {holder} is not confirmed: {mark:?}"));
    }
    if view.last_announcer != Some(holder) {
        return Some(format!("node {holder} holds, and {:?} was the last to announce", view.last_announcer));
    }
    let right = [Entry::Empty, Entry::Node(holder)];
    let lost = view.clients.iter().position(|client| !right.contains(client))?;
    Some(format!("node {holder} holds, and client {lost} sends to {:?}", view.clients[lost]))
}

pub(super) fn mark_since(slot: &mut Option<Duration>, at: Duration, condition: bool) {
    match (condition, *slot) {
        (true, None) => *slot = Some(at),
        (false, Some(_)) => *slot = None,
        _ => {}
    }
}

fn worse(a: Path, b: Path) -> Path {
    match (a, b) {
        (Path::Cut, _) | (_, Path::Cut) => Path::Cut,
        (Path::Lossy, _) | (_, Path::Lossy) => Path::Lossy,
        _ => Path::Open,
    }
}
