//! The stage: three nodes, a client, an API server and a stranger, each in its own network namespace on one bridge.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;

use crate::apiserver::client::ApiClient;
use crate::apiserver::{Cluster, Fault, FrontEndHandle, Reads, StoreOptions};
use crate::cluster::agent::{Agent, AgentOptions};
use crate::cluster::{Layout, publish_api_servers};
pub use crate::cluster::{PORT as API_PORT, VIP};
use crate::netns::{Addresses, Filter, Host, Segment};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a stage is made of.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// The `mainstay` program.
    pub program: PathBuf,
    /// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod`, in seconds.
    pub timing: (u32, u32, u32),
    /// Where the agents' logs go.
    pub logs: PathBuf,
    /// Where the API is served.
    pub api: Layout,
}

/// Everything on the segment. Dropping it removes it all.
#[derive(Debug)]
pub struct Stage {
    /// The nodes' agents, in order. First in the order of dropping: they run in the hosts.
    pub agents: Vec<Agent>,
    /// The API's front ends: one, or one for each node in order.
    pub front_ends: Vec<FrontEndHandle>,
    /// The store behind them.
    pub cluster: Cluster,
    /// The bridge.
    pub segment: Segment,
    /// The host of the single API server.
    pub api: Host,
    /// The client.
    pub client: Host,
    /// A host that is not ours.
    pub stranger: Host,
    runtime: Runtime,
    files: Files,
}

/// A directory of our own, removed with us.
#[derive(Debug)]
struct Files(PathBuf);

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
    /// Builds it; no agent runs yet.
    ///
    /// # Errors
    /// When namespaces or sockets cannot be made, or files not written.
    pub fn build(hint: &str, options: &StageOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.logs)
            .with_context(|| format!("cannot make {}", options.logs.display()))?;
        let segment = Segment::new(hint)?;
        let files = Files(std::env::temp_dir().join(format!("mainstay-{hint}-{}", std::process::id())));
        let nodes = (1_u8..=3).map(|n| segment.host(&format!("n{n}"), Addresses::numbered(n)));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let api = segment.host("api", Addresses::numbered(10))?;
        let client = segment.host("client", Addresses::numbered(20))?;
        let stranger = segment.host("stranger", Addresses::numbered(66))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let cluster = Cluster::new(StoreOptions::default()).context("cannot make the API's authority")?;
        let mut stage = Self {
            agents: Vec::new(),
            front_ends: Vec::new(),
            cluster,
            segment,
            api,
            client,
            stranger,
            runtime,
            files,
        };
        stage.serve(options.api, &nodes)?;
        let agent_options =
            AgentOptions { program: options.program.clone(), vip: VIP, timing: options.timing, log_level: 0 };
        for (node, host) in nodes.iter().enumerate() {
            let access = stage.kubeconfig(node);
            let places = (stage.files.0.clone(), options.logs.clone());
            let agent = Agent::prepare(host, &agent_options, (&places.0, &places.1), &access)?;
            stage.agents.push(agent);
        }
        Ok(stage)
    }

    /// Serves the API at `place`, in addition to what is served.
    fn serve(&mut self, place: Layout, nodes: &[Host]) -> Result<()> {
        let hosts = if place == Layout::Apart { std::slice::from_ref(&self.api) } else { nodes };
        let _inside = self.runtime.enter();
        for host in hosts {
            let listener = host.bind_tcp((host.ipv4(), API_PORT))?;
            let name = format!("api-{}", host.name());
            self.front_ends.push(self.cluster.serve_https(&name, listener, &[IpAddr::V4(VIP)])?);
        }
        Ok(())
    }

    /// Ends the single API server and serves the API on each node; every agent learns of all of them, and uses its
    /// own from its next start on.
    ///
    /// # Errors
    /// When a node's socket cannot be made.
    pub fn move_api_to_nodes(&mut self) -> Result<()> {
        let nodes: Vec<Host> = self.agents.iter().map(|agent| agent.host().clone()).collect();
        self.front_ends.clear();
        self.serve(Layout::OnEachNode, &nodes)?;
        publish_api_servers(&self.cluster, &nodes)?;
        for node in 0..self.agents.len() {
            let access = self.kubeconfig(node);
            self.agent(node)?.give_access(&access)?;
        }
        Ok(())
    }

    /// A client of the first front end.
    ///
    /// # Errors
    /// When there is no front end.
    pub fn api_client(&self) -> Result<ApiClient> {
        let front_end = self.front_ends.first().context("no API is served")?;
        Ok(ApiClient::new(
            &front_end.url(),
            Some(self.cluster.authority().pem()),
            Some(self.cluster.token()),
        )?)
    }

    fn kubeconfig(&self, node: Node) -> String {
        let own = self.front_ends.get(node).or_else(|| self.front_ends.first());
        self.cluster.kubeconfig(&own.map(FrontEndHandle::url).unwrap_or_default())
    }

    /// A node's agent.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn agent(&mut self, node: Node) -> Result<&mut Agent> {
        self.agents.get_mut(node).with_context(|| format!("there is no node {node}"))
    }

    /// A node's host.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn host(&self, node: Node) -> Result<Host> {
        self.agents
            .get(node)
            .map(|agent| agent.host().clone())
            .with_context(|| format!("there is no node {node}"))
    }

    /// The nodes' hosts.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        self.agents.iter().map(|agent| agent.host().clone()).collect()
    }

    /// Starts every agent.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Agent::start)
    }

    /// Brings one form of outage about, without a moment of service between it and the form before.
    ///
    /// # Errors
    /// When the packet filter refuses.
    pub fn outage(&self, form: Outage) -> Result<()> {
        let drop_packets = Filter::TcpPort { host: self.api.name().to_owned(), port: API_PORT };
        // Nobody gets through while the front end changes; requests that hang end with their connections.
        self.segment.apply(drop_packets.clone())?;
        for front_end in &self.front_ends {
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
            self.segment.lift(&drop_packets)?;
        }
        Ok(())
    }

    /// Ends the outage.
    ///
    /// # Errors
    /// When the packet filter refuses.
    pub fn end_outage(&self) -> Result<()> {
        self.front_ends.iter().for_each(FrontEndHandle::heal);
        self.segment.lift(&Filter::TcpPort { host: self.api.name().to_owned(), port: API_PORT })
    }

    /// Takes a node and the API server on it off the segment, and makes the store elect: writes and quorum reads wait.
    ///
    /// # Errors
    /// When the bridge refuses.
    pub fn kill_with_api(&self, node: Node, election: Duration) -> Result<()> {
        self.cluster.store().stall_writes_for(election, Reads::Stalled);
        if let Some(front_end) = self.front_ends.get(node) {
            front_end.inject(Fault::Refuse);
        }
        self.segment.partition(&self.host(node)?)
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
