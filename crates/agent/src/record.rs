//! Records what the core is given and what it answers, for `mainstay replay`.
//!
//! A thread of its own writes the file. The loop hands each turn over without waiting: where the disk cannot follow, the
//! recording ends, with a last line that says so, and the agent goes on.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use mainstay_core::input::{EffectId, Input};
use mainstay_core::names::ClaimId;
use mainstay_core::node::{Node, Output};
use mainstay_core::recording::{Line, Start, Turn};
use mainstay_core::status::ClaimStatus;
use mainstay_core::time::Moment;
use mainstay_dataplane::realtime;

use crate::driver::Core;

/// Turns that wait to be written: minutes of an idle agent's. Policy when it is full: the recording ends; one with a
/// hole in it could not be replayed.
const QUEUE: usize = 4096;

/// The recording ends at this size: some days of an idle agent's.
const LARGEST: u64 = 1 << 30;

/// How long the end of the agent waits for the last lines.
const FLUSH: Duration = Duration::from_secs(2);

/// A core that is recorded, or not.
pub(crate) struct Recorded {
    node: Node,
    recorder: Option<Recorder>,
}

impl Recorded {
    /// The core that begins with `start`, recorded to the file at `path`, if one is named and can be written.
    pub(crate) fn new(start: Start, path: Option<&Path>) -> (Self, Option<Guard>) {
        let node = start.node();
        let recording = path.map(|path| (path, Recorder::start(path, start)));
        match recording {
            None => (Self { node, recorder: None }, None),
            Some((path, Ok((recorder, guard)))) => {
                tracing::info!(file = %path.display(), "recording");
                (Self { node, recorder: Some(recorder) }, Some(guard))
            }
            Some((path, Err(error))) => {
                tracing::error!(file = %path.display(), %error, "cannot record; running on without");
                (Self { node, recorder: None }, None)
            }
        }
    }
}

impl Core for Recorded {
    fn handle(&mut self, now: Moment, input: &Input) -> Output {
        let output = self.node.handle(now, input);
        let goes_on = self.recorder.as_ref().is_none_or(|recorder| recorder.turn(now, input, &output));
        if !goes_on {
            self.recorder = None;
        }
        output
    }

    fn next_deadline(&self) -> Moment {
        self.node.next_deadline()
    }

    fn status(&self, now: Moment) -> ClaimStatus {
        self.node.status(now)
    }

    fn seats(&self, now: Moment) -> Vec<ClaimStatus> {
        self.node.seats(now)
    }

    fn claim_of(&self, id: EffectId) -> &ClaimId {
        self.node.claim_of(id)
    }
}

/// Hands turns to the thread that writes them.
struct Recorder {
    turns: SyncSender<Turn>,
    too_slow: Arc<AtomicBool>,
}

/// Waits, when the core is gone, for the last lines.
pub(crate) struct Guard(Receiver<()>);

impl Guard {
    pub(crate) fn wait(self) {
        // An error is the thread's end, which is what is waited for.
        let _ = self.0.recv_timeout(FLUSH);
    }
}

impl Recorder {
    fn start(path: &Path, start: Start) -> io::Result<(Self, Guard)> {
        keep_the_one_before(path)?;
        let file = File::create(path)?;
        let first = Line::first(env!("CARGO_PKG_VERSION"), start);
        Self::on(Paper { sink: BufWriter::new(file), written: 0, name: path.to_owned() }, first)
    }

    fn on<W: Write + Send + 'static>(mut paper: Paper<W>, first: Line) -> io::Result<(Self, Guard)> {
        let (turns, waiting) = sync_channel(QUEUE);
        let (done, finished) = sync_channel(1);
        let too_slow = Arc::new(AtomicBool::new(false));
        let slow = Arc::clone(&too_slow);
        std::thread::Builder::new().name("recording".to_owned()).spawn(move || {
            // It writes to a disk, and whoever started it may be a real-time thread.
            if let Err(error) = realtime::schedule_ordinarily() {
                tracing::warn!("the recording's thread keeps its priority: {error}");
            }
            match paper.write_all(&first, &waiting, &slow) {
                Ok(reason) => tracing::info!(file = %paper.name.display(), "the recording ends: {reason}"),
                Err(error) => {
                    tracing::error!(file = %paper.name.display(), %error, "the recording breaks off");
                }
            }
            let _ = done.send(());
        })?;
        Ok((Self { turns, too_slow }, Guard(finished)))
    }

    /// Whether the recording goes on.
    fn turn(&self, now: Moment, input: &Input, output: &Output) -> bool {
        match self.turns.try_send(Turn::new(now, input.clone(), output.clone())) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.too_slow.store(true, Ordering::Relaxed);
                false
            }
            // It has reached its size, or the disk is full; the thread has said so.
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

