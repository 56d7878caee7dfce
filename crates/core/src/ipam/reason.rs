//! What becomes of a Service, and why: one line each, with the object, the value and the remedy.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::Unusable;
use super::occupant::Occupant;
use super::pools::PoolKey;
use crate::intent::{AddressSource, Family, ObjectName, Port};
use crate::names::NodeName;

/// What becomes of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it shall have.
    pub verdict: Verdict,
    /// What it cannot have. Beside [`Verdict::Keep`] and [`Verdict::Assign`] it has something else, or less.
    pub refusals: Vec<Refusal>,
    /// What is legal and may be not meant.
    pub notes: Vec<Note>,
    /// Another load balancer serves it: its status is not ours to write.
    pub serves_elsewhere: bool,
}

impl Decision {
    /// The addresses that the Service shall have.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.verdict {
            Verdict::Keep(addresses) | Verdict::Assign(addresses) => addresses,
            Verdict::Refuse => &[],
        }
    }
}

/// What a Service shall have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// What it has: there is nothing to write. Of a Service that another load balancer serves, what is left of it.
    Keep(Vec<IpAddr>),
    /// These in place of what it has, in the order of families that it asks for.
    Assign(Vec<IpAddr>),
    /// Nothing; and what it has is not its own.
    Refuse,
}

/// What a Service cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{service}: {why}")]
pub struct Refusal {
    /// The Service.
    pub service: ObjectName,
    /// Why it is refused, and what to do.
    pub why: Why,
}

/// Why something is refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// What it names is no address.
    #[error(
        "{named_in}={value:?}: is no IP address; write addresses such as 192.0.2.10 or 2001:db8::10, with commas between"
    )]
    Malformed {
        /// Where it names it.
        named_in: AddressSource,
        /// What stands there; of a list, the one entry that is at fault.
        value: String,
    },
    /// A DHCP server is to give it an address: it names `0.0.0.0` or `::`, or its pool is that.
    #[error("{} is to come from DHCP, which is not built yet; name an address, or write a pool of addresses", .family)]
    Dhcp {
        /// The family.
        family: Family,
    },
    /// It names a DNS name.
    #[error("{named_in}={name:?}: addresses by DNS name are not built yet; write addresses")]
    Name {
        /// Where it names it.
        named_in: AddressSource,
        /// The name.
        name: String,
    },
    /// It is published under a DNS name, which only another load balancer does.
    #[error(
        "its status has {name:?}, which another load balancer published; name an address to have it served here"
    )]
    Published {
        /// The name.
        name: String,
    },
    /// It is published under a node's own address, and nobody asked for that: k3s's servicelb does so (kube-vip 836).
    #[error(
        "{address} is node {node}'s own, which another load balancer published; name an address that no host has"
    )]
    NodeAddress {
        /// The address.
        address: IpAddr,
        /// The node.
        node: NodeName,
    },
    /// It names more addresses than a Service may.
    #[error("more than {most} addresses are named in {named_in}, and the rest is ignored; name fewer")]
    TooMany {
        /// Where it names them.
        named_in: AddressSource,
        /// How many it may name.
        most: usize,
    },
    /// It names an address that no Service can have.
    #[error("{address} is {what}, which no Service can have; name another address")]
    Unusable {
        /// The address.
        address: IpAddr,
        /// What it is.
        what: Unusable,
    },
    /// It names an address of a family that it does not have.
    #[error("{address} is {}, which is not among its ipFamilies; name an address of another family, or add this one", Family::of(*.address))]
    Family {
        /// The address.
        address: IpAddr,
    },
    /// It requires both families, and names addresses of one.
    #[error(
        "ipFamilyPolicy is RequireDualStack, and no {missing} address is named in {named_in}; name one of each family, or none"
    )]
    OneFamily {
        /// Where it names addresses.
        named_in: AddressSource,
        /// The family that is missing.
        missing: Family,
    },
    /// Another Service has the address.
    #[error(
        "{address} is taken by {by}; name another address, or let both share it: allow-share for both namespaces, or \
         the address named by both, and ports on both"
    )]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        by: ObjectName,
    },
    /// The address may be shared, but not this port of it.
    #[error("{address} is shared, but {by} has {port} on it; choose another port or another address")]
    PortClash {
        /// The address.
        address: IpAddr,
        /// The port that both have.
        port: Port,
        /// Who has it.
        by: ObjectName,
    },
    /// Somebody has the address who is no Service of ours.
    #[error("{address} is in use by {by}; name another address")]
    InUse {
        /// The address.
        address: IpAddr,
        /// Who has it.
        by: Occupant,
    },
    /// No pool serves its namespace.
    #[error(
        "no pool serves namespace {namespace}; add cidr-{namespace} or cidr-global to the ConfigMap of pools, or name \
         an address in kube-vip.io/loadbalancerIPs"
    )]
    NoPool {
        /// The namespace.
        namespace: String,
    },
    /// Its pool has no addresses of a family.
    #[error("{pool} has no {family} addresses; add some to it, or leave {family} out of ipFamilies")]
    NoFamily {
        /// The pool that serves its namespace.
        pool: PoolKey,
        /// The family.
        family: Family,
    },
    /// Its pool's addresses are all taken.
    #[error(
        "no {family} address is free in {pool}, which has {size}; add addresses to it, or delete a Service"
    )]
    Exhausted {
        /// The pool that serves its namespace.
        pool: PoolKey,
        /// The family.
        family: Family,
        /// How many addresses of the family may be handed out from the pool.
        size: u128,
    },
}

