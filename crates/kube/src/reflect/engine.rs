//! Follows one kind of object for ever: a list in pages, then a watch from its resource version, whatever happens.
//!
//! ```text
//!              ┌── refused, hung, erring: wait, ask again ──┐
//!              ▼                                            │
//!            list ──────────► watch ────────────────────────┤
//!              ▲                │ cut, silent, server lost: open again from the last version, elsewhere
//!              └── 410 ─────────┘
//! ```
//!
//! It differs from the Lease's engine in that a list is dear: it is read again only if the API server says that the
//! version is too old, or if nothing else can be true.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use mainstay_core::backoff::Backoff;
use mainstay_core::intent::Extent;
use mainstay_core::rng::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::FollowingTiming;
use super::page::{Page, page};
use super::plan::{Item, Plan};
use super::state::{Board, WatchPhase};
use super::step::{Names, Step};
use crate::access::Traffic;
use crate::answer::{self, Answer, ErrorClass, Trouble};
use crate::chance;
use crate::fleet::bulk::{Replied, Resting};
use crate::fleet::{Ask, Fleet, JSON, stream};
use crate::race::Pace;
use crate::watch_stream::{Lines, WatchEvent, version};

/// The longest page that is read: 500 objects of 128 KiB.
const LONGEST_PAGE: usize = 64 << 20;
/// A page longer than this is read on another thread.
const LONG: usize = 16 << 10;
/// The longest event of a watch: etcd holds no object of more than 1.5 MiB, and JSON is longer than what it holds.
const LONGEST_EVENT: usize = 8 << 20;
/// A watch that lived for this long did its work, even if nothing happened in it.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// A server that lets a watch live longer than asked for has forgotten it.
const OVERTIME: Duration = Duration::from_secs(30);
/// Backoff starts here.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// Lists because of 410, one after the other, are spread over up to this.
const SPREAD_CAP: Duration = Duration::from_secs(60);
/// So many failures in a row to open a watch, and the version is not believed any more.
const DOUBT_AFTER: u32 = 5;
/// The wait for a silent watch doubles this often while lists keep proving that nothing had happened.
const PATIENCE: u32 = 3;

/// Follows by a plan.
pub(super) struct Engine {
    fleet: Arc<Fleet>,
    plan: Arc<Plan>,
    timing: FollowingTiming,
    board: Board,
    steps: mpsc::Sender<Step>,
    rng: Rng,
    resting: Resting,
    /// Between attempts.
    backoff: Backoff,
    /// Before a list that everybody reads.
    spread: Backoff,
    /// Where a watch goes on; `None` when a list is needed.
    version: Option<String>,
    /// Failures to open a watch, in a row.
    unopened: u32,
    /// Watches in a row that said nothing at all.
    silent: u32,
    /// How often the wait for a silent watch is doubled.
    patience: u32,
    /// The kind of trouble that the log has last been told.
    said: Option<ErrorClass>,
}

/// How a watch ended.
#[derive(Debug)]
enum End {
    /// By the server, or by the connection.
    Closed,
    /// The version is too old, or is none any more.
    Gone,
    /// It said nothing for too long.
    Silent,
    /// Its server is out of reach, by what the Lease found.
    Overtaken,
}

/// A list, but for what its objects say.
struct Whole {
    names: Names,
    version: String,
    by: Option<String>,
}

