//! Layers in, one checked [`Config`] out, or the first refusal.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::names::NodeName;
use mainstay_core::settings::{Authority, Detection, LeaseTiming};
use mainstay_core::vip::Vip;

use super::layer::{Given, Layer, Warning};
use super::refusal::{Fault, Refusal};
use super::table::{Key, setting};
use super::{Config, Host, Kubernetes, LeaseName, LogSettings, value};

/// kube-vip's floor of `vip_arpRate`, in milliseconds: below it, it takes the default.
const FASTEST_ARP_RATE: u64 = 500;

/// client-go's `JitterFactor`: the renew deadline must be longer than the retry period by this.
const JITTER_PERCENT: u64 = 120;

/// Which of two sources wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// `mainstay run`: a flag says what this one run shall do.
    FlagsFirst,
    /// `mainstay manager`: as in kube-vip. Where the two differ, a warning says so.
    EnvironmentFirst,
}

/// A configuration, and what the operator should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// One line each.
    pub warnings: Vec<Warning>,
}

/// Resolves the settings, or says why one of them cannot work.
///
/// # Errors
/// The first setting that is wrong in itself, contradicts another, or does not fit the host.
pub fn resolve(
    flags: Layer,
    environment: (Layer, Vec<Warning>),
    precedence: Precedence,
    host: &Host,
) -> Result<Resolved, Refusal> {
    let (environment, mut warnings) = environment;
    let layer = match precedence {
        Precedence::FlagsFirst => flags.over(environment).0,
        Precedence::EnvironmentFirst => {
            let (layer, differences) = environment.over(flags);
            warnings.extend(differences);
            layer
        }
    };
    let mut resolver = Resolver { layer, host, warnings };
    let config = resolver.config()?;
    Ok(Resolved { config, warnings: resolver.warnings })
}

struct Resolver<'a> {
    layer: Layer,
    host: &'a Host,
    warnings: Vec<Warning>,
}

