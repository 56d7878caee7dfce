//! What in the kernel balances: nftables, or IPVS where the settings ask for it and the kernel has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mainstay_core::balance::Balance;
use mainstay_core::vip::Vip;
use mainstay_dataplane::balancer::{self, strays};
use mainstay_dataplane::ipvs::{Forwarding, Scheduler};
use mainstay_dataplane::{forwarding, ipvs};

use super::Order;
use crate::config::{Balancer as Settings, BalancerBackend};

/// What balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    Nftables,
    Ipvs(ipvs::Settings),
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Whether the kernel had it otherwise.
    pub(super) changed: bool,
    /// Connections that were ended.
    pub(super) ended: usize,
    /// What the host lacks, a line for each.
    pub(super) lacking: Vec<String>,
}

impl Kernel {
    /// What the settings ask for, as far as `has_ipvs`; and what there is to say of it.
    pub(super) fn choose(settings: &Settings, has_ipvs: Result<(), String>) -> (Self, Option<String>) {
        let needs_ipvs = !matches!(settings.forwarding, Forwarding::Local | Forwarding::Masquerade);
        let asks = match settings.backend {
            BalancerBackend::Nftables => false,
            BalancerBackend::Ipvs => true,
            BalancerBackend::Auto => needs_ipvs,
        };
        let scheduler = settings.scheduler.unwrap_or_else(|| Scheduler::from(settings.distribution));
        match has_ipvs {
            _ if !asks => (Self::Nftables, None),
            Ok(()) => (Self::Ipvs(ipvs::Settings { forwarding: settings.forwarding, scheduler }), None),
            Err(why) => {
                let instead = if needs_ipvs { "masquerade" } else { settings.forwarding.word() };
                (
                    Self::Nftables,
                    Some(format!("{why}; nftables balances in its place, lb_fwdmethod={instead}")),
                )
            }
        }
    }

    /// Whether it may balance on the holder alone: the others would take in what is for the holder's backends.
    pub(super) const fn needs_the_vip(self) -> bool {
        match self {
            Self::Nftables => false,
            Self::Ipvs(settings) => {
                !matches!(settings.forwarding, Forwarding::Local | Forwarding::Masquerade)
            }
        }
    }

    /// Has the kernel balance so. Blocks for as long as the kernel takes.
    pub(super) fn put(self, interface: &str, order: &Order) -> Result<Done, String> {
        let balance = &order.balance;
        match self {
            Self::Nftables => {
                let mut lacking = forwarding::allow(interface, balance.takes.iter().map(SocketAddr::is_ipv4));
                let sent_on = strays::put(balance, interface, &order.strays_go_to);
                let done = balancer::put(balance).map_err(|error| error.to_string())?;
                lacking.extend(sent_on.as_ref().err().map(|error| {
                    format!("connections to the VIP are reset when it moves to this node: {error} (load nft_dup_ipv4, nft_dup_ipv6, nft_reject_ipv4 and nft_reject_ipv6 on the host, if it lacks them)")
                }));
                Ok(Done {
                    changed: done.changed || sent_on.is_ok_and(|changed| changed),
                    ended: done.ended,
                    lacking,
                })
            }
            Self::Ipvs(settings) => {
                let done = ipvs::put(balance, settings).map_err(|error| error.to_string())?;
                Ok(Done { changed: done.changed, ended: done.ended, lacking: done.lacking })
            }
        }
    }

    /// Takes it away on this node. Blocks for as long as the kernel takes.
    pub(super) fn remove(self, (vips, port): (&BTreeSet<Vip>, u16)) -> Result<(), String> {
        match self {
            Self::Nftables => balancer::remove().map_err(|error| error.to_string()),
            Self::Ipvs(_) => ipvs::remove(vips, port).map_err(|error| error.to_string()),
        }
    }

    /// Takes away what an earlier run may have had the other part of the kernel do.
    pub(super) fn remove_others(self, at: (&BTreeSet<Vip>, u16)) {
        let other =
            if self == Self::Nftables { Self::Ipvs(ipvs::Settings::default()) } else { Self::Nftables };
        if let Err(error) = other.remove(at) {
            tracing::debug!("what an earlier run has left of a load balancer is not looked for: {error}");
        }
    }

    /// How many connections each backend has now.
    pub(super) fn connections(self, balance: &Balance) -> BTreeMap<SocketAddr, usize> {
        let counted = match self {
            Self::Nftables => balancer::connections(balance).ok(),
            Self::Ipvs(_) => ipvs::connections(balance).ok(),
        };
        counted.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn ipvs_is_taken_where_it_is_asked_for_and_there_and_nftables_else() {
        let there = || Ok(());
        let missing = || Err("no IPVS".to_owned());
        for (backend, method, has_ipvs, uses_ipvs, says) in [
            ("nftables", "masquerade", there(), false, ""),
            ("auto", "local", there(), false, ""),
            ("auto", "tunnel", there(), true, ""),
            ("auto", "tunnel", missing(), false, "lb_fwdmethod=masquerade"),
            ("ipvs", "local", there(), true, ""),
            ("ipvs", "local", missing(), false, "lb_fwdmethod=local"),
        ] {
            let changes = [("lb_enable", "true"), ("lb_backend", backend), ("lb_fwdmethod", method)];
            let (kernel, said) = Kernel::choose(&config(&changes).features.balancer, has_ipvs);
            assert_eq!(matches!(kernel, Kernel::Ipvs(_)), uses_ipvs, "{changes:?}");
            assert!(said.unwrap_or_default().ends_with(says), "{changes:?}");
            assert_eq!(kernel.needs_the_vip(), uses_ipvs && method == "tunnel", "{changes:?}");
        }
    }
}
