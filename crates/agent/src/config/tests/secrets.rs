//! No refusal, warning or report tells a secret.

use super::{environment, host};
use crate::config::table::Key;
use crate::config::{Layer, Layers, Precedence, Warning, check, file, resolve};

#[test]
fn no_refusal_of_a_file_tells_a_secret() {
    for (yaml, problem) in [
        ("{bgp_peerpass: a, peerPass: hunter2}", "it is said twice"),
        ("{bgp_peers: [[hunter2]]}", "neither a text"),
        ("{bgp_peers: [{address: a, password: hunter2}]}", "neither a text"),
        ("{bgp_peers: {'192.0.2.1:65000:hunter2': }}", "neither a text"),
        ("{bgpConfig: {peers: [{address: a, as: 1, password: hunter2}]}}", "there is no such setting"),
        ("{bgpPeerConfig: {password: {x: hunter2}}}", "neither a text"),
        ("{bgp_peerpass: {x: hunter2}}", "neither a text"),
        ("{bgp_peerpas: hunter2}", "there is no such setting"),
        ("{config_file: hunter2}", "a file cannot name another"),
    ] {
        let refused = file::read_text(("config", "f.yaml"), yaml).unwrap_err().to_string();
        assert!(refused.contains(problem) && !refused.contains("hunter"), "{yaml}: {refused}");
        let report = format!("{:?}", check("f.yaml", yaml).expect("a file that can be read"));
        assert!(!report.contains("hunter"), "{yaml}: {report}");
    }
}

#[test]
fn a_difference_between_secrets_does_not_tell_them() {
    let flags = Layer::default().with_flag(Key::BgpPeerPassword, "hunter2");
    let layers = Layers::new(flags, &environment(&[("bgp_peerpass", "hunter3")]));
    let resolved = resolve(layers, Precedence::EnvironmentFirst, &host()).expect("settings that work");
    let difference =
        r#"bgp_peerpass="(secret)" is used and --peerPass="(secret)" is not: set one of them only"#;
    assert!(resolved.warnings.contains(&Warning(difference.into())), "{:?}", resolved.warnings);
    assert!(!format!("{resolved:?}").contains("hunter"));
}
