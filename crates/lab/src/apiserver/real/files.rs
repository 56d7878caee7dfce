//! What a real API server needs on disk: certificates, tokens, a place for etcd, logs. And ports.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rcgen::KeyPair;

use super::Account;
use crate::apiserver::tls::Authority;

/// etcd's own directory.
pub(super) const ETCD_DATA: &str = "etcd-data";

/// A directory that is removed with its handle; when a test fails, its logs stay.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// A new one below `parent`.
    pub(super) fn new(parent: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("mainstay-lab-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as text, for a command line.
    pub(super) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The last lines of a program's log, in one.
    pub(super) fn log_end(&self, program: &str) -> String {
        let log = fs::read_to_string(self.path(&format!("{program}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Certificates for `addresses`, keys, and who is let in by which token.
    pub(super) fn fill(
        &self,
        authority: &Authority,
        addresses: &[IpAddr],
        accounts: &[Account],
    ) -> Result<()> {
        let server = authority.server_identity(addresses)?;
        let signing = KeyPair::generate()?;
        let files = [
            ("ca.pem", authority.pem().to_owned()),
            ("server.pem", server.certificate),
            ("server.key", server.key),
            ("accounts.key", signing.serialize_pem()),
            ("accounts.pub", signing.public_key_pem()),
            ("tokens.csv", accounts.iter().map(Account::line).collect()),
        ];
        for (name, content) in files {
            fs::write(self.path(name), content)?;
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays; there is no one to tell. Logs are what a failure is understood by.
        let all = if std::thread::panicking() { self.path(ETCD_DATA) } else { self.0.clone() };
        drop(fs::remove_dir_all(all));
    }
}

/// Three ports that were free a moment ago, held at once so that they differ.
pub(super) fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?, bind()?];
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok([port(&held[0])?, port(&held[1])?, port(&held[2])?])
}
