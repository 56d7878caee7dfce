//! Small clusters to decide about.

use super::super::*;
use crate::ipam::{Configuration, Pools};
use crate::names::NodeName;

pub(super) fn name(text: &str) -> ObjectName {
    let text = if text.contains('/') { text.to_owned() } else { format!("default/{text}") };
    text.parse().expect("a name")
}

pub(super) fn node(text: &str) -> NodeName {
    NodeName::new(text)
}

pub(super) fn port(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, port: number }
}

/// A LoadBalancer with port 80 that names `addresses` in its annotation, separated by blanks.
pub(super) fn service(addresses: &str) -> Service {
    let annotation = addresses.split_whitespace().map(Wish::of).collect();
    Service {
        service_type: ServiceType::LoadBalancer,
        named: Named { annotation, ..Named::default() },
        ports: [port(80)].into(),
        created: 100,
        ..Service::default()
    }
}

/// One that has been assigned `addresses`, and names nothing.
pub(super) fn assigned(addresses: &str) -> Service {
    let one = |text: &str| Published { wish: Wish::of(text), ports: [].into() };
    Service { published: addresses.split_whitespace().map(one).collect(), ..service("") }
}

/// Pools of a `ConfigMap` without fault.
pub(super) fn pools(entries: &[(&str, &str)]) -> Pools {
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let Configuration { pools, problems, .. } = Configuration::of(&data);
    assert_eq!(problems, []);
    pools
}

pub(super) fn local(addresses: &str) -> Service {
    Service { traffic_policy: TrafficPolicy::Local, ..service(addresses) }
}

/// Slices of `service`: `n1:ready n2:draining n2:not`, in `family`.
pub(super) fn slice(service: &str, family: Family, endpoints: &str) -> Slice {
    let mut slice =
        Slice { service: Some(name(service)), family, nodes: [].into(), elsewhere: Tally::default() };
    for text in endpoints.split_whitespace() {
        let (on, state) = text.split_once(':').expect("NODE:STATE");
        let readiness = match state {
            "ready" => Some(Readiness::Ready),
            "draining" => Some(Readiness::Draining),
            _ => None,
        };
        let tally =
            if on.is_empty() { &mut slice.elsewhere } else { slice.nodes.entry(node(on)).or_default() };
        tally.count(readiness);
    }
    slice
}

/// A cluster.
#[derive(Clone, Default)]
pub(super) struct World(pub(super) Intent);

impl World {
    /// Listed, with these nodes.
    pub(super) fn new(nodes: &[&str]) -> Self {
        let mut world = Self::default();
        world.0.services.replace(complete(Kind::Service, []));
        world.0.slices.replace(complete(Kind::EndpointSlice, []));
        world.0.nodes.replace(complete(Kind::Node, []));
        nodes.iter().fold(world, |world, name| world.node(name, |_| ()))
    }

    pub(super) fn service(mut self, text: &str, service: Service) -> Self {
        self.0.services.apply(present(name(text), service));
        self
    }

    pub(super) fn node(mut self, text: &str, set: impl FnOnce(&mut NodeFacts)) -> Self {
        let mut facts = self.0.nodes.get(&node(text)).cloned().unwrap_or_default();
        set(&mut facts);
        self.0.nodes.apply(present(node(text), facts));
        self
    }

    /// IPv4 endpoints, in a slice of its own.
    pub(super) fn endpoints(self, service: &str, endpoints: &str) -> Self {
        self.slice(&format!("{service}-{}", endpoints.len()), slice(service, Family::Ipv4, endpoints))
    }

    pub(super) fn slice(mut self, text: &str, slice: Slice) -> Self {
        self.0.slices.apply(present(name(text), slice));
        self
    }

    pub(super) fn decide(&self) -> Decisions {
        self.decide_with(&Pools::default())
    }

    pub(super) fn decide_with(&self, pools: &Pools) -> Decisions {
        decide(&self.0, pools, &Rules::default()).expect("all is listed")
    }

    /// The world once all that is granted is published.
    pub(super) fn published(mut self, decisions: &Decisions) -> Self {
        for name in &decisions.unpublished {
            let granted = decisions.grants.get(name).into_iter().flatten();
            let published =
                granted.map(|one| Published { wish: Wish::Address(one.address), ports: one.ports.clone() });
            let service = self.0.services.get(name).cloned().expect("it is known");
            let service = Service { published: published.collect(), ..service };
            self.0.services.apply(present(name.clone(), service));
        }
        self
    }

    /// Claims as `ID ADDRESS=SERVICE+SERVICE ADDRESS=...`.
    pub(super) fn claims(&self) -> Vec<String> {
        let address = |(vip, on): (&std::net::IpAddr, &AddressUse)| {
            let services: Vec<&str> = on.services.iter().map(ObjectName::name).collect();
            format!(" {vip}={}", services.join("+"))
        };
        let claims = self.decide().claims;
        claims
            .values()
            .map(|claim| claim.addresses.iter().map(address).fold(claim.id.to_string(), |a, b| a + &b))
            .collect()
    }

    /// What each node is to the only claim, as `n1:fit n2:reason`.
    pub(super) fn eligible(&self) -> String {
        self.eligible_by(&Rules::default())
    }

    pub(super) fn eligible_by(&self, rules: &Rules) -> String {
        let decisions = self.decide();
        let claim = decisions.claims.values().next().expect("a claim");
        let eligibility = Survey::new(&self.0, rules).eligibility(claim);
        let verdict = |(node, verdict): (&NodeName, &Result<_, Ineligible>)| match verdict {
            Ok(crate::placement::Fitness::Fit) => format!("{node}:fit"),
            Ok(crate::placement::Fitness::Reluctant(why)) => format!("{node}:{why:?}"),
            Err(why) => format!("{node}:{}", short(why)),
        };
        eligibility.nodes.iter().map(verdict).collect::<Vec<_>>().join(" ")
    }
}

fn short(why: &Ineligible) -> String {
    let text = format!("{why:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

pub(super) fn present<K, T>(key: K, value: T) -> Change<K, T> {
    Change::Present(Reading::read(key, value, vec![]))
}

pub(super) fn complete<K, T>(kind: Kind, items: impl IntoIterator<Item = (K, T)>) -> Listing<K, T> {
    let readings = items.into_iter().map(|(key, value)| Reading::read(key, value, vec![])).collect();
    Listing { kind, extent: Extent::Complete, readings }
}
