//! Reports a node that is dead on the wire, long before anybody else notices that its kubelet is silent.
//!
//! What Kubernetes does by itself, 40 to 50 s later: the node lifecycle controller sets the Node's condition `Ready` to
//! `Unknown` and, *at that transition of its own*, the condition `Ready` of the node's Pods to `False`
//! (`pkg/controller/nodelifecycle`, `MarkPodsNotReady`). The EndpointSlice controller, and with it kube-proxy, goes by the
//! Pods alone. A Node that somebody else has called `Unknown` makes no such transition any more, and its Pods would stay
//! ready until they are evicted. So the Pods are marked first, as the controller marks them, and the Node last: if a Pod
//! cannot be marked, the Node is left alone, and the controller does all of it in its time.
//!
//! ```text
//!   GET Node ─► Ready, and no new heartbeat ─► at most a third of the agents' Nodes ─► PATCH each ready Pod ─► PATCH Node
//! ```
//!
//! Both are status patches of the one condition, as a kubelet sends them (strategic: conditions are merged by `type`), and
//! name the version that was read: what a kubelet writes in between wins. A kubelet that lives takes both back by itself
//! with its next status, within 10 s.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};

use crate::access::Traffic;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::fleet::{Ask, Fleet, JSON};
use crate::microtime::wall_text;
use crate::race::Pace;

/// The condition's reason: one word, by which it is known who wrote it.
const REASON: &str = "MainstayNodeUnreachable";
/// How long one server may take, by its own clock too.
const LIMIT: Duration = Duration::from_secs(3);
/// Requests under way at once, for one report.
const AT_ONCE: usize = 8;
/// Pods in one answer: so many fit into what is read of one.
const PAGE: usize = 50;
/// Lists of conditions are merged by their `type`.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// Of all nodes with agents, one in so many may be called dead.
const ONE_IN: usize = 3;

/// Whether one more node may be reported, where so many have agents and so many of the others are not ready.
#[must_use]
pub fn allows(agents: usize, others_not_ready: usize) -> bool {
    (others_not_ready + 1) * ONE_IN <= agents
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The Node is called `Unknown`, and so many of its Pods not ready.
    Done {
        /// Those that were ready before.
        pods: usize,
    },
    /// The Node was not ready already: somebody else has seen to it.
    NotReady,
    /// Its kubelet wrote its status since the first attempt: it lives.
    Lives,
    /// There is no such Node.
    Absent,
    /// Too many nodes with agents are not ready. This one is left to Kubernetes.
    TooMany {
        /// Of the others.
        not_ready: usize,
    },
}

/// One death, to be reported once.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// The dead node.
    pub node: String,
    /// All nodes with agents, this one included.
    pub agents: Vec<String>,
    /// What people are told in the condition.
    pub message: String,
    /// The kubelet's last heartbeat as the first attempt saw it: `lastHeartbeatTime` of the condition.
    heartbeat: Option<Value>,
}

impl NodeReport {
    /// A report of which nothing was sent yet.
    #[must_use]
    pub fn new(node: String, agents: Vec<String>, message: String) -> Self {
        Self { node, agents, message, heartbeat: None }
    }
}

/// Reports dead nodes by way of a lease adapter's API servers.
#[derive(Clone)]
pub struct NodeReporter {
    fleet: Arc<Fleet>,
    /// The server that left the last request without a good end: asked after the others. It may be the dead node's.
    avoid: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for NodeReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeReporter")
    }
}

