//! `mainstay manifest`: the objects that run Mainstay in a cluster, with kube-vip's flags.
//!
//! Every privilege is one that the agent uses: the two capabilities of its sockets and addresses, and two for
//! `realtime`. A static Pod has uid 0, because kubeadm's admin.conf and the state's directory on the host are root's. A
//! DaemonSet's Pods are an ordinary user's, who has the capabilities of the image's binary. Nothing of a container can be
//! written but the state.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};
use mainstay_agent::config::table::Key;
use mainstay_agent::config::{
    CheckReport, CheckedSetting, Layer, LeaseName, Refusal, SettingFlags, check, is_on, lease_in_pod,
};
use serde_json::{Value, json};

use crate::{DONE, FAILED, REFUSED, complain};

/// Where a kubeconfig is mounted, as kube-vip has it; it is what `k8s_config_file` names by default.
const KUBECONFIG: &str = "/etc/kubernetes/admin.conf";
/// The defaults of `MAINSTAY_STATE_DIR` and of the admin socket's directory.
const STATE_DIR: &str = "/var/lib/mainstay";
const RUN_DIR: &str = "/run/mainstay";
/// The port of `prometheus_server`, with `/healthz` and `/readyz`.
const METRICS_PORT: u16 = 2112;
/// What a Pod may take to end beyond a lease's duration.
const GRACE_SLACK_SECONDS: u64 = 15;
/// The user `nonroot` of the image.
const ORDINARY_USER: u32 = 65532;
/// Where the manifests' objects are.
const POD_NAMESPACE: &str = "kube-system";
/// Between two objects of one YAML file.
const NEXT_OBJECT: &str = "---\n";
/// What an agent may do, as the project's own tests run it.
const PERMISSIONS: &str = include_str!("../../../manifests/rbac.yaml");
/// What it may do beside that with `enable_node_labeling`.
const LABEL_PERMISSIONS: &str = include_str!("../../../manifests/rbac-node-labels.yaml");
/// What the load balancer asks for, where it is not told who is behind the VIP.
const BALANCER_PERMISSIONS: &str = include_str!("../../../manifests/rbac-load-balancer.yaml");
/// What Services ask for.
const SERVICE_PERMISSIONS: &str = include_str!("../../../manifests/rbac-services.yaml");
/// What their seats do, where they are spread over nodes.
const SEAT_PERMISSIONS: &str = include_str!("../../../manifests/rbac-seats.yaml");
/// What reporting a dead node takes.
const FAILURE_PERMISSIONS: &str = include_str!("../../../manifests/rbac-node-failures.yaml");
/// Those of its objects that are for the Services' Lease.
const SERVICES_LEASE: &str = "mainstay-services-lease";

#[derive(Args)]
pub(crate) struct ManifestArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A static Pod, for kubeadm: put it into /etc/kubernetes/manifests on each control-plane node
    #[command(after_help = POD_HELP)]
    Pod(Generated),
    /// A DaemonSet, for clusters that run already (k3s, RKE2, kubeadm); it uses the service account `mainstay`
    #[command(after_help = DAEMONSET_HELP)]
    Daemonset(Generated),
    /// The service account `mainstay`, and all that it may do: no more than these settings need
    Rbac(Permissions),
}

/// kube-vip's names for the static Pod, by the step of kubeadm that it is printed for.
#[derive(Args)]
pub(crate) struct KubeadmArgs {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// For the first control-plane node, before `kubeadm init`: the same as `manifest pod`
    #[command(after_help = KUBEADM_HELP)]
    Init(Generated),
    /// For each further control-plane node, after `kubeadm join`: the same as `manifest pod`
    #[command(after_help = KUBEADM_HELP)]
    Join(Generated),
}

const KUBEADM_HELP: &str = "\
The first node's VIP comes up before there is an API server behind it, so `kubeadm init` finds its controlPlaneEndpoint;
super-admin.conf is not needed. A further node's admin.conf is there after `kubeadm join`.

  mainstay kubeadm init --interface eth0 --address 192.0.2.10 --controlplane --arp \\
    --leaderElection > /etc/kubernetes/manifests/mainstay.yaml";

const POD_HELP: &str = "\
  mainstay manifest pod --interface eth0 --address 192.0.2.10 --controlplane --arp --leaderElection \\
    > /etc/kubernetes/manifests/mainstay.yaml";

const DAEMONSET_HELP: &str = "\
  mainstay manifest rbac | kubectl apply -f -
  mainstay manifest daemonset --interface eth0 --address 192.0.2.10 --controlplane --arp --leaderElection --taint \\
    | kubectl apply -f -";

#[derive(Args)]
struct Permissions {
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Args)]
struct Generated {
    /// The image
    #[arg(long, value_name = "IMAGE", default_value = concat!("mainstay:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// Use the service account `mainstay` in place of a kubeconfig; a DaemonSet always does
    #[arg(long = "inCluster", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    in_cluster: bool,
    /// For a DaemonSet: run on control-plane nodes only, and in spite of their taints
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    taint: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Where the agent has its credentials from, and with that who it has to be on the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// kubeadm's file on the host: root alone may read it.
    AdminConf,
    /// The Pod's service account: any user will do.
    ServiceAccount,
}

