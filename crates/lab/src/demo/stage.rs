//! The stage: three nodes, a client, an API server and a stranger, each in its own network namespace on one bridge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::apiserver::{Fault, FrontEndHandle, Reads};
use crate::cluster::agent::Agent;
pub use crate::cluster::{Cluster, PORT as API_PORT, VIP};
use crate::cluster::{Layout, Plan};
use crate::netns::{Addresses, Filter, Host};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Everything on the segment. Dropping it removes it all.
#[derive(Debug)]
pub struct Stage {
    /// The nodes, the client, the API and its host.
    pub cluster: Cluster,
    /// A host that is not ours.
    pub stranger: Host,
    /// The host of the single API server.
    pub api: Host,
    _files: Files,
}

/// A directory of our own, removed with us.
#[derive(Debug)]
pub(super) struct Files(pub(super) PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "cannot remove a stage's files");
        }
    }
}

/// Which node, from 0.
pub type Node = usize;

impl Stage {
    /// Builds it; no agent runs yet. `program` is `mainstay`; `timing` is that of [`Plan`]; `logs` is where the agents'
    /// logs go.
    ///
    /// # Errors
    /// When namespaces or sockets cannot be made, or files not written.
    pub fn build(program: &Path, timing: (u32, u32, u32), logs: &Path) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("mainstay-demo-{}", std::process::id()));
        let plan = Plan {
            logs: logs.to_owned(),
            name: "demo",
            timing,
            ..Plan::new(program, &directory).with_layout(Layout::Apart)
        };
        let files = Files(directory);
        let cluster = Cluster::new(plan)?;
        let stranger = cluster.segment.host("stranger", Addresses::numbered(66))?;
        let api = cluster.api_host.clone().context("the API has no host of its own")?;
        Ok(Self { cluster, stranger, api, _files: files })
    }

    /// A node's agent.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn agent(&mut self, node: Node) -> Result<&mut Agent> {
        let node = self.cluster.nodes.get_mut(node).with_context(|| format!("there is no node {node}"))?;
        Ok(&mut node.agent)
    }

    /// The nodes' agents, in order.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.cluster.nodes.iter().map(|node| &node.agent)
    }

    /// A node's host.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn host(&self, node: Node) -> Result<Host> {
        let node = self.cluster.nodes.get(node).with_context(|| format!("there is no node {node}"))?;
        Ok(node.host.clone())
    }

    /// Starts every agent.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.cluster.nodes.iter_mut().try_for_each(|node| node.agent.start())
    }

    /// Brings one form of outage about, without a moment of service between it and the form before.
    ///
    /// # Errors
    /// When the packet filter refuses.
    pub fn outage(&self, form: Outage) -> Result<()> {
        let drop_packets = Filter::TcpPort { host: self.api.name().to_owned(), port: API_PORT };
        // Nobody gets through while the front end changes; requests that hang end with their connections.
        self.cluster.segment.apply(drop_packets.clone())?;
        for front_end in &self.cluster.api.embedded()?.fronts {
            front_end.inject(Fault::Refuse);
            if form != Outage::Refused {
                front_end.heal();
            }
            match form {
                Outage::Hung => front_end.inject(Fault::Hang),
                Outage::Unavailable => {
                    front_end.inject(Fault::Status { code: 503, rate: 1.0, retry_after: None });
                }
                Outage::Refused | Outage::Blackhole => {}
            }
        }
        if form != Outage::Blackhole {
            self.cluster.segment.lift(&drop_packets)?;
        }
        Ok(())
    }

    /// Ends the outage.
    ///
    /// # Errors
    /// When the packet filter refuses.
    pub fn end_outage(&self) -> Result<()> {
        self.cluster.api.embedded()?.fronts.iter().for_each(FrontEndHandle::heal);
        self.cluster.segment.lift(&Filter::TcpPort { host: self.api.name().to_owned(), port: API_PORT })
    }

    /// Takes a node and the API server on it off the segment, and makes the store elect: writes and quorum reads wait.
    ///
    /// # Errors
    /// When the bridge refuses.
    pub fn kill_with_api(&self, node: Node, election: Duration) -> Result<()> {
        let api = self.cluster.api.embedded()?;
        api.cluster.store().stall_writes_for(election, Reads::Stalled);
        if let Some(front_end) = api.fronts.get(node) {
            front_end.inject(Fault::Refuse);
        }
        self.cluster.segment.partition(&self.host(node)?)
    }
}

/// The forms of an API outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Connections are refused.
    Refused,
    /// Packets are dropped.
    Blackhole,
    /// Requests are read and never answered.
    Hung,
    /// Every request is answered 503.
    Unavailable,
}

/// Set by SIGINT or SIGTERM: the run ends at the next look.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The run was ended from outside.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn listen() -> Result<Self> {
        let flag = Self::default();
        let shared = flag.clone();
        let (armed, ready) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let mut terminate = signal(SignalKind::terminate())?;
                let mut interrupt = signal(SignalKind::interrupt())?;
                armed.send(()).ok();
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                shared.0.store(true, Ordering::Relaxed);
                Ok(())
            })
        })?;
        ready.recv().context("signals cannot be listened to")?;
        Ok(flag)
    }

    /// Fails once a signal came.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// Lets time pass: for what must be watched for a while.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn observe(&self, length: Duration, mut look: impl FnMut()) -> Result<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.check()?;
            look();
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until `look` gives something.
    ///
    /// # Errors
    /// [`Interrupted`], or that the time limit passed; the message says what was waited for.
    pub fn wait<T>(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            self.check()?;
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= end {
                bail!("{what}: not within {} s", limit.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The program to run as agents: the one given, or this very program.
///
/// # Errors
/// When this program's own file cannot be found.
pub fn program(given: Option<&Path>) -> Result<PathBuf> {
    given.map_or_else(
        || std::env::current_exe().context("cannot find this program's own file"),
        |path| Ok(path.to_owned()),
    )
}
