//! Asks the client of a connection that was ended for a sign of life: a bare acknowledgment, in the name of the address it is
//! connected to, with numbers out of its window. The client answers with its own numbers (RFC 9293 section 3.10.7.4), the
//! host that has the address knows no such connection, and answers that with the reset that a client believes (RFC 5961
//! section 3.2 takes only one with the exact number). A reset sent at once would need that number.
//!
//! Without it, a client that waits for an answer waits until its own keepalive, or for ever.

use std::io;
use std::net::SocketAddr;

use mainstay_wire::tcp;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Sends one.
///
/// # Errors
/// When it cannot be sent: then the client finds out when it sends something itself.
pub(crate) fn client(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let packet = tcp::acknowledgment(from, to);
    // For a raw socket the port is the protocol, and has to be none.
    socket.send_to(&packet, &SockAddr::from(SocketAddr::new(to.ip(), 0))).map(drop)
}
