//! The API servers of a cluster: the embedded one, or a real one where its binaries are. What a test asks of either is
//! the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{PORT, Plan, VIP, wait_for};
use crate::apiserver::client::ApiClient;
use crate::apiserver::real::{Account, Place, RealServer};
use crate::apiserver::{
    self, ENDPOINT_SLICE, Fault, FrontEndHandle, Part, StoreOptions, Target, User, UserInfo, kubeconfig,
};
use crate::netns::{Host, Segment};

/// The settings that what an agent may do depends on, and their flags of `mainstay manifest rbac`.
const PERMISSION_FLAGS: [(&str, &str); 8] = [
    ("vip_leasename", "--leaseName"),
    ("enable_node_labeling", "--enableNodeLabeling"),
    ("lb_enable", "--enableLoadBalancer"),
    ("MAINSTAY_LB_BACKENDS", "--lbBackends"),
    ("svc_enable", "--services"),
    ("svc_leasename", "--servicesLeaseName"),
    ("svc_election", "--servicesElection"),
    ("MAINSTAY_REPORT_NODE_FAILURE", "--reportNodeFailure"),
];
/// How long a fresh API server may take to make its own namespaces.
const NAMESPACES_LIMIT: Duration = Duration::from_secs(30);

/// Where a real API server listens behind its relay.
const BEHIND: u16 = PORT + 1;

/// What the API servers of a cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded one, in this process.
    Embedded,
    /// `kube-apiserver` and `etcd` from this directory, as processes; one API server, on a host of its own.
    Real(PathBuf),
    /// The same behind front ends of the embedded one, for their faults: what passes them is answered by the real server.
    /// With one on each node, what a node's agent takes for the API server there may die or hang alone.
    Relayed(PathBuf),
}

/// A way in which every API server of a cluster is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Connections are refused; those that were open are reset. A real server's process is killed, unless it is relayed to.
    Refused,
    /// Packets vanish.
    BlackHoled,
    /// Connections are accepted and no request is answered. A real server's process is stopped, unless it is relayed to.
    Hung,
}

/// Whom the agents are, to any API server.
fn agents() -> UserInfo {
    UserInfo::service_account("kube-system", "mainstay")
}

/// The API servers of a running cluster.
#[derive(Debug)]
pub enum Api {
    /// In this process.
    Embedded(Box<Embedded>),
    /// Processes in the API's host.
    Real(Box<Real>),
}

/// The embedded API servers.
#[derive(Debug)]
pub struct Embedded {
    /// The servers: one, or one for each node.
    pub fronts: Vec<FrontEndHandle>,
    /// The store behind them.
    pub cluster: apiserver::Cluster,
    /// With this the agents prove who they are.
    agent_token: String,
    runtime: tokio::runtime::Runtime,
}

/// A real API server, and whom the agents are to it.
#[derive(Debug)]
pub struct Real {
    // Ends before what it relays to.
    relay: Option<Relay>,
    server: RealServer,
    agents: Account,
    host: Host,
    segment: Segment,
}

/// What stands before a real API server.
#[derive(Debug)]
struct Relay {
    fronts: Vec<FrontEndHandle>,
    cluster: apiserver::Cluster,
    /// Its threads are in the server's host.
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    /// API servers that are reached on `hosts`, ready for agents. A real one's process runs on `real_host`.
    pub(super) fn start(
        plan: &Plan,
        segment: &Segment,
        hosts: &[Host],
        real_host: Option<&Host>,
    ) -> Result<Self> {
        let objects = objects(plan, segment)?;
        match (&plan.backend, real_host) {
            (Backend::Embedded, _) => Ok(Self::Embedded(Box::new(Embedded::start(hosts, &objects)?))),
            (Backend::Real(assets), Some(host)) => {
                let place = Place::Host(host.clone(), PORT, vec![IpAddr::V4(VIP)]);
                Ok(Self::Real(Box::new(Real::start(assets, place, (plan, &objects), (host, segment))?)))
            }
            (Backend::Relayed(assets), Some(host)) => {
                let place = Place::Behind(host.clone(), BEHIND);
                let mut real = Real::start(assets, place, (plan, &objects), (host, segment))?;
                real.relay = Some(Relay::start(hosts, host, &real.server)?);
                Ok(Self::Real(Box::new(real)))
            }
            _ => {
                bail!("on each node a real API server is relayed to: use Backend::Relayed, or Layout::Apart")
            }
        }
    }

