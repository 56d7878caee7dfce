//! The lab's only `unsafe`: namespaces, packet sockets, time stamps and the clock, each a thin cover of one system call.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mainstay_core::time::Moment;
/// The present on `CLOCK_BOOTTIME`, the clock of every time in the lab.
pub(crate) use mainstay_dataplane::clock::now;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// One instruction of a classic BPF socket filter.
pub(crate) type Instruction = socket2::SockFilter;

/// Turns a system call's result into the crate's usual form.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The wall clock, on which the kernel stamps frames.
fn wall_clock() -> Duration {
    let mut reading = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `reading` is a valid timespec that outlives the call; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut reading) };
    from_timespec(reading)
}

fn from_timespec(time: libc::timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sleeps until `moment`; returns at once if it has passed.
pub(crate) fn sleep_until(moment: Moment) {
    let nanoseconds = moment.as_nanos();
    let wake = libc::timespec {
        tv_sec: libc::time_t::try_from(nanoseconds / 1_000_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
    };
    loop {
        // SAFETY: `wake` is a valid timespec; with TIMER_ABSTIME the remainder pointer is not used.
        let result = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_BOOTTIME,
                libc::TIMER_ABSTIME,
                &raw const wake,
                std::ptr::null_mut(),
            )
        };
        if result != libc::EINTR {
            return;
        }
    }
}

/// Moves the calling thread into the network namespace that `namespace` refers to.
///
/// # Errors
/// The kernel's: `EPERM` without `CAP_SYS_ADMIN`.
pub(crate) fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns changes only the calling thread, and the descriptor is open for the borrow's length.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Raises the calling thread's priority where that is permitted; a measuring thread is better early than fair.
pub(crate) fn prefer_this_thread() {
    // SAFETY: no pointers; on Linux `who` 0 with PRIO_PROCESS is the calling thread. A refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
/// `ESRCH` if there is no such process, `EPERM` if it is not ours.
pub(crate) fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: no pointers. A positive pid names one process, never a group.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// The index of the interface `name` in the calling thread's namespace.
///
/// # Errors
/// `ENODEV` if there is none.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(io::Error::other)?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A packet socket in the calling thread's namespace that sees the frames of `ethertype` that `filter` accepts.
///
/// `interface` 0 means every interface. Frames carry a kernel time stamp; a read gives up after 50 ms.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`; others of the kernel.
pub(crate) fn packet_socket(interface: u32, ethertype: u16, filter: &[Instruction]) -> io::Result<Socket> {
    // Protocol 0 receives nothing until the bind: no frame slips in before the filter is there.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    stamp_arrivals(&socket)?;
    socket.bind(&link_address(interface, ethertype))?;
    Ok(socket)
}

fn stamp_arrivals(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that outlives the call, and its true size is passed.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            socklen(size_of::<libc::c_int>()),
        )
    })
    .map(drop)
}

fn socklen(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).unwrap_or(libc::socklen_t::MAX)
}

/// The address of a link-layer socket: one interface (0 for all) and one EtherType.
fn link_address(interface: u32, ethertype: u16) -> SockAddr {
    let link = libc::sockaddr_ll {
        sll_family: libc::c_ushort::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: libc::c_int::try_from(interface).unwrap_or(0),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is plain data, smaller than sockaddr_storage and of no stricter alignment, and the
    // length given is its own.
    unsafe {
        std::ptr::write((&raw mut storage).cast::<libc::sockaddr_ll>(), link);
        SockAddr::new(storage, socklen(size_of::<libc::sockaddr_ll>()))
    }
}

/// One received frame's facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Bytes written to the buffer.
    pub(crate) length: usize,
    /// When the kernel received it.
    pub(crate) at: Moment,
    /// The interface that it came in by, or went out by.
    pub(crate) interface: u32,
    /// Whether this host sent it.
    pub(crate) outgoing: bool,
}

/// Receives one frame from a packet socket; `None` if none came within the socket's time-out.
///
/// # Errors
/// The kernel's, other than a time-out or an interruption.
pub(crate) fn receive_frame(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll and a valid msghdr.
    let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = MaybeUninit::<[u64; 16]>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = socklen(size_of::<libc::sockaddr_ll>());
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<[u64; 16]>();
    // SAFETY: every pointer in `message` refers to a live local of the stated length.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let Ok(length) = usize::try_from(length) else {
        return nothing_or(io::Error::last_os_error());
    };
    Ok(Some(Arrival {
        length,
        at: arrival_time(&message),
        interface: u32::try_from(from.sll_ifindex).unwrap_or(0),
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
    }))
}

/// A time-out, an interruption or an interface that is down is no error of a receiver that goes on listening.
fn nothing_or<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(None),
        _ => Err(error),
    }
}

/// The kernel's stamp is on the wall clock: its age, taken now, places it on ours. Without a stamp: the present.
fn arrival_time(message: &libc::msghdr) -> Moment {
    let wall = wall_clock();
    // A step of the wall clock in between must not throw a frame far into the past.
    let age = stamp(message).map_or(Duration::ZERO, |at| wall.saturating_sub(at)).min(Duration::from_secs(1));
    now() - age
}

fn stamp(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: `message` was filled in by recvmsg and its control buffer is still alive in the caller.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: `header` is non-null and was returned by the CMSG macros for this message.
        let found = unsafe {
            (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS
        };
        if found {
            // SAFETY: a SCM_TIMESTAMPNS message's data is one timespec, perhaps unaligned.
            let time = unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::timespec>()) };
            return Some(from_timespec(time));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Waits until one of `descriptors` can be read, `limit` at most; says for each whether it can.
///
/// # Errors
/// The kernel's; an interruption counts as nothing to read.
pub(crate) fn wait_readable(descriptors: &[RawFd], limit: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> =
        descriptors.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let milliseconds = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the length describe `polled`, which outlives the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), socklen(polled.len()).into(), milliseconds) };
    if result < 0 {
        nothing_or::<()>(io::Error::last_os_error())?;
    }
    Ok(polled.iter().map(|one| one.revents != 0).collect())
}

/// Whether `descriptor` can be written now, or has failed: for a connect under way, whether it is decided.
pub(crate) fn writable(descriptor: RawFd) -> bool {
    let mut polled = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer refers to one live pollfd, and the time-out is zero.
    unsafe { libc::poll(&raw mut polled, 1, 0) > 0 }
}
