//! Hosts as network namespaces on one bridge, with faults, on this very machine's kernel.
//!
//! A [`Segment`] is a bridge in a namespace of its own; a [`Host`] is a namespace joined to it by a veth pair. Nothing
//! touches the machine's own interfaces. Everything is removed on `Drop`, on panic, and by a guard process when this
//! process ends in any other way; [`Segment::sweep_stale`] removes what even that left behind.

mod cable;
mod faults;
mod guard;
mod holders;
mod host;
mod pod;
mod privilege;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use mainstay_core::names::Mac;

pub use cable::Cable;
pub use faults::Filter;
pub use holders::{HeldAddress, HolderChange, HolderWatch, Overlap, Presence};
pub use host::{Addresses, Host};
pub use pod::Pod;
pub use privilege::{SkipReason, become_privileged, ensure_privilege};
pub use process::Process;

/// One layer-2 segment: a bridge, alone in its namespace. Multicast snooping and spanning tree are off.
///
/// Clones refer to the same segment; the last one dropped removes it, and its hosts with it.
#[derive(Clone, Debug)]
pub struct Segment(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `ms<pid>-<counter>-<hint>-`: what the names of all namespaces of this segment begin with.
    prefix: String,
    switch: Namespace,
    hosts: Mutex<BTreeMap<String, Host>>,
    filters: Mutex<BTreeSet<Filter>>,
}

/// A named namespace, removed when dropped; processes in it are killed first.
#[derive(Debug)]
struct Namespace {
    name: String,
    file: std::fs::File,
}

/// The bridge's name inside its namespace.
const BRIDGE: &str = "br0";

impl Segment {
    /// Makes an empty segment. `name_hint` (letters, digits) appears in the names of its namespaces.
    ///
    /// # Errors
    /// Without privilege (see [`ensure_privilege`]) or without iproute2.
    pub fn new(name_hint: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let usable = |c: char| c.is_ascii_alphanumeric();
        ensure!(
            !name_hint.is_empty() && name_hint.chars().all(usable),
            "segment {name_hint:?}: use letters and digits"
        );
        guard::start()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}{number}-{name_hint}-", guard::prefix());
        let switch = Namespace::new(format!("{prefix}switch"))?;
        // The bridge itself stays mute: no IPv6 of its own on the wire.
        switch.enter(|| sysctl("net/ipv6/conf/default/disable_ipv6", "1"))??;
        switch.batch(
            "ip",
            &[
                "link set lo up".to_owned(),
                format!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
                format!("link set {BRIDGE} up"),
            ],
        )?;
        Ok(Self(Arc::new(Inner { prefix, switch, hosts: Mutex::default(), filters: Mutex::default() })))
    }

    /// Adds a host: a namespace with `eth0` on this segment, its addresses at once usable (no DAD), `lo` up.
    ///
    /// `name`: 1 to 12 letters, digits or dashes, unique here.
    ///
    /// # Errors
    /// If the name is taken or unfit, or iproute2 refuses an address.
    pub fn host(&self, name: &str, addresses: Addresses) -> Result<Host> {
        self.host_on(name, addresses, Cable::Plain)
    }

    /// The same, with another kind of `eth0`.
    ///
    /// # Errors
    /// As [`Segment::host`], and where the kernel has no such device.
    pub fn host_on(&self, name: &str, addresses: Addresses, cable: Cable) -> Result<Host> {
        let usable = |c: char| c.is_ascii_alphanumeric() || c == '-';
        ensure!(
            (1..=12).contains(&name.len()) && name.chars().all(usable),
            "host {name:?}: 1 to 12 of [a-zA-Z0-9-]"
        );
        ensure!(self.find(name).is_none(), "host {name:?}: the segment has one of this name");
        let host = Host::create(self, name, addresses, cable)?;
        lock(&self.0.hosts).insert(name.to_owned(), host.clone());
        Ok(host)
    }

    /// The host `name`, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Host> {
        lock(&self.0.hosts).get(name).cloned()
    }

    /// Every host, by name.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        lock(&self.0.hosts).values().cloned().collect()
    }

    /// Which host has which hardware address: to say who answered or announced.
    #[must_use]
    pub fn macs(&self) -> BTreeMap<Mac, String> {
        self.hosts().iter().map(|host| (host.mac(), host.name().to_owned())).collect()
    }

    /// Runs `work` on a thread of its own inside the bridge's namespace, where all ports can be seen.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter_switch<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.0.switch.enter(work)
    }

    /// The bridge's ports: interface index in the bridge's namespace, and whose port it is.
    ///
    /// # Errors
    /// If a port is missing.
    pub fn ports(&self) -> Result<BTreeMap<u32, String>> {
        let hosts = self.hosts();
        self.enter_switch(|| {
            let ports = hosts.iter().flat_map(|host| host.ports().iter().map(move |port| (host, port)));
            let indexed = ports.map(|(host, port)| {
                let index = crate::sys::interface_index(port)
                    .with_context(|| format!("no port {port} on the bridge"))?;
                Ok((index, host.name().to_owned()))
            });
            indexed.collect()
        })?
    }

    /// Removes what dead processes of the lab left on this machine; says how many namespaces that was.
    ///
    /// # Errors
    /// If the namespaces cannot be listed.
    pub fn sweep_stale() -> Result<usize> {
        guard::sweep_stale()
    }
}

impl Namespace {
    fn new(name: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let path = std::path::Path::new(guard::NAMED).join(&name);
        match std::fs::File::open(&path) {
            Ok(file) => Ok(Self { name, file }),
            Err(error) => {
                guard::remove(&name);
                Err(error).with_context(|| format!("cannot open {}", path.display()))
            }
        }
    }

    /// Runs `work` on a thread of its own inside this namespace and waits for it.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter_here().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for the rest of its life.
    fn enter_here(&self) -> Result<()> {
        crate::sys::enter_network_namespace(self.file.as_fd())
            .with_context(|| format!("cannot enter namespace {}", self.name))
    }

    /// Runs one tool of iproute2 inside, with these lines as its batch.
    fn batch(&self, tool: &str, lines: &[String]) -> Result<()> {
        self.feed(Command::new(tool).args(["-batch", "-"]), &lines.join("\n"))
    }

    /// Runs `command` inside with `text` as its standard input; it must succeed.
    fn feed(&self, command: &mut Command, text: &str) -> Result<()> {
        let shown = format!("{command:?}");
        let child = self
            .enter(|| command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn())?;
        let mut child = child.with_context(|| format!("cannot start {shown}"))?;
        let mut input = child.stdin.take().context("a piped child has a standard input")?;
        input.write_all(text.as_bytes()).with_context(|| format!("cannot write to {shown}"))?;
        drop(input);
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {shown}"))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{shown} in {}: {}; its input was: {text}",
            self.name,
            complaint.trim()
        );
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        guard::remove(&self.name);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A host that is still referred to elsewhere must not outlive its segment's bridge.
        for host in lock(&self.hosts).values() {
            guard::remove(host.namespace());
        }
    }
}

/// Runs a command to its successful end.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Writes one kernel setting of the calling thread's network namespace.
pub(crate) fn sysctl(path: &str, value: &str) -> Result<()> {
    std::fs::write(format!("/proc/sys/{path}"), value)
        .with_context(|| format!("cannot set {path} to {value}"))
}

/// A mutex of ours guards plain data, which a panic elsewhere leaves whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
