//! Faults of the wire. Each acts within milliseconds and can be taken back; all are the bridge's doing, so the hosts
//! cannot tell them from a broken cable, a dead switch port or a lossy path.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Host, Segment, lock};

/// A rule of the bridge's packet filter: frames that match are dropped without a trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// Nothing from one host to another; the way back is open.
    OneWay {
        /// The sender, by name.
        from: String,
        /// The receiver, by name.
        to: String,
    },
    /// This share of a host's frames is lost, in each direction, at random.
    Loss {
        /// The host, by name.
        host: String,
        /// 0 to 100.
        percent: u8,
    },
    /// A host's TCP port is a black hole, in both directions: open connections hang, new ones time out.
    TcpPort {
        /// The host, by name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Nothing to or from a host, while its link stays up and its port forwards.
    Isolated {
        /// The host, by name.
        host: String,
    },
}

impl Filter {
    /// Its rules in nftables' language, for a chain of the bridge family's forward hook.
    fn rules(&self) -> Vec<String> {
        match self {
            Self::OneWay { from, to } => vec![format!("iifname p-{from} oifname p-{to} drop")],
            Self::Loss { host, percent: 100.. } => both_ways(host, ""),
            Self::Loss { host, percent } => both_ways(host, &format!("numgen random mod 100 < {percent}")),
            Self::TcpPort { host, port } => vec![
                format!("oifname p-{host} meta l4proto tcp th dport {port} drop"),
                format!("iifname p-{host} meta l4proto tcp th sport {port} drop"),
            ],
            Self::Isolated { host } => both_ways(host, ""),
        }
    }
}

fn both_ways(host: &str, condition: &str) -> Vec<String> {
    ["iifname", "oifname"].iter().map(|side| format!("{side} p-{host} {condition} drop")).collect()
}

impl Segment {
    /// Puts a filter in force; again is no error.
    ///
    /// # Errors
    /// If nft refuses it.
    pub fn apply(&self, filter: Filter) -> Result<()> {
        let mut filters = lock(&self.0.filters);
        filters.insert(filter);
        self.install(&filters)
    }

    /// Takes a filter back; one that is not in force is no error.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn lift(&self, filter: &Filter) -> Result<()> {
        let mut filters = lock(&self.0.filters);
        filters.remove(filter);
        self.install(&filters)
    }

    /// Takes every filter back.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn lift_all(&self) -> Result<()> {
        let mut filters = lock(&self.0.filters);
        filters.clear();
        self.install(&filters)
    }

    /// Replaces the whole rule set in one transaction: there is no moment with half of it.
    fn install(&self, filters: &BTreeSet<Filter>) -> Result<()> {
        let rules: Vec<String> = filters.iter().flat_map(Filter::rules).collect();
        let table = format!(
            "table bridge mainstay\ndelete table bridge mainstay\ntable bridge mainstay {{\n\
             chain forward {{\ntype filter hook forward priority 0\n{}\n}}\n}}\n",
            rules.join("\n")
        );
        self.0.switch.feed(Command::new("nft").args(["-f", "-"]), &table)
    }

    /// Drops everything from `from` to `to`; the way back stays open. Taken back by [`Segment::lift`].
    ///
    /// # Errors
    /// If nft refuses.
    pub fn drop_from(&self, from: &Host, to: &Host) -> Result<()> {
        self.apply(one_way(from, to))
    }

    /// Cuts two hosts from each other; every other host still reaches both.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn cut_between(&self, one: &Host, other: &Host) -> Result<()> {
        self.apply(one_way(one, other))?;
        self.apply(one_way(other, one))
    }

    /// Loses `percent` of a host's frames in each direction; 0 takes it back.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn loss(&self, host: &Host, percent: u8) -> Result<()> {
        let mut filters = lock(&self.0.filters);
        filters.retain(|filter| !matches!(filter, Filter::Loss { host: lossy, .. } if lossy == host.name()));
        if percent > 0 {
            filters.insert(Filter::Loss { host: host.name().to_owned(), percent: percent.min(100) });
        }
        self.install(&filters)
    }

    /// Makes one TCP port of a host a black hole.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn drop_tcp(&self, host: &Host, port: u16) -> Result<()> {
        self.apply(Filter::TcpPort { host: host.name().to_owned(), port })
    }

    /// Drops all of a host's frames at the bridge, both ways, with its link up.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn isolate(&self, host: &Host) -> Result<()> {
        self.apply(Filter::Isolated { host: host.name().to_owned() })
    }

    /// Pulls the host's cable, both of a bond's: its carrier is lost, and it notices.
    ///
    /// # Errors
    /// If iproute2 refuses.
    pub fn port_down(&self, host: &Host) -> Result<()> {
        host.ports().iter().try_for_each(|port| self.on_switch("ip", &["link", "set", port, "down"]))
    }

    /// Pulls one cable of a bond, by its number from 0. [`Segment::port_up`] plugs it in again.
    ///
    /// # Errors
    /// If the host has none of this number, or iproute2 refuses.
    pub fn cable_down(&self, host: &Host, number: usize) -> Result<()> {
        let port =
            host.ports().get(number).with_context(|| format!("{} has no cable {number}", host.name()))?;
        self.on_switch("ip", &["link", "set", port, "down"])
    }

    /// Plugs every cable in again; frames pass when it returns.
    ///
    /// # Errors
    /// If iproute2 refuses, or the link does not come up.
    pub fn port_up(&self, host: &Host) -> Result<()> {
        host.ports().iter().try_for_each(|port| self.on_switch("ip", &["link", "set", port, "up"]))?;
        host.await_link(self)
    }

    /// Silent partition: the host's port drops every frame, both ways, and the host's link stays up.
    ///
    /// # Errors
    /// If iproute2 refuses.
    pub fn partition(&self, host: &Host) -> Result<()> {
        self.state_of_ports(host, "0")
    }

    /// Ends [`Segment::partition`]. Nothing tells the host that anything happened.
    ///
    /// # Errors
    /// If iproute2 refuses.
    pub fn heal(&self, host: &Host) -> Result<()> {
        self.state_of_ports(host, "3")
    }

    fn state_of_ports(&self, host: &Host, state: &str) -> Result<()> {
        let set = |port: &String| self.on_switch("bridge", &["link", "set", "dev", port, "state", state]);
        host.ports().iter().try_for_each(set)
    }

    fn on_switch(&self, program: &str, arguments: &[&str]) -> Result<()> {
        self.enter_switch(|| super::run(Command::new(program).args(arguments)))?
            .with_context(|| format!("a fault on segment {}", self.0.prefix))
    }
}

fn one_way(from: &Host, to: &Host) -> Filter {
    Filter::OneWay { from: from.name().to_owned(), to: to.name().to_owned() }
}
