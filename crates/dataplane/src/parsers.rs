//! The parsers of what the kernel says, opened for tests that feed them anything (`crates/lab/tests/fuzz`). The data
//! plane itself is the only other user.

use std::net::IpAddr;

use mainstay_core::input::Link;
use mainstay_core::names::Mac;

use crate::filter::TABLE;
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
