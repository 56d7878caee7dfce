//! Services on three nodes with real agents: the bench of several test files.

#![expect(dead_code, reason = "each test file uses a part of this")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mainstay_lab::apiserver::{
    At, ENDPOINT_SLICE, EVENT, NAMESPACE, Part, Preconditions, Resource, SERVICE, Scan, Target, Verb,
};
use mainstay_lab::cluster::{Cluster, Plan, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Moment, Probe};
use serde_json::{Value, json};

use crate::common::Scratch;

pub(crate) const SHOP: &str = "shop";
/// A wide margin for anything that takes seconds at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn plan(scratch: &Scratch) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick().with_setting("svc_enable", "true")
}

/// Runs a test on three nodes that hold the control plane's VIP and Services.
pub(crate) fn on(name: &str, test: fn(&mut Bench)) {
    on_with(name, &[], test);
}

/// The same with further settings of every agent, by their environment variables.
pub(crate) fn on_with(name: &str, more: &[(&'static str, &str)], test: fn(&mut Bench)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(&format!("services-{name}"));
    let plan = more.iter().fold(plan(&scratch), |plan, (setting, value)| plan.with_setting(setting, value));
    let cluster = Cluster::new(plan).expect("a cluster");
    let mut bench = Bench { cluster };
    bench.create(NAMESPACE, "", json!({"metadata": {"name": SHOP}, "status": {"phase": "Active"}}));
    (0..3).for_each(|node| bench.cluster.start(node).expect("started"));
    bench.cluster.wait_settled(PATIENCE).expect("the control plane's VIP is held");
    test(&mut bench);
}

pub(crate) fn vip(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, host))
}

/// A Service of type LoadBalancer with one port; `address` by annotation, or from a pool.
pub(crate) fn service(name: &str, address: Option<IpAddr>) -> Value {
    let annotations = address.map(|address| json!({"kube-vip.io/loadbalancerIPs": address.to_string()}));
    json!({
        "metadata": {"name": name, "namespace": SHOP, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": name},
            "ports": [{"port": 80, "protocol": "TCP"}],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
        },
    })
}

pub(crate) fn slice(name: &str, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("{name}-1"), "namespace": SHOP, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.7"], "nodeName": "n1", "conditions": {"ready": ready, "serving": ready}}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    })
}

/// An address of the segment, in IPv6.
pub(crate) fn vip6(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, host))
}

/// A Service of these addresses' families, and a slice with a ready endpoint for each.
pub(crate) fn of_families(name: &str, addresses: &[IpAddr]) -> (Value, Vec<Value>) {
    let family =
        |address: &IpAddr| if address.is_ipv4() { ("IPv4", "10.244.1.7") } else { ("IPv6", "fd00:10::7") };
    let families: Vec<_> = addresses.iter().map(family).collect();
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut service = service(name, None);
    service["metadata"]["annotations"] = json!({"kube-vip.io/loadbalancerIPs": listed.join(",")});
    service["spec"]["ipFamilies"] = families.iter().map(|(family, _)| *family).collect();
    service["spec"]["ipFamilyPolicy"] =
        json!(if families.len() > 1 { "RequireDualStack" } else { "SingleStack" });
    let slices = families.into_iter().map(|(family, endpoint)| {
        let mut slice = slice(name, true);
        slice["metadata"]["name"] = json!(format!("{name}-{}", family.to_lowercase()));
        slice["addressType"] = json!(family);
        slice["endpoints"][0]["addresses"] = json!([endpoint]);
        slice
    });
    (service, slices.collect())
}

pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
}

impl Bench {
    pub(crate) fn store(&self) -> std::sync::Arc<mainstay_lab::apiserver::Store> {
        self.cluster.api.embedded().expect("embedded").cluster.store().clone()
    }

    pub(crate) fn create(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.store().create(resource, namespace, object).expect("a valid object");
    }

    /// A Service with a ready endpoint.
    pub(crate) fn serve(&self, name: &str, address: Option<IpAddr>) {
        self.create(ENDPOINT_SLICE, SHOP, slice(name, true));
        self.create(SERVICE, SHOP, service(name, address));
    }

    pub(crate) fn delete(&self, resource: &'static Resource, name: &str) {
        let target = Target::new(resource, SHOP, name);
        self.store().delete(&target, &Preconditions::default()).expect("it was there");
    }

    pub(crate) fn service(&self, name: &str) -> Value {
        (*self.store().get(&Target::new(SERVICE, SHOP, name)).expect("a Service")).clone()
    }

