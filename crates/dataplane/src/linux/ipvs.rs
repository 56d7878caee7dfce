//! The socket to the kernel's IPVS, and what else of the host belongs to it: settings, the table of connections.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use mainstay_core::vip::Vip;
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::ipvs::{
    Change, Command, Connection, Found, IpvsError, Scheduler, ask_family, read_connections, read_destination,
    read_family, read_service, request,
};
use crate::kernel::{Kernel as _, KernelError};
use crate::linux::addresses::LinkAddresses;
use crate::linux::links;
use crate::linux::nudge;
use crate::linux::route::Route;

/// Has the kernel forget the connections of a destination that is deleted.
pub(crate) const FORGET: &str = "net.ipv4.vs.expire_nodest_conn";
/// Lets answers through, and shows connection tracking what IPVS does.
pub(crate) const MASQUERADE: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv4.vs.conntrack"];
const IPV6_FORWARDING: &str = "net.ipv6.conf.all.forwarding";

/// kube-proxy's interface, in IPVS mode.
const KUBE_IPVS: &str = "kube-ipvs0";
/// Of this thread's network namespace: `/proc/net` is that of the process's first thread.
const SERVICES: &str = "/proc/thread-self/net/ip_vs";
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";

const READING: &str = "reading IPVS services";
/// How often, and how far apart, it is looked whether the kernel has forgotten connections. It takes a jiffy or two; before
/// 5.9, the next packet.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The services.
#[derive(Debug)]
pub(crate) struct Services {
    socket: Route,
    family: u16,
}

impl Services {
    /// Where the module is not loaded, the kernel loads it for the question.
    pub(crate) fn open() -> Result<Self, IpvsError> {
        let mut socket = Route::open_to(NETLINK_GENERIC).map_err(IpvsError::Socket)?;
        let mut family = None;
        let asked = socket.dump(ask_family(), "asking for IPVS", |message| {
            family = family.or(read_family(&message));
        });
        match asked {
            Err(KernelError::Refused { cause, .. }) if is(&cause, libc::ENOENT) => Err(IpvsError::Missing),
            asked => {
                asked?;
                Ok(Self { socket, family: family.ok_or(IpvsError::Missing)? })
            }
        }
    }

    /// The service there, with its destinations.
    pub(crate) fn read(&mut self, at: SocketAddr) -> Result<Option<Found>, IpvsError> {
        let ask = request(self.family, Command::GetService, libc::NLM_F_ACK, at);
        let mut service = None;
        let asked = self.socket.dump(ask, READING, |message| {
            service = service.take().or(read_service(&message).filter(|(told, _)| *told == at));
        });
        match asked {
            Err(KernelError::Refused { cause, .. }) if is(&cause, libc::ESRCH) => return Ok(None),
            asked => asked.map_err(explained)?,
        }
        let Some((_, service)) = service else { return Ok(None) };
        let ask = request(self.family, Command::GetDestinations, libc::NLM_F_DUMP, at);
        let mut found = Found { service, destinations: [].into() };
        self.socket
            .dump(ask, READING, |message| found.destinations.extend(read_destination(&message, at)))
            .map_err(explained)?;
        Ok(Some(found))
    }

    /// Makes one change.
    pub(crate) fn apply(&mut self, at: SocketAddr, change: &Change) -> Result<(), IpvsError> {
        let what = format!("changing the IPVS service {at}");
        let word = self.socket.change(change.request(self.family, at), &what)?;
        let Err(cause) = word else { return Ok(()) };
        match (change, cause.raw_os_error()) {
            (Change::Drop(_) | Change::Remove, Some(libc::ENOENT | libc::ESRCH)) => Ok(()),
            (Change::Make(service) | Change::Alter(service), Some(libc::ENOENT)) => {
                let scheduler = Scheduler::named(&service.scheduler).unwrap_or_default();
                Err(IpvsError::NoScheduler(scheduler))
            }
            (_, Some(libc::ENOENT | libc::ESRCH | libc::EEXIST)) => Err(KernelError::Raced.into()),
            _ => Err(explained(KernelError::Refused { what, cause }).into()),
        }
    }
}

