//! One host: a namespace with `eth0` on the segment, in which processes and threads can run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_core::names::Mac;

use super::cable::{Cable, mac_of_end};
use super::holders::{self, HeldAddress};
use super::process::Process;
use super::{Namespace, Segment, sysctl};

/// The device that joins a host to its segment, as the host sees it.
pub(crate) const DEVICE: &str = "eth0";

/// How long a link may take to come up.
const LINK_LIMIT: Duration = Duration::from_secs(10);

/// A host's own addresses: one IPv4 (/24) and one IPv6 (/64, unique local).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Within 10.77.0.0/24.
    pub ipv4: Ipv4Addr,
    /// Within fd00:77::/64.
    pub ipv6: Ipv6Addr,
    /// The hardware address: fixed, locally administered.
    pub mac: Mac,
}

impl Addresses {
    /// 10.77.0.`number`, fd00:77::`number` (written in hexadecimal) and 02:6d:73:00:00:`number`.
    #[must_use]
    pub const fn numbered(number: u8) -> Self {
        Self {
            ipv4: Ipv4Addr::new(10, 77, 0, number),
            ipv6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number as u16),
            mac: Mac([0x02, 0x6d, 0x73, 0, 0, number]),
        }
    }
}

/// A host on a segment. Clones refer to the same host.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

/// Bytes of packets, with what the kernel keeps of each (768 bytes for an echo), that wait for a neighbour to be resolved.
/// The kernel's own default holds 277 echoes. Their replies come all at once, and of those it has room for 170: the socket
/// that sends them (`icmp_xmit_lock`) is one for each core, whatever the namespace. The rest would be lost, and with them
/// what other probes send just then.
const WAITING_BYTES: u32 = 64 * 768;

#[derive(Debug)]
struct Inner {
    name: String,
    namespace: Namespace,
    cable: Cable,
    /// On the bridge.
    ports: Vec<String>,
    addresses: Addresses,
}

impl Host {
    pub(super) fn create(segment: &Segment, name: &str, addresses: Addresses, cable: Cable) -> Result<Self> {
        let namespace = Namespace::new(format!("{}{name}", segment.0.prefix))?;
        // Before there is a device, so that no address is ever tentative and none comes from a router.
        namespace.enter(|| {
            sysctl("net/ipv6/conf/default/accept_dad", "0")?;
            sysctl("net/ipv6/conf/default/accept_ra", "0")
        })??;
        let (name, ports) = (name.to_owned(), cable.ports(name));
        let host = Self(Arc::new(Inner { name, namespace, cable, ports, addresses }));
        host.join(segment)?;
        Ok(host)
    }

    /// Lays the cable: the veth pairs, the ports on the bridge, the device, the addresses.
    fn join(&self, segment: &Segment) -> Result<()> {
        let Inner { namespace, cable, ports, addresses, .. } = &*self.0;
        let lay = |(number, port): (usize, &String)| {
            let (end, mac) = (cable.end(number), mac_of_end(addresses.mac, number));
            let pair =
                format!("link add {port} type veth peer name {end} address {mac} netns {}", namespace.name);
            [pair, format!("link set {port} master {} up", super::BRIDGE)]
        };
        segment.0.switch.batch("ip", &ports.iter().enumerate().flat_map(lay).collect::<Vec<_>>())?;
        let addressed = [
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev {DEVICE}", addresses.ipv4),
            format!("addr add {}/64 dev {DEVICE} nodad", addresses.ipv6),
            format!("link set {DEVICE} up"),
        ];
        namespace.batch("ip", &[&cable.assembly(addresses.mac)[..], &addressed].concat())?;
        let waiting = ["ipv4", "ipv6"].map(|family| format!("net/{family}/neigh/{DEVICE}/unres_qlen_bytes"));
        namespace
            .enter(|| waiting.iter().try_for_each(|path| sysctl(path, &WAITING_BYTES.to_string())))??;
        self.await_link(segment)
    }

    /// Waits until frames pass: the kernel notices a carrier in its own time (linkwatch), and until then the bridge's
    /// port is disabled and the host's device throws frames away.
    pub(super) fn await_link(&self, segment: &Segment) -> Result<()> {
        let deadline = Instant::now() + LINK_LIMIT;
        let link =
            |device: &str| Command::new("ip").args(["-o", "-d", "link", "show", "dev", device]).output();
        loop {
            let device = self.enter(|| link(DEVICE))?.context("cannot start ip")?;
            let says = |output: &std::process::Output, words: &str| {
                String::from_utf8_lossy(&output.stdout).contains(words)
            };
            let forwards =
                |port: &String| Ok(says(&link(port).context("cannot start ip")?, "state forwarding"));
            let forwarding = || self.0.ports.iter().map(forwards).collect::<Result<Vec<bool>>>();
            if says(&device, "state UP") && segment.0.switch.enter(forwarding)??.iter().all(|one| *one) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "host {}: no link after {LINK_LIMIT:?}", self.name());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn inside(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The host's name on its segment.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The name of its namespace, as `ip netns exec` takes it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace.name
    }

    /// The device in the host: always `eth0`.
    #[must_use]
    pub fn device(&self) -> &'static str {
        DEVICE
    }

    /// The names of its ports on the bridge, in the bridge's namespace: two of a bond, else one.
    #[must_use]
    pub fn ports(&self) -> &[String] {
        &self.0.ports
    }

    /// Its hardware address; of a bond, while its first cable is the active one.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.0.addresses.mac
    }

    /// The hardware address of the end of its cable of this number, from 0.
    #[must_use]
    pub fn mac_of_cable(&self, number: usize) -> Mac {
        mac_of_end(self.mac(), number)
    }

    /// Its own IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        self.0.addresses.ipv4
    }

    /// Its own IPv6 address.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        self.0.addresses.ipv6
    }

    /// Starts `command` in this host. Only the network is the host's: files and processes are the machine's.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, command: Command) -> Result<Process> {
        // A child inherits the network namespace of the thread that starts it.
        self.enter(|| Process::start(command))?
    }

    /// Runs a command in this host to its successful end and gives what it wrote to its standard output.
    ///
    /// # Errors
    /// If it fails; the message has what it wrote to its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .enter(|| Command::new(program).args(arguments).output())?
            .with_context(|| format!("cannot start {program}"))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "{program} {arguments:?} in {}: {}",
            self.name(),
            complaint.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `work` on a thread of its own inside this host and waits for it. Sockets made there stay in the host.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.0.namespace.enter(work)
    }

    /// Runs `work` on a thread of its own inside this host and does not wait: for servers and runtimes. Threads that
    /// it starts (a runtime's workers) are inside as well.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let host = self.clone();
        let inside = move || host.0.namespace.enter_here().map(|()| work());
        std::thread::Builder::new()
            .name(self.name().to_owned())
            .spawn(inside)
            .context("cannot start a thread")
    }

    /// A TCP listener in this host.
    ///
    /// # Errors
    /// If the address is not the host's or the port is taken.
    pub fn bind_tcp(&self, address: impl Into<SocketAddr>) -> Result<TcpListener> {
        let address = address.into();
        self.enter(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot listen on {address} in {}", self.name()))
    }

    /// Every address this host's kernel has now, on any device.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn addresses(&self) -> Result<Vec<HeldAddress>> {
        self.enter(holders::dump)?
    }

    /// Whether this host's kernel has `address` now, on any device.
    ///
    /// # Errors
    /// As [`Host::addresses`].
    pub fn holds(&self, address: IpAddr) -> Result<bool> {
        Ok(self.addresses()?.iter().any(|held| held.address == address))
    }
}
