//! How long it takes to follow many Services, and what it costs in memory: `measure_services [SERVICES [RUNS]]`.
//!
//! The embedded API server is in this process, the follower in one of its own, so that its memory is its own. Each Service
//! has a slice with two endpoints, and what else real ones have: labels, annotations, managed fields. There is a node for
//! every hundred Services, with 50 images each.

#![expect(clippy::print_stdout, reason = "this is what a person runs it for")]

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use mainstay_kube::{Following, LeaseAdapter, LeaseName, Settings, Source, Timing};
use mainstay_lab::apiserver::{
    Cluster, ENDPOINT_SLICE, NAMESPACE, NODE, Part, Preconditions, SERVICE, StoreOptions, Target,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A Service that is created when all others are known.
const NEWEST: &str = "newest";
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["follow", config, services] => follow(config, services.parse()?),
        [] => measure(10_000, 3),
        [services] => measure(services.parse()?, 3),
        [services, runs] => measure(services.parse()?, runs.parse()?),
        _ => bail!("measure_services [SERVICES [RUNS]]"),
    }
}

fn measure(services: usize, runs: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let cluster = Cluster::new(StoreOptions { history: services * 4, ..StoreOptions::default() })?;
    fill(&cluster, services)?;
    let front = cluster.serve_https("one", TcpListener::bind("127.0.0.1:0")?, &[])?;
    let config = std::env::temp_dir().join(format!("mainstay-measure-{}.yaml", std::process::id()));
    std::fs::write(&config, cluster.kubeconfig(&front.url()))?;
    for run in 1..=runs {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["follow", &config.to_string_lossy(), &services.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let mut created = 0;
        for line in lines {
            let line = line?;
            if let Some(seen) = line.strip_prefix("seen ") {
                println!(
                    "run {run}: one more is seen after {} µs",
                    seen.parse::<u128>()?.saturating_sub(created)
                );
                continue;
            }
            println!("run {run}: {line}");
            if line.starts_with("a copy takes") {
                // A quiet time, so that nothing is put together.
                std::thread::sleep(Duration::from_millis(200));
                created = wall().as_micros();
                let mut newest = service(services);
                newest["metadata"]["name"] = json!(NEWEST);
                cluster.store().create(SERVICE, "shop", newest).map_err(told)?;
            }
            if line.starts_with("synced") {
                let began = Instant::now();
                touch(&cluster, services, run)?;
                println!("run {run}: every Service changed within {} ms", began.elapsed().as_millis());
                writeln!(child.stdin.as_mut().context("its input")?, "changed")?;
            }
        }
        child.wait()?;
        cluster
            .store()
            .delete(&Target::new(SERVICE, "shop", NEWEST), &Preconditions::default())
            .map_err(told)?;
    }
    std::fs::remove_file(&config)?;
    Ok(())
}

fn fill(cluster: &Cluster, services: usize) -> Result<()> {
    let store = cluster.store();
    store.create(NAMESPACE, "", json!({"metadata": {"name": "shop"}})).map_err(told)?;
    for number in 0..services {
        store.create(SERVICE, "shop", service(number)).map_err(told)?;
        store.create(ENDPOINT_SLICE, "shop", slice(number)).map_err(told)?;
        if number % 100 == 0 {
            store.create(NODE, "", node(number)).map_err(told)?;
        }
    }
    Ok(())
}

/// Changes what every Service asks for.
fn touch(cluster: &Cluster, services: usize, run: usize) -> Result<()> {
    for number in 0..services {
        let target = Target::new(SERVICE, "shop", &name(number));
        let mut object = (*cluster.store().get(&target).map_err(told)?).clone();
        object["spec"]["loadBalancerIP"] = json!(format!("192.0.2.{run}"));
        cluster.store().update(&target, object, Part::Main).map_err(told)?;
    }
    Ok(())
}

fn told(status: mainstay_lab::apiserver::ApiStatus) -> anyhow::Error {
    anyhow::anyhow!("{status}")
}

fn name(number: usize) -> String {
    format!("service-{number:05}")
}

fn managed(manager: &str) -> Value {
    json!([{
        "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports": {}, "f:type": {}}},
    }])
}

