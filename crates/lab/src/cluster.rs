//! A cluster on this machine: nodes with real agents, a client, and API servers, each host a network namespace.
//!
//! What a test, the demo or a benchmark asks of it goes to the kernels and the wire; the agents' own word is only
//! used to wait for a state that nobody outside can see (a tenure).

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::apiserver::{self, ENDPOINT_SLICE, FrontEndHandle, StoreOptions};
use crate::netns::{Addresses, Host, Process, Segment};

/// The VIP of every cluster here.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The API servers' port, which the VIP serves.
pub const PORT: u16 = 6443;
const CLIENT: u8 = 50;
const API: u8 = 20;
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
    /// For state, kubeconfigs, sockets and logs; made if it does not exist.
    pub directory: PathBuf,
    /// How many nodes.
    pub nodes: u8,
    /// Where the API servers are.
    pub layout: Layout,
    /// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod` in seconds.
    pub timing: (u32, u32, u32),
}

impl Plan {
    /// Three nodes and one API server, with client-go's timing.
    #[must_use]
    pub fn new(mainstay: &Path, directory: &Path) -> Self {
        Self {
            mainstay: mainstay.to_owned(),
            directory: directory.to_owned(),
            nodes: 3,
            layout: Layout::Apart,
            timing: (15, 10, 2),
        }
    }

