//! Discovery, reads, lists and watches.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Bench, LEASES, expect, expect_event, expect_refusal, version};

pub(super) async fn discovery_names_the_kinds(bench: &Bench<'_>) -> Result<()> {
    let text = expect(200, bench.client.get("/readyz").await?)?;
    ensure!(text == "ok", "readyz says {text}");
    let version = expect(200, bench.client.get("/version").await?)?;
    ensure!(version["gitVersion"].as_str().is_some_and(|version| version.starts_with('v')), "{version}");
    let slices = bench.discovery_api().await?;
    for (path, plural) in [
        ("/api/v1", "nodes"),
        ("/apis/coordination.k8s.io/v1", "leases"),
        (slices.as_str(), "endpointslices"),
    ] {
        let list = expect(200, bench.client.get(path).await?)?;
        let known =
            list["resources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == plural));
        ensure!(list["kind"] == "APIResourceList" && known, "{path} lacks {plural}");
    }
    let groups = expect(200, bench.client.get("/apis").await?)?;
    let known = groups["groups"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["name"] == "coordination.k8s.io"));
    ensure!(known, "/apis lacks coordination.k8s.io");
    Ok(())
}

pub(super) async fn an_absent_object_is_not_found(bench: &Bench<'_>) -> Result<()> {
    let refusal = expect_refusal(404, "NotFound", bench.client.get(&bench.path("none")).await?)?;
    let expected = format!("leases.coordination.k8s.io \"{}\" not found", bench.name("none"));
    ensure!(refusal["message"] == expected.as_str(), "{refusal}");
    ensure!(
        refusal["details"]["kind"] == "leases" && refusal["details"]["group"] == "coordination.k8s.io",
        "{refusal}"
    );
    ensure!(bench.client.get("/api/v1/unicorns").await?.code == 404, "an unknown kind is not found");
    Ok(())
}

pub(super) async fn a_wrong_token_is_unauthorized(bench: &Bench<'_>) -> Result<()> {
    let stranger = bench.client.clone().with_token(Some("wrong"));
    expect_refusal(401, "Unauthorized", stranger.get(LEASES).await?).map(drop)
}