impl NodeReporter {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet, avoid: Arc::default() }
    }

    /// Makes one attempt, as soon as an API server is known to answer. Where it is given up on the way, or fails, another
    /// goes on from there.
    ///
    /// # Errors
    /// What one of its requests came to. What is missing then is worth another attempt, unless it is a permission.
    pub async fn attempt(&self, report: &mut NodeReport) -> Result<Reported, Trouble> {
        self.fleet.answering().await;
        let Some(node) = self.get_node(&report.node).await? else { return Ok(Reported::Absent) };
        let Some(ready) = ready(&node).filter(|ready| ready["status"] == "True") else {
            return Ok(Reported::NotReady);
        };
        let heartbeat = &ready["lastHeartbeatTime"];
        if report.heartbeat.get_or_insert_with(|| heartbeat.clone()) != heartbeat {
            return Ok(Reported::Lives);
        }
        let (others, not_ready) = self.count_others(report).await?;
        if !allows(others + 1, not_ready) {
            return Ok(Reported::TooMany { not_ready });
        }
        let pods = self.mark_pods(&report.node).await?;
        let condition = json!({
            "type": "Ready", "status": "Unknown", "reason": REASON, "message": report.message,
            "lastTransitionTime": wall_text(Instant::now()),
        });
        let path = format!("/api/v1/nodes/{}", report.node);
        self.patch(&path, &node, &condition).await?;
        Ok(Reported::Done { pods })
    }

    async fn get_node(&self, name: &str) -> Result<Option<Value>, Trouble> {
        self.ask(Method::GET, format!("/api/v1/nodes/{name}?{}", limit()), Bytes::new(), JSON).await
    }

    /// How many other nodes with agents there are, and how many of them are not ready, whoever said so. An agent is known
    /// for a while after its Node is gone.
    async fn count_others(&self, report: &NodeReport) -> Result<(usize, usize), Trouble> {
        let others = report.agents.iter().filter(|agent| **agent != report.node);
        let requests: Vec<_> = others.map(|agent| self.get_node(agent)).collect();
        let nodes = stream::iter(requests).buffer_unordered(AT_ONCE);
        let not_ready = |node: &Value| ready(node).is_none_or(|ready| ready["status"] != "True");
        let count = async |(others, bad), node: Option<Value>| {
            let is_bad = node.as_ref().is_some_and(not_ready);
            Ok((others + usize::from(node.is_some()), bad + usize::from(is_bad)))
        };
        nodes.try_fold((0, 0), count).await
    }

    /// Marks the node's Pods as not ready, and says how many were.
    async fn mark_pods(&self, node: &str) -> Result<usize, Trouble> {
        let mut marked = 0;
        let mut next = String::new();
        loop {
            let path = format!(
                "/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&limit={PAGE}&continue={next}&{}",
                limit()
            );
            let page = self.ask(Method::GET, path, Bytes::new(), JSON).await?.unwrap_or_default();
            let pods = page["items"].as_array().into_iter().flatten();
            let pods = pods.filter(|pod| ready(pod).is_some_and(|ready| ready["status"] == "True"));
            let requests: Vec<_> = pods.map(|pod| self.mark_pod(pod)).collect();
            let marks = stream::iter(requests).buffer_unordered(AT_ONCE);
            marked += marks.try_fold(0, async |count, ()| Ok(count + 1)).await?;
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => token.clone_into(&mut next),
                None => return Ok(marked),
            }
        }
    }

    async fn mark_pod(&self, pod: &Value) -> Result<(), Trouble> {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"));
        let condition = json!({
            "type": "Ready", "status": "False", "lastTransitionTime": wall_text(Instant::now()),
        });
        self.patch(&path, pod, &condition).await
    }

    /// Puts one condition into an object's status, if nobody has written on it since it was read. One that is gone needs none.
    async fn patch(&self, path: &str, object: &Value, condition: &Value) -> Result<(), Trouble> {
        let seen = &object["metadata"];
        let body = json!({
            "metadata": {"uid": seen["uid"], "resourceVersion": seen["resourceVersion"]},
            "status": {"conditions": [condition]},
        });
        let path = format!("{path}/status?fieldManager=mainstay&{}", limit());
        self.ask(Method::PATCH, path, Bytes::from(body.to_string()), STRATEGIC).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        content: &'static str,
    ) -> Result<Option<Value>, Trouble> {
        let ask = Ask {
            method,
            path,
            body,
            content,
            traffic: Traffic::Report,
            pace: Pace { hedge_after: LIMIT, unanswered_after: LIMIT, deadline: LIMIT },
            last: self.avoid.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            refusal_is_fault: false,
        };
        let (answer, by) = self.fleet.in_turn(&ask).await;
        if matches!(answer, Answer::Unknown(_)) {
            *self.avoid.lock().unwrap_or_else(PoisonError::into_inner) = by;
        }
        settled(answer)
    }
}

fn limit() -> String {
    format!("timeout={}s", LIMIT.as_secs())
}

/// The condition `Ready` of a Node or a Pod.
fn ready(object: &Value) -> Option<&Value> {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == "Ready")
}

/// `None` where there is no such object.
fn settled(answer: Answer<Value>) -> Result<Option<Value>, Trouble> {
    match answer {
        Answer::Success(object) => Ok(Some(object)),
        Answer::Absent => Ok(None),
        Answer::Conflict => Err(Trouble::new(ErrorClass::Rejected, "HTTP 409: it was written on meanwhile")),
        Answer::Gone => Err(Trouble::new(ErrorClass::Rejected, "HTTP 410: the list is too old to go on")),
        Answer::Throttled(_) => Err(Trouble::new(ErrorClass::Overloaded, "the API server is overloaded")),
        Answer::Forbidden(trouble) | Answer::Refused(trouble) | Answer::Unknown(trouble) => Err(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never more than a third, this one included.
    #[test]
    fn a_third_of_the_nodes_with_agents_may_be_reported() {
        for (agents, others_not_ready, expected) in [
            (0, 0, false),
            (1, 0, false),
            (2, 0, false),
            (3, 0, true),
            (3, 1, false),
            (5, 0, true),
            (5, 1, false),
            (6, 1, true),
            (6, 2, false),
            (9, 2, true),
            (9, 3, false),
            (100, 32, true),
            (100, 33, false),
        ] {
            assert_eq!(allows(agents, others_not_ready), expected, "{others_not_ready} others of {agents}");
        }
    }
}