fn service(number: usize) -> Value {
    let name = name(number);
    let address =
        std::net::Ipv4Addr::from(u32::from_be_bytes([10, 100, 0, 0]) + u32::try_from(number).unwrap_or(0));
    json!({
        "metadata": {
            "name": name, "labels": {"app": name, "app.kubernetes.io/part-of": "shop"},
            "annotations": {"example.org/owner": "a team with a long name", "kube-vip.io/vipHost": "node-00000"},
            "managedFields": managed("kubectl"),
        },
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "clusterIP": address.to_string(),
            "selector": {"app": name}, "loadBalancerIP": "192.0.2.250",
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"},
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.250", "ipMode": "VIP"}]}},
    })
}

fn slice(number: usize) -> Value {
    let (service, node) =
        (name(number), |offset: usize| format!("node-{:05}", (number / 100 + offset) * 100));
    let endpoint = |last: u8, node: String| {
        json!({
            "addresses": [format!("10.244.1.{last}")], "nodeName": node, "zone": "zone-a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("{service}-{last}"), "uid": "u"},
        })
    };
    json!({
        "metadata": {
            "name": format!("{service}-x7k2p"), "labels": {"kubernetes.io/service-name": service},
            "managedFields": managed("kube-controller-manager"),
        },
        "addressType": "IPv4", "endpoints": [endpoint(1, node(0)), endpoint(2, node(1))],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

fn node(number: usize) -> Value {
    let image = |one: usize| json!({"names": [format!("registry.example.org/{one}@sha256:{one:064}")], "sizeBytes": 9});
    let images: Vec<Value> = (0..50).map(image).collect();
    json!({
        "metadata": {"name": format!("node-{number:05}"), "labels": {"kubernetes.io/os": "linux", "zone": "a"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.200"}],
            "conditions": [{"type": "Ready", "status": "True"}], "images": images,
        },
    })
}

/// The follower, on a runtime as the agent's.
fn follow(config: &str, services: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let settings = Settings {
        source: Source::Kubeconfig(config.into()),
        server: None,
        local: None,
        learned: Vec::new(),
        vips: watch::channel(Vec::new()).1,
        vip_names: Vec::new(),
        lease: LeaseName { namespace: "kube-system".to_owned(), name: "lock".to_owned() },
        annotations: std::collections::BTreeMap::new(),
        timing: Timing::for_retry_period(Duration::from_secs(2)),
    };
    runtime.block_on(async {
        let (_adapter, handles) = LeaseAdapter::new(settings);
        let (reflector, mut feed) = handles.objects.reflector(Following::all("kube-system/kubevip".parse()?));
        let before = memory();
        let began = Instant::now();
        tokio::spawn(reflector.run(CancellationToken::new()));
        let synced = feed.intent.wait_for(|intent| intent.complete().is_ok() && intent.services.len() == services);
        drop(tokio::time::timeout(PATIENCE, synced).await.context("not synced")??);
        let took = began.elapsed().as_millis();
        let (resident, peak) = memory();
        println!("synced {services} within {took} ms; resident {} KiB before, {resident} KiB after, {peak} KiB at most", before.0);
        std::io::stdin().read_line(&mut String::new())?;
        let began = Instant::now();
        let changed = |intent: &std::sync::Arc<mainstay_core::intent::Intent>| {
            let last = intent.services.iter().last().map(|(_, service)| format!("{:?}", service.named));
            last.is_some_and(|named| !named.contains("192.0.2.250"))
        };
        drop(tokio::time::timeout(PATIENCE, feed.intent.wait_for(changed)).await.context("not changed")??);
        let (resident, peak) = memory();
        println!("caught up after {} ms; resident {resident} KiB, {peak} KiB at most", began.elapsed().as_millis());
        let began = Instant::now();
        let copy = mainstay_core::intent::Intent::clone(&feed.intent.borrow());
        println!("a copy takes {} µs", began.elapsed().as_micros());
        drop(copy);
        let newest = format!("shop/{NEWEST}").parse()?;
        let there = feed.intent.wait_for(|intent| intent.services.get(&newest).is_some());
        drop(tokio::time::timeout(PATIENCE, there).await.context("not seen")??);
        println!("seen {}", wall().as_micros());
        Ok(())
    })
}

/// The two processes have the same clock.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Resident now and at most, in KiB.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    (field("VmRSS:"), field("VmHWM:"))
}
