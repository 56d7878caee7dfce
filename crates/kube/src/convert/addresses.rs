//! The addresses that a Service asks for: one place is believed, as kube-vip does (`FetchServiceAddresses` in its
//! `pkg/instance`): the annotation, else the status, else the spec.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use mainstay_core::intent::{AddressSource, AddressWish, Family, Flaw, Wish};

use super::annotations::{Annotations, LOAD_BALANCER_IPS};
use super::flaw;

const SPEC: &str = "spec.loadBalancerIP";
const STATUS: &str = "status.loadBalancer.ingress";
const FORM: &str = "addresses (192.0.2.10, 2001:db8::10) or a host's name";

/// What the Service asks for.
///
/// Where the status has an address and the spec another one of that family, the spec is believed alone: somebody has
/// changed it, and the status is what came of the one before. A spec that cannot be read is passed over where there is a
/// status, for the API server lets anything stand there.
pub(super) fn wishes(
    object: &Service,
    annotations: &Annotations<'_>,
    told: &mut Vec<Flaw>,
) -> Result<Vec<AddressWish>, Flaw> {
    let listed = listed(annotations.get(LOAD_BALANCER_IPS))?;
    if !listed.is_empty() {
        return Ok(from(AddressSource::Annotation, listed));
    }
    let published = published(object)?;
    let named = match named(object) {
        Some(Err(Flaw::Value { field, value, expected })) if !published.is_empty() => {
            told.push(Flaw::Remark { field, value, expected });
            None
        }
        named => named.transpose()?,
    };
    let changed = |named: &Wish| published.iter().any(|published| differs(published, named));
    match named {
        Some(named) if published.is_empty() || changed(&named) => Ok(from(AddressSource::Spec, vec![named])),
        _ => Ok(from(AddressSource::Status, published)),
    }
}

fn named(object: &Service) -> Option<Result<Wish, Flaw>> {
    let text = object.spec.as_ref()?.load_balancer_ip.as_deref()?.trim();
    (!text.is_empty()).then(|| wish(SPEC, text))
}

fn from(source: AddressSource, wishes: Vec<Wish>) -> Vec<AddressWish> {
    wishes.into_iter().map(|wish| AddressWish { wish, source }).collect()
}

/// The annotation's list. Empty parts are passed over: an annotation that is blank counts as none.
fn listed(text: Option<&str>) -> Result<Vec<Wish>, Flaw> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| wish(LOAD_BALANCER_IPS, part)).collect()
}

fn published(object: &Service) -> Result<Vec<Wish>, Flaw> {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(said).map(|text| wish(STATUS, text)).collect()
}

fn said(ingress: &LoadBalancerIngress) -> Option<&str> {
    let address = ingress.ip.as_deref().filter(|text| !text.is_empty());
    address.or(ingress.hostname.as_deref()).filter(|text| !text.is_empty())
}

/// Whether the spec names something else for the family of a published address.
fn differs(published: &Wish, named: &Wish) -> bool {
    match (published, named) {
        (Wish::Address(published), Wish::Address(named)) => {
            Family::of(*published) == Family::of(*named) && published != named
        }
        (Wish::Address(published), Wish::Dhcp(family)) => Family::of(*published) == *family,
        _ => false,
    }
}

fn wish(field: &str, text: &str) -> Result<Wish, Flaw> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_unspecified() => Ok(Wish::Dhcp(Family::of(address))),
        Ok(address) => Ok(Wish::Address(address)),
        Err(_) if is_dns_name(text) => Ok(Wish::Name(text.to_ascii_lowercase())),
        Err(_) => Err(flaw(field, text, FORM)),
    }
}

/// A host's name as DNS has them (RFC 1123 section 2.1). The last label is not all digits, which tells a mistyped IPv4
/// address from a name (RFC 3696 section 2).
fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label = |label: &str| {
        let bounded = (1..=63).contains(&label.len()) && label.chars().all(letter);
        bounded && !label.starts_with('-') && !label.ends_with('-')
    };
    let last_is_word = !name.rsplit('.').next().unwrap_or_default().chars().all(|c| c.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && last_is_word
}
