//! A cluster on this machine: nodes with real agents, a client, and API servers, each host a network namespace.
//!
//! What a test, the demo or a benchmark asks of it goes to the kernels and the wire; the agents' own word is only
//! used to wait for a state that nobody outside can see (a tenure).

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::apiserver::client::ApiClient;
use crate::netns::{Addresses, Cable, Host, Process, Segment};

pub mod agent;
mod api;

use agent::{Agent, AgentOptions};
pub use api::{Api, Backend, Embedded, Outage};

/// The VIP of every cluster here.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The API servers' port, which the VIP serves.
pub const PORT: u16 = 6443;
const API: u8 = 10;
const CLIENT: u8 = 20;
/// The claim of all Services, as agents tell of it.
const SERVICES: &str = "services";
/// Between looks at a condition that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// Where the API servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One, on a host of its own.
    Apart,
    /// One on each node, as kubeadm has it; kubeconfigs name the VIP, the others are learned.
    OnEachNode,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The agent's binary.
    pub mainstay: PathBuf,
    /// For state, kubeconfigs and sockets; made if it does not exist.
    pub directory: PathBuf,
    /// For the agents' logs; made if it does not exist.
    pub logs: PathBuf,
    /// Begins the names of the namespaces.
    pub name: &'static str,
    /// How many nodes.
    pub nodes: u8,
    /// What the nodes' `eth0` is.
    pub cable: Cable,
    /// Where the API servers are.
    pub layout: Layout,
    /// What they are.
    pub backend: Backend,
    /// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod` in seconds.
    pub timing: (u32, u32, u32),
    /// Further settings of every agent, by their environment variables.
    pub settings: Vec<(&'static str, String)>,
}

impl Plan {
    /// Three nodes and one embedded API server, with client-go's timing.
    #[must_use]
    pub fn new(mainstay: &Path, directory: &Path) -> Self {
        Self {
            mainstay: mainstay.to_owned(),
            directory: directory.to_owned(),
            logs: directory.to_owned(),
            name: "lab",
            nodes: 3,
            cable: Cable::Plain,
            layout: Layout::Apart,
            backend: Backend::Embedded,
            timing: (15, 10, 2),
            settings: Vec::new(),
        }
    }

    /// The quick timing of kube-vip's samples: 5, 3 and 1 s.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.timing = (5, 3, 1);
        self
    }

    /// With other API servers.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// With this setting for every agent, by its environment variable.
    #[must_use]
    pub fn with_setting(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// With nodes whose `eth0` is this.
    #[must_use]
    pub fn with_cable(mut self, cable: Cable) -> Self {
        self.cable = cable;
        self
    }

    fn first_vip(&self) -> IpAddr {
        let named = self.settings.iter().rev().find(|(name, _)| *name == "address");
        let first = named.and_then(|(_, text)| text.split(',').next());
        first.and_then(|text| text.parse().ok()).unwrap_or(IpAddr::V4(VIP))
    }

    fn node_names(&self) -> impl Iterator<Item = String> {
        (1..=self.nodes).map(|n| format!("n{n}"))
    }

    /// Where no API server is on the nodes, none can be asked whether it lives.
    fn agent_settings(&self) -> Vec<(&'static str, String)> {
        let off = ("control_plane_health_check_address", "off".to_owned());
        let first = (self.layout == Layout::Apart).then_some(off);
        first.into_iter().chain(self.settings.iter().cloned()).collect()
    }

    /// With the API servers there.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its host.
    pub host: Host,
    /// Its agent.
    pub agent: Agent,
}

/// A running cluster. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, `n1` first.
    pub nodes: Vec<Node>,
    /// The client.
    pub client: Host,
    /// The API server's host, with [`Layout::Apart`].
    pub api_host: Option<Host>,
    /// The API servers.
    pub api: Api,
    /// The segment, for its faults.
    pub segment: Segment,
    vip: IpAddr,
}

