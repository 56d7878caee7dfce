//! What the agent needs of the kernel, where it is there and asleep: an ordinary user's process has the capabilities of
//! its binary in the permitted set alone, unless the binary insists on all of them, and then nobody could run
//! `mainstay config check` in a container that lacks one.

use caps::{CapSet, Capability};

use mainstay_dataplane::realtime;

/// For netlink, and for packet sockets.
const NEEDED: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
/// For real-time scheduling, and for locked memory: only where `realtime` asks for them.
const NEEDED_IN_REAL_TIME: [Capability; 2] = [Capability::CAP_SYS_NICE, Capability::CAP_IPC_LOCK];

/// Makes effective what this thread, and those that it starts later, are permitted, and gives a warning for each that
/// cannot be. What is not permitted is missed, and named, where it is needed.
///
/// Before any thread is started, the log's among them: with memory locked, one without CAP_IPC_LOCK could allocate no more
/// than a limit's worth.
pub(crate) fn raise(realtime: bool) -> Vec<String> {
    let permitted = |capability: &Capability| has(CapSet::Permitted, *capability);
    let more = if realtime { &NEEDED_IN_REAL_TIME[..] } else { &[] };
    let failed = |capability| {
        let error = caps::raise(None, CapSet::Effective, capability).err()?;
        Some(format!("{capability} is permitted and cannot be used: {error}"))
    };
    NEEDED.iter().chain(more).copied().filter(permitted).filter_map(failed).collect()
}

/// Which of those that it needs this process has not.
pub(crate) fn missing() -> Vec<Capability> {
    let lacks =
        |one: &Capability| ![CapSet::Effective, CapSet::Permitted].into_iter().any(|set| has(set, *one));
    NEEDED.into_iter().filter(lacks).collect()
}

/// Puts this thread, and those that it starts, before all ordinary work, and keeps the process in memory. Where that is
/// not allowed a warning says so: a VIP on a busy host is better than none.
pub(crate) fn run_in_real_time() {
    if let Err(error) = realtime::schedule_this_thread() {
        let remedy = if has(CapSet::Effective, Capability::CAP_SYS_NICE) {
            "give its control group a share of real time (cpu.rt_runtime_us)"
        } else {
            "add the capability SYS_NICE to the container"
        };
        tracing::warn!("realtime: no real-time scheduling: {error}; {remedy}");
    }
    // Under a limit in place of the capability it might succeed, and a later allocation fail.
    if !has(CapSet::Effective, Capability::CAP_IPC_LOCK) {
        tracing::warn!("realtime: memory is not locked: add the capability IPC_LOCK to the container");
    } else if let Err(error) = realtime::lock_memory() {
        tracing::warn!(
            "realtime: memory is not locked: {error}; raise the memory limit, or RLIMIT_MEMLOCK where it counts (in a user namespace)"
        );
    }
}

fn has(set: CapSet, capability: Capability) -> bool {
    caps::has_cap(None, set, capability).unwrap_or(false)
}
