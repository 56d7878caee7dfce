//! Removal that survives the process: whatever ends it, the namespaces it made are taken away.
//!
//! Three nets, one under the other: `Drop`; a guard process that waits for this process's end of a pipe to close
//! (so SIGINT, SIGKILL and an abort count too); and a sweep of dead processes' leftovers at the next start.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// Where iproute2 keeps named namespaces.
pub(super) const NAMED: &str = "/run/netns";

/// What every namespace of this process is called to begin with.
pub(super) fn prefix() -> String {
    format!("ms{}-", std::process::id())
}

/// The script of the guard: read until the other end closes, then remove by prefix. Signals to the terminal's
/// group do not end it, or it could not do its work.
const GUARD: &str = r#"trap '' INT TERM HUP QUIT
while read -r _; do :; done
for file in /run/netns/"$1"*; do
    [ -e "$file" ] || continue
    name=${file##*/}
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid"; done
    ip netns delete "$name"
done"#;

/// Removes what dead processes left, and starts this process's guard: once. The child's standard input is the pipe: it closes when we end.
pub(super) fn start() -> Result<()> {
    static GUARDIAN: OnceLock<Result<Child, String>> = OnceLock::new();
    let started = GUARDIAN.get_or_init(|| {
        if let Err(error) = sweep_stale() {
            tracing::warn!(%error, "leftovers of earlier runs could not be looked for");
        }
        spawn().map_err(|error| error.to_string())
    });
    match started {
        Ok(_) => Ok(()),
        Err(reason) => anyhow::bail!("cannot start the guard process (sh): {reason}"),
    }
}

fn spawn() -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", GUARD, "mainstay-lab-guard", &prefix()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Removes the namespaces that a dead process of the lab left behind; those of live ones are not touched.
///
/// # Errors
/// If the directory of namespaces cannot be read. A namespace that another sweep removed first is no error.
pub(super) fn sweep_stale() -> Result<usize> {
    let mut removed = 0;
    for name in names()? {
        if owner(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&name);
            removed += 1;
        }
    }
    Ok(removed)
}

/// The pid in a name of ours (`ms<pid>-<segment>-...`), or `None` for anybody else's namespace.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix("ms")?.split_once('-')?;
    let (segment, _) = rest.split_once('-')?;
    segment.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Every named namespace on this machine.
pub(super) fn names() -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(NAMED) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list namespaces in {NAMED}")),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Ends every process in the namespace `name` (they are all ours: nobody else knows it), then removes it.
pub(super) fn remove(name: &str) {
    if !Path::new(NAMED).join(name).exists() {
        return;
    }
    for pid in processes(name) {
        if pid != std::process::id() {
            // It may have ended by itself in between, which is what is wanted.
            let _ = crate::sys::signal(pid, libc::SIGKILL);
        }
    }
    let deleted = Command::new("ip").args(["netns", "delete", name]).stderr(Stdio::null()).status();
    if !deleted.is_ok_and(|status| status.success()) {
        tracing::debug!(name, "the namespace was gone already");
    }
}

/// The processes whose main thread is in the namespace `name`.
fn processes(name: &str) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let Ok(wanted) = std::fs::metadata(Path::new(NAMED).join(name)) else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let inside = |pid: &u32| {
        std::fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_names_of_our_form_have_an_owner() {
        assert_eq!(owner("ms123-0-demo-n1"), Some(123));
        assert_eq!(owner("ms123-demo"), None);
        assert_eq!(owner("ms-0-x"), None);
        assert_eq!(owner("msx-0-x"), None);
        assert_eq!(owner("blue"), None);
        assert_eq!(owner("ms12-0"), None);
    }
}
