//! Before everything else on a busy host: a thread's real-time scheduling, and memory that is never paged out.
//!
//! Announcements and probes that wait behind other work for a few hundred milliseconds look like death to others
//! (keepalived issue 2066). sched(7), mlockall(2).

use std::io;

/// Above all that is not real-time, below all else that is: interrupt threads, and other daemons' real-time threads.
const PRIORITY: libc::c_int = 1;

/// Gives this thread, and those that it starts, a turn before every ordinary one. The kernel leaves ordinary threads
/// 5 % of the time all the same (`kernel.sched_rt_runtime_us`).
///
/// # Errors
/// Without `CAP_SYS_NICE`, or in a control group that has no real-time share.
pub fn schedule_this_thread() -> io::Result<()> {
    set(libc::SCHED_RR, PRIORITY)
}

/// Makes this thread an ordinary one, whoever started it.
///
/// # Errors
/// Never, as far as the kernel's documentation goes: no privilege is asked for.
pub fn schedule_ordinarily() -> io::Result<()> {
    set(libc::SCHED_OTHER, 0)
}

/// Keeps every page of the process that was ever touched in memory.
///
/// Only for a process with `CAP_IPC_LOCK`: under a limit the call may succeed, and a later allocation fail.
///
/// # Errors
/// When the kernel does not allow it.
pub fn lock_memory() -> io::Result<()> {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: no memory is passed; the call changes no byte of ours.
    done(unsafe { libc::mlockall(flags) })
}

fn set(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` is a valid sched_param for the whole call; 0 is the calling thread.
    done(unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) })
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
