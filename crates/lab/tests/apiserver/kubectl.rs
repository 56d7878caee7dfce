//! kubectl against the embedded server, over HTTPS, with the kubeconfig it makes.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Bench, SOON};

/// A kubeconfig file that goes away with its handle.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn write(content: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("mainstay-lab-kubectl-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("config"), content).unwrap();
        Self(directory)
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        // kubectl keeps what it discovered: in our directory, not in the user's.
        command.arg("--kubeconfig").arg(self.0.join("config")).arg("--cache-dir").arg(self.0.join("cache"));
        command.args(arguments).env("HOME", &self.0).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let run = self.kubectl(arguments).stdin(Stdio::null()).output();
        timeout(SOON, run).await.unwrap_or_else(|_| panic!("kubectl {arguments:?} does not end")).unwrap()
    }

    /// What kubectl prints, which must succeed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn kubectl_is_missing() -> bool {
    let found = Command::new("kubectl")
        .args(["version", "--client"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    let missing = !found.is_ok_and(|status| status.success());
    if missing {
        eprintln!("skipped: kubectl is not installed (Debian: apt-get install kubernetes-client)");
    }
    missing
}

const LEASE: &str = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
  "metadata": {"name": "plndr-cp-lock", "namespace": "kube-system", "labels": {"app": "vip"}},
  "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 5}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_and_writes() {
    if kubectl_is_missing().await {
        return;
    }
    let bench = Bench::new();
    let config = Kubeconfig::write(&bench.cluster.kubeconfig(&bench.front.url()));
    let manifest = config.file("lease.json", LEASE);
    assert!(config.ok(&["create", "--validate=false", "-f", &manifest]).await.contains("created"));
    let again = config.run(&["create", "--validate=false", "-f", &manifest]).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("AlreadyExists"), "{again:?}");
    assert!(config.ok(&["get", "leases", "-A"]).await.contains("plndr-cp-lock"));
    let holder =
        ["get", "lease", "-n", "kube-system", "plndr-cp-lock", "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(config.ok(&holder).await, "n1");
    let patch = r#"{"spec":{"holderIdentity":"n2"}}"#;
    for kind in ["merge", "strategic"] {
        config
            .ok(&["patch", "lease", "-n", "kube-system", "plndr-cp-lock", "--type", kind, "-p", patch])
            .await;
    }
    assert_eq!(config.ok(&holder).await, "n2");
    config.ok(&["annotate", "lease", "-n", "kube-system", "plndr-cp-lock", "example.com/a=b"]).await;
    assert!(
        config
            .ok(&["get", "leases", "-A", "-l", "app in (vip)", "-o", "yaml"])
            .await
            .contains("example.com/a: b")
    );
    config
        .ok(&[
            "replace",
            "--validate=false",
            "-f",
            &config.file(
                "again.json",
                &config.ok(&["get", "lease", "-n", "kube-system", "plndr-cp-lock", "-o", "json"]).await,
            ),
        ])
        .await;
    config.ok(&["delete", "lease", "-n", "kube-system", "plndr-cp-lock"]).await;
    let gone = config.run(&holder).await;
    assert!(String::from_utf8_lossy(&gone.stderr).contains("NotFound"), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_comes_with_a_client_certificate() {
    if kubectl_is_missing().await {
        return;
    }
    let bench = Bench::new();
    let made = bench.cluster.kubeconfig_with_certificate(&bench.front.url(), "admin").unwrap();
    let config = Kubeconfig::write(&made);
    let manifest =
        config.file("node.json", r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#);
    config.ok(&["create", "--validate=false", "-f", &manifest]).await;
    let yaml = config.ok(&["get", "nodes", "-o", "yaml"]).await;
    assert!(yaml.contains("name: n1") && yaml.contains("kind: Node"), "{yaml}");
    assert!(config.ok(&["api-resources"]).await.contains("endpointslices"));
    config.ok(&["delete", "no", "n1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches() {
    if kubectl_is_missing().await {
        return;
    }
    let bench = Bench::new();
    let config = Kubeconfig::write(&bench.cluster.kubeconfig(&bench.front.url()));
    let follow = ["get", "leases", "-n", "kube-system", "-w", "-o", "jsonpath={.metadata.name}{\"\\n\"}"];
    bench.lease("first");
    let mut child = config.kubectl(&follow).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(SOON, lines.next_line()).await.expect("the state").unwrap();
    assert_eq!(line.as_deref(), Some("first"));
    bench.lease("second");
    let line = timeout(SOON, lines.next_line()).await.expect("the change").unwrap();
    assert_eq!(line.as_deref(), Some("second"));
    child.kill().await.unwrap();
}
