//! What was sent and what came back, and the report over any window of it. Pure: times are arguments.
//!
//! Bounded by use: an echo takes 24 bytes, so five minutes at 1,000 a second take 7 MB.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use mainstay_core::names::Mac;
use mainstay_core::time::Moment;

/// An echo that takes longer than this is counted as `late`, besides as answered.
const LATE: Duration = Duration::from_millis(100);

/// How far before a window its first dark interval may have begun; also the longest wait for an answer.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// Everything a probe knows.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// By sequence number; send times never decrease.
    echoes: Vec<Echo>,
    macs: Vec<Mac>,
    connects: Vec<(Moment, bool)>,
}

#[derive(Clone, Copy, Debug)]
struct Echo {
    sent: Moment,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    after: u32,
    /// Index into `macs`.
    by: u16,
}

impl Echo {
    /// When it was answered. Latencies are kept in microseconds: an hour fits.
    fn answered(&self) -> Option<(Moment, u16)> {
        self.answer.map(|answer| (self.sent + Duration::from_micros(answer.after.into()), answer.by))
    }
}

/// One attempt, for those who draw what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it began.
    pub sent: Moment,
    /// How long the answer took and who gave it, when it came within the plan's patience.
    pub answer: Option<(Duration, Option<Mac>)>,
}

/// Who answered, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answerer {
    /// The source of the reply's frame.
    pub mac: Mac,
    /// Echoes it answered in the window.
    pub count: usize,
}

/// What became of a window's attempts of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that began in the window and are decided, or are pending.
    pub sent: usize,
    /// Those without an answer in time.
    pub lost: usize,
}

/// An echo that was not answered in time: what there is to find out why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was sent.
    pub sent: Moment,
    /// How long the answer took that came all the same, after the plan's patience.
    pub answered_after: Option<Duration>,
    /// The longest time in which the prober sent nothing while it waited: a machine that stood still.
    pub longest_pause: Duration,
}

/// So many losses are told one by one.
const LOSSES_TOLD: usize = 8;

/// What a probe found in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Echoes sent in the window.
    pub sent: usize,
    /// Echoes of the window with no answer within the plan's patience.
    pub lost: usize,
    /// The first of them.
    pub losses: Vec<Loss>,
    /// Echoes of the window that may still be answered in time.
    pub pending: usize,
    /// Echoes of the window answered in time but later than 100 ms: a kernel queues some while it resolves
    /// a neighbour, so darkness right after a forgotten entry may show here and in `longest_dark`, not in `lost`.
    pub late: usize,
    /// The longest dark interval's part within the window.
    ///
    /// A dark interval begins when the first echo after an answer is sent, and ends when the next answer arrives (a
    /// client waits, and hears nothing). It is about one round trip on a healthy path, and is exact to the spacing of
    /// the echoes. Time in which the prober itself sent nothing is not dark.
    pub longest_dark: Duration,
    /// When the longest dark interval (or its part within the window) began.
    pub longest_dark_from: Option<Moment>,
    /// Who answered the window's echoes, most frequent first.
    pub answerers: Vec<Answerer>,
    /// Each change of the answering host within the window, by arrival: when, and who answers from then on. The first
    /// answer of the window is its first entry.
    pub changes: Vec<(Moment, Mac)>,
    /// The TCP connects begun in the window. A refusal counts as an answer: it proves the path.
    pub tcp: Tally,
}

impl Log {
    /// Notes an echo that is about to be sent; gives its sequence number.
    pub(super) fn sent(&mut self, at: Moment) -> u64 {
        self.echoes.push(Echo { sent: at, answer: None });
        self.echoes.len() as u64 - 1
    }

    /// Notes an answer. Only the first to each echo counts; one to no echo of ours is ignored.
    pub(super) fn answered(&mut self, sequence: u64, at: Moment, by: Mac) {
        let by = self.mac_index(by);
        let echo = usize::try_from(sequence).ok().and_then(|index| self.echoes.get_mut(index));
        if let Some(echo) = echo.filter(|echo| echo.answer.is_none()) {
            let after = u32::try_from(at.since(echo.sent).as_micros()).unwrap_or(u32::MAX);
            echo.answer = Some(Answer { after, by });
        }
    }

    /// Notes a TCP connect that is decided.
    pub(super) fn connected(&mut self, begun: Moment, answered: bool) {
        self.connects.push((begun, answered));
    }

