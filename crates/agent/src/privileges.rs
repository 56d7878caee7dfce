//! What the agent needs of the kernel, where it is there and asleep: an ordinary user's process has the capabilities of
//! its binary in the permitted set alone, unless the binary insists on all of them, and then nobody could run
//! `mainstay config check` in a container that lacks one.

use caps::{CapSet, Capability};

/// For netlink, and for packet sockets.
const NEEDED: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Makes effective what this thread, and those that it starts later, are permitted. What is not permitted is missed, and
/// named, where it is needed.
pub(crate) fn raise() {
    let permitted = |capability| caps::has_cap(None, CapSet::Permitted, capability).unwrap_or(false);
    for capability in NEEDED.into_iter().filter(|capability| permitted(*capability)) {
        if let Err(error) = caps::raise(None, CapSet::Effective, capability) {
            tracing::warn!("{capability} is permitted and cannot be used: {error}");
        }
    }
}
