//! A hasher that sees moments, effect ids and the store's stamps as they are seen from the present.

use std::hash::Hasher;

use super::MEMORY;
use crate::sim::random::nanos;

/// Resource versions of the model begin here, so that a text is known for one by its first digits and its length.
pub(super) const FIRST_VERSION: u64 = 7_000_000_000_000_000_000;
const VERSION_PREFIX: &[u8] = b"7000000";
const VERSION_LENGTH: usize = 19;
/// Times written in a Lease begin with this and go on with nanoseconds since the run's origin.
pub(super) const STAMP: char = '@';

/// Folds everything into 64 bits, absolute moments into ages and ids into their order of appearance.
pub(super) struct RelativeHasher {
    now: u64,
    version: u64,
    scope: u64,
    seen: Vec<(u64, u64)>,
    sum: u64,
}

impl RelativeHasher {
    /// A hasher for a world at `now` whose store last gave `version`.
    pub(super) fn new(now: u64, version: u64) -> Self {
        Self { now, version, scope: 0, seen: Vec::with_capacity(8), sum: 0x243f_6a88_85a3_08d3 }
    }

    /// Effect ids from now on are those of the agent on host `host`.
    pub(super) fn of_host(&mut self, host: usize) {
        self.scope = host as u64;
    }

    /// A moment in nanoseconds since the origin.
    pub(super) fn moment(&mut self, at: u64) {
        let oldest = self.now.saturating_sub(nanos(MEMORY));
        self.fold(at.max(oldest).wrapping_sub(self.now));
    }

    fn fold(&mut self, value: u64) {
        let product = u128::from(self.sum ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.sum = (low ^ high).rotate_left(23);
    }

    fn text_number(bytes: &[u8]) -> Option<u64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

impl Hasher for RelativeHasher {
    fn finish(&self) -> u64 {
        let mut last = Self { seen: Vec::new(), ..*self };
        last.fold(0x1319_8a2e_0370_7344);
        last.sum
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() == VERSION_LENGTH && bytes.starts_with(VERSION_PREFIX) {
            let version = Self::text_number(bytes).unwrap_or(0);
            return self.fold(self.version.wrapping_sub(version));
        }
        if let [first, digits @ ..] = bytes
            && *first == STAMP as u8
            && let Some(at) = Self::text_number(digits)
        {
            return self.moment(at);
        }
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
        self.fold(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.fold(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.fold(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.fold(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.fold(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64);
    }

    /// A [`mainstay_core::time::Moment`].
    fn write_u128(&mut self, value: u128) {
        self.moment(u64::try_from(value).unwrap_or(u64::MAX));
    }

    /// A [`mainstay_core::input::EffectId`].
    fn write_i128(&mut self, value: i128) {
        let id = (self.scope, u64::try_from(value).unwrap_or(u64::MAX));
        let place = self.seen.iter().position(|seen| *seen == id).unwrap_or_else(|| {
            self.seen.push(id);
            self.seen.len() - 1
        });
        self.fold(place as u64);
    }
}
