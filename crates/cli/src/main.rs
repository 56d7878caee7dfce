//! The `mainstay` command: the one binary, and the only place that ends the process.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 for done, 1 for failed, 2 for settings or flags that cannot work,
//! and for a file that `mainstay config check` cannot read.
#![forbid(unsafe_code)]

mod agent;
mod config;
mod doctor;
mod explain;
mod manifest;
mod output;
mod replay;
mod status;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use mainstay_agent::admin::reply::{Reply, Version};
use mainstay_agent::config::{Precedence, SettingFlags};

use output::Form;

/// Done.
const DONE: u8 = 0;
/// Failed; stderr says why.
const FAILED: u8 = 1;
/// Settings or flags that cannot work; stderr says which, and what to do.
const REFUSED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  Hold 192.0.2.10 for the control plane, with a Kubernetes Lease to say on which node:
    mainstay run --interface eth0 --address 192.0.2.10 --controlplane --arp --leaderElection

  The same from kube-vip's environment variables, as its manifests write them:
    vip_interface=eth0 address=192.0.2.10 cp_enable=true vip_arp=true vip_leaderelection=true mainstay manager

  Who holds the VIP, how, and since when:
    mainstay status

  Why, and what would change it:
    mainstay explain

  What is wrong on this node, and what to do about it:
    mainstay doctor

Exit codes: 0 done, 1 failed, 2 settings or flags that cannot work.";

/// Holds virtual IPs for Kubernetes, and goes on holding them when the API server is gone.
#[derive(Parser)]
#[command(name = "mainstay", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent. Flags win over the environment
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Run the agent as kube-vip's manifests do. The environment wins over flags, and a difference is a warning
    #[command(after_help = RUN_HELP)]
    Manager(Run),
    /// Ask the agent on this node what it holds
    Status(status::StatusArgs),
    /// Say why a claim, an address, an API server behind the VIP or a Service is as it is, and what would change it
    Explain(explain::ExplainArgs),
    /// Look for what keeps a VIP on this node from doing its work, with the remedy of each
    #[command(after_help = DOCTOR_HELP)]
    Doctor(doctor::DoctorArgs),
    /// Check a manifest or a file of settings, or print the reference of all settings
    Config(config::ConfigArgs),
    /// Print the objects that run Mainstay in a cluster: a static Pod, a DaemonSet, and what they may do
    Manifest(manifest::ManifestArgs),
    /// Print the static Pod for a node of kubeadm's, by kube-vip's names of the command
    Kubeadm(manifest::KubeadmArgs),
    /// Give a recording of `run --record FILE` to the same core, and show what it orders and tells
    #[command(after_help = REPLAY_HELP)]
    Replay(replay::ReplayArgs),
    /// Show on this machine what Mainstay does: three nodes, API outages and deaths, and a report
    #[cfg(feature = "demo")]
    #[command(after_help = DEMO_HELP)]
    Demo(mainstay_lab::demo::Args),
    /// Say which version this is
    Version(VersionArgs),
}

const RUN_HELP: &str = "\
Needs CAP_NET_ADMIN and CAP_NET_RAW. SIGTERM hands the VIP over and stops; a second one stops at once. SIGUSR1 writes
the state to the log. A setting that cannot work is refused with one line and exit code 2.

Smallest complete call:
  mainstay run --interface eth0 --address 192.0.2.10 --controlplane --arp --leaderElection";

const DOCTOR_HELP: &str = "\
Asks the agent on this node for its settings and for what it met, and looks at the host. Where no agent answers, the
settings are those of the environment and the flags, as `mainstay manager` would read them. Changes nothing without --fix.
Exit code 1: there is a problem. Warnings alone are 0.

  mainstay doctor     or     kubectl exec -n kube-system mainstay-NODE -- mainstay doctor";

const REPLAY_HELP: &str = "\
Touches nothing but the file: no network, no API server, no privilege. Exit code 1: the core says something else than
was recorded (the first difference is shown), or the file cannot be replayed.

  mainstay run --record /tmp/run.jsonl ...     then     mainstay replay /tmp/run.jsonl";

#[cfg(feature = "demo")]
const DEMO_HELP: &str = "\
Three nodes, a client and an API server, each in its own network namespace; nothing outside is touched, and everything
is removed at the end. Takes about three minutes, `demo services` one. Needs root, or unprivileged user namespaces, and
the commands ip, bridge and nft (Debian: iproute2, nftables). Exit code 1: a promise was broken, or the run was
interrupted.";

#[derive(Args)]
struct Run {
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Args)]
struct VersionArgs {
    /// The form of the answer
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(run) => agent::run(run.settings.0, Precedence::FlagsFirst),
        Command::Manager(run) => agent::run(run.settings.0, Precedence::EnvironmentFirst),
        Command::Status(args) => done(status::show(&args)),
        Command::Explain(args) => done(explain::show(&args)),
        Command::Doctor(args) => doctor::run(args),
        Command::Config(args) => config::run(&args),
        Command::Manifest(args) => manifest::run(&args),
        Command::Kubeadm(args) => manifest::run_kubeadm(&args),
        Command::Replay(args) => done(replay::run(&args)),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo(&args),
        Command::Version(args) => done(version(&args)),
    };
    ExitCode::from(code)
}

fn version(args: &VersionArgs) -> anyhow::Result<()> {
    let version = Version::this();
    match args.output {
        Some(form) => output::print(form, &Reply::from(version)),
        None => Ok(writeln!(io::stdout(), "mainstay {}", version.version)?),
    }
}

#[cfg(feature = "demo")]
fn demo(args: &mainstay_lab::demo::Args) -> u8 {
    mainstay_lab::demo::run(args).unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        FAILED
    })
}

/// The exit code of a result; what went wrong goes to stderr, in one line.
fn done(result: anyhow::Result<()>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    }
}

/// One line to stderr. Nobody can be told when that fails.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "mainstay: {text}");
}
