//! The parsers of what others wrote, opened for tests that feed them anything (`crates/lab/tests/fuzz`). The adapter
//! itself is the only other user.

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use mainstay_core::effect::LeaseDraft;
use mainstay_core::input::LeaseRecord;
use serde_json::Value;

pub use crate::answer::Answer;
pub use crate::watch_stream::{Lines, WatchEvent};

use crate::access::{self, Access};
use crate::credentials::chain;
use crate::lease::{self, Seen};
use crate::lookup::Lookup;
use crate::{answer, learn, reflect};

/// A Lease object in the core's words.
#[must_use]
pub fn lease(object: &Value) -> LeaseRecord {
    lease::record(object)
}

/// What would be put in the place of `object`, the Lease `namespace/name` last seen.
#[must_use]
pub fn updated(object: &Value, (namespace, name): (&str, &str), draft: &LeaseDraft, now: &str) -> Value {
    let mut seen = Seen::default();
    seen.note(object);
    let version = lease(object).resource_version;
    seen.updated((namespace, name), &version, draft, now)
}

/// What a response with this status, `Retry-After` and body means. `None` for a status that HTTP does not have.
#[must_use]
pub fn answer(status: u16, retry_after: Option<&[u8]>, body: &[u8]) -> Option<Answer<Value>> {
    let status = StatusCode::from_u16(status).ok()?;
    let wait = retry_after.and_then(|bytes| HeaderValue::from_bytes(bytes).ok());
    let headers: HeaderMap = wait.into_iter().map(|value| (header::RETRY_AFTER, value)).collect();
    Some(answer::object(status, &headers, body))
}

/// A page of a list: its objects' names, its resource version, and where it goes on. `None` for what is no list.
#[must_use]
pub fn page(body: &[u8]) -> Option<(Vec<Value>, String, Option<String>)> {
    let page = reflect::page::page(body, |object| object["metadata"]["name"].clone()).ok()?;
    Some((page.items, page.version, page.go_on))
}

/// The API servers that an `EndpointSlice` names.
#[must_use]
pub fn api_servers(slice: &Value) -> Vec<String> {
    learn::urls(slice)
}

/// A token file's content as the header that is sent.
///
/// # Errors
/// Why it cannot be sent.
pub fn token(text: &str) -> Result<HeaderValue, String> {
    access::bearer(text)
}

/// The server that a kubeconfig names, all of it read as the agent does. `None` when it would have a program run or
/// another file read, which is not done here.
#[must_use]
pub fn kubeconfig(text: &str) -> Option<Result<String, String>> {
    let file = match Kubeconfig::from_yaml(text) {
        Ok(file) if leads_elsewhere(&file) => return None,
        Ok(file) => file,
        Err(error) => return Some(Err(chain(&error))),
    };
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options).now_or_never()?;
    let config = match config {
        Ok(config) => config,
        Err(error) => return Some(Err(chain(&error))),
    };
    Some(Access::build(0, &config, Lookup::new()).map(|access| access.server))
}

fn leads_elsewhere(file: &Kubeconfig) -> bool {
    let user = |user: &kube::config::NamedAuthInfo| {
        user.auth_info.as_ref().is_some_and(|user| {
            user.exec.is_some()
                || user.auth_provider.is_some()
                || user.token_file.is_some()
                || user.client_certificate.is_some()
                || user.client_key.is_some()
        })
    };
    let cluster = |cluster: &kube::config::NamedCluster| {
        cluster.cluster.as_ref().is_some_and(|cluster| cluster.certificate_authority.is_some())
    };
    file.auth_infos.iter().any(user) || file.clusters.iter().any(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `kubeconfig`: kube-rs panicked.
    #[test]
    fn a_token_with_a_line_break_is_refused() {
        let config = |token: &str| {
            serde_json::json!({
                "clusters": [{ "name": "c", "cluster": { "server": "http://192.0.2.1" } }],
                "users": [{ "name": "u", "user": { "token": token } }],
                "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
                "current-context": "x",
            })
        };
        let refused = kubeconfig(&config("a\nb").to_string()).expect("it leads nowhere else").unwrap_err();
        assert_eq!(refused, "the user's token has a character that no header can carry");
        assert!(kubeconfig(&config("ab").to_string()).expect("it leads nowhere else").is_ok());
    }
}
