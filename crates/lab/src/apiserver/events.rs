//! The body of a watch: newline-delimited JSON events, pushed as they are committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use futures::stream::unfold;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{Faults, Reach};
use super::front_end::Lost;
use super::request::Call;
use super::status::ApiStatus;
use super::store::{At, Scan, Store};
use super::table::{Columns, Tables};

/// The chunk of body a watch sends at once.
type Chunk = Result<Frame<Bytes>, Lost>;

/// Begins a watch: what is sent first follows from the resource version.
///
/// # Errors
/// 400 or 422 for parameters that contradict each other.
pub(super) fn stream(
    store: &Arc<Store>,
    faults: watch::Receiver<Faults>,
    call: &Call,
    tables: Option<Tables>,
) -> Result<impl Stream<Item = Chunk> + Send + use<>, ApiStatus> {
    let scan = call.scan()?;
    let mut form = Form { tables, columns: Columns::Told };
    let initial = initial(store, &scan, call, &mut form)?;
    let every = store.options().bookmark_every;
    let timeout = call.watch_timeout()?.unwrap_or(store.options().watch_timeout);
    let allows_bookmarks = call.query.is_set("allowWatchBookmarks");
    let drops = faults.borrow().watch_drops;
    let watch = Watch {
        commits: store.subscribe(),
        store: Arc::clone(store),
        scan,
        form,
        faults,
        drops,
        first: Some(initial.chunk),
        cursor: initial.revision,
        deadline: Instant::now() + timeout,
        bookmarks: allows_bookmarks.then(|| (Instant::now() + every, every)),
        ended: false,
    };
    Ok(unfold(
        watch,
        |mut watch| async move { watch.next().await.map(|chunk| (Ok(Frame::data(chunk)), watch)) },
    ))
}

struct Initial {
    chunk: Bytes,
    revision: u64,
}