    fn mac_index(&mut self, mac: Mac) -> u16 {
        let index = self.macs.iter().position(|known| *known == mac).unwrap_or_else(|| {
            self.macs.push(mac);
            self.macs.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// The report over `window`, as known at `now`.
    pub(super) fn report(&self, window: Range<Moment>, patience: Duration, now: Moment) -> Report {
        let echoes = self.sent_in(&window);
        let in_time = |echo: &Echo| echo.answered().is_some_and(|(at, _)| at.since(echo.sent) <= patience);
        let unanswered = echoes.iter().filter(|echo| !in_time(echo));
        let (lost, pending): (Vec<&Echo>, Vec<&Echo>) =
            unanswered.partition(|echo| echo.answer.is_some() || now.since(echo.sent) > patience);
        let late =
            |echo: &&Echo| in_time(echo) && echo.answered().is_some_and(|(at, _)| at.since(echo.sent) > LATE);
        let (longest_dark, longest_dark_from) = self.longest_dark(&window, now);
        Report {
            sent: echoes.len(),
            lost: lost.len(),
            losses: lost.iter().take(LOSSES_TOLD).map(|echo| self.loss(echo, patience)).collect(),
            pending: pending.len(),
            late: echoes.iter().filter(late).count(),
            longest_dark,
            longest_dark_from,
            answerers: self.answerers(echoes),
            changes: self.changes(&window),
            tcp: self.tcp(&window),
        }
    }

    fn loss(&self, echo: &Echo, patience: Duration) -> Loss {
        let waited = self.sent_in(&(echo.sent..echo.sent + patience * 2));
        let pauses = waited.windows(2).map(|pair| pair[1].sent.since(pair[0].sent));
        Loss {
            sent: echo.sent,
            answered_after: echo.answered().map(|(at, _)| at.since(echo.sent)),
            longest_pause: pauses.max().unwrap_or_default(),
        }
    }

    /// Every echo that is decided, in the order of sending.
    pub(super) fn echo_samples(&self, patience: Duration, now: Moment) -> Vec<Sample> {
        let decided =
            self.echoes.iter().filter(|echo| echo.answer.is_some() || now.since(echo.sent) > patience);
        let answer = |echo: &Echo| {
            let (at, by) = echo.answered()?;
            let after = at.since(echo.sent);
            (after <= patience).then(|| (after, self.mac(by)))
        };
        decided.map(|echo| Sample { sent: echo.sent, answer: answer(echo) }).collect()
    }

    /// Every TCP connect that is decided. Who answered was not looked at, nor how fast.
    pub(super) fn connect_samples(&self) -> Vec<Sample> {
        let answer = |answered: bool| answered.then_some((Duration::ZERO, None));
        let samples =
            self.connects.iter().map(|(begun, answered)| Sample { sent: *begun, answer: answer(*answered) });
        let mut samples: Vec<_> = samples.collect();
        samples.sort_unstable_by_key(|sample| sample.sent);
        samples
    }

    fn sent_in(&self, window: &Range<Moment>) -> &[Echo] {
        let first = self.echoes.partition_point(|echo| echo.sent < window.start);
        let end = self.echoes.partition_point(|echo| echo.sent < window.end);
        self.echoes.get(first..end).unwrap_or_default()
    }

    fn tcp(&self, window: &Range<Moment>) -> Tally {
        let begun = self.connects.iter().filter(|(begun, _)| window.contains(begun));
        begun.fold(Tally::default(), |tally, (_, answered)| Tally {
            sent: tally.sent + 1,
            lost: tally.lost + usize::from(!answered),
        })
    }

    fn answerers(&self, echoes: &[Echo]) -> Vec<Answerer> {
        let mut counts = BTreeMap::<u16, usize>::new();
        for (_, by) in echoes.iter().filter_map(Echo::answered) {
            *counts.entry(by).or_default() += 1;
        }
        let mut found: Vec<Answerer> = counts
            .into_iter()
            .filter_map(|(by, count)| Some(Answerer { mac: self.mac(by)?, count }))
            .collect();
        found.sort_by_key(|answerer| std::cmp::Reverse(answerer.count));
        found
    }

    fn mac(&self, index: u16) -> Option<Mac> {
        self.macs.get(usize::from(index)).copied()
    }

    /// Answers that arrived in the window or shortly before it, by arrival.
    fn arrivals(&self, window: &Range<Moment>) -> Vec<(Moment, u16)> {
        let around = window.start - LOOK_BACK..window.end;
        let mut arrivals: Vec<_> = self
            .sent_in(&around)
            .iter()
            .filter_map(Echo::answered)
            .filter(|(at, _)| *at < window.end)
            .collect();
        arrivals.sort_unstable();
        arrivals
    }

    fn changes(&self, window: &Range<Moment>) -> Vec<(Moment, Mac)> {
        let mut changes: Vec<(Moment, Mac)> = Vec::new();
        for (at, by) in self.arrivals(window).into_iter().filter(|(at, _)| *at >= window.start) {
            let Some(mac) = self.mac(by) else { continue };
            if changes.last().is_none_or(|(_, last)| *last != mac) {
                changes.push((at, mac));
            }
        }
        changes
    }

    fn longest_dark(&self, window: &Range<Moment>, now: Moment) -> (Duration, Option<Moment>) {
        let end = window.end.min(now);
        let mut longest = (Duration::ZERO, None);
        let mut last = Moment::ZERO;
        let ends = self.arrivals(window).into_iter().map(|(at, _)| at).chain([end]);
        for answer in ends {
            let waiting_from = self.first_sent_after(last).map(|sent| sent.max(window.start));
            if let Some(from) = waiting_from.filter(|from| answer.since(*from) > longest.0) {
                longest = (answer.since(from), Some(from));
            }
            last = answer;
        }
        longest
    }

    fn first_sent_after(&self, moment: Moment) -> Option<Moment> {
        let index = self.echoes.partition_point(|echo| echo.sent <= moment);
        self.echoes.get(index).map(|echo| echo.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TWO: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> Moment {
        Moment::from_millis(milliseconds)
    }

    /// One echo each millisecond from 1,000 ms on; `answer` says after how long and by whom.
    fn log(count: u64, answer: impl Fn(u64) -> Option<(u64, Mac)>) -> Log {
        let mut log = Log::default();
        for tick in 0..count {
            let sequence = log.sent(at(1000 + tick));
            if let Some((microseconds, mac)) = answer(tick) {
                log.answered(sequence, at(1000 + tick) + Duration::from_micros(microseconds), mac);
            }
        }
        log
    }

    #[test]
    fn a_healthy_path_is_dark_for_a_round_trip() {
        let report = log(1000, |_| Some((200, ONE))).report(at(1000)..at(2000), SECOND, at(9000));
        assert_eq!((report.sent, report.lost, report.pending, report.late), (1000, 0, 0, 0));
        assert_eq!(report.longest_dark, Duration::from_micros(200));
        assert_eq!(report.answerers, [Answerer { mac: ONE, count: 1000 }]);
    }

    #[test]
    fn a_hole_is_dark_from_its_first_echo_to_the_next_answer() {
        let log = log(2000, |tick| {
            (!(500..800).contains(&tick)).then_some((0, if tick < 500 { ONE } else { TWO }))
        });
        let report = log.report(at(1000)..at(3000), SECOND, at(9000));
        assert_eq!((report.lost, report.longest_dark), (300, Duration::from_millis(300)));
        assert_eq!(report.longest_dark_from, Some(at(1500)));
        assert_eq!(report.changes, [(at(1000), ONE), (at(1800), TWO)]);
        // Windows that cut the hole see their part of it.
        assert_eq!(log.report(at(1600)..at(3000), SECOND, at(9000)).longest_dark, Duration::from_millis(200));
        assert_eq!(log.report(at(1000)..at(1650), SECOND, at(9000)).longest_dark, Duration::from_millis(150));
    }

    #[test]
    fn echoes_that_the_kernel_queued_do_not_hide_darkness() {
        // All answers of 300 ms come at once at its end: nothing is lost, and it was dark all the same.
        let log =
            log(1000, |tick| Some((if (200..500).contains(&tick) { (500 - tick) * 1000 } else { 100 }, ONE)));
        let report = log.report(at(1000)..at(2000), SECOND, at(9000));
        assert_eq!((report.lost, report.late), (0, 200));
        assert_eq!(report.longest_dark, Duration::from_millis(300));
    }

    #[test]
    fn a_prober_that_sends_nothing_sees_no_darkness() {
        let mut log = Log::default();
        for moment in [at(1000), at(1500)] {
            let sequence = log.sent(moment);
            log.answered(sequence, moment + Duration::from_millis(1), ONE);
        }
        assert_eq!(log.report(at(1000)..at(2000), SECOND, at(9000)).longest_dark, Duration::from_millis(1));
    }

    #[test]
    fn an_answer_after_patience_is_a_loss_and_a_young_echo_is_pending() {
        let log = log(10, |tick| (tick == 0).then_some((1_500_000, ONE)));
        let report = log.report(at(1000)..at(2000), SECOND, at(2005));
        assert_eq!((report.lost, report.pending), (5, 5));
        let late = Some(Duration::from_millis(1_500));
        let told = report.losses.iter().map(|loss| loss.answered_after).collect::<Vec<_>>();
        assert_eq!(told, [late, None, None, None, None]);
        assert!(report.losses.iter().all(|loss| loss.longest_pause <= Duration::from_millis(1)));
    }

    #[test]
    fn dark_to_the_end_counts_up_to_now() {
        let log = log(1000, |tick| (tick < 400).then_some((0, ONE)));
        assert_eq!(log.report(at(1000)..at(5000), SECOND, at(1900)).longest_dark, Duration::from_millis(500));
    }
}
