//! `mainstay status`.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use clap::Args;
use mainstay_agent::admin::client::ask;
use mainstay_agent::admin::reply::{
    ApiServer, Backend, Balancer, Claim, Configuration, LocalService, Name, NodeLabel, Reply, ServiceFilter,
    Services, Status,
};
use mainstay_agent::admin::words::seconds;

use crate::output::{Asks, print, table};

/// Where to ask, and how to answer.
#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    asks: Asks,
    /// Show the settings in force, and where the value of each comes from
    #[arg(long)]
    config: bool,
}

/// Asks the agent and shows what it says.
pub(crate) fn show(args: &StatusArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if args.config {
        let reply: Reply<Configuration> = runtime.block_on(ask(&args.asks.socket, "/v1/config"))?;
        return match args.asks.output {
            Some(form) => print(form, &reply),
            None => Ok(io::stdout().write_all(configuration(&reply.body).as_bytes())?),
        };
    }
    let reply: Reply<Status> = runtime.block_on(ask(&args.asks.socket, "/v1/status"))?;
    match args.asks.output {
        Some(form) => print(form, &reply),
        None => Ok(io::stdout().write_all(tables(&reply.body).as_bytes())?),
    }
}

fn configuration(configuration: &Configuration) -> String {
    let rows: Vec<_> = configuration
        .settings
        .iter()
        .map(|setting| {
            let from = match &setting.written_as {
                Some(name) => format!("{} {name}", setting.origin),
                None => setting.origin.to_string(),
            };
            [
                setting.setting.clone(),
                setting.value.clone(),
                from,
                setting.verdict.clone(),
                setting.note.clone(),
            ]
        })
        .collect();
    let mut text = table(["SETTING", "VALUE", "FROM", "VERDICT", "NOTE"], &rows);
    for warning in &configuration.warnings {
        text += &format!("\nWarning: {warning}\n");
    }
    text
}

fn tables(status: &Status) -> String {
    let headings =
        ["CLAIM", "VIP", "STATE", "TENURE", "SINCE", "EPOCH", "HOLDER", "API", "ANNOUNCED", "CONFLICTS"];
    let rows: Vec<_> = status.claims.iter().map(claim).collect();
    let mut text = table(headings, &rows);
    for claim in status.claims.iter().filter(|claim| !claim.reason.is_empty()) {
        text += &format!("\n{}: {}\n", claim.claim, claim.reason);
    }
    text += &unheard(&status.claims);
    if !status.api_servers.is_empty() {
        let headings = ["API SERVER", "KIND", "STATE", "FAILURES", "BACKOFF", "ANSWERED", "LAST ERROR"];
        let rows: Vec<_> = status.api_servers.iter().map(server).collect();
        text += &format!("\n{}", table(headings, &rows));
    }
    if let Some(trouble) = &status.api_trouble {
        text += &format!("\nNo access to the API servers: {trouble}\n");
    }
    if !status.names.is_empty() {
        let rows: Vec<_> = status.names.iter().map(name).collect();
        text += &format!("\n{}", table(["NAME", "ADDRESSES", "FAILURES", "LAST ERROR"], &rows));
    }
    if let Some(label) = &status.node_label {
        text += &format!("\nThis node's label {}: {}\n", label.label, node_label(label));
    }
    if let Some(all) = &status.balancer {
        text += &format!("\n{}", balancer(all));
    }
    if let Some(all) = &status.services {
        text += &format!("\n{}", services(all));
    }
    if let Some(service) = &status.local_service {
        text += &format!("\nBehind the VIP on this node: {}\n", local_service(service));
    }
    text += &format!(
        "\nNode {} on {}, link {}, version {}, up {}\n",
        status.node,
        status.data_plane.interface,
        if status.data_plane.link_up { "up" } else { "down" },
        status.version,
        seconds(status.uptime_seconds),
    );
    for warning in &status.host_warnings {
        text += &format!("Warning: {warning}\n");
    }
    for reason in &status.not_ready {
        text += &format!("Not ready: {reason}\n");
    }
    text
}