impl Cluster {
    /// Hosts and API servers; no agent runs yet.
    ///
    /// # Errors
    /// When a directory, a host or a server cannot be made: without the privilege, or with a tool missing.
    pub fn new(plan: Plan) -> Result<Self> {
        std::fs::create_dir_all(&plan.logs)
            .with_context(|| format!("cannot make {}", plan.logs.display()))?;
        let segment = Segment::new(plan.name)?;
        let node = |(n, name): (u8, String)| segment.host_on(&name, Addresses::numbered(n), plan.cable);
        let numbers = (1..).filter(|number| ![API, CLIENT].contains(number));
        let hosts = numbers.zip(plan.node_names()).map(node).collect::<Result<Vec<_>>>()?;
        let other = |name, number| segment.host_on(name, Addresses::numbered(number), plan.cable.of_others());
        let client = other("client", CLIENT)?;
        let api_host = match plan.layout {
            Layout::Apart => Some(other("api", API)?),
            Layout::OnEachNode => None,
        };
        let served = api_host.as_ref().map_or(&hosts[..], std::slice::from_ref);
        let real_host = match plan.backend {
            Backend::Relayed(_) if api_host.is_none() => Some(other("api", API)?),
            _ => api_host.clone(),
        };
        let api = Api::start(&plan, &segment, served, real_host.as_ref())?;
        let server = api_host.as_ref().map_or(VIP, Host::ipv4);
        let access = api.kubeconfig(&url(server));
        let vip = plan.first_vip();
        let nodes = hosts.into_iter().map(|host| Node::new(host, &plan, &access)).collect::<Result<_>>()?;
        Ok(Self { nodes, client, api_host, api, segment, vip })
    }

    /// Where the API servers of the plan's layout are.
    fn api_hosts(&self) -> Vec<Host> {
        self.api_host.clone().map_or_else(|| self.hosts(), |host| vec![host])
    }

    /// Ends the API server that is apart and serves the API on each node. Every agent learns of all of them; its
    /// kubeconfig names its own, from its next start on.
    ///
    /// # Errors
    /// When a node's socket cannot be made, or the API server is a real one.
    pub fn move_api_to_nodes(&mut self) -> Result<()> {
        let hosts = self.hosts();
        self.api.embedded_mut()?.serve(&hosts)?;
        for node in &self.nodes {
            node.agent.give_access(&self.api.kubeconfig(&url(node.host.ipv4())))?;
        }
        Ok(())
    }

    /// A client of the first API server, for use in a host of the segment.
    ///
    /// # Errors
    /// When there is no host, or its certificate is refused.
    pub fn api_client(&self) -> Result<ApiClient> {
        let hosts = self.api_hosts();
        let server = url(hosts.first().context("no API is served")?.ipv4());
        self.api.client(&server)
    }

