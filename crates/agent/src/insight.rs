//! Gathers what there is to see of the agent, for the admin API, the metrics and the state dump.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::names::ClaimId;
use mainstay_core::status::ClaimStatus;
use mainstay_core::time::Moment;
use mainstay_kube::{Handles, ServerState, ServerStatus, wall_text};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::reply::{ApiServer, Claim, Configuration, DataPlane, State, Status, Task};
use crate::api_log;
use crate::balancer::BalancerView;
use crate::driver::{Command, Report};
use crate::health;
use crate::label::LabelView;
use crate::metrics::{Observer, Pulse, Scraped};
use crate::names::NamesView;
use crate::role::Role;
use crate::service::ServiceView;
use crate::services;
use crate::store::{Tally, Written};
use crate::strict_arp::ArpView;
use crate::supervise::Supervisor;
use crate::vitals::Vitals;

/// How long the loop may take to answer before it counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A loop beside the first that has not turned for this long is stalled.
const OTHERS_STALLED_AFTER: Duration = Duration::from_secs(60);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) node: String,
    pub(crate) instance: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) started: Instant,
}

/// What is known of the API servers; the adapter fills it in anew at each of its starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiView(Arc<watch::Sender<Option<Handles>>>);

impl ApiView {
    /// From now on, these.
    pub(crate) fn set(&self, handles: Handles) {
        self.0.send_replace(Some(handles));
    }

    /// The adapter that runs now, and each that comes after it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Handles>> {
        self.0.subscribe()
    }

    /// All API servers known.
    pub(crate) fn servers(&self) -> Vec<ServerStatus> {
        self.0.borrow().as_ref().map(|handles| handles.servers.borrow().clone()).unwrap_or_default()
    }

    /// Why there is no access to any of them, if there is none.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.borrow().as_ref()?.trouble.borrow().clone()
    }
}

fn api_server(status: &ServerStatus) -> ApiServer {
    ApiServer {
        url: status.url.clone(),
        kind: api_log::kind(status.kind).to_owned(),
        state: api_log::state(status.state).to_owned(),
        failures_in_a_row: status.failures_in_a_row,
        since: wall_text(status.since),
        last_success: status.last_success.map(wall_text),
        last_success_seconds: status.last_success.map(|at| at.elapsed().as_secs_f64()),
        error_class: status.last_error.as_ref().map(|trouble| trouble.class.word().to_owned()),
        last_error: status.last_error.as_ref().map(|trouble| trouble.text.clone()),
        backoff_seconds: status.backoff.map(|backoff| backoff.as_secs_f64()),
        next_retry: status.next_retry.map(wall_text),
    }
}

/// What the readiness text says of the API servers: which of them fail. None of it is a reason for not being ready.
pub(crate) fn remarks(servers: &[ServerStatus], trouble: Option<&str>) -> Vec<String> {
    let failing = servers.iter().filter(|server| server.state == ServerState::Failing).map(|server| {
        let (failures, name) = (server.failures_in_a_row, api_log::Name(server));
        let last = server
            .last_success
            .map_or("never answered".to_owned(), |at| format!("answered {} s ago", at.elapsed().as_secs()));
        let why =
            server.last_error.as_ref().map(|trouble| format!("{}: {}", trouble.class.word(), trouble.text));
        format!("{name} {last}, {failures} failures in a row, {}", why.unwrap_or_default())
    });
    let trouble = trouble.map(|trouble| format!("no access to the API servers: {trouble}"));
    failing.chain(trouble).map(|remark| format!("note: {remark}")).collect()
}

/// One loop, from outside.
#[derive(Clone)]
pub(crate) struct LoopView {
    pub(crate) role: Role,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) vitals: Arc<Vitals>,
    /// Of its snapshot.
    pub(crate) tally: Tally,
}

impl LoopView {
    /// Asks it; `None` if it does not answer in time.
    async fn report(&self) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.commands.send(Command::Report(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER_WITHIN, ask).await.ok().flatten()
    }
}

