//! Orders against a modelled interface, which somebody else changes too.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::plan::Owner;

/// One interface, with what somebody does to it just before our next change.
#[derive(Default)]
struct Model {
    addresses: Vec<Present>,
    meanwhile: Vec<Present>,
    refuse: Option<Vip>,
    /// Taken, and delivered to after that many looks.
    late: BTreeMap<Vip, u32>,
}

impl Kernel for Model {
    fn addresses(&mut self) -> Result<Vec<Present>, KernelError> {
        Ok(self.addresses.clone())
    }

    fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        self.addresses.append(&mut self.meanwhile);
        let (Step::Add { vip, .. } | Step::Refresh { vip, .. } | Step::Remove { vip }) = *step;
        if self.refuse == Some(vip) {
            let cause = io::Error::from_raw_os_error(libc::EACCES);
            return Err(KernelError::Refused { what: format!("adding {vip}"), cause });
        }
        let at = self.addresses.iter().position(|one| one.ip == vip);
        match (*step, at) {
            (Step::Add { vip, lifetime }, None) => self.addresses.push(ours(vip, lifetime)),
            (Step::Refresh { vip, lifetime }, Some(at)) => self.addresses[at] = ours(vip, lifetime),
            (Step::Remove { .. }, Some(at)) => {
                self.addresses.remove(at);
            }
            _ => return Err(KernelError::Raced),
        }
        Ok(())
    }

    fn delivers(&mut self, vip: Vip) -> Result<bool, KernelError> {
        let Some(looks) = self.late.get_mut(&vip) else { return Ok(true) };
        let delivers = *looks == 0;
        *looks = looks.saturating_sub(1);
        Ok(delivers)
    }
}

fn ours(ip: IpAddr, lifetime: Duration) -> Present {
    Present { ip, prefix: plan::host_prefix(ip), owner: Owner::Ours, remaining: Some(lifetime) }
}

fn vip(last: u8) -> Vip {
    IpAddr::from([10, 0, 0, last])
}

const LIFE: Duration = Duration::from_secs(15);

#[test]
fn assigning_twice_and_withdrawing_twice_is_success() {
    let mut model = Model::default();
    for _ in 0..2 {
        assert_eq!(assign(&mut model, &[vip(9)], LIFE).outcome(), Ok(()));
        assert_eq!(model.addresses, [ours(vip(9), LIFE)]);
    }
    for _ in 0..2 {
        assert_eq!(withdraw(&mut model, &[vip(9)]).outcome(), Ok(()));
        assert!(model.addresses.is_empty());
    }
}

#[test]
fn somebody_faster_is_seen_and_the_hosts_own_respected() {
    let hosts = Present { ip: vip(9), prefix: 24, owner: Owner::Other, remaining: None };
    let mut model = Model { meanwhile: vec![hosts], ..Model::default() };
    let words = assign(&mut model, &[vip(9)], LIFE).outcome().expect_err("it is the host's");
    assert!(words.contains("10.0.0.9/24"), "{words}");
    assert_eq!(model.addresses, [hosts]);

    let mut model = Model { meanwhile: vec![ours(vip(9), Duration::from_secs(1))], ..Model::default() };
    assert_eq!(assign(&mut model, &[vip(9)], LIFE).outcome(), Ok(()));
    assert_eq!(model.addresses, [ours(vip(9), LIFE)]);
}

#[test]
fn one_refusal_leaves_the_others_done() {
    let mut model = Model { refuse: Some(vip(8)), ..Model::default() };
    let applied = assign(&mut model, &[vip(8), vip(9)], LIFE);
    assert_eq!(applied.done, [vip(9)]);
    assert_eq!(applied.failed.len(), 1);
    assert!(applied.failed[&vip(8)].contains("10.0.0.8"), "{:?}", applied.failed);
}

#[test]
fn an_address_that_is_late_keeps_no_other_waiting_and_is_not_there_before_it_is_delivered_to() {
    for (looks, expected) in [(3, vec![vip(8), vip(9)]), (99, vec![vip(8)])] {
        let mut model = Model { late: BTreeMap::from([(vip(9), looks)]), ..Model::default() };
        let taken = assign(&mut model, &[vip(9), vip(8)], LIFE);
        let (mut early, mut pauses) = (Vec::new(), 0..5);
        let applied = await_delivery(&mut model, taken, |some| early.push(some), || pauses.next().is_some());
        assert_eq!(early.iter().map(|some| some.done.clone()).collect::<Vec<_>>(), [[vip(8)]]);
        assert_eq!(applied.done, expected);
        assert_eq!(applied.failed.contains_key(&vip(9)), looks == 99, "{applied:?}");
    }
}

#[test]
fn what_is_there_at_once_is_reported_once() {
    let mut model = Model::default();
    let taken = assign(&mut model, &[vip(8), vip(9)], LIFE);
    let applied =
        await_delivery(&mut model, taken, |_| panic!("not twice"), || panic!("nothing to wait for"));
    assert_eq!(applied.done, [vip(8), vip(9)]);
    let mut model = Model { late: BTreeMap::from([(vip(9), 1)]), ..Model::default() };
    let taken = assign(&mut model, &[vip(9)], LIFE);
    let applied = await_delivery(&mut model, taken, |_| panic!("nothing is ready"), || true);
    assert_eq!(applied.done, [vip(9)]);
}

fn any_present() -> impl Strategy<Value = Present> {
    let left = prop_oneof![Just(None), Just(Some(LIFE))];
    (0_u8..6, any::<bool>(), any::<bool>(), any::<bool>(), left).prop_map(
        |(host, is_v4, is_host, is_ours, remaining)| {
            let ip = if is_v4 { vip(host) } else { IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host.into()]) };
            let prefix = if is_host { plan::host_prefix(ip) } else { 24 };
            let owner = if is_ours { Owner::Ours } else { Owner::Other };
            Present { ip, prefix, owner, remaining }
        },
    )
}

proptest! {
    #[test]
    fn what_is_planned_for_one_address_follows_from_what_it_is_told_of(
        all in proptest::collection::vec(any_present(), 0..12),
    ) {
        let mut present: Vec<Present> = Vec::new();
        for one in all {
            // A kernel has one address once with one prefix.
            if !present.iter().any(|other| (other.ip, other.prefix) == (one.ip, one.prefix)) {
                present.push(one);
            }
        }
        let inventory = Inventory::new(present.clone());
        for vip in present.iter().map(|one| one.ip).chain([vip(7)]) {
            let about = inventory.about(vip);
            prop_assert_eq!(plan::assign(vip, LIFE, &about), plan::assign(vip, LIFE, &present));
            prop_assert_eq!(plan::withdraw(vip, &about), plan::withdraw(vip, &present));
        }
    }
}
