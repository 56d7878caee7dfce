//! Addresses and ports of Services, as `pkg/registry/core/service` gives them out.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::apiserver::resource::SERVICE;
use crate::apiserver::store::{State, collection};

/// kubeadm's default service network, 10.96.0.0/12; its first addresses are left to the cluster's own services.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const FIRST_HOST: u32 = 256;
/// The default `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

impl State {
    fn services(&self) -> impl Iterator<Item = &Value> {
        let services = self.objects.iter().filter(|(key, _)| key.collection == collection(SERVICE));
        services.map(|(_, object)| &**object)
    }

    /// Gives a Service the cluster address and node ports that it wants and does not name.
    pub(super) fn give_addresses(&self, service: &mut Value) {
        let kind = service["spec"]["type"].as_str().unwrap_or_default().to_owned();
        if kind == "ExternalName" {
            return;
        }
        if !service["spec"]["clusterIP"].is_string() {
            let taken: Vec<&str> =
                self.services().filter_map(|one| one["spec"]["clusterIP"].as_str()).collect();
            let mut addresses = (FIRST_HOST..).map(|host| Ipv4Addr::from(NETWORK + host).to_string());
            let free = addresses.find(|address| !taken.contains(&address.as_str()));
            service["spec"]["clusterIP"] = json!(free);
        }
        let address = service["spec"]["clusterIP"].clone();
        let spec = &mut service["spec"];
        if !spec["clusterIPs"].is_array() {
            spec["clusterIPs"] = json!([address]);
        }
        let family = if address.as_str().is_some_and(|text| text.contains(':')) { "IPv6" } else { "IPv4" };
        if !spec["ipFamilies"].is_array() {
            spec["ipFamilies"] = json!([family]);
        }
        if !spec["ipFamilyPolicy"].is_string() {
            spec["ipFamilyPolicy"] = json!("SingleStack");
        }
        if kind == "NodePort" || (kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false) {
            self.give_node_ports(service);
        }
    }

    fn give_node_ports(&self, service: &mut Value) {
        let ports_of = |one: &Value| one["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let node_ports = |ports: Vec<Value>| ports.into_iter().filter_map(|port| port["nodePort"].as_u64());
        let mut taken: Vec<u64> = self.services().flat_map(|one| node_ports(ports_of(one))).collect();
        taken.extend(node_ports(ports_of(service)));
        let Some(ports) = service["spec"]["ports"].as_array_mut() else { return };
        for port in ports.iter_mut().filter(|port| port["nodePort"].as_u64().unwrap_or(0) == 0) {
            let Some(free) = NODE_PORTS.map(u64::from).find(|free| !taken.contains(free)) else { return };
            taken.push(free);
            port["nodePort"] = json!(free);
        }
    }

    /// Keeps what a Service was given, where an update does not speak of it.
    pub(super) fn keep_addresses(&self, old: &Value, next: &mut Value) {
        let changed =
            next["spec"]["clusterIP"].is_string() && next["spec"]["clusterIP"] != old["spec"]["clusterIP"];
        if changed && next["spec"]["clusterIPs"] == old["spec"]["clusterIPs"] {
            next["spec"]["clusterIPs"] = json!([next["spec"]["clusterIP"]]);
        }
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let given = &old["spec"][field];
            if next["spec"].get(field).is_none() && !given.is_null() && next["spec"]["type"] != "ExternalName"
            {
                next["spec"][field] = given.clone();
            }
        }
        let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let keeps = matches!(next["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
        let ports = next["spec"]["ports"].as_array_mut().into_iter().flatten();
        for port in ports.filter(|port| keeps && port.get("nodePort").is_none()) {
            let same = |one: &&Value| one["port"] == port["port"] && one["protocol"] == port["protocol"];
            if let Some(given) = old_ports.iter().find(same).and_then(|one| one.get("nodePort")) {
                port["nodePort"] = given.clone();
            }
        }
        self.give_addresses(next);
    }
}
