//! The columns of each kind.

use serde_json::{Value, json};

use super::{Column, age};
use crate::apiserver::resource::Resource;

const fn column(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, kind: "string", priority: 0, cell }
}

const fn wide(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, kind: "string", priority: 1, cell }
}

const NAME: Column = column("Name", |object| object["metadata"]["name"].clone());
const AGE: Column = column("Age", |object| age(&object["metadata"]["creationTimestamp"]));

static DEFAULT: [Column; 2] = [NAME, AGE];
static LEASE: [Column; 3] = [NAME, column("Holder", |lease| text(&lease["spec"]["holderIdentity"])), AGE];
static NAMESPACE: [Column; 3] = [NAME, column("Status", |one| text(&one["status"]["phase"])), AGE];
static SERVICE: [Column; 7] = [
    NAME,
    column("Type", |service| text(&service["spec"]["type"])),
    column("Cluster-IP", |service| or_none(text(&service["spec"]["clusterIP"]))),
    column("External-IP", external_addresses),
    column("Port(s)", service_ports),
    AGE,
    wide("Selector", |service| pairs(&service["spec"]["selector"])),
];
static NODE: [Column; 10] = [
    NAME,
    column("Status", node_status),
    column("Roles", node_roles),
    AGE,
    column("Version", |node| text(&node["status"]["nodeInfo"]["kubeletVersion"])),
    wide("Internal-IP", |node| node_address(node, "InternalIP")),
    wide("External-IP", |node| node_address(node, "ExternalIP")),
    wide("OS-Image", |node| or_unknown(text(&node["status"]["nodeInfo"]["osImage"]))),
    wide("Kernel-Version", |node| or_unknown(text(&node["status"]["nodeInfo"]["kernelVersion"]))),
    wide("Container-Runtime", |node| {
        or_unknown(text(&node["status"]["nodeInfo"]["containerRuntimeVersion"]))
    }),
];
static POD: [Column; 9] = [
    NAME,
    column("Ready", pod_ready),
    column("Status", pod_status),
    column("Restarts", |pod| json!(restarts(pod).to_string())),
    AGE,
    wide("IP", |pod| or_none(text(&pod["status"]["podIP"]))),
    wide("Node", |pod| or_none(text(&pod["spec"]["nodeName"]))),
    wide("Nominated Node", |pod| or_none(text(&pod["status"]["nominatedNodeName"]))),
    wide("Readiness Gates", |_| json!("<none>")),
];
static CONFIG_MAP: [Column; 3] = [
    NAME,
    Column {
        name: "Data",
        kind: "string",
        priority: 0,
        cell: |map| json!(length(&map["data"]) + length(&map["binaryData"])),
    },
    AGE,
];
static ENDPOINT_SLICE: [Column; 5] = [
    NAME,
    column("AddressType", |slice| text(&slice["addressType"])),
    column("Ports", |slice| or_unset(some(items(&slice["ports"]).map(|port| bare(&port["port"])).collect()))),
    column("Endpoints", |slice| {
        let addresses =
            items(&slice["endpoints"]).flat_map(|endpoint| items(&endpoint["addresses"]).map(bare));
        or_unset(some(addresses.collect()))
    }),
    AGE,
];
static ENDPOINTS: [Column; 3] = [NAME, column("Endpoints", endpoints), AGE];
static EVENT: [Column; 9] = [
    column("Last Seen", |event| {
        let moments = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
        age(moments.iter().find_map(|moment| event.pointer(moment)).unwrap_or(&Value::Null))
    }),
    column("Type", |event| text(&event["type"])),
    column("Reason", |event| text(&event["reason"])),
    column("Object", |event| {
        let about = &event["involvedObject"];
        let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
        json!(format!("{kind}/{}", bare(&about["name"])))
    }),
    wide("Source", |event| json!(bare(&event["source"]["component"]))),
    column("Message", |event| json!(bare(&event["message"]).trim())),
    wide("First Seen", |event| age(&event["firstTimestamp"])),
    wide("Count", |event| json!(event["count"].as_u64().unwrap_or(1).to_string())),
    wide("Name", |event| text(&event["metadata"]["name"])),
];
static SERVICE_ACCOUNT: [Column; 3] = [
    NAME,
    Column {
        name: "Secrets",
        kind: "string",
        priority: 0,
        cell: |account| json!(length(&account["secrets"])),
    },
    AGE,
];
static ROLE: [Column; 2] = [NAME, column("Created At", |role| text(&role["metadata"]["creationTimestamp"]))];
static ROLE_BINDING: [Column; 6] = [
    NAME,
    column("Role", |binding| {
        json!(format!("{}/{}", bare(&binding["roleRef"]["kind"]), bare(&binding["roleRef"]["name"])))
    }),
    AGE,
    wide("Users", |binding| subjects(binding, "User")),
    wide("Groups", |binding| subjects(binding, "Group")),
    wide("ServiceAccounts", |binding| subjects(binding, "ServiceAccount")),
];
static SERVICE_CIDR: [Column; 3] = [
    NAME,
    column("CIDRs", |cidr| json!(items(&cidr["spec"]["cidrs"]).map(bare).collect::<Vec<_>>().join(","))),
    AGE,
];

