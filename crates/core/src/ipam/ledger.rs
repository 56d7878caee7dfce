//! Who has which address, while decisions are made.
//!
//! An address that the API says a Service has stays that Service's until the API says otherwise, also while the Service
//! is moved to another one: should only half of the decisions be written, still nobody shares without permission.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address::{SearchOrder, Span, step, unusable};
use super::candidate::Candidate;
use super::pools::{Pool, PoolKey, Pools};
use super::reason::Why;
use super::service::Occupant;
use super::set::AddressSet;
use crate::intent::{Family, ObjectName, Port};

pub(super) struct Ledger<'a> {
    pools: &'a Pools,
    pub(super) in_use: &'a BTreeMap<IpAddr, Occupant>,
    claims: BTreeMap<IpAddr, Claim<'a>>,
    /// Addresses of which somebody has lost a part: nobody else gets it before that is written.
    contested: BTreeSet<IpAddr>,
    /// What no pool may hand out.
    taken: AddressSet,
    /// What Services share that have a port free, by what is not.
    shared: AddressSet,
    ports: BTreeMap<Port, AddressSet>,
    /// Where the next search of a pool begins: nothing before it is free. `None` is a pool at its end.
    cursors: BTreeMap<(&'a PoolKey, Family), Option<IpAddr>>,
}

