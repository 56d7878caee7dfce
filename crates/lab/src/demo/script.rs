//! The phases of the demonstration, in order. Each brings one thing about and watches what becomes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_core::vip::Tenure;

use super::load::Load;
use super::progress::Progress;
use super::recorder::Recorder;
use super::stage::{API_PORT, Interrupt, Interrupted, Node, Outage, Stage, VIP};
use crate::apiserver::Fault;
use crate::probe::Rogue;
use crate::report::timeline::{ApiState, At, Connections, Facts, Phase, Span, Timeline};
use crate::report::{figures, promises};

/// Longer than three lease durations of 5 s.
const OUTAGE_FORM: Duration = Duration::from_secs(16);
/// How long before the others the first node meets the API again.
const HEAD_START: Duration = Duration::from_secs(10);
/// How long an election of the store takes writes away.
const ELECTION: Duration = Duration::from_millis(1_500);
/// Nothing of the demonstration may take longer than this to come about.
const LIMIT: Duration = Duration::from_secs(30);
/// The name of the API's row.
const API: &str = "API server";

/// The demonstration while it runs.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) stage: Stage,
    pub(super) record: Recorder,
    interrupt: Interrupt,
    progress: Progress,
    pivot: Option<At>,
    facts: Facts,
    partitioned: Option<Node>,
}

type Act = fn(&mut Script) -> Result<()>;

/// Name, what happens, and how.
const ACTS: [(&str, &str, Act); 14] = [
    ("bring-up", "three agents start, and one takes the VIP", Script::bring_up),
    ("hand-over", "the holder's agent is told to stop (SIGTERM), and starts again later", Script::hand_over),
    ("outage-refused", "the API server refuses connections", |script| script.outage(Outage::Refused)),
    ("outage-blackhole", "packets to the API server are dropped", |script| script.outage(Outage::Blackhole)),
    ("outage-hung", "the API server reads requests and never answers", |script| script.outage(Outage::Hung)),
    ("outage-503", "the API server answers every request 503", |script| script.outage(Outage::Unavailable)),
    (
        "restart-in-outage",
        "still no API: the holder's agent is killed (kill -9) and starts again",
        Script::restart,
    ),
    ("death-in-outage", "still no API: the holder's node falls silent", Script::death_in_outage),
    (
        "api-returns",
        "the API server is back: 10 s earlier for a node that is not the holder",
        Script::api_returns,
    ),
    ("heal", "the silent node is back on the segment, and still has the VIP", Script::heal),
    ("rogue-host", "a stranger claims the VIP for three seconds", Script::rogue_host),
    ("death", "the holder's node falls silent; later it is back", Script::death),
    (
        "api-server-death",
        "one API server per node, balanced: the holder's dies under load, and is back",
        Script::api_server_death,
    ),
    (
        "death-with-api",
        "one API server per node: the holder dies with its own, and writes stall for 1.5 s",
        Script::death_with_api,
    ),
];

impl Script {
    pub(super) fn new(stage: Stage, record: Recorder, interrupt: Interrupt) -> Self {
        let (pivot, facts, partitioned) = (None, Facts::default(), None);
        Self { stage, record, interrupt, progress: Progress::new(), pivot, facts, partitioned }
    }

    /// Plays it all, or up to the interruption.
    pub(super) fn play(mut self) -> Result<Timeline> {
        let mut interrupted = false;
        for (name, words, act) in ACTS {
            if name == "api-server-death" {
                interrupted |= self.interlude().is_err();
            }
            interrupted |= interrupted || self.phase(name, words, act).is_err();
            if interrupted {
                break;
            }
        }
        if !interrupted {
            // Answers to the last probes may still be on their way.
            drop(self.interrupt.observe(Duration::from_millis(1_200), || {}));
        }
        let mut timeline = self.record.timeline();
        timeline.interrupted = interrupted;
        Ok(timeline)
    }

    /// One phase. What goes wrong in it is written down; only an interruption ends the run.
    fn phase(&mut self, name: &str, words: &str, act: Act) -> Result<(), Interrupted> {
        let from = self.record.now();
        self.pivot = None;
        self.facts = Facts::default();
        self.progress.begin(name, words);
        let result = act(self);
        if let Err(error) = result {
            if error.is::<Interrupted>() {
                self.progress.end(&format!("{name}: interrupted"));
                return Err(Interrupted);
            }
            self.facts.failure = Some(format!("{error:#}"));
        }
        let span = Span::new(from, self.record.now());
        let facts = std::mem::take(&mut self.facts);
        let pivot = self.pivot.unwrap_or(from);
        let phase = Phase { name: name.to_owned(), span, pivot, words: words.to_owned(), facts };
        self.record.phase(phase.clone());
        let line = self.result(&phase);
        self.progress.end(&line);
        Ok(())
    }

