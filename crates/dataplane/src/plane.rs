//! The face of the data plane: effects go in, inputs come out.
//!
//! Everything here runs on the loop's own thread, but for changes to addresses, which wait for the kernel on theirs.
//! An address is announced only while it is on the interface (`books`). What the kernel tells unasked (`linux/monitor`)
//! is news; every ten seconds, and whenever news may be missing, all of it is read anew and compared.

mod identity;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use mainstay_core::effect::Effect;
use mainstay_core::input::{AddressChange, EffectId, Input, Link, Outcome};
use mainstay_core::snapshot::Member;
use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;

use crate::announce::Pacer;
use crate::books::Books;
use crate::counters::Counters;
use crate::faults::{FaultNews, Faults};
use crate::linux::clock;
use crate::linux::filter::Wanted;
use crate::linux::links::{self, DescribeError, LinkDescription, Survey};
use crate::linux::monitor::{Monitor, News};
use crate::linux::timer::Timer;
use crate::linux::worker::{Order, Report, Worker, refused};
use crate::plan::{self, Present};
use crate::segment::{Own, Segment, link_local};
use identity::Known;

/// How often everything is read anew, news or none.
const SURVEY_EVERY: Duration = Duration::from_secs(10);
/// How long an order may stay with the kernel before it is reported as failed. It goes on, and what it does in the
/// end is noted.
const ORDER_OVERDUE: Duration = Duration::from_secs(3);
/// Between attempts to start the kernel thread again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Never.
const FAR: Moment = Moment::from_nanos(u64::MAX);

/// What the data plane is told at its start.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The interface that wears the virtual addresses.
    pub interface: String,
    /// Between steady announcements (`vip_arpRate`), +-10 %.
    pub announce_every: Duration,
    /// Feeds the jitter.
    pub seed: u64,
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The interface is not there, is no Ethernet, or cannot be read.
    #[error(transparent)]
    Interface(#[from] DescribeError),
    /// A socket or a thread is not to be had.
    #[error(
        "cannot open {what}: {cause}; the agent needs CAP_NET_ADMIN and CAP_NET_RAW: run it as root, or add them to the container, whose image gives them to an ordinary user, too"
    )]
    Refused {
        /// What was to be opened.
        what: &'static str,
        /// The kernel's words.
        cause: io::Error,
    },
}

/// The data plane of one interface.
#[derive(Debug)]
pub struct Dataplane {
    interface: String,
    segment: Segment,
    monitor: Monitor,
    timer: Timer,
    worker: Worker,
    books: Books,
    faults: Faults,
    /// How this node is to be found on the interface, as the core was told last.
    told_own: Member,
    link: Link,
    /// Orders with the kernel thread, oldest first, and since when.
    under_way: VecDeque<(EffectId, Moment)>,
    ready: VecDeque<Input>,
    survey_at: Moment,
    /// The survey that the kernel thread was asked for, and whether it will do.
    surveying: Option<Wish>,
    /// How much news of our link there was.
    link_news: u64,
    /// When to try again to start the kernel thread, should that have failed.
    restart_at: Option<Moment>,
    sending: Health,
    counters: Counters,
}

/// Whether a survey under way will show all that is known to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Met,
    /// Something happened since it was asked for.
    Again,
}

/// Whether the last frame went out: a change of it is worth one line of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Failing,
}

