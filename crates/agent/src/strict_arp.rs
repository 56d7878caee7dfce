//! Looks now and then whether this host's kernel speaks for VIPs that only another of its interfaces has: kube-proxy's, in
//! IPVS mode without strict ARP. It is told once, with the remedy; nothing else follows from it here (rule 5 says what the
//! holder does about such a node).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::names::ClaimId;
use mainstay_core::vip::Vip;
use mainstay_dataplane::loose_arp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::driver::Placed;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What was found last, for people: a line for each interface where something is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArpView(Arc<Mutex<Vec<String>>>);

impl ArpView {
    pub(crate) fn read(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts what was found there, and tells what is new.
    fn change_to(&self, now: Vec<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in now.iter().filter(|line| !known.contains(line)) {
            tracing::warn!("{line}");
        }
        if now.is_empty() && !known.is_empty() {
            tracing::info!("this host answers ARP for the addresses of the interface alone that is asked on");
        }
        *known = now;
    }
}

/// The virtual addresses of one interface, as they are known.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) interface: String,
    /// The control plane's.
    pub(crate) vips: watch::Receiver<Vec<Vip>>,
    /// Services'.
    pub(crate) services: Option<ServiceAddresses>,
}

/// Services' addresses, where one node holds them all and where they are spread.
#[derive(Clone, Debug)]
pub(crate) struct ServiceAddresses {
    pub(crate) all: watch::Receiver<Option<Vec<Vip>>>,
    pub(crate) placed: watch::Receiver<Option<BTreeMap<ClaimId, Placed>>>,
}

impl Watched {
    fn vips(&self) -> BTreeSet<Vip> {
        let mut vips: BTreeSet<Vip> = self.vips.borrow().iter().copied().collect();
        if let Some(ServiceAddresses { all, placed }) = &self.services {
            vips.extend(all.borrow().iter().flatten());
            let seats = placed.borrow();
            vips.extend(seats.iter().flatten().flat_map(|(_, seat)| seat.services.iter().flatten()));
        }
        vips
    }
}

/// Looks for ever.
pub(crate) async fn run(watched: &[Watched], view: &ArpView) -> anyhow::Result<()> {
    loop {
        // Several claims may have one interface.
        let mut asked: BTreeMap<String, BTreeSet<Vip>> = BTreeMap::new();
        for one in watched {
            asked.entry(one.interface.clone()).or_default().extend(one.vips());
        }
        let found = spawn_blocking(move || {
            asked.iter().map(|(interface, vips)| loose_arp(interface, vips)).collect::<Vec<_>>()
        });
        let mut lines = Vec::new();
        for result in found.await? {
            match result {
                Ok(loose) => lines.extend(loose.map(|loose| loose.to_string())),
                Err(error) => tracing::debug!(%error, "it cannot be looked how this host answers ARP"),
            }
        }
        view.change_to(lines);
        sleep(LOOK_EVERY).await;
    }
}
