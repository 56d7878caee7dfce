//! Raw Ethernet sockets (`man 7 packet`): one for ARP, one for neighbour discovery, each bound to the VIP's
//! interface, with a filter in the kernel and the kernel's time stamps.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use libc::{c_int, c_void, sock_filter, socklen_t};
use mainstay_core::names::Mac;
use mainstay_core::time::Moment;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::linux::clock;
use crate::linux::monitor::read_now;

/// Room for a burst of frames while the loop is busy, in bytes. Only frames that passed the filter count.
const SOCKET_BUFFER: usize = 1024 * 1024;
/// Room for the control messages of one frame: time stamps of both kinds need 96 bytes, an error report 48.
const CONTROL: usize = 256;

/// `SOF_TIMESTAMPING_*` (`Documentation/networking/timestamping.rst`): ask for the moment a frame is handed to the
/// driver; report such moments; leave the frame itself out of the report.
const STAMP_SENT: u32 = 1 << 1;
const REPORT_SOFTWARE: u32 = 1 << 4;
const REPORT_STAMP_ONLY: u32 = 1 << 11;

/// One socket on one interface.
#[derive(Debug)]
pub(crate) struct Packet {
    socket: AsyncFd<Socket>,
    index: c_int,
    groups: BTreeSet<Mac>,
}

/// One frame as it was read into the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// When the kernel took it in; `None` if it did not say.
    pub(crate) at: Option<Moment>,
    /// Whether this host sent it.
    pub(crate) outgoing: bool,
}

impl Packet {
    /// A socket for frames of `ethertype` on the interface `index`. It hears nothing until it is told what to hear.
    pub(crate) fn open(ethertype: u16, index: u32) -> io::Result<Self> {
        let index = c_int::try_from(index).map_err(io::Error::other)?;
        // Protocol zero: it hears nothing before it is bound, so the filter is there before the first frame.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        // Where it is not to be had, what is sent is stamped by us.
        let _ = set_option(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            &(REPORT_SOFTWARE | REPORT_STAMP_ONLY),
        );
        // Since Linux 4.20; before, each frame says for itself that it is outgoing.
        let _ = set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1);
        attach(&socket, &[sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }])?;
        socket.bind(&address(ethertype, index)?)?;
        // SAFETY: the socket is owned by the AsyncFd from here on, is never taken out of it, and closes only when it
        // is dropped; so its descriptor stays open and the same for as long as it is registered.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
        Ok(Self { socket, index, groups: BTreeSet::new() })
    }

    /// Replaces the filter; there is no moment without one.
    pub(crate) fn filter(&self, program: &[sock_filter]) -> io::Result<()> {
        attach(self.socket.get_ref(), program)
    }

    /// Has the device pass frames to exactly these multicast addresses besides its own: a host that does not wear a
    /// VIP is no member of its solicited-node group, and would not hear who asks for it.
    pub(crate) fn join(&mut self, groups: BTreeSet<Mac>) -> io::Result<()> {
        let change = |option, group: &Mac| {
            let mut bytes = [0; 8];
            bytes[..6].copy_from_slice(&group.0);
            let kind = libc::c_ushort::try_from(libc::PACKET_MR_MULTICAST).unwrap_or_default();
            let request =
                libc::packet_mreq { mr_ifindex: self.index, mr_type: kind, mr_alen: 6, mr_address: bytes };
            set_option(self.socket.get_ref(), libc::SOL_PACKET, option, &request)
        };
        for group in groups.difference(&self.groups) {
            change(libc::PACKET_ADD_MEMBERSHIP, group)?;
        }
        for group in self.groups.difference(&groups) {
            change(libc::PACKET_DROP_MEMBERSHIP, group)?;
        }
        self.groups = groups;
        Ok(())
    }

    /// Waits until there may be a frame; then [`Self::receive`] until there is none. Cancel-safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reads one frame into `buffer`; `WouldBlock` when there is none.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        read_now(&self.socket, |socket| receive(socket, buffer))
    }

    /// How many frames passed the filter and found no room, since this was asked last (`packet(7)`, `PACKET_STATISTICS`).
    /// A kernel that does not say is taken to have missed none.
    pub(crate) fn missed(&self) -> u32 {
        // SAFETY: all-zero is a valid value of it: two numbers.
        let mut statistics = unsafe { mem::zeroed::<libc::tpacket_stats>() };
        let mut length = length_of::<libc::tpacket_stats>();
        // SAFETY: the pointers are to live, writable locals, the first of the length that the second says, and the
        // descriptor is open.
        let result = unsafe {
            libc::getsockopt(
                self.socket.get_ref().as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result == 0 { statistics.tp_drops } else { 0 }
    }

    /// Hands one frame to the device.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.get_ref().send(frame).map(|_| ())
    }

    /// Hands one frame to the device, and says when the driver took it: by the kernel's stamp where it is there at
    /// once, which it is unless the frame has to queue or the driver takes no stamps; else by our own clock just
    /// before, for an answer may be here before the call returns.
    pub(crate) fn send_stamped(&self, frame: &[u8]) -> io::Result<Moment> {
        let socket = self.socket.get_ref();
        while sent_stamp(socket).is_some() {}
        let before = clock::now();
        send_asking(socket, frame)?;
        let stamped = sent_stamp(socket).map(clock::moment_of);
        Ok(stamped.unwrap_or(before).max(before))
    }
}

