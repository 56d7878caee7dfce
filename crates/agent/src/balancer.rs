//! Keeps the kernel's load balancer as the backends are: who is listed, who answers its checks, and what follows for the
//! kernel (`core::balance`).
//!
//! ```text
//! nodes of the control plane, or a list ──► pool ──► kernel, in one transaction, and what it cannot keep is ended
//!            checks, one for each, for ever ──┘
//! ```
//!
//! Nothing here is asked of an API server but the list, and that is remembered: in an outage, and in a restart in it, the
//! checks alone decide. Nothing is taken from the kernel because something failed: as long as nobody is listed, it balances
//! as it did.

mod backends;
mod check;
mod kernel;
mod ring;
mod view;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::balance::{Balance, Failing, Listed, Pool, Thresholds};
use mainstay_core::vip::Vip;
use mainstay_dataplane::ipvs::{self, Forwarding};
use mainstay_dataplane::{balancer, clock};
use mainstay_kube::ControlPlaneNodes;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::{Balancer as Settings, Config};
use crate::insight::ApiView;
use crate::names::Members;
use backends::Backends;
use check::{Check, Checker};
use kernel::{Done, Kernel};
use ring::Ring;
pub(crate) use view::BalancerView;

/// The kernel's table is looked at so often: others may flush it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looked at again so soon after a change, for a connection may have begun to what was just taken out, and after a failure.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How long the first checks are waited for.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// Between a check that went wrong and the one that confirms it.
const SOON: Duration = Duration::from_millis(50);

/// What every run of the task begins with.
#[derive(Debug)]
pub(crate) struct Keeper {
    settings: Settings,
    /// Of the VIP.
    interface: String,
    /// The API servers'.
    port: u16,
    check: Check,
    backends: Backends,
    claim: Claim,
    api: ApiView,
}

/// What is known of the control plane's claim, as it changes.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) vips: watch::Receiver<Vec<Vip>>,
    /// Whether this node holds them.
    pub(crate) held: watch::Receiver<Option<bool>>,
    /// Whom the authority names.
    pub(crate) holder: watch::Receiver<Option<String>>,
    /// The nodes with an agent.
    pub(crate) members: watch::Receiver<Members>,
}

impl Keeper {
    /// One for the balancer that the settings ask for, if they do.
    pub(crate) fn new(config: &Config, claim: Claim, api: ApiView) -> Option<Self> {
        let settings = config.features.balancer.clone();
        if !settings.enabled || !config.holds_control_plane() {
            return None;
        }
        let check = Check {
            how: settings.check,
            longest: settings.check_timeout,
            authority: config.features.health_check.ca.clone(),
        };
        let backends = Backends::new(&config.state_dir, &settings.backends, config.port);
        let interface = config.interface.clone();
        Some(Self { settings, interface, port: config.port, check, backends, claim, api })
    }

    /// Keeps the kernel's balancer so.
    ///
    /// # Errors
    /// When nobody says any more what there is to balance, or a check cannot be made at all.
    pub(crate) async fn run(&self, view: &BalancerView) -> anyhow::Result<()> {
        let (told, mut nodes) = watch::channel(None);
        let Claim { mut vips, mut held, mut holder, mut members } = self.claim.clone();
        let kernel = self.choose().await?;
        let following = self.backends.follow(&self.api, told);
        tokio::pin!(following);
        let mut turn = Turn::new((self, kernel), view);
        turn.list(self.backends.known().await).await?;
        loop {
            tokio::select! {
                ended = &mut following => return ended,
                Ok(()) = nodes.changed() => {
                    let nodes: ControlPlaneNodes = nodes.borrow_and_update().clone();
                    turn.list(self.backends.list(nodes).await).await?;
                }
                Some(checked) = turn.checks.join_next() => turn.checked(checked?),
                Some(looked) = turn.ring.looked() => looked?,
                changed = vips.changed() => changed?,
                changed = held.changed() => changed?,
                changed = holder.changed() => {
                    changed?;
                    // Its predecessor may be dead.
                    turn.ring.look(&BTreeSet::new());
                }
                changed = members.changed() => changed?,
                () = sleep_until(turn.look_at) => turn.is_due(),
            }
            turn.ring.take(&members.borrow_and_update());
            let known = vips.borrow_and_update().clone();
            let held = *held.borrow_and_update() == Some(true);
            turn.put(&known, held).await?;
        }
    }

