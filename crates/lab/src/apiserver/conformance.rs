//! What "as the real API server does" means: checks that run against this one always, and against a real
//! `kube-apiserver` where its binaries are (see [`super::real`]).
//!
//! Each check works on objects of its own, named with the prefix it is given, and removes them.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::{Answer, ApiClient, Watching};

mod reads;
mod writes;

/// How long a single step may take.
const PATIENCE: Duration = Duration::from_secs(20);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// The set-up of one check.
struct Bench<'a> {
    client: &'a ApiClient,
    prefix: String,
}

/// Runs every check; returns their names.
///
/// # Errors
/// The first check that fails, named, with what was expected.
pub async fn run(client: &ApiClient, prefix: &str) -> Result<Vec<&'static str>> {
    let mut done = Vec::new();
    macro_rules! checks {
        ($($module:ident :: $check:ident),* $(,)?) => {$(
            let bench = Bench { client, prefix: format!("{prefix}-{}", done.len()) };
            check(stringify!($check), $module::$check(&bench)).await?;
            done.push(stringify!($check));
        )*};
    }
    checks![
        reads::discovery_names_the_kinds,
        reads::an_absent_object_is_not_found,
        reads::a_wrong_token_is_unauthorized,
        reads::lists_come_in_pages,
        reads::selectors_select,
        reads::a_future_version_times_out,
        reads::a_watch_shows_changes_from_a_version,
        reads::a_watch_without_version_begins_with_the_state,
        reads::a_watch_follows_a_selector,
        reads::a_watch_ends_in_time,
        writes::create_fills_in_metadata,
        writes::names_are_generated,
        writes::update_is_optimistic,
        writes::update_of_a_lease_needs_a_version,
        writes::another_uid_conflicts,
        writes::put_creates_a_lease,
        writes::an_update_without_change_keeps_the_version,
        writes::merge_patch_merges,
        writes::json_patch_operates,
        writes::delete_heeds_preconditions,
        writes::collections_are_deleted,
        writes::bad_objects_are_refused,
        writes::status_is_apart,
        writes::generation_counts_content,
    ];
    Ok(done)
}

async fn check(name: &str, run: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(PATIENCE, run)
        .await
        .with_context(|| format!("{name}: not done in {PATIENCE:?}"))?
        .with_context(|| name.to_owned())
}

impl Bench<'_> {
    /// Where EndpointSlices are: they became v1 in Kubernetes 1.21, and a real server may be older.
    async fn discovery_api(&self) -> Result<String> {
        let version = expect(200, self.client.get("/version").await?)?;
        let minor = version["minor"].as_str().unwrap_or_default().trim_end_matches('+').parse::<u32>();
        let old = minor.is_ok_and(|minor| minor < 21);
        Ok(format!("/apis/discovery.k8s.io/{}", if old { "v1beta1" } else { "v1" }))
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    fn path(&self, suffix: &str) -> String {
        format!("{LEASES}/{}", self.name(suffix))
    }

    fn lease(&self, suffix: &str, holder: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": self.name(suffix), "labels": { "suite": self.prefix, "name": suffix } },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000000Z" },
        })
    }

    async fn create(&self, suffix: &str, holder: &str) -> Result<Value> {
        expect(201, self.client.post(LEASES, &self.lease(suffix, holder)).await?)
    }

    async fn hand_to(&self, lease: &Value, holder: &str) -> Result<Value> {
        let mut next = lease.clone();
        next["spec"]["holderIdentity"] = json!(holder);
        let path = format!("{LEASES}/{}", lease["metadata"]["name"].as_str().unwrap_or_default());
        expect(200, self.client.put(&path, &next).await?)
    }

    async fn remove(&self, suffix: &str) -> Result<()> {
        expect(200, self.client.delete(&self.path(suffix), &json!({})).await?).map(drop)
    }

    async fn watch(&self, query: &str) -> Result<Watching> {
        let watch = self.client.watch(&format!("{LEASES}?watch=true&{query}")).await?;
        ensure!(watch.code() == 200, "watch answered {}", watch.code());
        Ok(watch)
    }

    fn suite(&self) -> String {
        format!("labelSelector=suite%3D{}", self.prefix)
    }
}

/// The body of an answer that has this code.
fn expect(code: u16, answer: Answer) -> Result<Value> {
    ensure!(answer.code == code, "expected {code}, got {}: {}", answer.code, answer.body);
    Ok(answer.body)
}

/// Checks a refusal: its code, its reason, and that it is a Status.
fn expect_refusal(code: u16, reason: &str, answer: Answer) -> Result<Value> {
    let body = expect(code, answer)?;
    ensure!(body["kind"] == "Status" && body["status"] == "Failure", "not a Status of failure: {body}");
    ensure!(body["reason"] == reason && body["code"] == code, "expected reason {reason}: {body}");
    Ok(body)
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// The next event, which must be of this kind, and its object.
async fn expect_event(watch: &mut Watching, kind: &str) -> Result<Value> {
    let Some(mut event) = watch.next().await? else { bail!("the watch ended before {kind}") };
    ensure!(event["type"] == kind, "expected {kind}: {event}");
    Ok(event["object"].take())
}