/// Sends, and asks for a stamp of this frame alone.
fn send_asking(socket: &Socket, frame: &[u8]) -> io::Result<()> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast::<c_void>(), iov_len: frame.len() };
    // SAFETY: all-zero is a valid value: numbers and null pointers.
    let mut header = unsafe { mem::zeroed::<libc::msghdr>() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `control` is zeroed, aligned for a `cmsghdr`, and much larger than the one message with four bytes of
    // data that is written into it; `sendmsg` reads it and `frame`, both alive, and writes nothing.
    let sent = unsafe {
        let four = length_of::<u32>();
        header.msg_controllen = usize::try_from(libc::CMSG_SPACE(four)).unwrap_or(CONTROL);
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SO_TIMESTAMPING;
        (*message).cmsg_len = usize::try_from(libc::CMSG_LEN(four)).unwrap_or(CONTROL);
        libc::CMSG_DATA(message).cast::<u32>().write_unaligned(STAMP_SENT);
        libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The oldest stamp of a frame sent that has not been read, in nanoseconds of the wall clock.
fn sent_stamp(socket: &Socket) -> Option<u64> {
    let mut control = Control([0; CONTROL]);
    // SAFETY: all-zero is a valid value: numbers and null pointers.
    let mut header = unsafe { mem::zeroed::<libc::msghdr>() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    // SAFETY: the one pointer in `header` is to a live, writable local of the length given beside it.
    let read = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if read < 0 { None } else { stamp(&header, libc::SCM_TIMESTAMPING) }
}

fn attach(socket: &Socket, program: &[sock_filter]) -> io::Result<()> {
    let program: Vec<_> =
        program.iter().map(|one| SockFilter::new(one.code, one.jt, one.jf, one.k)).collect();
    socket.attach_filter(&program)
}

/// `struct sockaddr_ll` for all frames of `ethertype` on the interface.
fn address(ethertype: u16, index: c_int) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    // SAFETY: `storage` and `length` point to a zeroed `sockaddr_storage` and its length, both writable; it is larger
    // than and aligned for a `sockaddr_ll`, whose fields are all plain numbers; the length is set to what was written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = family;
            (*link).sll_protocol = ethertype.to_be();
            (*link).sll_ifindex = index;
            *length = length_of::<libc::sockaddr_ll>();
            Ok(())
        })
    }?;
    Ok(address)
}

fn set_option<T>(socket: &Socket, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let pointer: *const T = value;
    // SAFETY: `pointer` is valid for reads of `size_of::<T>()` bytes for the whole call, and the descriptor is open.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer.cast(), length_of::<T>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast::<c_void>(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid value of both: numbers and null pointers.
    let (mut from, mut header) =
        unsafe { (mem::zeroed::<libc::sockaddr_ll>(), mem::zeroed::<libc::msghdr>()) };
    header.msg_name = (&raw mut from).cast();
    header.msg_namelen = length_of::<libc::sockaddr_ll>();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    // SAFETY: every pointer in `header` is to a live, writable local (or the caller's buffer) of the length given
    // beside it, and none is used by anyone else during the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(Received {
        length: length.min(buffer.len()),
        at: stamp(&header, libc::SCM_TIMESTAMPNS).map(clock::moment_of),
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
    })
}

/// Aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// The kernel's time stamp of this kind among the control messages, in nanoseconds of the wall clock.
fn stamp(header: &libc::msghdr, kind: c_int) -> Option<u64> {
    // SAFETY: `header` is as `recvmsg` left it: its control buffer holds `msg_controllen` bytes of whole control
    // messages, aligned for `cmsghdr`; the macros stay inside it. The stamp is read without assuming its alignment,
    // and only from a message of its type, whose data is a `timespec` (SCM_TIMESTAMPNS) or begins with one
    // (SCM_TIMESTAMPING: three, of which the first is the software's).
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == kind {
                let time = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                return Some(clock::to_nanos(time.tv_sec, time.tv_nsec));
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

fn length_of<T>() -> socklen_t {
    socklen_t::try_from(mem::size_of::<T>()).unwrap_or(socklen_t::MAX)
}