    /// The agents' kubeconfig, for the API server at `url`: they are a service account with the permissions of
    /// `manifests/rbac.yaml`.
    pub(super) fn kubeconfig(&self, url: &str) -> String {
        match self {
            Self::Embedded(embedded) => embedded.cluster.kubeconfig_with_token(url, &embedded.agent_token),
            Self::Real(real) => match &real.relay {
                Some(relay) => relay.cluster.kubeconfig_with_token(url, real.agents.token()),
                None => real.server.kubeconfig_of(&real.agents),
            },
        }
    }

    /// The embedded servers, for what only they can do.
    ///
    /// # Errors
    /// When the cluster has a real one.
    pub fn embedded(&self) -> Result<&Embedded> {
        match self {
            Self::Embedded(embedded) => Ok(embedded),
            Self::Real(_) => bail!("the cluster's API server is a real one"),
        }
    }

    /// The front ends that take faults, and there are none before a real server that is not relayed to.
    #[must_use]
    pub fn fronts(&self) -> &[FrontEndHandle] {
        match self {
            Self::Embedded(embedded) => &embedded.fronts,
            Self::Real(real) => real.relay.as_ref().map_or(&[], |relay| &relay.fronts),
        }
    }

    /// Every front end has this fault.
    pub fn inject(&self, fault: &Fault) {
        self.fronts().iter().for_each(|front| front.inject(fault.clone()));
    }

    /// An object, by an administrator; of a real server's by the path that `target` has there.
    ///
    /// # Errors
    /// When there is none, or no answer.
    pub fn read(&self, target: &Target) -> Result<Value> {
        match self {
            Self::Embedded(embedded) => {
                let found = embedded.cluster.store().get(target);
                found
                    .map(|object| (*object).clone())
                    .map_err(|status| anyhow::anyhow!("{target:?}: {status:?}"))
            }
            Self::Real(real) => real.server.administer(|client| async move {
                let answer = client.get(&path(target)).await?;
                ensure!(answer.code == 200, "{target:?}: {}", answer.body);
                Ok(answer.body)
            }),
        }
    }

    /// Replaces an object that was read, by an administrator.
    ///
    /// # Errors
    /// When it changed meanwhile, or is refused.
    pub fn replace(&self, target: &Target, object: Value) -> Result<()> {
        match self {
            Self::Embedded(embedded) => {
                let replaced = embedded.cluster.store().update(target, object, Part::Main);
                replaced.map(drop).map_err(|status| anyhow::anyhow!("{target:?}: {status:?}"))
            }
            Self::Real(real) => real.server.administer(|client| async move {
                let answer = client.put(&path(target), &object).await?;
                ensure!(answer.code == 200, "{target:?}: {}", answer.body);
                Ok(())
            }),
        }
    }

    /// A kubeconfig for the API server at `url` with a token that it does not know.
    #[must_use]
    pub fn kubeconfig_of_a_stranger(&self, url: &str) -> String {
        let authority = match self {
            Self::Embedded(embedded) => embedded.cluster.authority(),
            Self::Real(real) => {
                real.relay.as_ref().map_or(real.server.authority(), |relay| relay.cluster.authority())
            }
        };
        kubeconfig(url, authority.pem(), &User::Token("of-another-cluster".to_owned()))
    }

