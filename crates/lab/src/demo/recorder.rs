//! Writes down what happens on a stage, from outside: probes, frames, kernels' addresses; and what agents say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_core::time::Moment;
use mainstay_core::vip::Tenure;
use serde_json::Value;

use super::stage::{Node, Stage, VIP};
use crate::apiserver::client::ApiClient;
use crate::cluster::agent::{self, Agent};
use crate::netns::{HolderWatch, Host, Presence};
use crate::probe::{self, Capture, Heard, Plan, Probe, Sample, Speech};
use crate::report::timeline::{
    Announcement, Answer, ApiState, ApiTrack, At, Conflict, Phase, Probe as Asked, Span, TenureSeen, Timeline,
};

/// How often the agents are asked how they hold.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often the API is asked from outside, and how long it may take.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);

/// A running recording.
#[derive(Debug)]
pub struct Recorder {
    begin: Moment,
    announce_interval: Duration,
    hosts: Vec<Host>,
    probe: Probe,
    capture: Capture,
    watch: HolderWatch,
    said: Arc<Mutex<Said>>,
    stop: Arc<AtomicBool>,
    asker: Option<JoinHandle<()>>,
    observed: Arc<AtomicU64>,
    api: Vec<ApiTrack>,
    cut: Vec<(Node, At, Option<At>)>,
    stopped: Vec<(Node, At, Option<At>)>,
    phases: Vec<Phase>,
}

#[derive(Debug, Default)]
struct Said {
    tenures: Vec<TenureSeen>,
    conflicts: Vec<Conflict>,
}

impl Recorder {
    /// Records everything from now on.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn start(stage: &Stage, port: u16) -> Result<Self> {
        let begin = probe::now();
        let hosts = stage.cluster.hosts();
        let said = Arc::new(Mutex::new(Said::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let sockets: Vec<PathBuf> = stage.agents().map(Agent::socket).collect();
        let (shared, ended) = (Arc::clone(&said), Arc::clone(&stop));
        let asker = std::thread::Builder::new().name("asker".to_owned());
        Ok(Self {
            begin,
            announce_interval: Duration::from_secs(3),
            watch: HolderWatch::start(&hosts)?,
            capture: Capture::start(&stage.cluster.segment)?,
            probe: Probe::start(&stage.cluster.client, Plan::new(VIP.into()).with_tcp(port))?,
            hosts,
            said,
            stop,
            asker: Some(
                asker
                    .spawn(move || ask(&sockets, begin, &shared, &ended))
                    .context("cannot start a thread")?,
            ),
            observed: Arc::default(),
            api: Vec::new(),
            cut: Vec::new(),
            stopped: Vec::new(),
            phases: Vec::new(),
        })
    }

    /// Asks the API from the client's host, again and again, and counts what it answers with success.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn observe_api(&self, stage: &Stage) -> Result<()> {
        let client = stage.cluster.api_client()?.named("observer");
        let (observed, stop) = (Arc::clone(&self.observed), Arc::clone(&self.stop));
        drop(stage.cluster.client.spawn(move || observe(&client, &observed, &stop))?);
        Ok(())
    }