/// What each of the loops said, in their order; `None` for one that did not answer.
pub(crate) struct Reports(Vec<Option<Report>>);

impl Reports {
    /// Everything, for people; `None` if no loop answered.
    pub(crate) fn status(&self, insight: &Insight) -> Option<Status> {
        self.0.iter().any(Option::is_some).then(|| insight.status(self))
    }

    /// Those that answered, with their loops.
    fn of<'a>(&'a self, loops: &'a [LoopView]) -> impl Iterator<Item = (&'a LoopView, &'a Report)> {
        loops.iter().zip(&self.0).filter_map(|(one, report)| Some((one, report.as_ref()?)))
    }
}

/// Everything there is to see.
pub(crate) struct Insight {
    pub(crate) facts: Facts,
    pub(crate) configuration: Configuration,
    /// Not empty.
    pub(crate) loops: Vec<LoopView>,
    pub(crate) clock: fn() -> Moment,
    pub(crate) observer: Arc<Observer>,
    pub(crate) supervisor: Supervisor,
    pub(crate) api: ApiView,
    pub(crate) service: ServiceView,
    pub(crate) label: LabelView,
    pub(crate) names: NamesView,
    pub(crate) services: services::View,
    pub(crate) balancer: BalancerView,
    pub(crate) arp: ArpView,
}

impl Insight {
    /// Asks the loops, all at once.
    pub(crate) async fn reports(&self) -> Reports {
        Reports(futures::future::join_all(self.loops.iter().map(LoopView::report)).await)
    }

    /// The same, with what is counted only when somebody wants to see it. Not for readiness, which may wait for nothing else.
    pub(crate) async fn full_reports(&self) -> Reports {
        self.balancer.count().await;
        self.reports().await
    }

    /// What to say when no loop answers.
    pub(crate) fn silence(&self) -> String {
        let waits_for: Vec<String> = self.loops.iter().flat_map(|one| self.waits_for(one)).collect();
        if !waits_for.is_empty() {
            return waits_for.join("; ");
        }
        let idle =
            self.idlest().map_or("never".to_owned(), |idle| format!("{:.1} s ago", idle.as_secs_f64()));
        format!("the loop has not answered within {} s; it turned last {idle}", ANSWER_WITHIN.as_secs())
    }

    /// What a loop waits for before it begins.
    fn waits_for(&self, one: &LoopView) -> Vec<String> {
        if one.role.claim == ClaimId::control_plane() {
            self.names.waits_for()
        } else {
            self.services.waits_for()
        }
    }

    fn idle(&self, one: &LoopView) -> Option<Duration> {
        one.vitals.idle_for((self.clock)())
    }

    /// Since the loop turned that has not for longest.
    fn idlest(&self) -> Option<Duration> {
        self.loops.iter().filter_map(|one| self.idle(one)).max()
    }

    /// Why the process should be restarted; empty when it should not.
    pub(crate) fn not_live(&self) -> Vec<String> {
        let first = self.loops.first().and_then(|one| self.idle(one));
        // What stands still for Services alone waits a while before the control plane's VIP has to move for it.
        let others = self.idlest().filter(|idle| *idle >= OTHERS_STALLED_AFTER);
        health::not_live(first.max(others), &self.supervisor.tasks())
    }

    /// Why this node is not ready; empty when it is.
    pub(crate) fn not_ready(&self, reports: &Reports) -> Vec<String> {
        let each = self.loops.iter().zip(&reports.0);
        each.flat_map(|(one, report)| {
            let waits_for = self.waits_for(one);
            let reasons = if waits_for.is_empty() {
                health::not_ready(report.as_ref(), one.role.authority)
            } else {
                waits_for
            };
            let claim = if self.loops.len() > 1 { format!("{}: ", one.role.claim) } else { String::new() };
            reasons.into_iter().map(move |reason| format!("{claim}{reason}"))
        })
        .collect()
    }

