//! Which of the other members' nodes are dead.
//!
//! An agent may die on a node that lives on: then its beacon goes, and the node's kernel answers for the node's own
//! addresses as before. A node counts as dead only when those, which an answer once came from, are all silent to ten
//! questions, nothing else was heard of its hardware meanwhile, and another member or a witness answered: our link works.
//! Only who holds the claim by a fresh grant judges: one node at a time, so that whoever counts the dead counts all of them.

use super::*;

/// Questions that a node leaves open, one detection interval apart, before it counts as dead.
const QUESTIONS: u8 = 10;
/// Whom nobody judges in this time is suspect no more: it was suspected by a node that did not get the claim.
const SUSPECT_FOR: Duration = Duration::from_secs(10);
/// A node is not said to be dead again in this time, whatever becomes of it: one that comes and goes is no matter of
/// seconds. As long as it takes for a false takeover to count half.
const NOT_AGAIN_FOR: Duration = Duration::from_secs(600);
/// Where nobody answered who could witness that our link works.
const REST: Duration = Duration::from_secs(10);
/// Others that are asked whether our link works, in one turn.
const WITNESSES: usize = 8;

/// What is known of nodes that may be dead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Failures {
    suspects: BTreeMap<NodeName, Suspect>,
    told: BTreeMap<NodeName, Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Suspect {
    /// When it was named, and then when it was asked first.
    since: Moment,
    /// Questions that left this host.
    asked: u8,
    /// Whether the last one did.
    left: bool,
    next: Moment,
}

impl Suspect {
    fn new(now: Moment) -> Self {
        Self { since: now, asked: 0, left: false, next: now }
    }
}

/// A node that was said to be dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Told {
    at: Moment,
    /// Nothing was heard of it since.
    silent: bool,
}

/// What is to be done with a suspect.
enum Step {
    Ask,
    Wait,
    Acquit,
    Judge,
}

impl Machine {
    /// Somebody has a reason to think that the node is dead: it is asked at once.
    pub(crate) fn suspect(&mut self, now: Moment, node: &NodeName) {
        if self.settings.report_failures && self.may_be_suspect(node) {
            self.failures.suspects.entry(node.clone()).or_insert_with(|| Suspect::new(now));
            self.promised = Some(now);
        }
    }

    /// Another node that could be heard: of one that never was, silence says nothing.
    fn may_be_suspect(&self, node: &NodeName) -> bool {
        *node != self.settings.node
            && !self.failures.told.contains_key(node)
            && self.members.get(node).is_some_and(|member| self.watcher.last_heard(member).is_some())
    }

    /// By a fresh grant, and with a link.
    fn judges(&self) -> bool {
        let confirmed = matches!(&self.state, State::Holding(holding) if holding.tenure == Tenure::Confirmed);
        confirmed && self.link_up() && !self.stopping
    }

    /// Asks those that are suspect, and says who is dead.
    pub(super) fn look_for_failures(&mut self, now: Moment, out: &mut Output) {
        if !self.settings.report_failures {
            return;
        }
        self.follow_the_dead(now, out);
        if !self.judges() {
            let fresh = |suspect: &Suspect| suspect.asked == 0 && now.since(suspect.since) < SUSPECT_FOR;
            return self.failures.suspects.retain(|_, suspect| fresh(suspect));
        }
        for node in self.unanswering(now) {
            self.suspect(now, &node);
        }
        let suspects: Vec<NodeName> = self.failures.suspects.keys().cloned().collect();
        for node in suspects {
            match self.next_step(now, &node) {
                Step::Wait => {}
                Step::Ask => self.ask_suspect(now, &node, out),
                Step::Acquit => drop(self.failures.suspects.remove(&node)),
                Step::Judge => self.condemn(now, &node, out),
            }
        }
    }

    /// Members that left the regular question open.
    fn unanswering(&self, now: Moment) -> Vec<NodeName> {
        let open = |member| {
            self.watcher.open_since(member).is_some_and(|at| now.since(at) >= self.watcher.long_silence())
        };
        let silent = self.members.iter().filter(|(node, member)| self.may_be_suspect(node) && open(member));
        silent.map(|(node, _)| node.clone()).collect()
    }

    fn next_step(&self, now: Moment, node: &NodeName) -> Step {
        let (Some(suspect), Some(member)) = (self.failures.suspects.get(node), self.members.get(node)) else {
            return Step::Acquit;
        };
        if self.watcher.last_heard(member) > Some(suspect.since) {
            Step::Acquit
        } else if now < suspect.next {
            Step::Wait
        } else if suspect.asked < QUESTIONS {
            Step::Ask
        } else {
            Step::Judge
        }
    }

