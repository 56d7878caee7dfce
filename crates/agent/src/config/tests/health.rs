//! What is asked whether the local API server lives.

use super::run;
use crate::config::{Origin, value};

#[test]
fn a_health_check_is_a_url_or_off() {
    let parse = |text| value::health_check(text).ok();
    for off in ["off", "OFF", "Off", "false"] {
        assert_eq!(parse(off), Some(None), "{off}");
    }
    for (text, url) in [
        ("https://127.0.0.1:6443/livez", "https://127.0.0.1:6443/livez"),
        ("https://127.0.0.1:6443/readyz?verbose", "https://127.0.0.1:6443/readyz?verbose"),
        ("https://127.0.0.1:6443", "https://127.0.0.1:6443/livez"),
        ("http://[::1]:8080/", "http://[::1]:8080/livez"),
        ("localhost:6443", "https://localhost:6443/livez"),
        ("127.0.0.1", "https://127.0.0.1:6443/livez"),
    ] {
        assert_eq!(parse(text), Some(Some(url.to_owned())), "{text}");
    }
    for bad in ["none", "disabled", "true", "localhost", "ftp://a/livez"] {
        let refused = run(&[("control_plane_health_check_address", bad)]).unwrap_err().to_string();
        let remedy = "; write a URL such as https://127.0.0.1:6443/livez, or off to ask for nothing";
        assert!(refused.ends_with(remedy), "{refused}");
    }
}

#[test]
fn the_local_api_server_is_asked_by_default_where_a_lease_elects() {
    let in_force = |changes: &[(&str, &str)]| {
        let resolved = run(changes).expect("settings that work");
        let found = resolved.effective.iter().find(|one| one.setting == "control_plane_health_check_address");
        let (shown, origin) = found.map(|one| (one.value.clone(), one.origin)).expect("it is shown");
        assert_eq!(resolved.config.features.health_check.url.as_deref().unwrap_or("off"), shown);
        (shown, origin)
    };
    let lease = ("vip_leaderelection", "true");
    let named = ("control_plane_health_check_address", "https://10.0.0.9");
    let off = ("control_plane_health_check_address", "OFF");
    assert_eq!(
        in_force(&[lease, ("port", "7443")]),
        ("https://127.0.0.1:7443/livez".to_owned(), Origin::Default)
    );
    assert_eq!(in_force(&[]), ("off".to_owned(), Origin::Default));
    assert_eq!(in_force(&[named]), ("https://10.0.0.9/livez".to_owned(), Origin::Environment));
    assert_eq!(in_force(&[lease, off]), ("off".to_owned(), Origin::Environment));
}
