//! One timer on the core's own clock (`timerfd_create(2)`, `CLOCK_BOOTTIME`).
//!
//! The runtime's timers wake a sleeper twice for what is more than 64 ms away, write to a pipe of their own for each
//! one set, round to milliseconds, and stand still while the host is suspended. This one does none of it: a follower,
//! who has ten deadlines a second, is woken half as often.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use mainstay_core::time::Moment;
use tokio::io::unix::AsyncFd;

use crate::linux::clock;

const NANOSECONDS: u64 = 1_000_000_000;

/// The timer.
#[derive(Debug)]
pub(crate) struct Timer {
    file: AsyncFd<File>,
    armed: Option<Moment>,
}

impl Timer {
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: the call takes no pointer; it returns a new descriptor, or -1.
        let descriptor =
            unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now and nobody else owns it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        // SAFETY: the file is owned by the AsyncFd from here on, is never taken out of it, and closes only when it is
        // dropped; so its descriptor stays open and the same for as long as it is registered.
        let file = unsafe { AsyncFd::register(file) }.map_err(io::Error::from)?;
        Ok(Self { file, armed: None })
    }

    /// Waits until `at`. Cancel-safe; the newest moment counts.
    pub(crate) async fn until(&mut self, at: Moment) {
        if self.arm(at).is_err() {
            // There is no way known for it to fail; should there be one, the runtime's timer does.
            return tokio::time::sleep(at.since(clock::now())).await;
        }
        while clock::now() < at {
            let Ok(mut guard) = self.file.readable().await else { return };
            // What it rang for may be an earlier moment: then it rings again. Its count is of no interest.
            let _ = guard.get_inner().read(&mut [0; 8]);
            guard.clear_ready();
        }
        self.armed = None;
    }

    fn arm(&mut self, at: Moment) -> io::Result<()> {
        if self.armed == Some(at) {
            return Ok(());
        }
        // Zero would switch it off.
        let nanoseconds = at.as_nanos().max(1);
        let seconds = libc::time_t::try_from(nanoseconds / NANOSECONDS).map_err(io::Error::other)?;
        let rest = libc::c_long::try_from(nanoseconds % NANOSECONDS).map_err(io::Error::other)?;
        let setting = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: seconds, tv_nsec: rest },
        };
        let descriptor = self.file.get_ref().as_raw_fd();
        // SAFETY: `setting` is a valid itimerspec for the whole call, the old value is not asked for, and the
        // descriptor is open.
        let result = unsafe {
            libc::timerfd_settime(
                descriptor,
                libc::TFD_TIMER_ABSTIME,
                &raw const setting,
                std::ptr::null_mut(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_when_it_should_however_often_it_was_set_and_given_up() {
        let mut timer = Timer::open().expect("a timer");
        let begin = clock::now();
        let late = begin + Duration::from_secs(3_600);
        for milliseconds in [40, 5, 20] {
            let given_up = tokio::time::timeout(Duration::from_millis(1), timer.until(late)).await;
            assert!(given_up.is_err(), "an hour has not passed");
            let at = clock::now() + Duration::from_millis(milliseconds);
            timer.until(at).await;
            assert!(clock::now() >= at);
        }
        timer.until(begin).await;
        timer.until(Moment::ZERO).await;
        assert!(clock::now().since(begin) < Duration::from_secs(60));
    }
}
