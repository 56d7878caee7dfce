//! What a Service says of addresses: one parser for the annotation, the spec and the status.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::service::{Family, Port};

/// How many addresses one Service may name: eight of each family. All of them move together with those of every Service
/// that shares one of them, and whoever may write a Service could empty a pool with one annotation.
pub const NAMED_MAX: usize = 16;

/// How much of a text that cannot be read is kept, in characters: as much as a host's name has.
const UNREADABLE_MAX: usize = 253;

/// One thing that is asked for, or published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// This address. Never an IPv6 address that maps an IPv4 one.
    Address(IpAddr),
    /// Whatever DHCP gives: `0.0.0.0` or `::`.
    Dhcp(Family),
    /// What this DNS name resolves to.
    Name(String),
    /// Nothing that is understood.
    Unreadable(String),
}

impl Wish {
    /// Reads one entry, without blanks around it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_unspecified() => Self::Dhcp(Family::of(address)),
            Ok(address) => Self::Address(address),
            Err(_) if is_dns_name(text) => Self::Name(text.to_ascii_lowercase()),
            Err(_) => Self::Unreadable(text.chars().take(UNREADABLE_MAX).collect()),
        }
    }

    /// Reads a list with commas between, each entry once. Empty entries are passed over. Of more than [`NAMED_MAX`] one
    /// more is kept, so that it can be told of.
    #[must_use]
    pub fn list(text: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wish = Self::of(entry);
            if !all.contains(&wish) {
                all.push(wish);
            }
            if all.len() > NAMED_MAX {
                break;
            }
        }
        all
    }

    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            _ => None,
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Dhcp(family) => family.unspecified().fmt(f),
            Self::Name(text) | Self::Unreadable(text) => f.write_str(text),
        }
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

/// Which addresses a Service names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// `kube-vip.io/loadbalancerIPs`, in its order; empty where it says nothing.
    pub annotation: Vec<Wish>,
    /// `spec.loadBalancerIP`.
    pub spec: Option<Wish>,
    /// Who wrote them.
    pub by: NamedBy,
}

/// Who wrote what a Service names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// Somebody who means it.
    #[default]
    Person,
    /// kube-vip-cloud-provider, which writes what it has assigned there, and the label `implementation=kube-vip` with it.
    /// That is nobody's wish, and nobody's consent to share.
    CloudProvider,
}

/// Where a Service names an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// `kube-vip.io/loadbalancerIPs`.
    Annotation,
    /// `spec.loadBalancerIP`.
    Spec,
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Annotation => "kube-vip.io/loadbalancerIPs",
            Self::Spec => "spec.loadBalancerIP",
        })
    }
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Its address or name.
    pub wish: Wish,
    /// Its `ports`: those that the Service has on it. Empty where nothing is said: kube-vip publishes none.
    pub ports: BTreeSet<Port>,
}