    /// How many of the observer's requests the API has answered with success.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.observed.load(Ordering::Relaxed)
    }

    /// The present, on the run's clock.
    #[must_use]
    pub fn now(&self) -> At {
        probe::now().since(self.begin)
    }

    /// Notes that an API server's state is this from now on.
    pub fn api(&mut self, name: &str, state: ApiState) {
        let now = self.now();
        let index = self.api.iter().position(|track| track.name == name).unwrap_or_else(|| {
            self.api.push(ApiTrack { name: name.to_owned(), changes: Vec::new() });
            self.api.len() - 1
        });
        if let Some(track) = self.api.get_mut(index) {
            track.changes.push((now, state));
        }
    }

    /// Notes that a node is cut from the segment.
    pub fn cut(&mut self, node: Node) {
        self.cut.push((node, self.now(), None));
    }

    /// Notes that it is back.
    pub fn joined(&mut self, node: Node) {
        close(&mut self.cut, node, probe::now().since(self.begin));
    }

    /// Notes that a node's agent does not run.
    pub fn stopped(&mut self, node: Node) {
        self.stopped.push((node, self.now(), None));
    }

    /// Notes that it runs again.
    pub fn started(&mut self, node: Node) {
        close(&mut self.stopped, node, probe::now().since(self.begin));
    }

    /// Notes a phase that ended.
    pub fn phase(&mut self, phase: Phase) {
        self.phases.push(phase);
    }

    /// Who has the VIP by its own kernel's account and is on the segment.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<Node> {
        let holding = self.watch.holders(VIP.into());
        let nodes = holding.iter().filter_map(|name| self.node(name));
        nodes.filter(|node| !self.cut.iter().any(|(cut, _, back)| cut == node && back.is_none())).collect()
    }

    /// The only holder on the segment, if there is exactly one.
    #[must_use]
    pub fn sole_holder(&self) -> Option<Node> {
        let holders = self.holders();
        holders.first().copied().filter(|_| holders.len() == 1)
    }

    /// Which MAC the client's last answers came from, within the last moments.
    #[must_use]
    pub fn answering(&self) -> Option<Node> {
        let now = probe::now();
        let recent = self.probe.report(now - Duration::from_millis(50), now);
        recent.changes.last().and_then(|(_, mac)| self.hosts.iter().position(|host| host.mac() == *mac))
    }

    /// Echoes lost since a moment of the run.
    #[must_use]
    pub fn lost_since(&self, at: At) -> usize {
        self.probe.report(self.begin + at, probe::now()).lost
    }

    /// What the nodes said of their tenure, newest last.
    #[must_use]
    pub fn tenure_of(&self, node: Node) -> Option<Tenure> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.tenures.iter().rfind(|seen| seen.node == node).map(|seen| seen.tenure)
    }

    fn node(&self, name: &str) -> Option<Node> {
        self.hosts.iter().position(|host| host.name() == name)
    }

    /// The timeline so far. Probes of the last second may be missing: their answers may still come.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let length = self.now();
        let closed = |open: &[(Node, At, Option<At>)]| {
            open.iter().map(|(node, from, to)| (*node, Span::new(*from, to.unwrap_or(length)))).collect()
        };
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let announcements = self.announcements();
        let mut tenures = said.tenures.clone();
        tenures.extend(
            announcements
                .iter()
                .filter_map(|seen| Some(TenureSeen { at: seen.at, node: seen.node?, tenure: seen.tenure? })),
        );
        tenures.sort_by_key(|seen| seen.at);
        Timeline {
            nodes: self.hosts.iter().map(|host| host.name().to_owned()).collect(),
            length,
            announce_interval: self.announce_interval,
            icmp: self.asked(&self.probe.echoes()),
            tcp: self.asked(&self.probe.connects()),
            api: self.api.clone(),
            holding: self.holding(length),
            cut: closed(&self.cut),
            stopped: closed(&self.stopped),
            tenures,
            announcements,
            conflicts: said.conflicts.clone(),
            phases: self.phases.clone(),
            interrupted: false,
        }
    }

    fn asked(&self, samples: &[Sample]) -> Vec<Asked> {
        let by: BTreeMap<_, _> =
            self.hosts.iter().enumerate().map(|(node, host)| (host.mac(), node)).collect();
        let answer = |sample: &Sample| match sample.answer {
            None => Answer::None,
            Some((_, None)) => Answer::Somebody,
            Some((_, Some(mac))) => by.get(&mac).map_or(Answer::Stranger, |node| Answer::Node(*node)),
        };
        let one = |sample: &Sample| Asked {
            at: sample.sent.since(self.begin),
            answer: answer(sample),
            after: sample.answer.map_or(Duration::ZERO, |(after, _)| after),
        };
        samples.iter().map(one).collect()
    }

    fn holding(&self, length: At) -> Vec<(Node, Span)> {
        let mut open: Vec<(Node, At, Option<At>)> = Vec::new();
        for change in self.watch.timeline_of(VIP.into()) {
            let Some(node) = self.node(&change.host) else { continue };
            let at = change.at.since(self.begin);
            match change.presence {
                Presence::Held => open.push((node, at, None)),
                Presence::Absent => close(&mut open, node, at),
            }
        }
        open.into_iter().map(|(node, from, to)| (node, Span::new(from, to.unwrap_or(length)))).collect()
    }

    /// What tells the segment who has the VIP: the nodes' announcements, and every claim of a stranger.
    fn announcements(&self) -> Vec<Announcement> {
        let heard = self.capture.heard();
        let of_vip = heard.iter().filter(|heard| heard.address == VIP);
        of_vip.filter_map(|heard| self.announcement(heard)).collect()
    }

    fn announcement(&self, heard: &Heard) -> Option<Announcement> {
        let node = self.hosts.iter().position(|host| host.mac() == heard.sender_mac);
        let counts = match heard.speech {
            Speech::Announcement => true,
            Speech::Answer => node.is_none(),
            Speech::Question => false,
        };
        let tenure = heard.mark.map(|mark| marked(mark.tenure));
        counts.then(|| Announcement { at: heard.at.since(self.begin), node, tenure })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.asker.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that asks the agents panicked");
        }
    }
}

fn close(open: &mut [(Node, At, Option<At>)], node: Node, at: At) {
    if let Some((_, _, to)) = open.iter_mut().rfind(|(other, _, to)| *other == node && to.is_none()) {
        *to = Some(at);
    }
}

/// Asks every agent how it holds, again and again.
fn ask(sockets: &[PathBuf], begin: Moment, said: &Mutex<Said>, stop: &AtomicBool) {
    let mut counted = vec![0; sockets.len()];
    while !stop.load(Ordering::Relaxed) {
        for (node, socket) in sockets.iter().enumerate() {
            let asked = probe::now().since(begin);
            if let Some(claim) = agent::status(socket) {
                let before = counted.get_mut(node);
                note(&claim, (node, asked), before, &mut said.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn note(claim: &Value, (node, at): (Node, At), counted: Option<&mut u64>, said: &mut Said) {
    if let Some(tenure) = claim.get("tenure").and_then(Value::as_str).and_then(tenure) {
        said.tenures.push(TenureSeen { at, node, tenure });
    }
    let conflicts = claim.get("conflicts").and_then(Value::as_u64).unwrap_or(0);
    if let Some(counted) = counted {
        if conflicts > *counted {
            let words = format!("{} frames in the VIP's name by others", conflicts - *counted);
            said.conflicts.push(Conflict { at, node, words });
        }
        *counted = conflicts;
    }
}

fn tenure(word: &str) -> Option<Tenure> {
    serde_json::from_value(Value::String(word.to_owned())).ok()
}

/// The core's word for the wire's.
fn marked(tenure: mainstay_wire::Tenure) -> Tenure {
    match tenure {
        mainstay_wire::Tenure::Candidate => Tenure::Candidate,
        mainstay_wire::Tenure::Provisional => Tenure::Provisional,
        mainstay_wire::Tenure::Detached => Tenure::Detached,
        mainstay_wire::Tenure::Confirmed => Tenure::Confirmed,
    }
}

fn observe(client: &ApiClient, observed: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let asked = tokio::time::timeout(OBSERVE_EVERY, client.get("/readyz")).await;
            if asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.code == 200)) {
                observed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(OBSERVE_EVERY).await;
        }
    });
    Ok(())
}
