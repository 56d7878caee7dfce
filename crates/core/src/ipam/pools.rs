//! The pools of a cluster: which addresses a namespace's Services may be given.
//!
//! The keys and their precedence are those of kube-vip-cloud-provider (`pkg/provider/loadBalancer.go`, `discoverPool`):
//! `cidr-NAMESPACE`, then `cidr-global`, then `range-NAMESPACE`, then `range-global`, and the first of them that exists
//! is the only one that serves the namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::{SearchOrder, Span, is_buggy};
use super::set::AddressSet;
use crate::intent::Family;

/// Whose a pool or an option is: the part of its key after the first word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// `global`: every namespace's that has none of its own.
    Global,
    /// One namespace's. (A namespace that is called `global` has none of its own.)
    Namespace(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Namespace(namespace) => f.write_str(namespace),
        }
    }
}

/// The first word of a pool's key. It decides about precedence alone: kube-vip-cloud-provider reads both forms of
/// value under both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Form {
    /// `cidr`.
    Cidr,
    /// `range`.
    Range,
}

/// A pool's name: its key in the `ConfigMap`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PoolKey {
    /// The key's first word.
    pub form: Form,
    /// Whose it is.
    pub scope: Scope,
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Cidr => write!(f, "cidr-{}", self.scope),
            Form::Range => write!(f, "range-{}", self.scope),
        }
    }
}

/// What one key of the `ConfigMap` offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub(super) addresses: AddressSet,
    /// How many of them may be handed out: a pool may be in too many pieces to count each time.
    pub(super) sizes: BTreeMap<Family, u128>,
    /// Families whose addresses a DHCP server gives.
    pub(super) dhcp: BTreeSet<Family>,
}

impl Pool {
    /// How many addresses of `family` may be handed out, taken ones included.
    #[must_use]
    pub fn size(&self, family: Family) -> u128 {
        self.sizes.get(&family).copied().unwrap_or(0)
    }

    /// Whether it has something of `family` to offer, taken or not.
    pub(super) fn offers(&self, family: Family) -> bool {
        self.dhcp.contains(&family) || self.size(family) > 0
    }
}

/// Whether addresses are handed out that end in .0 or .255: the key `avoid-buggy-ips`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuggyAddresses {
    /// They are not, as in kube-vip-cloud-provider.
    #[default]
    Avoided,
    /// They are, as in MetalLB by default.
    Used,
}

/// All pools of a cluster, and what else its `ConfigMap` says. No pools at all is a valid one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    pub(super) pools: BTreeMap<PoolKey, Pool>,
    pub(super) sharing: BTreeMap<Scope, bool>,
    pub(super) interfaces: BTreeMap<Scope, String>,
    pub(super) order: SearchOrder,
    pub(super) buggy: BuggyAddresses,
    /// What all pools contain together.
    pub(super) all: AddressSet,
}

impl Pools {
    /// The pool that serves `namespace`, and its name.
    #[must_use]
    pub fn serving(&self, namespace: &str) -> Option<(&PoolKey, &Pool)> {
        precedence(namespace).iter().find_map(|key| self.pools.get_key_value(key))
    }

    /// Whether Services of `namespace` may share an address: `allow-share-NAMESPACE`, else `allow-share-global`.
    #[must_use]
    pub fn allows_sharing(&self, namespace: &str) -> bool {
        scopes(namespace).iter().find_map(|scope| self.sharing.get(scope)).copied().unwrap_or(false)
    }

    /// The interface that VIPs of `namespace` belong on: `interface-NAMESPACE`, else `interface-global`.
    #[must_use]
    pub fn interface(&self, namespace: &str) -> Option<&str> {
        scopes(namespace).iter().find_map(|scope| self.interfaces.get(scope)).map(String::as_str)
    }

    /// How many addresses of `span` may be handed out.
    pub(super) fn usable_size(&self, span: Span) -> u128 {
        match self.buggy {
            BuggyAddresses::Avoided => span.size() - span.buggy_size(),
            BuggyAddresses::Used => span.size(),
        }
    }

    /// Whether `address` is handed out to nobody who does not ask for it.
    pub(super) fn avoids(&self, address: IpAddr) -> bool {
        self.buggy == BuggyAddresses::Avoided && is_buggy(address)
    }

    /// Whether there are pools, and `address` is in none of them.
    pub(super) fn is_outside(&self, address: IpAddr) -> bool {
        !self.pools.is_empty() && !self.all.contains(address)
    }
}

/// The keys that may serve `namespace`, the first choice first.
pub(super) fn precedence(namespace: &str) -> [PoolKey; 4] {
    let [own, global] = scopes(namespace);
    let key = |form, scope: &Scope| PoolKey { form, scope: scope.clone() };
    [key(Form::Cidr, &own), key(Form::Cidr, &global), key(Form::Range, &own), key(Form::Range, &global)]
}

fn scopes(namespace: &str) -> [Scope; 2] {
    [Scope::Namespace(namespace.to_owned()), Scope::Global]
}
