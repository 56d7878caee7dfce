//! What operators write, and what a running agent answers them.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args as _, FromArgMatches as _};
use mainstay_agent::admin::reply::{Failure, Health, Reply, Status, Version};
use mainstay_agent::config::{
    Config, Host, Layer, Layers, Precedence, SettingFlags, Warning, check, read_text, resolve,
};
use mainstay_core::input::{Input, Link};
use mainstay_core::names::{ClaimId, InstanceId};
use mainstay_core::node::Node;
use mainstay_core::settings::{Authority, Found, Settings};
use mainstay_core::snapshot::Member;
use mainstay_core::time::Moment;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bytes::is_one_line;

/// The bytes as an answer of the admin API.
pub(super) fn admin(data: &[u8]) {
    comes_back::<Health>(data);
    comes_back::<Version>(data);
    comes_back::<Failure>(data);
    // Its seconds are floating point, which JSON's texts need not bring back to the last bit.
    let _ = serde_json::from_slice::<Reply<Status>>(data);
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<Reply<T>>(data) else { return };
    let text = serde_json::to_string(&reply).expect("plain data");
    assert_eq!(serde_json::from_str::<Reply<T>>(&text).expect("what was written"), reply);
}

/// The bytes as words that end with a zero byte: `name=value` is a variable of the environment, anything else is an
/// argument.
pub(super) fn settings(data: &[u8]) {
    let words: Vec<String> =
        data.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let is_variable = |word: &&String| !word.starts_with('-') && word.contains('=');
    let variables: BTreeMap<String, String> = words
        .iter()
        .filter(is_variable)
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let arguments = words.iter().filter(|word| !is_variable(word));
    let command = SettingFlags::augment_args(clap::Command::new("run").no_binary_name(true));
    let flags = command
        .try_get_matches_from(arguments)
        .ok()
        .and_then(|matches| SettingFlags::from_arg_matches(&matches).ok())
        .unwrap_or_default();
    resolves(&Layers::new(flags.0, &variables));
}

/// The bytes as a configuration file, and as a manifest that is checked before a migration.
pub(super) fn config_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match read_text(("--config-file", "c.yaml"), &text) {
        Err(refusal) => assert!(is_one_line(&refusal.to_string()), "{refusal:?}"),
        Ok(file) => {
            let variables =
                BTreeMap::from(["vip_arp", "cp_enable"].map(|name| (name.to_owned(), "true".to_owned())));
            resolves(&Layers { file, ..Layers::new(Layer::default(), &variables) });
        }
    }
    match check("m.yaml", &text) {
        Err(unreadable) => assert!(is_one_line(&unreadable.to_string()), "{unreadable:?}"),
        Ok(report) => {
            let said = report.parts.iter().flat_map(|part| part.problems.iter().chain(&part.remarks));
            let notes = report.parts.iter().flat_map(|part| &part.settings).map(|setting| &setting.note);
            for line in said.chain(notes) {
                assert!(line.is_empty() || is_one_line(line), "{line:?}");
            }
        }
    }
}

fn resolves(layers: &Layers) {
    for precedence in [Precedence::FlagsFirst, Precedence::EnvironmentFirst] {
        match resolve(layers.clone(), precedence, &host()) {
            Err(refusal) => assert!(is_one_line(&refusal.to_string()), "{refusal:?}"),
            Ok(resolved) => {
                for Warning(line) in &resolved.warnings {
                    assert!(is_one_line(line), "{line:?}");
                }
                can_run(&resolved.config);
            }
        }
    }
}

fn host() -> Host {
    Host {
        interfaces: vec!["eth0".to_owned(), "lo".to_owned()],
        default_interface: Some("eth0".to_owned()),
        gateways: vec![("eth0".to_owned(), [10, 0, 0, 1].into())],
        own_addresses: BTreeSet::from([([10, 0, 0, 5].into(), "eth0".to_owned())]),
        hostname: Some("Node-A".to_owned()),
        ..Host::default()
    }
}

/// What was not refused makes sense, and a core takes it.
fn can_run(config: &Config) {
    assert!(!config.vips.is_empty() || config.names().next().is_some());
    for vip in &config.vips {
        assert!(!vip.is_unspecified() && !vip.is_multicast() && !vip.is_loopback(), "{vip} is no VIP");
        assert!(*vip != std::net::IpAddr::from([10, 0, 0, 5]), "the host's own address is no VIP");
    }
    let timing = config.timing;
    assert!(timing.duration > timing.renew_deadline && timing.renew_deadline > timing.retry_period);
    assert!(config.state_dir.is_absolute() && config.admin_socket.is_absolute());
    let settings = Settings {
        node: config.node.clone(),
        instance: InstanceId(1),
        boot_id: "boot".to_owned(),
        claim: ClaimId::control_plane(),
        // What a name means, the agent finds out.
        vips: if config.vips.is_empty() { vec![[10, 0, 0, 100].into()] } else { config.vips.clone() },
        own: Member::default(),
        witnesses: config.witnesses.clone(),
        lease: timing,
        authority: config.authority,
        detection: config.detection,
        on_authority_loss: config.on_authority_loss,
        lifetime: config.lifetime(),
        restart_grace: config.restart_grace,
        report_failures: false,
    };
    let found = Found { link_up: true, ..Found::default() };
    let mut node = Node::new(settings, found, Moment::ZERO, 1);
    let mut asked = false;
    for second in 0..8 {
        let now = Moment::from_millis(second * 1_000);
        let output = node.handle(now, &if second == 4 { Input::Link(Link::Down) } else { Input::Tick });
        asked |= !output.effects.is_empty();
    }
    assert!(asked || config.authority == Authority::Standalone, "a core that does nothing");
}
