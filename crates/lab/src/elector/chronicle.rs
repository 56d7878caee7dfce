//! Every revision of the Lease, and whether each follows from the one before as client-go has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_core::time::Moment;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::rules::Record;
use super::{LEASE, LEASES};
use crate::apiserver::client::ApiClient;
use crate::cluster::wait_for;
use crate::netns::Host;
use crate::sys;

/// The fields of a Lease's `spec` that client-go writes.
const FIELDS: [&str; 5] =
    ["acquireTime", "holderIdentity", "leaseDurationSeconds", "leaseTransitions", "renewTime"];
/// `metav1.MicroTime` as it is written: 2026-01-02T03:04:05.000000Z.
const MICROTIME_LENGTH: usize = 27;

/// One revision of the Lease.
#[derive(Clone, Debug)]
pub struct Revision {
    /// When the watch told of it.
    pub at: Moment,
    /// The whole object.
    pub lease: Value,
}

impl Revision {
    /// What an elector reads in it.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::of(&self.lease)
    }
}

/// A running watch of the Lease. Dropping it ends it.
#[derive(Debug)]
pub struct Chronicle {
    revisions: Arc<Mutex<Vec<Revision>>>,
    end: CancellationToken,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Chronicle {
    /// Watches from `host`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(host: &Host, api: &ApiClient) -> Result<Self> {
        let (revisions, end) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (written, ended, api) = (Arc::clone(&revisions), end.clone(), api.clone());
        let thread = host.spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ended.run_until_cancelled(watch(&api, &written))).unwrap_or(Ok(()))
        })?;
        Ok(Self { revisions, end, thread: Some(thread) })
    }

    /// The revisions so far, in order.
    #[must_use]
    pub fn revisions(&self) -> Vec<Revision> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who held the Lease, one after the other; empty for nobody.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        let mut holders: Vec<String> = self.revisions().iter().map(|one| one.record().holder).collect();
        holders.dedup();
        holders
    }

    /// Waits until `holder` has it.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait_holder(&self, holder: &str, limit: Duration) -> Result<Moment> {
        let has = || {
            let newest = self.revisions().pop().filter(|newest| newest.record().holder == holder);
            Ok(newest.map(|newest| newest.at))
        };
        wait_for(limit, has)?
            .with_context(|| format!("the Lease is not {holder}'s within {limit:?}: {:?}", self.holders()))
    }

    /// Whether each revision has client-go's fields in client-go's form, and follows from the one before by its rules:
    /// nobody takes what another holds and has not let lie for a whole lease duration, and each take-over is counted.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<()> {
        let revisions = self.revisions();
        for revision in &revisions {
            check_form(&revision.lease).with_context(|| format!("{}", revision.lease))?;
        }
        let mut renewed_at = revisions.first().map_or(Moment::ZERO, |first| first.at);
        for pair in revisions.windows(2) {
            let [before, after] = pair else { bail!("windows of two") };
            let context = || format!("{} follows {}", after.lease["spec"], before.lease["spec"]);
            check_order(&before.record(), &after.record(), after.at.since(renewed_at))
                .with_context(context)?;
            if before.record() != after.record() {
                renewed_at = after.at;
            }
        }
        Ok(())
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        self.end.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(Err(error)) | Err(error))) => tracing::error!(%error, "a chronicle ended early"),
            Some(Err(_)) => tracing::error!("a chronicle's thread panicked"),
            _ => {}
        }
    }
}

async fn watch(api: &ApiClient, revisions: &Mutex<Vec<Revision>>) -> Result<()> {
    let path = format!("{LEASES}?watch=true&timeoutSeconds=600&fieldSelector=metadata.name%3D{LEASE}");
    let mut watch = api.watch(&path).await?;
    while let Some(mut event) = watch.next().await? {
        let revision = Revision { at: sys::now(), lease: event["object"].take() };
        revisions.lock().unwrap_or_else(PoisonError::into_inner).push(revision);
    }
    bail!("the watch ended")
}

/// The fields, no others, and their form.
fn check_form(lease: &Value) -> Result<()> {
    let spec = lease["spec"].as_object().context("a Lease has a spec")?;
    let fields: Vec<&str> = spec.keys().map(String::as_str).collect();
    ensure!(fields == FIELDS, "its fields are {fields:?}");
    for field in ["acquireTime", "renewTime"] {
        let text = spec[field].as_str().unwrap_or_default();
        let sound = text.len() == MICROTIME_LENGTH
            && text.as_bytes()[19] == b'.'
            && text.ends_with('Z')
            && text.parse::<jiff::Timestamp>().is_ok();
        ensure!(sound, "{field} is no MicroTime: {text:?}");
    }
    ensure!(spec["holderIdentity"].is_string() && spec["leaseTransitions"].is_u64(), "of another type");
    ensure!(spec["leaseDurationSeconds"].as_u64() >= Some(1), "no duration");
    Ok(())
}

/// The slack between when a taker saw the last renewal and when the watch did.
const LATENCY: Duration = Duration::from_millis(200);

/// Whether `after` is what an elector may write over `before`, `unchanged` after that was written.
pub(super) fn check_order(before: &Record, after: &Record, unchanged: Duration) -> Result<()> {
    // Annotations alone.
    if after == before {
        return Ok(());
    }
    // client-go does not count where a name acquires again; an agent counts another run under its name, as anybody's.
    if after.holder == before.holder && after.acquire_time != after.renew_time {
        ensure!(after.transitions == before.transitions, "a renewal is no take-over");
        ensure!(after.acquire_time == before.acquire_time, "a renewal acquires nothing");
        return Ok(());
    }
    ensure!(after.acquire_time == after.renew_time, "taken or released now");
    if after.holder.is_empty() {
        ensure!(after.transitions == before.transitions, "a release is no take-over");
        ensure!(after.duration_seconds == 1, "a release lasts for a second");
        return Ok(());
    }
    ensure!(after.transitions == before.transitions + 1, "a take-over is counted once");
    let free =
        before.holder.is_empty() || before.holder == after.holder || unchanged + LATENCY >= before.duration();
    ensure!(free, "taken from {} {unchanged:?} after it renewed", before.holder);
    Ok(())
}
