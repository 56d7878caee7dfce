//! Who has which address, while decisions are made.
//!
//! An address that the API says a Service has stays that Service's until the API says otherwise, also while the Service
//! is moved to another one: should only half of the decisions be written, still nobody shares without permission.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address::{SearchOrder, Span, step, unusable};
use super::candidate::Candidate;
use super::occupant::Occupant;
use super::pools::{Pool, PoolKey, Pools};
use super::reason::Why;
use super::set::AddressSet;
use super::shares::Shares;
use crate::intent::{Family, ObjectName, Port};

pub(super) struct Ledger<'a> {
    pools: &'a Pools,
    pub(super) in_use: &'a BTreeMap<IpAddr, Occupant>,
    claims: BTreeMap<IpAddr, Claim<'a>>,
    /// Addresses of which somebody has lost a part: nobody else gets it before that is written.
    contested: BTreeSet<IpAddr>,
    /// What no pool may hand out.
    taken: AddressSet,
    /// What may be shared.
    shares: Shares<'a>,
    /// Where the next search of a pool begins: nothing before it is free. `None` is a pool at its end.
    cursors: BTreeMap<(&'a PoolKey, Family), Option<IpAddr>>,
}

/// Who has one address.
struct Claim<'a> {
    /// Who had it first.
    by: &'a ObjectName,
    /// How many are on it.
    services: usize,
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
            shares: Shares::new(pools.order),
            cursors: BTreeMap::new(),
        }
    }

    /// Settles what each of `candidates`, the oldest first, may keep of what it has been assigned: whoever has no port
    /// there that an older one has. Nobody's leave to share is asked any more. A port that a Service got since comes
    /// after those that others had already: who gets it late loses the address for it, however old.
    pub(super) fn settle(&mut self, candidates: &mut [Candidate<'a>]) {
        for candidate in &mut *candidates {
            for address in candidate.published() {
                self.settle_address(candidate, address);
            }
        }
        for candidate in &mut *candidates {
            for address in candidate.held.clone() {
                self.settle_new_ports(candidate, address);
            }
        }
        candidates.iter_mut().for_each(|candidate| self.settle_unpublished(candidate));
        self.open();
    }

    /// What kube-vip-cloud-provider assigned, and no status has yet: it goes behind all that has a status, and before all
    /// that is asked for.
    fn settle_unpublished(&mut self, candidate: &mut Candidate<'a>) {
        let published = candidate.published();
        for address in candidate.assigned.clone().into_iter().filter(|one| !published.contains(one)) {
            match self.check_named(candidate, address) {
                Ok(()) => {
                    self.claim(candidate, address, &candidate.service.ports);
                    candidate.held.push(address);
                }
                Err(why) => drop(candidate.lost.insert(address, why)),
            }
        }
    }

    fn settle_address(&mut self, candidate: &mut Candidate<'a>, address: IpAddr) {
        let ports = candidate.service.ports_on(address);
        match self.check_assigned(candidate, address).and_then(|()| self.check_ports(address, &ports)) {
            Ok(()) => {
                self.claim(candidate, address, &ports);
                candidate.held.push(address);
            }
            Err(why) => self.lose(candidate, address, why),
        }
    }

    fn settle_new_ports(&mut self, candidate: &mut Candidate<'a>, address: IpAddr) {
        let new = &candidate.service.ports - &candidate.service.ports_on(address);
        match self.check_ports(address, &new) {
            Ok(()) => {
                let name = candidate.name;
                let taken = new.into_iter().map(|port| (port, name));
                self.claims.entry(address).and_modify(|claim| claim.ports.extend(taken));
            }
            Err(why) => {
                candidate.held.retain(|held| *held != address);
                self.lose(candidate, address, why);
            }
        }
    }

    fn lose(&mut self, candidate: &mut Candidate<'a>, address: IpAddr, why: Why) {
        self.contested.insert(address);
        candidate.lost.insert(address, why);
    }

    /// What speaks against an address that `candidate` has been assigned, whoever else has it.
    fn check_assigned(&self, candidate: &Candidate<'a>, address: IpAddr) -> Result<(), Why> {
        if let Some(what) = unusable(Span { first: address, last: address }) {
            return Err(Why::Unusable { address, what });
        }
        match self.in_use.get(&address) {
            // Two claims on one address would be two holders (kube-vip 665, 947).
            Some(by @ Occupant::ControlPlane) => Err(Why::InUse { address, by: by.clone() }),
            // A kubelet reports a VIP that its node holds as the node's own (kube-vip 741): what is held must not be
            // given up because it is.
            Some(Occupant::Node(node))
                if !is_known_holder(candidate) && !candidate.service.names(address) =>
            {
                Err(Why::NodeAddress { address, node: node.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Offers to others what may be shared. From here on nothing that is already assigned is settled.
    fn open(&mut self) {
        let open = self.claims.iter().filter(|(_, claim)| claim.is_open);
        let ports = |claim: &Claim<'_>| claim.ports.keys().copied().collect::<Vec<_>>();
        let open: Vec<_> = open.map(|(address, claim)| (*address, ports(claim))).collect();
        for (address, ports) in open {
            self.offer(address, &ports);
        }
    }

    /// Offers `address`, whose `ports` are taken since the last time.
    fn offer<'b>(&mut self, address: IpAddr, ports: impl IntoIterator<Item = &'b Port>) {
        if self.contested.contains(&address)
            || self.in_use.contains_key(&address)
            || self.pools.avoids(address)
        {
            return;
        }
        self.shares.offer(address, ports);
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
        if let Some(by) = self.also_in_use(candidate, address) {
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
        self.check_ports(address, &candidate.service.ports)
    }

    fn check_ports(&self, address: IpAddr, ports: &BTreeSet<Port>) -> Result<(), Why> {
        let Some(claim) = self.claims.get(&address) else { return Ok(()) };
        let clash = ports.iter().find_map(|port| claim.ports.get_key_value(port));
        clash.map_or(Ok(()), |(port, by)| Err(Why::PortClash { address, port: *port, by: (*by).clone() }))
    }

    /// Whether `candidate` agrees to share `address`: its namespace does, or it names the address itself, which is how
    /// Services share with kube-vip alone. Without ports there is nothing to tell it from others.
    fn shares(&self, candidate: &Candidate<'_>, address: IpAddr) -> bool {
        let has_ports = !candidate.service.ports.is_empty();
        has_ports
            && (candidate.service.names(address) || self.pools.allows_sharing(candidate.name.namespace()))
    }

    /// Whether `candidate` is on `address` with others, and does not agree to that.
    pub(super) fn is_shared_unasked(&self, candidate: &Candidate<'_>, address: IpAddr) -> bool {
        let is_shared = self.claims.get(&address).is_some_and(|claim| claim.services > 1);
        is_shared && !self.shares(candidate, address)
    }

    /// Who has `address` who is no Service of ours, but for a node that holds it for `candidate`.
    pub(super) fn also_in_use(&self, candidate: &Candidate<'_>, address: IpAddr) -> Option<&'a Occupant> {
        let holds = |by: &&Occupant| matches!(by, Occupant::Node(_)) && is_known_holder(candidate);
        self.in_use.get(&address).filter(|by| !holds(by))
    }

    /// Writes down what was checked.
    fn claim(&mut self, candidate: &Candidate<'a>, address: IpAddr, ports: &BTreeSet<Port>) {
        let agrees = self.shares(candidate, address);
        let claim = self.claims.entry(address).or_insert(Claim {
            by: candidate.name,
            services: 0,
            is_open: true,
            ports: BTreeMap::new(),
        });
        claim.services += 1;
        claim.is_open &= agrees;
        claim.ports.extend(ports.iter().map(|port| (*port, candidate.name)));
        self.taken.insert(address);
    }

    /// [`Self::claim`], and offers the rest of it to others.
    pub(super) fn assign(&mut self, candidate: &Candidate<'a>, address: IpAddr) {
        self.claim(candidate, address, &candidate.service.ports);
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
            return Err(Why::Dhcp { family });
        }
        if !pool.offers(family) {
            return Err(Why::NoFamily { pool: key.clone(), family });
        }
        let ports = &candidate.service.ports;
        let shares = family == Family::Ipv4 && self.pools.allows_sharing(candidate.name.namespace());
        let shared = if shares && !ports.is_empty() { self.shares.first((key, pool), ports) } else { None };
        let free = shared.or_else(|| self.first_free((key, pool), family));
        free.ok_or_else(|| Why::Exhausted { pool: key.clone(), family, size: pool.size(family) })
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

/// Whether it is known which node holds the Service's addresses.
fn is_known_holder(candidate: &Candidate<'_>) -> bool {
    candidate.service.vip_host.is_some()
}

fn taken(address: IpAddr, claim: &Claim<'_>) -> Why {
    Why::Taken { address, by: claim.by.clone() }
}
