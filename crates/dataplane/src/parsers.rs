//! The parsers of what the kernel says, opened for tests that feed them anything (`crates/lab/tests/fuzz`). The data
//! plane itself is the only other user.

use std::net::{IpAddr, SocketAddr};

use mainstay_core::input::Link;
use mainstay_core::names::Mac;

use crate::filter::TABLE;
use crate::ipvs::{read_connections, read_destination, read_family, read_service};
use crate::linux::message::messages;
use crate::linux::{addresses, links};
use crate::nftables::Found;
use crate::plan::Present;

/// What one netlink message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Of a link.
    Link {
        /// It went.
        gone: bool,
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Its hardware address.
        mac: Option<Mac>,
        /// Its largest packet, in bytes.
        mtu: u32,
        /// Whether frames can pass.
        state: Link,
    },
    /// Of an address.
    Address {
        /// Its interface's index.
        index: u32,
        /// The address.
        present: Present,
    },
    /// Of a default route of the main table.
    DefaultRoute {
        /// Its interface's index.
        interface: u32,
        /// The next hop.
        gateway: Option<IpAddr>,
    },
}

/// What the messages of one netlink datagram say of links, addresses and default routes.
#[must_use]
pub fn netlink(datagram: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    for message in messages(datagram) {
        said.extend(links::parse(&message).map(|link| Said::Link {
            gone: link.gone,
            index: link.index,
            name: link.name,
            mac: link.mac,
            mtu: link.mtu,
            state: link.state,
        }));
        said.extend(
            addresses::parse(&message)
                .map(|address| Said::Address { index: address.index, present: address.present }),
        );
        said.extend(
            links::parse_route(&message)
                .map(|route| Said::DefaultRoute { interface: route.interface, gateway: route.gateway }),
        );
    }
    said
}

/// What the messages of one netlink datagram say of the filter's table: its comments and chains, and the elements of its
/// sets.
#[must_use]
pub fn nftables(datagram: &[u8]) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut found, mut texts) = (Found::default(), Vec::new());
    for message in messages(datagram) {
        texts.extend(Found::of_table(&message, TABLE).and_then(|table| table.comment));
        found.take_rule(&message, TABLE);
        found.take_elements(&message, TABLE);
    }
    texts.extend(found.rules.into_iter().flat_map(|rule| [rule.chain, rule.comment]));
    (texts, found.elements.into_values().flatten().map(|(key, _)| key).collect())
}

/// What the messages of one generic netlink datagram say of IPVS: services and destinations, and schedulers' names. A
/// destination without a family is taken for one of `of`.
#[must_use]
pub fn ipvs(datagram: &[u8], of: SocketAddr) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut places, mut names) = (Vec::new(), Vec::new());
    for message in messages(datagram) {
        let _ = read_family(&message);
        if let Some((at, service)) = read_service(&message) {
            places.push(at);
            names.push(service.scheduler);
        }
        places.extend(read_destination(&message, of).map(|(at, _)| at));
    }
    (places, names)
}

/// The clients, virtual addresses and backends in the table of IPVS's connections.
#[must_use]
pub fn ipvs_connections(table: &str) -> Vec<[SocketAddr; 3]> {
    read_connections(table).map(|one| [one.client, one.virtual_address, one.backend]).collect()
}
