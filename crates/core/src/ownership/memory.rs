//! What is kept across a restart (rule 9).

use super::*;
use crate::snapshot::Snapshot;

impl Machine {
    pub(super) fn save(&mut self, out: &mut Output) {
        if !self.saved.as_ref().is_some_and(|saved| self.remembers(saved)) {
            let memory = self.memory();
            self.saved = Some(memory.clone());
            out.effects.push(Effect::Save(Snapshot {
                boot_id: self.settings.boot_id.clone(),
                instance: self.settings.instance,
                claims: BTreeMap::from([(self.settings.claim.clone(), memory)]),
                api_servers: Vec::new(),
                names: BTreeMap::new(),
                cluster: None,
            }));
        }
    }

    /// Whether `saved` is what there is to remember.
    fn remembers(&self, saved: &ClaimMemory) -> bool {
        // Members that were learned since, and addresses that changed, are told by there being nothing saved.
        let ClaimMemory { uid, epoch, held, members: _, leaving: _, told, services: _ } = saved;
        *held == self.held()
            && *epoch == self.lease.highest()
            && uid == self.uid()
            && told == self.told_by_holder()
    }

    fn memory(&self) -> ClaimMemory {
        let (epoch, uid) = (self.lease.highest(), self.uid().to_owned());
        let leaving = self.may_be_left();
        let (told, services) = (self.told_by_holder().to_vec(), self.services.in_force().collect());
        let members = self.members_to_remember();
        ClaimMemory { uid, epoch, held: self.held(), members, leaving, told, services }
    }

    fn uid(&self) -> &str {
        let record = self.lease.record().filter(|_| !matches!(self.state, State::Holding(_)));
        record.map_or(&self.held_under, |record| &record.uid)
    }

    fn held(&self) -> bool {
        // Who yields to another's grant does not hold any more, whatever it still wears.
        let denied =
            matches!(&self.state, State::Yielding(yielding) if yielding.reason == YieldReason::Denied);
        self.held_as().1 >= Tenure::Detached && !denied
    }
}