    /// By broadcast: an answer from a new hardware address is an answer.
    fn ask_suspect(&mut self, now: Moment, node: &NodeName, out: &mut Output) {
        let addresses = self.members.get(node).map(|member| member.addresses.clone()).unwrap_or_default();
        let Some(suspect) = self.failures.suspects.get_mut(node) else { return };
        if suspect.asked == 0 {
            suspect.since = now;
        }
        let asks_witnesses = suspect.asked.is_multiple_of(QUESTIONS / 2);
        suspect.left = false;
        suspect.next = now + self.settings.detection.interval;
        addresses.into_iter().for_each(|address| self.send_probe(address, ProbeTo::All, None, out));
        if asks_witnesses {
            let witnesses = self.likely_witnesses(now);
            witnesses.into_iter().for_each(|address| self.send_probe(address, ProbeTo::All, None, out));
        }
    }

    /// A probe left this host: only then is it a question, once for all addresses of one suspect.
    pub(super) fn question_left(&mut self, address: IpAddr) {
        for (node, suspect) in &mut self.failures.suspects {
            let is_its = self.members.get(node).is_some_and(|member| member.addresses.contains(&address));
            if is_its && !suspect.left {
                suspect.left = true;
                suspect.asked = suspect.asked.saturating_add(1);
            }
        }
    }

    /// Answers may have come that nobody could read.
    pub(super) fn on_missed(&mut self, now: Moment) {
        self.watcher.missed(now);
        self.failures.suspects.values_mut().for_each(|suspect| (suspect.asked, suspect.left) = (0, true));
    }

    /// Neighbours that were heard lately, and are not suspect themselves.
    fn likely_witnesses(&self, now: Moment) -> Vec<IpAddr> {
        let suspects = self.suspects_addresses();
        let lately = |address: &IpAddr| {
            let heard = self.watcher.neighbour_heard(address);
            heard.is_some_and(|at| now.since(at) <= NEIGHBOUR_MEMORY) && !suspects.contains(address)
        };
        self.watcher.neighbours().filter(lately).take(WITNESSES).collect()
    }

    fn suspects_addresses(&self) -> Vec<IpAddr> {
        let members = self.failures.suspects.keys().filter_map(|node| self.members.get(node));
        members.flat_map(|member| member.addresses.iter().copied()).collect()
    }

    /// All questions are open. Without a witness it is perhaps our own link that is dead, and the suspect is asked again.
    fn condemn(&mut self, now: Moment, node: &NodeName, out: &mut Output) {
        let Some(suspect) = self.failures.suspects.get_mut(node) else { return };
        let asked_for = now.since(suspect.since);
        suspect.asked = 0;
        suspect.next = now + REST;
        if !self.watcher.member_company(now, asked_for, &self.suspects_addresses()) {
            return;
        }
        let heard = self.members.get(node).and_then(|member| self.watcher.last_heard(member));
        let silent = heard.map_or(asked_for, |at| now.since(at));
        self.failures.suspects.remove(node);
        self.failures.told.insert(node.clone(), Told { at: now, silent: true });
        out.events.push(Event::NodeFailed { node: node.clone(), silent });
    }

    /// Says which of the dead are heard again.
    fn follow_the_dead(&mut self, now: Moment, out: &mut Output) {
        for (node, told) in &mut self.failures.told {
            let heard = self.members.get(node).and_then(|member| self.watcher.last_heard(member));
            if told.silent && heard > Some(told.at) {
                told.silent = false;
                out.events.push(Event::NodeReturned { node: node.clone() });
            }
        }
        self.failures.told.retain(|_, told| told.silent || now.since(told.at) < NOT_AGAIN_FOR);
    }

    /// When a suspect is to be asked or judged, or a member becomes one.
    pub(super) fn failures_deadline(&self, now: Moment) -> Option<Moment> {
        if !self.settings.report_failures || !self.judges() {
            return None;
        }
        let wait = self.watcher.long_silence();
        let open = self
            .members
            .iter()
            .filter(|(node, _)| self.may_be_suspect(node) && !self.failures.suspects.contains_key(*node));
        let opened = open.filter_map(|(_, member)| Some(self.watcher.open_since(member)? + wait));
        let suspects = self.failures.suspects.values().map(|suspect| suspect.next);
        opened.filter(|at| *at > now).chain(suspects).min()
    }
}
