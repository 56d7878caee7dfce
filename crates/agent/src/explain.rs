//! Why something is as it is: `mainstay explain`. Pure: what there is to see (`mainstay status`) in, a chain of reasons out.

use crate::admin::reply::{ApiServer, Backend, Balancer, Claim, Explanation, Happened, Reason, Status};
use crate::admin::words::seconds;

/// Events that are told.
const TOLD: usize = 6;

/// Why `about` is as it is: a claim by its name or one of its addresses, or an API server behind the VIP by its address or its
/// node. An empty text is the first claim. Of Services somebody else knows.
///
/// # Errors
/// When there is no such thing; what there is.
pub(crate) fn explain(status: &Status, about: &str) -> Result<Explanation, String> {
    let backends = status.balancer.iter().flat_map(|balancer| &balancer.backends);
    let claim = status.claims.iter().find(|claim| about.is_empty() || is_named(claim, about));
    if let Some(claim) = claim {
        return Ok(of_claim(status, claim));
    }
    let backend = backends.clone().find(|backend| is_backend(backend, about));
    if let (Some(balancer), Some(backend)) = (&status.balancer, backend) {
        return Ok(of_backend(balancer, backend));
    }
    let names = status.claims.iter().map(|claim| claim.claim.clone());
    let known: Vec<String> = names.chain(backends.map(|backend| backend.address.clone())).collect();
    Err(format!(
        "this node knows no {about}: ask for one of {}, for an address of a claim, or for a Service as NAMESPACE/NAME",
        known.join(", ")
    ))
}

fn is_named(claim: &Claim, about: &str) -> bool {
    claim.claim == about || claim.vips.iter().any(|vip| vip == about)
}

fn is_backend(backend: &Backend, about: &str) -> bool {
    let host = backend.address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
    backend.address == about || host == Some(about) || backend.node.as_deref() == Some(about)
}

/// Puts one reason behind the others.
struct Chain(Vec<Reason>);

impl Chain {
    fn say(&mut self, source: &str, says: String) {
        self.0.push(Reason { source: source.to_owned(), says });
    }
}

fn of_claim(status: &Status, claim: &Claim) -> Explanation {
    let mut chain = Chain(Vec::new());
    chain.say("this node", this_node(status, claim));
    chain.say("the authority", authority(status, claim));
    for server in status.api_servers.iter().filter(|server| server.failures_in_a_row > 0) {
        chain.say("an API server", failing(server));
    }
    if let Some(trouble) = &status.api_trouble {
        chain.say("the API servers", trouble.clone());
    }
    chain.say("the wire", wire(claim));
    if !claim.leaving.is_empty() {
        chain.say("its names", format!("{} is on its way out", claim.leaving.join(", ")));
    }
    if let Some(service) = &status.local_service {
        let error = service.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        chain.say("behind it here", format!("{} is {}{error}", service.url, service.state));
    }
    for problem in status.host_warnings.iter().chain(&status.not_ready) {
        chain.say("this host", problem.clone());
    }
    for happened in claim.history.iter().take(TOLD) {
        chain.say("lately", lately(happened));
    }
    Explanation {
        about: format!("{} ({})", claim.claim, some(&claim.vips)),
        conclusion: conclusion(status, claim),
        because: chain.0,
        would_change: would_change(status, claim),
    }
}