    /// What in the kernel is to balance; what the other part did in an earlier run is taken away.
    async fn choose(&self) -> anyhow::Result<Kernel> {
        let has_ipvs = spawn_blocking(|| ipvs::available().map_err(|error| error.to_string())).await?;
        let (kernel, said) = Kernel::choose(&self.settings, has_ipvs);
        if let Some(said) = said {
            tracing::warn!("lb_backend: {said}");
        }
        let (vips, port) = (self.claim.vips.borrow().iter().copied().collect(), self.settings.port);
        spawn_blocking(move || kernel.remove_others((&vips, port))).await?;
        Ok(kernel)
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds { rise: self.settings.rise, fall: self.settings.fall }
    }
}

/// What one run knows.
struct Turn<'a> {
    keeper: &'a Keeper,
    kernel: Kernel,
    view: &'a BalancerView,
    pool: Pool,
    /// One for each that is listed: it waits, and asks.
    checks: JoinSet<Checked>,
    checked: BTreeSet<SocketAddr>,
    ring: Ring,
    /// This host's own addresses.
    own: BTreeSet<IpAddr>,
    /// When the first checks have been waited for long enough.
    first_by: Instant,
    /// What the kernel was told last, if it took it.
    in_force: Option<Order>,
    look_at: Instant,
    due: bool,
}

/// What the kernel is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    balance: Balance,
    /// Whether on this node.
    here: bool,
    /// The nodes that strays are sent on to, one for each family.
    strays_go_to: BTreeSet<IpAddr>,
}

/// A check that was made.
struct Checked {
    checker: Arc<Checker>,
    began: Instant,
    answer: Result<(), String>,
    /// Whether the host is there.
    reached: bool,
}

