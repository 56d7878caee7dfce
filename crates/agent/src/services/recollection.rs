//! What a restart remembers of Services, beside the addresses that the loop remembers: how each was last understood.
//!
//! A file that cannot be read, or not in every line, is a warning and a start without what it says; one that cannot be
//! written is a warning and a run without memory.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::intent::{Intent, ObjectName, Service, lines, recall};
use mainstay_dataplane::memory;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::store::{Tally, replace};

#[cfg(test)]
mod tests;

/// Its name in the state directory.
const FILE: &str = "known-services.jsonl";
/// From a change until it is written: one file for all that comes meanwhile.
const PAUSE: Duration = Duration::from_secs(10);

type Services = mainstay_core::intent::Known<ObjectName, Service>;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Recollection {
    dir: PathBuf,
    tally: Tally,
}

impl Recollection {
    /// The one in the state directory `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), tally: Tally::default() }
    }

    /// What an earlier run wrote, whatever boot that was in: it decides nothing before a list names the same objects.
    pub(super) fn load(&self) -> Intent {
        let path = self.dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Intent::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what was known of Services cannot be read");
                return Intent::default();
            }
        };
        let (services, unreadable) = recall(text.lines());
        if unreadable > 0 {
            tracing::warn!(
                path = %path.display(), unreadable, read = services.len(),
                "not all that was known of Services can be read"
            );
        }
        Intent { services, ..Intent::default() }
    }

    /// Writes what is known, some time after it changed, and never ends.
    pub(super) async fn keep(&self, mut intent: watch::Receiver<Arc<Intent>>) {
        let mut written = None;
        loop {
            let (this, known) = (self.clone(), Arc::clone(&intent.borrow_and_update()));
            // The file's work waits for no one, and nobody for it.
            if let Ok(now) = spawn_blocking(move || this.write(&known.services, written)).await {
                written = now;
            }
            if intent.changed().await.is_err() {
                return std::future::pending().await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Writes `services`, unless they are as the file says; what it says then, if that is known.
    fn write(&self, services: &Services, written: Option<u64>) -> Option<u64> {
        let now = digest(services);
        // What was never all read is less than an earlier run knew.
        if !services.is_listed() || written == Some(now) {
            return written;
        }
        let result = self.save(services);
        let saved = result.is_ok().then_some(now);
        // Each line was made, twice, and is no more.
        memory::give_back();
        self.tally.note(&self.dir, result);
        saved
    }

    fn save(&self, services: &Services) -> io::Result<()> {
        replace(&self.dir, FILE, |file| {
            let mut to = BufWriter::new(file);
            lines(services).try_for_each(|line| writeln!(to, "{line}"))?;
            to.flush()
        })
    }
}

fn digest(services: &Services) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines(services).for_each(|line| line.hash(&mut hasher));
    hasher.finish()
}
