//! A set of addresses that costs what its gaps cost: a /64 is one entry.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address::{SearchOrder, Span, step};
use crate::intent::Family;

/// Addresses of both families, as spans that neither overlap nor touch: from each span's first address to its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressSet(BTreeMap<IpAddr, IpAddr>);

impl AddressSet {
    pub(super) fn insert(&mut self, address: IpAddr) {
        self.insert_span(Span { first: address, last: address });
    }

    /// Adds `span`, and makes one of it and of whatever it overlaps or touches.
    pub(super) fn insert_span(&mut self, span: Span) {
        let before = step(span.first, SearchOrder::Descending).unwrap_or(span.first);
        let first = self.span_at(before).map_or(span.first, |left| left.first);
        let mut merged = Span { first, ..span };
        while let Some(touched) = self.touched_by(merged) {
            merged.last = merged.last.max(touched.last);
            self.0.remove(&touched.first);
        }
        self.0.insert(merged.first, merged.last);
    }

    /// A span of ours that begins within `span`, or right after it.
    fn touched_by(&self, span: Span) -> Option<Span> {
        let end = step(span.last, SearchOrder::Ascending).unwrap_or(span.last);
        self.0.range(span.first..=end).next().map(|(first, last)| Span { first: *first, last: *last })
    }

    /// The span that contains `address`.
    fn span_at(&self, address: IpAddr) -> Option<Span> {
        let (first, last) = self.0.range(..=address).next_back()?;
        (address <= *last).then_some(Span { first: *first, last: *last })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.span_at(address).is_some()
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.0.iter().map(|(first, last)| Span { first: *first, last: *last })
    }

    /// The first address in the set from `from` on, itself included, of its family.
    pub(super) fn first_present(&self, from: IpAddr, order: SearchOrder) -> Option<IpAddr> {
        if self.contains(from) {
            return Some(from);
        }
        let next = match order {
            SearchOrder::Ascending => self.0.range(from..).next().map(|(first, _)| *first),
            SearchOrder::Descending => self.0.range(..from).next_back().map(|(_, last)| *last),
        };
        next.filter(|address| Family::of(*address) == Family::of(from))
    }

    /// The first address outside the set from `from` on, itself included, of its family.
    pub(super) fn first_absent(&self, from: IpAddr, order: SearchOrder) -> Option<IpAddr> {
        match (self.span_at(from), order) {
            (None, _) => Some(from),
            (Some(span), SearchOrder::Ascending) => step(span.last, order),
            (Some(span), SearchOrder::Descending) => step(span.first, order),
        }
    }
}