    /// What else there is to say of readiness: see [`remarks`].
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = remarks(&self.api.servers(), self.api.trouble().as_deref());
        remarks.extend(self.names.missing().into_iter().map(|missing| format!("note: {missing}")));
        remarks
    }

    /// All metrics in Prometheus's text form.
    pub(crate) fn metrics(&self, reports: &Reports) -> Result<String, std::fmt::Error> {
        let pulse = |one: &LoopView| Pulse {
            claim: one.role.claim.to_string(),
            turns: one.vitals.turns(),
            idle: self.idle(one),
            worst_lag: one.vitals.worst_lag(),
        };
        let loops = self.loops.iter().map(pulse).collect();
        let scraped = Scraped {
            reports: reports.of(&self.loops).map(|(_, report)| report).collect(),
            loops,
            tasks: self.supervisor.tasks(),
            servers: self.api.servers(),
            written: self.written(),
            label: self.label.read(),
            names: self.names.read(),
            services: self.services.read(),
            balancer: self.balancer.read(),
            loose_arp: self.arp.read().len(),
        };
        scraped.encode(&self.observer)
    }

    /// Everything, for people.
    fn status(&self, reports: &Reports) -> Status {
        let written = self.written();
        let planes: Vec<DataPlane> =
            reports.of(&self.loops).map(|(one, report)| data_plane(one, report)).collect();
        Status {
            node: self.facts.node.clone(),
            instance: self.facts.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.facts.started.elapsed().as_secs_f64(),
            claims: reports.of(&self.loops).flat_map(|(_, report)| self.claims(report)).collect(),
            data_plane: planes.first().cloned().unwrap_or_default(),
            data_planes: planes,
            lease: self.loops.first().and_then(|one| one.role.lease_name()),
            services: self.services.read(),
            balancer: self.balancer.read(),
            api_servers: self.api.servers().iter().map(api_server).collect(),
            api_trouble: self.api.trouble(),
            node_label: self.label.read(),
            names: self.names.read(),
            local_service: self.service.read(),
            host_warnings: self.arp.read(),
            not_ready: self.not_ready(reports),
            state: State {
                dir: self.facts.state_dir.display().to_string(),
                writes: written.writes,
                errors: written.errors,
                failing: written.failing,
            },
            tasks: self.supervisor.tasks().into_iter().map(task).collect(),
        }
    }

    /// A loop's claims: its first, and the seats.
    fn claims<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = Claim> + 'a {
        let all = std::iter::once(&report.status).chain(&report.seats);
        all.map(|status| {
            let history = self.observer.history().of(&status.claim);
            Claim { history, ..Claim::new(status, last_announcement(status, report)) }
        })
    }

    /// Of all snapshots together.
    fn written(&self) -> Written {
        let each = self.loops.iter().map(|one| one.tally.read());
        each.reduce(|all, one| Written {
            writes: all.writes + one.writes,
            errors: all.errors + one.errors,
            failing: all.failing.or(one.failing),
        })
        .unwrap_or_default()
    }
}

fn data_plane(one: &LoopView, report: &Report) -> DataPlane {
    DataPlane {
        interface: one.role.interface.clone(),
        link_up: report.link_up,
        announcements_sent: report.counters.announced.values().map(|announced| announced.sent).sum(),
        probes_sent: report.counters.probes_sent,
        frames_malformed: report.counters.frames_malformed,
        addresses_removed: report.counters.removed,
        address_failure: report.refusal(),
        worst_loop_lag_seconds: one.vitals.worst_lag().as_secs_f64(),
    }
}

fn last_announcement(status: &ClaimStatus, report: &Report) -> Option<Duration> {
    let vips = status.vips.iter().filter_map(|vip| report.counters.announced.get(vip)?.last);
    vips.max().map(|last| report.now.since(last))
}

fn task((name, state): (&'static str, crate::supervise::TaskState)) -> Task {
    Task {
        name: name.to_owned(),
        restarts: state.restarts,
        panics: state.panics,
        last_failure: state.last_failure,
    }
}