impl Engine {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        plan: Plan,
        timing: FollowingTiming,
        (board, steps): (Board, mpsc::Sender<Step>),
    ) -> Self {
        Self {
            fleet,
            plan: Arc::new(plan),
            timing,
            board,
            steps,
            rng: chance::rng(),
            resting: Resting::default(),
            backoff: Backoff::new(BACKOFF_BASE, timing.backoff_cap),
            spread: Backoff::new(timing.spread, SPREAD_CAP.max(timing.spread)),
            version: None,
            unopened: 0,
            silent: 0,
            patience: 0,
            said: None,
        }
    }

    /// Runs until dropped.
    pub(super) async fn run(mut self) {
        loop {
            let done = match self.version.take() {
                Some(version) => self.follow(version).await,
                None => self.list().await,
            };
            if let Err(trouble) = done {
                self.outage(trouble).await;
            }
        }
    }

    /// Reads the whole.
    async fn list(&mut self) -> Result<(), Failure> {
        self.board.tell(self.plan.watched, |state| state.phase = WatchPhase::Listing);
        let mut whole = self.whole(None).await?;
        if whole.names.names.is_empty() {
            // Perhaps a server has lost its memory: another one is asked, if there is one.
            whole = self.whole(whole.by).await?;
            if whole.names.names.is_empty() {
                whole.names.extent = Extent::Confirmed;
            }
        }
        let objects = whole.names.names.len();
        self.say(Step::Listed(self.plan.watched, self.plan.kind(), whole.names)).await;
        self.board.tell(self.plan.watched, |state| {
            (state.listed_at, state.listed_objects) = (Some(std::time::Instant::now()), objects);
            state.lists += 1;
        });
        self.version = Some(whole.version);
        self.unopened = 0;
        Ok(())
    }

    /// Reads every page, asking one server after all others. What a page says counts at once; what a list does not name
    /// is given up only after its last page.
    async fn whole(&mut self, last: Option<String>) -> Result<Whole, Failure> {
        let (mut names, mut go_on) = (Vec::new(), None::<String>);
        loop {
            let (page, by) = self.page(go_on.as_deref(), last.clone()).await?;
            names.extend(page.items.iter().map(Item::key));
            self.say(Step::Present(self.plan.kind(), page.items)).await;
            match page.go_on {
                None => {
                    let names = Names { extent: Extent::Complete, names };
                    return Ok(Whole { names, version: page.version, by });
                }
                same if same == go_on => {
                    return Err(Failure::nonsense("a list goes on where it began".to_owned()));
                }
                next => go_on = next,
            }
        }
    }

    async fn page(
        &mut self,
        go_on: Option<&str>,
        last: Option<String>,
    ) -> Result<(Page<Item>, Option<String>), Failure> {
        let ask = Ask { last, ..self.ask(self.plan.list(go_on)) };
        let Replied { answer, by } = self.fleet.bulk(&ask, &mut self.resting, body).await;
        let body = match answer {
            Answer::Success(body) => body,
            Answer::Gone => {
                self.relist().await;
                return Err(Failure::nonsense(
                    "the list was too slow: its resource version is too old".to_owned(),
                ));
            }
            answer => return Err(Failure::of(&answer)),
        };
        match self.read(body).await {
            Ok(page) => Ok((page, by)),
            Err(why) => {
                by.iter().for_each(|url| self.resting.rest(url));
                Err(Failure::nonsense(format!("the list makes no sense: {why}")))
            }
        }
    }

    /// Converts a page; a long one on another thread, so that requests of the Lease do not wait for it.
    async fn read(&self, body: Bytes) -> Result<Page<Item>, String> {
        let (plan, long) = (Arc::clone(&self.plan), body.len() > LONG);
        let convert = move || page(&body, |object| plan.item(object)).map_err(|error| error.to_string());
        if !long {
            return convert();
        }
        tokio::task::spawn_blocking(convert).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Watches from `version` on until that ends.
    async fn follow(&mut self, mut version: String) -> Result<(), Failure> {
        let seconds = self.timing.watch_for + self.rng.duration(self.timing.watch_for);
        let ask = self.ask(self.plan.watch(&version, seconds.as_secs().max(1)));
        let (response, url) = match self.fleet.bulk(&ask, &mut self.resting, stream).await {
            Replied { answer: Answer::Success(response), by: Some(url) } => (response, url),
            Replied { answer: Answer::Gone, .. } => {
                self.relist().await;
                return Ok(());
            }
            Replied { answer, .. } => {
                self.unopened += 1;
                self.version = (self.unopened < DOUBT_AFTER).then_some(version);
                return Err(Failure::of(&answer));
            }
        };
        self.opened(&url);
        let opened = Instant::now();
        let end = self.pump((&url, response), &mut version, opened + seconds + OVERTIME).await;
        if opened.elapsed() >= LONG_ENOUGH {
            self.backoff.reset();
            self.spread.reset();
        }
        self.ended(end, &url, version).await;
        Ok(())
    }

    fn opened(&mut self, url: &str) {
        self.unopened = 0;
        self.said = None;
        self.board.tell(self.plan.watched, |state| {
            (state.phase, state.server) = (WatchPhase::Watching, Some(url.to_owned()));
            (state.failures_in_a_row, state.last_error) = (0, None);
            state.opened += 1;
        });
    }

    async fn ended(&mut self, end: End, url: &str, version: String) {
        match end {
            End::Gone => self.relist().await,
            End::Closed => {
                self.version = Some(version);
                self.pause().await;
            }
            End::Overtaken => {
                self.version = Some(version);
                self.resting.rest(url);
                self.pause().await;
            }
            End::Silent => {
                self.resting.rest(url);
                self.silent += 1;
                // Twice: perhaps nothing happened. A list says whether that is so.
                self.version = (self.silent == 1).then_some(version);
                if self.silent > 1 {
                    self.silent = 0;
                    self.patience = (self.patience + 1).min(PATIENCE);
                }
            }
        }
    }

    /// Takes events in until the watch ends.
    async fn pump(
        &mut self,
        (url, response): (&str, Response<Incoming>),
        version: &mut String,
        give_up: Instant,
    ) -> End {
        let (mut body, mut lines) = (response.into_body(), Lines::up_to(LONGEST_EVENT));
        let fleet = Arc::clone(&self.fleet);
        let overtaken = fleet.overtaken(url);
        tokio::pin!(overtaken);
        loop {
            let silence = Instant::now() + self.timing.silence * 2_u32.pow(self.patience);
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = &mut overtaken => return End::Overtaken,
                () = sleep_until(silence.min(give_up)) => {
                    return if silence < give_up { End::Silent } else { End::Closed };
                }
            };
            let Some(Ok(frame)) = frame else { return End::Closed };
            for event in frame.data_ref().map(|chunk| lines.push(chunk)).unwrap_or_default() {
                if let Some(end) = self.take(event, version).await {
                    return end;
                }
            }
        }
    }

    async fn take(&mut self, event: WatchEvent, at: &mut String) -> Option<End> {
        let kind = self.plan.kind();
        let (step, next) = match event {
            WatchEvent::Present(object) => {
                (Some(Step::Present(kind, vec![self.plan.item(&object)])), version(&object).to_owned())
            }
            WatchEvent::Deleted(object) => {
                let key = self.plan.item(&object).key();
                (key.map(|key| Step::Gone(kind, key)), version(&object).to_owned())
            }
            WatchEvent::Bookmark(version) => (None, version),
            WatchEvent::Gone => return Some(End::Gone),
            WatchEvent::Error(cause) => {
                tracing::debug!(watched = %self.plan.watched, "the watch ended with an error: {cause}");
                return Some(End::Closed);
            }
        };
        // etcd was put back to an older state: what is known is of a future that will not come.
        if went_back(at, &next) {
            return Some(End::Gone);
        }
        *at = next;
        self.heard(step.is_some());
        if let Some(step) = step {
            self.say(step).await;
        }
        None
    }

    fn heard(&mut self, change: bool) {
        (self.silent, self.patience) = (0, 0);
        self.backoff.reset();
        self.board.note(self.plan.watched, |state| {
            state.last_event_at = Some(std::time::Instant::now());
            state.events += u64::from(change);
        });
    }

    /// When nobody listens any more the agent is ending.
    async fn say(&self, step: Step) {
        let _ = self.steps.send(step).await;
    }

    /// Waits before a list that all nodes read, for all were told that their version is too old.
    async fn relist(&mut self) {
        self.version = None;
        sleep(self.spread.next(&mut self.rng)).await;
    }

    /// Waits before going on, unless the last thing we did went well.
    async fn pause(&mut self) {
        let first = self.backoff.failures() == 0;
        let wait = self.backoff.next(&mut self.rng);
        if !first {
            sleep(wait).await;
        }
    }

    /// One line for each kind of trouble, until it has gone well once.
    async fn outage(&mut self, failure: Failure) {
        let Failure { trouble, throttled } = failure;
        let class = trouble.class;
        if self.said.replace(class) != Some(class) {
            let (watched, text) = (self.plan.watched, &trouble.text);
            tracing::warn!(%watched, "{watched} cannot be followed: {text}{}", remedy(class));
        }
        self.board.tell(self.plan.watched, |state| {
            state.phase = WatchPhase::Waiting;
            state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
            state.last_error = Some(trouble);
        });
        self.backoff.retry_after(throttled);
        let refused = matches!(class, ErrorClass::Forbidden | ErrorClass::Unauthorized);
        let pause = if refused { self.timing.refusal_pause } else { Duration::ZERO };
        sleep(self.backoff.next(&mut self.rng) + pause).await;
        if matches!(class, ErrorClass::Access | ErrorClass::Connect) {
            self.fleet.freshen().await;
        }
    }

    fn ask(&self, path: String) -> Ask {
        let deadline = self.timing.deadline;
        let pace = Pace { hedge_after: self.timing.hedge_after, unanswered_after: deadline, deadline };
        let (method, body, traffic) = (Method::GET, Bytes::new(), Traffic::Bulk);
        Ask { method, path, body, content: JSON, traffic, pace, last: None, refusal_is_fault: false }
    }
}