impl Resolver<'_> {
    fn config(&mut self) -> Result<Config, Refusal> {
        self.mode()?;
        let interface = self.interface()?;
        let vips = self.vips(&interface)?;
        self.note_subnet();
        let timing = self.timing()?;
        Ok(Config {
            node: self.node()?,
            witnesses: self.witnesses(&interface, &vips)?,
            interface,
            vips,
            port: self.parse(Key::Port, |text| value::number(text, 1, u16::MAX))?,
            authority: self.authority()?,
            lease: self.lease_name()?,
            timing,
            announce_every: self.announce_every()?,
            detection: self.detection()?,
            on_authority_loss: self.parse(Key::OnAuthorityLoss, value::on_authority_loss)?,
            restart_grace: self.parse(Key::RestartGrace, |text| {
                value::duration(text, Duration::from_secs(1), Duration::from_secs(86_400))
            })?,
            kubernetes: self.kubernetes()?,
            metrics: self.parse(Key::Metrics, value::listen)?,
            state_dir: self.path(Key::StateDir)?,
            admin_socket: self.path(Key::AdminSocket)?,
            record: self.record()?,
            log: self.log()?,
        })
    }

    /// Parses one setting; a fault becomes a refusal that names it as it was written.
    fn parse<T>(&self, key: Key, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Refusal> {
        let given = self.layer.get(key);
        parse(&given.text).map_err(|fault| refusal(given, fault))
    }

    fn refuse<T>(&self, key: Key, problem: &str, remedy: &str) -> Result<T, Refusal> {
        Err(refusal(self.layer.get(key), Fault::new(problem, remedy)))
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(Warning(text));
    }

    /// Something to do, and a way to do it.
    fn mode(&mut self) -> Result<(), Refusal> {
        let control_plane = self.parse(Key::ControlPlane, value::switch)?;
        if self.parse(Key::Services, value::switch)? {
            let name = self.layer.get(Key::Services).name;
            self.warn(format!(
                "{name} is on, but Services are not built yet: only the control plane's VIP is held"
            ));
        }
        if !control_plane {
            return self.refuse(
                Key::ControlPlane,
                "there is nothing to hold a VIP for",
                "set cp_enable to true",
            );
        }
        if !self.parse(Key::Arp, value::switch)? {
            return self.refuse(Key::Arp, "there is no way to announce the VIP", "set vip_arp to true");
        }
        Ok(())
    }

    fn interface(&self) -> Result<String, Refusal> {
        let given = self.layer.get(Key::Interface);
        let choice = || format!("set vip_interface to one of: {}", self.host.interfaces.join(", "));
        if given.text.is_empty() {
            let found = self.host.default_interface.clone();
            return found.ok_or_else(|| {
                refusal(given, Fault::new("there is no default route to take it from", choice()))
            });
        }
        if self.host.interfaces.contains(&given.text) {
            return Ok(given.text);
        }
        Err(refusal(given, Fault::new("there is no such interface on this host", choice())))
    }

    /// None is the host's own. What another VIP agent left on `interface` is taken over in place, so that the VIP
    /// stays up during a migration; left on another interface, it would answer there in the VIP's name.
    fn vips(&self, interface: &str) -> Result<Vec<Vip>, Refusal> {
        self.parse(Key::Address, |text| {
            let vips = value::vips(text)?;
            let taken_over = |on: &(IpAddr, String)| on.1 == interface && self.host.left_over.contains(on);
            let mut own = self.host.own_addresses.iter().filter(|one| vips.contains(&one.0));
            match own.find(|one| !taken_over(one)) {
                None => Ok(vips),
                Some((vip, on)) => Err(Fault::new(
                    format!("{vip} is this host's own address on {on}"),
                    format!(
                        "choose an address that no host has, or remove what another agent left: \
                         ip address del {vip} dev {on}"
                    ),
                )),
            }
        })
    }

    /// kube-vip lets the VIP carry a network's prefix; here it never does, because its expiry could take the node's
    /// own address along (rule 10).
    fn note_subnet(&mut self) {
        let given = self.layer.get(Key::Subnet);
        let harmless = |part: &str| matches!(part.trim().trim_start_matches('/'), "" | "32" | "128" | "auto");
        if !given.text.split(',').all(harmless) {
            self.warn(format!("{}={:?} is ignored: a VIP is always a /32 or a /128", given.name, given.text));
        }
    }

    fn node(&self) -> Result<NodeName, Refusal> {
        let given = self.layer.get(Key::NodeName);
        let name = if given.text.is_empty() {
            self.host.hostname.clone().unwrap_or_default().to_lowercase()
        } else {
            given.text.to_lowercase()
        };
        value::kubernetes_name(&name).map(|name| NodeName::new(&name)).map_err(|fault| {
            refusal(given, Fault::new(fault.problem, format!("set vip_nodename; {}", fault.remedy)))
        })
    }

    /// Without being told, the default route's next hops on that interface, of the VIPs' families.
    fn witnesses(&self, interface: &str, vips: &[Vip]) -> Result<Vec<IpAddr>, Refusal> {
        let named = self.parse(Key::Witnesses, value::addresses)?;
        if !named.is_empty() {
            return Ok(named);
        }
        let gateways =
            self.host.gateways.iter().filter(|(on, _)| on == interface).map(|(_, address)| *address);
        let familiar = |address: &IpAddr| vips.iter().any(|vip| vip.is_ipv4() == address.is_ipv4());
        Ok(gateways.filter(|address| !address.is_unspecified()).filter(familiar).collect())
    }

    fn authority(&self) -> Result<Authority, Refusal> {
        let lease = self.parse(Key::LeaderElection, value::switch)?;
        Ok(if lease { Authority::Lease } else { Authority::Standalone })
    }

    /// As kube-vip: `vip_leasename` may carry a namespace; else the Pod's own, else `cp_namespace`.
    fn lease_name(&self) -> Result<LeaseName, Refusal> {
        let configured = self.parse(Key::Namespace, value::kubernetes_name)?;
        self.parse(Key::LeaseName, |text| {
            let (namespace, name) = match text.split_once('/') {
                Some((namespace, name)) => (namespace.to_owned(), name),
                None => (self.host.namespace.clone().unwrap_or(configured), text),
            };
            Ok(LeaseName {
                namespace: value::kubernetes_name(&namespace)?,
                name: value::kubernetes_name(name)?,
            })
        })
    }

    /// client-go refuses the same contradictions.
    fn timing(&self) -> Result<LeaseTiming, Refusal> {
        let seconds = |key| self.parse(key, |text| value::number(text, 1_u64, 86_400));
        let duration = seconds(Key::LeaseDuration)?;
        let deadline = seconds(Key::RenewDeadline)?;
        let retry = seconds(Key::RetryPeriod)?;
        let [lease, renew, again] =
            [Key::LeaseDuration, Key::RenewDeadline, Key::RetryPeriod].map(|key| self.layer.get(key).name);
        if duration <= deadline {
            let problem = format!("not longer than {renew}={deadline}");
            return self.refuse(Key::LeaseDuration, &problem, &format!("write at least {}", deadline + 1));
        }
        if deadline * 100 <= retry * JITTER_PERCENT {
            let problem = format!("not longer than 1.2 x {again}={retry}");
            let least = retry * JITTER_PERCENT / 100 + 1;
            let remedy = format!("write at least {least}, and less than {lease}={duration}");
            return self.refuse(Key::RenewDeadline, &problem, &remedy);
        }
        let [duration, renew_deadline, retry_period] = [duration, deadline, retry].map(Duration::from_secs);
        Ok(LeaseTiming { duration, renew_deadline, retry_period })
    }

    fn announce_every(&mut self) -> Result<Duration, Refusal> {
        let milliseconds = self.parse(Key::ArpRate, |text| value::number(text, 1_u64, 3_600_000))?;
        if milliseconds >= FASTEST_ARP_RATE {
            return Ok(Duration::from_millis(milliseconds));
        }
        let (given, default) = (self.layer.get(Key::ArpRate), setting(Key::ArpRate).default);
        self.warn(format!("{}={milliseconds} is below {FASTEST_ARP_RATE} ms: {default} is used", given.name));
        Ok(Duration::from_millis(3_000))
    }

    fn detection(&self) -> Result<Detection, Refusal> {
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(10));
        Ok(Detection {
            interval: self.parse(Key::DetectionInterval, |text| value::duration(text, least, most))?,
            multiplier: self.parse(Key::DetectionMultiplier, |text| value::number(text, 2, 100))?,
        })
    }

    /// As kube-vip: a path that somebody wrote wins alone, if it is not the default; else the default,
    /// `$HOME/.kube/config`, and in-cluster access.
    fn kubernetes(&self) -> Result<Kubernetes, Refusal> {
        let server = self.parse(Key::KubernetesAddress, value::server)?;
        let default = setting(Key::Kubeconfig).default;
        let given = self.layer.get(Key::Kubeconfig);
        let explicit = self.layer.says(Key::Kubeconfig) && !given.text.is_empty() && given.text != default;
        let kubeconfigs = if explicit {
            vec![PathBuf::from(given.text)]
        } else {
            let home = self.host.home.as_ref().map(|home| home.join(".kube/config"));
            std::iter::once(PathBuf::from(default)).chain(home).collect()
        };
        Ok(Kubernetes { kubeconfigs, server })
    }

    fn path(&self, key: Key) -> Result<PathBuf, Refusal> {
        self.parse(key, |text| {
            let path = PathBuf::from(text);
            if path.is_absolute() {
                return Ok(path);
            }
            Err(Fault::new("not an absolute path", "write a path that begins with /"))
        })
    }

    fn record(&self) -> Result<Option<PathBuf>, Refusal> {
        if self.layer.get(Key::Record).text.is_empty() { Ok(None) } else { self.path(Key::Record).map(Some) }
    }

    fn log(&self) -> Result<LogSettings, Refusal> {
        Ok(LogSettings {
            level: self.parse(Key::LogLevel, value::log_level)?,
            format: self.parse(Key::LogFormat, value::log_format)?,
        })
    }
}

fn refusal(given: Given, fault: Fault) -> Refusal {
    Refusal { setting: given.name, value: given.text, problem: fault.problem, remedy: fault.remedy }
}
