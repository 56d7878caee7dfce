//! The kernel's memory of connections (`nf_conntrack_netlink`): which go through a VIP to which backend, and forgetting one.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mainstay_core::vip::Vip;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::kernel::{KernelError, TableError};
use crate::linux::message::{Attributes, Message, Request, attributes};
use crate::linux::route::Route;
use crate::nftables::rows::address;
use crate::nftables::{IPV4, IPV6, TCP};

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_NEW`, `_GET` and `_DELETE`.
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_FILTER`.
const FIRST: u16 = 1;
const ANSWER: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const TRANSPORT: u16 = 2;
/// `CTA_PROTO_NUM`, `_SRC_PORT`, `_DST_PORT`.
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER_ORIG_FLAGS`, `CTA_FILTER_REPLY_FLAGS`; `CTA_FILTER_F_CTA_PROTO_NUM`, `_PROTO_DST_PORT`. Not by
/// address: for IPv6, Linux 6.18 tells those that differ (`ctnetlink_filter_match_tuple` compares the wrong way round).
const FILTER_FIRST: u16 = 1;
const FILTER_ANSWER: u16 = 2;
const BY_PORT: u32 = 1 << 3 | 1 << 5;
/// Bytes of `struct nfgenmsg`.
const HEADER: usize = 4;

const READING: &str = "reading the connections that the kernel tracks";

/// A connection through a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) client: SocketAddr,
    /// What the client connected to.
    pub(crate) virtual_address: SocketAddr,
    /// Who answers; the virtual address itself where nothing was translated.
    pub(crate) backend: SocketAddr,
    /// What the kernel knows it by.
    first: Vec<u8>,
    id: Option<Vec<u8>>,
}

/// The socket to it.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Route,
}

impl Conntrack {
    pub(crate) fn open() -> Result<Self, TableError> {
        Ok(Self { socket: Route::open_to(NETLINK_NETFILTER).map_err(TableError::Socket)? })
    }

    /// The TCP connections to `port` of one of `vips`. Kernels before 5.8 tell all of them, and they are sorted out here.
    pub(crate) fn entries(&mut self, vips: &BTreeSet<Vip>, port: u16) -> Result<Vec<Entry>, KernelError> {
        let mut entries = Vec::new();
        for (family, is_ipv4) in [(IPV4, true), (IPV6, false)] {
            if vips.iter().any(|vip| vip.is_ipv4() == is_ipv4) {
                self.socket.dump(about(family, port), READING, |message| {
                    let to = |entry: &Entry| (entry.virtual_address.ip(), entry.virtual_address.port());
                    let ours = |(vip, to)| to == port && vips.contains(&vip);
                    entries.extend(read(&message).filter(|entry| ours(to(entry))));
                })?;
            }
        }
        Ok(entries)
    }

    /// Forgets a connection. Whether it was there.
    pub(crate) fn forget(&mut self, entry: &Entry) -> Result<bool, KernelError> {
        let what = "ending a connection";
        let family = if entry.client.is_ipv4() { IPV4 } else { IPV6 };
        let request = Request::new(DELETE, libc::NLM_F_ACK, &[family, 0, 0, 0]);
        let request = request.with(FIRST | 0x8000, &entry.first);
        let request = entry.id.iter().fold(request, |request, id| request.with(ID, id));
        match self.socket.change(request, what)? {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(cause) => Err(KernelError::Refused { what: what.to_owned(), cause: explained(cause) }),
        }
    }
}

/// The question for all TCP connections to that port.
fn about(family: u8, port: u16) -> Request {
    let transport = Attributes::default().with(NUMBER, &[TCP]).with(DESTINATION_PORT, &port.to_be_bytes());
    let tuple = Attributes::default().nested(TRANSPORT, &transport);
    let filter = Attributes::default()
        .with(FILTER_FIRST, &BY_PORT.to_ne_bytes())
        .with(FILTER_ANSWER, &0_u32.to_ne_bytes());
    let request = Request::new(GET, libc::NLM_F_DUMP, &[family, 0, 0, 0]);
    request.with_all(&Attributes::default().nested(FIRST, &tuple).nested(FILTER, &filter))
}

/// Reads one of them; `None` if it is no TCP connection.
fn read(message: &Message<'_>) -> Option<Entry> {
    let body = message.body.get(HEADER..).filter(|_| message.kind == NEW)?;
    let (first, answer) = (find(body, FIRST)?, find(body, ANSWER)?);
    let ((client, virtual_address), (backend, _)) = (tuple(first)?, tuple(answer)?);
    let (first, id) = (first.to_vec(), find(body, ID).map(<[u8]>::to_vec));
    Some(Entry { client, virtual_address, backend, first, id })
}

/// From where, and to where.
fn tuple(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, transport) = (find(bytes, ADDRESSES)?, find(bytes, TRANSPORT)?);
    // `CTA_IP_V4_SRC` and `_DST`, or `CTA_IP_V6_SRC` and `_DST`.
    let of = |kinds: [u16; 2]| kinds.into_iter().find_map(|kind| find(addresses, kind)).and_then(address);
    let port = |kind| Some(u16::from_be_bytes(find(transport, kind)?.try_into().ok()?));
    find(transport, NUMBER).filter(|number| *number == [TCP])?;
    let (source, destination): (IpAddr, IpAddr) = (of([1, 3])?, of([2, 4])?);
    Some((SocketAddr::new(source, port(SOURCE_PORT)?), SocketAddr::new(destination, port(DESTINATION_PORT)?)))
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn explained(cause: io::Error) -> io::Error {
    match cause.raw_os_error() {
        Some(libc::EPERM) => io::Error::new(cause.kind(), format!("{cause}; give the agent CAP_NET_ADMIN")),
        _ => cause,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linux::message::messages;

    fn addresses(v6: bool, from: u8, to: u8) -> Attributes {
        let octets = |host: u8| if v6 { [&[0xfd; 15][..], &[host]].concat() } else { vec![10, 0, 0, host] };
        let (source, destination) = if v6 { (3, 4) } else { (1, 2) };
        Attributes::default().with(source, &octets(from)).with(destination, &octets(to))
    }

    fn of(v6: bool, (from, to): (u8, u8), transport: u8, ports: (u16, u16)) -> Attributes {
        let transport = Attributes::default()
            .with(NUMBER, &[transport])
            .with(SOURCE_PORT, &ports.0.to_be_bytes())
            .with(DESTINATION_PORT, &ports.1.to_be_bytes());
        Attributes::default().nested(ADDRESSES, &addresses(v6, from, to)).nested(TRANSPORT, &transport)
    }

    fn told(v6: bool, transport: u8) -> Vec<u8> {
        let first = of(v6, (1, 9), transport, (40_000, 6443));
        let answer = of(v6, (2, 3), transport, (6444, 50_000));
        let all = Attributes::default().nested(FIRST, &first).nested(ANSWER, &answer).with(ID, &[1, 2, 3, 4]);
        Request::new(NEW, 0, &[IPV4, 0, 0, 0]).with_all(&all).finish(1)
    }

    #[test]
    fn a_connection_is_read_from_both_of_its_directions() {
        for v6 in [false, true] {
            let bytes = told(v6, TCP);
            let entry = read(&messages(&bytes).next().expect("a message")).expect("a connection");
            let at = |host: u8, port| {
                let octets = if v6 { [&[0xfd; 15][..], &[host]].concat() } else { vec![10, 0, 0, host] };
                SocketAddr::new(address(&octets).expect("an address"), port)
            };
            assert_eq!(
                (entry.client, entry.virtual_address, entry.backend),
                (at(1, 40_000), at(9, 6443), at(2, 6444))
            );
            assert_eq!(entry.id.as_deref(), Some(&[1, 2, 3, 4][..]));
        }
        let datagram = told(false, 17);
        assert_eq!(read(&messages(&datagram).next().expect("a message")), None, "UDP");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&bytes) {
                let _ = read(&Message { kind: NEW, ..message });
            }
        }
    }
}