impl Credentials {
    /// A directory of the container. A static Pod is made anew without an API server, and its state lives on the host; a
    /// DaemonSet's Pod is only replaced with one, after a hand-over.
    fn directory(self, name: &str, path: &str) -> Value {
        match self {
            Self::AdminConf => json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}),
            Self::ServiceAccount => json!({"name": name, "emptyDir": {"sizeLimit": "16Mi"}}),
        }
    }

    /// Of a user other than root the kernel takes the capabilities of the binary, and no more than those that the
    /// container is left with. It gains none by that, so it needs no permission to escalate (`no_new_privs`).
    fn security(self, capabilities: &[&str]) -> Value {
        let mut security = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"], "add": capabilities},
        });
        if self == Self::ServiceAccount {
            security["runAsUser"] = json!(ORDINARY_USER);
            security["runAsGroup"] = json!(ORDINARY_USER);
            security["runAsNonRoot"] = json!(true);
        }
        security
    }
}

/// Runs the command; the exit code says what became of it.
pub(crate) fn run(args: &ManifestArgs) -> u8 {
    match &args.command {
        Command::Rbac(permissions) => rbac(&permissions.settings),
        Command::Pod(generated) => print_checked(&pod(generated)),
        Command::Daemonset(generated) => print_checked(&daemonset(generated)),
    }
}

/// Runs `mainstay kubeadm`; the exit code says what became of it.
pub(crate) fn run_kubeadm(args: &KubeadmArgs) -> u8 {
    let (Step::Init(generated) | Step::Join(generated)) = &args.step;
    print_checked(&pod(generated))
}

/// Prints an object whose settings an agent would start with.
fn print_checked(object: &Value) -> u8 {
    let printed = serde_saphyr::to_string(object);
    let checked = printed.map_err(anyhow::Error::from).and_then(|text| Ok((check("manifest", &text)?, text)));
    match checked {
        Ok((report, _)) if refuses(&report) => REFUSED,
        Ok((_, text)) => print(&text),
        Err(error) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    }
}

fn rbac(settings: &SettingFlags) -> u8 {
    match permissions(&settings.0) {
        Ok(text) => print(&text),
        Err(refusal) => {
            complain(&refusal.to_string());
            REFUSED
        }
    }
}

fn permissions(flags: &Layer) -> Result<String, Refusal> {
    let given = flags.as_variables().find(|(name, _)| *name == "cp_namespace");
    if let Some((_, namespace)) = given.filter(|(_, namespace)| *namespace != POD_NAMESPACE) {
        complain(&format!(
            "cp_namespace={namespace:?} is for agents with a kubeconfig: with a service account it is the Pod's own, \
             {POD_NAMESPACE}; for a Lease elsewhere give --leaseName={namespace}/NAME, here and to the agents"
        ));
    }
    let lease = lease_in_pod(flags, Key::LeaseName, POD_NAMESPACE)?;
    let mut all = vec![for_lease(PERMISSIONS, (Key::LeaseName, &lease), |one| !is_service_account(one))];
    if is_on(flags, Key::NodeLabeling)? {
        all.push(LABEL_PERMISSIONS.to_owned());
    }
    let told = flags.as_variables().any(|(name, text)| name == "MAINSTAY_LB_BACKENDS" && !text.is_empty());
    if is_on(flags, Key::BalancerEnable)? && !told {
        all.push(BALANCER_PERMISSIONS.to_owned());
    }
    if is_on(flags, Key::Services)? {
        let lease = lease_in_pod(flags, Key::ServicesLeaseName, POD_NAMESPACE)?;
        let of_lease = |one: &str| one.contains(SERVICES_LEASE);
        all.push(for_lease(SERVICE_PERMISSIONS, (Key::ServicesLeaseName, &lease), of_lease));
        if is_on(flags, Key::ServicesElection)? {
            all.push(for_lease(SEAT_PERMISSIONS, (Key::ServicesLeaseName, &lease), |_| true));
        }
        if is_on(flags, Key::ReportNodeFailure)? {
            all.push(FAILURE_PERMISSIONS.to_owned());
        }
    }
    Ok(all.join(NEXT_OBJECT))
}

/// These objects for this Lease, as far as it concerns them. The service account itself stays where the Pods are.
fn for_lease(objects: &str, (key, lease): (Key, &LeaseName), concerns: impl Fn(&str) -> bool) -> String {
    let own = place(POD_NAMESPACE);
    // Quoted: YAML takes a name such as null or 123 for something else.
    let theirs =
        if lease.namespace == POD_NAMESPACE { own.clone() } else { place(&format!("{:?}", lease.namespace)) };
    let default = Layer::default().text(key);
    let named = |object: &str| object.replace(&default, &lease.name).replace(&own, &theirs);
    let object = |one| if concerns(one) { named(one) } else { str::to_owned(one) };
    objects.split(NEXT_OBJECT).map(object).collect::<Vec<_>>().join(NEXT_OBJECT)
}