/// The other nodes with an agent that nothing was heard of: dead, or on the other side of something that is broken.
fn unheard(claims: &[Claim]) -> String {
    let nodes: BTreeSet<&str> = claims.iter().flat_map(|claim| &claim.unheard).map(String::as_str).collect();
    if nodes.is_empty() {
        return String::new();
    }
    let nodes: Vec<&str> = nodes.into_iter().collect();
    format!("\nNot heard on the wire for 25 s or ever: {}\n", nodes.join(", "))
}

/// What a name of the VIP means, and how its look-ups go.
fn name(name: &Name) -> [String; 4] {
    let addresses = if name.addresses.is_empty() { "-".to_owned() } else { name.addresses.join(",") };
    let error = name.last_error.clone().unwrap_or_else(|| "-".to_owned());
    [name.name.clone(), addresses, name.failures_in_a_row.to_string(), error]
}

/// The API servers behind the VIP, and why one is out.
fn balancer(balancer: &Balancer) -> String {
    let row = |backend: &Backend| {
        let node = backend.node.clone().unwrap_or_default();
        let takes = if backend.takes_connections { "yes" } else { "no" };
        let changed = backend.changed_seconds_ago.map(|ago| format!("{} ago", seconds(ago)));
        let error = backend.last_error.clone().unwrap_or_default();
        let [address, state] = [&backend.address, &backend.state].map(Clone::clone);
        let connections = backend.connections.to_string();
        [address, node, state, takes.to_owned(), connections, changed.unwrap_or_default(), error]
    };
    let rows: Vec<_> = balancer.backends.iter().map(row).collect();
    let headings = ["BACKEND", "NODE", "STATE", "IN ROTATION", "CONNECTIONS", "CHANGED", "LAST ERROR"];
    let mut text = table(headings, &rows);
    if balancer.in_doubt {
        text += "None of them answers its checks: connections go to those that did last\n";
    }
    if let Some(error) = balancer.last_error.as_ref().filter(|_| !balancer.in_force) {
        text += &format!("The load balancer is not as it should be, and goes on as it was: {error}\n");
    }
    text
}

/// How many Services there are, which of them do not get what they ask for, and how writing on them goes.
fn services(services: &Services) -> String {
    if !services.known {
        return "Services: not all read yet; what was known before stays held\n".to_owned();
    }
    let mut text = format!("Services: {} with {} addresses held\n", services.ours, services.addresses);
    if services.left_to_kube_vip > 0 {
        text += &format!(
            "Left to kube-vip, which elects each of them by a Lease: {}\n",
            services.left_to_kube_vip
        );
    }
    if let Some(filter) = &services.filter {
        text += &format!("Filter: {}\n", service_filter(filter));
    }
    if let Some(error) = &services.last_error {
        text += &format!(
            "Writing on Services fails, {} times in a row: {error}\n",
            services.write_failures_in_a_row
        );
    }
    services.shared_beacons.iter().for_each(|line| text += &format!("{line}\n"));
    let rows: Vec<_> = services.refused.iter().map(|one| [one.service.clone(), one.why.clone()]).collect();
    if !rows.is_empty() {
        text += &format!("\n{}", table(["SERVICE", "REFUSED"], &rows));
    }
    let more = services.refused_count.saturating_sub(rows.len());
    if more > 0 {
        text += &format!("... and {more} more\n");
    }
    text
}

/// What of Services' addresses is filtered, and why it is not as it should be.
fn service_filter(filter: &ServiceFilter) -> String {
    let ServiceFilter { in_force, addresses, ports, dropped, last_error } = filter;
    let sets = format!("{addresses} addresses let in {ports} ports, {dropped} packets dropped");
    match last_error {
        Some(error) if !in_force => {
            format!("not as it should be, the addresses are held all the same: {error}")
        }
        _ => sets,
    }
}

/// Addresses of one claim that a table shows: with Services there are thousands.
const SHOWN: usize = 4;