impl Dataplane {
    /// Opens the data plane of an interface, in the calling thread's network namespace and runtime; and says what it
    /// found there. Addresses of ours that it found are watched from now on.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(settings: LinkSettings) -> Result<(Self, LinkDescription), OpenError> {
        let refused = |what| move |cause| OpenError::Refused { what, cause };
        // Subscribed before the first read: what changes in between is heard.
        let monitor = Monitor::open().map_err(refused("a netlink subscription"))?;
        let described = links::describe(&settings.interface)?;
        let own = Own {
            index: described.index,
            mac: described.mac(),
            link_local: link_local(described.addresses.iter().copied()),
            macs: [described.mac()].into(),
        };
        let segment = Segment::open(own).map_err(refused("a packet socket"))?;
        let worker = Worker::start(settings.interface.clone()).map_err(refused("the kernel thread"))?;
        let mut plane = Self {
            interface: settings.interface,
            segment,
            monitor,
            timer: Timer::open().map_err(refused("a timer"))?,
            worker,
            books: Books::new(Pacer::new(settings.announce_every, settings.seed)),
            faults: Faults::default(),
            told_own: described.own.clone(),
            link: described.state,
            under_way: VecDeque::new(),
            ready: VecDeque::new(),
            survey_at: clock::now(),
            surveying: None,
            link_news: 0,
            restart_at: None,
            sending: Health::Well,
            counters: Counters::default(),
        };
        plane.note_found(&described);
        Ok((plane, described))
    }

    fn note_found(&mut self, described: &LinkDescription) {
        let now = clock::now();
        for found in &described.found {
            self.books.assigned(now, &[found.ip], now + found.remaining.unwrap_or(Duration::MAX));
        }
    }

    /// Takes an order. Never blocks. Gives back what is no business of the data plane's.
    pub fn submit(&mut self, effect: Effect) -> Option<Effect> {
        let now = clock::now();
        match effect {
            Effect::Assign { id, vips, lifetime, .. } => {
                let index = self.segment.own.index;
                self.faults.ordered(id, lifetime);
                self.order(now, id, Order::Assign { id, index, vips, lifetime });
            }
            Effect::Withdraw { id, vips, .. } => {
                self.books.withdrawing(&vips);
                self.faults.withdrawing(&vips);
                self.order(now, id, Order::Withdraw { id, index: self.segment.own.index, vips });
            }
            Effect::Announce { claim, vips, mark, pace } => {
                self.books.announce(now, &claim, (&vips, mark), pace);
            }
            Effect::Silence { claim } => self.books.silence(&claim),
            Effect::Probe { id, target, to, mark } => {
                let sent = self.segment.probe(target, to, mark);
                let outcome = match self.note_send(sent) {
                    Ok(left_at) => {
                        self.counters.probes_sent += 1;
                        Outcome::Sent(left_at)
                    }
                    Err(error) => Outcome::Failed(format!("probing {target}: {error}")),
                };
                self.ready.push_back(Input::Outcome { id, outcome });
            }
            Effect::Listen { vips, others } => self.listen(Wanted { vips, others }),
            other => return Some(other),
        }
        None
    }

    /// The next thing that happened. Cancel-safe. Announcements are sent while this is awaited.
    pub async fn next(&mut self) -> Input {
        loop {
            if let Some(input) = self.next_until(FAR).await {
                return input;
            }
        }
    }

    /// The next thing that happened; `None` once `deadline` has come, and then nothing else is done: whoever asked
    /// may have stood still, and nothing he knew be true. Cancel-safe. Announcements are sent while this is awaited.
    pub async fn next_until(&mut self, deadline: Moment) -> Option<Input> {
        loop {
            if clock::now() >= deadline {
                return None;
            }
            self.announce();
            if let Some(input) = self.ready.pop_front() {
                return Some(input);
            }
            self.wait(deadline).await;
            if clock::now() < deadline {
                self.look();
            }
        }
    }

    /// Everything that has happened up to now, without waiting: to be handled before a deadline of the core is, so
    /// that an answer that has arrived is never taken for silence.
    pub fn drain(&mut self) -> Vec<Input> {
        self.look_until(clock::now());
        let missed = self.segment.missed();
        if missed > 0 {
            self.counters.frames_missed += missed;
            self.ready.push_back(Input::Missed);
        }
        self.announce();
        self.ready.drain(..).collect()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Addresses that the kernel refuses while it has others of their claim, each with its words.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<Vip, String> {
        self.faults.refused()
    }

    /// What is new of such addresses since the last time; each refusal once.
    pub fn take_fault_news(&mut self) -> Vec<FaultNews> {
        self.faults.take_news()
    }

    /// When the next announcement is due; `None` while nothing is announced.
    #[must_use]
    pub fn next_announcement(&self) -> Option<Moment> {
        self.books.pacer.next_deadline()
    }

    /// Frames first: whatever else happened is judged by what was heard.
    fn look(&mut self) {
        self.look_until(Moment::ZERO);
    }

    fn look_until(&mut self, moment: Moment) {
        self.segment.drain(moment, &mut self.counters, &mut self.ready);
        self.read_news();
        while let Ok(report) = self.worker.reports.try_recv() {
            self.report(report);
        }
        self.watch_the_clock(clock::now());
    }

    async fn wait(&mut self, deadline: Moment) {
        let deadlines = [
            self.books.pacer.next_deadline(),
            self.overdue_at(),
            self.restart_at,
            self.faults.next_deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().fold(self.survey_at.min(deadline), Moment::min);
        tokio::select! {
            biased;
            // An error is the runtime's end; whatever it is, what follows reads the sockets and sees for itself.
            _ = self.segment.readable() => {}
            _ = self.monitor.readable() => {}
            report = self.worker.reports.recv(), if self.restart_at.is_none() => match report {
                // What it told before is read before it, as in `look`.
                Some(report) => {
                    self.read_news();
                    self.report(report);
                }
                None => self.restart_worker(),
            },
            () = self.timer.until(deadline) => {}
        }
    }

    fn announce(&mut self) {
        let now = clock::now();
        for one in self.books.pacer.due(now) {
            let sent = self.segment.announce(&one);
            if self.note_send(sent).is_ok() {
                self.counters.announced(one.vip, clock::now());
            }
        }
    }

    fn note_send<T>(&mut self, sent: io::Result<T>) -> io::Result<T> {
        let health = if sent.is_ok() { Health::Well } else { Health::Failing };
        if let Err(error) = &sent {
            self.counters.send_errors += 1;
            if self.sending == Health::Well {
                tracing::warn!(interface = self.interface, %error, "the device does not take frames");
            }
        } else if self.sending == Health::Failing {
            tracing::info!(interface = self.interface, "the device takes frames again");
        }
        self.sending = health;
        sent
    }

    fn listen(&mut self, wanted: Wanted) {
        if let Err(error) = self.segment.listen(wanted) {
            self.counters.receive_errors += 1;
            tracing::error!(interface = self.interface, %error, "cannot change what is listened for");
        }
    }

    fn order(&mut self, now: Moment, id: EffectId, order: Order) {
        self.under_way.push_back((id, now));
        if let Err((order, why)) = self.worker.order(order) {
            self.report(refused(&order, &why));
        }
    }

    fn ask_survey(&mut self) {
        self.survey_at = clock::now() + SURVEY_EVERY;
        if self.surveying.take().is_some() {
            // However much news there is, one survey at a time is asked for, and one after it.
            self.surveying = Some(Wish::Again);
            return;
        }
        self.surveying = Some(Wish::Met);
        // A full queue of orders brings news of its own; the next survey comes.
        if self.worker.order(Order::Survey { news: self.link_news }).is_err() {
            self.surveying = None;
        }
    }

    fn report(&mut self, report: Report) {
        let now = clock::now();
        match report {
            Report::Assigned { id, applied, until } => {
                self.books.assigned(now, &applied.done, until);
                self.faults.note(now, id, &applied);
                // One address that is there can be held and announced: the others are tried again from here.
                let result = if applied.done.is_empty() { applied.outcome() } else { Ok(()) };
                self.outcome(id, result);
            }
            Report::Withdrawn { id, applied } => self.outcome(id, applied.outcome()),
            Report::Surveyed { news, result } => {
                let again = self.surveying.take() == Some(Wish::Again);
                self.surveyed(now, news, result);
                if again {
                    self.ask_survey();
                }
            }
        }
    }

    fn surveyed(&mut self, now: Moment, news: u64, result: Result<Survey, String>) {
        match result {
            // Overtaken by news, which may tell of a later device than it does.
            _ if news != self.link_news => self.ask_survey(),
            Ok(survey) => self.compare(now, &survey),
            Err(error) => {
                self.counters.kernel_errors += 1;
                tracing::warn!(interface = self.interface, error, "cannot read the interface");
            }
        }
    }

    /// Told once: not again after it was overdue.
    fn outcome(&mut self, id: EffectId, result: Result<(), String>) {
        let Some(at) = self.under_way.iter().position(|(one, _)| *one == id) else { return };
        self.under_way.remove(at);
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(words) => {
                self.counters.kernel_errors += 1;
                Outcome::Failed(words)
            }
        };
        self.ready.push_back(Input::Outcome { id, outcome });
    }

    fn overdue_at(&self) -> Option<Moment> {
        self.under_way.front().map(|(_, since)| *since + ORDER_OVERDUE)
    }

    fn watch_the_clock(&mut self, now: Moment) {
        while let Some((id, _)) =
            self.under_way.front().copied().filter(|(_, since)| *since + ORDER_OVERDUE <= now)
        {
            self.outcome(id, Err(format!("the kernel has not answered for {ORDER_OVERDUE:?}")));
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_worker();
        }
        for (id, lifetime, vips) in self.faults.due(now) {
            let index = self.segment.own.index;
            // Refused at once only when the kernel has not answered for long; there is a next time.
            let _ = self.worker.order(Order::Assign { id, index, vips, lifetime });
        }
        if self.survey_at <= now {
            self.ask_survey();
        }
    }

    fn restart_worker(&mut self) {
        self.counters.kernel_errors += 1;
        tracing::error!(interface = self.interface, "the kernel thread ended; starting another");
        for (id, _) in self.under_way.clone() {
            self.outcome(id, Err("the kernel thread ended".to_owned()));
        }
        match Worker::start(self.interface.clone()) {
            Ok(worker) => {
                self.worker = worker;
                self.surveying = None;
                self.restart_at = None;
                self.survey_at = clock::now();
            }
            Err(error) => {
                self.restart_at = Some(clock::now() + RESTART_AFTER);
                tracing::error!(interface = self.interface, %error, "cannot start the kernel thread");
            }
        }
    }

    fn read_news(&mut self) {
        loop {
            match self.monitor.read() {
                Ok(Some(news)) => news.into_iter().for_each(|one| self.news(one)),
                Ok(None) => return,
                Err(error) => {
                    self.counters.receive_errors += 1;
                    tracing::warn!(interface = self.interface, %error, "reading the kernel's news");
                    return self.ask_survey();
                }
            }
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Link(link) => self.link_news(&link),
            News::AddressGone(gone) if gone.index == self.segment.own.index => {
                let left = gone.present.remaining.is_some_and(|left| left.is_zero());
                self.own_address(gone.present.ip, Known::Yes);
                self.address_gone(gone.present.ip, left);
            }
            News::AddressCame(came) if came.index == self.segment.own.index => {
                self.own_address(came.present.ip, Known::No);
                self.address_came(came.present);
            }
            News::AddressGone(_) | News::AddressCame(_) => {}
            News::Lost => {
                self.counters.news_lost += 1;
                self.ask_survey();
            }
        }
    }

    /// A VIP that no order of ours put there, in the form that VIP agents give it.
    fn address_came(&mut self, came: Present) {
        let vip = came.ip;
        let in_form = came.prefix == plan::host_prefix(vip) && came.remaining.is_none();
        if in_form && self.segment.listens_for(vip) && !self.books.has(vip) {
            self.ready.push_back(Input::Address(AddressChange::Appeared { vip }));
        }
    }

    fn address_gone(&mut self, vip: Vip, zero_left: bool) {
        match self.books.removed(clock::now(), vip, Some(zero_left)) {
            Some(expired) => self.removed(vip, expired),
            // Perhaps the end of an address that an order under way has just put there.
            None if !self.under_way.is_empty() => self.ask_survey(),
            None => {}
        }
    }

    fn removed(&mut self, vip: Vip, expired: bool) {
        self.counters.removed += 1;
        self.ready.push_back(Input::Address(AddressChange::Removed { vip, expired }));
    }
}
