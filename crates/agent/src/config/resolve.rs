//! Layers in, one checked [`Config`] out, or the first refusal.

mod features;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::names::NodeName;
use mainstay_core::settings::{Authority, Detection, LeaseTiming};
use mainstay_core::vip::Vip;

use super::effective::{Effective, effective};
use super::layer::{Given, Layer, Layers, Warning};
use super::refusal::{Fault, Refusal};
use super::table::{Consequence, Key, Kind, Setting, setting};
use super::{Address, Config, Host, Kubernetes, LeaseName, LogFormat, LogSettings, value};

/// kube-vip's floor of `vip_arpRate`, in milliseconds: below it, it takes the default.
const FASTEST_ARP_RATE: u64 = 500;

/// client-go's `JitterFactor`: the renew deadline must be longer than the retry period by this.
const JITTER_PERCENT: u64 = 120;

/// Which of two sources wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// `mainstay run`: flags, then the environment: a flag says what this one run shall do.
    FlagsFirst,
    /// `mainstay manager`: the environment, then flags, as in kube-vip. Where the two differ, a warning says so.
    EnvironmentFirst,
}

/// A configuration, and what the operator should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// Every setting with its value and where that comes from; secrets masked.
    pub effective: Vec<Effective>,
    /// One line each.
    pub warnings: Vec<Warning>,
}

/// Resolves the settings, or says why one of them cannot work.
///
/// # Errors
/// The first setting that is wrong in itself, contradicts another, does not fit the host, or asks for a way of
/// announcing that there is not.
pub fn resolve(layers: Layers, precedence: Precedence, host: &Host) -> Result<Resolved, Refusal> {
    let (layer, warnings) = merge(layers, precedence);
    let mut resolver = Resolver { layer, host, warnings };
    resolver.all_well_formed()?;
    resolver.all_heeded()?;
    let config = resolver.config()?;
    let effective = effective(&resolver.layer, &config);
    Ok(Resolved { config, effective, warnings: resolver.warnings })
}

/// Whether a layer by itself switches this on.
///
/// # Errors
/// When it says neither yes nor no.
pub fn is_on(layer: &Layer, key: Key) -> Result<bool, Refusal> {
    let given = layer.get(key);
    value::switch(&given.text).map_err(|fault| refusal(setting(key), &given, fault))
}

/// Where a layer by itself has the Lease of this setting, for an agent in a Pod of `namespace` with a service account:
/// the Pod's own namespace is used where the name carries none.
///
/// # Errors
/// When the name is none that Kubernetes knows.
pub fn lease_in_pod(layer: &Layer, key: Key, namespace: &str) -> Result<LeaseName, Refusal> {
    let given = layer.get(key);
    let (named, name) =
        value::lease_name(&given.text).map_err(|fault| refusal(setting(key), &given, fault))?;
    Ok(LeaseName { namespace: named.unwrap_or_else(|| namespace.to_owned()), name })
}

/// One layer of all three, and where they contradict each other.
pub(super) fn merge(layers: Layers, precedence: Precedence) -> (Layer, Vec<Warning>) {
    let Layers { flags, environment, file, mut warnings } = layers;
    let layer = match precedence {
        Precedence::FlagsFirst => flags.over(environment).0,
        Precedence::EnvironmentFirst => {
            let (layer, differences) = environment.over(flags);
            warnings.extend(differences);
            layer
        }
    };
    (layer.over(file).0, warnings)
}

/// Whether `text` asks for anything but what the default is. `text` is well formed.
pub(super) fn asks_for_something(setting: &Setting, text: &str) -> bool {
    match setting.kind {
        Kind::Switch => value::switch(text).ok() != value::switch(setting.default).ok(),
        Kind::Number { .. } => text.parse::<i64>().ok() != setting.default.parse().ok(),
        _ => !text.is_empty() && text != setting.default,
    }
}

struct Resolver<'a> {
    layer: Layer,
    host: &'a Host,
    warnings: Vec<Warning>,
}

