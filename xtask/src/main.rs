//! Work on the tree itself. `cargo xtask tidy` checks what the compiler cannot; `cargo test -p xtask` runs the same.
#![forbid(unsafe_code)]

mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "usage: cargo xtask tidy\n\n  tidy   check arrows, orphans, lints, bans, dependencies, unsafe code, links";

fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    }
    let complaints = tidy::complaints(&root()?)?;
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    eprintln!("tidy: {}", if complaints.is_empty() { "ok".to_owned() } else { count(complaints.len()) });
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count(complaints: usize) -> String {
    format!("{complaints} complaint{}", if complaints == 1 { "" } else { "s" })
}

/// The workspace's directory: the parent of this package's.
fn root() -> anyhow::Result<std::path::PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in the workspace")?.to_owned())
}