/// The columns of a kind.
pub(super) fn columns(resource: &Resource) -> &'static [Column] {
    match resource.kind {
        "Lease" => &LEASE,
        "Namespace" => &NAMESPACE,
        "Service" => &SERVICE,
        "Node" => &NODE,
        "Pod" => &POD,
        "ConfigMap" => &CONFIG_MAP,
        "EndpointSlice" => &ENDPOINT_SLICE,
        "Endpoints" => &ENDPOINTS,
        "Event" => &EVENT,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        "Role" | "ClusterRole" => &ROLE,
        "RoleBinding" | "ClusterRoleBinding" => &ROLE_BINDING,
        "ServiceCIDR" => &SERVICE_CIDR,
        _ => &DEFAULT,
    }
}

fn text(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default())
}

/// Text without quotes, numbers as they are.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn or(value: Value, fallback: &str) -> Value {
    if value == "" { json!(fallback) } else { value }
}

fn or_none(value: Value) -> Value {
    or(value, "<none>")
}

fn or_unknown(value: Value) -> Value {
    or(value, "<unknown>")
}

fn or_unset(value: Value) -> Value {
    or(value, "<unset>")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn length(value: &Value) -> usize {
    value.as_object().map(serde_json::Map::len).or(value.as_array().map(Vec::len)).unwrap_or(0)
}

/// The first three, and how many more there are.
fn some(all: Vec<String>) -> Value {
    let shown = all[..all.len().min(3)].join(",");
    match all.len() {
        0..=3 => json!(shown),
        many => json!(format!("{shown} + {} more...", many - 3)),
    }
}

fn pairs(map: &Value) -> Value {
    let pairs = map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", bare(value)));
    or_none(json!(pairs.collect::<Vec<_>>().join(",")))
}

fn external_addresses(service: &Value) -> Value {
    let spec = &service["spec"];
    let mut addresses: Vec<String> = items(&spec["externalIPs"]).map(bare).collect();
    match spec["type"].as_str() {
        Some("ExternalName") => return text(&spec["externalName"]),
        Some("LoadBalancer") => {
            let ingress = items(&service["status"]["loadBalancer"]["ingress"]);
            let given =
                ingress.map(|one| bare(if one["ip"].is_string() { &one["ip"] } else { &one["hostname"] }));
            let mut given: Vec<String> = given.collect();
            given.append(&mut addresses);
            return or(json!(given.join(",")), "<pending>");
        }
        _ => {}
    }
    or_none(json!(addresses.join(",")))
}

fn service_ports(service: &Value) -> Value {
    let ports = items(&service["spec"]["ports"]).map(|port| match port["nodePort"].as_u64() {
        Some(node_port) => format!("{}:{node_port}/{}", bare(&port["port"]), bare(&port["protocol"])),
        None => format!("{}/{}", bare(&port["port"]), bare(&port["protocol"])),
    });
    or_none(json!(ports.collect::<Vec<_>>().join(",")))
}

fn node_status(node: &Value) -> Value {
    let ready = items(&node["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    let mut status = match ready.and_then(|ready| ready["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        status += ",SchedulingDisabled";
    }
    json!(status)
}

fn node_roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object();
    let roles =
        labels.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/"));
    or_none(json!(roles.collect::<Vec<_>>().join(",")))
}

fn node_address(node: &Value, kind: &str) -> Value {
    let found = items(&node["status"]["addresses"]).find(|address| address["type"] == kind);
    or_none(found.map_or_else(|| json!(""), |address| text(&address["address"])))
}

fn pod_ready(pod: &Value) -> Value {
    let ready = items(&pod["status"]["containerStatuses"]).filter(|status| status["ready"] == true).count();
    json!(format!("{ready}/{}", length(&pod["spec"]["containers"])))
}

fn pod_status(pod: &Value) -> Value {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return json!("Terminating");
    }
    let reason = &pod["status"]["reason"];
    text(if reason.is_string() { reason } else { &pod["status"]["phase"] })
}

fn restarts(pod: &Value) -> u64 {
    items(&pod["status"]["containerStatuses"]).filter_map(|status| status["restartCount"].as_u64()).sum()
}

fn endpoints(object: &Value) -> Value {
    let all = items(&object["subsets"]).flat_map(|subset| {
        items(&subset["ports"]).flat_map(move |port| {
            items(&subset["addresses"])
                .map(move |address| format!("{}:{}", bare(&address["ip"]), bare(&port["port"])))
        })
    });
    or_none(some(all.collect()))
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let of_kind = items(&binding["subjects"]).filter(|subject| subject["kind"] == kind);
    let names = of_kind.map(|subject| match subject["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", bare(&subject["name"])),
        None => bare(&subject["name"]),
    });
    json!(names.collect::<Vec<_>>().join(", "))
}
