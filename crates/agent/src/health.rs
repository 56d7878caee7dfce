//! What alive and ready mean. Pure, and each answer is a list of reasons: empty means yes.
//!
//! *Alive* fails only for what a restart of the process could heal. An API server that is out of reach is no reason for
//! either: the VIP stays, and a restart would not bring the API server back.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::settings::Authority;

use crate::driver::Report;
use crate::supervise::TaskState;
use crate::vitals::STALLED_AFTER;

/// The one task that the first claim's VIP depends on. What fails for Services alone is no reason to move the control plane's. A port or a socket that another process has is a warning, not a reason to be
/// killed: a restart would meet the same one.
const VITAL_TASK: &str = "lease";

/// Why the process should be restarted.
pub(crate) fn not_live(idle: Option<Duration>, tasks: &BTreeMap<&'static str, TaskState>) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(idle) = idle.filter(|idle| *idle >= STALLED_AFTER) {
        reasons.push(format!("the loop has not turned for {:.1} s", idle.as_secs_f64()));
    }
    for (name, task) in tasks.iter().filter(|(name, task)| **name == VITAL_TASK && task.in_crash_loop()) {
        let why = task.last_failure.as_deref().unwrap_or_default();
        reasons.push(format!("the task {name} failed {} times in a row: {why}", task.failures));
    }
    reasons
}

/// Why this node is not ready to hold the VIP, or to prove that it does. A state directory that cannot be written is a
/// warning and a metric, and no reason: this run holds as well as any, and a rollout that waited for it would stand still.
pub(crate) fn not_ready(report: Option<&Report>, authority: Authority) -> Vec<String> {
    let mut reasons = Vec::new();
    match report {
        None => reasons.push("the loop does not answer".to_owned()),
        Some(report) => {
            if !report.link_up {
                reasons.push("the link of the VIP's interface is down".to_owned());
            }
            if authority == Authority::Lease && report.status.standing == "unknown" {
                reasons.push("no API server has said yet who holds the VIP".to_owned());
            }
            if let Some(cause) = report.refusal() {
                reasons.push(format!("the kernel refuses the VIP: {cause}"));
            }
        }
    }
    reasons
}
