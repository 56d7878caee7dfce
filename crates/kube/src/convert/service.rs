//! A Service: what it asks of us, if it asks anything.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mainstay_core::intent::{
    self, Family, FamilyPolicy, Flaw, ObjectName, Port, Protocol, ServiceType, TrafficPolicy,
};
use serde::Deserialize;
use serde_json::Value;

use super::annotations::Annotations;
use super::{addresses, flaw};

/// The Service in the core's words. Of one that is no LoadBalancer only that is read: nothing else of it matters, and
/// nothing else of it may keep it from having stopped being one.
pub(super) fn convert(
    name: &ObjectName,
    object: &Service,
    told: &mut Vec<Flaw>,
) -> Result<intent::Service, Flaw> {
    let metadata = &object.metadata;
    let blank = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&blank);
    let service = intent::Service {
        created: created(metadata),
        deleting: metadata.deletion_timestamp.is_some(),
        service_type: service_type(spec)?,
        ..intent::Service::default()
    };
    if service.service_type != ServiceType::LoadBalancer {
        return Ok(service);
    }
    let service = asked(spec, service)?;
    let annotations = Annotations::of(metadata);
    let named = addresses::named(object, &annotations, told)?;
    let published = addresses::published(object, told);
    let leased = addresses::leased(&annotations);
    annotations.apply(name, intent::Service { named, published, leased, ..service }, told)
}

/// What can be saved of a Service that cannot be read: that it has addresses, which are not to be given to others.
/// Nothing, where it is known to be no LoadBalancer, or not even its status can be read.
pub(super) fn rest(object: &Value) -> Option<intent::Service> {
    if object["spec"]["type"].as_str() != Some("LoadBalancer") {
        return None;
    }
    let metadata = object.get("metadata").map(ObjectMeta::deserialize).and_then(Result::ok);
    let metadata = metadata.unwrap_or_default();
    let status = object.get("status").map(ServiceStatus::deserialize).and_then(Result::ok);
    let saved = Service { metadata, status, spec: None };
    Some(intent::Service {
        unreadable: true,
        created: created(&saved.metadata),
        service_type: ServiceType::LoadBalancer,
        published: addresses::published(&saved, &mut Vec::new()),
        ..intent::Service::default()
    })
}

/// One without a date takes nothing from those that have one.
fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}

/// What the spec asks for, but for addresses.
fn asked(spec: &ServiceSpec, service: intent::Service) -> Result<intent::Service, Flaw> {
    let ports = spec.ports.iter().flatten().enumerate();
    let families = spec.ip_families.iter().flatten();
    Ok(intent::Service {
        class: spec.load_balancer_class.clone(),
        families: families.map(|text| family(text)).collect::<Result<_, _>>()?,
        family_policy: family_policy(spec)?,
        ports: ports.map(|(index, one)| port(index, one)).collect::<Result<_, _>>()?,
        traffic_policy: traffic_policy(spec)?,
        ..service
    })
}

fn service_type(spec: &ServiceSpec) -> Result<ServiceType, Flaw> {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => Ok(ServiceType::ClusterIP),
        Some("NodePort") => Ok(ServiceType::NodePort),
        Some("LoadBalancer") => Ok(ServiceType::LoadBalancer),
        Some("ExternalName") => Ok(ServiceType::ExternalName),
        Some(other) => Err(flaw("spec.type", other, "ClusterIP, NodePort, LoadBalancer or ExternalName")),
    }
}

fn family(text: &str) -> Result<Family, Flaw> {
    match text {
        "IPv4" => Ok(Family::Ipv4),
        "IPv6" => Ok(Family::Ipv6),
        other => Err(flaw("spec.ipFamilies", other, "IPv4 or IPv6")),
    }
}

fn family_policy(spec: &ServiceSpec) -> Result<FamilyPolicy, Flaw> {
    match spec.ip_family_policy.as_deref() {
        None | Some("" | "SingleStack") => Ok(FamilyPolicy::SingleStack),
        Some("PreferDualStack") => Ok(FamilyPolicy::PreferDualStack),
        Some("RequireDualStack") => Ok(FamilyPolicy::RequireDualStack),
        Some(other) => {
            Err(flaw("spec.ipFamilyPolicy", other, "SingleStack, PreferDualStack or RequireDualStack"))
        }
    }
}

fn traffic_policy(spec: &ServiceSpec) -> Result<TrafficPolicy, Flaw> {
    match spec.external_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(flaw("spec.externalTrafficPolicy", other, "Cluster or Local")),
    }
}

fn port(index: usize, port: &ServicePort) -> Result<Port, Flaw> {
    let field = |name: &str| format!("spec.ports[{index}].{name}");
    let number = u16::try_from(port.port).ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| flaw(&field("port"), port.port, "a number from 1 to 65535"))?;
    let protocol = protocol(port.protocol.as_deref());
    let unknown =
        || flaw(&field("protocol"), port.protocol.as_deref().unwrap_or_default(), "TCP, UDP or SCTP");
    Ok(Port { protocol: protocol.ok_or_else(unknown)?, port: number })
}

pub(super) fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}
