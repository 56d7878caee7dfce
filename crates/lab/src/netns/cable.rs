//! How a host is joined to its segment: what its `eth0` is made of.

use anyhow::Result;
use mainstay_core::names::Mac;

use super::Segment;
use super::host::DEVICE;

/// The VLAN of hosts on [`Cable::Vlan`].
const VLAN: u16 = 77;

/// What `eth0` of a host is. Not every kernel has every kind: [`Cable::is_available`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cable {
    /// The veth pair's end itself.
    #[default]
    Plain,
    /// A bridge with that end as its only port, as hypervisors have it.
    Bridge,
    /// An active-backup bond of two, whose hardware address is that of the active one (`fail_over_mac=active`).
    Bond,
    /// VLAN 77 on it: only hosts with this cable hear each other.
    Vlan,
}

impl Cable {
    /// Whether this kernel has the device.
    ///
    /// # Errors
    /// When that cannot be found out: without the privilege, or without iproute2.
    pub fn is_available(self) -> Result<bool> {
        let bench = Segment::new("cable")?;
        let pair = |number| format!("link add {} type veth peer name far{number}", self.end(number));
        let pairs = (0..self.ports("x").len()).map(pair);
        let lines: Vec<_> = pairs.chain(self.assembly(Mac([2, 0, 0, 0, 0, 1]))).collect();
        match bench.0.switch.batch("ip", &lines) {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().contains("Unknown device type") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the client and the API server are joined by, where the nodes are by this.
    #[must_use]
    pub fn of_others(self) -> Self {
        if self == Self::Vlan { self } else { Self::Plain }
    }

    /// The names of the ports on the segment's bridge.
    pub(super) fn ports(self, host: &str) -> Vec<String> {
        let first = format!("p-{host}");
        if self == Self::Bond { vec![first, format!("q-{host}")] } else { vec![first] }
    }

    /// The name, in the host, of the end of the cable to the port of this number.
    pub(super) fn end(self, number: usize) -> String {
        if self == Self::Plain { DEVICE.to_owned() } else { format!("wire{number}") }
    }

    /// Makes `eth0` of the cable's ends: lines for `ip -batch` in the host.
    pub(super) fn assembly(self, mac: Mac) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Plain => &[],
            Self::Bridge => &[
                "link add eth0 address MAC type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                "link set wire0 master eth0 up",
            ],
            Self::Bond => &[
                "link add eth0 type bond mode active-backup miimon 50 fail_over_mac active",
                "link set wire0 master eth0",
                "link set wire1 master eth0",
            ],
            Self::Vlan => {
                &["link set wire0 up", "link add link wire0 name eth0 address MAC type vlan id VID"]
            }
        };
        let filled = |line: &&str| line.replace("MAC", &mac.to_string()).replace("VID", &VLAN.to_string());
        lines.iter().map(filled).collect()
    }
}

/// The hardware address of a cable's end: the host's own is that of the first.
pub(super) fn mac_of_end(host: Mac, number: usize) -> Mac {
    let Mac([a, b, c, d, e, f]) = host;
    Mac([a, b, c, d.wrapping_add(u8::try_from(number).unwrap_or(u8::MAX)), e, f])
}
