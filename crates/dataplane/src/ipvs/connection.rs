//! The connections that IPVS knows, as `/proc/net/ip_vs_conn` has them: there is no netlink for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One of them, over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddr,
    /// What the client connected to.
    pub(crate) virtual_address: SocketAddr,
    /// Who answers.
    pub(crate) backend: SocketAddr,
    /// Neither side has closed it for good.
    pub(crate) lives: bool,
}

/// Reads the table. What is no connection over TCP is passed over, as its heading is.
pub(crate) fn read(table: &str) -> impl Iterator<Item = Connection> {
    table.lines().filter_map(line)
}

/// `TCP 0A000001 9C40 0A000009 192B 0A000002 192B ESTABLISHED 899`: the protocol, three addresses each with a port, the
/// state, the seconds that are left. IPv6's addresses are in eight groups.
fn line(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|protocol| *protocol == "TCP")?;
    let mut socket_address = || Some(SocketAddr::new(address(words.next()?)?, port(words.next()?)?));
    let (client, virtual_address, backend) = (socket_address()?, socket_address()?, socket_address()?);
    let lives = !["TIME_WAIT", "CLOSE"].contains(&words.next()?);
    Some(Connection { client, virtual_address, backend, lives })
}

fn address(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let number = u32::from_str_radix(word, 16).ok().filter(|_| word.len() == 8)?;
    Some(Ipv4Addr::from(number).into())
}

fn port(word: &str) -> Option<u16> {
    u16::from_str_radix(word, 16).ok()
}
