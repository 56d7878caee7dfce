//! A real `kube-apiserver` with its `etcd`, where their binaries are, by the convention of controller-runtime's
//! envtest: `KUBEBUILDER_ASSETS` names the directory that holds both.
//!
//! They run on loopback with ports of their own, or in a host of a segment, with files in a temporary directory, and
//! end with the handle.

use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::ApiClient;
use super::identity::random_token;
use super::kubeconfig::{User, kubeconfig};
use super::tls::Authority;
use super::user::UserInfo;
use crate::netns::{Host, Process};

mod files;

use files::{Directory, ETCD_DATA, free_ports};

/// The variable that names the directory of the binaries.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// How long the server may take until `/readyz` says ok.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Between looks at whether it does.
const LOOK: Duration = Duration::from_millis(100);

/// The directory with both binaries, or the reason why there is none, for a test's "skipped".
///
/// # Errors
/// The reason, one line.
pub fn assets() -> Result<PathBuf, String> {
    let Some(directory) = std::env::var_os(ASSETS).map(PathBuf::from) else {
        return Err(format!(
            "no real API server: set {ASSETS} to a directory with the binaries kube-apiserver and etcd"
        ));
    };
    match ["kube-apiserver", "etcd"].into_iter().find(|binary| !directory.join(binary).is_file()) {
        Some(binary) => {
            Err(format!("no real API server: {ASSETS}={} holds no {binary}", directory.display()))
        }
        None => Ok(directory),
    }
}

/// Someone who is let in by a token.
#[derive(Clone, Debug)]
pub struct Account {
    user: UserInfo,
    token: String,
}

impl Account {
    /// With a random token.
    #[must_use]
    pub fn new(user: UserInfo) -> Self {
        Self { user, token: random_token() }
    }

    /// Their bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Their line in a static token file.
    fn line(&self) -> String {
        let name = &self.user.name;
        format!("{},{name},{name},\"{}\"\n", self.token, self.user.groups.join(","))
    }
}

/// Where the servers run.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine's loopback, with free ports.
    Loopback,
    /// In a host, on this port of all its addresses; its certificate is good for these as well.
    Host(Host, u16, Vec<IpAddr>),
    /// In a host, on this port of its loopback: for whoever relays to it there.
    Behind(Host, u16),
}

impl Place {
    /// Runs `work` on a thread of its own, in this place's network.
    fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self {
            Self::Host(host, ..) | Self::Behind(host, _) => host.enter(work)?,
            Self::Loopback => std::thread::scope(|scope| {
                scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        }
    }

    /// Ports of etcd's two listeners and of the API server.
    fn ports(&self) -> Result<[u16; 3]> {
        match self {
            Self::Loopback => free_ports(),
            Self::Host(_, port, _) | Self::Behind(_, port) => Ok([2379, 2380, *port]),
        }
    }

    /// Where the API server is reached.
    fn address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback | Self::Behind(..) => Ipv4Addr::LOCALHOST,
            Self::Host(host, ..) => host.ipv4(),
        }
    }

    /// What it listens on.
    fn bind_address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback | Self::Behind(..) => Ipv4Addr::LOCALHOST,
            Self::Host(..) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Every address its certificate is good for.
    fn addresses(&self) -> Vec<IpAddr> {
        let further = match self {
            Self::Loopback | Self::Behind(..) => &[][..],
            Self::Host(_, _, further) => further,
        };
        [self.address(), Ipv4Addr::LOCALHOST].map(IpAddr::V4).iter().chain(further).copied().collect()
    }
}

/// A running API server and its etcd. Dropping it kills both and removes their files.
#[derive(Debug)]
pub struct RealServer {
    // Dropped, and so killed, in this order.
    api: Option<Process>,
    etcd: Process,
    assets: PathBuf,
    place: Place,
    etcd_port: u16,
    api_port: u16,
    administrator: Account,
    authority: Authority,
    directory: Directory,
}