/// The events before the first change: none from a given version, else the whole state as ADDED.
fn initial(store: &Store, scan: &Scan, call: &Call, form: &mut Form) -> Result<Initial, ApiStatus> {
    let version = call.query.version()?.filter(|version| *version > 0);
    let wants_initial = call.query.text("sendInitialEvents");
    if !wants_initial.is_empty() && call.query.text("resourceVersionMatch") != "NotOlderThan" {
        let why =
            "sendInitialEvents: Forbidden: sendInitialEvents requires resourceVersionMatch=NotOlderThan";
        return Err(ApiStatus::new(422, "Invalid", why));
    }
    let streaming = wants_initial == "true";
    if let (Some(revision), false) = (version, streaming) {
        return Ok(Initial { chunk: Bytes::new(), revision });
    }
    let listed = store.list(scan, version.map_or(At::Newest, At::NotOlderThan))?;
    let mut chunk = BytesMut::new();
    if wants_initial != "false" {
        listed.items.iter().for_each(|object| form.put(&mut chunk, "ADDED", object));
    }
    if streaming && call.query.is_set("allowWatchBookmarks") {
        let mut bookmark = bookmark_object(scan, listed.revision);
        bookmark["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        put_event(&mut chunk, "BOOKMARK", &bookmark);
    }
    Ok(Initial { chunk: chunk.freeze(), revision: listed.revision })
}

/// How objects are shown.
struct Form {
    tables: Option<Tables>,
    columns: Columns,
}

impl Form {
    fn put(&mut self, chunk: &mut BytesMut, kind: &str, object: &Value) {
        match self.tables {
            Some(tables) => {
                put_event(chunk, kind, &tables.of_event(object, self.columns));
                self.columns = Columns::Known;
            }
            None => put_event(chunk, kind, object),
        }
    }
}

struct Watch {
    store: Arc<Store>,
    scan: Scan,
    form: Form,
    commits: watch::Receiver<u64>,
    faults: watch::Receiver<Faults>,
    /// How many orders to drop the watches had been given when this one began.
    drops: u64,
    first: Option<Bytes>,
    cursor: u64,
    deadline: Instant,
    /// When the next bookmark is due, and how often.
    bookmarks: Option<(Instant, Duration)>,
    ended: bool,
}

/// What there is to do after a look at the history.
enum Step {
    Send(Bytes),
    SendLast(Bytes),
    WaitUntil(Instant),
    Wait,
    End,
}

impl Watch {
    /// The next chunk, or none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.step() {
                Step::Send(chunk) => return Some(chunk),
                Step::SendLast(chunk) => {
                    self.ended = true;
                    return Some(chunk);
                }
                Step::End => return None,
                Step::WaitUntil(due) => self.wait(Some(due)).await,
                Step::Wait => self.wait(None).await,
            }
        }
    }

    fn step(&mut self) -> Step {
        self.commits.borrow_and_update();
        let (drops, reach, delay) = {
            let faults = self.faults.borrow_and_update();
            (faults.watch_drops, faults.reach, faults.watch_delay)
        };
        if self.ended || drops != self.drops {
            return Step::End;
        }
        if reach != Reach::Open {
            return Step::Wait;
        }
        match self.first.take() {
            Some(first) if !first.is_empty() => return Step::Send(first),
            _ => {}
        }
        if Instant::now() >= self.deadline {
            return self.tick();
        }
        match self.changes(delay) {
            Step::Wait => self.tick(),
            other => other,
        }
    }

    /// Changes that may be shown now; the cursor moves past them.
    fn changes(&mut self, delay: Duration) -> Step {
        let (seen, cursor) = match self.store.changes(&self.scan, self.cursor) {
            Ok(changes) => changes,
            Err(expired) => return Step::SendLast(event("ERROR", &expired.to_json())),
        };
        let now = Instant::now();
        let due: Vec<_> = seen.iter().take_while(|change| change.at + delay <= now).collect();
        let Some(last) = due.last() else {
            return match seen.first() {
                Some(first) => Step::WaitUntil(first.at + delay),
                None => {
                    self.cursor = cursor;
                    Step::Wait
                }
            };
        };
        self.cursor = if due.len() == seen.len() { cursor } else { last.revision };
        let mut chunk = BytesMut::new();
        due.iter().for_each(|change| self.form.put(&mut chunk, change.kind, &change.object));
        Step::Send(chunk.freeze())
    }

    /// With nothing to show: the end, or a bookmark, or the wait for either.
    fn tick(&mut self) -> Step {
        let now = Instant::now();
        let bookmark = |watch: &Self| event("BOOKMARK", &bookmark_object(&watch.scan, watch.cursor));
        if now >= self.deadline {
            return if self.bookmarks.is_some() { Step::SendLast(bookmark(self)) } else { Step::End };
        }
        match self.bookmarks {
            Some((due, every)) if due <= now => {
                self.bookmarks = Some((now + every, every));
                Step::Send(bookmark(self))
            }
            Some((due, _)) => Step::WaitUntil(due),
            None => Step::Wait,
        }
    }

    async fn wait(&mut self, until: Option<Instant>) {
        let until = until.map_or(self.deadline, |until| until.min(self.deadline));
        let hung = self.faults.borrow().reach != Reach::Open;
        tokio::select! {
            // A hung watch does not end in time either: nothing but the fault's end wakes it.
            () = sleep_until(until), if !hung => {}
            changed = self.commits.changed(), if !hung => self.ended |= changed.is_err(),
            changed = self.faults.changed() => self.ended |= changed.is_err(),
        }
    }
}

/// A bookmark carries nothing but its kind and the resource version.
fn bookmark_object(scan: &Scan, revision: u64) -> Value {
    json!({
        "kind": scan.resource.kind, "apiVersion": scan.resource.api_version(),
        "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
    })
}

fn event(kind: &str, object: &Value) -> Bytes {
    let mut chunk = BytesMut::new();
    put_event(&mut chunk, kind, object);
    chunk.freeze()
}

fn put_event(chunk: &mut BytesMut, kind: &str, object: &Value) {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'a str,
        object: &'a Value,
    }
    // A `Value` with text keys always serialises, and memory takes every write.
    serde_json::to_writer((&mut *chunk).writer(), &Event { r#type: kind, object }).expect("JSON into memory");
    chunk.put_u8(b'\n');
}
