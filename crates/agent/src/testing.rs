//! What tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the test's own, removed at its end.
pub(crate) struct Scratch(PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mainstay-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An API server that answers, or fails so often in a row.
pub(crate) fn api_server(trouble: Option<(mainstay_kube::ErrorClass, u32)>) -> mainstay_kube::ServerStatus {
    use mainstay_kube::{ServerKind, ServerState, ServerStatus, Trouble};
    let now = std::time::Instant::now();
    ServerStatus {
        url: "https://10.0.0.1:6443".to_owned(),
        kind: ServerKind::Configured,
        state: if trouble.is_some() { ServerState::Failing } else { ServerState::Answering },
        failures_in_a_row: trouble.map_or(0, |(_, failures)| failures),
        since: now,
        last_success: Some(now),
        last_error: trouble.map(|(class, _)| Trouble { class, text: "no luck".to_owned() }),
        backoff: trouble.map(|_| std::time::Duration::from_millis(2_500)),
        next_retry: trouble.map(|_| now),
    }
}

/// The control plane's claim on `eth0`.
pub(crate) fn control_plane() -> crate::role::Role {
    crate::role::Role {
        claim: mainstay_core::names::ClaimId::control_plane(),
        interface: "eth0".to_owned(),
        witnesses: Vec::new(),
        authority: mainstay_core::settings::Authority::Lease,
        lease: crate::config::LeaseName {
            namespace: "kube-system".to_owned(),
            name: "plndr-cp-lock".to_owned(),
        },
        timing: mainstay_core::settings::LeaseTiming::default(),
        thread: "loop",
        lease_task: "lease",
        snapshot: "snapshot.json",
        record: None,
    }
}

/// A claim's status as a holder's.
pub(crate) fn claim_status() -> mainstay_core::status::ClaimStatus {
    mainstay_core::status::ClaimStatus {
        claim: mainstay_core::names::ClaimId::control_plane(),
        vips: vec!["10.0.0.100".parse().unwrap()],
        leaving: Vec::new(),
        state: "holding".to_owned(),
        tenure: Some(mainstay_core::vip::Tenure::Detached),
        since: std::time::Duration::from_secs(12),
        epoch: 7,
        holder: Some("node-a".to_owned()),
        standing: "granted".to_owned(),
        authority_in_reach: false,
        last_contact: Some(std::time::Duration::from_secs(60)),
        failures_in_a_row: 9,
        next_request: None,
        conflicts: 2,
        holder_last_answer: None,
        reason: String::new(),
        members: vec!["node-b".to_owned()],
        unheard: Vec::new(),
    }
}

/// A status that says nothing.
pub(crate) fn empty_status() -> crate::admin::reply::Status {
    crate::admin::reply::Status {
        node: String::new(),
        instance: String::new(),
        version: String::new(),
        uptime_seconds: 0.0,
        claims: Vec::new(),
        data_plane: crate::admin::reply::DataPlane::default(),
        data_planes: Vec::new(),
        services: None,
        balancer: None,
        lease: None,
        api_servers: Vec::new(),
        api_trouble: None,
        node_label: None,
        names: Vec::new(),
        local_service: None,
        host_warnings: Vec::new(),
        state: crate::admin::reply::State::default(),
        tasks: Vec::new(),
        not_ready: Vec::new(),
    }
}
