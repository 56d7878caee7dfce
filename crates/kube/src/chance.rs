//! Seeds for jitter. Not for secrets: they only spread clients out.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use mainstay_core::rng::Rng;

/// A generator that no other process, and no other call, shares.
pub(crate) fn rng() -> Rng {
    // Each `RandomState` has keys of its own; hashing nothing with them yields a fresh number.
    Rng::new(RandomState::new().build_hasher().finish())
}
