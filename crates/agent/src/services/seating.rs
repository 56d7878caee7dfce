//! Services spread over nodes: which seats there are, what is on record at each, and what the placer adds to the record.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::beacon::beacon;
use mainstay_core::intent::ObjectName;
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_core::spread::{Decision, Demand, Seat, Seats};
use mainstay_core::vip::Vip;
use mainstay_kube::{SEAT, VIP_HOST};

use crate::config::LeaseName;
use crate::driver::{Holders, Placed};
use crate::names::Members;

/// One claim of Services, with all that is asked when it is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeable {
    pub(super) demand: Demand,
    pub(super) vips: BTreeSet<Vip>,
    pub(super) services: BTreeSet<ObjectName>,
    /// The Leases by which kube-vip may hold them.
    pub(super) elected: BTreeSet<ObjectName>,
}

/// At which seat a Service is, and who holds that, as it shall say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) home: NodeName,
    pub(super) holder: NodeName,
}

impl Place {
    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        let said = [(VIP_HOST, &self.holder), (SEAT, &self.home)];
        said.map(|(key, node)| (key.to_owned(), node.to_string())).into()
    }
}

/// What the Leases of seats are called, before the node's name.
pub(crate) const SEAT_PREFIX: &str = "mainstay-seat-";

/// How seats are called and found.
#[derive(Clone, Debug)]
pub(super) struct Seating {
    namespace: String,
    node: NodeName,
}

impl Seating {
    /// Seats whose Leases are where that of all Services is.
    pub(super) fn new(lease: &LeaseName, node: &NodeName) -> Self {
        Self { namespace: lease.namespace.clone(), node: node.clone() }
    }

    /// The Lease of a node's seat.
    fn lease(&self, home: &NodeName) -> LeaseName {
        LeaseName { namespace: self.namespace.clone(), name: format!("{SEAT_PREFIX}{home}") }
    }

    fn beacon(&self, cluster: &str, home: &NodeName) -> Vip {
        let lease = self.lease(home);
        beacon(cluster, &format!("{}/{}", lease.namespace, lease.name))
    }

    /// The seats that an earlier run knew, and this node's own. What is placed there, it knew as well.
    pub(super) fn remembered<'a>(
        &self,
        cluster: &str,
        claims: impl Iterator<Item = &'a ClaimId>,
    ) -> BTreeMap<ClaimId, Placed> {
        let homes: BTreeSet<NodeName> = claims.filter_map(ClaimId::home).collect();
        self.all(cluster, homes.iter(), |_| None)
    }

    /// The seats of all agents, and what of `held` is on record at each.
    pub(super) fn on_record(
        &self,
        cluster: &str,
        agents: &Members,
        (claims, held): (&[Placeable], &[Vip]),
    ) -> BTreeMap<ClaimId, Placed> {
        let held: BTreeSet<Vip> = held.iter().copied().collect();
        let mut at: BTreeMap<&NodeName, BTreeSet<Vip>> = BTreeMap::new();
        for claim in claims {
            if let Some(home) = claim.demand.records.first() {
                at.entry(home).or_default().extend(claim.vips.intersection(&held));
            }
        }
        // Also where nobody knows of an agent there: who does may have seen it join, and what is placed there has not gone.
        let homes = agents.keys().chain(at.keys().copied());
        self.all(cluster, homes, |home| Some(at.get(home).cloned().unwrap_or_default()))
    }

    fn all<'a>(
        &'a self,
        cluster: &str,
        homes: impl Iterator<Item = &'a NodeName>,
        services: impl Fn(&NodeName) -> Option<BTreeSet<Vip>>,
    ) -> BTreeMap<ClaimId, Placed> {
        let homes: BTreeSet<&NodeName> = homes.chain([&self.node]).collect();
        let placed =
            |home: &NodeName| Placed { beacon: self.beacon(cluster, home), services: services(home) };
        homes.into_iter().map(|home| (ClaimId::seat(home), placed(home))).collect()
    }

    /// The seats as the placer sees them.
    pub(super) fn seats(&self, agents: &Members, holders: &Holders) -> Seats {
        let homes: BTreeSet<&NodeName> = agents.keys().chain([&self.node]).collect();
        let seat = |home: &NodeName| Seat { holder: holder(home, holders), has_agent: true };
        homes.into_iter().map(|home| (home.clone(), seat(home))).collect()
    }
}

/// Seats whose beacons came out alike, in a line for each that is the same as another's. Every node comes to the same.
///
/// None of them is given another: nodes learn at different times which seats there are, and two that did not agree on a
/// seat's beacon would each take its holder for dead.
pub(super) fn shared_beacons(placed: &BTreeMap<ClaimId, Placed>) -> Vec<String> {
    let mut wearers: BTreeMap<Vip, Vec<&str>> = BTreeMap::new();
    for (claim, seat) in placed {
        wearers.entry(seat.beacon).or_default().push(claim.as_str());
    }
    let shared = wearers.into_iter().filter(|(_, seats)| seats.len() > 1);
    let told = |(beacon, seats): (Vip, Vec<&str>)| {
        format!(
            "{} have the same beacon, {beacon}, by chance, and take each other for a rival: name one of the nodes \
             otherwise, or give svc_leasename another namespace, where all beacons are others",
            seats.join(" and ")
        )
    };
    shared.map(told).collect()
}