    /// What a phase came to, in one line.
    fn result(&self, phase: &Phase) -> String {
        let timeline = self.record.timeline();
        let figures = figures::of(&timeline, phase);
        let broken = promises::broken(&promises::judge_phase(&timeline, phase));
        let sign = if broken.is_empty() { "\u{2714}" } else { "\u{2718}" };
        let failure = broken.first().map(|line| format!("; BROKEN: {line}")).unwrap_or_default();
        format!(
            "{sign} {:<18} {:5.1} s  holder {}, {} of {} probes lost, dark for {} ms{failure}",
            phase.name,
            phase.span.length().as_secs_f64(),
            crate::report::html::holders(&timeline, &figures),
            figures.lost,
            figures.sent,
            figures.longest_dark.as_millis(),
        )
    }

    /// The fault is brought about now.
    fn pivot(&mut self) {
        self.pivot = Some(self.record.now());
    }

    /// Watches for a while, and tells so.
    fn observe(&mut self, length: Duration, words: &str) -> Result<()> {
        let Self { record, progress, interrupt, .. } = self;
        let begin = record.now();
        interrupt.observe(length, || progress.update(|| live(record, begin, words)))
    }

    /// Waits for something, and tells so.
    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Stage, &Recorder) -> Option<T>) -> Result<T> {
        let Self { stage, record, progress, interrupt, .. } = self;
        let begin = record.now();
        interrupt.wait(what, LIMIT, || {
            progress.update(|| live(record, begin, what));
            look(stage, record)
        })
    }

    fn holder(&self) -> Result<Node> {
        self.record.sole_holder().context("not exactly one node holds the VIP")
    }

    /// One node holds, confirmed, and the others know whom they follow.
    fn settled(&mut self) -> Result<Node> {
        self.wait("one confirmed holder that answers, and two followers that watch it", |stage, record| {
            let holder = record.sole_holder().filter(|node| record.answering() == Some(*node))?;
            let calm = stage.agents().enumerate().all(|(node, agent)| {
                let claim = agent.status().unwrap_or_default();
                if node == holder { leads(&claim) } else { is_watching(&claim) }
            });
            calm.then_some(holder)
        })
    }

    fn bring_up(&mut self) -> Result<()> {
        self.record.api(API, ApiState::Up);
        self.pivot();
        self.stage.start_all()?;
        self.settled()?;
        self.observe(Duration::from_secs(3), "steady")
    }

    fn hand_over(&mut self) -> Result<()> {
        let holder = self.holder()?;
        self.pivot();
        self.stage.agent(holder)?.terminate()?;
        self.wait("another node takes over, and the agent ends", |stage, record| {
            let other = record.sole_holder().filter(|node| *node != holder)?;
            let ended = stage.agent(holder).is_ok_and(|agent| !agent.runs());
            ended.then_some(other)
        })?;
        self.record.stopped(holder);
        self.observe(Duration::from_secs(1), "the agent is away")?;
        self.stage.agent(holder)?.start()?;
        self.record.started(holder);
        self.settled()?;
        self.observe(Duration::from_secs(2), "steady")
    }

    /// Lets the agents do what they do for a while without an API; nothing may get through.
    fn outage(&mut self, form: Outage) -> Result<()> {
        self.pivot();
        self.stage.outage(form)?;
        self.record.api(API, api_state(form));
        self.without_api(|script| script.observe(OUTAGE_FORM, "no API"))
    }

    /// Counts what the API answered meanwhile: the observer's questions, and writes of anybody.
    fn without_api(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let answered = |script: &Self| -> Result<u64> {
            let store = script.stage.cluster.api.embedded()?.cluster.store();
            Ok(script.record.observed() + store.revision())
        };
        let before = answered(self)?;
        let result = act(self);
        self.facts.api_answered = Some(answered(self)? - before);
        result
    }

    fn restart(&mut self) -> Result<()> {
        self.without_api(|script| {
            let holder = script.holder()?;
            script.pivot();
            script.stage.agent(holder)?.kill()?;
            script.record.stopped(holder);
            script.observe(Duration::from_secs(1), "the agent is dead")?;
            script.stage.agent(holder)?.start()?;
            script.record.started(holder);
            script.wait("the new process holds as the old one did", |stage, _| {
                let claim = stage.agents().nth(holder)?.status()?;
                (claim["tenure"] == "detached").then_some(())
            })?;
            script.observe(Duration::from_secs(6), "no API")
        })
    }

    fn death_in_outage(&mut self) -> Result<()> {
        self.without_api(|script| {
            let holder = script.holder()?;
            script.partition(holder)?;
            script.wait("another node takes over", another_answers(holder))?;
            script.observe(Duration::from_secs(5), "no API")
        })
    }

    fn partition(&mut self, node: Node) -> Result<()> {
        self.pivot();
        let host = self.stage.host(node)?;
        self.stage.cluster.segment.partition(&host)?;
        self.record.cut(node);
        self.partitioned = Some(node);
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        let node = self.partitioned.take().context("no node is cut off")?;
        self.record.joined(node);
        let host = self.stage.host(node)?;
        self.stage.cluster.segment.heal(&host)
    }

    fn api_returns(&mut self) -> Result<()> {
        let holder = self.holder()?;
        let host = self.stage.host(holder)?;
        let api = self.stage.api.clone();
        self.stage.cluster.segment.drop_from(&api, &host)?;
        self.stage.end_outage()?;
        self.record.api(API, ApiState::Up);
        self.observe(HEAD_START, "the API answers one node, and not the holder")?;
        self.pivot();
        self.stage.cluster.segment.lift_all()?;
        self.wait("the holder is confirmed again", |_, record| {
            (record.tenure_of(holder) == Some(Tenure::Confirmed)).then_some(())
        })?;
        self.observe(Duration::from_secs(5), "steady")
    }

    fn heal(&mut self) -> Result<()> {
        self.pivot();
        self.join()?;
        self.settled()?;
        self.observe(Duration::from_secs(5), "steady")
    }

    fn rogue_host(&mut self) -> Result<()> {
        let holder = self.holder()?;
        let conflicts =
            |script: &mut Self| script.stage.agent(holder)?.counter("mainstay_conflicts_total", "rogue");
        let before = conflicts(self)?;
        self.pivot();
        let rogue = Rogue::start(&self.stage.stranger, VIP, Duration::from_millis(500))?;
        self.observe(Duration::from_secs(3), "the stranger claims the VIP")?;
        rogue.finish()?;
        self.observe(Duration::from_secs(4), "the stranger is silent again")?;
        self.facts.conflict_metric = Some(conflicts(self)?.saturating_sub(before));
        Ok(())
    }

    fn death(&mut self) -> Result<()> {
        let holder = self.settled()?;
        self.partition(holder)?;
        self.wait("another node takes over", another_answers(holder))?;
        self.observe(Duration::from_secs(3), "the former holder is silent")?;
        self.join()?;
        self.settled()?;
        self.observe(Duration::from_secs(2), "steady")
    }

    /// What goes wrong here shows in the phase that follows; an interruption ends the run.
    fn interlude(&mut self) -> Result<(), Interrupted> {
        let Err(error) = self.prepare_api_on_nodes() else { return Ok(()) };
        self.progress.end(&format!("  (interlude)        {error:#}"));
        if error.is::<Interrupted>() { Err(Interrupted) } else { Ok(()) }
    }

    /// Between the phases: the API moves to the nodes, and each agent starts again to use its own.
    fn prepare_api_on_nodes(&mut self) -> Result<()> {
        self.progress.begin("(interlude)", "the API moves to the nodes, one server on each");
        self.stage.cluster.move_api_to_nodes()?;
        self.record.api(API, ApiState::Gone);
        for node in 0..self.stage.cluster.nodes.len() {
            self.record.api(&format!("API on {}", self.stage.host(node)?.name()), ApiState::Up);
            for (name, value) in self.balancing() {
                self.stage.agent(node)?.set(name, &value);
            }
            // Killed, not stopped: the VIP stays where it is.
            self.stage.agent(node)?.kill()?;
            self.stage.agent(node)?.start()?;
        }
        self.settled()?;
        self.progress.end("  (interlude)        one API server on each node");
        Ok(())
    }

    /// The settings with which connections to the VIP go to the API servers of all nodes.
    fn balancing(&self) -> [(&'static str, String); 4] {
        let hosts = self.stage.cluster.hosts();
        let backends: Vec<String> = hosts.iter().map(|host| host.ipv4().to_string()).collect();
        let [on, method, interval] = ["true", "masquerade", "1"].map(str::to_owned);
        [
            ("lb_enable", on),
            ("lb_fwdmethod", method),
            ("backend_health_check_interval", interval),
            ("MAINSTAY_LB_BACKENDS", backends.join(",")),
        ]
    }

    fn api_server_death(&mut self) -> Result<()> {
        let holder = self.settled()?;
        self.in_rotation(3)?;
        let load = Load::start(&self.stage.cluster.client, VIP, API_PORT)?;
        self.observe(Duration::from_secs(2), "under load")?;
        self.pivot();
        let died = Instant::now();
        let name = format!("API on {}", self.stage.host(holder)?.name());
        self.stage.cluster.api.fronts()[holder].inject(Fault::Refuse);
        self.record.api(&name, ApiState::Refused);
        let watched = self.observe(Duration::from_secs(5), "the holder's API server is dead");
        let seen = load.finish()?;
        self.facts.connections = Some(Connections {
            count: seen.count,
            failed: seen.failed.len(),
            last_failure: seen.failed.iter().map(|at| at.saturating_duration_since(died)).max(),
        });
        self.stage.cluster.api.fronts()[holder].heal();
        self.record.api(&name, ApiState::Up);
        watched?;
        self.in_rotation(3)
    }

    /// Waits until each agent balances over so many API servers.
    fn in_rotation(&mut self, count: usize) -> Result<()> {
        self.wait("all API servers are in rotation", |stage, _| {
            let all = stage.agents().all(|agent| {
                let balancer = agent.whole_status()["balancer"].clone();
                let backends = balancer["backends"].as_array().cloned().unwrap_or_default();
                backends.iter().filter(|one| one["takesConnections"] == true && one["state"] == "up").count()
                    == count
            });
            all.then_some(())
        })
    }

    fn death_with_api(&mut self) -> Result<()> {
        let holder = self.settled()?;
        self.observe(Duration::from_secs(2), "steady")?;
        self.pivot();
        self.stage.kill_with_api(holder, ELECTION)?;
        self.record.cut(holder);
        self.partitioned = Some(holder);
        let names: Vec<_> =
            self.stage.cluster.hosts().iter().map(|host| format!("API on {}", host.name())).collect();
        for (node, name) in names.iter().enumerate() {
            self.record.api(name, if node == holder { ApiState::Gone } else { ApiState::WritesStall });
        }
        self.observe(ELECTION, "the store elects")?;
        for (_, name) in names.iter().enumerate().filter(|(node, _)| *node != holder) {
            self.record.api(name, ApiState::Up);
        }
        self.wait("another node takes over", another_answers(holder))?;
        self.observe(Duration::from_secs(4), "steady")
    }
}