/// An object's own namespace, as metadata has it; a subject's is written deeper.
fn place(namespace: &str) -> String {
    format!("\n  namespace: {namespace}\n")
}

fn is_service_account(object: &str) -> bool {
    object.contains("\nkind: ServiceAccount\n")
}

fn print(text: &str) -> u8 {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Ok(()) => DONE,
        Err(_) => FAILED,
    }
}

/// Says what an agent would make of the settings; whether it would not start with them.
fn refuses(report: &CheckReport) -> bool {
    for part in &report.parts {
        for setting in part.settings.iter().filter(|setting| !setting.fine) {
            complain(&format!("{}={:?}: {}: {}", setting.name, setting.value, setting.verdict, setting.note));
        }
        part.problems.iter().for_each(|problem| complain(problem));
    }
    let refused = |setting: &CheckedSetting| matches!(setting.verdict.as_str(), "refused" | "unknown");
    report.parts.iter().any(|part| !part.problems.is_empty() || part.settings.iter().any(refused))
}

fn pod(generated: &Generated) -> Value {
    let credentials = if generated.in_cluster { Credentials::ServiceAccount } else { Credentials::AdminConf };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mainstay", "namespace": "kube-system", "labels": labels()},
        "spec": spec(generated, credentials),
    })
}

fn daemonset(generated: &Generated) -> Value {
    let mut spec = spec(generated, Credentials::ServiceAccount);
    if generated.taint {
        spec["tolerations"] = json!([{"effect": "NoSchedule", "operator": "Exists"}, {"effect": "NoExecute", "operator": "Exists"}]);
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]}]}}});
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "mainstay", "namespace": "kube-system", "labels": labels()},
        "spec": {
            "selector": {"matchLabels": labels()},
            // One node at a time: each hands over before it stops.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels()}, "spec": spec},
        },
    })
}

fn labels() -> Value {
    json!({"app.kubernetes.io/name": "mainstay"})
}

fn spec(generated: &Generated, credentials: Credentials) -> Value {
    let mut mounts =
        vec![json!({"name": "state", "mountPath": STATE_DIR}), json!({"name": "run", "mountPath": RUN_DIR})];
    let mut volumes = vec![credentials.directory("state", STATE_DIR), credentials.directory("run", RUN_DIR)];
    let mut spec = json!({
        "hostNetwork": true,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": grace_seconds(&generated.settings.0),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    });
    match credentials {
        Credentials::AdminConf => {
            mounts.push(json!({"name": "kubeconfig", "mountPath": KUBECONFIG, "readOnly": true}));
            volumes.push(json!({"name": "kubeconfig", "hostPath": {"path": KUBECONFIG, "type": "File"}}));
            spec["automountServiceAccountToken"] = json!(false);
        }
        Credentials::ServiceAccount => spec["serviceAccountName"] = json!("mainstay"),
    }
    spec["containers"] = json!([container(generated, &mounts, credentials)]);
    spec["volumes"] = json!(volumes);
    spec
}

fn container(generated: &Generated, mounts: &[Value], credentials: Credentials) -> Value {
    let probe = |path: &str| json!({"httpGet": {"host": "127.0.0.1", "path": path, "port": METRICS_PORT}});
    let mut container = json!({
        "name": "mainstay",
        "image": generated.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["manager"],
        "env": environment(&generated.settings.0),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": credentials.security(&capabilities(&generated.settings.0)),
        "volumeMounts": mounts,
    });
    // Another place of the metrics may be behind any address; who moves it knows how to probe it.
    if !generated.settings.0.as_variables().any(|(name, _)| name == "prometheus_server") {
        container["livenessProbe"] = probe("/healthz");
        container["livenessProbe"]["failureThreshold"] = json!(6);
        container["readinessProbe"] = probe("/readyz");
    }
    container
}

/// Those that the agent's sockets and addresses need; and for `realtime`, and only then, those that it needs. A text that
/// is neither yes nor no is refused when the whole object is checked.
fn capabilities(flags: &Layer) -> Vec<&'static str> {
    let realtime = is_on(flags, Key::Realtime).unwrap_or(false);
    let more: &[&str] = if realtime { &["SYS_NICE", "IPC_LOCK"] } else { &[] };
    [&["NET_ADMIN", "NET_RAW"], more].concat()
}

/// How long a Pod may take to end: a hand-over takes one lease duration at most, and a little to withdraw. A text that is
/// no number is refused when the whole object is checked.
fn grace_seconds(flags: &Layer) -> u64 {
    flags.text(Key::LeaseDuration).parse().unwrap_or(0_u64).saturating_add(GRACE_SLACK_SECONDS)
}

fn environment(flags: &Layer) -> Vec<Value> {
    let named = flags.as_variables().any(|(name, _)| name == "vip_nodename");
    let node = json!({"name": "vip_nodename", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
    let given = flags.as_variables().map(|(name, text)| json!({"name": name, "value": text}));
    given.chain((!named).then_some(node)).collect()
}
