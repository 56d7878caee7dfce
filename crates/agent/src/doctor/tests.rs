use super::*;
use crate::admin::reply::{ApiServer, Backend, Balancer, Claim, Happened, RefusedService, Services};
use crate::testing::empty_status;

/// What is said of all that is not fine, a line each with its remedy.
fn complaints(status: &Status) -> String {
    let mut found = Found::default();
    met::look(status, &mut found);
    let findings = found.examination().findings.into_iter().filter(|one| one.verdict != Verdict::Fine);
    findings.map(|one| format!("{}: {} → {}\n", one.check, one.says, one.remedy)).collect()
}

#[test]
fn an_agent_that_met_nothing_has_no_complaints() {
    let claim = Claim { members: vec!["n1".to_owned(), "n2".to_owned()], ..Claim::default() };
    assert_eq!(complaints(&Status { claims: vec![claim], ..empty_status() }), "");
}

#[test]
fn what_an_agent_met_is_told_with_its_remedy() {
    let server = |class: &str| ApiServer {
        url: format!("https://{class}:6443"),
        failures_in_a_row: 3,
        error_class: Some(class.to_owned()),
        last_error: Some("no luck".to_owned()),
        ..ApiServer::default()
    };
    let claim = Claim {
        claim: "control-plane".to_owned(),
        members: ["n1", "n2", "n3"].map(str::to_owned).to_vec(),
        unheard: vec!["n2".to_owned(), "n3".to_owned()],
        conflicts: 2,
        history: vec![Happened {
            seconds_ago: 5.0,
            text: "52:54:00:00:00:07 speaks in the name of 10.0.0.9: Rogue".to_owned(),
            rule: None,
        }],
        ..Claim::default()
    };
    let backend =
        Backend { address: "10.0.0.2:6443".to_owned(), state: "down".to_owned(), ..Backend::default() };
    let refused = RefusedService { service: "shop/a".to_owned(), why: "no pool".to_owned() };
    let status = Status {
        api_servers: ["connect", "forbidden", "unauthorized"].map(server).to_vec(),
        claims: vec![claim],
        balancer: Some(Balancer {
            in_force: true,
            in_doubt: true,
            backends: vec![backend],
            ..Balancer::default()
        }),
        services: Some(Services {
            known: true,
            refused_count: 12,
            refused: vec![refused; 12],
            ..Services::default()
        }),
        ..empty_status()
    };
    let text = complaints(&status);
    for part in [
        "https://connect:6443 fails 3 times in a row: no luck → no connection: is the API server running",
        "https://forbidden:6443 fails 3 times in a row: no luck → apply the rights: mainstay manifest rbac",
        "https://unauthorized:6443 fails 3 times in a row: no luck → the credentials",
        "others spoke in its name 2 times; 5.0s ago: 52:54:00:00:00:07 speaks in the name of",
        "no other node was heard for 25 s or ever (n2, n3) → look at this node's link, at port security",
        "no API server behind the VIP answers its checks",
        "the API server 10.0.0.2:6443 is out of rotation",
        "shop/a: no pool → mainstay explain shop/a",
        "2 more do not get all they ask for",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn only_what_is_not_fine_is_mended() {
    let dir = crate::testing::Scratch::new("doctor");
    let fix = |name: &str| Fix { path: dir.path().join(name), value: None };
    let mut found = Found::default();
    found.add(Verdict::Fine, ("state", String::new()), String::new(), vec![fix("one")]);
    found.add(Verdict::Warning, ("state", String::new()), String::new(), vec![fix("other")]);
    let done = mend(&found);
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(dir.path().join("other").is_dir() && !dir.path().join("one").exists());
    let refused = Fix { path: dir.path().join("none/such"), value: Some("1") };
    found.add(Verdict::Problem, ("ARP", String::new()), String::new(), vec![refused]);
    assert!(mend(&found)[1].starts_with("could not: wrote 1 to"), "{:?}", mend(&found));
}