    /// Forgets every revision but the present one: a watch that goes on from an older one is answered 410.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub fn compact(&self) -> Result<()> {
        match self {
            Self::Embedded(embedded) => {
                embedded.cluster.store().compact();
                Ok(())
            }
            Self::Real(real) => real.server.administer(|_| real.server.compact()),
        }
    }

    /// The real server, for what only it can do.
    ///
    /// # Errors
    /// When the cluster has embedded ones.
    pub fn real(&self) -> Result<&RealServer> {
        match self {
            Self::Embedded(_) => bail!("the cluster's API server is embedded"),
            Self::Real(real) => Ok(&real.server),
        }
    }

    pub(super) fn embedded_mut(&mut self) -> Result<&mut Embedded> {
        match self {
            Self::Embedded(embedded) => Ok(embedded),
            Self::Real(_) => bail!("the cluster's API server is a real one"),
        }
    }

    /// A client of the API server at `url` who may do everything, for use in a host of the segment.
    pub(super) fn client(&self, url: &str) -> Result<ApiClient> {
        match self {
            Self::Embedded(embedded) => {
                let cluster = &embedded.cluster;
                Ok(ApiClient::new(url, Some(cluster.authority().pem()), Some(cluster.token()))?)
            }
            Self::Real(real) => match &real.relay {
                Some(relay) => {
                    let authority = relay.cluster.authority().pem();
                    Ok(ApiClient::new(url, Some(authority), Some(real.server.token()))?)
                }
                None => real.server.client(),
            },
        }
    }

    /// Puts every API server out of reach.
    ///
    /// # Errors
    /// When a real one cannot be killed, stopped or cut off.
    pub fn fail(&mut self, outage: Outage) -> Result<()> {
        let fault = match outage {
            Outage::Refused => Fault::Refuse,
            Outage::BlackHoled => Fault::Blackhole,
            Outage::Hung => Fault::Hang,
        };
        self.inject(&fault);
        match self {
            Self::Real(real) if real.relay.is_none() => match outage {
                Outage::Refused => real.server.kill_api(),
                Outage::BlackHoled => real.segment.drop_tcp(&real.host, PORT),
                Outage::Hung => real.server.api().context("the API server was killed")?.freeze(),
            },
            _ => Ok(()),
        }
    }

    /// Ends every outage, and waits until the API servers answer.
    ///
    /// # Errors
    /// When a real one does not start again.
    pub fn heal(&mut self) -> Result<()> {
        self.fronts().iter().for_each(FrontEndHandle::heal);
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Real(real) => {
                real.segment.lift_all()?;
                real.server.api().map_or(Ok(()), crate::netns::Process::thaw)?;
                real.server.start_api()
            }
        }
    }
}

impl Real {
    fn start(
        assets: &Path,
        place: Place,
        (plan, objects): (&Plan, &[Value]),
        (host, segment): (&Host, &Segment),
    ) -> Result<Self> {
        let agents = Account::new(agents());
        std::fs::create_dir_all(&plan.directory)?;
        let server = RealServer::start(assets, place, &plan.directory, std::slice::from_ref(&agents))?;
        permit(&server, objects)?;
        Ok(Self { relay: None, server, agents, host: host.clone(), segment: segment.clone() })
    }
}

impl Relay {
    /// On each of `hosts`, to the server in `real_host`.
    fn start(hosts: &[Host], real_host: &Host, server: &RealServer) -> Result<Self> {
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = real_host.enter(runtime)??;
        let cluster = apiserver::Cluster::new(StoreOptions::default())?;
        let inside = runtime.enter();
        let relay = |host: &Host| -> Result<FrontEndHandle> {
            let listener = host.bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
            Ok(cluster.relay_https(host.name(), listener, &names(host), server.client()?)?)
        };
        let fronts = hosts.iter().map(relay).collect::<Result<_>>()?;
        drop(inside);
        publish_relays(server, hosts)?;
        Ok(Self { fronts, cluster, _runtime: runtime })
    }
}

impl Embedded {
    fn start(hosts: &[Host], objects: &[Value]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let cluster = apiserver::Cluster::new(StoreOptions::default())?;
        for object in objects {
            cluster.create_all(&object.to_string())?;
        }
        let agent_token = cluster.new_token(agents());
        let mut embedded = Self { fronts: Vec::new(), cluster, agent_token, runtime };
        embedded.serve(hosts)?;
        Ok(embedded)
    }

    /// Serves the API on `hosts`, in place of where it was served, and publishes it there.
    pub(super) fn serve(&mut self, hosts: &[Host]) -> Result<()> {
        self.fronts.clear();
        let _inside = self.runtime.enter();
        self.fronts = hosts.iter().map(|host| serve(&self.cluster, host)).collect::<Result<_>>()?;
        publish_api_servers(&self.cluster, hosts)
    }
}

fn serve(api: &apiserver::Cluster, host: &Host) -> Result<FrontEndHandle> {
    let listener = host.bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    Ok(api.serve_https(host.name(), listener, &names(host))?)
}

/// What a server's certificate on this host is good for.
fn names(host: &Host) -> [IpAddr; 3] {
    [host.ipv4(), VIP, Ipv4Addr::LOCALHOST].map(IpAddr::V4)
}

