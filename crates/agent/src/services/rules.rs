//! What the settings say of Services, in the words of those who decide and of those who watch.

use std::net::SocketAddr;

use mainstay_core::intent::{ClassRule, ObjectName, Rules};
use mainstay_core::ipam;
use mainstay_core::vip::Vip;
use mainstay_kube::{Following, Pools, WatchStates, Watched};

use super::filter::Switch;
use crate::config::features::Services;

/// The ConfigMap of the pools: kube-vip-cloud-provider's.
const POOLS: (&str, &str) = ("kube-system", "kubevip");

/// What is watched.
pub(super) fn followed(services: &Services) -> Following {
    let (namespace, name) = POOLS;
    let pools = ObjectName::new(namespace, name).expect("two names without a slash");
    Following { namespace: services.namespace.clone(), ..Following::all(pools) }
}

/// Whether what their addresses let in is filtered.
pub(super) fn filter_switch(services: &Services) -> Switch {
    if services.only_service_ports { Switch::On } else { Switch::Off }
}

/// The rules by which is decided; the control plane's addresses are nobody else's, and may change.
pub(super) fn rules(services: &Services, vips: &[Vip]) -> Rules {
    Rules {
        namespace: services.namespace.clone(),
        class: ClassRule {
            only: services.class.only,
            name: services.class.name.clone(),
            legacy: services.class.legacy,
        },
        reserved: vips.iter().copied().collect(),
        exclude_label: services.exclude_label,
    }
}

/// The address that a URL of an API server names, if it names one.
pub(super) fn host(url: &str) -> Option<Vip> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    authority
        .parse::<SocketAddr>()
        .map(|socket| socket.ip())
        .ok()
        .or_else(|| authority.trim_start_matches('[').trim_end_matches(']').parse().ok())
}

/// The pools. `None` as long as nobody has said what they are, and nothing has gone wrong with asking: without them, whoever
/// needs an address from one is refused.
pub(super) fn pools(known: &Pools, watches: &WatchStates) -> Option<ipam::Pools> {
    let failing = || watches.get(&Watched::Pools).is_some_and(|state| state.failures_in_a_row > 0);
    match known {
        Pools::Present(data) => Some(ipam::Configuration::of(data).pools),
        Pools::Absent => Some(ipam::Pools::default()),
        Pools::Unknown => failing().then(ipam::Pools::default),
    }
}