/// What is legal, and may be not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// An address is in no pool. It stays.
    #[error("{service}: {address} is outside every pool and stays; add it to a pool if that is not meant")]
    OutsideEveryPool {
        /// The Service.
        service: ObjectName,
        /// The address.
        address: IpAddr,
    },
    /// Somebody else has an address that the Service has been assigned. It stays.
    #[error("{service}: {address} is also in use by {by}; give one of them another address")]
    AlsoInUse {
        /// The Service.
        service: ObjectName,
        /// The address.
        address: IpAddr,
        /// Who else has it.
        by: Occupant,
    },
    /// An address is shared, and the Service does not agree to that, or no longer. It stays, and nobody else joins.
    #[error(
        "{service}: {address} stays shared, though it does not agree to that any more; set allow-share for its namespace, \
         or name the address"
    )]
    SharedUnasked {
        /// The Service.
        service: ObjectName,
        /// The address.
        address: IpAddr,
    },
    /// What it names was written by kube-vip-cloud-provider, says something else than its status, and is not followed.
    #[error(
        "{service}: it names addresses that its status does not have, and that are not followed: by its label \
         implementation=kube-vip it was kube-vip-cloud-provider that wrote them; remove the label if they are meant"
    )]
    NamedByCloudProvider {
        /// The Service.
        service: ObjectName,
    },
    /// An address is of a family that the Service does not have, and stays because the Service names it, or would have
    /// none without it.
    #[error("{service}: {address} is {}, which is not among its ipFamilies: no endpoint is behind it; add the family, or name another address", Family::of(*.address))]
    FamilyUnused {
        /// The Service.
        service: ObjectName,
        /// The address.
        address: IpAddr,
    },
    /// An address is given back, because its family is no longer wanted.
    #[error("{service}: {address} is given back, because {} is no longer among its ipFamilies", Family::of(*.address))]
    Released {
        /// The Service.
        service: ObjectName,
        /// The address.
        address: IpAddr,
    },
    /// Both families are preferred, and one cannot be had.
    #[error("{refusal}; until then it has one family, as ipFamilyPolicy PreferDualStack allows")]
    OneFamily {
        /// What cannot be had.
        refusal: Refusal,
    },
}
