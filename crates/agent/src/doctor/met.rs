//! What an agent that runs has met.

use super::Found;
use crate::admin::reply::{ApiServer, Claim, Status, Verdict};
use crate::admin::words::seconds;

pub(super) fn look(status: &Status, found: &mut Found) {
    found.fine("agent", format!("version {}, up {}", status.version, seconds(status.uptime_seconds)));
    for reason in &status.not_ready {
        found.wrong("agent", reason.clone(), "mainstay explain says more");
    }
    status.host_warnings.iter().for_each(|warning| found.wrong("ARP", warning.clone(), ""));
    api_servers(status, found);
    status.claims.iter().for_each(|claim| look_at_claim(claim, found));
    load_balancer(status, found);
    services(status, found);
    rest(status, found);
}

/// One that fails is a problem only where none answers: on a worker there is none on the node itself.
fn api_servers(status: &Status, found: &mut Found) {
    let answered = status.api_servers.iter().any(|server| server.failures_in_a_row == 0);
    for server in &status.api_servers {
        if server.failures_in_a_row == 0 {
            found.fine("API server", format!("{} {}", server.url, server.state));
            continue;
        }
        let error = server.last_error.clone().unwrap_or_default();
        let says = format!("{} fails {} times in a row: {error}", server.url, server.failures_in_a_row);
        let verdict = if answered { Verdict::Warning } else { Verdict::Problem };
        found.add(verdict, ("API server", says), remedy(server).to_owned(), Vec::new());
    }
    if let Some(trouble) = &status.api_trouble {
        found.wrong(
            "API servers",
            trouble.clone(),
            "k8s_config_file, or the Pod's service account, says how they are reached",
        );
    }
}

fn remedy(server: &ApiServer) -> &'static str {
    match server.error_class.as_deref() {
        Some("connect") => {
            "no connection: is the API server running on that node, and does a firewall let it through?"
        }
        Some("timeout" | "broken") => "no answer: look at the network, and at the load of that node",
        Some("access") => "look at the kubeconfig or the service account (k8s_config_file)",
        Some("unauthorized") => {
            "the credentials are not accepted: renew the token or the certificate (k8s_config_file)"
        }
        Some("forbidden") => "apply the rights: mainstay manifest rbac | kubectl apply -f -",
        Some("overloaded") => "the API server sheds load: look at its flow control, and at who asks so much",
        Some("server-error") => "look at that API server's log, and at etcd",
        _ => "what is held stays held; the agent goes on trying",
    }
}

fn look_at_claim(claim: &Claim, found: &mut Found) {
    if claim.conflicts > 0 {
        let latest = claim.history.iter().find(|one| one.text.contains("speaks in the name of"));
        let latest = latest.map(|one| format!("; {} ago: {}", seconds(one.seconds_ago), one.text));
        found.warn(
            "conflicts",
            format!(
                "{}: others spoke in its name {} times{}",
                claim.claim,
                claim.conflicts,
                latest.unwrap_or_default()
            ),
            "find the host with that hardware address, and take the address from it",
        );
    }
    let others = claim.members.len().saturating_sub(1);
    if others > 0 && claim.unheard.len() >= others {
        found.wrong(
            "the wire",
            format!("{}: no other node was heard for 25 s or ever ({})", claim.claim, claim.unheard.join(", ")),
            "look at this node's link, at port security and anti-spoofing of the switch or the hypervisor, and at firewalls for ARP",
        );
    } else if !claim.unheard.is_empty() {
        found.warn(
            "the wire",
            format!("{}: not heard for 25 s or ever: {}", claim.claim, claim.unheard.join(", ")),
            "is that node down, or on another network?",
        );
    }
}

fn load_balancer(status: &Status, found: &mut Found) {
    let Some(balancer) = &status.balancer else { return };
    if let Some(error) = balancer.last_error.as_ref().filter(|_| !balancer.in_force) {
        found.wrong("load balancer", error.clone(), "it goes on as it was");
    }
    if balancer.in_doubt {
        found.wrong(
            "load balancer",
            "no API server behind the VIP answers its checks",
            "see each of them below",
        );
    }
    for backend in balancer.backends.iter().filter(|backend| backend.state == "down") {
        let error = backend.last_error.clone().unwrap_or_default();
        let says = format!("the API server {} is out of rotation: {error}", backend.address);
        found.warn("load balancer", says, format!("mainstay explain {}", backend.address));
    }
}

fn services(status: &Status, found: &mut Found) {
    let Some(services) = &status.services else { return };
    if !services.known {
        found.warn(
            "Services",
            "not all read yet; what was known before stays held",
            "see the API servers above",
        );
    }
    if let Some(error) = &services.last_error {
        found.warn(
            "Services",
            format!("writing on them fails: {error}"),
            "mainstay manifest rbac | kubectl apply -f -, if it is a right that is missing",
        );
    }
    for one in services.refused.iter().take(SHOWN) {
        found.warn(
            "Services",
            format!("{}: {}", one.service, one.why),
            format!("mainstay explain {}", one.service),
        );
    }
    let more = services.refused_count.saturating_sub(SHOWN);
    if more > 0 {
        found.warn(
            "Services",
            format!("{more} more do not get all they ask for"),
            "mainstay status names them",
        );
    }
}

/// Refused Services that are named.
const SHOWN: usize = 10;

fn rest(status: &Status, found: &mut Found) {
    if let Some(failing) = &status.state.failing {
        found.wrong(
            "state",
            format!("{}: {failing}", status.state.dir),
            "a restart in an outage would know less",
        );
    }
    let service = status.local_service.as_ref().filter(|service| service.failures_in_a_row > 0);
    if let Some(service) = service {
        let error = service.last_error.clone().unwrap_or_default();
        found.warn(
            "behind the VIP",
            format!("{} is {}: {error}", service.url, service.state),
            "another node takes the VIP, if one is well",
        );
    }
    for name in status.names.iter().filter(|name| name.failures_in_a_row > 0) {
        let error = name.last_error.clone().unwrap_or_default();
        found.warn(
            "names",
            format!("{} is not found: {error}", name.name),
            "look at the resolver (dns_mode, /etc/resolv.conf)",
        );
    }
}
