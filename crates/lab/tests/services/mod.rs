//! A cluster of three API servers, and an agent's half that follows Services there with an agent's rights.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails the test")]
#![expect(dead_code, reason = "each test file uses a part of this")]
#![expect(unreachable_pub, reason = "shared by test files, each of which is a crate")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::input::Input;
use mainstay_core::intent::{Intent, Problem};
use mainstay_kube::{
    Feed, Following, FollowingTiming, Handles, LeaseAdapter, LeaseCall, LeaseName, Pools, Reflector,
    Settings, Source, Timing, WatchPhase, WatchState, Watched,
};
use mainstay_lab::apiserver::{
    CLUSTER_ROLE, Cluster, Fault, FrontEndHandle, NAMESPACE, Part, Preconditions, Resource, StoreOptions,
    Target, UserInfo, Verb,
};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bench {
    pub fronts: Vec<FrontEndHandle>,
    pub cluster: Cluster,
    pub feed: Feed,
    pub handles: Handles,
    pub following: Following,
    calls: Option<mpsc::Sender<LeaseCall>>,
    inputs: broadcast::Sender<Input>,
    adapter: Option<LeaseAdapter>,
    reflector: Option<Reflector>,
    config: PathBuf,
    cancel: CancellationToken,
    _guard: DropGuard,
}

impl Bench {
    /// A cluster in which nothing is followed yet.
    pub fn new(name: &str, options: StoreOptions) -> Self {
        let cluster = Cluster::new(options).unwrap();
        let shop = json!({"metadata": {"name": "shop"}, "status": {"phase": "Active"}});
        cluster.store().create(NAMESPACE, "", shop).unwrap();
        let fronts: Vec<FrontEndHandle> = ["one", "two", "three"]
            .into_iter()
            .map(|name| cluster.serve_https(name, TcpListener::bind("127.0.0.1:0").unwrap(), &[]).unwrap())
            .collect();
        let config =
            std::env::temp_dir().join(format!("mainstay-services-{name}-{}.yaml", std::process::id()));
        // With the rights of an agent and no more: what is asked for is what an operator has to grant.
        cluster.create_all(include_str!("../../../../manifests/rbac.yaml")).unwrap();
        cluster.create_all(include_str!("../../../../manifests/rbac-services.yaml")).unwrap();
        let token = cluster.new_token(UserInfo::service_account("kube-system", "mainstay"));
        std::fs::write(&config, cluster.kubeconfig_with_token(&fronts[0].url(), &token)).unwrap();
        let (adapter, handles) = LeaseAdapter::new(settings(&config, &fronts));
        let following = following();
        let (reflector, feed) = handles.objects.reflector(following.clone());
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (adapter, reflector) = (Some(adapter), Some(reflector));
        let (calls, inputs) = (None, broadcast::channel(64).0);
        Self {
            fronts,
            cluster,
            feed,
            handles,
            following,
            calls,
            inputs,
            adapter,
            reflector,
            config,
            cancel,
            _guard: guard,
        }
    }