pub(super) async fn lists_come_in_pages(bench: &Bench<'_>) -> Result<()> {
    for name in ["a", "b", "c"] {
        bench.create(name, "n1").await?;
    }
    let first = expect(200, bench.client.get(&format!("{LEASES}?limit=2&{}", bench.suite())).await?)?;
    ensure!(first["kind"] == "LeaseList" && first["items"].as_array().map(Vec::len) == Some(2), "{first}");
    let token = first["metadata"]["continue"].as_str().unwrap_or_default().replace('/', "%2F");
    ensure!(!token.is_empty(), "no continue token: {first}");
    bench.create("d", "n1").await?;
    let second = format!("{LEASES}?limit=2&continue={token}&{}", bench.suite());
    let second = expect(200, bench.client.get(&second).await?)?;
    let names: Vec<_> = second["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item["metadata"]["name"].clone())
        .collect();
    ensure!(names == [json!(bench.name("c"))], "the second page is of the first page's state: {names:?}");
    ensure!(version(&second) == version(&first), "pages differ in version: {second}");
    for name in ["a", "b", "c", "d"] {
        bench.remove(name).await?;
    }
    Ok(())
}

pub(super) async fn selectors_select(bench: &Bench<'_>) -> Result<()> {
    bench.create("a", "n1").await?;
    bench.create("b", "n1").await?;
    let table = [
        (format!("labelSelector=suite%3D{0},name%3Da", bench.prefix), 1),
        (format!("labelSelector=suite%3D{0},name!%3Da", bench.prefix), 1),
        (format!("labelSelector=suite%3D{0},name+in+(a,b)", bench.prefix), 2),
        (format!("labelSelector=suite%3D{0},name+notin+(a,b)", bench.prefix), 0),
        (format!("labelSelector=suite%3D{0},!name", bench.prefix), 0),
        (format!("fieldSelector=metadata.name%3D{}", bench.name("b")), 1),
        (format!("{}&fieldSelector=metadata.name!%3D{}", bench.suite(), bench.name("b")), 1),
    ];
    for (query, count) in table {
        let list = expect(200, bench.client.get(&format!("{LEASES}?{query}")).await?)?;
        ensure!(list["items"].as_array().map_or(0, Vec::len) == count, "{query}: {list}");
    }
    let refused = bench.client.get(&format!("{LEASES}?fieldSelector=spec.holderIdentity%3Da")).await?;
    expect_refusal(400, "BadRequest", refused)?;
    bench.remove("a").await?;
    bench.remove("b").await
}

pub(super) async fn a_future_version_times_out(bench: &Bench<'_>) -> Result<()> {
    let answer = bench
        .client
        .get(&format!("{LEASES}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"))
        .await?;
    let refusal = expect_refusal(504, "Timeout", answer)?;
    let cause = &refusal["details"]["causes"][0]["reason"];
    ensure!(cause == "ResourceVersionTooLarge", "{refusal}");
    Ok(())
}

pub(super) async fn a_watch_shows_changes_from_a_version(bench: &Bench<'_>) -> Result<()> {
    let first = bench.create("a", "n1").await?;
    let second = bench.hand_to(&first, "n2").await?;
    let mut watch = bench.watch(&format!("resourceVersion={}&{}", version(&first), bench.suite())).await?;
    let seen = expect_event(&mut watch, "MODIFIED").await?;
    ensure!(version(&seen) == version(&second) && seen["spec"]["holderIdentity"] == "n2", "{seen}");
    bench.create("b", "n3").await?;
    let added = expect_event(&mut watch, "ADDED").await?;
    ensure!(added["kind"] == "Lease" && added["metadata"]["name"] == bench.name("b").as_str(), "{added}");
    bench.remove("a").await?;
    let gone = expect_event(&mut watch, "DELETED").await?;
    let grew = |object| version(object).parse::<u64>().unwrap_or(0);
    ensure!(grew(&gone) > grew(&added), "a deletion has a version of its own: {gone}");
    bench.remove("b").await
}

pub(super) async fn a_watch_without_version_begins_with_the_state(bench: &Bench<'_>) -> Result<()> {
    bench.create("a", "n1").await?;
    for version in ["", "resourceVersion=0&"] {
        let mut watch = bench.watch(&format!("{version}{}", bench.suite())).await?;
        let seen = expect_event(&mut watch, "ADDED").await?;
        ensure!(seen["metadata"]["name"] == bench.name("a").as_str(), "{seen}");
    }
    bench.remove("a").await
}

pub(super) async fn a_watch_follows_a_selector(bench: &Bench<'_>) -> Result<()> {
    let first = bench.create("a", "n1").await?;
    bench.create("b", "n1").await?;
    let query =
        format!("resourceVersion={}&fieldSelector=metadata.name%3D{}", version(&first), bench.name("a"));
    let mut by_name = bench.watch(&query).await?;
    let query = format!("resourceVersion={}&{},name%3Da", version(&first), bench.suite());
    let mut by_label = bench.watch(&query).await?;
    let relabelled = json!({ "metadata": { "labels": { "name": "c" } } });
    expect(200, bench.client.merge_patch(&bench.path("a"), &relabelled).await?)?;
    expect_event(&mut by_name, "MODIFIED").await?;
    expect_event(&mut by_label, "DELETED").await?;
    bench.remove("a").await?;
    expect_event(&mut by_name, "DELETED").await?;
    bench.remove("b").await
}

pub(super) async fn a_watch_ends_in_time(bench: &Bench<'_>) -> Result<()> {
    let begun = Instant::now();
    let mut watch = bench.watch(&format!("timeoutSeconds=1&{}", bench.suite())).await?;
    while watch.next().await?.is_some() {}
    ensure!(begun.elapsed() >= Duration::from_millis(900), "ended after {:?}", begun.elapsed());
    Ok(())
}