/// The EndpointSlice of the `kubernetes` Service, from which agents learn the API servers on `hosts`, in a version.
fn api_servers(version: &str, hosts: &[Host]) -> Value {
    let endpoints: Vec<Value> = hosts
        .iter()
        .map(|host| json!({"addresses": [host.ipv4().to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({
        "apiVersion": format!("discovery.k8s.io/{version}"),
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
    })
}

/// To a server that is too old for the first version, in the one before.
fn publish_relays(server: &RealServer, hosts: &[Host]) -> Result<()> {
    server.administer(|client| async move {
        let mut refused = Value::Null;
        for version in ["v1", "v1beta1"] {
            let path = format!("/apis/discovery.k8s.io/{version}/namespaces/default/endpointslices");
            let answer = client.post(&path, &api_servers(version, hosts)).await?;
            if answer.code == 201 {
                return Ok(());
            }
            refused = answer.body;
        }
        bail!("cannot publish the API servers: {refused}")
    })
}

fn publish_api_servers(api: &apiserver::Cluster, hosts: &[Host]) -> Result<()> {
    let slice = api_servers("v1", hosts);
    let published = match api.store().create(ENDPOINT_SLICE, "default", slice.clone()) {
        Err(status) if status.code == 409 => {
            let target = Target::new(ENDPOINT_SLICE, "default", "kubernetes");
            api.store().update(&target, slice, Part::Main).map(drop)
        }
        created => created.map(drop),
    };
    published.map_err(|status| anyhow::anyhow!("cannot publish the API servers: {status:?}"))
}

/// What is there before the agents are: their permissions; and where they write on nodes, or place on them, those nodes.
fn objects(plan: &Plan, segment: &Segment) -> Result<Vec<Value>> {
    let mut objects = permissions(plan)?;
    let needs = ["enable_node_labeling", "lb_enable", "svc_election", "MAINSTAY_REPORT_NODE_FAILURE"];
    let needs_nodes = |name: &str| needs.contains(&name);
    if plan.settings.iter().any(|(name, value)| needs_nodes(name) && value == "true") {
        objects.extend(plan.node_names().map(|name| node(&name, segment)));
    }
    Ok(objects)
}

/// A Node of the control plane.
fn node(name: &str, segment: &Segment) -> Value {
    let addresses: Vec<Value> = segment
        .find(name)
        .map(|host| json!({"type": "InternalIP", "address": host.ipv4().to_string()}))
        .into_iter()
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// As an operator grants them: what the agent itself prints for these settings.
fn permissions(plan: &Plan) -> Result<Vec<Value>> {
    let mut command = Command::new(&plan.mainstay);
    command.args(["manifest", "rbac"]);
    for (name, value) in &plan.settings {
        let flag = PERMISSION_FLAGS.iter().find(|(setting, _)| setting == name);
        command.args(flag.map(|(_, flag)| format!("{flag}={value}")));
    }
    let output = command.output().with_context(|| format!("cannot run {}", plan.mainstay.display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?).context("what manifest rbac prints")
}

/// Makes these objects; the agents' service account is among them, and what it may do.
fn permit(server: &RealServer, objects: &[Value]) -> Result<()> {
    let namespace = || server.administer(async |client| absent(&client).await);
    wait_for(NAMESPACES_LIMIT, || Ok((!namespace()?).then_some(())))?
        .with_context(|| format!("the API server has no namespace kube-system after {NAMESPACES_LIMIT:?}"))?;
    server.administer(|client| async move {
        for object in objects {
            let path = collection(object)?;
            let answer = client.post(&path, object).await?;
            ensure!(answer.code == 201, "cannot create {object}: {}", answer.body);
        }
        Ok(())
    })
}

/// Where this object is.
fn path(target: &Target) -> String {
    format!("{}/{}", target.resource.path(&target.namespace), target.name)
}

async fn absent(client: &ApiClient) -> Result<bool> {
    Ok(client.get("/api/v1/namespaces/kube-system").await?.code == 404)
}

/// Where objects of this kind and namespace are created.
fn collection(object: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, namespace) = (text(&object["apiVersion"]), text(&object["metadata"]["namespace"]));
    let prefix = if version.contains('/') { "/apis" } else { "/api" };
    let plural = match object["kind"].as_str() {
        Some("ServiceAccount") => "serviceaccounts",
        Some("Role") => "roles",
        Some("RoleBinding") => "rolebindings",
        Some("ClusterRole") => "clusterroles",
        Some("ClusterRoleBinding") => "clusterrolebindings",
        Some("Node") => "nodes",
        other => bail!("{object}: no path is known for the kind {other:?}"),
    };
    let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    Ok(format!("{prefix}/{version}{place}/{plural}"))
}
