//! What of a machine decides its future: the fields that make two machines the same to a search of all their states.
//!
//! Moments are hashed as [`Moment`] hashes itself, effect ids as [`EffectId`] does, so that a hasher can make both
//! relative. Left out, each for the reason beside it, is what no later decision depends on, and chance: two machines
//! that differ in their next random number only count as one, and the search follows the jitter of the first.

use std::hash::{Hash, Hasher};

use super::Machine;

impl Hash for Machine {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            settings, // but for `own`, and for its addresses where names give them, the same from a run's start to its end; a run is told apart by the name in the lease's view
            rng: _,   // chance
            lease,
            watcher,
            state: claim,
            state_since,
            succession,
            address,
            refresh_due,
            refused_since,
            withdraw_due,
            announced,
            listening: _, // true after every step
            saved: _,     // equals what there is to save after every step
            pending,
            next_id: _, // names only
            promised,
            link_down_since,
            health,
            recovered_at,
            service,
            stay_out_until,
            stopping,
            stop_after,
            held_at_stop,
            claimants,
            held_under,
            may_have_rival,
            forced_until,
            addresses, // with those of `settings` that change with them, below
            services,
            missing,
            restores,
            announcer,
            members,
            campaign_reason,
            conflicts: _,      // for people
            told_conflicts: _, // for people
            defended_at,
            told_silent: _, // for people
            told_holder: _, // for people
            invited_at_epoch,
            taken_from,
            false_takeovers,
            authority_is_beyond_link,
            asked_at,
            stranger_at,
            expelled_at,
            failures,
        } = self;
        (lease, watcher, claim, state_since, succession, address).hash(state);
        (refresh_due, refused_since, withdraw_due, announced, pending, promised).hash(state);
        (link_down_since, health, recovered_at, service, stay_out_until, stopping, stop_after, held_at_stop)
            .hash(state);
        (claimants, held_under, authority_is_beyond_link, &settings.own).hash(state);
        (may_have_rival, forced_until, missing, restores, announcer, members, stranger_at).hash(state);
        (expelled_at, failures).hash(state);
        (addresses, services).hash(state);
        if addresses.may_change() || services.are_there() {
            settings.vips.hash(state);
        }
        (campaign_reason, defended_at, invited_at_epoch, taken_from, false_takeovers, asked_at).hash(state);
    }
}
