//! Where the API servers' address and our credentials come from: a kubeconfig, or the pod's service account.
//!
//! Loading is kube-rs's; this module names the source in every error. Nothing here is final: whoever loads retries,
//! because a kubeconfig may appear after the agent (kubeadm writes it) and tokens and certificates are renewed.

use std::fmt::Write as _;
use std::path::PathBuf;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use thiserror::Error;

/// How much of another's words a line repeats, in characters.
const LONGEST_QUOTE: usize = 500;

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This kubeconfig's current context (`k8s_config_file`).
    Kubeconfig(PathBuf),
    /// The service account that Kubernetes mounts into a pod.
    InCluster,
    /// The first of these kubeconfigs that is there whenever credentials are loaded; kubeadm writes one while the agent
    /// runs.
    FirstOf {
        /// The files, in order.
        kubeconfigs: Vec<PathBuf>,
        /// Whether this runs in a Pod: where no file is there, its service account counts; else the first file is the
        /// one to come.
        in_cluster: bool,
    },
}

/// Why there are no usable credentials. Always worth retrying: files change.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The kubeconfig is missing or wrong.
    #[error("k8s_config_file={path}: {cause}; give the path of a readable kubeconfig whose current-context is complete", path = .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in one line.
        cause: String,
    },
    /// There is no usable service account.
    #[error("in-cluster credentials: {cause}; mount a service account token, or set k8s_config_file")]
    InCluster {
        /// What is wrong with them, in one line.
        cause: String,
    },
}

impl Source {
    /// Loads the credentials and throws them away: for a clear word at the start.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable or incomplete.
    pub async fn check(&self) -> Result<(), CredentialsError> {
        let chosen = self.chosen();
        let config = chosen.load().await?;
        let built = crate::access::Access::build(0, &config, crate::lookup::Lookup::new());
        built.map(|_| ()).map_err(|cause| chosen.error(&cause))
    }

    /// What counts now.
    pub(crate) fn chosen(&self) -> Self {
        let Self::FirstOf { kubeconfigs, in_cluster } = self else { return self.clone() };
        let present = kubeconfigs.iter().find(|path| path.exists());
        match (present, in_cluster, kubeconfigs.first()) {
            (Some(path), ..) | (None, false, Some(path)) => Self::Kubeconfig(path.clone()),
            _ => Self::InCluster,
        }
    }

    pub(crate) async fn load(&self) -> Result<Config, CredentialsError> {
        match self {
            Self::Kubeconfig(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| self.error(&chain(&error)))?;
                let options = KubeConfigOptions::default();
                let loaded = Config::from_custom_kubeconfig(file, &options).await;
                loaded.map_err(|error| self.error(&chain(&error)))
            }
            Self::InCluster => Config::incluster().map_err(|error| self.error(&chain(&error))),
            Self::FirstOf { .. } => Box::pin(self.chosen().load()).await,
        }
    }

    pub(crate) fn error(&self, cause: &str) -> CredentialsError {
        let cause = cause.to_owned();
        match self {
            Self::Kubeconfig(path) => CredentialsError::Kubeconfig { path: path.clone(), cause },
            Self::InCluster => CredentialsError::InCluster { cause },
            Self::FirstOf { .. } => self.chosen().error(&cause),
        }
    }
}

/// An error with its causes in one line, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = one_line(&error.to_string());
    let mut source = error.source();
    while let Some(error) = source {
        let part = one_line(&error.to_string());
        if !text.contains(&part) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {part}");
        }
        source = error.source();
    }
    text
}

/// Another's words for a line of log or status: one line, not longer than one is read, and nothing in it that a terminal
/// would obey.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(LONGEST_QUOTE).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kubeconfig_that_is_there_wins_then_the_cluster_then_the_one_to_come() {
        let directory = std::env::temp_dir().join(format!("mainstay-kubeconfigs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory under the temporary one");
        let files = ["first", "second"].map(|name| directory.join(name));
        let source = |in_cluster| Source::FirstOf { kubeconfigs: files.to_vec(), in_cluster };
        assert_eq!(source(true).chosen(), Source::InCluster);
        let alone = source(false);
        assert_eq!(alone.chosen(), Source::Kubeconfig(files[0].clone()), "the one to come");
        // One source, asked again: what appears meanwhile counts.
        for (written, chosen) in [(1, 1), (0, 0)] {
            std::fs::write(&files[written], "").expect("a file");
            assert_eq!(alone.chosen(), Source::Kubeconfig(files[chosen].clone()));
            assert_eq!(source(true).chosen(), Source::Kubeconfig(files[chosen].clone()));
        }
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