/// Who holds a node's seat, as far as that is known.
fn holder(home: &NodeName, holders: &Holders) -> Option<NodeName> {
    holders.get(&ClaimId::seat(home)).cloned().flatten()
}

/// What each Service is to say of where it is.
pub(super) fn places(
    claims: &[Placeable],
    decision: &Decision,
    holders: &Holders,
) -> BTreeMap<ObjectName, Place> {
    let placed = claims.iter().filter_map(|claim| Some((claim, decision.seats.get(&claim.demand.claim)?)));
    let place = |home: &NodeName| Place {
        home: home.clone(),
        holder: holder(home, holders).unwrap_or_else(|| home.clone()),
    };
    placed
        .flat_map(|(claim, home)| claim.services.iter().map(move |name| (name.clone(), place(home))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text)
    }

    fn seating() -> Seating {
        let lease = LeaseName { namespace: "kube-system".to_owned(), name: "plndr-svcs-lock".to_owned() };
        Seating::new(&lease, &name("n1"))
    }

    fn claim(number: u8, home: Option<&str>) -> Placeable {
        let vip = Vip::from([10, 0, 0, number]);
        let demand = Demand {
            claim: ClaimId::service(vip),
            records: home.map(name).into_iter().collect(),
            candidates: Vec::new(),
        };
        let service = format!("shop/s{number}").parse().expect("a name");
        Placeable { demand, vips: [vip].into(), services: [service].into(), elected: BTreeSet::new() }
    }

    #[test]
    fn each_seat_has_what_is_on_record_there_and_is_held() {
        let agents: Members = [(name("n1"), <_>::default()), (name("n2"), <_>::default())].into();
        let claims = [claim(1, Some("n1")), claim(2, Some("n2")), claim(3, None), claim(4, Some("n1"))];
        let held: Vec<Vip> = [1, 2, 3].map(|number| Vip::from([10, 0, 0, number])).into();
        let placed = seating().on_record("uid", &agents, (&claims, &held));
        let services = |node: &str| placed[&ClaimId::seat(&name(node))].services.clone();
        assert_eq!(services("n1"), Some([held[0]].into()));
        assert_eq!(services("n2"), Some([held[1]].into()));
        assert_eq!(placed.len(), 2);
        assert_ne!(placed[&ClaimId::seat(&name("n1"))].beacon, placed[&ClaimId::seat(&name("n2"))].beacon);
    }

    #[test]
    fn what_is_remembered_is_its_own_seat_and_those_of_an_earlier_run() {
        let claims = [ClaimId::services(), ClaimId::seat(&name("n3"))];
        let placed = seating().remembered("uid", claims.iter());
        assert_eq!(
            placed.keys().cloned().collect::<Vec<_>>(),
            ["n1", "n3"].map(|node| ClaimId::seat(&name(node)))
        );
        assert!(placed.values().all(|seat| seat.services.is_none()), "as its memory has them");
    }

    /// One pair in 20,320: found by trying names.
    #[test]
    fn seats_with_one_beacon_are_told_of_with_a_remedy() {
        let seating = seating();
        let homes: Vec<NodeName> = (0..400).map(|number| name(&format!("node-{number}"))).collect();
        let placed = seating.all("uid", homes.iter(), |_| None);
        let told = shared_beacons(&placed);
        let beacons: BTreeSet<Vip> = placed.values().map(|seat| seat.beacon).collect();
        assert_eq!(placed.len() - told.len(), beacons.len(), "as pairs, none of three among these");
        assert!(!told.is_empty() && told.iter().all(|line| line.contains("svc_leasename")), "{told:?}");
        let few = seating.all("uid", homes[..2].iter(), |_| None);
        assert_eq!(shared_beacons(&few), Vec::<String>::new());
    }

    #[test]
    fn a_service_says_its_seat_and_who_holds_that() {
        let claims = [claim(1, None), claim(2, None), claim(3, None)];
        let seats =
            [(1, "n1"), (2, "n2")].map(|(number, home)| (claim(number, None).demand.claim, name(home)));
        let decision = Decision { seats: seats.into(), look_again: None };
        let holders: Holders = [(ClaimId::seat(&name("n2")), Some(name("n1")))].into();
        let places = places(&claims, &decision, &holders);
        let said = |number: u8| places.get(claim(number, None).services.first().expect("one"));
        assert_eq!(said(1), Some(&Place { home: name("n1"), holder: name("n1") }), "nobody says otherwise");
        assert_eq!(said(2), Some(&Place { home: name("n2"), holder: name("n1") }));
        assert_eq!(said(3), None);
    }
}
