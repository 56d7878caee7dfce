//! The load balancer before the API servers, as services of IPVS (`core::balance` says where connections go): for whoever
//! has set kube-vip's `lb_fwdmethod`, or wants what nftables does not do, such as answers that do not come back through
//! here.
//!
//! One virtual service (TCP) for each VIP and port; a backend that takes connections has weight 1, one that only keeps its
//! own has weight 0. What the kernel has is read, and only the difference is sent: first what adds, then what takes away,
//! so that new connections always have somewhere to go. No other service is looked at.
//!
//! **Whose service it is.** A service cannot be marked. The one at our VIP and port is taken for ours, left by an earlier
//! run or by kube-vip, unless it is of a form that neither makes (persistent, of another scheduler, with limits, with
//! weights beyond 1), or kube-proxy in IPVS mode has the VIP on its `kube-ipvs0`. Then it is [`IpvsError::NotOurs`], and is
//! left alone. kube-proxy in IPVS mode deletes services that it does not know, unless `ipvs.excludeCIDRs` names the VIP.
//!
//! **A backend that goes.** Its destination is deleted, and `net.ipv4.vs.expire_nodest_conn` makes the kernel forget its
//! connections (without it they are dropped in silence for as long as they last). As in [`crate::balancer`] each client is
//! then asked for a sign of life, and gets the reset for it from the host's own TCP. With [`Forwarding::Local`] that TCP
//! has the connections itself, and they go on.
//!
//! **What each method needs.** Only masquerading translates the port: with any other, backends listen on the VIP's.
//!
//! | method | needs |
//! |---|---|
//! | local | the API server on this host, on the VIP's port |
//! | masquerade | `net.ipv4.ip_forward`, `net.ipv4.vs.conntrack` (both set here, where they are 0), for IPv6 `net.ipv6.conf.all.forwarding` (told of only: it turns off router advertisements), and nftables, which gives what leaves the host its own source address, so that the answer comes back here (`ipvs/masquerade.rs`) |
//! | tunnel | the VIP on a tunnel interface of each backend (IPIP), which answers no ARP for it; the service on the holder alone |
//! | directroute | backends on the holder's segment, with the VIP on `lo` and `arp_ignore=1`, `arp_announce=2`; the service on the holder alone |
//! | bypass | a route that leads on from here to the VIP |
//!
//! What is set of the host's settings stays set. IPVS hands no connections over to another holder: that resets them.

mod connection;
mod masquerade;
mod message;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;

use mainstay_core::balance::{Balance, Distribution};
use mainstay_core::vip::Vip;

use crate::kernel::KernelError;
use crate::linux::ipvs::{self as kernel, Services};

pub(crate) use connection::{Connection, read as read_connections};
pub use masquerade::TABLE;
pub(crate) use message::{Command, ask_family, read_destination, read_family, read_service, request};
pub(crate) use plan::{Change, Found};
#[cfg(test)]
use plan::{Destination, Service};

/// How a packet comes to its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forwarding {
    /// To this host's own TCP, whatever the backends' addresses. What kube-vip does unless told otherwise.
    #[default]
    Local,
    /// With its destination translated, and its source.
    Masquerade,
    /// In a packet of IP in IP.
    Tunnel,
    /// In a frame to the backend's hardware address.
    DirectRoute,
    /// To where a route leads.
    Bypass,
}

/// How a backend is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheduler {
    /// `rr`: one after another.
    #[default]
    RoundRobin,
    /// `wrr`: the same, for all weights are 1.
    Weighted,
    /// `sh`: by the client's address; most clients move when a backend comes or goes.
    SourceHash,
    /// `mh`: by the client's address; few move. Linux 4.18 has it.
    Maglev,
}

/// What is the same for all services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How packets come to the backends.
    pub forwarding: Forwarding,
    /// How a backend is chosen. [`Balance::distribution`] is not looked at; [`Scheduler::from`] reads one.
    pub scheduler: Scheduler,
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balanced {
    /// Whether the kernel had it otherwise.
    pub changed: bool,
    /// Connections to backends that are none any more, which were ended.
    pub ended: usize,
    /// What the host lacks for it to work as it should, a line for each with the remedy.
    pub lacking: Vec<String>,
}

