//! What the admin API answers. Typed once, for the server and for `mainstay`; every answer carries `apiVersion` and
//! `kind`. Fields are added, never changed; durations are seconds.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::status::ClaimStatus;
use serde::{Deserialize, Serialize};

use crate::config::{CheckReport, Effective};

/// The `apiVersion` of every answer.
pub const API_VERSION: &str = "mainstay.io/v1";

/// An answer: its body between `apiVersion` and `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply<T> {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The body's kind.
    pub kind: String,
    /// The body.
    #[serde(flatten)]
    pub body: T,
}

/// A body that knows its kind.
pub trait Body {
    /// The kind.
    const KIND: &'static str;
}

impl<T: Body> From<T> for Reply<T> {
    fn from(body: T) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind: T::KIND.to_owned(), body }
    }
}

/// `/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// This node's name.
    pub node: String,
    /// This run: it outlives a restart, not a reboot.
    pub instance: String,
    /// The program's version.
    pub version: String,
    /// How long the process has run.
    pub uptime_seconds: f64,
    /// The claims.
    pub claims: Vec<Claim>,
    /// The interface of the first claim, and what was sent on it.
    pub data_plane: DataPlane,
    /// The same of each claim, in their order.
    #[serde(default)]
    pub data_planes: Vec<DataPlane>,
    /// The Services of type LoadBalancer, where they are held.
    #[serde(default)]
    pub services: Option<Services>,
    /// The load balancer behind the control plane's VIP, where there is to be one.
    #[serde(default)]
    pub balancer: Option<Balancer>,
    /// The first claim's Lease, where one decides.
    pub lease: Option<String>,
    /// The API servers known.
    pub api_servers: Vec<ApiServer>,
    /// Why there is no access to any API server, if there is none.
    pub api_trouble: Option<String>,
    /// The label of this node, where it is to have one while it holds the VIP.
    #[serde(default)]
    pub node_label: Option<NodeLabel>,
    /// The DNS names among the VIPs' addresses.
    #[serde(default)]
    pub names: Vec<Name>,
    /// What the VIP serves on this host, where that is checked.
    #[serde(default)]
    pub local_service: Option<LocalService>,
    /// What on this host disturbs the VIPs, each with its remedy.
    #[serde(default)]
    pub host_warnings: Vec<String>,
    /// The snapshot's file.
    pub state: State,
    /// The control plane's tasks.
    pub tasks: Vec<Task>,
    /// Why `/readyz` fails; empty when it does not.
    pub not_ready: Vec<String>,
}

impl Body for Status {
    const KIND: &'static str = "Status";
}

/// One claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Its id.
    pub claim: String,
    /// Its addresses.
    pub vips: Vec<String>,
    /// Those of them that its names mean no more, and that go soon.
    #[serde(default)]
    pub leaving: Vec<String>,
    /// `released`, `probing`, `holding` or `yielding`.
    pub state: String,
    /// `confirmed`, `detached` or `provisional`, while it is held.
    pub tenure: Option<String>,
    /// Since state and tenure are so.
    pub since_seconds: f64,
    /// The epoch of our grant, or the highest seen.
    pub epoch: u32,
    /// Whom the authority last named.
    pub holder: Option<String>,
    /// `granted`, `denied`, `vacant` or `unknown`.
    pub standing: String,
    /// Whether the authority is in reach.
    pub authority_in_reach: bool,
    /// Since the last successful contact with it.
    pub last_contact_seconds: Option<f64>,
    /// Failed lease requests in a row.
    pub failures_in_a_row: u32,
    /// Until the next lease request.
    pub next_request_seconds: Option<f64>,
    /// Conflicts seen since the start.
    pub conflicts: u64,
    /// Since the holder's last answer on the wire, where this node watches it.
    pub holder_last_answer_seconds: Option<f64>,
    /// Since this node's last announcement.
    pub last_announcement_seconds: Option<f64>,
    /// Why this node does not hold it, or may not campaign.
    pub reason: String,
    /// Members known.
    pub members: Vec<String>,
    /// Those of the others that were not heard on the wire lately.
    #[serde(default)]
    pub unheard: Vec<String>,
    /// What happened lately, the latest first.
    #[serde(default)]
    pub history: Vec<Happened>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub seconds_ago: f64,
    /// What, as in the log.
    pub text: String,
    /// The rule of `docs/ownership.md` by which a claim was taken or given up.
    pub rule: Option<u8>,
}

