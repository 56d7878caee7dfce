//! Who holds which address, told by the kernels themselves: never by the agents' own word.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mainstay_core::time::Moment;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::Socket;

use super::{Host, lock};
use crate::{netlink, sys};

/// `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR` (rtnetlink.h).
const ADDRESS_GROUPS: [u32; 2] = [5, 9];

/// How long the watching thread may take to notice that it shall end.
const POLL: Duration = Duration::from_millis(50);

/// An address that a host's kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix_length: u8,
    /// The device's index in the host.
    pub interface: u32,
    /// The remaining valid lifetime; `None` is for ever.
    pub valid: Option<Duration>,
    /// The remaining preferred lifetime; `None` is for ever.
    pub preferred: Option<Duration>,
}

/// A host began or ceased to have an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderChange {
    /// When the kernel's notice was read.
    pub at: Moment,
    /// The host's name.
    pub host: String,
    /// The address.
    pub address: IpAddr,
    /// What it is now.
    pub presence: Presence,
}

/// Whether a host has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// On one of its devices at least.
    Held,
    /// On none.
    Absent,
}

/// A time during which at least two hosts held one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The first moment.
    pub from: Moment,
    /// The first moment after it.
    pub to: Moment,
    /// Who held it, all of that time.
    pub hosts: BTreeSet<String>,
}

/// Watches the addresses of some hosts, and keeps the whole history. Dropping it ends the watch.
#[derive(Debug)]
pub struct HolderWatch {
    history: Arc<Mutex<History>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HolderWatch {
    /// Watches `hosts`. When it returns, the present state is known and no change is missed from then on.
    ///
    /// # Errors
    /// If a host's kernel cannot be asked.
    pub fn start(hosts: &[Host]) -> Result<Self> {
        let history = Arc::new(Mutex::new(History::default()));
        let mut watched = Vec::new();
        for host in hosts {
            let socket = host.enter(|| netlink::open(&ADDRESS_GROUPS))??;
            // Subscribed first, then asked: nothing falls in between.
            resynchronise(&socket, host.name(), &history)?;
            watched.push((host.name().to_owned(), socket));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&history), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("holder-watch".to_owned())
            .spawn(move || watch(&watched, &shared, &ended))
            .context("cannot start the watching thread")?;
        Ok(Self { history, stop, thread: Some(thread) })
    }

    /// Every change so far, in order. The addresses found at the start are its first entries.
    #[must_use]
    pub fn timeline(&self) -> Vec<HolderChange> {
        lock(&self.history).changes.clone()
    }

    /// The changes of one address.
    #[must_use]
    pub fn timeline_of(&self, address: IpAddr) -> Vec<HolderChange> {
        self.timeline().into_iter().filter(|change| change.address == address).collect()
    }

    /// Who holds `address` now.
    #[must_use]
    pub fn holders(&self, address: IpAddr) -> BTreeSet<String> {
        self.holders_at(address, Moment::from_nanos(u64::MAX))
    }

    /// Who held `address` at `moment` (changes at that very moment included).
    #[must_use]
    pub fn holders_at(&self, address: IpAddr, moment: Moment) -> BTreeSet<String> {
        let mut holders = BTreeSet::new();
        for change in self.timeline_of(address).iter().take_while(|change| change.at <= moment) {
            change.replay(&mut holders);
        }
        holders
    }

    /// The times in `[from, to)` during which two or more hosts held `address`, cut at each change of that set.
    #[must_use]
    pub fn overlaps(&self, address: IpAddr, from: Moment, to: Moment) -> Vec<Overlap> {
        overlaps(&self.timeline_of(address), from, to)
    }
}

impl Drop for HolderWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the holder watch's thread panicked: its history is incomplete");
        }
    }
}

impl HolderChange {
    fn replay(&self, holders: &mut BTreeSet<String>) {
        match self.presence {
            Presence::Held => holders.insert(self.host.clone()),
            Presence::Absent => holders.remove(&self.host),
        };
    }
}

fn overlaps(changes: &[HolderChange], from: Moment, to: Moment) -> Vec<Overlap> {
    let mut found = Vec::new();
    let mut holders = BTreeSet::new();
    let mut since = from;
    let mut close = |holders: &BTreeSet<String>, since: Moment, until: Moment| {
        if holders.len() > 1 && until > since {
            found.push(Overlap { from: since, to: until, hosts: holders.clone() });
        }
    };
    for change in changes {
        let at = change.at.clamp(from, to.max(from));
        close(&holders, since, at);
        change.replay(&mut holders);
        since = at;
    }
    close(&holders, since, to);
    found
}

/// What is on which device of which host, and how it came about.
#[derive(Debug, Default)]
struct History {
    present: BTreeMap<String, BTreeSet<(IpAddr, u32)>>,
    changes: Vec<HolderChange>,
}

impl History {
    fn set(&mut self, host: &str, held: (IpAddr, u32), presence: Presence) {
        let present = self.present.entry(host.to_owned()).or_default();
        let on_a_device = |present: &BTreeSet<(IpAddr, u32)>| present.iter().any(|one| one.0 == held.0);
        let before = on_a_device(present);
        match presence {
            Presence::Held => present.insert(held),
            Presence::Absent => present.remove(&held),
        };
        // A refresh of a lifetime is announced like a new address: only a real change counts.
        if before != on_a_device(present) {
            self.changes.push(HolderChange {
                at: sys::now(),
                host: host.to_owned(),
                address: held.0,
                presence,
            });
        }
    }