/// Why IPVS does not balance as it should.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// The kernel has none.
    #[error("this kernel has no IPVS: load ip_vs on the host (modprobe ip_vs), or balance with nftables")]
    Missing,
    /// The kernel has it without this scheduler.
    #[error(
        "this kernel has no IPVS scheduler {0}: load ip_vs_{0} on the host (modprobe ip_vs_{0}), or choose rr"
    )]
    NoScheduler(Scheduler),
    /// A service is there already, and is somebody else's.
    #[error(
        "the IPVS service {at} is there, and is not Mainstay's ({why}): delete it (ipvsadm -D -t {at}), or choose another port"
    )]
    NotOurs {
        /// The VIP and the port.
        at: SocketAddr,
        /// What says so.
        why: String,
    },
    /// A backend listens where nothing would arrive.
    #[error(
        "backend {backend}: the forwarding method {forwarding} does not translate ports: let it listen on {port}, as the VIP does, or choose masquerade"
    )]
    OtherPort {
        /// The backend.
        backend: SocketAddr,
        /// The method.
        forwarding: Forwarding,
        /// The VIP's port.
        port: u16,
    },
    /// The kernel does not do it, or does not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no netlink socket to be had.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
}

impl Forwarding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Local, Self::Masquerade, Self::Tunnel, Self::DirectRoute, Self::Bypass];

    /// As kube-vip's `lb_fwdmethod` has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Masquerade => "masquerade",
            Self::Tunnel => "tunnel",
            Self::DirectRoute => "directroute",
            Self::Bypass => "bypass",
        }
    }

    /// The one that the word names, in whatever case.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word().eq_ignore_ascii_case(word))
    }

    /// `IP_VS_CONN_F_*`.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Masquerade => 0,
            Self::Local => 1,
            Self::Tunnel => 2,
            Self::DirectRoute => 3,
            Self::Bypass => 4,
        }
    }
}

impl Scheduler {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::Weighted, Self::SourceHash, Self::Maglev];

    /// As the kernel has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::Weighted => "wrr",
            Self::SourceHash => "sh",
            Self::Maglev => "mh",
        }
    }

    /// The one that the word names, in whatever case.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word().eq_ignore_ascii_case(word))
    }
}

