//! Logging that cannot stall the loop: lines go through a bounded queue to a thread that writes them to stderr.
//!
//! A container runtime that stops reading the pipe would otherwise stop whoever logs next, and with it the
//! announcements.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};

/// Lines that wait to be written. Policy when it is full: the line is dropped and counted; the count is written as
/// soon as there is room.
const QUEUE: usize = 1024;

/// How long the end of the process waits for the last lines.
const FLUSH: Duration = Duration::from_millis(500);

/// Makes a writer for each line.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// One line.
struct Line {
    text: Vec<u8>,
    queue: Queue,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::new(), queue: self.clone() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.queue.lines.try_send(std::mem::take(&mut self.text)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Keeps the log going; when it is dropped, what was logged before is written, if somebody reads it.
pub(crate) struct LogGuard {
    queue: Queue,
    done: Receiver<()>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // The subscriber keeps a sender for the rest of the process, so the end is a mark in the queue.
        if self.queue.lines.try_send(Vec::new()).is_ok() {
            let _ = self.done.recv_timeout(FLUSH);
        }
    }
}

/// Sends the process's log and its panics to stderr.
///
/// # Errors
/// When the thread cannot be started, or a log was set up before.
pub(crate) fn start(settings: LogSettings) -> anyhow::Result<LogGuard> {
    let (queue, guard) = queue(io::stderr())?;
    // The check of the local API server knows that it asks without a certificate authority; nobody has to be warned.
    let wanted = Targets::new()
        .with_default(settings.level)
        .with_target("kube_client::client::tls", LevelFilter::ERROR);
    let builder = tracing_subscriber::fmt()
        .with_max_level(settings.level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(queue);
    match settings.format {
        LogFormat::Text => builder.finish().with(wanted).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(wanted).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        tracing::error!("panic in thread {name}: {}", panic.to_string().replace('\n', " "));
    }));
    Ok(guard)
}

fn queue(sink: impl Write + Send + 'static) -> io::Result<(Queue, LogGuard)> {
    let (sender, lines) = sync_channel(QUEUE);
    let (finished, done) = sync_channel(1);
    let queue = Queue { lines: sender, dropped: Arc::default() };
    let dropped = Arc::clone(&queue.dropped);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        write_lines(sink, &lines, &dropped, &finished);
    })?;
    Ok((queue.clone(), LogGuard { queue, done }))
}

/// Nobody can be told that stderr is gone, so errors end here.
fn write_lines(
    mut sink: impl Write,
    lines: &Receiver<Vec<u8>>,
    dropped: &AtomicU64,
    finished: &SyncSender<()>,
) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            let _ = finished.try_send(());
            continue;
        }
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(sink, "({missing} log lines were dropped: nobody read them)");
        }
        let _ = sink.write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Gate {
        written: Arc<Mutex<Vec<u8>>>,
        open: Arc<Mutex<()>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.open.lock().unwrap();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_reading_stops_nobody_and_losses_are_told() {
        let gate = Gate::default();
        let shut = gate.open.lock().unwrap();
        let (queue, guard) = queue(gate.clone()).unwrap();
        for n in 0..QUEUE + 100 {
            writeln!(queue.make_writer(), "line {n}").unwrap();
        }
        let dropped = queue.dropped.load(Ordering::Relaxed);
        assert!((99..=100).contains(&dropped), "one may be on its way to the sink: {dropped}");
        drop(shut);
        // The queue is still full of lines: wait for room for the mark.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while queue.lines.try_send(Vec::new()).is_err() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        guard.done.recv_timeout(Duration::from_secs(10)).unwrap();
        let text = String::from_utf8(gate.written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("line 0\n") && text.contains(&format!("({dropped} log lines were dropped")));
    }
}
