//! The snapshot's file: read once at the start, written by a thread of its own, whole or not at all.
//!
//! A file that cannot be believed is a warning and a start as without it; a directory that cannot be written is a
//! warning and a run without memory. Neither is ever a reason not to hold a VIP.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::snapshot::{Snapshot, SnapshotError, decode, encode};

use crate::latest::{Giver, Taker, pair};

#[cfg(test)]
mod tests;

/// What its name ends in, before it takes its own.
const TEMPORARY: &str = ".new";

/// The snapshot's file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    file: &'static str,
}

/// Why the last known state could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is none: a first start.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It was read, and cannot be believed.
    #[error("{path} is not used: {cause}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: SnapshotError,
    },
}

impl Store {
    /// The store in the state directory `dir`, of that name there.
    pub(crate) fn new(dir: &Path, file: &'static str) -> Self {
        Self { dir: dir.to_owned(), file }
    }

    /// What an earlier run of this boot wrote.
    pub(crate) fn load(&self, boot_id: &str) -> Result<Snapshot, LoadError> {
        let path = self.dir.join(self.file);
        match fs::read(&path) {
            Ok(bytes) => decode(&bytes, boot_id).map_err(|cause| LoadError::Unusable { path, cause }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(LoadError::Missing(path)),
            Err(cause) => Err(LoadError::Unreadable { path, cause }),
        }
    }

    /// Replaces the file.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> io::Result<()> {
        replace(&self.dir, self.file, |file| file.write_all(&encode(snapshot)))
    }
}

/// Replaces `file` in `dir` by what `write` writes: after a crash or a power cut at any moment either the old or the new one
/// is there.
pub(crate) fn replace(
    dir: &Path,
    file: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!("{file}{TEMPORARY}"));
    let mut written = File::create(&temporary)?;
    write(&mut written)?;
    written.sync_all()?;
    fs::rename(&temporary, dir.join(file))?;
    File::open(dir)?.sync_all()
}

/// What became of the writing, for metrics and readiness.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Files written.
    pub(crate) writes: u64,
    /// Attempts that failed.
    pub(crate) errors: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) failing: Option<String>,
}

/// What the writer tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<Written>>);

impl Tally {
    /// A copy of it now.
    pub(crate) fn read(&self) -> Written {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an attempt, and logs only when the state changes: a read-only directory is one warning.
    pub(crate) fn note(&self, dir: &Path, result: io::Result<()>) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                written.writes += 1;
                if written.failing.take().is_some() {
                    tracing::info!(dir = %dir.display(), "the state directory can be written again");
                }
            }
            Err(error) => {
                written.errors += 1;
                if written.failing.replace(error.to_string()).is_none() {
                    tracing::warn!(
                        dir = %dir.display(), %error,
                        "the last known state cannot be written; running on, but a restart will not remember: \
                         make MAINSTAY_STATE_DIR writable"
                    );
                }
            }
        }
    }
}

/// The thread that writes snapshots. The newest wins; one equal to what is on disk is not written.
pub(crate) struct Writer {
    thread: std::thread::JoinHandle<()>,
    /// What became of the writing.
    pub(crate) tally: Tally,
}

impl Writer {
    /// Starts it. `known` is what the file says already.
    pub(crate) fn start(store: Store, known: Option<Snapshot>) -> io::Result<(Giver<Snapshot>, Self)> {
        let (giver, taker) = pair();
        let tally = Tally::default();
        let noted = tally.clone();
        let thread = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || write_all(&store, known, &taker, &noted))?;
        Ok((giver, Self { thread, tally }))
    }

    /// Waits until the last snapshot is on disk. The giver must be gone.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the snapshot writer panicked; the last known state may not be on disk");
        }
    }
}

fn write_all(store: &Store, mut on_disk: Option<Snapshot>, taker: &Taker<Snapshot>, tally: &Tally) {
    while let Some(snapshot) = taker.take() {
        if on_disk.as_ref() == Some(&snapshot) {
            continue;
        }
        let result = store.save(&snapshot);
        on_disk = result.is_ok().then_some(snapshot);
        tally.note(&store.dir, result);
    }
}
