//! The phases, in order. Each brings one thing about and watches what becomes of it.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Act, LIMIT, SERVICES, Show, report};
use crate::cluster::Outage;
use crate::demo::stage::Node;
use crate::probe::{self, Moment};
use crate::shop::{self, Address};

/// Longer than three lease durations of 5 s.
const OUTAGE: Duration = Duration::from_secs(16);
/// The place of the Service with the policy Local.
const LOCAL: usize = 0;

/// Where the pod of the Service with the policy Local is at first, and where it goes.
const POD: (Node, Node) = (0, 2);
/// The node that dies: not the pod's, for then nobody could serve that Service.
const MORTAL: Node = 1;

/// Name, what happens, and how.
pub(super) const ACTS: [(&str, &str, Act); 9] = [
    ("bring-up", "three agents start; twelve Services are made at once", Show::bring_up),
    ("steady", "nothing happens", |show| show.observe(Duration::from_secs(5), "steady")),
    ("node-death", "a node falls silent", Show::node_death),
    ("heal", "the silent node is back, and still has the addresses it had", Show::heal),
    ("outage", "packets to the API server are dropped", Show::outage),
    ("restart-in-outage", "still no API: an agent is killed (kill -9) and starts again", Show::restart),
    ("api-returns", "the API server is back; a Service was made meanwhile", Show::api_returns),
    ("pod-moves", "the pod of the Service with the policy Local lands on another node", Show::pod_moves),
    ("new-service", "one more Service is made", Show::new_service),
];

impl Show {
    fn bring_up(&mut self) -> Result<()> {
        (0..self.cluster.nodes.len()).try_for_each(|node| self.cluster.start(node))?;
        self.wait("the control plane's VIP is held", |show| show.settled())?;
        self.wait("each node has a seat", |show| shop::seated(&show.cluster).then_some(()))?;
        let made = probe::now();
        self.shop.add_local(&name(LOCAL), &self.node_name(POD.0))?;
        self.made += 1;
        (1..SERVICES).try_for_each(|_| self.make())?;
        self.wait_answered(0..SERVICES, made)?;
        (self.from, self.served) = (probe::now(), self.made);
        self.wait_published()?;
        self.wait_spread(&[SERVICES / 3; 3])?;
        self.tell_who_holds(made)?;
        self.observe(Duration::from_secs(1), "steady")
    }

    fn node_death(&mut self) -> Result<()> {
        self.pivot = probe::now();
        let host = self.cluster.nodes[MORTAL].host.clone();
        self.cluster.segment.partition(&host)?;
        self.cut = Some(MORTAL);
        self.wait("other nodes answer for all of them", |show| {
            let answers = show.sweep.first_answers(show.pivot, Some(host.mac()));
            answers.iter().take(show.served).all(Option::is_some).then_some(())
        })?;
        self.wait_spread(&[SERVICES / 2; 2])?;
        self.observe(Duration::from_secs(2), "spread over those that live")
    }

    fn heal(&mut self) -> Result<()> {
        let back = self.cut.take().context("no node is cut off")?;
        self.pivot = probe::now();
        self.cluster.segment.heal(&self.cluster.nodes[back].host)?;
        self.wait("it has its part again", |show| {
            // Within one of the mean: then there is nothing more to even out.
            let holders = show.holders();
            let loads = report::loads(&holders);
            let each_once = loads.values().sum::<usize>() == SERVICES;
            (each_once && loads.len() == 3 && loads.values().all(|load| (3..=5).contains(load))).then_some(())
        })?;
        self.wait("the control plane's VIP is settled", |show| show.settled())?;
        self.observe(Duration::from_secs(3), "steady")
    }

    fn outage(&mut self) -> Result<()> {
        self.cluster.api.fail(Outage::BlackHoled)?;
        self.without_api(|show| show.observe(OUTAGE, "no API"))
    }

    fn restart(&mut self) -> Result<()> {
        self.without_api(|show| {
            show.cluster.kill(MORTAL)?;
            show.observe(Duration::from_secs(1), "the agent is dead")?;
            show.cluster.start(MORTAL)?;
            show.observe(Duration::from_secs(10), "no API")
        })
    }

    fn api_returns(&mut self) -> Result<()> {
        let missed = self.made;
        self.make()?;
        self.pivot = probe::now();
        self.cluster.api.heal()?;
        self.wait_answered(missed..missed + 1, self.pivot)?;
        self.observe(Duration::from_secs(5), "steady")
    }

    fn pod_moves(&mut self) -> Result<()> {
        let (from, to) = (self.node_name(POD.0), self.node_name(POD.1));
        self.pivot = probe::now();
        self.shop.move_pod(&name(LOCAL), (&from, &to))?;
        self.wait("its address follows", |show| {
            show.holders().get(LOCAL).is_some_and(|holders| holders.iter().eq([&to])).then_some(())
        })?;
        self.observe(Duration::from_secs(3), "steady")
    }