/// Whether the kernel has IPVS in use already; asking this loads nothing.
pub(crate) fn is_loaded() -> bool {
    fs::exists(SERVICES).unwrap_or(false)
}

/// Whether kube-proxy in IPVS mode serves that address.
pub(crate) fn kube_proxy_has(vip: Vip) -> Result<bool, IpvsError> {
    let mut route = Route::open().map_err(IpvsError::Socket)?;
    let links = links::links(&mut route)?;
    let Some(link) = links.iter().find(|link| link.name == KUBE_IPVS) else { return Ok(false) };
    let present = LinkAddresses { route: &mut route, index: link.index }.addresses()?;
    Ok(present.iter().any(|one| one.ip == vip))
}

/// Sets a setting of the host's to 1 where it is 0.
///
/// # Errors
/// A line that says which cannot be set.
pub(crate) fn require(name: &str) -> Result<(), String> {
    if is_set(name) {
        return Ok(());
    }
    fs::write(path(name), "1").map_err(|error| {
        format!("IPVS: {name} is not 1 and cannot be set ({error}): set it on the host (sysctl -w {name}=1), or run the agent privileged")
    })
}

/// Whether the host forwards IPv6.
///
/// # Errors
/// A line that says what to do.
pub(crate) fn ipv6_forwards() -> Result<(), String> {
    let line = || {
        format!(
            "IPVS: {IPV6_FORWARDING} is not 1, and answers of backends to IPv6 clients do not come through: set it on the \
             host (sysctl -w {IPV6_FORWARDING}=1; net.ipv6.conf.INTERFACE.accept_ra=2 where routes come by advertisement)"
        )
    };
    if is_set(IPV6_FORWARDING) { Ok(()) } else { Err(line()) }
}

/// The connections that `at` has with these backends.
pub(crate) fn connections(at: SocketAddr, with: &BTreeSet<SocketAddr>) -> BTreeSet<Connection> {
    if with.is_empty() {
        return BTreeSet::new();
    }
    let table = fs::read_to_string(CONNECTIONS).unwrap_or_default();
    let wanted = |one: &Connection| one.lives && one.virtual_address == at && with.contains(&one.backend);
    read_connections(&table).filter(wanted).collect()
}

/// Ends the connections that `at` had with these backends, which are its destinations no more; `lost` were there before
/// that. How many there were.
pub(crate) fn end(at: SocketAddr, gone: &BTreeSet<SocketAddr>, mut lost: BTreeSet<Connection>) -> usize {
    if gone.is_empty() || !is_set(FORGET) {
        return 0;
    }
    for _ in 0..LOOKS {
        let left = connections(at, gone);
        if left.is_empty() {
            break;
        }
        // Before Linux 5.9 an answer has the kernel forget the connection, and only the next one is reset.
        ask(&left);
        lost.extend(left);
        thread::sleep(BETWEEN_LOOKS);
    }
    ask(&lost);
    lost.len()
}

fn ask(connections: &BTreeSet<Connection>) {
    for one in connections {
        if let Err(error) = nudge::client(one.virtual_address, one.client) {
            tracing::debug!(client = %one.client, "a connection was ended that its client is not told of: {error}");
        }
    }
}

fn is_set(name: &str) -> bool {
    fs::read_to_string(path(name)).is_ok_and(|value| value.trim() != "0")
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn is(error: &io::Error, code: i32) -> bool {
    error.raw_os_error() == Some(code)
}

/// The kernel's word with the remedy, where it has one.
fn explained(error: KernelError) -> KernelError {
    let KernelError::Refused { what, cause } = error else { return error };
    let remedy = match cause.raw_os_error() {
        Some(libc::EPERM) => "give the agent CAP_NET_ADMIN",
        Some(libc::EAFNOSUPPORT) => {
            "this kernel's IPVS has no IPv6: name IPv4 addresses only, or balance with nftables"
        }
        _ => return KernelError::Refused { what, cause },
    };
    KernelError::Refused { what, cause: io::Error::new(cause.kind(), format!("{cause}; {remedy}")) }
}
