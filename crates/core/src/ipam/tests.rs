//! Pools are read as they are written, and addresses are given as the rules say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::intent::{FamilyPolicy, Port, Protocol};

mod allocation;
mod parsing;
mod properties;
mod scale;
mod sets;

fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The pools of a `ConfigMap` without fault.
fn pools(entries: &[(&str, &str)]) -> Pools {
    let Configuration { pools, problems, .. } = Configuration::of(&data(entries));
    assert_eq!(problems, []);
    pools
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name).unwrap()
}

fn port(text: &str) -> Port {
    let (number, protocol) = text.split_once('/').unwrap();
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    Port { port: number.parse().unwrap(), protocol }
}

/// A Service with port 80 and nothing else.
fn web() -> Service {
    Service { ports: vec![port("80/TCP")], ..Service::default() }
}

fn dual(policy: FamilyPolicy, families: &[Family]) -> Service {
    Service { ip_family_policy: policy, ip_families: families.to_vec(), ..web() }
}

impl Service {
    fn created(mut self, seconds: u64) -> Self {
        self.created_after_epoch = Duration::from_secs(seconds);
        self
    }

    fn has(mut self, addresses: &[&str]) -> Self {
        self.assigned = ips(addresses);
        self
    }

    fn annotated(mut self, list: &str) -> Self {
        self.annotation = Some(list.to_owned());
        self
    }

    fn specified(mut self, address: &str) -> Self {
        self.load_balancer_ip = Some(address.to_owned());
        self
    }

    fn on(mut self, ports: &[&str]) -> Self {
        self.ports = ports.iter().map(|text| port(text)).collect();
        self
    }
}

/// All facts of one allocation.
#[derive(Clone, Debug, Default)]
struct World {
    pools: Pools,
    services: BTreeMap<ObjectName, Service>,
    in_use: BTreeMap<IpAddr, Occupant>,
}

impl World {
    fn new(entries: &[(&str, &str)]) -> Self {
        Self { pools: pools(entries), ..Self::default() }
    }

    fn with(mut self, text: &str, service: Service) -> Self {
        self.services.insert(name(text), service);
        self
    }

    fn used(mut self, address: &str, by: Occupant) -> Self {
        self.in_use.insert(ip(address), by);
        self
    }

    fn allocate(&self) -> BTreeMap<ObjectName, Decision> {
        allocate(&self.pools, &self.services, &self.in_use)
    }

    /// The world once the decisions are written.
    fn after(&self, decisions: &BTreeMap<ObjectName, Decision>) -> Self {
        let mut after = self.clone();
        for (name, decision) in decisions {
            after.services.get_mut(name).unwrap().assigned = decision.addresses().to_vec();
        }
        after
    }

    /// One line for the verdict on `text`, and one for each refusal and note.
    fn lines(&self, text: &str) -> Vec<String> {
        let decision = &self.allocate()[&name(text)];
        let list =
            |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let verdict = match &decision.verdict {
            Verdict::Keep(addresses) => format!("keep {}", list(addresses)),
            Verdict::Assign(addresses) => format!("assign {}", list(addresses)),
            Verdict::Refuse => "refuse".to_owned(),
        };
        let refusals = decision.refusals.iter().map(ToString::to_string);
        [verdict].into_iter().chain(refusals).chain(decision.notes.iter().map(ToString::to_string)).collect()
    }
}
