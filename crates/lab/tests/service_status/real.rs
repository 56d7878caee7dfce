//! The same at a real API server.

use super::*;

/// Also one that knows no modes (before 1.29), and takes ports away (before 1.24): what is wanted is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_is_written_on_and_then_left_alone() {
    let assets = match assets() {
        Ok(assets) => assets,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let server = RealServer::start(&assets, Place::Loopback, &std::env::temp_dir(), &[]).unwrap();
    let client = server.client().unwrap();
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await.unwrap();
    let path = "/api/v1/namespaces/shop/services";
    let mut object = service("a");
    object["spec"].as_object_mut().unwrap().remove("clusterIP");
    let made = client.post(path, &object).await.unwrap();
    assert_eq!(made.code, 201, "{:#}", made.body);
    let real = Real::follow(&server);
    let (name, port) = (named("a"), Port { protocol: Protocol::Tcp, port: 80 });
    let publication = Publication {
        uid: made.body["metadata"]["uid"].as_str().unwrap().to_owned(),
        ingress: vec!["192.0.2.10".parse().unwrap()],
        ports: [port].into(),
        annotations: Arc::new([(VIP_HOST.to_owned(), "node-1".to_owned())].into()),
    };
    let services = [(name, publication)].into();
    real.wanted.send_replace(Arc::new(Wanted { services, ..Wanted::default() }));
    let done = |status: &PublishStatus| status.writes >= 2 && status.waiting + status.under_way == 0;
    let mut status = real.status.clone();
    let written = tokio::time::timeout(PATIENCE, status.wait_for(done)).await.is_ok();
    assert!(written, "{:?}", real.status.borrow());
    let object = client.get(&format!("{path}/a")).await.unwrap().body;
    assert_eq!(object["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.10", "{object:#}");
    assert_eq!(object["metadata"]["annotations"][VIP_HOST], "node-1");
    // Whatever else changes, nothing lacks: what comes after it is seen, and nothing was written.
    let label = json!({"metadata": {"labels": {"more": "yes"}}});
    client.merge_patch(&format!("{path}/a"), &label).await.unwrap();
    let mut later = service("later");
    later["spec"].as_object_mut().unwrap().remove("clusterIP");
    client.post(path, &later).await.unwrap();
    let (mut intent, name) = (real.intent.clone(), named("later"));
    let seen = intent.wait_for(|intent| intent.services.get(&name).is_some());
    assert!(tokio::time::timeout(PATIENCE, seen).await.is_ok_and(|seen| seen.is_ok()), "the watch goes on");
    let status = real.status.borrow();
    assert_eq!((status.writes, status.failures, status.contested), (2, 0, 0), "{status:?}");
}

/// An agent's half that follows a real API server.
struct Real {
    wanted: watch::Sender<Arc<Wanted>>,
    status: watch::Receiver<PublishStatus>,
    intent: watch::Receiver<Arc<mainstay_core::intent::Intent>>,
    _calls: mpsc::Sender<LeaseCall>,
    _guard: DropGuard,
    config: std::path::PathBuf,
}

impl Real {
    fn follow(server: &RealServer) -> Self {
        let config = std::env::temp_dir().join(format!("mainstay-status-real-{}.yaml", std::process::id()));
        std::fs::write(&config, server.kubeconfig()).unwrap();
        let settings = services::settings_of(&config, &[server.url()]);
        let (adapter, handles) = LeaseAdapter::new(settings);
        let (reflector, feed) = handles.objects.reflector(services::following());
        let (wanted, desired) = watch::channel(Arc::default());
        let (publisher, status) = handles.objects.publisher(feed.observed.clone(), desired);
        let cancel = CancellationToken::new();
        let ((calls, requests), (reports, mut heard)) = (mpsc::channel(1), mpsc::channel(64));
        tokio::spawn(adapter.run(requests, reports, cancel.clone()));
        tokio::spawn(async move { while heard.recv().await.is_some() {} });
        tokio::spawn(reflector.run(cancel.clone()));
        tokio::spawn(publisher.run(cancel.clone()));
        Self { wanted, status, intent: feed.intent, _calls: calls, _guard: cancel.drop_guard(), config }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.config));
    }
}
