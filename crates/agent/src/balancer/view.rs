//! What is known of the load balancer, for people.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::balance::{Balance, Distribution, Health, Member, Pool};
use mainstay_dataplane::clock;
use tokio::task::spawn_blocking;

use super::Order;
use super::kernel::{Done, Kernel};
use crate::admin::reply;

/// What is known of it. Shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct BalancerView(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None` where nothing is balanced.
    shown: Option<reply::Balancer>,
    /// What the kernel was asked for last.
    asked: Option<(Kernel, Balance)>,
}

impl BalancerView {
    /// There is a balancer to be.
    pub(crate) fn begin(&self) {
        self.lock().shown.get_or_insert_default();
    }

    /// What was tried. A failure is told when it is another than before.
    pub(super) fn tried(
        &self,
        result: &Result<Done, String>,
        (is_news, kernel, balance): (bool, Kernel, &Balance),
    ) {
        let mut state = self.lock();
        state.asked = Some((kernel, balance.clone()));
        let shown = state.shown.get_or_insert_default();
        match result {
            Ok(Done { changed, ended, lacking }) => {
                lacking.iter().for_each(|problem| warn_once(problem));
                shown.connections_ended += u64::try_from(*ended).unwrap_or(u64::MAX);
                if *changed && !is_news {
                    tracing::warn!(
                        "somebody had changed the load balancer's table; it is as it should be again"
                    );
                }
                if shown.last_error.take().is_some() {
                    tracing::info!("the load balancer is as it should be again");
                }
                shown.in_force = true;
            }
            Err(error) => {
                if shown.last_error.as_ref() != Some(error) {
                    tracing::warn!(
                        "the load balancer (lb_enable) is not as it should be, and goes on as it was: {error}"
                    );
                }
                (shown.in_force, shown.last_error) = (false, Some(error.clone()));
            }
        }
    }

    /// How the backends do.
    pub(super) fn show(&self, pool: &Pool, order: &Order, in_doubt: bool) {
        let balance = &order.balance;
        let mut state = self.lock();
        let shown = state.shown.get_or_insert_default();
        if in_doubt && !shown.in_doubt {
            tracing::error!(
                "no API server behind the VIP answers its checks: connections go to those that did last"
            );
        }
        shown.in_doubt = in_doubt;
        shown.strays_go_to = order.strays_go_to.iter().copied().collect();
        shown.port = balance.port;
        shown.distribution = word(balance.distribution).to_owned();
        let members = pool.members().iter();
        shown.backends = members.map(|(address, member)| backend(*address, member, balance)).collect();
    }

    /// All of it; `None` where nothing is balanced.
    pub(crate) fn read(&self) -> Option<reply::Balancer> {
        self.lock().shown.clone()
    }

    /// Counts anew what is counted when somebody asks.
    pub(crate) async fn count(&self) {
        let Some((kernel, balance)) = self.lock().asked.clone() else { return };
        let counted = spawn_blocking(move || kernel.connections(&balance)).await.unwrap_or_default();
        let mut state = self.lock();
        for backend in state.shown.iter_mut().flat_map(|shown| &mut shown.backends) {
            let address: Option<SocketAddr> = backend.address.parse().ok();
            backend.connections =
                address.and_then(|address| counted.get(&address).copied()).unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn backend(address: SocketAddr, member: &Member, balance: &Balance) -> reply::Backend {
    reply::Backend {
        address: address.to_string(),
        node: member.node.clone(),
        state: state(member.health).to_owned(),
        takes_connections: balance.takes.contains(&address),
        changed_seconds_ago: member.since.map(|since| clock::now().since(since).as_secs_f64()),
        last_error: member.last_error.clone(),
        connections: 0,
    }
}

/// A line in the log when a backend's health is another.
pub(super) fn tell(member: &Member, address: SocketAddr, before: Health) {
    let why = member.last_error.as_deref().unwrap_or_default();
    match member.health {
        now if now == before => {}
        Health::Down => tracing::warn!(%address, why, "an API server behind the VIP is out of rotation"),
        _ => tracing::info!(%address, "an API server behind the VIP is in rotation"),
    }
}

/// A line in the log, if it was not the last one of its kind.
fn warn_once(problem: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(problem.to_owned()) {
        tracing::warn!("{problem}");
    }
}

const fn state(health: Health) -> &'static str {
    match health {
        Health::Untried => "untried",
        Health::Up => "up",
        Health::Down => "down",
    }
}

const fn word(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::RoundRobin => "round-robin",
        Distribution::SourceHash => "source-hash",
    }
}
