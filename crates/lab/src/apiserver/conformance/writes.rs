//! Creation, update, patch and deletion.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Bench, LEASES, expect, expect_refusal, version};

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

pub(super) async fn create_fills_in_metadata(bench: &Bench<'_>) -> Result<()> {
    let lease = bench.create("a", "n1").await?;
    ensure!(uid(&lease).len() == 36, "no UID: {lease}");
    ensure!(version(&lease).parse::<u64>().is_ok_and(|version| version > 0), "no version: {lease}");
    ensure!(
        lease["metadata"]["creationTimestamp"].as_str().is_some_and(|stamp| stamp.len() == 20),
        "{lease}"
    );
    ensure!(lease["metadata"]["namespace"] == "default" && lease["kind"] == "Lease", "{lease}");
    let again = bench.client.post(LEASES, &bench.lease("a", "n2")).await?;
    let refusal = expect_refusal(409, "AlreadyExists", again)?;
    ensure!(refusal["details"]["name"] == bench.name("a").as_str(), "{refusal}");
    bench.remove("a").await
}

pub(super) async fn names_are_generated(bench: &Bench<'_>) -> Result<()> {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "generateName": bench.name("g-"), "labels": { "suite": bench.prefix } },
    });
    let maps = "/api/v1/namespaces/default/configmaps";
    let made = expect(201, bench.client.post(maps, &body).await?)?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    ensure!(name.len() == bench.name("g-").len() + 5 && name.starts_with(&bench.name("g-")), "{made}");
    expect(200, bench.client.delete(&format!("{maps}/{name}"), &json!({})).await?).map(drop)
}

pub(super) async fn update_is_optimistic(bench: &Bench<'_>) -> Result<()> {
    let first = bench.create("a", "n1").await?;
    let second = bench.hand_to(&first, "n2").await?;
    ensure!(uid(&first) == uid(&second) && version(&first) != version(&second), "{second}");
    let stale = bench.client.put(&bench.path("a"), &first).await?;
    expect_refusal(409, "Conflict", stale)?;
    let read = expect(200, bench.client.get(&bench.path("a")).await?)?;
    ensure!(read["spec"]["holderIdentity"] == "n2", "{read}");
    bench.remove("a").await
}

pub(super) async fn update_of_a_lease_needs_a_version(bench: &Bench<'_>) -> Result<()> {
    bench.create("a", "n1").await?;
    let refused = bench.client.put(&bench.path("a"), &bench.lease("a", "n2")).await?;
    expect_refusal(422, "Invalid", refused)?;
    bench.remove("a").await
}

pub(super) async fn another_uid_conflicts(bench: &Bench<'_>) -> Result<()> {
    let mut lease = bench.create("a", "n1").await?;
    lease["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    expect_refusal(409, "Conflict", bench.client.put(&bench.path("a"), &lease).await?)?;
    bench.remove("a").await
}

pub(super) async fn put_creates_a_lease(bench: &Bench<'_>) -> Result<()> {
    expect(201, bench.client.put(&bench.path("a"), &bench.lease("a", "n1")).await?)?;
    bench.remove("a").await
}

pub(super) async fn an_update_without_change_keeps_the_version(bench: &Bench<'_>) -> Result<()> {
    let first = bench.create("a", "n1").await?;
    let second = bench.hand_to(&first, "n1").await?;
    ensure!(version(&first) == version(&second), "{} became {}", version(&first), version(&second));
    bench.remove("a").await
}

pub(super) async fn merge_patch_merges(bench: &Bench<'_>) -> Result<()> {
    let first = bench.create("a", "n1").await?;
    let patch =
        json!({ "metadata": { "annotations": { "example.com/a": "b" } }, "spec": { "renewTime": null } });
    let second = expect(200, bench.client.merge_patch(&bench.path("a"), &patch).await?)?;
    ensure!(second["metadata"]["annotations"]["example.com/a"] == "b", "{second}");
    ensure!(
        second["spec"].get("renewTime").is_none() && second["spec"]["holderIdentity"] == "n1",
        "{second}"
    );
    let stale =
        json!({ "metadata": { "resourceVersion": version(&first) }, "spec": { "holderIdentity": "n2" } });
    expect_refusal(409, "Conflict", bench.client.merge_patch(&bench.path("a"), &stale).await?)?;
    let fresh =
        json!({ "metadata": { "resourceVersion": version(&second) }, "spec": { "holderIdentity": "n2" } });
    expect(200, bench.client.merge_patch(&bench.path("a"), &fresh).await?)?;
    bench.remove("a").await?;
    expect_refusal(404, "NotFound", bench.client.merge_patch(&bench.path("a"), &fresh).await?).map(drop)
}

pub(super) async fn json_patch_operates(bench: &Bench<'_>) -> Result<()> {
    bench.create("a", "n1").await?;
    let patch = json!([
        { "op": "test", "path": "/spec/holderIdentity", "value": "n1" },
        { "op": "replace", "path": "/spec/holderIdentity", "value": "n2" },
    ]);
    let media = "application/json-patch+json";
    let patched = expect(200, bench.client.send("PATCH", &bench.path("a"), Some((media, &patch))).await?)?;
    ensure!(patched["spec"]["holderIdentity"] == "n2", "{patched}");
    let failed = bench.client.send("PATCH", &bench.path("a"), Some((media, &patch))).await?;
    ensure!(failed.code == 422, "a failed test answers {}", failed.code);
    let unknown = bench.client.send("PATCH", &bench.path("a"), Some(("text/plain", &patch))).await?;
    ensure!(unknown.code == 415, "an unknown patch answers {}", unknown.code);
    bench.remove("a").await
}

pub(super) async fn delete_heeds_preconditions(bench: &Bench<'_>) -> Result<()> {
    let lease = bench.create("a", "n1").await?;
    let delete = |preconditions: Value| {
        let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions });
        async move { bench.client.delete(&bench.path("a"), &options).await }
    };
    let wrong_uid = json!({ "uid": "00000000-0000-4000-8000-000000000000" });
    expect_refusal(409, "Conflict", delete(wrong_uid).await?)?;
    expect_refusal(409, "Conflict", delete(json!({ "resourceVersion": "1" })).await?)?;
    let done = expect(200, delete(json!({ "uid": uid(&lease), "resourceVersion": version(&lease) })).await?)?;
    ensure!(
        done["kind"] == "Status" && done["status"] == "Success" && done["details"]["uid"] == uid(&lease),
        "{done}"
    );
    expect_refusal(404, "NotFound", delete(json!({})).await?).map(drop)
}