impl From<Distribution> for Scheduler {
    fn from(distribution: Distribution) -> Self {
        match distribution {
            Distribution::RoundRobin => Self::RoundRobin,
            Distribution::SourceHash => Self::Maglev,
        }
    }
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether this kernel has IPVS; asking loads the module where there is one.
///
/// # Errors
///
/// [`IpvsError::Missing`], or why it cannot be asked.
pub fn available() -> Result<(), IpvsError> {
    Services::open().map(drop)
}

/// Makes the kernel balance as `wanted` says, and ends the connections of backends that it does not name. A VIP that no
/// backend of its family serves has no service. One that is not named is not looked at: [`remove`] takes it away. Blocks
/// for as long as the kernel takes, and for half a second at most while connections end.
///
/// # Errors
///
/// [`IpvsError`], the first; what could be done for other VIPs is done all the same.
pub fn put(wanted: &Balance, settings: Settings) -> Result<Balanced, IpvsError> {
    plan::check_ports(wanted, settings.forwarding)?;
    let mut services = Services::open()?;
    let mut balanced = Balanced { lacking: prepare(wanted, settings.forwarding), ..Balanced::default() };
    let mut first_error = Ok(());
    for vip in &wanted.vips {
        match put_one(&mut services, (wanted, *vip), settings) {
            Ok((changed, ended)) => {
                balanced.changed |= changed;
                balanced.ended += ended;
            }
            Err(error) => first_error = first_error.and(Err(error)),
        }
    }
    first_error.map(|()| balanced)
}

/// Takes the services of these VIPs on this port away, as far as there are any of ours. Blocks for as long as the kernel
/// takes.
///
/// # Errors
///
/// [`IpvsError`]
pub fn remove(vips: &BTreeSet<Vip>, port: u16) -> Result<(), IpvsError> {
    masquerade::forget(vips, port).unwrap_or_else(|error| {
        tracing::debug!("the source addresses that IPVS had translated are not tidied up: {error}");
    });
    if !kernel::is_loaded() {
        return Ok(());
    }
    let mut services = Services::open()?;
    for vip in vips {
        change(&mut services, SocketAddr::new(*vip, port), None)?;
    }
    Ok(())
}

/// Where new connections to these VIPs on this port go as the kernel has it now, whoever put it there.
///
/// # Errors
///
/// [`IpvsError`]
pub fn in_force(vips: &BTreeSet<Vip>, port: u16) -> Result<BTreeMap<Vip, BTreeSet<SocketAddr>>, IpvsError> {
    let found = read_all(vips, port)?.into_iter();
    Ok(found.map(|(vip, found)| (vip, found.takes().collect())).collect())
}

/// How many connections to these VIPs each backend has now. One that the kernel still remembers counts.
///
/// # Errors
///
/// [`IpvsError`]
pub fn connections(of: &Balance) -> Result<BTreeMap<SocketAddr, usize>, IpvsError> {
    let mut counted: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for found in read_all(&of.vips, of.port)?.into_values() {
        for (at, there) in found.destinations {
            *counted.entry(at).or_default() += usize::try_from(there.connections).unwrap_or(usize::MAX);
        }
    }
    Ok(counted.into_iter().filter(|(_, count)| *count > 0).collect())
}

fn read_all(vips: &BTreeSet<Vip>, port: u16) -> Result<BTreeMap<Vip, Found>, IpvsError> {
    let mut services = Services::open()?;
    let mut all = BTreeMap::new();
    for vip in vips {
        if let Some(found) = services.read(SocketAddr::new(*vip, port))? {
            all.insert(*vip, found);
        }
    }
    Ok(all)
}

/// What has to be so on the host before packets come; what of it is not.
fn prepare(wanted: &Balance, forwarding: Forwarding) -> Vec<String> {
    let mut lacking = Vec::new();
    let mut sysctls = vec![kernel::FORGET];
    if forwarding == Forwarding::Masquerade {
        sysctls.extend(kernel::MASQUERADE);
        if wanted.vips.iter().any(|vip| vip.is_ipv6()) {
            lacking.extend(kernel::ipv6_forwards().err());
        }
        let words =
            |error| format!("IPVS: the source addresses of packets to backends are not translated: {error}");
        lacking.extend(masquerade::put(wanted).map_err(words).err());
    } else if let Err(error) = masquerade::clear() {
        tracing::debug!("whether IPVS translated source addresses before is not known: {error}");
    }
    lacking.extend(sysctls.into_iter().filter_map(|name| kernel::require(name).err()));
    lacking
}

/// Whether anything had to be done, and how many connections were ended.
fn put_one(
    services: &mut Services,
    (balance, vip): (&Balance, Vip),
    settings: Settings,
) -> Result<(bool, usize), IpvsError> {
    let at = SocketAddr::new(vip, balance.port);
    let wanted = plan::wanted(balance, vip, settings);
    let done = change(services, at, wanted.as_ref())?;
    // What is local goes on without IPVS.
    let ended =
        if settings.forwarding == Forwarding::Local { 0 } else { kernel::end(at, &done.gone, done.lost) };
    Ok((done.changed, ended))
}

/// What was done to a service.
#[derive(Default)]
struct Done {
    changed: bool,
    /// The backends that are none any more, and the connections that they had.
    gone: BTreeSet<SocketAddr>,
    lost: BTreeSet<Connection>,
}

/// How often a change is tried anew that somebody else's change came in between of.
const ATTEMPTS: usize = 3;

/// Makes the service as it is wanted; whatever somebody else does to it meanwhile, it is read and planned anew.
fn change(services: &mut Services, at: SocketAddr, wanted: Option<&Found>) -> Result<Done, IpvsError> {
    for _ in 1..ATTEMPTS {
        match change_once(services, at, wanted) {
            Err(IpvsError::Kernel(KernelError::Raced)) => {}
            other => return other,
        }
    }
    change_once(services, at, wanted)
}

fn change_once(services: &mut Services, at: SocketAddr, wanted: Option<&Found>) -> Result<Done, IpvsError> {
    let found = services.read(at)?;
    let stranger = found.as_ref().and_then(|found| whose(at, found));
    let changes = match (stranger, wanted) {
        // What is not ours is not in the way of wanting nothing.
        (Some(_), None) => return Ok(Done::default()),
        (Some(why), Some(_)) => return Err(IpvsError::NotOurs { at, why }),
        (None, wanted) => plan::changes(found.as_ref(), wanted),
    };
    let gone = found.map(|found| plan::gone(&found, wanted)).unwrap_or_default();
    // Before they go: the kernel may be quick to forget them.
    let lost = kernel::connections(at, &gone);
    for change in &changes {
        services.apply(at, change)?;
    }
    Ok(Done { changed: !changes.is_empty(), gone, lost })
}

/// What says that a service is somebody else's.
fn whose(at: SocketAddr, found: &Found) -> Option<String> {
    let of_kube_proxy = || match kernel::kube_proxy_has(at.ip()) {
        Ok(true) => Some("kube-proxy has the address on kube-ipvs0".to_owned()),
        Ok(false) => None,
        Err(error) => Some(format!("whether kube-proxy has the address is not known: {error}")),
    };
    found.stranger().or_else(of_kube_proxy)
}
