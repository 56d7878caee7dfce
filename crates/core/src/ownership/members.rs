//! Who the claim's members are: those that its Lease lists. Of a seat, the homes of all seats, each as its own seat's Lease
//! lists it: so a node writes itself down once, however many seats there are.

use super::*;

impl Machine {
    /// Members as the record lists them; what is remembered stays while no record can be read. Who a seat's are is not its
    /// Lease's to say: see [`Machine::know_members`].
    pub(super) fn learn_members(&mut self, now: Moment) {
        let listed = &self.lease.facts().members;
        if self.settings.claim.home().is_none() && !listed.is_empty() && *listed != self.members {
            self.members = listed.clone();
            self.saved = None;
            self.watch_neighbours(now);
        }
    }

    /// The other members' and the witnesses' addresses are watched.
    pub(super) fn watch_neighbours(&mut self, now: Moment) {
        let macs = |member: &Member| member.macs.first().copied();
        let own = &self.settings.node;
        let others = self.members.iter().filter(|(name, _)| *name != own);
        let addresses: Vec<_> = others
            .flat_map(|(_, member)| member.addresses.iter().map(move |address| (*address, macs(member))))
            .chain(self.settings.witnesses.iter().map(|address| (*address, None)))
            .collect();
        self.watcher.set_neighbours(now, addresses.into_iter());
        self.listening = false;
    }

    /// The homes of all seats, for a seat. Only its own home is what it has to remember.
    pub(crate) fn know_members(&mut self, now: Moment, homes: &BTreeMap<NodeName, Member>) {
        if self.members == *homes {
            return;
        }
        let own = |members: &BTreeMap<NodeName, Member>| members.get(&self.settings.claim.home()?).cloned();
        if own(&self.members) != own(homes) {
            self.saved = None;
        }
        self.members = homes.clone();
        self.watch_neighbours(now);
    }

    /// As [`Machine::know_members`], for a seat that begins beside another of this node's: who answered that has answered
    /// this node, and who was asked need not be asked again.
    pub(crate) fn begin_beside(
        &mut self,
        now: Moment,
        homes: &BTreeMap<NodeName, Member>,
        other: Option<&Self>,
    ) {
        if let Some(other) = other {
            self.watcher.know_neighbours_of(&other.watcher);
        }
        self.know_members(now, homes);
    }

    /// Another seat of this node's asked for this address: once is enough for all.
    pub(crate) fn was_asked_beside(&mut self, now: Moment, address: IpAddr) {
        self.watcher.asked_beside(now, address);
    }

    /// What a seat's Lease says of the seat's home; `None` while it says nothing.
    pub(crate) fn listed_home(&self) -> Option<&Member> {
        self.lease.facts().members.get(&self.settings.claim.home()?)
    }

    /// Whether this node writes itself down on the claim's Lease.
    pub(super) fn is_listed_there(&self) -> bool {
        self.settings.claim.home().is_none_or(|home| home == self.settings.node)
    }

    /// The members that a restart has to know of this claim: of a seat its home, for the others' seats have theirs.
    pub(super) fn members_to_remember(&self) -> BTreeMap<NodeName, Member> {
        match self.settings.claim.home() {
            None => self.members.clone(),
            Some(home) => self
                .members
                .get_key_value(&home)
                .map(|(name, member)| (name.clone(), member.clone()))
                .into_iter()
                .collect(),
        }
    }
}
