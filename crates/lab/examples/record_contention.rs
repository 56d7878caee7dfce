//! Records how an agent and client-go's elector take the Lease from each other:
//! `KUBEBUILDER_ASSETS=DIR cargo run -p mainstay-lab --example record_contention -- target/debug/mainstay`. `DIR` holds
//! `kube-controller-manager` too, which contends for the Lease of the control-plane VIP in place of its own. Writes
//! `crates/lab/transcripts/contention.jsonl`, which is committed: every revision of the Lease, and when it was seen.

#![expect(clippy::print_stdout, reason = "a program that says what it did")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use mainstay_lab::apiserver::real::assets;
use mainstay_lab::cluster::{Backend, Cluster, Plan, wait_for};
use mainstay_lab::netns::{Process, ensure_privilege};
use serde_json::{Value, json};

const WATCH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?watch=true&timeoutSeconds=600\
                     &fieldSelector=metadata.name%3Dplndr-cp-lock";
const AGENT: &str = "n1";
/// What stands for the elector's host in its identity.
const ELECTOR: &str = "controller";
const PATIENCE: Duration = Duration::from_secs(60);

/// The revisions seen so far.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Value>>>);

fn main() -> Result<()> {
    ensure_privilege().map_err(|reason| anyhow!("{reason}"))?;
    let assets = assets().map_err(|reason| anyhow!(reason))?;
    let program: PathBuf = std::env::args_os().nth(1).context("name the program mainstay")?.into();
    let directory = std::env::temp_dir().join(format!("mainstay-contention-{}", std::process::id()));
    let seen = contend(&assets, &program, &directory);
    std::fs::remove_dir_all(&directory)?;
    let lines: Vec<String> = seen?.lines().iter().map(Value::to_string).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/contention.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n")?;
    println!("{} revisions in {}", lines.len(), path.display());
    Ok(())
}

fn contend(assets: &Path, program: &Path, directory: &Path) -> Result<Seen> {
    let plan = Plan { nodes: 2, ..Plan::new(&program.canonicalize()?, directory).quick() };
    let mut cluster = Cluster::new(plan.with_backend(Backend::Real(assets.to_owned())))?;
    let seen = watch(&cluster)?;
    let (agent, elector) = (AGENT, ELECTOR);
    cluster.start(0)?;
    seen.wait("the agent takes the Lease", agent, 2)?;
    let mut other = start_elector(&cluster, assets, directory)?;
    seen.wait("the agent keeps it with the elector beside", agent, 8)?;
    // An agent that stops releases only to somebody: to another agent, which then is not there to take it.
    cluster.start(1)?;
    cluster.wait_settled(PATIENCE)?;
    seen.wait("the agents hear each other", agent, 4)?;
    cluster.agent(1).context("the second agent runs")?.freeze()?;
    let released = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| cluster.stop(0, PATIENCE));
        seen.wait("the agent releases it", "", 1)?;
        seen.wait("the elector takes what was released", elector, 4)?;
        stopped.join().map_err(|_| anyhow!("the thread that stops the agent panicked"))?
    });
    released?;
    cluster.kill(1)?;
    cluster.start(0)?;
    seen.wait("the elector keeps it with the agent beside", elector, 6)?;
    other.kill()?;
    seen.wait("the agent takes it when it has expired", agent, 4)?;
    let mut other = start_elector(&cluster, assets, directory)?;
    seen.wait("the agent keeps it with a new elector beside", agent, 6)?;
    cluster.kill(0)?;
    seen.wait("the elector takes it when it has expired", elector, 4)?;
    cluster.start(0)?;
    seen.wait("the elector keeps it with a new agent beside", elector, 4)?;
    other.freeze()?;
    seen.wait("the agent takes it from a frozen elector", agent, 3)?;
    other.thaw()?;
    seen.wait("the agent keeps it when the elector is back", agent, 4)?;
    Ok(seen)
}

/// Follows the Lease from the client's host, on a thread of its own.
fn watch(cluster: &Cluster) -> Result<Seen> {
    let (seen, client) = (Seen::default(), cluster.api_client()?);
    let (writer, begin) = (seen.clone(), Instant::now());
    cluster.client.spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut watch = client.watch(WATCH).await?;
            while let Some(mut event) = watch.next().await? {
                let at = begin.elapsed();
                let mut object = event["object"].take();
                if let Some((_, id)) = holder(&object).split_once('_') {
                    object["spec"]["holderIdentity"] = json!(format!("{ELECTOR}_{id}"));
                }
                println!("{:>7} ms  {:<50} {}", at.as_millis(), holder(&object), object["spec"]["leaseTransitions"]);
                let line = json!({"at_ms": u64::try_from(at.as_millis())?, "event": event["type"], "object": object});
                writer.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            Ok(())
        })
    })?;
    Ok(seen)
}

fn holder(object: &Value) -> String {
    object["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn start_elector(cluster: &Cluster, assets: &Path, directory: &Path) -> Result<Process> {
    let kubeconfig = directory.join("elector.kubeconfig");
    std::fs::write(&kubeconfig, cluster.api.real()?.kubeconfig())?;
    let log = std::fs::File::create(directory.join("elector.log"))?;
    let mut command = Command::new(assets.join("kube-controller-manager"));
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.arg(format!("--cert-dir={}", directory.display()));
    command.args([
        "--leader-elect-resource-name=plndr-cp-lock",
        "--leader-elect-resource-namespace=kube-system",
        "--leader-elect-resource-lock=leases",
        "--leader-elect-lease-duration=5s",
        "--leader-elect-renew-deadline=3s",
        "--leader-elect-retry-period=1s",
        "--controllers=ttl",
        "--bind-address=127.0.0.1",
        "--port=0",
    ]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    cluster.api_host.as_ref().context("the API has a host of its own")?.run(command)
}

impl Seen {
    fn lines(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the newest revisions, this many of them and all seen from now on, are held by one whose identity
    /// begins so; by nobody, if it is empty.
    fn wait(&self, what: &str, who: &str, count: usize) -> Result<()> {
        println!("-- {what}");
        let from = self.lines().len();
        let held = || {
            let lines = self.lines();
            let newest = lines[from..].iter().rev();
            let is_held = |line: &&Value| match who {
                "" => holder(&line["object"]).is_empty(),
                who => holder(&line["object"]).starts_with(who),
            };
            let held = newest.take_while(is_held).count();
            Ok((held >= count).then_some(()))
        };
        wait_for(PATIENCE, held)?.with_context(|| format!("{what}: not within {PATIENCE:?}"))
    }
}
