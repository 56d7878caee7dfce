//! Reads the Leases by which other electors hold single Services: by lists of one namespace each, which are asked for while
//! there is such a Service and never else.
//!
//! Not by a watch: of a namespace with many Leases it would tell of every renewal, several a second for each Service, and
//! what is asked is only whether there are any. A list that fails, or makes no sense, says nothing of any Lease.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mainstay_core::input::LeaseRecord;
use mainstay_core::intent::ObjectName;
use serde_json::Value;

use crate::access::Traffic;
use crate::adapter::LeaseName;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::fleet::{Ask, Fleet, JSON};
use crate::lease::record;
use crate::race::Pace;
use crate::reflect::encoded;

/// How long a page may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Leases in a page: of 32 KiB each, so many fit into what is read of one answer.
const PAGE: usize = 250;
/// The longest name of a namespace, in bytes: a DNS label's (RFC 1123).
const NAMESPACE_MAX: usize = 63;

/// Reads Leases by way of a lease adapter's API servers.
pub struct LeaseLister {
    fleet: Arc<Fleet>,
    /// The server that left the last request without a good end: asked after the others.
    avoid: Option<String>,
}

impl fmt::Debug for LeaseLister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseLister")
    }
}

impl LeaseLister {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet, avoid: None }
    }

    /// Those of `wanted` that are in `namespace`, as a quorum knows them. What is not in the answer is not there.
    ///
    /// # Errors
    /// A page could not be read. What there is and is not, nobody knows.
    pub async fn list(
        &mut self,
        namespace: &str,
        wanted: &BTreeSet<ObjectName>,
    ) -> Result<BTreeMap<ObjectName, LeaseRecord>, Trouble> {
        let (mut found, mut go_on) = (BTreeMap::new(), None);
        // Whoever may annotate a Service says the name. What no namespace can be called has no Leases, and is no path.
        if !is_namespace(namespace) {
            return Ok(found);
        }
        loop {
            let page = self.page(namespace, go_on.as_deref()).await?;
            let items = page["items"].as_array().into_iter().flatten();
            let named = items.filter_map(|object| Some((name(namespace, object)?, object)));
            let these = named.filter(|(name, _)| wanted.contains(name));
            found.extend(these.map(|(name, object)| (name, record(object))));
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                None => return Ok(found),
                same if same == go_on.as_deref() => return Err(nonsense("a list goes on where it began")),
                next => go_on = next.map(ToOwned::to_owned),
            }
        }
    }

    /// Without a resource version, so that it is read from a quorum.
    async fn page(&mut self, namespace: &str, go_on: Option<&str>) -> Result<Value, Trouble> {
        let collection = LeaseName { namespace: namespace.to_owned(), name: String::new() }.collection();
        let go_on = go_on.map(|token| format!("&continue={}", encoded(token))).unwrap_or_default();
        let ask = Ask {
            method: Method::GET,
            path: format!("{collection}?limit={PAGE}{go_on}"),
            body: Bytes::new(),
            content: JSON,
            traffic: Traffic::Bulk,
            pace: Pace { hedge_after: LIMIT, unanswered_after: LIMIT, deadline: LIMIT },
            last: self.avoid.clone(),
            refusal_is_fault: false,
        };
        let (answer, by) = self.fleet.in_turn(&ask).await;
        self.avoid = by.filter(|_| matches!(answer, Answer::Unknown(_)));
        whole(answer)
    }
}

/// A page that says of itself what it is: Go writes a list that was never made as null.
fn whole(answer: Answer<Value>) -> Result<Value, Trouble> {
    let page = match answer {
        Answer::Success(page) => page,
        failure => return Err(failure.complaint().unwrap_or_else(|| nonsense("the answer is no list"))),
    };
    let is_list = page.get("items").is_some_and(|items| items.is_array() || items.is_null());
    let has_version = page["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
    if is_list && has_version { Ok(page) } else { Err(nonsense("the answer is no list")) }
}

fn name(namespace: &str, object: &Value) -> Option<ObjectName> {
    ObjectName::new(namespace, object["metadata"]["name"].as_str()?).ok()
}

fn is_namespace(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAMESPACE_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn nonsense(text: &str) -> Trouble {
    Trouble::new(ErrorClass::Nonsense, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_whole_list_says_nothing() {
        let version = json!({"resourceVersion": "7"});
        for (page, is_list) in [
            (json!({"metadata": version, "items": []}), true),
            (json!({"metadata": version, "items": null}), true),
            (json!({"metadata": version}), false),
            (json!({"metadata": version, "items": {}}), false),
            (json!({"metadata": {}, "items": []}), false),
            (json!({"metadata": {"resourceVersion": ""}, "items": []}), false),
            (json!({"kind": "Status"}), false),
        ] {
            assert_eq!(whole(Answer::Success(page.clone())).is_ok(), is_list, "{page}");
        }
        for answer in [Answer::Absent, Answer::Gone, Answer::Conflict] {
            assert_eq!(whole(answer).map_err(|trouble| trouble.class), Err(ErrorClass::Nonsense));
        }
    }

    #[test]
    fn a_namespace_is_a_dns_label() {
        for (text, is_one) in [
            ("shop", true),
            ("shop-2", true),
            ("", false),
            ("Shop", false),
            ("shop?watch=true", false),
            ("..", false),
            ("a b", false),
        ] {
            assert_eq!(is_namespace(text), is_one, "{text:?}");
        }
        assert!(is_namespace(&"a".repeat(63)) && !is_namespace(&"a".repeat(64)));
    }
}
