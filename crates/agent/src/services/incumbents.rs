//! Keeps it known which Services kube-vip still elects one by one, so that the placer leaves those to it.
//!
//! ```text
//!   placer: part(claims) ──► Leases to look at ──► run: a list of each namespace, every 2 s ──► Incumbents
//!            ▲                                                                                     │
//!            └────────────── who has each Lease, as far as that is known ◄─────────────────────────┘
//! ```
//!
//! Nothing is asked while no Service says a holder without saying a seat: after a migration, never again. No other Service
//! waits for it. Where Leases may not be read, Services are placed as if there were none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::intent::ObjectName;
use mainstay_core::spread::incumbents::{ELECTORS_FIRST, Incumbency, Incumbents};
use mainstay_dataplane::clock;
use mainstay_kube::{ErrorClass, LeaseLister, Trouble};
use tokio::sync::watch;
use tokio::time::sleep;

use super::replace;
use super::seating::Placeable;

/// Leases are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// And after this, where others are to be looked at as well: Services come in crowds.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// Refusals (403) in a row before a namespace's Leases count as nobody's: an API server that starts may refuse at first.
const REFUSALS: u32 = 2;

/// Services that are left to kube-vip, and why, where that is known by now.
pub(super) type Left = BTreeMap<ObjectName, Option<String>>;

/// Where it is said which Leases are to be looked at, and who has them.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    asked: watch::Sender<BTreeSet<ObjectName>>,
    known: watch::Sender<BTreeMap<ObjectName, Incumbency>>,
}

impl Keeper {
    /// Who has the Leases that are looked at.
    pub(super) fn subscribe(&self) -> watch::Receiver<BTreeMap<ObjectName, Incumbency>> {
        self.known.subscribe()
    }

    /// Says which Leases are to be looked at; of others nothing is known any more.
    pub(super) fn ask(&self, leases: impl Iterator<Item = ObjectName>) {
        let leases: BTreeSet<ObjectName> = leases.collect();
        self.known.send_if_modified(|known| {
            known.retain(|lease, _| leases.contains(lease));
            false
        });
        self.asked.send_if_modified(|asked| replace(asked, leases));
    }

    /// Parts these claims into those that may be placed, and what is left to kube-vip.
    pub(super) fn part<'a>(&self, claims: &'a [Placeable]) -> (Vec<&'a Placeable>, Left) {
        self.ask(claims.iter().flat_map(|claim| &claim.elected).cloned());
        let known = self.known.borrow();
        let (mut ours, mut left) = (Vec::with_capacity(claims.len()), Left::new());
        for claim in claims {
            match claim.elected.iter().find_map(|lease| is_over(lease, known.get(lease)).err()) {
                None => ours.push(claim),
                Some(why) => left.extend(claim.services.iter().map(|name| (name.clone(), why.clone()))),
            }
        }
        (ours, left)
    }

    /// Looks at what is asked for, by way of `lister`; never ends.
    pub(super) async fn run(&self, lister: LeaseLister) {
        let mut asked = self.asked.subscribe();
        let mut looks = Looks { lister, incumbents: Incumbents::default(), failed: BTreeMap::new() };
        loop {
            let leases = asked.borrow_and_update().clone();
            self.look(&mut looks, &leases).await;
            let others = async {
                // The sender is this keeper's own.
                drop(asked.wait_for(|asked| !asked.is_subset(&leases)).await);
            };
            if leases.is_empty() {
                others.await;
            } else {
                sleep(LOOK_SOON).await;
                tokio::select! {
                    () = sleep(LOOK_EVERY - LOOK_SOON) => {}
                    () = others => {}
                }
            }
        }
    }

    /// One look at all of them; each namespace's are told when they are known.
    async fn look(&self, looks: &mut Looks, leases: &BTreeSet<ObjectName>) {
        looks.incumbents.retain(leases);
        let namespaces: BTreeSet<&str> = leases.iter().map(ObjectName::namespace).collect();
        for namespace in namespaces {
            looks.namespace(namespace, leases).await;
            let asked = self.asked.borrow().clone();
            let mut all = looks.incumbents.all();
            all.retain(|lease, _| asked.contains(lease));
            self.known.send_if_modified(|known| replace(known, all));
        }
    }
}

/// Whether what is elected by this Lease may be placed; if not, why, where that is known by now.
fn is_over(lease: &ObjectName, has: Option<&Incumbency>) -> Result<(), Option<String>> {
    match has {
        Some(Incumbency::Over) => Ok(()),
        Some(Incumbency::Holder(holder)) => {
            Err(Some(format!("left to kube-vip: Lease {lease} is held by {holder}")))
        }
        Some(Incumbency::Vacant) => Err(Some(format!(
            "left to kube-vip for {} s: Lease {lease} has no holder, and its electors go first",
            ELECTORS_FIRST.as_secs()
        ))),
        None => Err(None),
    }
}

/// What comes of the lists.
#[derive(Debug)]
struct Looks {
    lister: LeaseLister,
    incumbents: Incumbents,
    /// What each namespace's list failed with, and how often in a row.
    failed: BTreeMap<String, (ErrorClass, u32)>,
}

