//! A place for one value, where the newest replaces the one before: how the loop hands work to a slower thread
//! without ever waiting for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

struct Place<T> {
    value: Option<T>,
    closed: bool,
}

struct Shared<T> {
    place: Mutex<Place<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// The lock is held for a move of the value only, never across work, so that the giver does not wait.
    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives. Dropping it ends the taker, after the last value.
pub(crate) struct Giver<T>(Arc<Shared<T>>);

/// Takes.
pub(crate) struct Taker<T>(Arc<Shared<T>>);

/// A pair that shares one place.
pub(crate) fn pair<T>() -> (Giver<T>, Taker<T>) {
    let place = Mutex::new(Place { value: None, closed: false });
    let shared = Arc::new(Shared { place, changed: Condvar::new() });
    (Giver(Arc::clone(&shared)), Taker(shared))
}

impl<T> Giver<T> {
    /// Puts `value` there in place of one that was not taken yet.
    pub(crate) fn give(&self, value: T) {
        let replaced = self.0.lock().value.replace(value);
        drop(replaced);
        self.0.changed.notify_one();
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Taker<T> {
    /// Waits for a value; `None` when the giver is gone and nothing is left.
    pub(crate) fn take(&self) -> Option<T> {
        let waiting = |place: &mut Place<T>| place.value.is_none() && !place.closed;
        let place = self.0.changed.wait_while(self.0.lock(), waiting);
        place.unwrap_or_else(PoisonError::into_inner).value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn the_newest_wins_and_the_last_is_not_lost() {
        let (giver, taker) = pair();
        giver.give(1);
        giver.give(2);
        assert_eq!(taker.take(), Some(2));
        giver.give(3);
        drop(giver);
        assert_eq!((taker.take(), taker.take()), (Some(3), None));
    }

    #[test]
    fn a_taker_sleeps_until_something_is_given() {
        let (giver, taker) = pair();
        let thread = std::thread::spawn(move || std::iter::from_fn(|| taker.take()).last());
        for n in 0..1000 {
            giver.give(n);
        }
        drop(giver);
        assert_eq!(thread.join().unwrap(), Some(999));
    }
}