pub(super) async fn collections_are_deleted(bench: &Bench<'_>) -> Result<()> {
    for name in ["a", "b"] {
        bench.create(name, "n1").await?;
    }
    let one = format!("{LEASES}?{},name%3Da", bench.suite());
    expect(200, bench.client.delete(&one, &json!({})).await?)?;
    ensure!(bench.client.get(&bench.path("a")).await?.code == 404, "a is still there");
    bench.remove("b").await
}

pub(super) async fn bad_objects_are_refused(bench: &Bench<'_>) -> Result<()> {
    let with = |path: &[&str], value: Value| {
        let mut lease = bench.lease("bad", "n1");
        path.iter().fold(&mut lease, |place, step| &mut place[*step]).clone_from(&value);
        lease
    };
    let table = [
        (with(&["spec", "leaseDurationSeconds"], json!(0)), 422),
        (with(&["spec", "leaseTransitions"], json!(-1)), 422),
        (with(&["spec", "renewTime"], json!("yesterday")), 400),
        (with(&["spec", "leaseDurationSeconds"], json!("15")), 400),
        (with(&["metadata", "name"], json!("Not_A_Name")), 422),
        (with(&["metadata", "namespace"], json!("kube-system")), 400),
        (with(&["kind"], json!("Node")), 400),
    ];
    for (body, code) in table {
        let answer = bench.client.post(LEASES, &body).await?;
        ensure!(answer.code == code, "{body} answers {}: {}", answer.code, answer.body);
    }
    let elsewhere = LEASES.replace("/default/", "/no-such-namespace/");
    expect_refusal(404, "NotFound", bench.client.post(&elsewhere, &bench.lease("a", "n1")).await?)?;
    let lease = bench.create("a", "n1").await?;
    expect_refusal(400, "BadRequest", bench.client.put(&bench.path("b"), &lease).await?)?;
    bench.remove("a").await
}

pub(super) async fn status_is_apart(bench: &Bench<'_>) -> Result<()> {
    let path = format!("/api/v1/nodes/{}", bench.name("node"));
    let body = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": bench.name("node") } });
    expect(201, bench.client.post("/api/v1/nodes", &body).await?)?;
    let patch = json!({ "spec": { "unschedulable": true }, "status": { "phase": "Running" } });
    let main = expect(200, bench.client.merge_patch(&path, &patch).await?)?;
    ensure!(main["spec"]["unschedulable"] == true && main["status"]["phase"] != "Running", "{main}");
    let patch = json!({ "status": { "phase": "Running" } });
    let status = expect(200, bench.client.merge_patch(&format!("{path}/status"), &patch).await?)?;
    ensure!(status["spec"]["unschedulable"] == true && status["status"]["phase"] == "Running", "{status}");
    expect(200, bench.client.delete(&path, &json!({})).await?).map(drop)
}

pub(super) async fn generation_counts_content(bench: &Bench<'_>) -> Result<()> {
    let api = bench.discovery_api().await?;
    let slices = &format!("{api}/namespaces/default/endpointslices");
    let body = json!({
        "apiVersion": api.trim_start_matches("/apis/"), "kind": "EndpointSlice", "metadata": { "name": bench.name("s") },
        "addressType": "IPv4", "endpoints": [{ "addresses": ["192.0.2.1"] }], "ports": [],
    });
    let made = expect(201, bench.client.post(slices, &body).await?)?;
    ensure!(made["metadata"]["generation"] == 1, "{made}");
    let path = format!("{slices}/{}", bench.name("s"));
    let patch = json!({ "endpoints": [{ "addresses": ["192.0.2.2"] }] });
    let changed = expect(200, bench.client.merge_patch(&path, &patch).await?)?;
    ensure!(changed["metadata"]["generation"] == 2, "{changed}");
    expect(200, bench.client.delete(&path, &json!({})).await?).map(drop)
}
