//! What a run of the demonstration showed: its timeline, the figures read off it, and which promises it kept.
//!
//! Everything here is pure: a [`timeline::Timeline`] is plain data, written down while the run goes on;
//! [`figures`] and [`promises`] read it; [`json`] and [`html`] show it.

pub mod figures;
pub mod html;
pub mod json;
pub mod promises;
mod svg;
#[cfg(test)]
mod tests;
pub mod timeline;

use std::path::{Path, PathBuf};

use anyhow::Context;

pub use promises::Promise;
pub use timeline::Timeline;

/// The version of `report.json`'s form.
pub const API_VERSION: &str = "mainstay.io/demo-report/v1";

/// Writes `report.json` and `report.html` into `directory`, which is made if it is missing.
///
/// # Errors
/// When the directory or a file cannot be written.
pub fn write(timeline: &Timeline, promises: &[Promise], directory: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the report's directory {}", directory.display()))?;
    let page = directory.join("report.html");
    let data = serde_json::to_vec_pretty(&json::report(timeline, promises))?;
    for (path, content) in
        [(directory.join("report.json"), data), (page.clone(), html::page(timeline, promises).into_bytes())]
    {
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(page)
}
