//! Dead nodes reported: `MAINSTAY_REPORT_NODE_FAILURE`. Which are dead comes from the Services' loop, which waits for
//! nobody; the writing is the Kubernetes adapter's. A task of its own, so that nothing that becomes of it reaches a Lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mainstay_core::backoff::Backoff;
use mainstay_core::names::NodeName;
use mainstay_core::rng::Rng;
use mainstay_kube::{ErrorClass, NodeReport, NodeReporter, Reported, Trouble};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout_at};

use crate::driver::{Death, Deaths};
use crate::insight::ApiView;
use crate::metrics::Observer;
use crate::names::Members;
use crate::run::random;

/// Between attempts at one node, with full jitter: from this ...
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// ... to this.
const BACKOFF_LAST: Duration = Duration::from_secs(5);
/// After this Kubernetes has noticed by itself.
const WORTH_IT_FOR: Duration = Duration::from_secs(60);

/// What every run of the task begins with.
pub(crate) struct Keeper {
    node: NodeName,
    deaths: watch::Receiver<Deaths>,
    /// The nodes with agents.
    members: watch::Receiver<Members>,
    api: ApiView,
    /// The deaths that are dealt with. Locked by the one run there is; released when it ends, also by a panic.
    done: Mutex<BTreeMap<NodeName, Instant>>,
}

impl Keeper {
    pub(crate) fn new(
        node: NodeName,
        deaths: watch::Receiver<Deaths>,
        members: watch::Receiver<Members>,
        api: ApiView,
    ) -> Self {
        Self { node, deaths, members, api, done: Mutex::default() }
    }

    /// Reports one death after the other, by way of whichever lease adapter runs.
    ///
    /// # Errors
    /// When there will be no other adapter: the agent ends.
    pub(crate) async fn run(&self, observer: &Observer) -> anyhow::Result<()> {
        let mut done = self.done.lock().await;
        let (mut deaths, mut handles) = (self.deaths.clone(), self.api.subscribe());
        loop {
            let reporter = handles.borrow_and_update().as_ref().map(|handles| handles.reporter.clone());
            let next = next(&deaths.borrow_and_update(), &done);
            let reported = async {
                match (reporter, next.clone()) {
                    (Some(reporter), Some((node, death))) => self.report(&reporter, &node, death).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                outcome = reported => {
                    observer.reported(outcome);
                    done.extend(next.map(|(node, death)| (node, death.at)));
                }
                // Looked at anew, in case it lives, or is another's to report.
                Ok(()) = deaths.changed() => {}
                changed = handles.changed() => changed.context("there is no lease adapter any more")?,
            }
        }
    }

    /// Tries until it is done, or Kubernetes has done it. What became of it, in a word.
    async fn report(&self, reporter: &NodeReporter, node: &NodeName, death: Death) -> &'static str {
        let mut report =
            NodeReport::new(node.to_string(), self.agents(node), message(&self.node, death.silent));
        let (mut rng, mut backoff) = (Rng::new(random()), Backoff::new(BACKOFF_FIRST, BACKOFF_LAST));
        let mut last = Trouble::new(ErrorClass::Timeout, "no API server answers");
        let tries = async {
            loop {
                match reporter.attempt(&mut report).await {
                    Ok(reported) => break tell(node, &reported),
                    Err(trouble) if trouble.class == ErrorClass::Forbidden => {
                        break tell_failure(node, &trouble);
                    }
                    Err(trouble) => last = trouble,
                }
                sleep(backoff.next(&mut rng)).await;
            }
        };
        let until = (death.at + WORTH_IT_FOR).into();
        let tried = timeout_at(until, tries).await;
        tried.unwrap_or_else(|_| tell_failure(node, &last))
    }

    /// All nodes with agents, the dead one and this one among them.
    fn agents(&self, dead: &NodeName) -> Vec<String> {
        let members = self.members.borrow();
        let mut agents: Vec<&NodeName> = members.keys().chain([&self.node, dead]).collect();
        agents.sort();
        agents.dedup();
        agents.into_iter().map(NodeName::to_string).collect()
    }
}

/// The first death that is ours to deal with, and was not yet.
fn next(deaths: &Deaths, done: &BTreeMap<NodeName, Instant>) -> Option<(NodeName, Death)> {
    let mut due = deaths.nodes.iter().filter(|(node, death)| done.get(*node) != Some(&death.at));
    let (node, death) = due.next().filter(|_| deaths.confirmed)?;
    Some((node.clone(), *death))
}

fn message(by: &NodeName, silent: Duration) -> String {
    format!(
        "{by} has asked this node on the wire and got no answer from any of its addresses; it was last heard {} ms before",
        silent.as_millis()
    )
}

fn tell(node: &NodeName, reported: &Reported) -> &'static str {
    match reported {
        Reported::Done { pods } => {
            tracing::warn!(%node, pods, "the Node is dead, so its condition Ready is Unknown now, and its Pods are not ready");
            "done"
        }
        Reported::NotReady => "not-ready",
        Reported::Absent => {
            tracing::warn!(%node, "the node is dead, and there is no Node of that name: vip_nodename has to be the Node's name");
            "absent"
        }
        Reported::Lives => {
            tracing::warn!(%node, "the node is silent on the wire, but its kubelet goes on writing: nothing is reported");
            "lives"
        }
        Reported::TooMany { not_ready } => {
            tracing::warn!(
                %node, not_ready,
                "the node is dead; this is left to Kubernetes, for never more than a third of the nodes with agents are reported"
            );
            "too-many"
        }
    }
}

fn tell_failure(node: &NodeName, trouble: &Trouble) -> &'static str {
    let remedy = if trouble.class == ErrorClass::Forbidden {
        "; `mainstay manifest rbac --reportNodeFailure` prints the rules that it needs"
    } else {
        ""
    };
    tracing::warn!(%node, "that the node is dead cannot be reported, and is left to Kubernetes: {}{remedy}", trouble.text);
    "failed"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One report for each death, and only while nobody else reports.
    #[test]
    fn each_death_is_dealt_with_once_and_only_by_a_confirmed_holder() {
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let death = |at| Death { at, silent: Duration::from_secs(1) };
        let n2 = NodeName::new("n2");
        let deaths = |confirmed, at| Deaths { confirmed, nodes: [(n2.clone(), death(at))].into() };
        let done = |at| BTreeMap::from([(n2.clone(), at)]);
        assert_eq!(next(&deaths(true, first), &BTreeMap::new()), Some((n2.clone(), death(first))));
        assert_eq!(next(&deaths(false, first), &BTreeMap::new()), None, "not confirmed");
        assert_eq!(next(&deaths(true, first), &done(first)), None, "dealt with");
        assert_eq!(
            next(&deaths(true, second), &done(first)),
            Some((n2.clone(), death(second))),
            "another death"
        );
        assert_eq!(next(&Deaths { confirmed: true, ..Deaths::default() }, &BTreeMap::new()), None);
    }
}
