//! What is legal among pools, and worth knowing.

use std::collections::BTreeSet;

use super::address::Span;
use super::pools::{Form, PoolKey, Pools, Scope, precedence};

/// A remark on the pools. Nothing is refused because of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum PoolNote {
    /// Two pools contain the same addresses. Each pool that overlaps another is in at least one such note; three pools
    /// that overlap may be in two.
    #[error(
        "{one} and {other} overlap in {span}: no address is handed out twice, but Services of either use up the \
         other's; separate them if that is not meant"
    )]
    Overlap {
        /// The pool that begins first.
        one: PoolKey,
        /// The other.
        other: PoolKey,
        /// The first addresses that both contain.
        span: Span,
    },
    /// A pool serves nobody.
    #[error(
        "{key} is never used: {before} comes before it, as in kube-vip-cloud-provider; name it cidr-{} to use it",
        key.scope
    )]
    Shadowed {
        /// The pool.
        key: PoolKey,
        /// The pool that serves in its place.
        before: PoolKey,
    },
}

/// Everything worth a remark, in order.
pub(super) fn notes(pools: &Pools) -> Vec<PoolNote> {
    let mut notes: Vec<_> = overlaps(pools).into_iter().chain(shadowed(pools)).collect();
    notes.sort();
    notes
}

/// In order of their first addresses, each span is compared with the one that reaches furthest of those before it:
/// as many comparisons as there are spans, and no pool that overlaps another goes unnamed.
fn overlaps(pools: &Pools) -> Vec<PoolNote> {
    let mut spans: Vec<(Span, &PoolKey)> = Vec::new();
    for (key, pool) in &pools.pools {
        spans.extend(pool.addresses.spans().map(|span| (span, key)));
    }
    spans.sort();
    let (mut furthest, mut named, mut notes) = (None::<(Span, &PoolKey)>, BTreeSet::new(), Vec::new());
    for (span, key) in spans {
        if let Some((before, one)) = furthest
            && let Some(both) = before.overlap(span)
            && named.insert((one, key))
        {
            notes.push(PoolNote::Overlap { one: one.clone(), other: key.clone(), span: both });
        }
        if furthest.is_none_or(|(before, _)| before.last < span.last) {
            furthest = Some((span, key));
        }
    }
    notes
}

/// Ranges that a CIDR comes before.
fn shadowed(pools: &Pools) -> impl Iterator<Item = PoolNote> {
    pools.pools.keys().filter(|key| key.form == Form::Range).filter_map(|key| {
        let rivals = match &key.scope {
            Scope::Namespace(namespace) => precedence(namespace).into(),
            Scope::Global => vec![PoolKey { form: Form::Cidr, scope: Scope::Global }],
        };
        let before = rivals.into_iter().find(|rival| pools.pools.contains_key(rival))?;
        (before.form == Form::Cidr).then(|| PoolNote::Shadowed { key: key.clone(), before })
    })
}
