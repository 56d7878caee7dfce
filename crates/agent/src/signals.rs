//! Signals. They are watched on the loop's own runtime, so that a control plane that hangs cannot hold up a shutdown.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::reply::Reply;
use crate::driver::Command;
use crate::insight::Insight;

/// The signals that mean something to the agent.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    dump: Signal,
}

impl Signals {
    /// Catches them from now on. Must be called inside the runtime that will watch them.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            dump: signal(SignalKind::user_defined1())?,
        })
    }

    /// SIGTERM and SIGINT hand over and stop, within `bound`; the second of them stops at once. SIGUSR1 writes the
    /// state to the log.
    pub(crate) async fn watch(mut self, bound: Duration, insight: Arc<Insight>) {
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = self.dump.recv() => {
                    dump(&insight).await;
                    continue;
                }
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            let abort = stopping;
            if stopping {
                tracing::warn!("asked again: stopping at once; the VIP's lifetime runs out by itself");
            } else {
                tracing::info!(
                    bound_seconds = bound.as_secs(),
                    "asked to stop: handing over; ask again to stop at once"
                );
            }
            stopping = true;
            for one in &insight.loops {
                let command = if abort { Command::Abort } else { Command::Shutdown(bound) };
                // One that has ended needs no telling.
                let _ = one.commands.send(command).await;
            }
        }
    }
}

async fn dump(insight: &Insight) {
    match insight.full_reports().await.status(insight) {
        Some(status) => match serde_json::to_string(&Reply::from(status)) {
            Ok(state) => tracing::info!(state, "the state, as asked by SIGUSR1"),
            Err(error) => tracing::error!(%error, "the state cannot be written"),
        },
        None => tracing::error!("{}", insight.silence()),
    }
}
