//! Names: Kubernetes' and our own.

use std::collections::BTreeMap;

use crate::config::refusal::Fault;

/// A name as Kubernetes has them (RFC 1123 subdomain): at most 253 of a-z, 0-9, `-` and `.`, beginning and ending
/// with a letter or a digit.
pub(in crate::config) fn kubernetes_name(text: &str) -> Result<String, Fault> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good =
        text.len() <= 253 && text.chars().all(inner) && text.starts_with(outer) && text.ends_with(outer);
    if good {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} is no Kubernetes name"),
        "use lower-case letters, digits, - and ., beginning and ending with a letter or a digit",
    ))
}

/// A Lease's name, and its namespace where one is written before a slash.
pub(in crate::config) fn lease_name(text: &str) -> Result<(Option<String>, String), Fault> {
    match text.split_once('/') {
        Some((namespace, name)) => Ok((Some(kubernetes_name(namespace)?), kubernetes_name(name)?)),
        None => Ok((None, kubernetes_name(text)?)),
    }
}

/// A JSON object of texts. The keys of `mainstay.io/` are the agents' own.
pub(in crate::config) fn annotations(text: &str) -> Result<BTreeMap<String, String>, Fault> {
    let remedy = r#"write a JSON object of texts, such as {"team":"network"}"#;
    let annotations: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| Fault::new(format!("no annotations: {error}"), remedy))?;
    match annotations.keys().find(|key| key.starts_with("mainstay.io/")) {
        None => Ok(annotations),
        Some(ours) => {
            Err(Fault::new(format!("{ours} is the agents' own"), "leave out what begins with mainstay.io/"))
        }
    }
}

/// kube-vip's rule: at most 243 bytes of A-Z, a-z, 0-9, `.`, `_` and `-`.
pub(in crate::config) fn instance_name(text: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() <= 243 && text.chars().all(good) {
        return Ok(());
    }
    Err(Fault::new("no instance's name", "write at most 243 letters, digits, ., _ and -"))
}
