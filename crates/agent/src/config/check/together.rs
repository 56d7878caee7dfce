//! What the settings of a part are together: their effective values, or what they contradict each other in.

use super::CheckedPart;
use crate::config::Host;
use crate::config::layer::{Given, Layer, Layers, Origin};
use crate::config::refusal::Refusal;
use crate::config::resolve::{Precedence, merge, resolve};
use crate::config::table::{Key, setting, settings};

/// A setting whose value cannot be seen here.
pub(super) struct Elsewhere {
    /// Which.
    pub(super) key: Key,
    /// Where it is: `cp_enable comes from key k of ConfigMap m`.
    pub(super) why: String,
}

/// Adds what the settings are together. What hangs on a value that is elsewhere is not refused but remarked on: then
/// the rest is looked at with a value in its place that works.
pub(super) fn in_force(
    part: &mut CheckedPart,
    (layers, precedence): (Layers, Precedence),
    elsewhere: &[Elsewhere],
) {
    let (mut layer, differences) = merge(layers, precedence);
    part.remarks.extend(differences.into_iter().map(|warning| warning.0));
    let mut assumed: Vec<Key> = Vec::new();
    loop {
        let layers = Layers { flags: layer.clone(), ..Layers::default() };
        let refusal = match resolve(layers, precedence, &imagined(&layer)) {
            Err(refusal) => refusal,
            Ok(resolved) => {
                for row in &mut part.settings {
                    let same = |written: &str| written == row.name;
                    let mut effective = resolved.effective.iter();
                    let found = effective.find(|one| one.written_as.as_deref().is_some_and(same));
                    if let Some(found) = found {
                        row.effective.clone_from(&found.value);
                    }
                }
                return;
            }
        };
        let keys = hangs_on(&layer, &refusal);
        let unseen: Vec<_> = elsewhere.iter().filter(|one| keys.contains(&one.key)).collect();
        if unseen.is_empty() || keys.iter().any(|key| assumed.contains(key)) {
            return refuse(part, &refusal);
        }
        part.remarks.extend(unseen.iter().map(|one| format!("not decided here: {}", one.why)));
        layer = keys.iter().fold(layer, |layer, key| assume(layer, *key));
        assumed.extend(keys);
    }
}

/// The settings by which a refusal of the whole is decided; none where one value is wrong in itself.
fn hangs_on(layer: &Layer, refusal: &Refusal) -> &'static [Key] {
    let named = settings().map(|setting| setting.key).find(|key| layer.get(*key).name == refusal.setting);
    match named {
        Some(Key::ControlPlane | Key::Services) => &[Key::ControlPlane],
        Some(Key::Arp) => &[Key::Arp],
        Some(Key::Address) => &[Key::Address],
        Some(Key::LeaseDuration | Key::RenewDeadline | Key::RetryPeriod) => {
            &[Key::LeaseDuration, Key::RenewDeadline, Key::RetryPeriod]
        }
        _ => &[],
    }
}

/// With a value that works, under a name that no row has, so that none shows it.
fn assume(layer: Layer, key: Key) -> Layer {
    let text = match key {
        Key::ControlPlane | Key::Arp => "true",
        Key::Address => "192.0.2.10",
        other => setting(other).default,
    };
    layer.with(key, Given { text: text.to_owned(), name: String::new(), origin: Origin::Default })
}

/// Marks the setting that is refused; what no row says is a problem of its own.
pub(super) fn refuse(part: &mut CheckedPart, refusal: &Refusal) {
    let Refusal { setting, problem, remedy, .. } = refusal;
    match part.settings.iter_mut().find(|row| row.name == *setting) {
        Some(row) if row.verdict == "refused" || row.verdict == "unknown" => {}
        Some(row) => {
            row.verdict = "refused".to_owned();
            row.note = format!("{problem}; {remedy}");
            row.fine = false;
        }
        None => part.problems.push(refusal.to_string()),
    }
}

/// A host on which whatever depends on the host is well.
fn imagined(layer: &Layer) -> Host {
    let interface = layer.get(Key::Interface).text;
    Host {
        interfaces: vec![interface],
        default_interface: Some("(the default route's)".to_owned()),
        hostname: Some("node".to_owned()),
        ..Host::default()
    }
}
