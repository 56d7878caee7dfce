//! What Services share, and where ports of it are free.
//!
//! Of IPv4 alone: nobody is put with others on an IPv6 address unasked (`docs/ipam.md`, rule 4), and the first address
//! in search order means nothing across families.
//!
//! Nothing becomes free while decisions are made, so that a search goes on where the last one for that port ended; but
//! for addresses that were offered since. Without that, thousands of Services on a pool in thousands of pieces would
//! take the square of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address::SearchOrder;
use super::pools::{Pool, PoolKey};
use super::set::AddressSet;
use crate::intent::{Family, Port};

pub(super) struct Shares<'a> {
    order: SearchOrder,
    /// What is offered.
    shared: AddressSet,
    /// What of it has a port taken, by port.
    taken: BTreeMap<Port, AddressSet>,
    /// Every address that was offered, in the order in which that happened.
    offered: Vec<IpAddr>,
    seen: BTreeMap<&'a PoolKey, Seen>,
    cursors: BTreeMap<(&'a PoolKey, Port), Cursor>,
}

/// What of the offers is a pool's.
#[derive(Default)]
struct Seen {
    /// How many offers were looked at.
    until: usize,
    /// Offers of its addresses, each the first in search order of itself and all that came after it.
    first: Vec<(usize, IpAddr)>,
}

/// No address of a pool before `at` has the port free, of those that were offered before `offered` others.
#[derive(Clone, Copy)]
struct Cursor {
    /// `None` is the pool's end.
    at: Option<IpAddr>,
    offered: usize,
}

impl<'a> Shares<'a> {
    pub(super) fn new(order: SearchOrder) -> Self {
        Self {
            order,
            shared: AddressSet::default(),
            taken: BTreeMap::new(),
            offered: vec![],
            seen: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Offers `address`, whose `ports` are taken since the last time. Of an IPv6 one nothing is kept.
    pub(super) fn offer<'b>(&mut self, address: IpAddr, ports: impl IntoIterator<Item = &'b Port>) {
        if Family::of(address) != Family::Ipv4 {
            return;
        }
        if !self.shared.contains(address) {
            self.shared.insert(address);
            self.offered.push(address);
        }
        for port in ports {
            self.taken.entry(*port).or_default().insert(address);
        }
    }

    /// The first IPv4 address of `pool` that is shared and on which `ports` are free.
    pub(super) fn first(
        &mut self,
        (key, pool): (&'a PoolKey, &Pool),
        ports: &BTreeSet<Port>,
    ) -> Option<IpAddr> {
        self.look(key, pool);
        let mut from = Family::Ipv4.first(self.order);
        for port in ports {
            let free = self.advance((key, pool), *port)?;
            from = if self.is_before(from, free) { free } else { from };
        }
        self.search(pool, ports.iter(), from)
    }

    /// Takes in the offers of the pool's addresses since the last time.
    fn look(&mut self, key: &'a PoolKey, pool: &Pool) {
        let order = self.order;
        let seen = self.seen.entry(key).or_default();
        for (number, address) in self.offered.iter().enumerate().skip(seen.until) {
            if pool.addresses.contains(*address) {
                while seen.first.pop_if(|(_, other)| is_before(order, *address, *other)).is_some() {}
                seen.first.push((number, *address));
            }
        }
        seen.until = self.offered.len();
    }

    /// The first shared address of `pool` on which `port` is free.
    fn advance(&mut self, (key, pool): (&'a PoolKey, &Pool), port: Port) -> Option<IpAddr> {
        let from = match self.cursors.get(&(key, port)) {
            Some(cursor) => self.earlier(cursor.at, self.first_since(key, cursor.offered)),
            None => Some(Family::Ipv4.first(self.order)),
        };
        let at = from.and_then(|from| self.search(pool, [port].iter(), from));
        self.cursors.insert((key, port), Cursor { at, offered: self.offered.len() });
        at
    }

    /// The first in search order of the pool's addresses that were offered after `offered` others.
    fn first_since(&self, key: &PoolKey, offered: usize) -> Option<IpAddr> {
        let first = &self.seen.get(key)?.first;
        let index = first.partition_point(|(number, _)| *number < offered);
        first.get(index).map(|(_, address)| *address)
    }

    fn earlier(&self, one: Option<IpAddr>, other: Option<IpAddr>) -> Option<IpAddr> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if self.is_before(one, other) { one } else { other }),
            (one, other) => one.or(other),
        }
    }

    fn is_before(&self, one: IpAddr, other: IpAddr) -> bool {
        is_before(self.order, one, other)
    }

    fn search<'b>(
        &self,
        pool: &Pool,
        ports: impl Iterator<Item = &'b Port> + Clone,
        mut from: IpAddr,
    ) -> Option<IpAddr> {
        loop {
            let inside = pool.addresses.first_present(from, self.order)?;
            let mut next = self.shared.first_present(inside, self.order)?;
            for taken in ports.clone().filter_map(|port| self.taken.get(port)) {
                next = taken.first_absent(next, self.order)?;
            }
            if next == inside {
                return Some(next);
            }
            from = next;
        }
    }
}

fn is_before(order: SearchOrder, one: IpAddr, other: IpAddr) -> bool {
    match order {
        SearchOrder::Ascending => one < other,
        SearchOrder::Descending => one > other,
    }
}
