//! Which Services are ours.

use super::super::*;
use super::world::{World, name, service};

const OURS: &str = "kube-vip.io/kube-vip-class";

fn verdict(rule: &ClassRule, class: Option<&str>) -> &'static str {
    let asked = Service { class: class.map(str::to_owned), ..service("") };
    let rules = Rules { class: rule.clone(), ..Rules::default() };
    match is_ours(&name("web"), &asked, &rules) {
        Ok(()) => "ours",
        Err(NotOurs::NoClass(_)) => "no class",
        Err(NotOurs::Class { .. }) => "another's",
        Err(other) => panic!("{other}"),
    }
}

/// kube-vip's two filters, case by case (`lbClassFilterLegacy` and `lbClassFilter` in its `pkg/services`).
#[test]
fn classes_are_told_apart_as_kube_vip_does() {
    for (legacy, only, ours, unset, same, other) in [
        (true, false, OURS, "ours", "ours", "another's"),
        (true, true, OURS, "no class", "ours", "another's"),
        (true, false, "", "ours", "another's", "another's"),
        (true, true, "", "no class", "another's", "another's"),
        (false, false, OURS, "no class", "ours", "another's"),
        (false, true, OURS, "no class", "ours", "another's"),
        (false, false, "", "ours", "another's", "another's"),
        (false, true, "", "ours", "another's", "another's"),
    ] {
        let rule = ClassRule { only, name: ours.to_owned(), legacy };
        let got = [None, Some(OURS), Some("example.org/lb")].map(|class| verdict(&rule, class));
        assert_eq!(got, [unset, same, other], "{rule:?}");
    }
    assert_eq!(ClassRule::default(), ClassRule { only: false, name: OURS.to_owned(), legacy: true });
}

#[test]
fn the_first_reason_is_told() {
    let rules = Rules { namespace: Some("prod".to_owned()), ..Rules::default() };
    let is_ours = |text: &str, service: &Service| is_ours(&name(text), service, &rules);
    let another = Service { class: Some("example.org/lb".into()), ..service("") };
    let ignored = Service { ignore: true, ..another.clone() };
    let alias = Service { service_type: ServiceType::ExternalName, ..ignored.clone() };
    assert_eq!(is_ours("prod/web", &service("")), Ok(()));
    assert_eq!(is_ours("test/web", &alias), Err(NotOurs::Type(ServiceType::ExternalName)));
    assert_eq!(is_ours("test/web", &ignored), Err(NotOurs::Namespace("prod".into())));
    assert_eq!(is_ours("prod/web", &ignored), Err(NotOurs::Ignored));
    let class = NotOurs::Class { class: "example.org/lb".into(), ours: OURS.into() };
    assert_eq!(is_ours("prod/web", &another), Err(class));
}

#[test]
fn what_is_not_ours_has_no_claim_and_needs_nothing() {
    let alias = Service { service_type: ServiceType::ClusterIP, ..service("10.0.0.1") };
    let decisions = World::new(&[]).service("web", alias).decide();
    assert_eq!(decisions.not_ours[&name("web")], NotOurs::Type(ServiceType::ClusterIP));
    assert!(decisions.claims.is_empty() && decisions.refused.is_empty() && decisions.grants.is_empty());
}

#[test]
fn the_exclude_label_is_honoured_unless_a_setting_says_otherwise() {
    assert_eq!(Rules::default().exclude_label, ExcludeLabel::Honoured);
    assert_eq!("honoured".parse(), Ok(ExcludeLabel::Honoured));
    assert_eq!("ignored".parse(), Ok(ExcludeLabel::Ignored));
    let error = "false".parse::<ExcludeLabel>().unwrap_err().to_string();
    assert_eq!(error, r#"svc_exclude_label="false" is not understood: write honoured or ignored"#);
}
