//! The kernel's own news of links and addresses.
//!
//! What it says of an address that leaves (seen on Linux 6.18): `RTM_DELADDR` carries `IFA_CACHEINFO` with the valid
//! lifetime that was left in whole seconds, rounded up; zero when it expired, more when somebody deleted it. News may
//! be lost (ENOBUFS, when the kernel tells faster than we read): then everything is read anew.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use tokio::io::unix::AsyncFd;

use crate::linux::addresses::{self, AddressMessage};
use crate::linux::links::{self, LinkMessage};
use crate::linux::message::messages;
use crate::plan::Owner;

const BUFFER: usize = 64 * 1024;
/// Room for a burst of news while the loop is busy, in bytes.
const SOCKET_BUFFER: usize = 1024 * 1024;

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A link changed, came or went.
    Link(LinkMessage),
    /// An address came that is not ours, or changed.
    AddressCame(AddressMessage),
    /// An address went.
    AddressGone(AddressMessage),
    /// News was lost: read everything anew.
    Lost,
}

/// The subscription. Made before the first read, so that nothing falls between the two.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Monitor {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind_auto()?;
        socket.set_rx_buf_sz(SOCKET_BUFFER)?;
        for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
            socket.add_membership(group)?;
        }
        // SAFETY: the socket is owned by the AsyncFd from here on, is never taken out of it, and closes only when it
        // is dropped; so its descriptor stays open and the same for as long as it is registered.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Waits until there may be news; then [`Self::read`] until it has none. Cancel-safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// One datagram's news; `None` when there is no more.
    pub(crate) fn read(&mut self) -> io::Result<Option<Vec<News>>> {
        self.buffer.clear();
        let buffer = &mut self.buffer;
        match read_now(&self.socket, |socket| socket.recv(buffer, libc::MSG_TRUNC)) {
            Ok(length) if length > self.buffer.len() => Ok(Some(vec![News::Lost])),
            Ok(_) => Ok(Some(messages(&self.buffer).filter_map(|message| news(&message)).collect())),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Some(vec![News::Lost])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads at once, whether or not the runtime has been told yet that there is something to read, and lets the runtime
/// know when there is not.
pub(crate) fn read_now<T: std::os::fd::AsRawFd, R>(
    socket: &AsyncFd<T>,
    mut read: impl FnMut(&T) -> io::Result<R>,
) -> io::Result<R> {
    let mut asked = false;
    let result = socket.try_io(tokio::io::Interest::READABLE, |inner| {
        asked = true;
        read(inner)
    });
    if asked { result } else { read(socket.get_ref()) }
}

fn news(message: &crate::linux::message::Message<'_>) -> Option<News> {
    match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => links::parse(message).map(News::Link),
        // Of ours, only our own refreshes tell.
        libc::RTM_NEWADDR => {
            addresses::parse(message).filter(|one| one.present.owner == Owner::Other).map(News::AddressCame)
        }
        libc::RTM_DELADDR => addresses::parse(message).map(News::AddressGone),
        _ => None,
    }
}