    fn note(&mut self, host: &str, payload: &NetlinkPayload<RouteNetlinkMessage>) {
        let (message, presence) = match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                (message, Presence::Held)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                (message, Presence::Absent)
            }
            _ => return,
        };
        if let Some(address) = address_of(message) {
            self.set(host, (address, message.header.index), presence);
        }
    }

    /// Makes `host`'s state what a fresh dump says, after notices were lost.
    fn replace(&mut self, host: &str, found: &BTreeSet<(IpAddr, u32)>) {
        let before = self.present.get(host).cloned().unwrap_or_default();
        for &gone in before.difference(found) {
            self.set(host, gone, Presence::Absent);
        }
        for &new in found.difference(&before) {
            self.set(host, new, Presence::Held);
        }
    }
}

/// IPv4's own address is `IFA_LOCAL`; IPv6 has only `IFA_ADDRESS` (rtnetlink(7)).
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn held_address(message: &AddressMessage) -> Option<HeldAddress> {
    let lifetime = |seconds: u32| (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()));
    let cache = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::CacheInfo(cache) => Some(*cache),
        _ => None,
    });
    Some(HeldAddress {
        address: address_of(message)?,
        prefix_length: message.header.prefix_len,
        interface: message.header.index,
        valid: cache.and_then(|cache| lifetime(cache.ifa_valid)),
        preferred: cache.and_then(|cache| lifetime(cache.ifa_preferred)),
    })
}

/// Every address in the calling thread's namespace.
pub(super) fn dump() -> Result<Vec<HeldAddress>> {
    let socket = netlink::open(&[])?;
    let mut found = Vec::new();
    read_dump(&socket, |payload| {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) = payload {
            found.extend(held_address(message));
        }
    })?;
    Ok(found)
}

fn read_dump(socket: &Socket, mut each: impl FnMut(&NetlinkPayload<RouteNetlinkMessage>)) -> Result<()> {
    netlink::ask_addresses(socket)?;
    loop {
        for payload in netlink::receive(socket).context("cannot read the kernel's addresses")? {
            match &payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => bail!("the kernel refused to list addresses: {error}"),
                other => each(other),
            }
        }
    }
}

fn resynchronise(socket: &Socket, host: &str, history: &Mutex<History>) -> Result<()> {
    let mut found = BTreeSet::new();
    read_dump(socket, |payload| match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            found.extend(address_of(message).map(|address| (address, message.header.index)));
        }
        // A notice that arrives between the dump's parts.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
            found.retain(|held| Some(held.0) != address_of(message) || held.1 != message.header.index);
        }
        _ => {}
    })?;
    lock(history).replace(host, &found);
    Ok(())
}

fn watch(watched: &[(String, Socket)], history: &Mutex<History>, stop: &AtomicBool) {
    sys::prefer_this_thread();
    let descriptors: Vec<RawFd> = watched.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
    while !stop.load(Ordering::Relaxed) {
        let readable = match sys::wait_readable(&descriptors, POLL) {
            Ok(readable) => readable,
            Err(error) => return tracing::error!(%error, "the holder watch cannot wait for the kernels"),
        };
        for ((host, socket), _) in watched.iter().zip(readable).filter(|(_, readable)| *readable) {
            read_notices(host, socket, history);
        }
    }
}

fn read_notices(host: &str, socket: &Socket, history: &Mutex<History>) {
    match netlink::receive(socket) {
        Ok(payloads) => {
            let mut history = lock(history);
            payloads.iter().for_each(|payload| history.note(host, payload));
        }
        // Notices were lost (ENOBUFS, netlink(7)): ask again for the whole.
        Err(error) => {
            tracing::warn!(host, %error, "kernel notices were lost");
            if let Err(error) = resynchronise(socket, host, history) {
                tracing::error!(host, %error, "the holder watch is blind here");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 100));

    fn change(milliseconds: u64, host: &str, presence: Presence) -> HolderChange {
        HolderChange { at: Moment::from_millis(milliseconds), host: host.to_owned(), address: VIP, presence }
    }

    #[test]
    fn overlaps_are_clipped_to_the_window() {
        let changes = [
            change(10, "n1", Presence::Held),
            change(100, "n2", Presence::Held),
            change(300, "n1", Presence::Absent),
        ];
        let found = overlaps(&changes, Moment::from_millis(150), Moment::from_millis(1000));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from, found[0].to), (Moment::from_millis(150), Moment::from_millis(300)));
        assert!(overlaps(&changes, Moment::from_millis(300), Moment::from_millis(900)).is_empty());
        assert!(overlaps(&changes, Moment::from_millis(0), Moment::from_millis(100)).is_empty());
    }

    #[test]
    fn a_refresh_is_no_change_and_a_second_device_neither() {
        let mut history = History::default();
        history.set("n1", (VIP, 1), Presence::Held);
        history.set("n1", (VIP, 1), Presence::Held);
        history.set("n1", (VIP, 2), Presence::Held);
        history.set("n1", (VIP, 1), Presence::Absent);
        assert_eq!(history.changes.len(), 1);
        history.set("n1", (VIP, 2), Presence::Absent);
        assert_eq!(history.changes.len(), 2);
    }
}
