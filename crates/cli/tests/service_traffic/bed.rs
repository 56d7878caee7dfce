//! Two nodes that hold Services, and who talks to them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mainstay_lab::apiserver::{
    ENDPOINT_SLICE, NAMESPACE, Part, Preconditions, Resource, SERVICE, Store, Target,
};
use mainstay_lab::cluster::{Cluster, Plan, wait_for};
use mainstay_lab::netns::{self, Host};
use serde_json::{Value, json};

use crate::common::Scratch;

const SHOP: &str = "shop";
/// A wide margin for anything that takes seconds at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connect may go unanswered before it counts as dropped.
const UNANSWERED: Duration = Duration::from_millis(700);

/// The Service's addresses.
pub(crate) const VIPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 150)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x150)),
];

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    _scratch: Scratch,
}

impl Bed {
    /// Two nodes; no agent runs yet. `None`, with the reason printed, where namespaces cannot be made.
    pub(crate) fn new(name: &str, settings: &[(&'static str, &str)]) -> Option<Self> {
        if let Err(reason) = netns::ensure_privilege() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let scratch = Scratch::new(&format!("traffic-{name}"));
        let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
        let plan = settings.iter().fold(plan.with_setting("svc_enable", "true"), |plan, (name, value)| {
            plan.with_setting(name, value)
        });
        let bed =
            Self { cluster: Cluster::new(Plan { nodes: 2, ..plan }).expect("a cluster"), _scratch: scratch };
        bed.create(NAMESPACE, "", json!({"metadata": {"name": SHOP}, "status": {"phase": "Active"}}));
        Some(bed)
    }

    pub(crate) fn start(&mut self) {
        (0..2).for_each(|node| self.cluster.start(node).expect("started"));
        self.cluster.wait_settled(PATIENCE).expect("the control plane's VIP is held");
    }

    fn store(&self) -> Arc<Store> {
        self.cluster.api.embedded().expect("embedded").cluster.store().clone()
    }

    fn create(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.store().create(resource, namespace, object).expect("a valid object");
    }

    /// The Service `web` with both addresses and these TCP ports, and a ready endpoint of each family.
    pub(crate) fn serve(&self, ports: &[u16]) {
        for (family, address) in [("IPv4", "10.244.1.2"), ("IPv6", "fd00:244:1::2")] {
            self.create(ENDPOINT_SLICE, SHOP, json!({
                "metadata": {"name": format!("web-{}", family.to_lowercase()), "namespace": SHOP,
                    "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": family,
                "endpoints": [{"addresses": [address], "nodeName": "n1", "conditions": {"ready": true, "serving": true}}],
            }));
        }
        self.create(SERVICE, SHOP, json!({
            "metadata": {"name": "web", "namespace": SHOP,
                "annotations": {"kube-vip.io/loadbalancerIPs": VIPS.map(|vip| vip.to_string()).join(",")}},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": spec(ports),
                "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"},
        }));
    }

    pub(crate) fn set_ports(&self, ports: &[u16]) {
        self.update(|service| service["spec"]["ports"] = spec(ports));
    }

    /// `kube-vip.io/ignore-service-security`
    pub(crate) fn opt_out(&self, text: &str) {
        self.update(|service| {
            service["metadata"]["annotations"]["kube-vip.io/ignore-service-security"] = json!(text);
        });
    }

    fn update(&self, change: impl Fn(&mut Value)) {
        let target = Target::new(SERVICE, SHOP, "web");
        // The agent may write on it just then.
        self.wait("the Service is changed", |bed| {
            let mut object = (*bed.store().get(&target).expect("a Service")).clone();
            change(&mut object);
            bed.store().update(&target, object, Part::Main).is_ok()
        });
    }

    pub(crate) fn delete(&self) {
        self.store()
            .delete(&Target::new(SERVICE, SHOP, "web"), &Preconditions::default())
            .expect("it was there");
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let found = wait_for(PATIENCE, || Ok(is_so(self).then_some(()))).expect("a look");
        assert!(found.is_some(), "not within {PATIENCE:?}: {what}; {}", self.seen());
    }

    /// What there is to see, for whoever has to find out why something did not come.
    fn seen(&self) -> String {
        let service =
            self.store().get(&Target::new(SERVICE, SHOP, "web")).map(|object| object["metadata"].clone());
        let node = |node: usize| {
            let status = self.cluster.nodes[node].agent.whole_status();
            format!("n{}: {}\n{}", node + 1, status["services"], self.rules(node))
        };
        format!("the Service: {}\n{}\n{}", service.unwrap_or_default(), node(0), node(1))
    }

    pub(crate) fn host(&self, node: usize) -> &Host {
        &self.cluster.nodes[node].host
    }

    /// The node that alone has both addresses on its interface.
    pub(crate) fn holder(&self) -> usize {
        let has = |node: usize| {
            let there = self.host(node).addresses().expect("the kernel answers");
            // What others put somewhere is there for ever.
            let worn = |vip: &IpAddr| there.iter().any(|held| held.address == *vip && held.valid.is_some());
            VIPS.iter().filter(|vip| worn(vip)).count()
        };
        let only = || {
            Ok(match [has(0), has(1)] {
                [2, 0] => Some(0),
                [0, 2] => Some(1),
                _ => None,
            })
        };
        wait_for(PATIENCE, only).expect("a look").expect("one node has both")
    }

    pub(crate) fn held_by_nobody(&self) -> bool {
        (0..2).all(|node| VIPS.iter().all(|vip| !self.host(node).holds(*vip).expect("the kernel answers")))
    }

    /// Whether a node's kernel has our table.
    pub(crate) fn is_filtered(&self, node: usize) -> bool {
        self.rules(node).contains("table inet mainstay-services {")
    }

    /// All rules of nftables in a node.
    pub(crate) fn rules(&self, node: usize) -> String {
        self.host(node).output("nft", &["-a", "list", "ruleset"]).expect("nft lists")
    }

    /// Whether a node's agent knows of another that could hold Services, and has heard it.
    pub(crate) fn knows_another(&self, node: usize) -> bool {
        let status = self.cluster.nodes[node].agent.whole_status();
        let claims = status["claims"].as_array().into_iter().flatten();
        let list = |claim: &Value, list: &str| claim[list].as_array().cloned().unwrap_or_default();
        let heard = |claim: &Value| {
            let unheard = list(claim, "unheard");
            list(claim, "members").iter().any(|name| *name != status["node"] && !unheard.contains(name))
        };
        claims.filter(|claim| claim["claim"] == "services").any(heard)
    }

    /// What a node's agent says of the filter.
    pub(crate) fn filter_status(&self, node: usize) -> Value {
        self.cluster.nodes[node].agent.whole_status()["services"]["filter"].take()
    }
}

fn spec(ports: &[u16]) -> Value {
    ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": "TCP"})).collect()
}

/// Listens on all addresses of both families, and answers each client with its own words.
pub(crate) fn echo(host: &Host, port: u16) {
    let listener = host.bind_tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).expect("a listener");
    std::thread::spawn(move || answer_all(&listener));
}

/// Until the test's process ends.
pub(crate) fn answer_all(listener: &TcpListener) {
    for client in listener.incoming() {
        let Ok(mut client) = client else { return };
        std::thread::spawn(move || {
            let mut words = [0; 64];
            while let Ok(length @ 1..) = client.read(&mut words) {
                if client.write_all(&words[..length]).is_err() {
                    return;
                }
            }
        });
    }
}

/// One that can be talked to.
pub(crate) struct Talk(TcpStream);

impl Talk {
    /// Connects from where the calling thread is, and exchanges a word.
    pub(crate) fn begin(vip: IpAddr, port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(vip, port), UNANSWERED)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = Self(stream);
        talk.go_on()?;
        Ok(talk)
    }

    pub(crate) fn go_on(&mut self) -> std::io::Result<()> {
        let mut heard = [0; 5];
        self.0.write_all(b"hello")?;
        self.0.read_exact(&mut heard)?;
        assert_eq!(&heard, b"hello");
        Ok(())
    }
}

/// Whether a word can be exchanged with each address, from `host`.
pub(crate) fn reaches(host: &Host, port: u16) -> [bool; 2] {
    VIPS.map(|vip| host.enter(|| Talk::begin(vip, port).is_ok()).expect("the host is there"))
}

pub(crate) fn pings(host: &Host, vip: IpAddr) -> bool {
    let ping = || Command::new("ping").args(["-n", "-c", "1", "-W", "5", &vip.to_string()]).output();
    host.enter(ping).expect("the host is there").expect("ping is installed").status.success()
}
