//! What of a checker decides its future verdicts, for a search of all states.

use std::hash::{Hash, Hasher};

use super::*;

impl Checker {
    /// Judges by these figures from now on; what was seen so far keeps its age.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Hashes what the checker remembers, its moments as ages `at` this time of the observer's clock. An age beyond all
    /// bounds is as good as any other. Left out are the counts behind [`Invariant::Storm`] and [`Invariant::ApiCost`],
    /// which no two moments have in common.
    pub fn fingerprint<H: Hasher>(&self, at: Duration, state: &mut H) {
        let Bounds { two_holders_lossy, dark, settle, announcement_gap, favour, .. } = self.bounds;
        let longest = [two_holders_lossy, dark, settle, announcement_gap, favour].into_iter().max();
        let forgotten = longest.unwrap_or_default() + Duration::from_secs(1);
        let age = |since: Duration| at.saturating_sub(since).min(forgotten);
        let mut ages = |slots: &[Option<Duration>]| {
            slots.iter().for_each(|since| since.map(age).hash(state));
        };
        ages(&[self.dark_since, self.dark_calm_since, self.undisturbed_since, self.calm_since]);
        // While it is not behind, how long it has been answered decides nothing.
        ages(&[self.disfavoured_since, self.disfavoured_since.and(self.answered_since)]);
        ages(&self.fit_since);
        ages(&self.bare_since);
        ages(&self.announcing_since);
        self.pairs.iter().for_each(|pair| pair.map(|(since, path)| (age(since), path)).hash(state));
        // What is known of the history changes once, some time after a reset.
        let (resets, reset_at) = self.resets;
        let unknown = (resets > 0).then(|| at.saturating_sub(reset_at).min(HISTORY_UNKNOWN));
        (&self.marked, resets, unknown).hash(state);
        (self.only_api_ever, self.incumbent, &self.lease, &self.confirmed, self.violations.len()).hash(state);
    }
}