fn shown(vips: &[String]) -> String {
    let more = vips.len().saturating_sub(SHOWN);
    let first = vips.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// `https://127.0.0.1:6443/livez healthy`, or how it fails.
fn local_service(service: &LocalService) -> String {
    let LocalService { url, state, failures_in_a_row, last_error } = service;
    match last_error {
        Some(error) => format!("{url} {state}, {failures_in_a_row} failures: {error}"),
        None => format!("{url} {state}"),
    }
}

/// Whether the node has it, and why it is not as it should be.
fn node_label(label: &NodeLabel) -> String {
    let is = match label.written {
        Some(true) => "set",
        Some(false) => "not set",
        None => "unknown",
    };
    let to_be = match label.wanted {
        wanted if wanted == label.written => "",
        Some(true) => ", to be set",
        Some(false) => ", to be removed",
        None => "",
    };
    match &label.last_error {
        Some(error) => format!("{is}{to_be}; {} failures: {error}", label.failures_in_a_row),
        None => format!("{is}{to_be}"),
    }
}

fn claim(claim: &Claim) -> [String; 10] {
    let dash = || "-".to_owned();
    let api = match (claim.authority_in_reach, claim.failures_in_a_row) {
        (true, _) => "in reach".to_owned(),
        (false, 0) => "out of reach".to_owned(),
        (false, failures) => format!("out of reach, {failures} failures"),
    };
    [
        claim.claim.clone(),
        shown(&claim.vips),
        claim.state.clone(),
        claim.tenure.clone().unwrap_or_else(dash),
        seconds(claim.since_seconds),
        claim.epoch.to_string(),
        claim.holder.clone().unwrap_or_else(dash),
        api,
        claim.last_announcement_seconds.map_or_else(dash, |ago| format!("{} ago", seconds(ago))),
        claim.conflicts.to_string(),
    ]
}

fn server(server: &ApiServer) -> [String; 7] {
    let dash = || "-".to_owned();
    let error = match (&server.error_class, &server.last_error) {
        (Some(class), Some(error)) => format!("{class}: {error}"),
        (_, error) => error.clone().unwrap_or_else(dash),
    };
    [
        server.url.clone(),
        server.kind.clone(),
        server.state.clone(),
        server.failures_in_a_row.to_string(),
        server.backoff_seconds.map_or_else(dash, seconds),
        server.last_success_seconds.map_or_else(dash, |ago| format!("{} ago", seconds(ago))),
        error,
    ]
}

#[cfg(test)]
mod tests {
    use mainstay_agent::admin::reply::{
        ApiServer, Backend, Balancer, Claim, Name, NodeLabel, RefusedService, ServiceFilter, Services,
    };

    use super::{balancer, name, node_label, server, service_filter, services, shown, unheard};

    #[test]
    fn a_server_that_fails_is_told_in_one_row() {
        let failing = ApiServer {
            url: "https://10.0.0.1:6443".to_owned(),
            kind: "learned".to_owned(),
            state: "failing".to_owned(),
            failures_in_a_row: 7,
            since: "2026-01-02T03:04:05Z".to_owned(),
            last_success: Some("2026-01-02T03:04:05Z".to_owned()),
            last_success_seconds: Some(187.0),
            error_class: Some("timeout".to_owned()),
            last_error: Some("no answer within 500 ms".to_owned()),
            backoff_seconds: Some(2.5),
            next_retry: Some("2026-01-02T03:07:12Z".to_owned()),
        };
        let row = server(&failing).join("|");
        assert_eq!(
            row,
            "https://10.0.0.1:6443|learned|failing|7|2.5s|3m07s ago|timeout: no answer within 500 ms"
        );
        let untried = ApiServer {
            state: "untried".to_owned(),
            failures_in_a_row: 0,
            last_success_seconds: None,
            error_class: None,
            last_error: None,
            backoff_seconds: None,
            ..failing
        };
        assert_eq!(server(&untried).join("|"), "https://10.0.0.1:6443|learned|untried|0|-|-|-");
    }

    #[test]
    fn nodes_that_are_not_heard_are_named_once() {
        let claim = |unheard: &[&str]| Claim {
            unheard: unheard.iter().map(ToString::to_string).collect(),
            ..Claim::default()
        };
        assert_eq!(unheard(&[claim(&[])]), "");
        let all = [claim(&["n3", "n2"]), claim(&["n2"])];
        assert_eq!(unheard(&all), "\nNot heard on the wire for 25 s or ever: n2, n3\n");
    }

    #[test]
    fn a_label_says_what_it_is_and_what_it_is_to_be() {
        let label = |wanted, written, error: Option<&str>| {
            node_label(&NodeLabel {
                label: "kube-vip.io/has-ip=10.0.0.100".to_owned(),
                wanted,
                written,
                writes: 1,
                failures_in_a_row: 3,
                last_error: error.map(str::to_owned),
            })
        };
        assert_eq!(label(Some(true), Some(true), None), "set");
        assert_eq!(label(Some(false), Some(false), None), "not set");
        assert_eq!(label(Some(false), Some(true), None), "set, to be removed");
        assert_eq!(label(None, None, None), "unknown");
        assert_eq!(
            label(Some(true), None, Some("HTTP 403 Forbidden")),
            "unknown, to be set; 3 failures: HTTP 403 Forbidden"
        );
    }

    #[test]
    fn services_are_counted_and_those_that_lack_something_are_named() {
        let unknown = Services::default();
        assert_eq!(services(&unknown), "Services: not all read yet; what was known before stays held\n");
        let refused = RefusedService {
            service: "shop/web".to_owned(),
            why: "10.0.0.9 is taken; name another".to_owned(),
        };
        let known = Services {
            known: true,
            ours: 12,
            addresses: 11,
            refused_count: 3,
            refused: vec![refused],
            left_to_kube_vip: 4,
            shared_beacons: vec!["seat/a and seat/b have the same beacon".to_owned()],
            write_failures_in_a_row: 2,
            last_error: Some("HTTP 403 Forbidden".to_owned()),
            ..unknown
        };
        assert_eq!(
            services(&known),
            "Services: 12 with 11 addresses held\n\
             Left to kube-vip, which elects each of them by a Lease: 4\n\
             Writing on Services fails, 2 times in a row: HTTP 403 Forbidden\n\
             seat/a and seat/b have the same beacon\n\n\
             SERVICE   REFUSED\n\
             shop/web  10.0.0.9 is taken; name another\n\
             ... and 2 more\n"
        );
        let vips: Vec<String> = (1..=6).map(|host| format!("10.0.0.{host}")).collect();
        assert_eq!(shown(&vips), "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4 and 2 more");
        assert_eq!(shown(&vips[..2]), "10.0.0.1,10.0.0.2");
    }

    #[test]
    fn a_balancer_says_who_is_in_rotation_and_why_another_is_not() {
        let backend = |address: &str, state: &str| Backend {
            address: address.to_owned(),
            node: Some("n1".to_owned()),
            state: state.to_owned(),
            takes_connections: state == "up",
            ..Backend::default()
        };
        let down = Backend {
            changed_seconds_ago: Some(3.0),
            last_error: Some("connection refused".to_owned()),
            ..backend("10.0.0.2:6443", "down")
        };
        let all = Balancer {
            in_force: true,
            backends: vec![backend("10.0.0.1:6443", "up"), down],
            ..Balancer::default()
        };
        let text = balancer(&all);
        assert!(text.contains("connection refused") && text.contains("3.0s ago"), "{text}");
        assert!(!text.contains("None of them") && !text.contains("goes on as it was"), "{text}");
        let last_error = Some("no".to_owned());
        let text = balancer(&Balancer { in_force: false, in_doubt: true, last_error, ..all });
        assert!(text.contains("None of them") && text.contains("goes on as it was: no"), "{text}");
    }

    #[test]
    fn a_filter_says_what_it_lets_in_or_why_it_does_not_filter() {
        let filter = ServiceFilter { in_force: true, addresses: 3, ports: 7, dropped: 42, last_error: None };
        assert_eq!(service_filter(&filter), "3 addresses let in 7 ports, 42 packets dropped");
        let last_error = Some("changing nftables: Operation not permitted".to_owned());
        assert_eq!(
            service_filter(&ServiceFilter { in_force: false, last_error, ..filter }),
            "not as it should be, the addresses are held all the same: changing nftables: Operation not permitted"
        );
    }

    #[test]
    fn a_name_shows_its_addresses_and_why_it_is_not_resolved() {
        let known = Name {
            name: "api.example.com".to_owned(),
            addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
            failures_in_a_row: 0,
            last_error: None,
        };
        assert_eq!(name(&known), ["api.example.com", "10.0.0.1,fd00::1", "0", "-"]);
        let error = Some("no answer".to_owned());
        let unknown = Name { addresses: vec![], failures_in_a_row: 3, last_error: error, ..known };
        assert_eq!(name(&unknown), ["api.example.com", "-", "3", "no answer"]);
    }
}