    fn new_service(&mut self) -> Result<()> {
        let (place, made) = (self.made, probe::now());
        self.make()?;
        self.wait_answered(place..place + 1, made)?;
        self.observe(Duration::from_secs(3), "steady")
    }
}

/// What acts are made of.
impl Show {
    /// One more Service.
    fn make(&mut self) -> Result<()> {
        self.shop.add(&name(self.made), Address::FromPool)?;
        self.made += 1;
        Ok(())
    }

    /// Waits until these addresses answer, and notes how long that took since `made`.
    fn wait_answered(&mut self, places: std::ops::Range<usize>, made: Moment) -> Result<()> {
        let answers = self.wait("every Service answers", |show| {
            let answers = show.sweep.first_answers(made, None);
            answers.get(places.clone())?.iter().copied().collect::<Option<Vec<_>>>()
        })?;
        self.up = answers.into_iter().map(|at| at.since(made)).collect();
        Ok(())
    }

    /// Lets the agents do what they do without an API; nothing may get through.
    fn without_api(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let revision =
            |show: &Self| Ok::<_, anyhow::Error>(show.cluster.api.embedded()?.cluster.store().revision());
        let before = revision(self)?;
        act(self)?;
        ensure!(
            revision(self)? == before,
            "something was written at the API server, which was to be out of reach"
        );
        Ok(())
    }

    fn wait_published(&mut self) -> Result<()> {
        self.wait("every Service says where it is", |show| {
            (0..show.served).all(|place| show.shop.host(&name(place)).is_some()).then_some(())
        })
    }

    fn tell_who_holds(&mut self, made: Moment) -> Result<()> {
        let answers = self.sweep.first_answers(made, None);
        let line = |place: usize| {
            let address = self.shop.address(&name(place))?;
            let at = self.sweep.targets().iter().position(|target| *target == address)?;
            let up = answers.get(at).copied().flatten()?.since(made);
            Some((name(place), address, self.shop.host(&name(place))?, up))
        };
        let lines = (0..self.served).map(line).collect::<Option<Vec<_>>>();
        let text =
            report::who_holds(&lines.context("a Service has an address that is not of the pool's begin")?);
        self.progress.end("");
        std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
    }

    /// Waits until so many nodes on the segment have so many Services each.
    fn wait_spread(&mut self, loads: &[usize]) -> Result<()> {
        self.wait("the Services are spread evenly", |show| {
            report::loads(&show.holders()).values().eq(loads).then_some(())
        })
    }

    fn node_name(&self, node: Node) -> String {
        self.cluster.nodes[node].host.name().to_owned()
    }

    /// One confirmed holder of the control plane's VIP, which knows all members.
    fn settled(&self) -> Option<()> {
        let holders = self.cluster.holders().ok()?;
        let [holder] = holders[..] else { return None };
        let claim = self.cluster.claim(holder);
        let members = claim["members"].as_array().map_or(0, Vec::len);
        (claim["tenure"] == "confirmed" && members >= self.cluster.nodes.len()).then_some(())
    }

    /// Watches for a while, and tells so.
    fn observe(&mut self, length: Duration, words: &str) -> Result<()> {
        let end = probe::now() + length;
        self.look_until(words, |_| (probe::now() >= end).then_some(())).map(drop)
    }

    /// Waits for something, and tells so.
    fn wait<T>(&mut self, what: &str, look: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let found = self.look_until(what, look)?;
        found.with_context(|| format!("{what}: not within {} s", LIMIT.as_secs()))
    }

    /// Looks until there is something or the limit has passed, and keeps the progress line up to date.
    fn look_until<T>(&mut self, words: &str, mut look: impl FnMut(&Self) -> Option<T>) -> Result<Option<T>> {
        let begin = probe::now();
        let end = begin + LIMIT;
        while probe::now() < end {
            self.interrupt.check()?;
            if let Some(found) = look(self) {
                return Ok(Some(found));
            }
            let line = self.live(begin, words);
            self.progress.update(|| line);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(None)
    }

    /// One line about the present.
    fn live(&self, begin: Moment, words: &str) -> String {
        let now = probe::now();
        let lost: usize =
            self.sweep.reports(begin, now).iter().take(self.served).map(|report| report.lost).sum();
        let seconds = now.since(begin).as_secs_f64();
        let holders = report::shown_loads(&self.holders());
        format!("{seconds:5.1} s  {} Services: {holders}, {lost} probes lost: {words}", self.served)
    }
}

fn name(place: usize) -> String {
    format!("shop-{:02}", place + 1)
}