/// The VIP is held and answered by another node.
fn another_answers(former: Node) -> impl FnMut(&mut Stage, &Recorder) -> Option<Node> {
    move |_, record| {
        let other = record.sole_holder().filter(|node| *node != former)?;
        (record.answering() == Some(other)).then_some(other)
    }
}

/// A holder with a fresh grant that knows all three members: it can hand over.
fn leads(claim: &serde_json::Value) -> bool {
    let members = claim["members"].as_array().map_or(0, Vec::len);
    claim["tenure"] == "confirmed" && members >= 3
}

/// A follower that reaches the authority and hears the holder on the wire.
fn is_watching(claim: &serde_json::Value) -> bool {
    let heard = claim["holderLastAnswerSeconds"].as_f64();
    claim["authorityInReach"] == true
        && claim["state"] == "released"
        && heard.is_some_and(|since| since < 1.0)
}

fn api_state(form: Outage) -> ApiState {
    match form {
        Outage::Refused => ApiState::Refused,
        Outage::Blackhole => ApiState::Blackhole,
        Outage::Hung => ApiState::Hung,
        Outage::Unavailable => ApiState::Unavailable,
    }
}

/// One line about the present.
fn live(record: &Recorder, begin: At, words: &str) -> String {
    let holders: Vec<String> = record.holders().iter().map(|node| format!("n{}", node + 1)).collect();
    let holders = if holders.is_empty() { "nobody".to_owned() } else { holders.join(" and ") };
    let elapsed = record.now().saturating_sub(begin).as_secs_f64();
    format!("{elapsed:5.1} s  held by {holders}, {} probes lost: {words}", record.lost_since(begin))
}

/// The TCP port that the client asks.
pub(super) const PORT: u16 = API_PORT;