/// `/v1/explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What it is about.
    pub about: String,
    /// How it is, in one line.
    pub conclusion: String,
    /// Why, one after another.
    pub because: Vec<Reason>,
    /// What would change it.
    pub would_change: Vec<String>,
}

impl Body for Explanation {
    const KIND: &'static str = "Explanation";
}

/// What `mainstay doctor` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Examination {
    /// One for each thing that was looked at, or more.
    pub findings: Vec<Finding>,
}

impl Body for Examination {
    const KIND: &'static str = "Examination";
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `link`, `state`.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub says: String,
    /// What to do; empty where there is nothing to do, or `says` says it.
    pub remedy: String,
}

/// How something is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It may be meant, or does no harm yet.
    Warning,
    /// A VIP suffers from it, or will.
    Problem,
}

/// One of the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Who or what says so: `the authority`, `the wire`.
    pub source: String,
    /// What it says.
    pub says: String,
}

impl Claim {
    /// From the core's own words.
    #[must_use]
    pub fn new(status: &ClaimStatus, last_announcement: Option<Duration>) -> Self {
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Self {
            claim: status.claim.to_string(),
            vips: status.vips.iter().map(ToString::to_string).collect(),
            leaving: status.leaving.iter().map(ToString::to_string).collect(),
            state: status.state.clone(),
            tenure: status.tenure.map(|tenure| format!("{tenure:?}").to_lowercase()),
            since_seconds: status.since.as_secs_f64(),
            epoch: status.epoch,
            holder: status.holder.clone(),
            standing: status.standing.clone(),
            authority_in_reach: status.authority_in_reach,
            last_contact_seconds: seconds(status.last_contact),
            failures_in_a_row: status.failures_in_a_row,
            next_request_seconds: seconds(status.next_request),
            conflicts: status.conflicts,
            holder_last_answer_seconds: seconds(status.holder_last_answer),
            last_announcement_seconds: seconds(last_announcement),
            reason: status.reason.clone(),
            members: status.members.clone(),
            unheard: status.unheard.clone(),
            history: Vec::new(),
        }
    }
}

/// The interface and what was sent on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// The VIP's interface.
    pub interface: String,
    /// Whether its link is up.
    pub link_up: bool,
    /// Announcements that the device took.
    pub announcements_sent: u64,
    /// Probes that the device took.
    pub probes_sent: u64,
    /// Frames that were malformed, and ignored.
    pub frames_malformed: u64,
    /// VIPs that left the interface without our order.
    pub addresses_removed: u64,
    /// What the kernel says to the last address ordered, if it refuses it.
    pub address_failure: Option<String>,
    /// The latest that the loop ever was for a deadline.
    pub worst_loop_lag_seconds: f64,
}

/// The Services of type LoadBalancer, as the API server has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Whether they were all read once.
    pub known: bool,
    /// Services of type LoadBalancer that are ours.
    pub ours: usize,
    /// Their addresses.
    pub addresses: usize,
    /// Services that do not get all they ask for.
    pub refused_count: usize,
    /// The first of them.
    pub refused: Vec<RefusedService>,
    /// Services that are not placed because kube-vip may hold them, on the node that places them.
    #[serde(default)]
    pub left_to_kube_vip: usize,
    /// Seats whose beacons came out alike, a line for each.
    #[serde(default)]
    pub shared_beacons: Vec<String>,
    /// Writes on Services that this node did.
    pub writes: u64,
    /// Writes on Services that failed in a row.
    pub write_failures_in_a_row: u32,
    /// Why the last write failed, if it did.
    pub last_error: Option<String>,
    /// The filter before their addresses, where there is to be one and something was decided.
    #[serde(default)]
    pub filter: Option<ServiceFilter>,
}

/// The filter before Services' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFilter {
    /// Whether the kernel filters as was decided last.
    pub in_force: bool,
    /// Addresses that are filtered, as far as is known.
    pub addresses: usize,
    /// Ports that are open on them, each counted on each address.
    pub ports: usize,
    /// Packets dropped since the kernel's table was made.
    pub dropped: u64,
    /// Why the kernel does not filter so, if it does not.
    pub last_error: Option<String>,
}

