//! Pools are read as they are written, and addresses are given as the rules say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::intent::{FamilyPolicy, Named, Port, Protocol, Published, ServiceType};

mod allocation;
mod ledger;
mod parsing;
mod properties;
mod scale;
mod sets;
mod shares;

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
    Service { service_type: ServiceType::LoadBalancer, ports: [port("80/TCP")].into(), ..Service::default() }
}

fn dual(policy: FamilyPolicy, families: &[Family]) -> Service {
    Service { family_policy: policy, families: families.to_vec(), ..web() }
}

/// As a status has them that says nothing of ports.
fn published(addresses: &[IpAddr]) -> Vec<Published> {
    let one = |address: &IpAddr| Published { wish: Wish::Address(*address), ports: [].into() };
    addresses.iter().map(one).collect()
}

impl Service {
    fn created(mut self, seconds: i64) -> Self {
        self.created = seconds;
        self
    }

    fn has(mut self, addresses: &[&str]) -> Self {
        self.published = addresses
            .iter()
            .map(|text| Wish::of(text))
            .map(|wish| Published { wish, ports: [].into() })
            .collect();
        self
    }

    /// With what the status says of ports.
    fn had(mut self, address: &str, ports: &[&str]) -> Self {
        let ports = ports.iter().map(|text| port(text)).collect();
        self.published = vec![Published { wish: Wish::of(address), ports }];
        self
    }

    fn annotated(mut self, list: &str) -> Self {
        self.named.annotation = Wish::list(list);
        self
    }

    fn specified(mut self, address: &str) -> Self {
        self.named.spec = (!address.is_empty()).then(|| Wish::of(address));
        self
    }

    fn by_cloud_provider(mut self) -> Self {
        self.named = Named { by: NamedBy::CloudProvider, ..self.named };
        self
    }

    fn leased(mut self, address: &str) -> Self {
        self.leased.insert(ip(address));
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
        let decisions = allocate(&self.pools, &self.services, &self.in_use);
        decisions.into_iter().map(|(name, decision)| (name.clone(), decision)).collect()
    }

    /// The world once the decisions are written.
    fn after(&self, decisions: &BTreeMap<ObjectName, Decision>) -> Self {
        let mut after = self.clone();
        for (name, decision) in decisions.iter().filter(|(_, decision)| !decision.serves_elsewhere) {
            let service = after.services.get_mut(name).unwrap();
            service.published = published(decision.addresses());
            service.published.iter_mut().for_each(|one| one.ports = service.ports.clone());
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
