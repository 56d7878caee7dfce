//! Whether the holder wears the address that it is asked for, where addresses come from names and may change (rule 14):
//! only then does that address's silence say anything of the holder.

use super::Watcher;
use crate::time::Moment;
use crate::vip::Vip;

/// What is known of the holder and of an address that came from a name: nodes see a new answer at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Worn {
    /// It was not heard to wear it.
    Unheard,
    /// It wears it.
    Heard,
    /// It was heard to wear it, and has said since that it wears others.
    Denied,
}

impl Watcher {
    /// From now on the silence of an address says something of a holder only if it was heard to wear it.
    pub fn expect_changes(&mut self) {
        self.worn = self.worn.or(Some(Worn::Unheard));
    }

    /// Asks for this address from now on. Of another than before nothing is known.
    pub fn ask_for(&mut self, now: Moment, vip: Vip) {
        if self.vip != vip {
            self.vip = vip;
            self.restart(now);
            self.worn = self.worn.map(|_| Worn::Unheard);
        }
    }

    /// Somebody whom we count wears this address.
    pub fn heard_wearing(&mut self, vip: Vip) {
        if vip == self.vip && self.worn == Some(Worn::Unheard) {
            self.worn = Some(Worn::Heard);
        }
    }

    /// Whether the holder was heard to wear what is asked for, and has not said since that it wears others.
    #[must_use]
    pub fn is_heard_wearing(&self) -> bool {
        self.worn == Some(Worn::Heard)
    }

    /// When the holder was last seen to say something else of what it wears than before.
    #[must_use]
    pub fn told_at(&self) -> Moment {
        self.told_at
    }

    /// What the holder says of itself: which addresses it wears, if it says so. What is heard of it later is newer: while
    /// the authority is out of reach it cannot say that it wears another.
    pub fn told_worn(&mut self, now: Moment, vips: Option<&[Vip]>) {
        if self.worn.is_none() || self.told.as_deref() == vips {
            return;
        }
        self.told = vips.map(<[Vip]>::to_vec);
        self.told_at = now;
        let denied = vips.is_some_and(|vips| !vips.contains(&self.vip));
        self.worn = match self.worn {
            Some(Worn::Heard) if denied => Some(Worn::Denied),
            Some(Worn::Denied) if !denied => Some(Worn::Unheard),
            before => before,
        };
    }
}