/// The load balancer behind the control plane's VIP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balancer {
    /// The port of the VIP that is spread.
    pub port: u16,
    /// How a backend is chosen: `round-robin` or `source-hash`.
    pub distribution: String,
    /// Whether the kernel balances as it was last told to.
    pub in_force: bool,
    /// No backend is known to be healthy: connections go to those that were last.
    pub in_doubt: bool,
    /// Connections that were ended because their backend was taken out.
    pub connections_ended: u64,
    /// Why the kernel does not balance so, if it does not.
    pub last_error: Option<String>,
    /// The nodes that segments of connections that this one does not know are sent on to, one for each family at most.
    #[serde(default)]
    pub strays_go_to: Vec<IpAddr>,
    /// The API servers behind the VIP.
    pub backends: Vec<Backend>,
}

/// An API server behind the VIP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// `IP:PORT`.
    pub address: String,
    /// Its node, where it is known.
    pub node: Option<String>,
    /// `up`, `down` or `untried`.
    pub state: String,
    /// Whether new connections go there.
    pub takes_connections: bool,
    /// Since its state changed, if it did.
    pub changed_seconds_ago: Option<f64>,
    /// What its last bad check was, if there was one.
    pub last_error: Option<String>,
    /// Connections through this node that go there, or did until a moment ago.
    pub connections: usize,
}

/// A Service that does not get what it asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedService {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// What is refused, and why.
    pub why: String,
}

/// A DNS name that VIPs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// The name.
    pub name: String,
    /// What it means at present: its last good answer.
    pub addresses: Vec<String>,
    /// Failed look-ups in a row.
    pub failures_in_a_row: u32,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

/// What the VIP serves on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalService {
    /// What is asked.
    pub url: String,
    /// `unknown`, `healthy`, `failing` (not often enough yet) or `unhealthy`.
    pub state: String,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Why the last check failed, if it did.
    pub last_error: Option<String>,
}

/// One API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// Its address.
    pub url: String,
    /// `local`, `configured` or `learned`.
    pub kind: String,
    /// `untried`, `answering` or `failing`.
    pub state: String,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Since when the state is so (RFC 3339).
    pub since: String,
    /// When it gave its last answer (RFC 3339).
    #[serde(default)]
    pub last_success: Option<String>,
    /// Since then.
    #[serde(default)]
    pub last_success_seconds: Option<f64>,
    /// The kind of what went wrong last, if it fails: `access`, `connect`, `timeout`, `broken`, `unauthorized`,
    /// `forbidden`, `rejected`, `overloaded`, `server-error` or `nonsense`.
    #[serde(default)]
    pub error_class: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How long it is left alone for, if it fails.
    #[serde(default)]
    pub backoff_seconds: Option<f64>,
    /// When it is tried again in its preferred place (RFC 3339).
    pub next_retry: Option<String>,
}

/// The label of this node's object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLabel {
    /// `kube-vip.io/has-ip=ADDRESS`.
    pub label: String,
    /// Whether the node shall have it; absent as long as nobody knows.
    pub wanted: Option<bool>,
    /// Whether it has it, by what was written last.
    pub written: Option<bool>,
    /// How often it was written.
    pub writes: u64,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

/// The snapshot's file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The directory.
    pub dir: String,
    /// Files written.
    pub writes: u64,
    /// Attempts that failed.
    pub errors: u64,
    /// Why the last attempt failed.
    pub failing: Option<String>,
}

/// One task of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its name.
    pub name: String,
    /// How often it was started again.
    pub restarts: u64,
    /// How often it panicked.
    pub panics: u64,
    /// Why it ended last, until it is well again.
    pub last_failure: Option<String>,
}

/// `/v1/config`: the settings in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Every setting, with its value and where that comes from; secrets are masked.
    pub settings: Vec<Effective>,
    /// What was warned of at start.
    pub warnings: Vec<String>,
}

impl Body for Configuration {
    const KIND: &'static str = "Configuration";
}

impl Body for CheckReport {
    const KIND: &'static str = "CheckReport";
}

/// `/v1/health`: what `/healthz` and `/readyz` say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Why the agent is not alive; empty when it is.
    pub not_live: Vec<String>,
    /// Why it is not ready; empty when it is.
    pub not_ready: Vec<String>,
}

impl Body for Health {
    const KIND: &'static str = "Health";
}

/// `/v1/version`, and `mainstay version -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The program's version.
    pub version: String,
}

impl Version {
    /// This program's.
    #[must_use]
    pub fn this() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl Body for Version {
    const KIND: &'static str = "Version";
}

/// Any failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What is wrong, and what to do.
    pub message: String,
}

impl Body for Failure {
    const KIND: &'static str = "Error";
}
