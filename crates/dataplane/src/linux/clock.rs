//! The clock that the core's moments are read from: `CLOCK_BOOTTIME`, which goes on while the host is suspended, so
//! that a lease does not seem fresh after a nap.

use std::io;
use std::time::Duration;

use mainstay_core::time::Moment;

/// Now, on this host's boot clock.
#[must_use]
pub fn now() -> Moment {
    Moment::from_nanos(read(libc::CLOCK_BOOTTIME))
}

/// Whether the kernel's wall clock is kept by something (`adjtimex(2)`, `STA_UNSYNC`); `None` where it does not say.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: all-zero bytes are a valid timex: it has integers alone.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is valid and writable for the whole call; with modes 0 it is only read.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}

/// The boot this host is in (`/proc/sys/kernel/random/boot_id`).
///
/// # Errors
///
/// When `/proc` is not mounted or not readable.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The moment of a wall-clock time stamp that the kernel took just now (`SO_TIMESTAMPNS` knows no other clock); never
/// later than now, should the wall clock have been set back since.
///
/// The two clocks cannot be read at once, and this thread may lose the processor in between: of a few attempts the
/// quickest counts.
pub(crate) fn moment_of(stamp_nanos: u64) -> Moment {
    let attempts = [(); 3].map(|()| {
        let before = now();
        let wall = read(libc::CLOCK_REALTIME);
        let after = now();
        (after.since(before), before, wall)
    });
    let (_, moment, wall) = attempts.into_iter().min().unwrap_or_default();
    moment - Duration::from_nanos(wall.saturating_sub(stamp_nanos))
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the whole call. The call cannot fail: both clocks exist on
    // every Linux since 2.6.39, and the pointer is good.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    to_nanos(time.tv_sec, time.tv_nsec)
}

/// Seconds and nanoseconds as the kernel writes them, in nanoseconds; negative ones count as zero.
pub(crate) fn to_nanos(seconds: i64, nanoseconds: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}
