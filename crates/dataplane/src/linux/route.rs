//! A netlink socket for requests: ask, and wait for the answer, but not for ever. Links, addresses and routes are asked
//! for by it (`rtnetlink`), and, opened to `NETLINK_NETFILTER`, tables of nftables.
//!
//! It blocks, on purpose, and lives on a thread of its own: the kernel serialises changes under one lock (`rtnl`),
//! which a busy host can hold for long, and whoever asks waits inside the system call. No announcement waits with it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::kernel::KernelError;
use crate::linux::message::{Message, Request, messages, u32_at};

/// How long the kernel may take to answer once it has the request.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// More than the kernel's largest datagram of a dump (32 KiB).
const BUFFER: usize = 64 * 1024;

/// What any kernel's socket sends at once unasked, in bytes.
const SENT_AT_ONCE: usize = 64 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The socket.
#[derive(Debug)]
pub(crate) struct Route {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Route {
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_to(NETLINK_ROUTE)
    }

    /// One for another part of the kernel, by its `NETLINK_*`.
    pub(crate) fn open_to(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_WITHIN))?;
        // An error does not bring back all that was asked. Kernels before 4.3 do not know it, and fill the buffer.
        let _ = socket.set_cap_ack(true);
        // Lets the kernel filter dumps by interface. Kernels before 4.20 do not know it: then we filter.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Makes one change and waits for the kernel's word. The inner result is that word.
    pub(crate) fn change(
        &mut self,
        request: Request,
        what: &str,
    ) -> Result<Result<(), io::Error>, KernelError> {
        let mut word = Ok(());
        self.exchange(request, what, |message| match message.kind {
            NLMSG_ERROR => {
                word = code(message.body);
                false
            }
            _ => true,
        })?;
        Ok(word)
    }

    /// Asks for a list; `each` sees every message of it.
    pub(crate) fn dump(
        &mut self,
        request: Request,
        what: &str,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), KernelError> {
        let mut word = Ok(());
        self.exchange(request, what, |message| match message.kind {
            NLMSG_DONE | NLMSG_ERROR => {
                word = code(message.body);
                false
            }
            _ => {
                each(message);
                true
            }
        })?;
        word.map_err(|cause| KernelError::Refused { what: what.to_owned(), cause })
    }

    /// Sends all of them at once, and waits for the kernel's word: of the one that fails first, or of the one that asks
    /// for an acknowledgment.
    pub(crate) fn transact(&mut self, requests: Vec<Request>, what: &str) -> Result<(), KernelError> {
        let broken = |cause| KernelError::Broken { what: what.to_owned(), cause };
        let refused = |cause| KernelError::Refused { what: what.to_owned(), cause };
        let before = self.sequence;
        let number = |request: Request| {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish(self.sequence)
        };
        let bytes: Vec<u8> = requests.into_iter().flat_map(number).collect();
        let count = self.sequence.wrapping_sub(before);
        if bytes.len() > SENT_AT_ONCE {
            self.make_room(bytes.len());
        }
        // What does not fit is the kernel's word as well.
        self.socket.send(&bytes, 0).map_err(refused)?;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0).map_err(in_words).map_err(broken)?;
            let ours = |one: &Message<'_>| (1..=count).contains(&one.sequence.wrapping_sub(before));
            let word = messages(&self.buffer).filter(ours).find(|message| message.kind == NLMSG_ERROR);
            if let Some(word) = word {
                return code(word.body).map_err(refused);
            }
        }
    }

    /// Lets the socket send so many bytes at once, where we may. Where we may not, sending them fails.
    fn make_room(&self, bytes: usize) {
        let bytes = libc::c_int::try_from(bytes.saturating_mul(2)).unwrap_or(libc::c_int::MAX);
        let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
        let descriptor = self.socket.as_raw_fd();
        // SAFETY: the option is an `int`, which lives through the call and is `length` bytes long; the descriptor is open.
        let _ = unsafe {
            libc::setsockopt(
                descriptor,
                libc::SOL_SOCKET,
                libc::SO_SNDBUFFORCE,
                (&raw const bytes).cast(),
                length,
            )
        };
    }

    /// Sends, and reads until `more` says that the answer is complete.
    fn exchange(
        &mut self,
        request: Request,
        what: &str,
        mut more: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), KernelError> {
        let broken = |cause| KernelError::Broken { what: what.to_owned(), cause };
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.socket.send(&request.finish(sequence), 0).map_err(broken)?;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0).map_err(in_words).map_err(broken)?;
            // What was left over from a request that timed out has another number.
            for message in messages(&self.buffer).filter(|message| message.sequence == sequence) {
                if !more(message) {
                    return Ok(());
                }
            }
        }
    }
}

/// A time-out on a socket is `WouldBlock`, which tells a reader nothing.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, format!("the kernel did not answer in {ANSWER_WITHIN:?}"))
        }
        _ => error,
    }
}

/// The result that an acknowledgment or the end of a dump carries: zero, or a negative error number.
fn code(body: &[u8]) -> Result<(), io::Error> {
    match u32_at(body, 0).map_or(0, u32::cast_signed) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}