    /// Follows from now on, by what `following` says now.
    pub fn follow(mut self) -> Self {
        if self.following != following() {
            let (reflector, feed) = self.handles.objects.reflector(self.following.clone());
            (self.reflector, self.feed) = (Some(reflector), feed);
        }
        let (calls, requests) = mpsc::channel(1);
        let (reports, mut inputs) = mpsc::channel(64);
        let (adapter, cancel, heard) =
            (self.adapter.take().unwrap(), self.cancel.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let listen = async {
                while let Some(input) = inputs.recv().await {
                    let _ = heard.send(input);
                }
            };
            tokio::join!(adapter.run(requests, reports, cancel), listen)
        });
        // As long as somebody could call, the adapter runs.
        self.calls = Some(calls);
        tokio::spawn(self.reflector.take().unwrap().run(self.cancel.clone()));
        self
    }

    /// Asks for the Lease, and returns what is heard from then on.
    pub async fn call(&mut self, call: LeaseCall) -> broadcast::Receiver<Input> {
        let inputs = self.inputs.subscribe();
        self.calls.as_ref().unwrap().send(call).await.unwrap();
        inputs
    }

    /// Changes every rule of the agent's role for Services.
    pub fn update_role(&self, change: impl Fn(&mut Value)) {
        self.update(CLUSTER_ROLE, "", "mainstay-services", |role| {
            role["rules"].as_array_mut().unwrap().iter_mut().for_each(change);
        });
    }

    pub fn intent(&self) -> Arc<Intent> {
        Arc::clone(&self.feed.intent.borrow())
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Intent) -> bool) {
        self.wait(what, self.feed.intent.clone(), |intent| holds(intent)).await;
    }

    pub async fn until_pools(&self, holds: impl Fn(&Pools) -> bool) {
        self.wait("the pools", self.feed.pools.clone(), |pools| holds(pools)).await;
    }

    pub async fn until_problems(&self, holds: impl Fn(&[&Problem]) -> bool) {
        let holds = |problems: &Arc<mainstay_kube::Problems>| holds(&problems.iter().collect::<Vec<_>>());
        self.wait("the problems", self.feed.problems.clone(), holds).await;
    }

    /// Also what is not told, as that another event came.
    pub async fn until_state(&self, watched: Watched, holds: impl Fn(&WatchState) -> bool) {
        let states = self.feed.watches.clone();
        let looking = async {
            while !holds(&states.borrow()[&watched]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        assert!(looked.is_ok(), "{watched}: {:?}", self.feed.watches.borrow()[&watched]);
    }

    pub async fn until_watching(&self) {
        for watched in Watched::ALL {
            self.until_state(watched, |state| state.phase == WatchPhase::Watching).await;
        }
    }

    async fn wait<T: std::fmt::Debug>(
        &self,
        what: &str,
        mut seen: watch::Receiver<T>,
        holds: impl Fn(&T) -> bool,
    ) {
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|value| holds(value))).await.map(drop);
        assert!(waited.is_ok(), "{what}: {:#?}", self.feed.watches.borrow());
    }

    pub fn put(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.cluster.store().create(resource, namespace, object).unwrap();
    }

    pub fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Arc<Value> {
        self.cluster.store().get(&Target::new(resource, namespace, name)).unwrap()
    }

    pub fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        self.write(Target::new(resource, namespace, name), Part::Main, change);
    }

    pub fn update_status(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        self.write(Target::new(resource, namespace, name), Part::Status, change);
    }

    fn write(&self, target: Target, part: Part, change: impl FnOnce(&mut Value)) {
        let mut object = (*self.cluster.store().get(&target).unwrap()).clone();
        change(&mut object);
        self.cluster.store().update(&target, object, part).unwrap();
    }

    pub fn delete(&self, resource: &'static Resource, namespace: &str, name: &str) {
        let target = Target::new(resource, namespace, name);
        self.cluster.store().delete(&target, &Preconditions::default()).unwrap();
    }

    /// Nothing of this kind is allowed at any server.
    pub fn deny(&self, resource: &str) {
        let fault = Fault::Deny { verb: None, resource: Some(resource.to_owned()) };
        self.fronts.iter().for_each(|front| front.inject(fault.clone()));
    }

    pub fn heal(&self) {
        self.fronts.iter().for_each(FrontEndHandle::heal);
    }

    pub fn drop_watches(&self) {
        self.fronts.iter().for_each(FrontEndHandle::drop_watches);
    }

    pub fn count(&self, verb: Verb, resource: &str) -> u64 {
        self.fronts.iter().map(|front| front.account().count(verb, resource)).sum()
    }

    /// All that was asked of the kinds that are followed.
    pub fn asked(&self) -> BTreeMap<(Verb, &'static str), u64> {
        let mut asked = BTreeMap::new();
        for resource in ["services", "endpointslices", "nodes", "configmaps"] {
            for verb in [Verb::Get, Verb::List, Verb::Watch] {
                asked.insert((verb, resource), self.count(verb, resource));
            }
        }
        // The Lease's adapter follows the slices of the API servers, in its own way.
        asked.remove(&(Verb::List, "endpointslices"));
        asked.remove(&(Verb::Watch, "endpointslices"));
        asked
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// The first one is this host's own.
pub fn settings(config: &std::path::Path, fronts: &[FrontEndHandle]) -> Settings {
    settings_of(config, &fronts.iter().map(FrontEndHandle::url).collect::<Vec<_>>())
}

pub fn settings_of(config: &std::path::Path, urls: &[String]) -> Settings {
    Settings {
        source: Source::Kubeconfig(config.to_owned()),
        server: None,
        local: Some(urls[0].clone()),
        learned: urls[1..].to_vec(),
        vips: watch::channel(Vec::new()).1,
        vip_names: Vec::new(),
        lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-cp-lock".to_owned() },
        annotations: BTreeMap::new(),
        timing: Timing {
            watch_silence: Duration::from_secs(1),
            backoff_cap: Duration::from_millis(300),
            list_deadline: Duration::from_millis(1500),
            ..Timing::for_retry_period(Duration::from_secs(1))
        },
    }
}

pub fn following() -> Following {
    Following {
        timing: FollowingTiming {
            hedge_after: Duration::from_millis(300),
            deadline: Duration::from_secs(2),
            silence: Duration::from_secs(2),
            backoff_cap: Duration::from_millis(300),
            refusal_pause: Duration::from_millis(100),
            spread: Duration::from_millis(50),
            ..FollowingTiming::default()
        },
        ..Following::all("kube-system/kubevip".parse().unwrap())
    }
}

pub fn intent_names(intent: &Intent) -> Vec<String> {
    intent.services.iter().map(|(name, _)| name.to_string()).collect()
}

/// A LoadBalancer that brings its cluster address, which the embedded server is slow to find among thousands.
pub fn service(name: &str) -> Value {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = std::net::Ipv4Addr::from(u32::from_be_bytes([10, 100, 0, 0]) + number).to_string();
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "clusterIP": address,
            "selector": {"app": name}, "loadBalancerIP": "192.0.2.10",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    })
}

/// Two endpoints of a Service.
pub fn slice(service: &str) -> Value {
    let endpoint = |last: u8, node: &str| {
        json!({
            "addresses": [format!("10.244.1.{last}")], "nodeName": node,
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("{service}-{last}"), "uid": "u"},
        })
    };
    json!({
        "metadata": {"name": format!("{service}-x7k2p"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": [endpoint(1, "node-1"), endpoint(2, "node-2")],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

pub fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
}

pub fn config_map(name: &str, range: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"range-global": range}})
}