/// The first few of what may be thousands.
fn some(vips: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = vips.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match vips.len().saturating_sub(SHOWN) {
        _ if vips.is_empty() => "no address".to_owned(),
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn holds(claim: &Claim) -> bool {
    claim.tenure.is_some()
}

fn conclusion(status: &Status, claim: &Claim) -> String {
    let node = &status.node;
    match (&claim.holder, claim.state.as_str()) {
        (_, "yielding") => format!("{node}, this node, holds it and is giving it up"),
        _ if holds(claim) => format!("{node}, this node, holds it"),
        (_, "probing") => format!("{node}, this node, wears it and finds out whether it is still its own"),
        (Some(holder), _) if holder != node && !holder.is_empty() => {
            format!("{holder} holds it; {node}, this node, does not")
        }
        _ => format!("nobody is known to hold it; {node}, this node, does not"),
    }
}

fn this_node(status: &Status, claim: &Claim) -> String {
    let tenure = claim.tenure.as_ref().map(|tenure| format!(", {tenure}")).unwrap_or_default();
    let link = if status.data_plane.link_up { "" } else { "; its link is down" };
    format!("{}{tenure}, for {}: {}{link}", claim.state, seconds(claim.since_seconds), claim.reason)
}

fn authority(status: &Status, claim: &Claim) -> String {
    let Some(lease) = &status.lease else {
        return "there is none: what the wire says decides".to_owned();
    };
    let holder = claim.holder.as_deref().filter(|holder| !holder.is_empty());
    let says = match (claim.standing.as_str(), holder) {
        ("granted", _) => format!("grants it to this node, epoch {}", claim.epoch),
        ("denied", Some(holder)) => format!("names {holder}, epoch {}", claim.epoch),
        ("vacant", _) => "names nobody".to_owned(),
        _ => "has said nothing yet".to_owned(),
    };
    let asked = claim.last_contact_seconds.map_or("never".to_owned(), |ago| format!("{} ago", seconds(ago)));
    let reach = if claim.authority_in_reach {
        format!("it answered {asked}")
    } else {
        let next = claim.next_request_seconds.map(seconds).map(|next| format!(", asked again in {next}"));
        let failures = claim.failures_in_a_row;
        format!(
            "it is out of reach, answered {asked}, {failures} failures in a row{}; what is held stays held",
            next.unwrap_or_default()
        )
    };
    // Seats have Leases of their own.
    let lease =
        if claim.claim == "control-plane" { format!("the Lease {lease}") } else { "its Lease".to_owned() };
    format!("{lease} {says}; {reach}")
}

fn failing(server: &ApiServer) -> String {
    let error = server.last_error.clone().unwrap_or_default();
    let class = server.error_class.as_ref().map(|class| format!("{class}: ")).unwrap_or_default();
    let next = server.backoff_seconds.map(|wait| format!(", tried again after {}", seconds(wait)));
    format!(
        "{} fails {} times in a row{}: {class}{error}",
        server.url,
        server.failures_in_a_row,
        next.unwrap_or_default()
    )
}

fn wire(claim: &Claim) -> String {
    let ago =
        |since: Option<f64>| since.map_or("never".to_owned(), |since| format!("{} ago", seconds(since)));
    let first = if holds(claim) {
        format!("this node announced it {}", ago(claim.last_announcement_seconds))
    } else if claim.holder_last_answer_seconds.is_some() {
        format!("its holder answered {}", ago(claim.holder_last_answer_seconds))
    } else {
        "its holder was not heard".to_owned()
    };
    let conflicts =
        (claim.conflicts > 0).then(|| format!("others spoke in its name {} times", claim.conflicts));
    let unheard = (!claim.unheard.is_empty())
        .then(|| format!("not heard for 25 s or ever: {}", claim.unheard.join(", ")));
    [Some(first), conflicts, unheard].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn lately(happened: &Happened) -> String {
    let rule = happened.rule.map(|rule| format!(" [rule {rule}]")).unwrap_or_default();
    format!("{} ago: {}{rule}", seconds(happened.seconds_ago), happened.text)
}

fn would_change(status: &Status, claim: &Claim) -> Vec<String> {
    let others: Vec<&str> =
        claim.members.iter().map(String::as_str).filter(|member| *member != status.node).collect();
    let mut changes: Vec<String> = Vec::new();
    if !status.data_plane.link_up {
        changes.push(format!("the link of {} comes up", status.data_plane.interface));
    }
    if !claim.authority_in_reach && status.lease.is_some() {
        changes.push(
            "an API server answers: then the Lease decides again; see what it fails with above".to_owned(),
        );
    }
    if holds(claim) && others.is_empty() {
        changes.push("nothing: no other node is known that could take it".to_owned());
    } else if holds(claim) {
        let others = others.join(", ");
        changes.push(format!(
            "this agent is stopped, and hands over; or this node dies: one of {others} takes it"
        ));
    } else {
        changes.push("its holder hands over, falls silent on the wire, or lets its Lease expire".to_owned());
    }
    changes
}

fn of_backend(balancer: &Balancer, backend: &Backend) -> Explanation {
    let mut chain = Chain(Vec::new());
    let changed = backend.changed_seconds_ago.map(|ago| format!(" for {}", seconds(ago))).unwrap_or_default();
    let error = backend.last_error.as_ref().map(|error| format!("; the last bad answer: {error}"));
    chain.say("its checks", format!("{}{changed}{}", backend.state, error.unwrap_or_default()));
    let up = balancer.backends.iter().filter(|one| one.state == "up").count();
    chain.say("the others", format!("{up} of {} API servers are up", balancer.backends.len()));
    let kernel = match &balancer.last_error {
        Some(error) if !balancer.in_force => {
            format!("goes on as it was, for it does not take the change: {error}")
        }
        _ => {
            format!("balances by {} and has {} connections to it", balancer.distribution, backend.connections)
        }
    };
    chain.say("the kernel", kernel);
    let node = backend.node.as_ref().map(|node| format!(" of node {node}")).unwrap_or_default();
    let (conclusion, change) = rotation(balancer, backend);
    Explanation {
        about: format!("the API server {}{node} behind port {} of the VIP", backend.address, balancer.port),
        conclusion: conclusion.to_owned(),
        because: chain.0,
        would_change: vec![change.to_owned()],
    }
}

/// Whether it takes connections and why, and what would change that.
fn rotation(balancer: &Balancer, backend: &Backend) -> (&'static str, &'static str) {
    match (backend.state.as_str(), backend.takes_connections) {
        ("up", true) => ("in rotation", "MAINSTAY_LB_FALL wrong answers in a row (2): it is out then"),
        ("up", false) => (
            "up, and it takes no new connections: lb_fwdmethod=local prefers the holder's own API server",
            "the holder's own is down, or lb_fwdmethod=masquerade",
        ),
        (_, true) if balancer.in_doubt => (
            "takes connections although its checks fail: none is up, and those that were last are better than none",
            "one of them answers its checks",
        ),
        ("untried", _) => ("not checked yet", "its first answer counts"),
        _ => (
            "out of rotation: its checks fail",
            "MAINSTAY_LB_RISE good answers in a row (2), backend_health_check_interval apart",
        ),
    }
}

#[cfg(test)]
mod tests;
