//! The load balancer's states, read when somebody asks.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ByBackend;
use super::scrape::counted;
use crate::admin::reply::Balancer;

pub(super) fn register(balancer: &Balancer, registry: &mut Registry) {
    let in_force = Gauge::<i64>::default();
    in_force.set(i64::from(balancer.in_force));
    registry.register(
        "lb_in_force",
        "1 if the kernel balances as was decided last. No VIP depends on it",
        in_force,
    );
    let in_doubt = Gauge::<i64>::default();
    in_doubt.set(i64::from(balancer.in_doubt));
    registry.register("lb_in_doubt", "1 if no backend is known to be healthy (fail open)", in_doubt);
    registry.register(
        "lb_connections_ended",
        "Connections ended because their backend was taken out",
        counted(balancer.connections_ended),
    );
    register_backends(balancer, registry);
}

fn register_backends(balancer: &Balancer, registry: &mut Registry) {
    let family = Family::<ByBackend, Gauge>::default;
    let (up, takes, connections) = (family(), family(), family());
    for backend in &balancer.backends {
        let label = ByBackend { backend: backend.address.clone() };
        up.get_or_create(&label).set(i64::from(backend.state == "up"));
        takes.get_or_create(&label).set(i64::from(backend.takes_connections));
        connections.get_or_create(&label).set(i64::try_from(backend.connections).unwrap_or(i64::MAX));
    }
    registry.register("lb_backend_up", "1 if this backend answers its checks", up);
    registry.register("lb_backend_takes", "1 if new connections go to this backend", takes);
    registry.register(
        "lb_backend_connections",
        "Connections through this node to this backend that the kernel remembers",
        connections,
    );
}