impl Resolver<'_> {
    /// Every value is of its setting's kind, those included that nobody asks for afterwards.
    fn all_well_formed(&self) -> Result<(), Refusal> {
        for (setting, given) in self.layer.iter() {
            value::check(setting.kind, &given.text).map_err(|fault| refusal(setting, given, fault))?;
        }
        Ok(())
    }

    /// What asks for something that is not done is warned of, or refused where the agent could not do its job.
    fn all_heeded(&mut self) -> Result<(), Refusal> {
        for (setting, given) in self.layer.iter() {
            if setting.verdict.is_heeded() || !asks_for_something(setting, &given.text) {
                continue;
            }
            let reason = setting.verdict.reason();
            if setting.consequence == Consequence::Refused {
                let remedy = format!("remove it, or set it to {}", setting.default);
                return Err(refusal(setting, given, Fault::new(reason, remedy)));
            }
            self.warnings.push(Warning(format!("{} is ignored: {reason}", given.shown(setting))));
        }
        Ok(())
    }

    /// A label is written where the Lease is.
    fn warn_of_labels(&mut self) -> Result<(), Refusal> {
        if self.switch(Key::NodeLabeling)? && self.authority()? == Authority::Standalone {
            let given = self.layer.get(Key::NodeLabeling).shown(setting(Key::NodeLabeling));
            self.warn(format!(
                "{given} is ignored: without vip_leaderelection no API server is asked for anything"
            ));
        }
        Ok(())
    }

    /// Who holds Services by a Lease looks who is dead.
    fn warn_of_failures(&mut self) -> Result<(), Refusal> {
        if !self.switch(Key::ReportNodeFailure)? {
            return Ok(());
        }
        let given = self.layer.get(Key::ReportNodeFailure).shown(setting(Key::ReportNodeFailure));
        if !self.switch(Key::Services)? {
            self.warn(format!(
                "{given} is ignored: it is for agents that hold Services; set svc_enable=true"
            ));
        } else if self.authority()? == Authority::Standalone {
            self.warn(format!(
                "{given} is ignored: without vip_leaderelection no API server is asked for anything"
            ));
        }
        Ok(())
    }

    fn config(&mut self) -> Result<Config, Refusal> {
        self.mode()?;
        self.warn_of_labels()?;
        self.warn_of_failures()?;
        let interface = self.interface()?;
        let (addresses, vips) = self.vips(&interface)?;
        let timing = self.timing()?;
        let features = self.features(&interface)?;
        Ok(Config {
            node: self.node()?,
            witnesses: self.witnesses(&interface, |gateway| familiar(gateway, &addresses))?,
            interface,
            addresses,
            vips,
            reserved: self.reserved(),
            port: self.number(Key::Port)?,
            authority: self.authority()?,
            lease: self.lease_name(Key::LeaseName)?,
            timing,
            announce_every: self.announce_every()?,
            detection: self.detection()?,
            on_authority_loss: self.parse(Key::OnAuthorityLoss, value::on_authority_loss)?,
            restart_grace: self.parse(Key::RestartGrace, value::restart_grace)?,
            kubernetes: self.kubernetes()?,
            metrics: self.parse(Key::Metrics, value::listen)?,
            health_port: self.parse(Key::HealthPort, value::health_port)?,
            state_dir: self.parse(Key::StateDir, value::path)?,
            admin_socket: self.parse(Key::AdminSocket, value::path)?,
            realtime: self.switch(Key::Realtime)?,
            record: self.optional(Key::Record, value::path)?,
            log: self.log()?,
            features,
        })
    }

    /// Parses one setting; a fault becomes a refusal that names it as it was written.
    fn parse<T>(&self, key: Key, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Refusal> {
        let given = self.layer.get(key);
        parse(&given.text).map_err(|fault| refusal(setting(key), &given, fault))
    }

    /// Parses one setting, if it has a value.
    fn optional<T>(
        &self,
        key: Key,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Refusal> {
        self.parse(key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
    }

    fn switch(&self, key: Key) -> Result<bool, Refusal> {
        self.parse(key, value::switch)
    }

    /// A number between the bounds that the table gives.
    fn number<N: TryFrom<i64>>(&self, key: Key) -> Result<N, Refusal> {
        let (least, most) = match setting(key).kind {
            Kind::Number { least, most, .. } => (least, most),
            _ => (i64::MIN, i64::MAX),
        };
        self.parse(key, |text| {
            let number = value::number(text, least, most)?;
            N::try_from(number).map_err(|_| Fault::new("too large a number", format!("write at most {most}")))
        })
    }

    /// Which of its words a choice is.
    fn choice<T: Copy>(&self, key: Key, meanings: &[T]) -> Result<T, Refusal> {
        let words = match setting(key).kind {
            Kind::Choice(words) => words,
            _ => &[],
        };
        self.parse(key, |text| {
            let meaning = meanings.get(value::choice(text, words)?);
            meaning.copied().ok_or_else(|| Fault::new("a choice without a meaning", "choose another"))
        })
    }

    /// A text that may be absent.
    fn text(&self, key: Key) -> Option<String> {
        Some(self.layer.get(key).text).filter(|text| !text.is_empty())
    }

    fn refuse<T>(&self, key: Key, problem: &str, remedy: &str) -> Result<T, Refusal> {
        Err(refusal(setting(key), &self.layer.get(key), Fault::new(problem, remedy)))
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(Warning(text));
    }

    /// Something to do, and a way to do it.
    fn mode(&self) -> Result<(), Refusal> {
        if !self.switch(Key::ControlPlane)? && !self.switch(Key::Services)? {
            let remedy = "set cp_enable to true, or svc_enable";
            return self.refuse(Key::ControlPlane, "there is nothing to hold a VIP for", remedy);
        }
        if !self.switch(Key::Arp)? {
            return self.refuse(Key::Arp, "there is no way to announce the VIP", "set vip_arp to true");
        }
        Ok(())
    }

    fn interface(&self) -> Result<String, Refusal> {
        let given = self.layer.get(Key::Interface);
        let choice = || self.interfaces("vip_interface");
        if given.text.is_empty() {
            let found = self.host.default_interface.clone();
            return found.ok_or_else(|| {
                refusal(
                    setting(Key::Interface),
                    &given,
                    Fault::new("there is no default route to take it from", choice()),
                )
            });
        }
        if self.host.not_ethernet.contains(&given.text) {
            let problem = "it is no Ethernet, and a VIP is announced by ARP or ND";
            return self.refuse(Key::Interface, problem, &choice());
        }
        if self.host.interfaces.contains(&given.text) {
            return Ok(given.text);
        }
        self.refuse(Key::Interface, "there is no such interface on this host", &choice())
    }

    /// What to write for an interface.
    fn interfaces(&self, name: &str) -> String {
        let fit = self.host.interfaces.iter().filter(|name| !self.host.not_ethernet.contains(name));
        format!("set {name} to one of: {}", fit.map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    /// What the claim is to have, and those of it that are known: what a name means is asked when the agent runs.
    fn vips(&self, interface: &str) -> Result<(Vec<Address>, Vec<Vip>), Refusal> {
        if !self.switch(Key::ControlPlane)? {
            return Ok((Vec::new(), Vec::new()));
        }
        self.parse(Key::Address, |text| {
            let addresses = value::addresses_of(text)?;
            let known = |address: &Address| match address {
                Address::Ip(vip) => Some(*vip),
                Address::Name(_) => None,
            };
            let vips: Vec<Vip> = addresses.iter().filter_map(known).collect();
            match self.host.own_among(&vips, interface) {
                None => Ok((addresses, vips)),
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

    /// What is no address is a name, and whoever is to hold it says what is wrong with it.
    fn reserved(&self) -> Vec<Vip> {
        let text = self.layer.get(Key::Address).text;
        text.split(',').filter_map(|one| one.trim().parse().ok()).collect()
    }

    fn node(&self) -> Result<NodeName, Refusal> {
        let given = self.layer.get(Key::NodeName);
        let name = if given.text.is_empty() {
            self.host.hostname.clone().unwrap_or_default().to_lowercase()
        } else {
            given.text.to_lowercase()
        };
        value::kubernetes_name(&name).map(|name| NodeName::new(&name)).map_err(|fault| {
            let remedy = format!("set vip_nodename; {}", fault.remedy);
            refusal(setting(Key::NodeName), &given, Fault::new(fault.problem, remedy))
        })
    }

    /// Without being told, the default route's next hops on that interface, of the VIPs' families.
    fn witnesses(&self, interface: &str, familiar: impl Fn(&IpAddr) -> bool) -> Result<Vec<IpAddr>, Refusal> {
        let named = self.parse(Key::Witnesses, value::addresses)?;
        if !named.is_empty() {
            return Ok(named);
        }
        let gateways =
            self.host.gateways.iter().filter(|(on, _)| on == interface).map(|(_, address)| *address);
        Ok(gateways.filter(|address| !address.is_unspecified()).filter(familiar).collect())
    }

    fn authority(&self) -> Result<Authority, Refusal> {
        let lease = self.switch(Key::LeaderElection)?;
        Ok(if lease { Authority::Lease } else { Authority::Standalone })
    }

    /// As kube-vip: the name may carry a namespace; else the Pod's own, else `cp_namespace`.
    fn lease_name(&self, key: Key) -> Result<LeaseName, Refusal> {
        let configured = self.parse(Key::Namespace, value::kubernetes_name)?;
        let (namespace, name) = self.parse(key, value::lease_name)?;
        let namespace = namespace.or_else(|| self.host.namespace.clone()).unwrap_or(configured);
        Ok(LeaseName { namespace, name })
    }

    /// client-go refuses the same contradictions.
    fn timing(&self) -> Result<LeaseTiming, Refusal> {
        let seconds = |key| self.number::<u64>(key);
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
        let milliseconds = self.number::<u64>(Key::ArpRate)?;
        if milliseconds >= FASTEST_ARP_RATE {
            return Ok(Duration::from_millis(milliseconds));
        }
        let (given, default) = (self.layer.get(Key::ArpRate), setting(Key::ArpRate).default);
        self.warn(format!("{}={milliseconds} is below {FASTEST_ARP_RATE} ms: {default} is used", given.name));
        Ok(Duration::from_millis(3_000))
    }

    fn detection(&self) -> Result<Detection, Refusal> {
        Ok(Detection {
            interval: self.parse(Key::DetectionInterval, value::detection_interval)?,
            multiplier: self.number(Key::DetectionMultiplier)?,
        })
    }

    /// As kube-vip: a path that somebody wrote wins alone, if it is not the default; else the default,
    /// `$HOME/.kube/config`, and in-cluster access.
    fn kubernetes(&self) -> Result<Kubernetes, Refusal> {
        let server = self.optional(Key::KubernetesAddress, value::server)?;
        let default = setting(Key::Kubeconfig).default;
        let given = self.layer.get(Key::Kubeconfig);
        let explicit = !given.text.is_empty() && given.text != default;
        let kubeconfigs = if explicit {
            vec![PathBuf::from(given.text)]
        } else {
            let home = self.host.home.as_ref().map(|home| home.join(".kube/config"));
            std::iter::once(PathBuf::from(default)).chain(home).collect()
        };
        Ok(Kubernetes { kubeconfigs, server })
    }

    fn log(&self) -> Result<LogSettings, Refusal> {
        Ok(LogSettings {
            level: value::log_level(self.number(Key::LogLevel)?),
            format: self.choice(Key::LogFormat, &[LogFormat::Text, LogFormat::Json])?,
        })
    }
}

/// Whether a gateway is of a family that the claim has. A name may mean addresses of either.
fn familiar(gateway: &IpAddr, addresses: &[Address]) -> bool {
    addresses.iter().any(|address| match address {
        Address::Ip(vip) => vip.is_ipv4() == gateway.is_ipv4(),
        Address::Name(_) => true,
    })
}

fn refusal(setting: &Setting, given: &Given, fault: Fault) -> Refusal {
    let Fault { problem, remedy } = fault;
    Refusal { setting: given.name.clone(), value: setting.shown(&given.text), problem, remedy }
}
