//! What the settings say of Services, in the words of those who decide and of those who watch.

use mainstay_core::intent::{ClassRule, ObjectName, Rules};
use mainstay_core::vip::Vip;
use mainstay_kube::Following;

use crate::config::features::Services;

/// The ConfigMap of the pools: kube-vip-cloud-provider's.
const POOLS: (&str, &str) = ("kube-system", "kubevip");

/// What is watched.
pub(super) fn followed(services: &Services) -> Following {
    let (namespace, name) = POOLS;
    let pools = ObjectName::new(namespace, name).expect("two names without a slash");
    Following { namespace: services.namespace.clone(), ..Following::all(pools) }
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
        ..Rules::default()
    }
}
