//! May this process make namespaces? As root, or without root inside a user namespace where the kernel allows it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// Set in the re-executed process, so that a kernel that refuses does not make us try for ever.
const INSIDE: &str = "MAINSTAY_LAB_ROOTLESS";

/// Why the network tests cannot run here: one line, for `skipped: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SkipReason(String);

/// Whether this process may make namespaces, bridges and packet sockets, and has the tools for it.
///
/// # Errors
/// The reason why not, fit to be printed.
pub fn ensure_privilege() -> Result<(), SkipReason> {
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| capabilities() & (1 << bit) == 0).map(|&(_, name)| name).collect();
    if !lacking.is_empty() {
        return Err(SkipReason(format!("network namespaces need root (lacking {})", lacking.join(", "))));
    }
    match TOOLS.iter().find(|tool| !is_installed(tool)) {
        Some(tool) => {
            Err(SkipReason(format!("the command `{tool}` is not installed (Debian: iproute2, nftables)")))
        }
        None => Ok(()),
    }
}

/// As [`ensure_privilege`]; without root, starts this very program again as root of a user namespace of its own.
///
/// Call it first in `main`: when it re-executes, it does not return. The new process has its own process, mount
/// and network namespaces and a private `/run`, so its end removes whatever it made.
///
/// # Errors
/// If neither way is open; the message says what the kernel refused.
pub fn become_privileged() -> Result<()> {
    let Err(reason) = ensure_privilege() else {
        return Ok(());
    };
    if std::env::var_os(INSIDE).is_some() || capabilities() & (1 << CAP_SYS_ADMIN) != 0 {
        return Err(reason.into());
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let error = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", "mount -t tmpfs none /run && exec \"$0\" \"$@\""])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("no root, and `unshare` (util-linux) cannot be run: become root")
}

const CAP_SYS_ADMIN: u32 = 21;

/// Capabilities that the lab uses, by number (capability.h) and name.
const NEEDED: [(u32, &str); 3] =
    [(CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

const TOOLS: [&str; 3] = ["ip", "bridge", "nft"];

/// This process's effective capabilities as a bit set; none where `/proc` does not say.
fn capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    field.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
