//! TCP connects that are closed by RST: they leave nothing behind, neither here nor at the server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mainstay_core::time::Moment;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::log::Log;
use crate::sys;

/// Connects under way, oldest first.
#[derive(Debug)]
pub(super) struct Connects {
    to: SocketAddr,
    patience: Duration,
    open: VecDeque<(Moment, Option<Socket>)>,
}

impl Connects {
    pub(super) fn new(to: SocketAddr, patience: Duration) -> Self {
        Self { to, patience, open: VecDeque::new() }
    }

    /// Begins one connect; the calling thread does not wait.
    pub(super) fn begin(&mut self) {
        let begun = sys::now();
        self.open.push_back((begun, self.connect().ok()));
    }

    fn connect(&self) -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&SockAddr::from(self.to)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    /// Notes those that are decided: connected or refused is an answer, anything else and too late is a loss.
    pub(super) fn collect(&mut self, log: &mut Log) {
        let patience = self.patience;
        self.open.retain(|(begun, socket)| {
            let outcome = match socket {
                None => Some(false),
                Some(_) if sys::now().since(*begun) > patience => Some(false),
                Some(socket) => answered(socket),
            };
            if let Some(answered) = outcome {
                log.connected(*begun, answered);
            }
            outcome.is_none()
        });
    }
}

/// Whether the connect was answered; `None` while it is under way.
fn answered(socket: &Socket) -> Option<bool> {
    if !sys::writable(socket.as_raw_fd()) {
        return None;
    }
    match socket.take_error() {
        Ok(None) => Some(true),
        Ok(Some(error)) => Some(error.raw_os_error() == Some(libc::ECONNREFUSED)),
        Err(_) => Some(false),
    }
}