    /// A Service with these addresses, and endpoints of their families.
    pub(crate) fn serve_families(&self, name: &str, addresses: &[IpAddr]) {
        let (service, slices) = of_families(name, addresses);
        slices.into_iter().for_each(|slice| self.create(ENDPOINT_SLICE, SHOP, slice));
        self.create(SERVICE, SHOP, service);
    }

    /// Which nodes' kernels have the address.
    pub(crate) fn holders(&self, address: IpAddr) -> Vec<usize> {
        let holds = |node: &usize| self.cluster.nodes[*node].host.holds(address).expect("the kernel answers");
        (0..self.cluster.nodes.len()).filter(holds).collect()
    }

    /// Waits until one node alone has the address, and gives it.
    pub(crate) fn holder(&self, address: IpAddr) -> usize {
        let only = || Ok(if let [only] = self.holders(address)[..] { Some(only) } else { None });
        let found = wait_for(PATIENCE, only).expect("a look");
        found.unwrap_or_else(|| panic!("{address} is at {:?}", self.holders(address)))
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let found = wait_for(PATIENCE, || Ok(is_so(self).then_some(()))).expect("a look");
        assert!(found.is_some(), "not within {PATIENCE:?}: {what}");
    }

    pub(crate) fn probe(&self, address: IpAddr) -> Probe {
        Probe::start(&self.cluster.client, probe::Plan::new(address)).expect("a probe")
    }

    /// A probe of an address that answers by now.
    pub(crate) fn served(&self, address: IpAddr) -> Probe {
        let (probe, from) = (self.probe(address), probe::now());
        self.wait_answered(&probe, from);
        probe
    }

    /// Waits until something that the client sent from then on is answered.
    pub(crate) fn wait_answered(&self, probe: &Probe, from: Moment) {
        self.wait("a client is served", |_| !probe.report(from, probe::now()).answerers.is_empty());
    }

    pub(crate) fn update(&self, resource: &'static Resource, name: &str, change: impl FnOnce(&mut Value)) {
        let target = Target::new(resource, SHOP, name);
        let mut object = (*self.store().get(&target).expect("it is there")).clone();
        change(&mut object);
        self.store().update(&target, object, Part::Main).expect("a valid object");
    }

    /// The node's cable is pulled: to everybody else it is dead.
    pub(crate) fn lose(&self, node: usize) {
        self.cluster.segment.port_down(&self.cluster.nodes[node].host).expect("it goes dark");
    }

    /// Which of `among` has the address, alone.
    pub(crate) fn holder_among(&self, address: IpAddr, among: &[usize]) -> usize {
        let only = || {
            let holders: Vec<usize> =
                self.holders(address).into_iter().filter(|node| among.contains(node)).collect();
            Ok(if let [only] = holders[..] { Some(only) } else { None })
        };
        let found = wait_for(PATIENCE, only).expect("a look");
        found.unwrap_or_else(|| panic!("{address} is at {:?}", self.holders(address)))
    }

    /// The addresses in a Service's status.
    pub(crate) fn status(&self, name: &str) -> Vec<String> {
        let object = self.service(name);
        let ingress = object["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        ingress.iter().filter_map(|entry| Some(entry["ip"].as_str()?.to_owned())).collect()
    }

    pub(crate) fn host_of(&self, name: &str) -> Option<String> {
        Some(self.service(name)["metadata"]["annotations"]["kube-vip.io/vipHost"].as_str()?.to_owned())
    }

    /// Events about a Service: reason and message.
    pub(crate) fn events(&self, name: &str) -> Vec<(String, String)> {
        let listed = self.store().list(&Scan::all(EVENT), At::Newest).expect("Events");
        let about = listed.items.iter().filter(|event| event["involvedObject"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        about.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }

    pub(crate) fn asked(&self, verb: Verb, resource: &str) -> u64 {
        let fronts = &self.cluster.api.embedded().expect("embedded").fronts;
        fronts.iter().map(|front| front.account().count(verb, resource)).sum()
    }

    /// Whether the node's state directory has a line on this Service.
    pub(crate) fn remembers(&self, node: usize, name: &str) -> bool {
        let file = self.directory(node).join("state/known-services.jsonl");
        std::fs::read_to_string(file)
            .is_ok_and(|text| text.lines().any(|line| line.contains(&format!("\"{SHOP}/{name}\""))))
    }

    /// What the node's agents wrote to their log.
    pub(crate) fn log(&self, node: usize) -> String {
        let file = self.directory(node).with_file_name(format!("agent-n{}.log", node + 1));
        std::fs::read_to_string(file).expect("a log")
    }

    fn directory(&self, node: usize) -> std::path::PathBuf {
        self.cluster.nodes[node].agent.socket().parent().expect("it has a directory").to_owned()
    }
}
