//! What is known of one kind of object, and how it is replaced: by what was read, never by a failure to read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::problem::{Flaw, Kind, Problem};

/// The last valid reading of each object of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known<K: Ord, T> {
    items: BTreeMap<K, Item<T>>,
    listed: bool,
}

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item<T> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    value: T,
    #[serde(default, skip_serializing_if = "Grounds::is_whole")]
    grounds: Grounds,
}

/// How much of an object was understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Grounds {
    #[default]
    Whole,
    /// Only what could be saved of it.
    Rest,
}

impl<T> Item<T> {
    /// Whether all of the object was understood.
    pub(super) fn is_whole(&self) -> bool {
        self.grounds == Grounds::Whole
    }

    pub(super) fn value(&self) -> &T {
        &self.value
    }
}

impl Grounds {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// What came of reading one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading<K, T> {
    /// Which object; `None` when not even that could be read.
    pub key: Option<K>,
    /// `metadata.uid`: tells it from a later object of the same name. `None` where that is unknown.
    pub uid: Option<String>,
    /// What it says; `None` when it could not be read, and then there is a problem.
    pub value: Option<T>,
    /// Of one that could not be read, what could be saved: it counts where nothing else is known of this object.
    pub rest: Option<T>,
    /// What is wrong with it, also where the rest of it counts.
    pub problems: Vec<Problem>,
}

/// How much of the whole a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// A page, or a list that broke off. What it names counts; nothing follows from what it does not name.
    Partial,
    /// The whole list, read to its end. What it does not name is gone, unless it names nothing at all.
    Complete,
    /// The whole list, read twice with one result, the second time from a quorum: it counts even where it is empty.
    Confirmed,
}

/// A list of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<K, T> {
    /// Of what.
    pub kind: Kind,
    /// How much of the whole.
    pub extent: Extent,
    /// What came of reading each.
    pub readings: Vec<Reading<K, T>>,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change<K, T> {
    /// The object is there.
    Present(Reading<K, T>),
    /// The API server said that the object is gone.
    Gone(K),
}

impl<K, T> Reading<K, T> {
    /// An object that was read.
    pub fn read(key: K, value: T, problems: Vec<Problem>) -> Self {
        Self { key: Some(key), uid: None, value: Some(value), rest: None, problems }
    }

    /// An object that could not be read; `key`, where at least its name could.
    pub fn unreadable(key: Option<K>, problems: Vec<Problem>) -> Self {
        Self { key, uid: None, value: None, rest: None, problems }
    }

    /// The same, of the object with this uid.
    #[must_use]
    pub fn of_uid(self, uid: Option<String>) -> Self {
        Self { uid, ..self }
    }

    /// The same, with what could be saved of an object that could not be read.
    #[must_use]
    pub fn or_rest(self, rest: Option<T>) -> Self {
        Self { rest, ..self }
    }
}

impl<K: Ord, T> Default for Known<K, T> {
    /// Nothing known, nothing listed.
    fn default() -> Self {
        Self { items: BTreeMap::new(), listed: false }
    }
}

impl<K: Ord + Clone, T> Known<K, T> {
    /// Takes in a list. Objects that could not be read stay as they were known. Objects that the list does not name are
    /// given up only if that can be concluded: see [`Extent`], and a nameless object could be any of them.
    ///
    /// What is returned is to be told; it has been dealt with.
    pub fn replace(&mut self, listing: Listing<K, T>) -> Vec<Problem> {
        let empty =
            listing.extent == Extent::Complete && listing.readings.is_empty() && !self.items.is_empty();
        if empty {
            let flaw = Flaw::EmptyList { known: self.items.len() };
            return vec![Problem { kind: listing.kind, name: Some("list".to_owned()), flaw }];
        }
        let concludes =
            listing.extent != Extent::Partial && listing.readings.iter().all(|reading| reading.key.is_some());
        self.listed |= listing.extent != Extent::Partial;
        if concludes {
            let named: BTreeSet<K> = listing.readings.iter().filter_map(|one| one.key.clone()).collect();
            self.items.retain(|key, _| named.contains(key));
        }
        listing.readings.into_iter().flat_map(|reading| self.take(reading)).collect()
    }

    /// Takes in one event of a watch. What is returned is to be told; it has been dealt with.
    pub fn apply(&mut self, change: Change<K, T>) -> Vec<Problem> {
        match change {
            Change::Present(reading) => self.take(reading),
            Change::Gone(key) => {
                self.items.remove(&key);
                Vec::new()
            }
        }
    }

    /// What could be read replaces what was known. What could not, replaces nothing but the facts of an older object that
    /// had the same name: those are of something that is gone.
    fn take(&mut self, reading: Reading<K, T>) -> Vec<Problem> {
        let Reading { key: Some(key), uid, value, rest, problems } = reading else { return reading.problems };
        if let Some(value) = value {
            self.items.insert(key, Item { uid, value, grounds: Grounds::Whole });
            return problems;
        }
        let is_another = |item: &Item<T>| item.uid.is_some() && uid.is_some() && item.uid != uid;
        let stays = |item: &Item<T>| !is_another(item) && item.is_whole();
        if self.items.get(&key).is_some_and(stays) {
            return problems;
        }
        let is_gone = self.items.get(&key).is_some_and(is_another);
        match rest {
            Some(value) => drop(self.items.insert(key, Item { uid, value, grounds: Grounds::Rest })),
            None if is_gone => drop(self.items.remove(&key)),
            None => {}
        }
        problems
    }
}

impl<K: Ord, T> Known<K, T> {
    /// Whether a whole list was taken in.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// What is known of one object.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&T> {
        self.items.get(key).map(|item| &item.value)
    }

    /// `metadata.uid` of one object, where that is known.
    #[must_use]
    pub fn uid(&self, key: &K) -> Option<&str> {
        self.items.get(key)?.uid.as_deref()
    }

    /// Each, with how it was understood, in the order of the keys.
    pub(super) fn items(&self) -> impl Iterator<Item = (&K, &Item<T>)> {
        self.items.iter()
    }

    /// Takes in what an earlier run understood. It makes no list.
    pub(super) fn remember(&mut self, key: K, item: Item<T>) {
        self.items.insert(key, item);
    }

    /// All that is known, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.items.iter().map(|(key, item)| (key, &item.value))
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
