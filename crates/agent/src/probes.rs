//! `/metrics`, `/healthz` and `/readyz` on `prometheus_server`, and the latter two on `health_check_port` as well.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::http::serve;
use crate::insight::Insight;

/// The text form of metrics that prometheus-client writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until it fails; the supervisor tries again.
pub(crate) async fn run(address: SocketAddr, insight: Arc<Insight>) -> anyhow::Result<()> {
    let listener = bind(address).await.with_context(|| {
        format!("prometheus_server={address}: cannot listen; choose a free address, or leave it empty to do without")
    })?;
    serve(listener, router(insight)).await
}

/// Serves `/healthz` and `/readyz` alone, on `health_check_port`.
pub(crate) async fn run_health(port: u16, insight: Arc<Insight>) -> anyhow::Result<()> {
    let listener = bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).await.with_context(|| {
        format!("health_check_port={port}: cannot listen; choose a free port, or 0 to do without")
    })?;
    serve(listener, health_router(insight)).await
}

/// `[::]` stands for every address of both families, where the host knows IPv6 at all.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())).await
        }
        result => result,
    }
}

pub(crate) fn router(insight: Arc<Insight>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&insight))
        .merge(health_router(insight))
}

fn health_router(insight: Arc<Insight>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(insight)
}

async fn metrics(State(insight): State<Arc<Insight>>) -> Response {
    let reports = insight.full_reports().await;
    match insight.metrics(&reports) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(insight): State<Arc<Insight>>) -> Response {
    verdict(&insight.not_live(), &[])
}

async fn readyz(State(insight): State<Arc<Insight>>) -> Response {
    let reports = insight.reports().await;
    verdict(&insight.not_ready(&reports), &insight.remarks())
}

/// `ok` or the reasons, a line each, and then the remarks, which change nothing.
fn verdict(reasons: &[String], remarks: &[String]) -> Response {
    let (code, first) = match reasons {
        [] => (StatusCode::OK, "ok".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
    };
    let remarks: String = remarks.iter().map(|remark| format!("{remark}\n")).collect();
    (code, format!("{first}\n{remarks}")).into_response()
}
