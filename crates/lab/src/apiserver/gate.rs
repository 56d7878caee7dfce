//! What a request passes before it is looked at: the faults, then who asks, then whether they may.

use http::HeaderMap;
use http::request::Parts;

use super::attributes::Attributes;
use super::fault::{Faults, Reach};
use super::front_end::Front;
use super::rbac;
use super::request::Call;
use super::status::ApiStatus;
use super::user::UserInfo;

/// Lets a request through, for the user who asks, or says why not.
///
/// # Errors
/// What an injected fault answers, 401 for unknown credentials, 403 for what no rule allows.
pub(super) async fn admit(
    front: &Front,
    peer: Option<&UserInfo>,
    parts: &Parts,
    call: Option<&Call>,
) -> Result<UserInfo, ApiStatus> {
    let faults = pass_faults(front, call).await?;
    let user = front.access.authenticate(peer, &parts.headers)?;
    let user = impersonated(front, user, &parts.headers)?;
    let attributes = Attributes::of(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
    let denied = call.is_some_and(|call| faults.denies(call.verb, call.resource.plural));
    let allowed = !denied && rbac::allows(&front.store, &user, &attributes);
    front.store.account().note_asked(attributes.asked_by(&user, allowed));
    if !allowed {
        return Err(attributes.forbidden(&user));
    }
    Ok(user)
}

/// What the faults do to a request before anybody looks at it: it waits, or is answered in the server's place.
///
/// # Errors
/// What an injected fault answers.
pub(super) async fn pass_faults(front: &Front, call: Option<&Call>) -> Result<Faults, ApiStatus> {
    let mut watched = front.faults.subscribe();
    // The sender lives in `front`, so waiting can only end with the fault. Whoever sent this after a fault was injected
    // sees the fault, also when the bytes were read in the moment in which the connection learned of it.
    let hangs = |faults: &Faults| call.is_some_and(|call| faults.hangs(call.verb, call.resource.plural));
    drop(watched.wait_for(|faults| faults.reach == Reach::Open && !hangs(faults)).await);
    let faults = watched.borrow().clone();
    if !faults.slow.is_zero() {
        tokio::time::sleep(faults.slow).await;
    }
    if let Some(status) = faults.status.as_ref().filter(|status| front.picks_status(status.rate)) {
        return Err(ApiStatus::injected(status.code, status.retry_after));
    }
    Ok(faults)
}

/// The user a request is to be made as, `kubectl --as`, who must be one the asker may impersonate.
fn impersonated(front: &Front, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, ApiStatus> {
    let text = |name: &str| -> Vec<&str> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    let (names, groups) = (text("impersonate-user"), text("impersonate-group"));
    let Some(name) = names.first() else { return Ok(user) };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let first = match account {
        Some((namespace, account)) => ("serviceaccounts", namespace, account),
        None => ("users", "", *name),
    };
    for (resource, namespace, name) in
        std::iter::once(first).chain(groups.iter().map(|one| ("groups", "", *one)))
    {
        let wanted = Attributes {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        if !rbac::allows(&front.store, &user, &wanted) {
            return Err(wanted.forbidden(&user));
        }
    }
    Ok(match account {
        Some((namespace, account)) if groups.is_empty() => UserInfo::service_account(namespace, account),
        _ => UserInfo::authenticated(name, &groups),
    })
}
