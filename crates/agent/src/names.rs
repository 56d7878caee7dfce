//! VIPs that are given as DNS names: what the names mean, asked at the start and every ten seconds.
//!
//! The last good answer is the last known state: it stays in force while no name server answers, or answers what cannot
//! be a VIP, and it is in the snapshot, also for the boots to come. The system's resolver blocks, for half a minute where no name server answers, so it
//! has a thread of its own (`lookup`), one look-up at a time, and the loop never waits for it. Which addresses of an
//! answer become VIPs is decided by pure code (`choice`).

mod choice;
mod lookup;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::backoff::Backoff;
use mainstay_core::names::NodeName;
use mainstay_core::rng::Rng;
use mainstay_core::snapshot::{Member, Snapshot};
use mainstay_core::vip::Vip;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

pub(crate) use choice::Choice;
pub(crate) use lookup::Resolver;

use crate::admin::reply;
use crate::config::{Config, Host, unusable};

/// Between look-ups of a name that is known. (kube-vip's is 3 s.) Nodes differ in what they know by this and by what
/// caches add, and the core's times for a change are longer than both.
pub(crate) const LOOK_UP_EVERY: Duration = Duration::from_secs(10);
/// While an address is still wanted to start with: between attempts, from this on average half ...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ... to that.
const RETRY_LAST: Duration = LOOK_UP_EVERY;

/// The last good answers, by name.
pub(crate) type Answers = BTreeMap<String, Vec<Vip>>;

/// The nodes with an agent, by what is known of the claim's Lease. No VIP can be one of their own addresses.
pub(crate) type Members = BTreeMap<NodeName, Member>;

/// The nodes that `snapshot` remembers; but not those of seats alone, where nobody drops who is gone.
pub(crate) fn members(snapshot: &Snapshot) -> Members {
    let claims = snapshot.claims.iter().filter(|(claim, _)| claim.home().is_none());
    claims.flat_map(|(_, memory)| memory.members.clone()).collect()
}

/// The addresses that the holder, another node, said it wears when `snapshot` was written.
pub(crate) fn told(snapshot: &Snapshot) -> Vec<Vip> {
    snapshot.claims.values().flat_map(|claim| claim.told.iter().copied()).collect()
}

/// What is known, for whoever follows it. The newest counts.
#[derive(Debug)]
pub(crate) struct Known {
    /// The claim's addresses, as far as they are known.
    pub(crate) vips: watch::Sender<Vec<Vip>>,
    /// What the snapshot keeps.
    pub(crate) answers: watch::Sender<Answers>,
    /// The members, whom the loop learns.
    pub(crate) members: watch::Sender<Members>,
    /// What the holder, another node, says that it wears. The loop learns that as well.
    pub(crate) told: watch::Sender<Vec<Vip>>,
}

/// How the look-ups of one name go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NameState {
    addresses: Vec<Vip>,
    failures_in_a_row: u32,
    last_error: Option<String>,
}

/// What is known of the names, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamesView {
    states: Arc<StdMutex<BTreeMap<String, NameState>>>,
    /// Some address of the claim is known, of whichever name or none.
    begun: Arc<AtomicBool>,
}

impl NamesView {
    /// Each name with its addresses and how its look-ups go.
    pub(crate) fn read(&self) -> Vec<reply::Name> {
        let one = |(name, state): (&String, &NameState)| reply::Name {
            name: name.clone(),
            addresses: state.addresses.iter().map(ToString::to_string).collect(),
            failures_in_a_row: state.failures_in_a_row,
            last_error: state.last_error.clone(),
        };
        self.lock().iter().map(one).collect()
    }

    /// Why there is no VIP yet, if there is none.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        if self.begun.load(Ordering::Relaxed) { Vec::new() } else { self.unknown() }
    }

    /// Which names are waited for, while others' addresses are held.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.begun.load(Ordering::Relaxed) { self.unknown() } else { Vec::new() }
    }

    fn unknown(&self) -> Vec<String> {
        let unknown = |(name, state): (&String, &NameState)| {
            let why = state.last_error.as_deref().unwrap_or("it has not been answered yet");
            state.addresses.is_empty().then(|| format!("no address of {name} is known yet: {why}"))
        };
        self.lock().iter().filter_map(unknown).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, NameState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of a look-up, and says what changed: one line for each change, none for each try.
    fn note(&self, name: &str, addresses: &[Vip], trouble: Option<String>) {
        let mut states = self.lock();
        let state = states.entry(name.to_owned()).or_default();
        let before = std::mem::replace(&mut state.addresses, addresses.to_vec());
        if before != addresses && !addresses.is_empty() {
            tracing::info!(name, before = %listed(&before), now = %listed(addresses), "the name means other addresses now");
        }
        match &trouble {
            None if state.last_error.is_some() => {
                tracing::info!(name, addresses = %listed(addresses), "the name is resolved again")
            }
            Some(trouble) if state.last_error.as_ref() != Some(trouble) => match addresses {
                [] => tracing::warn!(name, "{trouble}; waiting for an address of it"),
                kept => {
                    tracing::warn!(name, "{trouble}; going on with its last good answer, {}", listed(kept))
                }
            },
            _ => {}
        }
        state.failures_in_a_row =
            if trouble.is_some() { state.failures_in_a_row.saturating_add(1) } else { 0 };
        state.last_error = trouble;
    }
}