impl RealServer {
    /// Starts both from the binaries in this directory and waits until the API server is ready. Its files go below
    /// `parent`; `accounts` are let in, besides an administrator.
    ///
    /// # Errors
    /// When one does not start, ends early (with the end of its log) or is not ready in 90 s.
    pub fn start(assets: &Path, place: Place, parent: &Path, accounts: &[Account]) -> Result<Self> {
        let directory = Directory::new(parent)?;
        let [etcd_port, peer_port, api_port] = place.ports()?;
        let (authority, administrator) = (Authority::new()?, Account::new(UserInfo::administrator("lab")));
        let accounts: Vec<Account> = accounts.iter().chain([&administrator]).cloned().collect();
        directory.fill(&authority, &place.addresses(), &accounts)?;
        let etcd = command(assets, &directory, "etcd", &etcd_flags(&directory, etcd_port, peer_port))?;
        let etcd = place.enter(|| Process::start(etcd))?;
        let assets = assets.to_owned();
        let mut server =
            Self { api: None, etcd, assets, place, etcd_port, api_port, administrator, authority, directory };
        server.start_api()?;
        Ok(server)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.place.address(), self.api_port)
    }

    /// The authority that its certificate comes from.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// An administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.administrator.token
    }

    /// A kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(&self.administrator)
    }

    /// A kubeconfig of one of the accounts.
    #[must_use]
    pub fn kubeconfig_of(&self, account: &Account) -> String {
        kubeconfig(&self.url(), self.authority.pem(), &User::Token(account.token.clone()))
    }

    /// A client with an administrator's token, for use in the server's place.
    ///
    /// # Errors
    /// When the authority's certificate is refused.
    pub fn client(&self) -> Result<ApiClient> {
        Ok(ApiClient::new(&self.url(), Some(self.authority.pem()), Some(&self.administrator.token))?)
    }

    /// Runs `work` in the server's place with an administrator's client, on a thread and a runtime of its own.
    ///
    /// # Errors
    /// When `work` fails.
    pub fn administer<T, Work>(&self, work: impl FnOnce(ApiClient) -> Work + Send) -> Result<T>
    where
        T: Send,
        Work: Future<Output = Result<T>>,
    {
        let client = self.client()?;
        self.place.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(client))
        })
    }

    /// Starts the API server, unless it runs, and waits until it is ready. etcd has kept its objects.
    ///
    /// # Errors
    /// When it does not start, ends early (with the end of its log) or is not ready in 90 s.
    pub fn start_api(&mut self) -> Result<()> {
        if self.api.is_none() {
            let flags = self.api_flags();
            let api = command(&self.assets, &self.directory, "kube-apiserver", &flags)?;
            self.api = Some(self.place.enter(|| Process::start(api))?);
        }
        self.wait_until_ready()
    }

    /// Kills the API server: its kernel refuses connections from now on. etcd runs on.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill_api(&mut self) -> Result<()> {
        self.api.take().map_or(Ok(()), |mut api| api.kill().map(drop))
    }

    /// The API server's process, unless it was killed.
    pub fn api(&mut self) -> Option<&mut Process> {
        self.api.as_mut()
    }

    /// Makes etcd forget every revision but the present one, which is a new one, as the API server does every five minutes:
    /// none that a client knows goes on.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn compact(&self) -> Result<()> {
        let etcd = ApiClient::new(&format!("http://127.0.0.1:{}", self.etcd_port), None, None)?;
        let put = serde_json::json!({"key": "bGFi", "value": "bGFi"});
        let answer = etcd.post("/v3/kv/put", &put).await?;
        let revision = answer.body["header"]["revision"].clone();
        let compact = serde_json::json!({"revision": revision, "physical": true});
        let answer = etcd.post("/v3/kv/compaction", &compact).await?;
        anyhow::ensure!(answer.code == 200, "etcd does not compact: {}", answer.body);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            for (name, process) in [("etcd", Some(&mut self.etcd)), ("kube-apiserver", self.api.as_mut())] {
                if let Some(status) = process.map(Process::try_wait).transpose()?.flatten() {
                    bail!("{name} ended early ({status}): {}", self.directory.log_end(name));
                }
            }
            let ready = self.administer(|client| async move {
                Ok(client.get("/readyz").await.is_ok_and(|answer| answer.code == 200))
            })?;
            if ready {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        let log = self.directory.log_end("kube-apiserver");
        bail!("kube-apiserver is not ready after {START_LIMIT:?}: {log}")
    }

    fn api_flags(&self) -> Vec<String> {
        let file = |name| self.directory.file(name);
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--bind-address={}", self.place.bind_address()),
            format!("--secure-port={}", self.api_port),
            format!("--cert-dir={}", file("certificates")),
            format!("--tls-cert-file={}", file("server.pem")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.pem")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--service-cluster-ip-range=10.255.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        if let Place::Host(host, ..) | Place::Behind(host, _) = &self.place {
            flags.push(format!("--advertise-address={}", host.ipv4()));
        }
        if matches!(self.place, Place::Behind(..)) {
            // The cache of watches would hide for minutes that etcd has forgotten a revision.
            flags.push("--watch-cache=false".to_owned());
            // Nobody reaches it here: whoever relays to it says where it is reached.
            flags.push("--endpoint-reconciler-type=none".to_owned());
        }
        flags
    }
}

fn etcd_flags(directory: &Directory, client_port: u16, peer_port: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    vec![
        format!("--data-dir={}", directory.file(ETCD_DATA)),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

/// A program of the assets, with its log appended to a file of its name.
fn command(assets: &Path, directory: &Directory, name: &str, flags: &[String]) -> Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(directory.path(&format!("{name}.log")));
    let log = log.with_context(|| format!("cannot write the log of {name}"))?;
    let mut command = Command::new(assets.join(name));
    command.args(flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}
