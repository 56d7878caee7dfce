//! Who holds the VIP.

use super::{Key, Kind, Setting, number};
use crate::config::value;

const ETCD: &str = "an election on etcd is not built yet";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::LeaderElection, &["vip_leaderelection"], &["leaderElection"], Kind::Switch).in_file("enableLeaderElection").works(
        "Let a Kubernetes Lease say who holds the VIP; without it the agents agree on the wire alone",
    ),
    Setting::new(
        Key::LeaderElectionType,
        &[],
        &["leaderElectionType"],
        Kind::Choice(&["kubernetes", "etcd"]),
    )
    .else_is("kubernetes")
    .not_yet("Where the election is held", ETCD)
    .or_refused(),
    Setting::new(
        Key::LeaseName,
        &["vip_leasename"],
        &["leaseName"],
        Kind::Formed("[NAMESPACE/]NAME", |text| value::given(text, value::lease_name)),
    )
    .else_is("plndr-cp-lock")
    .works("The Lease's name"),
    Setting::new(
        Key::LeaseDuration,
        &["vip_leaseduration"],
        &["leaseDuration"],
        number("SECONDS", 1, 86_400),
    )
    .else_is("15")
    .works("How long a grant is good for"),
    Setting::new(
        Key::RenewDeadline,
        &["vip_renewdeadline"],
        &["leaseRenewDuration"],
        number("SECONDS", 1, 86_400),
    ).in_file("renewDeadline")
    .else_is("10")
    .works("How long a holder tries to renew before its tenure counts as detached"),
    Setting::new(Key::RetryPeriod, &["vip_retryperiod"], &["leaseRetry"], number("SECONDS", 1, 86_400)).in_file("retryPeriod")
        .else_is("2")
        .works("Between renewals"),
    Setting::new(
        Key::LeaseAnnotations,
        &["vip_leaseannotations"],
        &[],
        Kind::Formed("JSON", |text| value::given(text, value::annotations)),
    ).in_file("leaseAnnotations")
    .works("Annotations of the Lease: a JSON object of texts; written with every write of it"),
    Setting::new(
        Key::PreserveOnLeadershipLoss,
        &["vip_preserve_on_leadership_loss"],
        &["preserveVipOnLeadershipLoss"],
        Kind::Switch,
    )
    .accepted(
        "Leave the VIP on the interface when leadership is lost",
        "a VIP outlives every outage of the API, and is announced meanwhile; it leaves when another node has it",
    ),
    Setting::new(Key::LoseLeadership, &["vip_loseleadership"], &["loseLeadership"], Kind::Switch).accepted(
        "Give the VIP up when its interface goes down",
        "that is always so, for any kind of interface: a link that is down for 1 s resigns",
    ),
    Setting::new(
        Key::LoseLeadershipTimeout,
        &["vip_loseleadership_timeout_seconds"],
        &["loseLeadershiptTimeoutSeconds", "loseLeadershipTimeoutSeconds"],
        number("SECONDS", 0, 86_400),
    )
    .else_is("30")
    .accepted("How long the interface may be down before", "a link that is down for 1 s resigns"),
    Setting::new(Key::SingleNode, &["vip_singlenode"], &[], Kind::Switch).in_file("singleNode")
        .accepted("Without effect in kube-vip", "without effect here as well"),
    Setting::new(Key::StartAsLeader, &["vip_startleader"], &[], Kind::Switch).in_file("startAsLeader")
        .accepted("Without effect in kube-vip", "without effect here as well"),
    Setting::new(Key::EtcdCa, &[], &["etcdCACert"], Kind::Text("FILE")).in_file("etcd.caFile")
        .not_yet("The certificate authority of etcd", ETCD),
    Setting::new(Key::EtcdCertificate, &[], &["etcdCert"], Kind::Text("FILE")).in_file("etcd.clientCertFile")
        .not_yet("The client's certificate for etcd", ETCD),
    Setting::new(Key::EtcdKey, &[], &["etcdKey"], Kind::Text("FILE")).in_file("etcd.clientKeyFile")
        .not_yet("The client's key for etcd", ETCD),
    Setting::new(Key::EtcdEndpoints, &[], &["etcdEndpoints"], Kind::Text("URL[,URL]")).in_file("etcd.endpoints")
        .not_yet("The members of etcd", ETCD),
];