/// In the order in which each comes first.
fn each_once(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut once = Vec::new();
    for address in addresses {
        if !once.contains(&address) {
            once.push(address);
        }
    }
    once
}

fn listed(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Keeps the names resolved.
pub(crate) struct Keeper {
    interface: String,
    /// What answers for others than us: the gateway, and whoever else was named as a witness.
    witnesses: Vec<IpAddr>,
    resolver: Resolver,
    /// Asks the host for its own addresses, none of which can be a VIP.
    host: fn() -> Host,
    known: Known,
    view: NamesView,
    /// Locked by the one run there is; released when it ends, also by a panic.
    choice: Mutex<Choice>,
}

impl Keeper {
    /// One that begins with what an earlier run knew: the last good answers, the members, and what the holder said.
    pub(crate) fn new(config: &Config, kept: &Snapshot, resolver: Resolver, view: NamesView) -> Self {
        let choice = Choice::new(&config.addresses, config.features.dns_mode, &kept.names);
        let known = Known {
            vips: watch::Sender::default(),
            answers: watch::Sender::default(),
            members: watch::Sender::new(members(kept)),
            told: watch::Sender::new(told(kept)),
        };
        let (interface, witnesses) = (config.interface.clone(), config.witnesses.clone());
        let choice = Mutex::new(choice);
        Self { interface, witnesses, resolver, host: Host::read, known, view, choice }.begun()
    }

    /// Ready to run. What was a good answer once may be a host's own address by now.
    fn begun(mut self) -> Self {
        let (mut choice, host) = (self.choice.get_mut().clone(), (self.host)());
        for name in choice.names() {
            if let Err(trouble) = self.check(&name, choice.held(&name), &host) {
                tracing::warn!(name, "{trouble}; the last good answer is not used");
                choice.forget(&name);
            }
            let state = NameState { addresses: choice.held(&name).to_vec(), ..NameState::default() };
            self.view.lock().insert(name, state);
        }
        self.publish(&choice);
        self.choice = Mutex::new(choice);
        self
    }

    /// What others follow.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Resolves for ever.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub(crate) async fn run(&self, seed: u64) -> anyhow::Result<()> {
        let mut choice = self.choice.lock().await;
        let (mut backoff, mut rng) = (Backoff::new(RETRY_FIRST, RETRY_LAST), Rng::new(seed));
        loop {
            for name in choice.names() {
                self.look_up(&mut choice, &name).await;
            }
            self.publish(&choice);
            sleep(if choice.is_complete() { LOOK_UP_EVERY } else { backoff.next(&mut rng) }).await;
        }
    }

    async fn look_up(&self, choice: &mut Choice, name: &str) {
        let trouble = match self.resolver.addresses(name).await {
            Ok(answer) => self.take(choice, name, &answer).await.err(),
            Err(error) => Some(format!("{name} cannot be resolved: {error}")),
        };
        self.view.note(name, choice.held(name), trouble);
    }

    /// Takes an answer, or says why it cannot be one.
    async fn take(&self, choice: &mut Choice, name: &str, answer: &[IpAddr]) -> Result<(), String> {
        let told = self.known.told.borrow().clone();
        let chosen = choice.of(name, answer, &told)?;
        if chosen.iter().any(|vip| !choice.held(name).contains(vip)) {
            let host = tokio::task::spawn_blocking(self.host).await.map_err(|error| error.to_string())?;
            let new: Vec<Vip> =
                chosen.iter().copied().filter(|vip| !choice.held(name).contains(vip)).collect();
            self.check(name, &new, &host)?;
        }
        choice.hold(name, chosen);
        Ok(())
    }

    /// An answer may be wrong, and the VIP must not be what only one host may have.
    fn check(&self, name: &str, new: &[Vip], host: &Host) -> Result<(), String> {
        let remedy = format!("give {name} an address in DNS that is unused on the interface's network");
        if let Some((vip, kind)) = new.iter().find_map(|vip| Some((vip, unusable(*vip)?))) {
            return Err(format!("{name} means {vip}, which is {kind} and cannot be a VIP; {remedy}"));
        }
        let own = host.own_among(new, &self.interface);
        let own = own.map(|(vip, on)| (*vip, format!("this host's own address on {on}")));
        match own.or_else(|| self.another_host_among(new)) {
            Some((vip, whose)) => Err(format!("{name} means {vip}, which is {whose}; {remedy}")),
            None => Ok(()),
        }
    }

    fn another_host_among(&self, new: &[Vip]) -> Option<(Vip, String)> {
        let members = self.known.members.borrow();
        let whose = |vip: &Vip| {
            let own = members.iter().find(|(_, member)| member.addresses.contains(vip));
            let own = own.map(|(name, _)| format!("{name}'s own address"));
            let witness = || self.witnesses.contains(vip).then(|| "the gateway's or a witness's".to_owned());
            Some((*vip, own.or_else(witness)?))
        };
        new.iter().find_map(whose)
    }

    /// The answers first: whoever sees new addresses finds with them what is to be kept.
    fn publish(&self, choice: &Choice) {
        let replace_by = |new: Answers| move |old: &mut Answers| std::mem::replace(old, new.clone()) != new;
        self.known.answers.send_if_modified(replace_by(choice.answers()));
        let vips = choice.vips();
        self.view.begun.store(!vips.is_empty(), Ordering::Relaxed);
        self.known.vips.send_if_modified(|old| std::mem::replace(old, vips.clone()) != vips);
    }
}
