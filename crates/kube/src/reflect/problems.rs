//! What is wrong with objects at present, so that it can be told. Bounded.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::intent::{Kind, Problem};

/// Objects whose problems are kept. Policy when there are more: they are counted and not kept.
const MOST: usize = 256;

/// What is wrong with objects at present: it goes when the object is read and is well, or is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    by_object: BTreeMap<(Kind, Option<String>), Vec<Problem>>,
    untold: u64,
}

impl Problems {
    /// Each of them, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.by_object.values().flatten()
    }

    /// How often there was no room for an object's.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// Replaces those of one object. Whether that changes anything.
    pub(super) fn set(&mut self, kind: Kind, name: Option<String>, problems: Vec<Problem>) -> bool {
        let key = (kind, name);
        if self.by_object.get(&key).map_or(&[][..], Vec::as_slice) == problems {
            return false;
        }
        if problems.is_empty() {
            self.by_object.remove(&key);
        } else if self.by_object.len() < MOST || self.by_object.contains_key(&key) {
            self.by_object.insert(key, problems);
        } else {
            self.untold += 1;
        }
        true
    }

    /// Forgets those of objects that are not among these names. Whether that changes anything.
    pub(super) fn keep(&mut self, kind: Kind, names: &BTreeSet<Option<String>>) -> bool {
        let before = self.by_object.len();
        self.by_object.retain(|(of, name), _| *of != kind || names.contains(name));
        self.by_object.len() != before
    }
}