/// Why there is no list or no watch.
struct Failure {
    trouble: Trouble,
    /// The server's Retry-After.
    throttled: Duration,
}

impl Failure {
    fn of<T>(answer: &Answer<T>) -> Self {
        let throttled = match answer {
            Answer::Throttled(wait) => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let senseless = || Trouble::new(ErrorClass::Nonsense, "HTTP 404: the server does not know the kind");
        Self { trouble: answer.complaint().unwrap_or_else(senseless), throttled }
    }

    fn nonsense(text: String) -> Self {
        Self { trouble: Trouble::new(ErrorClass::Nonsense, text), throttled: Duration::ZERO }
    }
}

fn remedy(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Forbidden => {
            "; what was known stays in force. Grant what manifests/rbac-services.yaml has"
        }
        _ => "; what was known stays in force; trying on",
    }
}

/// Resource versions of one kind are numbers that grow (KEP-5504); of others nothing is concluded.
fn went_back(from: &str, to: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(from).zip(number(to)).is_some_and(|(from, to)| to < from)
}

/// Reads a whole body; that of a refusal for its words.
async fn body(response: Response<Incoming>) -> Answer<Bytes> {
    let (head, body) = response.into_parts();
    match Limited::new(body, LONGEST_PAGE).collect().await {
        Ok(body) if head.status.is_success() => Answer::Success(body.to_bytes()),
        Ok(body) => answer::failure(head.status, &head.headers, &body.to_bytes()),
        Err(error) => Answer::unknown(ErrorClass::Broken, format!("the answer broke off: {error}")),
    }
}