    /// The quick timing of kube-vip's samples: 5, 3 and 1 s.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.timing = (5, 3, 1);
        self
    }

    /// With the API servers elsewhere.
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
    directory: PathBuf,
    agent: Option<Process>,
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
    /// The API servers: one, or one for each node.
    pub fronts: Vec<FrontEndHandle>,
    /// The store behind them.
    pub api: apiserver::Cluster,
    /// The segment, for its faults.
    pub segment: Segment,
    plan: Plan,
    _runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Hosts and API servers; no agent runs yet.
    ///
    /// # Errors
    /// When a host or a server cannot be made: without the privilege, or with a tool missing.
    pub fn new(plan: Plan) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let segment = Segment::new("lab")?;
        let api = apiserver::Cluster::new(StoreOptions::default())?;
        let nodes =
            (1..=plan.nodes).map(|number| Node::new(&segment, &plan, number)).collect::<Result<Vec<_>>>()?;
        let client = segment.host("client", Addresses::numbered(CLIENT))?;
        let api_host = match plan.layout {
            Layout::Apart => Some(segment.host("api", Addresses::numbered(API))?),
            Layout::OnEachNode => None,
        };
        let guard = runtime.enter();
        let fronts = match &api_host {
            Some(host) => vec![serve(&api, host)?],
            None => nodes.iter().map(|node| serve(&api, &node.host)).collect::<Result<_>>()?,
        };
        drop(guard);
        let cluster = Self { nodes, client, api_host, fronts, api, segment, plan, _runtime: runtime };
        cluster.write_kubeconfigs()?;
        cluster.publish_api_servers()?;
        Ok(cluster)
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

    fn write_kubeconfigs(&self) -> Result<()> {
        let server = match &self.api_host {
            Some(host) => IpAddr::V4(host.ipv4()),
            None => IpAddr::V4(VIP),
        };
        let text = self.api.kubeconfig(&format!("https://{server}:{PORT}"));
        for node in &self.nodes {
            fs::write(node.directory.join("kubeconfig"), &text)?;
        }
        Ok(())
    }

    /// The EndpointSlice of the `kubernetes` Service, from which agents learn the API servers.
    fn publish_api_servers(&self) -> Result<()> {
        let hosts: Vec<&Host> = match &self.api_host {
            Some(host) => vec![host],
            None => self.nodes.iter().map(|node| &node.host).collect(),
        };
        let endpoints: Vec<Value> = hosts
            .iter()
            .map(|host| json!({"addresses": [host.ipv4().to_string()], "conditions": {"ready": true}}))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
        });
        self.api
            .store()
            .create(ENDPOINT_SLICE, "default", slice)
            .map_err(|status| anyhow::anyhow!("cannot publish the API servers: {status:?}"))?;
        Ok(())
    }

    /// Starts the agent of node `index`; its log is appended to `agent.log` in the node's directory.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self, index: usize) -> Result<()> {
        let command = self.agent_command(index)?;
        let node = &mut self.nodes[index];
        ensure!(node.agent.is_none(), "the agent of {} runs already", node.host.name());
        node.agent = Some(node.host.run(command)?);
        Ok(())
    }

    fn agent_command(&self, index: usize) -> Result<Command> {
        let node = &self.nodes[index];
        let log = File::options().create(true).append(true).open(node.log())?;
        let (duration, deadline, retry) = self.plan.timing;
        let mut command = Command::new(&self.plan.mainstay);
        command.arg("run").env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env("vip_interface", node.host.device()).env("address", VIP.to_string());
        command.env("port", PORT.to_string()).env("vip_nodename", node.host.name());
        for switch in ["vip_arp", "cp_enable", "vip_leaderelection"] {
            command.env(switch, "true");
        }
        command.env("vip_leaseduration", duration.to_string());
        command.env("vip_renewdeadline", deadline.to_string());
        command.env("vip_retryperiod", retry.to_string());
        command.env("k8s_config_file", node.directory.join("kubeconfig"));
        command.env("prometheus_server", "127.0.0.1:2112");
        command.env("MAINSTAY_STATE_DIR", node.directory.join("state"));
        command.env("MAINSTAY_ADMIN_SOCKET", node.socket());
        Ok(command)
    }

    /// Kills the agent of node `index` (SIGKILL); its kernel goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let mut agent = self.nodes[index].agent.take().context("the agent does not run")?;
        agent.kill().map(drop)
    }

    /// Asks the agent of node `index` to hand over and stop (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end within `limit`.
    pub fn stop(&mut self, index: usize, limit: Duration) -> Result<ExitStatus> {
        let agent = self.nodes[index].agent.as_mut().context("the agent does not run")?;
        agent.terminate()?;
        let status = wait_for(limit, || agent.try_wait())?.context("the agent does not end")?;
        self.nodes[index].agent = None;
        Ok(status)
    }

    /// The agent's process, for freezing it and for reading its cost.
    pub fn agent(&mut self, index: usize) -> Option<&mut Process> {
        self.nodes[index].agent.as_mut()
    }

    /// Nodes whose kernels have the VIP.
    ///
    /// # Errors
    /// When a kernel does not answer.
    pub fn holders(&self) -> Result<Vec<usize>> {
        let mut holders = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.host.holds(IpAddr::V4(VIP))? {
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
        let running = self.nodes.iter().filter(|node| node.agent.is_some()).count();
        let settled = || {
            let [holder] = self.holders()?[..] else { return Ok(None) };
            let claim = self.claim(holder);
            let confirmed = claim["tenure"] == "confirmed";
            let members = claim["members"].as_array().map_or(0, Vec::len);
            Ok((confirmed && members >= running).then_some(holder))
        };
        wait_for(limit, settled)?.with_context(|| format!("the cluster does not settle within {limit:?}"))
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
        self.nodes[index].status().map_or(Value::Null, |status| status["claims"][0].clone())
    }
}

impl Node {
    fn new(segment: &Segment, plan: &Plan, number: u8) -> Result<Self> {
        let host = segment.host(&format!("n{number}"), Addresses::numbered(number))?;
        let directory = plan.directory.join(host.name());
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { host, directory, agent: None })
    }

    /// Where its agent's log goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Its agent's admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// What its agent says of itself.
    ///
    /// # Errors
    /// When it does not answer within a second.
    pub fn status(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { bail!("no answer") };
        let json = body.find('{').zip(body.rfind('}')).context("no JSON in the answer")?;
        Ok(serde_json::from_str(&body[json.0..=json.1])?)
    }
}

fn serve(api: &apiserver::Cluster, host: &Host) -> Result<FrontEndHandle> {
    let listener = host.bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    let names = [IpAddr::V4(host.ipv4()), IpAddr::V4(VIP), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    Ok(api.serve_https(host.name(), listener, &names)?)
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
