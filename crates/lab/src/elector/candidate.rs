//! An elector's conversation with the API server: client-go's loops around its rules.

use std::time::Duration;

use mainstay_core::rng::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::rules::{First, Record, Rules, Then};
use super::{Journal, LEASE, LEASES, Settings, Step, Timing};
use crate::apiserver::client::{Answer, ApiClient, Connection};
use crate::sys;

/// The time-out of kube-vip's client, for each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One elector and its connection.
pub(super) struct Candidate {
    api: ApiClient,
    connection: Option<Connection>,
    rules: Rules,
    timing: Timing,
    rng: Rng,
    /// The object as last read or written: its metadata is carried forward, whoever wrote it.
    lease: Option<Value>,
    pub(super) journal: Journal,
}

impl Candidate {
    pub(super) fn new(api: ApiClient, settings: &Settings, journal: Journal) -> Self {
        Self {
            api: api.named("elector"),
            connection: None,
            rules: Rules::new(&settings.identity, settings.timing, sys::now()),
            timing: settings.timing,
            rng: Rng::new(settings.seed),
            lease: None,
            journal,
        }
    }

    /// Tries until it has the Lease.
    pub(super) async fn acquire(&mut self) {
        while !self.attempt().await {
            sleep(self.rules.pause(&mut self.rng)).await;
        }
        self.journal.note(Step::Acquired);
    }

    /// Renews at once, and again after each retry period, until that fails for the renew deadline.
    pub(super) async fn renew(&mut self) {
        while self.renew_within_deadline().await {
            self.journal.note(Step::Renewed);
            sleep(self.timing.retry_period).await;
        }
    }

    async fn renew_within_deadline(&mut self) -> bool {
        let deadline = Instant::now() + self.timing.renew_deadline;
        loop {
            match timeout_at(deadline, self.attempt()).await {
                Ok(true) => return true,
                Ok(false) if timeout_at(deadline, sleep(self.timing.retry_period)).await.is_ok() => {}
                Ok(false) | Err(_) => return false,
            }
        }
    }

    /// Gives the Lease up, if it has it: reads it for its version, then writes, once.
    pub(super) async fn release(&mut self) {
        let Some(record) = self.rules.release(&stamp()) else { return };
        let limit = self.timing.renew_deadline;
        let giving_up = async {
            self.read().await?;
            self.update(record).await
        };
        if timeout(limit, giving_up).await.ok().flatten().is_some() {
            self.journal.note(Step::Released);
        }
    }

    /// `tryAcquireOrRenew`.
    async fn attempt(&mut self) -> bool {
        let (now, stamp) = (sys::now(), stamp());
        if let First::Update(record) = self.rules.first(now, &stamp)
            && self.update(record).await.is_some()
        {
            return true;
        }
        let Some(found) = self.read().await else { return false };
        match self.rules.then(now, &stamp, found) {
            Then::Create(record) => self.create(record).await.is_some(),
            Then::Update(record) => self.update(record).await.is_some(),
            Then::Held(holder) => {
                self.journal.note(Step::Refused(holder));
                false
            }
        }
    }

    /// The record, or that there is none; nothing when no answer came that says either.
    async fn read(&mut self) -> Option<Option<Record>> {
        let answer = self.ask("GET", &format!("{LEASES}/{LEASE}"), None).await?;
        match answer.code {
            200 => {
                let record = Record::of(&answer.body);
                self.lease = Some(answer.body);
                Some(Some(record))
            }
            404 => Some(None),
            _ => None,
        }
    }

    async fn create(&mut self, record: Record) -> Option<()> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": "kube-system"},
            "spec": record.spec(),
        });
        let answer = self.ask("POST", LEASES, Some(&lease)).await?;
        self.wrote(record, answer, 201)
    }

    async fn update(&mut self, record: Record) -> Option<()> {
        let mut lease = self.lease.clone()?;
        lease["spec"] = record.spec();
        let answer = self.ask("PUT", &format!("{LEASES}/{LEASE}"), Some(&lease)).await?;
        self.wrote(record, answer, 200)
    }

    fn wrote(&mut self, record: Record, answer: Answer, wanted: u16) -> Option<()> {
        if answer.code != wanted {
            return None;
        }
        self.lease = Some(answer.body);
        self.rules.observe(sys::now(), record);
        Some(())
    }

    /// One request. A connection whose request was given up is not used again.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let exchange = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.api.connect().await.ok()?,
            };
            let answer =
                connection.send(method, path, body.map(|body| ("application/json", body))).await.ok()?;
            self.connection = Some(connection);
            Some(answer)
        };
        timeout(REQUEST_TIMEOUT, exchange).await.ok().flatten()
    }
}

/// The wall clock as `metav1.MicroTime` writes it.
fn stamp() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
