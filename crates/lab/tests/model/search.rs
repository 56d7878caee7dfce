//! The search itself: stateright visits every state of a plan, depth first, and says what it cost.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::check::Invariant;
use mainstay_lab::model::{Action, Plan, World};
use mainstay_lab::sim::Machine;
use stateright::{Checker, HasDiscoveries, Model, Property};

/// A plan as stateright sees it.
pub(crate) struct Search<M> {
    pub(crate) plan: Arc<Plan>,
    first: World<M>,
}

impl<M: Machine + Clone + Hash> Search<M> {
    pub(crate) fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        Self { first: World::first(&plan), plan }
    }
}

/// A machine that can be searched.
pub(crate) trait Searched: Machine + Clone + Hash + Send + Sync + 'static {}
impl<M: Machine + Clone + Hash + Send + Sync + 'static> Searched for M {}

impl<M: Searched> Model for Search<M> {
    type State = World<M>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        vec![self.first.clone()]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        state.choices(actions);
    }

    fn next_state(&self, state: &Self::State, action: Self::Action) -> Option<Self::State> {
        let mut next = state.clone();
        next.take(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! keeps {
            ($($name:literal: $invariant:ident),+ $(,)?) => {
                vec![$(Property::always($name, |_, world: &World<M>| world.keeps(Invariant::$invariant))),+]
            };
        }
        keeps![
            "(a) two holders that hear each other end it within the bound": OneHolder,
            "(b) with a fit node the VIP is held within the bound": Served,
            "(c) an API outage alone moves nothing": OutageMovesNothing,
            "(d) within one Lease UID the epoch never goes back": EpochGrows,
            "(e) never two confirmed holders of one epoch": OneConfirmed,
            "(f) after the last fault one holder, and the client on it, within the bound": Settled,
            "a holder announces every interval": AnnouncementGap,
            "the address is there before it is announced": PresentThenAnnounced,
            "without an agent the kernel gives the address up": DeadMan,
        ]
    }
}

/// What one search found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) depth: usize,
    pub(crate) took: Duration,
    pub(crate) plan: Arc<Plan>,
    /// Each broken promise with the way to it, readable.
    pub(crate) broken: Vec<(&'static str, Vec<String>)>,
}

/// Visits all states of a plan, or up to the first broken promise.
pub(crate) fn search<M: Searched>(plan: Plan) -> Found {
    let model = Search::<M>::new(plan);
    let plan = Arc::clone(&model.plan);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads).finish_when(HasDiscoveries::Any).spawn_dfs().join();
    let broken =
        checker.discoveries().into_iter().map(|(name, path)| (name, retell::<M>(&plan, path.into_actions())));
    let broken: Vec<_> = broken.collect();
    assert!(checker.is_done() || !broken.is_empty(), "the queue is exhausted");
    Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        plan,
        broken,
    }
}

/// Goes a path again, and tells what happens on it: faults, messages hindered, events, the Lease, announcements. With
/// `MAINSTAY_MODEL_TRACE` every input and every order too.
fn retell<M: Searched>(plan: &Arc<Plan>, path: Vec<Action>) -> Vec<String> {
    let mut world = World::<M>::first(plan).traced();
    let all = std::env::var("MAINSTAY_MODEL_TRACE").is_ok();
    let chatter = |line: &str| line.contains(": -> ") || line.contains(": <- ");
    let mut lines = Vec::new();
    for action in path {
        world.take(action);
        lines.extend(world.take_trace().into_iter().filter(|line| all || !chatter(line)));
    }
    lines
}
