use super::*;
use crate::admin::reply::DataPlane;
use crate::testing::empty_status;

fn claim() -> Claim {
    Claim {
        claim: "control-plane".to_owned(),
        vips: vec!["10.0.0.100".to_owned()],
        state: "released".to_owned(),
        since_seconds: 62.0,
        epoch: 4,
        holder: Some("n2".to_owned()),
        standing: "denied".to_owned(),
        authority_in_reach: true,
        last_contact_seconds: Some(0.5),
        holder_last_answer_seconds: Some(0.1),
        reason: "held by n2; its holder answers on the wire".to_owned(),
        members: ["n1", "n2", "n3"].map(str::to_owned).to_vec(),
        ..Claim::default()
    }
}

fn status(claim: Claim) -> Status {
    Status {
        node: "n1".to_owned(),
        claims: vec![claim],
        lease: Some("kube-system/plndr-cp-lock".to_owned()),
        data_plane: DataPlane { interface: "eth0".to_owned(), link_up: true, ..DataPlane::default() },
        ..empty_status()
    }
}

/// All that is said, one after another.
fn said(status: &Status, about: &str) -> String {
    let explained = explain(status, about).expect("there is such a thing");
    let because: Vec<String> =
        explained.because.iter().map(|reason| format!("{}: {}", reason.source, reason.says)).collect();
    format!(
        "{}\n{}\n{}\n{}",
        explained.about,
        explained.conclusion,
        because.join("\n"),
        explained.would_change.join("\n")
    )
}

#[test]
fn another_holds_it() {
    let status = status(claim());
    let text = said(&status, "10.0.0.100");
    for part in [
        "control-plane (10.0.0.100)",
        "n2 holds it; n1, this node, does not",
        "the authority: the Lease kube-system/plndr-cp-lock names n2, epoch 4; it answered 0.5s ago",
        "the wire: its holder answered 0.1s ago",
        "its holder hands over, falls silent on the wire, or lets its Lease expire",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(said(&status, ""), text, "the first claim");
    assert_eq!(said(&status, "control-plane"), text);
}

#[test]
fn held_in_an_outage() {
    let failing = ApiServer {
        url: "https://10.0.0.1:6443".to_owned(),
        failures_in_a_row: 7,
        error_class: Some("refused".to_owned()),
        last_error: Some("connection refused".to_owned()),
        backoff_seconds: Some(8.0),
        ..ApiServer::default()
    };
    let held = Claim {
        state: "holding".to_owned(),
        tenure: Some("detached".to_owned()),
        standing: "granted".to_owned(),
        holder: Some("n1".to_owned()),
        authority_in_reach: false,
        failures_in_a_row: 7,
        next_request_seconds: Some(3.0),
        last_announcement_seconds: Some(1.0),
        unheard: vec!["n3".to_owned()],
        history: vec![Happened { seconds_ago: 61.0, text: "took control-plane".to_owned(), rule: Some(7) }],
        ..claim()
    };
    let text = said(&Status { api_servers: vec![failing], ..status(held) }, "");
    for part in [
        "n1, this node, holds it",
        "this node: holding, detached, for 1m02s",
        "out of reach, answered 0.5s ago, 7 failures in a row, asked again in 3.0s; what is held stays held",
        "an API server: https://10.0.0.1:6443 fails 7 times in a row, tried again after 8.0s: refused: connection refused",
        "this node announced it 1.0s ago; not heard for 25 s or ever: n3",
        "lately: 1m01s ago: took control-plane [rule 7]",
        "an API server answers: then the Lease decides again",
        "one of n2, n3 takes it",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_link_that_is_down_is_what_would_change_it() {
    let mut status = status(Claim { holder: None, standing: "unknown".to_owned(), ..claim() });
    status.data_plane.link_up = false;
    let text = said(&status, "");
    assert!(text.contains("its link is down") && text.contains("the link of eth0 comes up"), "{text}");
    assert!(text.contains("nobody is known to hold it"), "{text}");
}

#[test]
fn an_api_server_behind_the_vip() {
    let backend = |address: &str, node: &str, state: &str, takes_connections| Backend {
        address: address.to_owned(),
        node: Some(node.to_owned()),
        state: state.to_owned(),
        takes_connections,
        ..Backend::default()
    };
    let down = Backend {
        changed_seconds_ago: Some(12.0),
        last_error: Some("HTTP 500 Internal Server Error".to_owned()),
        ..backend("10.0.0.2:6443", "n2", "down", false)
    };
    let balancer = Balancer {
        port: 6443,
        in_force: true,
        backends: vec![
            backend("10.0.0.1:6443", "n1", "up", true),
            down,
            backend("[fd00::3]:6443", "n3", "up", false),
        ],
        ..Balancer::default()
    };
    let status = Status { balancer: Some(balancer.clone()), ..status(claim()) };
    for about in ["10.0.0.2:6443", "10.0.0.2", "n2"] {
        let text = said(&status, about);
        assert!(text.contains("out of rotation") && text.contains("down for 12s"), "{text}");
        assert!(text.contains("HTTP 500") && text.contains("MAINSTAY_LB_RISE"), "{text}");
        assert!(text.contains("2 of 3 API servers are up"), "{text}");
    }
    assert!(said(&status, "n1").contains("in rotation"));
    assert!(said(&status, "fd00::3").contains("prefers the holder's own"));
    let mut doubted = balancer;
    doubted.in_doubt = true;
    doubted.backends[1].takes_connections = true;
    let doubted = Status { balancer: Some(doubted), ..status };
    assert!(said(&doubted, "n2").contains("none is up"));
}

#[test]
fn what_there_is_not_is_answered_with_what_there_is() {
    let why = explain(&status(claim()), "10.0.0.99").expect_err("nobody knows it");
    assert!(why.contains("10.0.0.99") && why.contains("control-plane"), "{why}");
}
