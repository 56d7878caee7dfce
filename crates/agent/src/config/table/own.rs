//! What kube-vip has no setting for.

use super::{Key, Kind, Setting, number};
use crate::config::value;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::LogFormat, &["MAINSTAY_LOG_FORMAT"], &["logFormat"], Kind::Choice(&["text", "json"]))
        .else_is("text")
        .works("A log line's form"),
    Setting::new(
        Key::StateDir,
        &["MAINSTAY_STATE_DIR"],
        &["stateDir"],
        Kind::Formed("DIR", |text| value::given(text, value::path)),
    )
    .else_is("/var/lib/mainstay")
    .works("Where the last known state is kept across a restart"),
    Setting::new(
        Key::AdminSocket,
        &["MAINSTAY_ADMIN_SOCKET"],
        &["adminSocket"],
        Kind::Formed("PATH", |text| value::given(text, value::path)),
    )
    .else_is("/run/mainstay/agent.sock")
    .works("The Unix socket that `mainstay status` asks"),
    Setting::new(
        Key::OnAuthorityLoss,
        &["MAINSTAY_ON_AUTHORITY_LOSS"],
        &["onAuthorityLoss"],
        Kind::Formed("hold|release_after:DURATION", |text| value::given(text, value::on_authority_loss)),
    )
    .else_is("hold")
    .works("What a holder does when no API server answers; release_after is for strict singletons"),
    Setting::new(
        Key::RestartGrace,
        &["MAINSTAY_RESTART_GRACE"],
        &["restartGrace"],
        Kind::Formed("DURATION", |text| value::given(text, value::restart_grace)),
    )
    .else_is("10m")
    .works("How long the VIP outlives an agent that stops while nobody can succeed it"),
    Setting::new(
        Key::DetectionInterval,
        &["MAINSTAY_DETECTION_INTERVAL"],
        &["detectionInterval"],
        Kind::Formed("DURATION", |text| value::given(text, value::detection_interval)),
    )
    .else_is("100ms")
    .works("Between probes of the holder"),
    Setting::new(
        Key::DetectionMultiplier,
        &["MAINSTAY_DETECTION_MULTIPLIER"],
        &["detectionMultiplier"],
        number("COUNT", 2, 100),
    )
    .else_is("3")
    .works("How many intervals without an answer are silence"),
    Setting::new(
        Key::Witnesses,
        &["MAINSTAY_WITNESSES"],
        &["witnesses"],
        Kind::Formed("IP[,IP]", |text| value::given(text, value::addresses)),
    )
    .works("Neighbours whose answer proves that our own link works [default: the interface's gateways]"),
    Setting::new(
        Key::Record,
        &["MAINSTAY_RECORD"],
        &["record"],
        Kind::Formed("FILE", |text| value::given(text, value::path)),
    )
    .works(
        "Record what the agent is given and decides, for `mainstay replay`, up to 1 GiB; the file of the run before \
         becomes FILE.before",
    ),
    Setting::new(Key::Realtime, &["MAINSTAY_REALTIME"], &["realtime"], Kind::Switch).else_is("false").works(
        "Announce and probe in real time, with memory that is never paged out, so that a busy host does not look dead; \
         needs CAP_SYS_NICE and CAP_IPC_LOCK, which the manifests then have",
    ),
];