impl<'a> Turn<'a> {
    fn new((keeper, kernel): (&'a Keeper, Kernel), view: &'a BalancerView) -> Self {
        let now = Instant::now();
        Self {
            keeper,
            kernel,
            view,
            pool: Pool::new(keeper.thresholds()),
            checks: JoinSet::new(),
            checked: BTreeSet::new(),
            ring: Ring::new(keeper.port),
            own: BTreeSet::new(),
            first_by: now + FIRST_WITHIN,
            in_force: None,
            look_at: now + FIRST_WITHIN,
            due: false,
        }
    }

    /// Takes in who is listed, and begins to check who is new.
    async fn list(&mut self, listed: Listed) -> anyhow::Result<()> {
        if self.pool.members().is_empty() {
            self.first_by = Instant::now() + FIRST_WITHIN;
        }
        self.pool.list(&listed);
        self.own = spawn_blocking(backends::own_addresses).await?;
        for address in self.pool.members().keys().copied().collect::<Vec<_>>() {
            if self.checked.insert(address) {
                let checker = Arc::new(self.keeper.check.of(address)?);
                self.check(checker, Instant::now());
            }
        }
        Ok(())
    }

    fn check(&mut self, checker: Arc<Checker>, at: Instant) {
        self.checks.spawn(async move {
            sleep_until(at).await;
            let began = Instant::now();
            let answer = checker.check().await;
            let reached = answer.is_ok() || check::reaches(checker.address).await;
            Checked { checker, began, answer, reached }
        });
    }

    /// It is time to look, also for nodes that nothing checks.
    fn is_due(&mut self) {
        self.due = true;
        self.ring.look(&self.checked.iter().map(SocketAddr::ip).collect());
    }

    /// Takes in an answer, and has the next one fetched, unless it is listed no more.
    fn checked(&mut self, Checked { checker, began, answer, reached }: Checked) {
        let address = checker.address;
        self.ring.reached(address.ip(), reached);
        if !self.pool.members().contains_key(&address) {
            self.checked.remove(&address);
            return;
        }
        let before = self.pool.members()[&address].health;
        self.pool.answered(clock::now(), address, answer);
        view::tell(&self.pool.members()[&address], address, before);
        let next = match self.pool.failing(address) {
            Failing::Yes => Instant::now() + SOON,
            Failing::No => (began + self.keeper.settings.check_every).max(Instant::now() + SOON),
        };
        self.check(checker, next);
    }

    /// What the kernel is to do; `None` while nobody knows yet.
    fn wanted(&self, vips: &[Vip]) -> Option<(Balance, bool)> {
        let known = self.pool.all_tried() || Instant::now() >= self.first_by;
        if self.pool.members().is_empty() || vips.is_empty() || !known {
            return None;
        }
        let settings = &self.keeper.settings;
        let prefers_own = settings.forwarding == Forwarding::Local;
        let serving = self.pool.serving(Some(&self.own).filter(|_| prefers_own));
        let balance = Balance {
            vips: vips.iter().copied().collect(),
            port: settings.port,
            distribution: settings.distribution,
            takes: serving.takes,
            keeps: serving.keeps,
        };
        // That nobody was asked yet is no doubt.
        Some((balance, serving.in_doubt && self.pool.all_tried()))
    }

    /// Has the kernel do it, if it is something else than before, or it is time to look.
    async fn put(&mut self, vips: &[Vip], held: bool) -> anyhow::Result<()> {
        let Some((balance, in_doubt)) = self.wanted(vips) else {
            if self.due {
                (self.due, self.look_at) = (false, Instant::now() + LOOK_SOON);
            }
            return Ok(());
        };
        let here = held || !self.kernel.needs_the_vip();
        let wanted = Order { strays_go_to: self.next_nodes(vips), balance: balance.clone(), here };
        let is_news = self.in_force.as_ref() != Some(&wanted);
        if is_news || self.due {
            let result = self.order(wanted.clone()).await?;
            let settled = matches!(result, Ok(Done { changed: false, ended: 0, .. }));
            self.look_at = Instant::now() + if settled { LOOK_EVERY } else { LOOK_SOON };
            self.due = false;
            self.in_force = result.is_ok().then(|| wanted.clone());
            self.view.tried(&result, (is_news, self.kernel, &balance));
        }
        self.view.show(&self.pool, &wanted, in_doubt);
        Ok(())
    }

    /// Whom strays are sent on to. IPVS knows no strays.
    fn next_nodes(&self, vips: &[Vip]) -> BTreeSet<IpAddr> {
        if self.kernel != Kernel::Nftables || !self.keeper.settings.keep_connections {
            return BTreeSet::new();
        }
        self.ring.next(&self.own, vips)
    }

    async fn order(&self, order: Order) -> anyhow::Result<Result<Done, String>> {
        let (kernel, interface) = (self.kernel, self.keeper.interface.clone());
        let work = move || match order.here {
            true => kernel.put(&interface, &order),
            false => kernel.remove((&order.balance.vips, order.balance.port)).map(|()| Done::default()),
        };
        Ok(spawn_blocking(work).await?)
    }
}

/// Whether the kernel can do what the settings ask of it.
///
/// # Errors
/// When `lb_enable` asks for a load balancer that the kernel does not do, or does not let this process do.
pub(crate) fn possible(config: &Config) -> anyhow::Result<()> {
    let settings = &config.features.balancer;
    if !settings.enabled || !config.holds_control_plane() {
        return Ok(());
    }
    let has_ipvs = ipvs::available().map_err(|error| error.to_string());
    match Kernel::choose(settings, has_ipvs) {
        (Kernel::Ipvs(_), _) => Ok(()),
        (Kernel::Nftables, _) => balancer::check(settings.distribution),
    }
    .context("lb_enable=true: leave it out to do without")
}

/// Takes away what an earlier run, with the setting, has left. Where the kernel has none of it, nothing was left.
pub(crate) async fn clear(vips: BTreeSet<Vip>, port: u16) {
    let work = move || {
        Kernel::Nftables.remove_others((&vips, port));
        Kernel::Ipvs(ipvs::Settings::default()).remove_others((&vips, port));
    };
    if let Err(error) = spawn_blocking(work).await {
        tracing::debug!("what an earlier run has left of a load balancer is not looked for: {error}");
    }
}