impl Looks {
    async fn namespace(&mut self, namespace: &str, leases: &BTreeSet<ObjectName>) {
        let asked = clock::now();
        let found = self.lister.list(namespace, leases).await;
        let answered = clock::now();
        let refused = self.is_refused(namespace, found.as_ref().err());
        for lease in leases.iter().filter(|lease| lease.namespace() == namespace) {
            match &found {
                Ok(found) => self.incumbents.saw(lease, found.get(lease), (asked, answered)),
                Err(_) if refused => self.incumbents.waive(lease),
                Err(_) => self.incumbents.missed(lease),
            }
        }
    }

    /// Whether these Leases may not be read, by more than one answer. Trouble is told once for each kind of it.
    fn is_refused(&mut self, namespace: &str, trouble: Option<&Trouble>) -> bool {
        let Some(Trouble { class, text }) = trouble else {
            self.failed.remove(namespace);
            return false;
        };
        let (last, count) = self.failed.entry(namespace.to_owned()).or_insert((*class, 0));
        *count = if last == class { count.saturating_add(1) } else { 1 };
        *last = *class;
        match (class, *count) {
            (ErrorClass::Forbidden, REFUSALS) => tracing::warn!(
                "Services in namespace {namespace} are placed without a look at who else holds them, for their Leases may \
                 not be read ({text}): where kube-vip runs as well (svc_election), both may hold them. Grant what \
                 `mainstay manifest rbac --services --servicesElection` prints"
            ),
            (ErrorClass::Forbidden, _) => {}
            (_, 1) => tracing::warn!(
                "the Leases in namespace {namespace} cannot be read: {text}; Services that kube-vip may hold are left to \
                 it; trying on"
            ),
            _ => {}
        }
        *class == ErrorClass::Forbidden && *count >= REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::names::ClaimId;
    use mainstay_core::spread::Demand;
    use mainstay_core::vip::Vip;

    use super::*;

    fn name(text: &str) -> ObjectName {
        format!("shop/{text}").parse().expect("a name")
    }

    /// A claim of these Services, which these Leases may be of.
    fn claim(number: u8, services: &[&str], elected: &[&str]) -> Placeable {
        let vip = Vip::from([10, 0, 0, number]);
        let demand = Demand { claim: ClaimId::service(vip), records: Vec::new(), candidates: Vec::new() };
        let names = |all: &[&str]| all.iter().map(|one| name(one)).collect();
        Placeable { demand, vips: [vip].into(), services: names(services), elected: names(elected) }
    }

    fn holder() -> Incumbency {
        Incumbency::Holder("n9".to_owned())
    }

    #[test]
    fn only_what_another_may_hold_is_left_and_why() {
        let keeper = Keeper::default();
        let claims =
            [claim(1, &["a"], &[]), claim(2, &["b", "c"], &["lb"]), claim(3, &["d", "e"], &["ld", "le"])];
        let part = || {
            let (ours, left) = keeper.part(&claims);
            (ours.iter().map(|claim| claim.vips.clone()).collect::<Vec<_>>(), left)
        };
        let (ours, left) = part();
        assert_eq!(ours, [claims[0].vips.clone()], "the others were never looked at");
        assert_eq!(left, ["b", "c", "d", "e"].map(|service| (name(service), None)).into());
        assert_eq!(*keeper.asked.borrow(), ["lb", "ld", "le"].map(name).into());
        keeper.known.send_replace(
            [(name("lb"), holder()), (name("ld"), Incumbency::Over), (name("le"), Incumbency::Vacant)].into(),
        );
        let (ours, left) = part();
        assert_eq!(ours, [claims[0].vips.clone()], "one that is held keeps all that move with it");
        let held = Some("left to kube-vip: Lease shop/lb is held by n9".to_owned());
        assert_eq!((&left[&name("b")], &left[&name("c")]), (&held, &held));
        let vacant = "left to kube-vip for 5 s: Lease shop/le has no holder, and its electors go first";
        assert_eq!(left[&name("d")].as_deref(), Some(vacant));
        keeper.known.send_replace(["lb", "ld", "le"].map(|lease| (name(lease), Incumbency::Over)).into());
        let (ours, left) = part();
        assert_eq!((ours.len(), left), (3, Left::new()));
    }

    /// It may be given back: a Service whose seat was taken off it is looked at anew.
    #[test]
    fn what_is_not_asked_for_any_more_is_not_known_any_more() {
        let keeper = Keeper::default();
        let (mut told, open) = (keeper.subscribe(), [claim(1, &["a"], &["la"])]);
        keeper.part(&open);
        keeper.known.send_replace([(name("la"), Incumbency::Over)].into());
        told.mark_unchanged();
        assert_eq!(keeper.part(&open).1, Left::new());
        keeper.part(&[claim(1, &["a"], &[])]);
        assert!(!told.has_changed().expect("a sender"), "who says so needs not be told");
        assert_eq!(keeper.part(&open).1, [(name("a"), None)].into());
    }
}