/// What killed the agent is in the recording of the run before: it is kept, once.
fn keep_the_one_before(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let why = "it is no regular file; name a file that may be replaced";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut before = path.as_os_str().to_owned();
    before.push(".before");
    match std::fs::rename(path, &before) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is written on.
struct Paper<W> {
    sink: W,
    written: u64,
    name: PathBuf,
}

impl<W: Write> Paper<W> {
    /// Writes until there is no more to come; why there is not.
    fn write_all(
        &mut self,
        first: &Line,
        turns: &Receiver<Turn>,
        too_slow: &AtomicBool,
    ) -> io::Result<&'static str> {
        self.line(first)?;
        let reason = loop {
            if self.written >= LARGEST {
                break "it has reached 1 GiB";
            }
            match self.next(turns)? {
                Some(turn) => self.line(&Line::Turn(turn))?,
                None if too_slow.load(Ordering::Relaxed) => break "the disk is too slow for it",
                None => break "the agent ended",
            }
        };
        self.line(&Line::End { reason: reason.to_owned() })?;
        self.sink.flush()?;
        Ok(reason)
    }

    /// The next turn; what is written stands in the file before the wait for it.
    fn next(&mut self, turns: &Receiver<Turn>) -> io::Result<Option<Turn>> {
        match turns.try_recv() {
            Ok(turn) => Ok(Some(turn)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => {
                self.sink.flush()?;
                Ok(turns.recv().ok())
            }
        }
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let text = line.encode();
        self.written += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.sink.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mainstay_core::names::{ClaimId, InstanceId, NodeName};
    use mainstay_core::recording::{Extent, Recording};
    use mainstay_core::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
    use mainstay_core::snapshot::Member;

    use super::*;
    use crate::testing::Scratch;

    fn start() -> Start {
        let settings = Settings {
            node: NodeName::new("n1"),
            instance: InstanceId(1),
            boot_id: "boot".to_owned(),
            claim: ClaimId::control_plane(),
            vips: vec!["10.0.0.100".parse().expect("an address")],
            own: Member::default(),
            witnesses: vec![],
            lease: LeaseTiming::default(),
            authority: Authority::Standalone,
            detection: Detection::default(),
            on_authority_loss: OnAuthorityLoss::Hold,
            lifetime: Duration::from_secs(15),
            restart_grace: Duration::from_secs(600),
            report_failures: false,
        };
        let found = Found { link_up: true, ..Found::default() };
        Start { settings, found, now: Moment::from_millis(1_000), seed: 7 }
    }

    fn run(core: &mut impl Core, turns: u64) {
        for turn in 0..turns {
            core.handle(Moment::from_millis(1_000 + turn * 100), &Input::Tick);
        }
    }

    #[test]
    fn a_run_is_recorded_whole_and_the_one_before_is_kept() {
        let scratch = Scratch::new("record");
        let path = scratch.path().join("run.jsonl");
        for turns in [60, 30] {
            let (mut core, guard) = Recorded::new(start(), Some(&path));
            run(&mut core, turns);
            drop(core);
            guard.expect("it records").wait();
        }
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).expect("a file");
            Recording::read(&text, Extent::Whole).expect("whole")
        };
        let (last, before) = (read(&path), read(&scratch.path().join("run.jsonl.before")));
        assert_eq!((last.turns.len(), before.turns.len()), (30, 60));
        assert_eq!(last.end.as_deref(), Some("the agent ended"));
        assert!(before.turns.iter().any(|turn| !turn.effects.is_empty()), "it probed");
        assert!(before.replay().all(|replayed| !replayed.differs));
    }

    #[test]
    fn a_directory_is_left_where_it_is() {
        let scratch = Scratch::new("record");
        let (_core, guard) = Recorded::new(start(), Some(scratch.path()));
        assert!(guard.is_none() && scratch.path().is_dir(), "it may be the state directory");
    }

    #[test]
    fn a_file_that_cannot_be_written_stops_nobody() {
        let (mut core, guard) = Recorded::new(start(), Some(Path::new("/nonexistent/run.jsonl")));
        assert!(guard.is_none());
        run(&mut core, 3);
    }

    /// A disk that writes nothing until it is let.
    #[derive(Clone, Default)]
    struct Disk {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().expect("nobody panics with it");
            self.written.lock().expect("nobody panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_stands_still_ends_the_recording_and_not_the_agent() {
        let disk = Disk::default();
        let shut = disk.gate.lock().expect("nobody panics with it");
        let paper = Paper { sink: disk.clone(), written: 0, name: PathBuf::from("disk") };
        let first = Line::first("0", start());
        let (recorder, guard) = Recorder::on(paper, first).expect("a thread");
        let mut core = Recorded { node: start().node(), recorder: Some(recorder) };
        let turns = u64::try_from(QUEUE).expect("a small number") + 10;
        run(&mut core, turns);
        assert!(core.recorder.is_none(), "it was given up, and the core went on");
        drop(shut);
        guard.wait();
        let written = disk.written.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8(written).expect("text");
        let recording = Recording::read(&text, Extent::Whole).expect("it ends properly");
        assert_eq!(recording.end.as_deref(), Some("the disk is too slow for it"));
        assert!((QUEUE..QUEUE + 10).contains(&recording.turns.len()), "{}", recording.turns.len());
        assert!(recording.replay().all(|replayed| !replayed.differs));
    }
}