/// Who has one address.
struct Claim<'a> {
    /// Who had it first.
    by: &'a ObjectName,
    /// Whether others may join: everybody on it agrees to that and has ports to tell them apart.
    is_open: bool,
    ports: BTreeMap<Port, &'a ObjectName>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(pools: &'a Pools, in_use: &'a BTreeMap<IpAddr, Occupant>) -> Self {
        let mut taken = AddressSet::default();
        in_use.keys().for_each(|address| taken.insert(*address));
        Self {
            pools,
            in_use,
            claims: BTreeMap::new(),
            contested: BTreeSet::new(),
            taken,
            shared: AddressSet::default(),
            ports: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Settles what `candidate` may keep of what it has been assigned.
    pub(super) fn settle(&mut self, candidate: &mut Candidate<'a>) {
        for address in candidate.assigned.clone() {
            match self.check(candidate, address) {
                Ok(()) => {
                    self.claim(candidate, address);
                    candidate.held.push(address);
                }
                Err(why) => {
                    self.contested.insert(address);
                    candidate.lost.insert(address, why);
                }
            }
        }
    }

    /// Offers to others what may be shared. From here on nothing that is already assigned is settled.
    pub(super) fn open(&mut self) {
        let open = self.claims.iter().filter(|(_, claim)| claim.is_open);
        let ports = |claim: &Claim<'_>| claim.ports.keys().copied().collect::<Vec<_>>();
        let open: Vec<_> = open.map(|(address, claim)| (*address, ports(claim))).collect();
        for (address, ports) in open {
            self.offer(address, &ports);
        }
    }

    /// Offers `address`, whose `ports` are taken since the last time.
    fn offer(&mut self, address: IpAddr, ports: &[Port]) {
        if self.contested.contains(&address)
            || self.in_use.contains_key(&address)
            || self.pools.avoids(address)
        {
            return;
        }
        self.shared.insert(address);
        for port in ports {
            self.ports.entry(*port).or_default().insert(address);
        }
    }

    /// Whether `candidate` may have `address`, which it names.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check_named(&self, candidate: &Candidate<'a>, address: IpAddr) -> Result<(), Why> {
        if let Some(what) = unusable(Span { first: address, last: address }) {
            return Err(Why::Unusable { address, what });
        }
        if candidate.lacks(Family::of(address)) {
            return Err(Why::Family { address });
        }
        if let Some(by) = self.in_use.get(&address) {
            return Err(Why::InUse { address, by: by.clone() });
        }
        match self.claims.get(&address) {
            Some(claim) if self.contested.contains(&address) => Err(taken(address, claim)),
            _ => self.check(candidate, address),
        }
    }

    fn check(&self, candidate: &Candidate<'a>, address: IpAddr) -> Result<(), Why> {
        let Some(claim) = self.claims.get(&address) else { return Ok(()) };
        if !(claim.is_open && self.shares(candidate, address)) {
            return Err(taken(address, claim));
        }
        let clash = candidate.service.ports.iter().find_map(|port| claim.ports.get_key_value(port));
        clash.map_or(Ok(()), |(port, by)| Err(Why::PortClash { address, port: *port, by: (*by).clone() }))
    }

    /// Whether `candidate` agrees to share `address`: its namespace does, or it names the address itself, which is how
    /// Services share with kube-vip alone. Without ports there is nothing to tell it from others.
    fn shares(&self, candidate: &Candidate<'_>, address: IpAddr) -> bool {
        let has_ports = !candidate.service.ports.is_empty();
        has_ports && (candidate.names(address) || self.pools.allows_sharing(candidate.name.namespace()))
    }

    /// Writes down what was checked. What a DHCP server is to give belongs to nobody yet.
    pub(super) fn claim(&mut self, candidate: &Candidate<'a>, address: IpAddr) {
        if address.is_unspecified() {
            return;
        }
        let is_open = self.shares(candidate, address);
        let claim = self.claims.entry(address).or_insert(Claim {
            by: candidate.name,
            is_open,
            ports: BTreeMap::new(),
        });
        claim.ports.extend(candidate.service.ports.iter().map(|port| (*port, candidate.name)));
        self.taken.insert(address);
    }

    /// [`Self::claim`], and offers the rest of it to others.
    pub(super) fn assign(&mut self, candidate: &Candidate<'a>, address: IpAddr) {
        self.claim(candidate, address);
        if self.claims.get(&address).is_some_and(|claim| claim.is_open) {
            self.offer(address, &candidate.service.ports);
        }
    }

    /// An address of `family` from `pool` for `candidate`: one that is shared, where that is allowed and ports are free
    /// (IPv4 alone, as in kube-vip-cloud-provider), else one that is free.
    ///
    /// # Errors
    ///
    /// When the pool has none.
    pub(super) fn find(
        &mut self,
        candidate: &Candidate<'a>,
        (key, pool): (&'a PoolKey, &'a Pool),
        family: Family,
    ) -> Result<IpAddr, Why> {
        if pool.dhcp.contains(&family) {
            return Ok(family.unspecified());
        }
        if !pool.offers(family) {
            return Err(Why::NoFamily { pool: key.clone(), family });
        }
        let ports = &candidate.service.ports;
        let shares = family == Family::Ipv4 && self.pools.allows_sharing(candidate.name.namespace());
        let shared = if shares && !ports.is_empty() { self.first_shared(pool, ports) } else { None };
        let free = shared.or_else(|| self.first_free((key, pool), family));
        free.ok_or_else(|| Why::Exhausted { pool: key.clone(), family, size: pool.size(family) })
    }

    /// The first address of `pool` that others share and on which `ports` are free.
    fn first_shared(&self, pool: &Pool, ports: &[Port]) -> Option<IpAddr> {
        let order = self.pools.order;
        let mut from = Family::Ipv4.first(order);
        loop {
            let inside = pool.addresses.first_present(from, order)?;
            let mut next = self.shared.first_present(inside, order)?;
            for used in ports.iter().filter_map(|port| self.ports.get(port)) {
                next = used.first_absent(next, order)?;
            }
            if next == inside {
                return Some(next);
            }
            from = next;
        }
    }

    /// The first address of `pool` that nobody has. A search goes on where the last one ended, because nothing becomes
    /// free while decisions are made.
    fn first_free(&mut self, (key, pool): (&'a PoolKey, &Pool), family: Family) -> Option<IpAddr> {
        let order = self.pools.order;
        let start = Some(family.first(order));
        let cursor = self.cursors.get(&(key, family)).copied().unwrap_or(start);
        let found = cursor.and_then(|from| self.free_from(from, pool, order));
        self.cursors.insert((key, family), found);
        found
    }

    fn free_from(&self, mut from: IpAddr, pool: &Pool, order: SearchOrder) -> Option<IpAddr> {
        loop {
            let inside = pool.addresses.first_present(from, order)?;
            let next = self.taken.first_absent(inside, order)?;
            if next != inside {
                from = next;
            } else if self.pools.avoids(next) {
                from = step(next, order)?;
            } else {
                return Some(next);
            }
        }
    }
}

fn taken(address: IpAddr, claim: &Claim<'_>) -> Why {
    Why::Taken { address, by: claim.by.clone() }
}
