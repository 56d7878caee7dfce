//! A real `kube-apiserver` with its `etcd`, where their binaries are, by the convention of controller-runtime's
//! envtest: `KUBEBUILDER_ASSETS` names the directory that holds both.
//!
//! Everything runs on loopback with ports of its own and files in a temporary directory, and ends with the handle.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rcgen::KeyPair;
use tokio::process::{Child, Command};

use super::client::ApiClient;
use super::identity::random_token;
use super::kubeconfig::{User, kubeconfig};
use super::tls::Authority;

/// The variable that names the directory of the binaries.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// How long the server may take until `/readyz` says ok.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The directory with both binaries, or the reason why there is none, for a test's "skipped".
///
/// # Errors
/// The reason, one line.
pub fn assets() -> Result<PathBuf, String> {
    let Some(directory) = std::env::var_os(ASSETS).map(PathBuf::from) else {
        return Err(format!("{ASSETS} is not set: it would name a directory with kube-apiserver and etcd"));
    };
    match ["kube-apiserver", "etcd"].into_iter().find(|binary| !directory.join(binary).is_file()) {
        Some(binary) => Err(format!("{ASSETS}={} holds no {binary}", directory.display())),
        None => Ok(directory),
    }
}

/// A running API server and its etcd. Dropping it kills both and removes their files.
#[derive(Debug)]
pub struct RealServer {
    // Dropped, and so killed, in this order.
    api: Child,
    etcd: Child,
    url: String,
    token: String,
    authority: Authority,
    directory: Directory,
}

impl RealServer {
    /// Starts both from the binaries in this directory and waits until the API server is ready.
    ///
    /// # Errors
    /// When one does not start, ends early (with the end of its log) or is not ready in 90 s.
    pub async fn start(assets: &Path) -> Result<Self> {
        let directory = Directory::new()?;
        let [client_port, peer_port, api_port] = free_ports()?;
        let etcd = spawn_etcd(assets, &directory, client_port, peer_port)?;
        let (authority, token) = (Authority::new()?, random_token());
        write_files(&directory, &authority, &token)?;
        let api = spawn_api(assets, &directory, client_port, api_port)?;
        let url = format!("https://127.0.0.1:{api_port}");
        let mut server = Self { api, etcd, url, token, authority, directory };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.url, self.authority.pem(), &User::Token(self.token.clone()))
    }

    /// A client with an administrator's token.
    ///
    /// # Errors
    /// When the authority's certificate is refused.
    pub fn client(&self) -> Result<ApiClient> {
        Ok(ApiClient::new(&self.url, Some(self.authority.pem()), Some(&self.token))?)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.client()?;
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            for (name, child) in [("etcd", &mut self.etcd), ("kube-apiserver", &mut self.api)] {
                if let Some(status) = child.try_wait()? {
                    bail!("{name} ended early ({status}): {}", self.directory.log_end(name));
                }
            }
            if client.get("/readyz").await.is_ok_and(|answer| answer.code == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!(
            "kube-apiserver is not ready after {START_LIMIT:?}: {}",
            self.directory.log_end("kube-apiserver")
        )
    }
}

fn spawn_etcd(assets: &Path, directory: &Directory, client_port: u16, peer_port: u16) -> Result<Child> {
    let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    let arguments = [
        format!("--data-dir={}", directory.file("etcd-data")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    spawn(assets, directory, "etcd", &arguments)
}

fn spawn_api(assets: &Path, directory: &Directory, etcd_port: u16, port: u16) -> Result<Child> {
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", directory.file("certificates")),
        format!("--tls-cert-file={}", directory.file("server.pem")),
        format!("--tls-private-key-file={}", directory.file("server.key")),
        format!("--client-ca-file={}", directory.file("ca.pem")),
        format!("--token-auth-file={}", directory.file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", directory.file("accounts.pub")),
        format!("--service-account-signing-key-file={}", directory.file("accounts.key")),
        "--service-cluster-ip-range=10.255.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    spawn(assets, directory, "kube-apiserver", &arguments)
}

fn spawn(assets: &Path, directory: &Directory, name: &str, arguments: &[String]) -> Result<Child> {
    let log = File::create(directory.0.join(format!("{name}.log")))?;
    let mut command = Command::new(assets.join(name));
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", assets.join(name).display()))
}

fn write_files(directory: &Directory, authority: &Authority, token: &str) -> Result<()> {
    let server = authority.server_identity(&[IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
    let accounts = KeyPair::generate()?;
    let files = [
        ("ca.pem", authority.pem().to_owned()),
        ("server.pem", server.certificate),
        ("server.key", server.key),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("tokens.csv", format!("{token},lab,lab,\"system:masters\"\n")),
    ];
    for (name, content) in files {
        fs::write(directory.0.join(name), content)?;
    }
    Ok(())
}

/// Three ports that were free a moment ago, held at once so that they differ.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?, bind()?];
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok([port(&held[0])?, port(&held[1])?, port(&held[2])?])
}

/// A directory that is removed with its handle.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mainstay-lab-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn log_end(&self, name: &str) -> String {
        let log = fs::read_to_string(self.0.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory; there is no one to tell.
        drop(fs::remove_dir_all(&self.0));
    }
}
