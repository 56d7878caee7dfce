//! Who is behind the VIP: the nodes of the control plane, or those that the settings name. What was known last is in a file,
//! for an agent that starts while no API server answers.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mainstay_core::balance::Listed;
use mainstay_kube::ControlPlaneNodes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::config::Host;
use crate::insight::ApiView;
use crate::store::{Tally, replace};

/// Its name in the state directory.
const FILE: &str = "known-backends.json";

/// Where they come from.
#[derive(Clone, Debug)]
pub(super) struct Backends {
    dir: PathBuf,
    /// As the settings name them; empty where the cluster is asked.
    fixed: Vec<SocketAddr>,
    /// The API servers' port on the nodes.
    port: u16,
    tally: Tally,
}

/// One of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    address: SocketAddr,
    node: Option<String>,
}

impl Backends {
    pub(super) fn new(dir: &Path, fixed: &[SocketAddr], port: u16) -> Self {
        Self { dir: dir.to_owned(), fixed: fixed.to_vec(), port, tally: Tally::default() }
    }

    /// Follows the nodes by way of whichever lease adapter runs, if they are asked for.
    ///
    /// # Errors
    /// When there will be no other adapter: the agent ends.
    pub(super) async fn follow(
        &self,
        api: &ApiView,
        told: watch::Sender<ControlPlaneNodes>,
    ) -> anyhow::Result<()> {
        if !self.fixed.is_empty() {
            // It stays open, or it would be taken for news.
            let _told = told;
            return std::future::pending().await;
        }
        let mut handles = api.subscribe();
        loop {
            let objects = handles.borrow_and_update().as_ref().map(|handles| handles.objects.clone());
            let following = async {
                match objects {
                    Some(objects) => objects.control_plane_nodes(told.clone()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = following => anyhow::bail!("following the control plane's nodes ended"),
                changed = handles.changed() => changed.context("there are no API servers any more")?,
            }
        }
    }

    /// Those of the settings, or those known last.
    pub(super) async fn known(&self) -> Listed {
        if !self.fixed.is_empty() {
            return self.fixed.iter().map(|address| (*address, None)).collect();
        }
        let this = self.clone();
        spawn_blocking(move || this.load()).await.unwrap_or_default()
    }

    /// Those on the control plane's nodes; remembered, unless there are none, which cannot be true.
    pub(super) async fn list(&self, nodes: ControlPlaneNodes) -> Listed {
        let at = |ip: IpAddr| SocketAddr::new(ip, self.port);
        let nodes = nodes.into_iter().flatten();
        let listed: Listed = nodes
            .flat_map(|(name, ips)| ips.into_iter().map(move |ip| (at(ip), Some(name.clone()))))
            .collect();
        if !listed.is_empty() {
            let (this, remembered) = (self.clone(), listed.clone());
            // The file's failure is told, and no more.
            let _ = spawn_blocking(move || this.tally.note(&this.dir, this.save(&remembered))).await;
        }
        listed
    }

    fn load(&self) -> Listed {
        let path = self.dir.join(FILE);
        let read = fs::read(&path)
            .and_then(|bytes| serde_json::from_slice::<Vec<Known>>(&bytes).map_err(io::Error::from));
        match read {
            Ok(known) => known.into_iter().map(|one| (one.address, one.node)).collect(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the API servers known last cannot be read");
                }
                Listed::new()
            }
        }
    }

    fn save(&self, listed: &Listed) -> io::Result<()> {
        let known: Vec<Known> =
            listed.iter().map(|(address, node)| Known { address: *address, node: node.clone() }).collect();
        let text = serde_json::to_vec(&known)?;
        replace(&self.dir, FILE, |file| file.write_all(&text))
    }
}

/// This host's own addresses.
pub(super) fn own_addresses() -> BTreeSet<IpAddr> {
    Host::read().own_addresses.into_iter().map(|(ip, _)| ip).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Scratch;

    use super::*;

    fn nodes() -> ControlPlaneNodes {
        let at = |ip: &str| BTreeSet::from([ip.parse().expect("an address")]);
        Some([("n1".to_owned(), at("10.0.0.1")), ("n2".to_owned(), at("fd00::2"))].into())
    }

    #[tokio::test]
    async fn what_was_listed_is_known_to_the_next_run() {
        let dir = Scratch::new("backends");
        let backends = Backends::new(dir.path(), &[], 6443);
        assert!(backends.known().await.is_empty(), "nothing yet");
        let listed = backends.list(nodes()).await;
        let expected: Listed = [("10.0.0.1:6443", "n1"), ("[fd00::2]:6443", "n2")]
            .map(|(at, node)| (at.parse().expect("an address"), Some(node.to_owned())))
            .into();
        assert_eq!((&listed, &backends.known().await), (&expected, &expected));
        backends.list(Some([].into())).await;
        assert_eq!(backends.known().await, expected, "an empty list is no news");
        fs::write(dir.path().join(FILE), "nonsense").expect("written");
        assert!(backends.known().await.is_empty(), "a warning, and a start without");
    }

    #[tokio::test]
    async fn what_the_settings_name_is_all_there_is() {
        let dir = Scratch::new("backends");
        let address: SocketAddr = "10.0.0.7:6444".parse().expect("an address");
        let backends = Backends::new(dir.path(), &[address], 6443);
        assert_eq!(backends.known().await, [(address, None)].into());
    }
}
