//! A netlink socket for requests: ask, and wait for the answer, but not for ever.
//!
//! It blocks, on purpose, and lives on a thread of its own: the kernel serialises changes under one lock (`rtnl`),
//! which a busy host can hold for long, and whoever asks waits inside the system call. No announcement waits with it.

use std::io;
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
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_WITHIN))?;
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
