//! Which cluster this is: the uid of the namespace `kube-system`, as is the custom
//! ([kubernetes/kubernetes 77487](https://github.com/kubernetes/kubernetes/issues/77487)). It is never made anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::access::Traffic;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::fleet::bulk::Resting;
use crate::fleet::{Ask, Fleet, JSON, whole};
use crate::race::Pace;

const PATH: &str = "/api/v1/namespaces/kube-system";
/// How long one attempt may take.
const LIMIT: Duration = Duration::from_secs(5);
const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Asks once, all servers in their order.
pub(crate) async fn uid(fleet: &Arc<Fleet>) -> Result<String, Trouble> {
    let ask = Ask {
        method: Method::GET,
        path: PATH.to_owned(),
        body: Bytes::new(),
        content: JSON,
        traffic: Traffic::Bulk,
        pace: Pace { hedge_after: HEDGE_AFTER, unanswered_after: LIMIT, deadline: LIMIT },
        last: None,
        refusal_is_fault: false,
    };
    let nonsense = || Trouble::new(ErrorClass::Nonsense, format!("{PATH} has no uid"));
    match fleet.bulk(&ask, &mut Resting::default(), whole).await.answer {
        Answer::Success(object) => {
            let uid = object["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty());
            uid.map(ToOwned::to_owned).ok_or_else(nonsense)
        }
        failure => Err(failure.complaint().unwrap_or_else(nonsense)),
    }
}
