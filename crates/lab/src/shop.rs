//! Services of type LoadBalancer in a [`Cluster`], with addresses from a pool, and what a client sees of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::apiserver::{
    ApiStatus, CONFIG_MAP, ENDPOINT_SLICE, NAMESPACE, Part, Preconditions, SERVICE, Store, Target,
};
use crate::cluster::Cluster;
use crate::netns::Host;

/// The namespace of every Service here.
const SHOP: &str = "shop";
/// Where the Services' own addresses begin, within kubeadm's default service network.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 0);

/// The Services of a cluster, by its embedded API server's store.
#[derive(Clone, Debug)]
pub struct Shop {
    store: Arc<Store>,
    /// How many were made, from which each one's `clusterIP` follows: for the store to find a free one takes ever longer.
    made: Arc<AtomicU32>,
}

/// What a Service is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// None: it gets one from the pool.
    FromPool,
    /// Published in its status already, as by a run before.
    Published(Ipv4Addr),
}

impl Shop {
    /// Makes the namespace, and the pool from `first` to `last`.
    ///
    /// # Errors
    /// When the cluster's API server is a real one, or has them.
    pub fn open(cluster: &Cluster, (first, last): (Ipv4Addr, Ipv4Addr)) -> Result<Self> {
        let store = cluster.api.embedded()?.cluster.store().clone();
        let shop = Self { store, made: Arc::default() };
        let namespace = json!({"metadata": {"name": SHOP}, "status": {"phase": "Active"}});
        shop.store.create(NAMESPACE, "", namespace).map_err(told)?;
        let pools =
            json!({"metadata": {"name": "kubevip"}, "data": {"range-global": format!("{first}-{last}")}});
        shop.store.create(CONFIG_MAP, "kube-system", pools).map_err(told)?;
        Ok(shop)
    }

    /// A Service with two ready endpoints.
    ///
    /// # Errors
    /// When there is one of this name.
    pub fn add(&self, name: &str, address: Address) -> Result<()> {
        self.store
            .create(ENDPOINT_SLICE, SHOP, slice(name, &[Pod::ready("n1"), Pod::ready("n2")]))
            .map_err(told)?;
        let place = self.made.fetch_add(1, Ordering::Relaxed);
        self.store.create(SERVICE, SHOP, service(name, address, place)).map_err(told)?;
        Ok(())
    }

    /// A Service with the policy Local, whose one pod is on this node.
    ///
    /// # Errors
    /// When there is one of this name.
    pub fn add_local(&self, name: &str, node: &str) -> Result<()> {
        self.store.create(ENDPOINT_SLICE, SHOP, slice(name, &[Pod::ready(node)])).map_err(told)?;
        let place = self.made.fetch_add(1, Ordering::Relaxed);
        let mut service = service(name, Address::FromPool, place);
        service["spec"]["externalTrafficPolicy"] = json!("Local");
        self.store.create(SERVICE, SHOP, service).map_err(told)?;
        Ok(())
    }

    /// The pod of a Service ends on one node, serving on meanwhile, and another is ready on the other.
    ///
    /// # Errors
    /// When there is no Service of this name.
    pub fn move_pod(&self, name: &str, (from, to): (&str, &str)) -> Result<()> {
        let pods = slice(name, &[Pod::ending(from), Pod::ready(to)]);
        let target = slice_name(name);
        self.store.update(&Target::new(ENDPOINT_SLICE, SHOP, &target), pods, Part::Main).map_err(told)?;
        Ok(())
    }

    /// Removes a Service and its endpoints.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&self, name: &str) -> Result<()> {
        for (resource, name) in [(SERVICE, name.to_owned()), (ENDPOINT_SLICE, slice_name(name))] {
            let target = Target::new(resource, SHOP, &name);
            self.store.delete(&target, &Preconditions::default()).map_err(told)?;
        }
        Ok(())
    }

    /// The first address in a Service's status.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        let service = self.store.get(&Target::new(SERVICE, SHOP, name)).ok()?;
        service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()
    }

    /// The node that a Service says it is held by.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<String> {
        let service = self.store.get(&Target::new(SERVICE, SHOP, name)).ok()?;
        service["metadata"]["annotations"]["kube-vip.io/vipHost"].as_str().map(ToOwned::to_owned)
    }
}

