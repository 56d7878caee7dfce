//! The same checks against the embedded server and, where there is one, a real one.

use mainstay_lab::apiserver::client::ApiClient;
use mainstay_lab::apiserver::conformance::run;
use mainstay_lab::apiserver::real::{Place, RealServer, assets};

use crate::{Bench, loopback};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_conforms_over_https() {
    let bench = Bench::new();
    let done = run(&bench.client, "conformance").await.unwrap_or_else(|failed| panic!("{failed:#}"));
    assert!(done.len() >= 20, "{done:?}");
    let left = bench.client.get("/apis/coordination.k8s.io/v1/leases").await.unwrap().body;
    assert_eq!(left["items"].as_array().unwrap().len(), 0, "the checks clean up: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_conforms_over_http() {
    let bench = Bench::new();
    let front = bench.cluster.serve_http("plain", loopback()).unwrap();
    let client = ApiClient::new(&front.url(), None, Some(bench.cluster.token())).unwrap();
    run(&client, "conformance").await.unwrap_or_else(|failed| panic!("{failed:#}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_server_conforms() {
    let assets = match assets() {
        Ok(assets) => assets,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let server = RealServer::start(&assets, Place::Loopback, &std::env::temp_dir(), &[]);
    let server = server.unwrap_or_else(|failed| panic!("{failed:#}"));
    run(&server.client().unwrap(), "conformance").await.unwrap_or_else(|failed| panic!("{failed:#}"));
}

#[test]
fn a_real_server_that_does_not_start_says_why() {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("mainstay-lab-broken-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, script) in
        [("etcd", "#!/bin/sh\nexec sleep 60\n"), ("kube-apiserver", "#!/bin/sh\necho no such flag\nexit 3\n")]
    {
        let path = directory.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let failed = RealServer::start(&directory, Place::Loopback, &std::env::temp_dir(), &[]);
    let failed = failed.unwrap_err().to_string();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(failed.starts_with("kube-apiserver ended early") && failed.ends_with("no such flag"), "{failed}");
}