    /// The nodes' hosts, in order.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        self.nodes.iter().map(|node| node.host.clone()).collect()
    }

    /// The same, with every agent started and one node holding, confirmed.
    ///
    /// # Errors
    /// As [`Cluster::new`], and when no node holds within 20 s.
    pub fn up(plan: Plan) -> Result<Self> {
        let mut cluster = Self::new(plan)?;
        for index in 0..cluster.nodes.len() {
            cluster.start(index)?;
        }
        cluster.wait_settled(Duration::from_secs(20))?;
        Ok(cluster)
    }

    /// Starts the agent of node `index`; its log is appended to.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self, index: usize) -> Result<()> {
        let node = &mut self.nodes[index];
        ensure!(!node.agent.is_started(), "the agent of {} runs already", node.host.name());
        node.agent.start()
    }

    /// Kills the agent of node `index` (SIGKILL); its kernel goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        ensure!(self.nodes[index].agent.is_started(), "the agent does not run");
        self.nodes[index].agent.kill()
    }

    /// Asks the agent of node `index` to hand over and stop (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end within `limit`.
    pub fn stop(&mut self, index: usize, limit: Duration) -> Result<ExitStatus> {
        self.nodes[index].agent.stop(limit)
    }

    /// The agent's process, for freezing it and for reading its cost.
    pub fn agent(&mut self, index: usize) -> Option<&mut Process> {
        self.nodes[index].agent.process()
    }

    /// Every node but one.
    #[must_use]
    pub fn others(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| *index != node).collect()
    }

    /// The claim's first VIP: the address that the plan's `address` names first; [`VIP`] where that is a name, or nothing.
    #[must_use]
    pub fn vip(&self) -> IpAddr {
        self.vip
    }

    /// Nodes whose kernels have the first VIP.
    ///
    /// # Errors
    /// When a kernel does not answer.
    pub fn holders(&self) -> Result<Vec<usize>> {
        let mut holders = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.host.holds(self.vip)? {
                holders.push(index);
            }
        }
        Ok(holders)
    }

    /// Waits until exactly one node of `among` has the VIP, and gives it.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait_holder(&self, among: &[usize], limit: Duration) -> Result<usize> {
        let only = || {
            let holders: Vec<usize> =
                self.holders()?.into_iter().filter(|holder| among.contains(holder)).collect();
            Ok(if let [only] = holders[..] { Some(only) } else { None })
        };
        wait_for(limit, only)?.with_context(|| format!("no single holder among {among:?} within {limit:?}"))
    }

    /// Waits until one node alone has the VIP, holds it confirmed, and lists every node that runs an agent as a member.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait_settled(&self, limit: Duration) -> Result<usize> {
        let running = self.nodes.iter().filter(|node| node.agent.is_started()).count();
        let settled = || {
            let [holder] = self.holders()?[..] else { return Ok(None) };
            let claim = self.claim(holder);
            let confirmed = claim["tenure"] == "confirmed";
            let members = claim["members"].as_array().map_or(0, Vec::len);
            Ok((confirmed && members >= running).then_some(holder))
        };
        wait_for(limit, settled)?.with_context(|| format!("the cluster does not settle within {limit:?}"))
    }

    /// Waits until who holds the Services lists every other node that runs an agent, and has heard each of them on the wire.
    /// Gives the holder.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait_acquainted(&self, limit: Duration) -> Result<usize> {
        let holds = |index: &usize| self.claim_of(*index, SERVICES)["tenure"] == "confirmed";
        let knows = || {
            let Some(holder) = (0..self.nodes.len()).find(holds) else { return Ok(None) };
            let claim = self.claim_of(holder, SERVICES);
            let is_in = |list: &str, other: usize| {
                claim[list].as_array().is_some_and(|all| all.contains(&self.nodes[other].host.name().into()))
            };
            let is_known = |other: &usize| is_in("members", *other) && !is_in("unheard", *other);
            let runs = |other: &usize| self.nodes[*other].agent.is_started();
            Ok(self.others(holder).iter().filter(|other| runs(other)).all(is_known).then_some(holder))
        };
        let found = wait_for(limit, knows)?;
        found.with_context(|| format!("nobody knows all who could hold Services within {limit:?}"))
    }

    /// Waits until node `index` holds by this tenure, by its own word.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait_tenure(&self, index: usize, tenure: &str, limit: Duration) -> Result<()> {
        let has = || Ok((self.claim(index)["tenure"] == tenure).then_some(()));
        wait_for(limit, has)?.with_context(|| format!("node {index} is not {tenure} within {limit:?}"))
    }

    /// The claim of node `index` as its agent tells it; `Null` while it does not answer.
    #[must_use]
    pub fn claim(&self, index: usize) -> Value {
        self.nodes[index].agent.status().unwrap_or_default()
    }

    /// A claim of node `index`, as its agent tells it; `Null` while it does not.
    fn claim_of(&self, index: usize, claim: &str) -> Value {
        let claims = self.nodes[index].agent.whole_status()["claims"].take();
        let mut claims = claims.as_array().into_iter().flatten();
        claims.find(|told| told["claim"] == claim).cloned().unwrap_or_default()
    }
}

impl Node {
    fn new(host: Host, plan: &Plan, access: &str) -> Result<Self> {
        let options = AgentOptions {
            program: plan.mainstay.clone(),
            vip: VIP,
            timing: plan.timing,
            log_level: 0,
            settings: plan.agent_settings(),
        };
        let agent = Agent::prepare(&host, &options, (&plan.directory, &plan.logs), access)?;
        Ok(Self { host, agent })
    }
}

fn url(server: Ipv4Addr) -> String {
    format!("https://{server}:{PORT}")
}

/// Looks until there is something, or `limit` has passed.
///
/// # Errors
/// When a look fails.
pub fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