/// Whether each agent that runs knows of every other that it holds its own seat: what is made from then on is spread over
/// all of them.
#[must_use]
pub fn seated(cluster: &Cluster) -> bool {
    let running = || cluster.nodes.iter().filter(|node| node.agent.is_started());
    running().all(|node| {
        let status = node.agent.whole_status();
        let claims = status["claims"].as_array().map(Vec::as_slice).unwrap_or_default();
        let holder = |name: &str| claims.iter().find(|one| one["claim"] == format!("seat/{name}").as_str());
        running().all(|home| {
            let name = home.host.name();
            holder(name).is_some_and(|seat| seat["holder"] == name)
        })
    })
}

/// How many addresses within `[first, last]` each node's kernel has.
///
/// # Errors
/// When a kernel does not answer.
pub fn held(cluster: &Cluster, pool: (Ipv4Addr, Ipv4Addr)) -> Result<Vec<usize>> {
    cluster.hosts().iter().map(|host| Ok(addresses(host, pool)?.len())).collect()
}

/// The addresses within `[first, last]` that a host's kernel has.
///
/// # Errors
/// When the kernel does not answer.
pub fn addresses(host: &Host, (first, last): (Ipv4Addr, Ipv4Addr)) -> Result<Vec<Ipv4Addr>> {
    let within = |address: IpAddr| match address {
        IpAddr::V4(v4) => Some(v4).filter(|v4| (first..=last).contains(v4)),
        IpAddr::V6(_) => None,
    };
    Ok(host.addresses()?.iter().filter_map(|held| within(held.address)).collect())
}

/// The address in place `place`, from 0, of those that a pool that begins at `first` hands out: none ends in .0 or .255
/// (`avoid-buggy-ips`).
#[must_use]
pub fn handed_out(first: Ipv4Addr, place: usize) -> Ipv4Addr {
    let usable = |address: &Ipv4Addr| !matches!(address.octets()[3], 0 | 255);
    let mut addresses = (first.to_bits()..).map(Ipv4Addr::from_bits).filter(usable);
    addresses.nth(place).unwrap_or(Ipv4Addr::BROADCAST)
}

fn told(status: ApiStatus) -> anyhow::Error {
    anyhow!("{status}")
}

fn slice_name(service: &str) -> String {
    format!("{service}-1")
}

fn service(name: &str, address: Address, place: u32) -> Value {
    let status = match address {
        Address::FromPool => json!({}),
        Address::Published(ip) => {
            let ports = json!([{"port": 80, "protocol": "TCP"}]);
            json!({"loadBalancer": {"ingress": [{"ip": ip.to_string(), "ipMode": "VIP", "ports": ports}]}})
        }
    };
    json!({
        "metadata": {"name": name, "namespace": SHOP, "labels": {"app": name}},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": Ipv4Addr::from_bits(NETWORK.to_bits() + place).to_string(),
            "allocateLoadBalancerNodePorts": false,
            "selector": {"app": name},
            "ports": [{"port": 80, "protocol": "TCP"}],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
        },
        "status": status,
    })
}

/// A pod behind a Service.
struct Pod<'a> {
    node: &'a str,
    ready: bool,
}

impl<'a> Pod<'a> {
    fn ready(node: &'a str) -> Self {
        Self { node, ready: true }
    }

    /// It ends, and serves on as long as that takes.
    fn ending(node: &'a str) -> Self {
        Self { node, ready: false }
    }
}

fn slice(service: &str, pods: &[Pod<'_>]) -> Value {
    let endpoint = |(place, pod): (usize, &Pod<'_>)| {
        let number = place + 1;
        json!({
            "addresses": [format!("10.244.1.{number}")], "nodeName": pod.node,
            "conditions": {"ready": pod.ready, "serving": true, "terminating": !pod.ready},
            "targetRef": {"kind": "Pod", "namespace": SHOP, "name": format!("{service}-{number}")},
        })
    };
    json!({
        "metadata": {
            "name": slice_name(service), "namespace": SHOP,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": pods.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"port": 8080, "protocol": "TCP"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_hands_out_no_address_that_ends_in_0_or_255() {
        let first = Ipv4Addr::new(10, 78, 0, 0);
        let at = |place| handed_out(first, place).octets();
        assert_eq!(
            [at(0), at(253), at(254), at(508)],
            [[10, 78, 0, 1], [10, 78, 0, 254], [10, 78, 1, 1], [10, 78, 2, 1]]
        );
    }
}
