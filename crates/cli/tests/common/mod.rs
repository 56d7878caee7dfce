//! What the tests with real agents share.

use std::path::PathBuf;

/// A directory that goes with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mainstay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory under the temporary one");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Logs and recordings are what a failure is understood by.
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}
