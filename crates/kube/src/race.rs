//! One request, several API servers: to the preferred one first, to the next at once when that one refuses, and to
//! the next as well when it is slow. The copies race; doubles are harmless because every write is a compare-and-swap.
//!
//! [`Heat`] decides, purely: time is an argument. [`race`] carries out.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, ErrorClass, Trouble};

/// The pace of a race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// An unanswered request is also sent to the next server after this.
    pub(crate) hedge_after: Duration,
    /// A server that has left a request unanswered for this long counts as out of reach.
    pub(crate) unanswered_after: Duration,
    /// When to give up.
    pub(crate) deadline: Duration,
}

/// How a race ended.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    /// The answer that counts.
    pub(crate) answer: Answer<T>,
    /// Which server gave it, as its place in the order; `None` when it sums up several.
    pub(crate) by: Option<usize>,
}

/// Runs up to `count` copies, made by `start` in order. `unanswered` runs once, when every server has refused its
/// copy or left it unanswered for so long; the race goes on after it.
pub(crate) async fn race<T, Copy>(
    count: usize,
    pace: Pace,
    start: impl Fn(usize) -> Copy,
    unanswered: impl AsyncFnOnce(),
) -> Ended<T>
where
    Copy: Future<Output = Answer<T>>,
{
    let began = Instant::now();
    let (mut heat, mut running) = (Heat::new(count, pace), FuturesUnordered::new());
    let mut unanswered = Some(unanswered);
    loop {
        while let Some(step) = heat.step(began.elapsed()) {
            match step {
                Step::Send(place) => running.push(placed(place, start(place))),
                Step::End(ended) => return ended,
                Step::Unanswered => {
                    if let Some(unanswered) = unanswered.take() {
                        unanswered().await;
                    }
                }
            }
        }
        tokio::select! {
            biased;
            Some((place, answer)) = running.next() => heat.returned(began.elapsed(), place, answer),
            () = sleep_until(began + heat.wake_at()) => {}
        }
    }
}

async fn placed<T>(place: usize, copy: impl Future<Output = Answer<T>>) -> (usize, Answer<T>) {
    (place, copy.await)
}

/// What to do now.
#[derive(Debug)]
enum Step<T> {
    /// Send the copy to the server at this place.
    Send(usize),
    /// Say that all servers have refused or are silent.
    Unanswered,
    /// The race is over.
    End(Ended<T>),
}

/// The state of a race: copies on their way and what came back. Times count from its start.
struct Heat<T> {
    count: usize,
    pace: Pace,
    /// When each copy was sent, by its place; `None` once it has returned.
    sent: Vec<Option<Duration>>,
    /// A copy failed, or none has been sent yet: the next one goes out at once.
    send_now: bool,
    told: bool,
    failures: Vec<Answer<T>>,
    conflict_until: Option<Duration>,
    winner: Option<Ended<T>>,
}

impl<T> Heat<T> {
    fn new(count: usize, pace: Pace) -> Self {
        let (sent, failures) = (Vec::new(), Vec::new());
        Self { count, pace, sent, send_now: true, told: false, failures, conflict_until: None, winner: None }
    }

    /// Takes one answer in.
    fn returned(&mut self, now: Duration, place: usize, answer: Answer<T>) {
        self.sent[place] = None;
        match answer {
            Answer::Success(_) | Answer::Absent | Answer::Gone => {
                self.winner.get_or_insert(Ended { answer, by: Some(place) });
            }
            // Perhaps our own other copy won: its success, if it comes soon, is the better answer.
            Answer::Conflict => {
                self.conflict_until.get_or_insert(now + self.pace.hedge_after);
            }
            failure => {
                self.failures.push(failure);
                self.send_now = true;
            }
        }
    }

    /// The next thing to do at `now`; to be asked again until there is none.
    fn step(&mut self, now: Duration) -> Option<Step<T>> {
        if let Some(winner) = self.winner.take() {
            return Some(Step::End(winner));
        }
        // A conflict says that the object has changed: another copy could only lose.
        let more = self.sent.len() < self.count && self.conflict_until.is_none();
        let running = self.sent.iter().flatten().next().is_some();
        if now >= self.pace.deadline {
            self.failures.push(Answer::unknown(ErrorClass::Timeout, "no answer within the deadline"));
            return Some(Step::End(self.sum_up()));
        }
        if (!running && !more) || self.conflict_until.is_some_and(|until| now >= until) {
            return Some(Step::End(self.sum_up()));
        }
        if more && (self.send_now || self.hedge_at().is_some_and(|at| now >= at)) {
            self.send_now = false;
            self.sent.push(Some(now));
            return Some(Step::Send(self.sent.len() - 1));
        }
        if self.silent_at().is_some_and(|at| now >= at) {
            self.told = true;
            return Some(Step::Unanswered);
        }
        None
    }

    /// When to ask again, if no copy returns before.
    fn wake_at(&self) -> Duration {
        let moments = [self.hedge_at(), self.silent_at(), self.conflict_until];
        moments.into_iter().flatten().fold(self.pace.deadline, Duration::min)
    }

    /// When the next copy goes out because those before it are slow.
    fn hedge_at(&self) -> Option<Duration> {
        let more = self.sent.len() < self.count && self.conflict_until.is_none();
        let last = self.sent.iter().flatten().max().filter(|_| more)?;
        Some(*last + self.pace.hedge_after)
    }

    /// When all copies out will have been unanswered for too long, none being left to send.
    fn silent_at(&self) -> Option<Duration> {
        let all_sent = self.sent.len() == self.count && !self.told;
        let last = self.sent.iter().flatten().max().filter(|_| all_sent)?;
        Some(*last + self.pace.unanswered_after)
    }

    /// What all answers together mean, no copy having succeeded. Whatever may have been done comes before what
    /// certainly was not; a conflict comes first, for the core reads back after it.
    fn sum_up(&mut self) -> Ended<T> {
        let answer = if self.conflict_until.is_some() {
            Answer::Conflict
        } else {
            let unknown = || Trouble::new(ErrorClass::Access, "no API server is known");
            self.heaviest().unwrap_or_else(|| Answer::Refused(unknown()))
        };
        Ended { answer, by: None }
    }

    fn heaviest(&mut self) -> Option<Answer<T>> {
        let at = (0..self.failures.len()).max_by_key(|&at| weight(&self.failures[at]))?;
        Some(self.failures.swap_remove(at))
    }
}

fn weight<T>(answer: &Answer<T>) -> u8 {
    match answer {
        Answer::Refused(_) => 0,
        Answer::Forbidden(_) => 1,
        Answer::Throttled(_) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
