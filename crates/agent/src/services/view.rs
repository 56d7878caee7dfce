//! What is known of Services, for people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::intent::ObjectName;
use mainstay_dataplane::filter::InForce;
use mainstay_dataplane::kernel::TableError;
use mainstay_kube::PublishStatus;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::explain::Question;
use crate::admin::reply::{Explanation, RefusedService, ServiceFilter, Services};

/// Refusals that are shown; the rest is counted by the metrics.
const SHOWN: usize = 100;

/// What is known of Services, for people. Shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Arc<Mutex<State>>);

/// How long an answer about one Service may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
struct State {
    /// `None` where no Services are held.
    services: Option<Services>,
    /// Why the loop cannot begin, as long as it cannot.
    waits_for: Option<String>,
    /// Whoever decides, to be asked why.
    asked: Option<mpsc::Sender<Question>>,
}

impl View {
    /// From now on, questions go there.
    pub(super) fn answered_by(&self, asked: mpsc::Sender<Question>) {
        self.lock().asked = Some(asked);
    }

    /// Why that Service is as it is.
    ///
    /// # Errors
    /// Why nobody can say.
    pub(crate) async fn explain(&self, about: ObjectName) -> Result<Explanation, String> {
        let asked = self.lock().asked.clone();
        let asked = asked.ok_or("this agent holds no Services (svc_enable)")?;
        let (answer, answered) = oneshot::channel();
        let asking = async {
            asked.send(Question { about, answer }).await.ok()?;
            answered.await.ok()
        };
        let answer = timeout(ANSWER_WITHIN, asking).await.ok().flatten();
        answer.ok_or_else(|| {
            "the Services were not all read yet, or no API server answers: see mainstay status".to_owned()
        })
    }

    /// Services are held; the loop has begun if it is known which cluster this is.
    pub(super) fn begin(&self, cluster: Cluster) {
        let mut state = self.lock();
        state.services.get_or_insert_default();
        state.waits_for = (cluster == Cluster::Unknown)
            .then(|| "no API server has said yet which cluster this is".to_owned());
    }

    /// It could not be learned which cluster this is.
    pub(super) fn cluster_unknown(&self, why: &str) {
        let mut state = self.lock();
        if let Some(waits_for) = &mut state.waits_for {
            *waits_for = format!("no API server says which cluster this is (namespace kube-system): {why}");
        }
    }

    /// The loop does not run, for it would be another cluster's.
    pub(super) fn other_cluster(&self, why: String) {
        self.lock().waits_for = Some(why);
    }

    /// All was read, and this was decided.
    pub(super) fn decided(&self, ours: usize, addresses: usize, refused: &BTreeMap<ObjectName, String>) {
        let mut state = self.lock();
        let services = state.services.get_or_insert_default();
        (services.known, services.ours, services.addresses) = (true, ours, addresses);
        services.refused_count = refused.len();
        let shown = refused.iter().take(SHOWN);
        services.refused =
            shown.map(|(name, why)| RefusedService { service: name.to_string(), why: why.clone() }).collect();
    }

    /// So many are left to kube-vip.
    pub(super) fn leave(&self, count: usize) {
        self.lock().services.get_or_insert_default().left_to_kube_vip = count;
    }

    /// These seats' beacons are alike; said in the log once for each.
    pub(super) fn share_beacons(&self, told: Vec<String>) {
        let mut state = self.lock();
        let services = state.services.get_or_insert_default();
        for new in told.iter().filter(|line| !services.shared_beacons.contains(line)) {
            tracing::error!("{new}");
        }
        services.shared_beacons = told;
    }

    /// What was tried of the filter.
    pub(super) fn filtered(&self, result: &Result<InForce, TableError>) {
        let mut state = self.lock();
        let before = state.services.get_or_insert_default().filter.take().unwrap_or_default();
        let now = match result {
            Ok(InForce { addresses, ports, dropped, lingering: _ }) => ServiceFilter {
                in_force: true,
                addresses: *addresses,
                ports: *ports,
                dropped: *dropped,
                last_error: None,
            },
            // What was in force stays.
            Err(error) => ServiceFilter { in_force: false, last_error: Some(error.to_string()), ..before },
        };
        state.services.get_or_insert_default().filter = Some(now);
    }

    /// How the writes on Services go.
    pub(super) fn writes(&self, writes: &PublishStatus) {
        let mut state = self.lock();
        let services = state.services.get_or_insert_default();
        services.write_failures_in_a_row = writes.failures_in_a_row;
        services.writes = writes.writes;
        services.last_error = writes.last_error.as_ref().map(|trouble| trouble.text.clone());
    }

    /// All of it; `None` where no Services are held.
    pub(crate) fn read(&self) -> Option<Services> {
        self.lock().services.clone()
    }

    /// Why the Services' loop has not begun, if it has not.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        self.lock().waits_for.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is known which cluster this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    Known,
    Unknown,
}
