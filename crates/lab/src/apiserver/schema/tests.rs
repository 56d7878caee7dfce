use super::*;
use crate::apiserver::{POD, RESOURCES, SERVICE};

#[test]
fn every_kind_that_is_served_has_a_shape() {
    for resource in RESOURCES {
        let shape = Place::root(resource).and_then(Place::struct_type);
        assert!(shape.is_some_and(|of| of.is_object && of.field("metadata").is_some()), "{}", resource.kind);
    }
}

#[test]
fn every_name_in_the_table_is_a_type_of_it() {
    fn check(kind: &Kind, at: &str) {
        match kind {
            Kind::Struct(name) => assert!(types().contains_key(name), "{at}: {name} is no type"),
            Kind::List(inner) | Kind::Map(inner) => check(inner, at),
            _ => {}
        }
    }
    for of in types().values() {
        assert!(!of.fields.is_empty(), "{} has no fields", of.name);
        of.fields.iter().for_each(|field| check(&field.kind, &format!("{}.{}", of.name, field.name)));
    }
}

#[test]
fn keys_are_fields_of_the_elements() {
    for field in types().values().flat_map(|of| &of.fields) {
        let Kind::List(element) = &field.kind else { continue };
        let Kind::Struct(element) = &**element else { continue };
        let merge = field.merge.iter().filter(|key| !key.is_empty());
        for key in field.keys.iter().chain(merge) {
            assert!(types()[element].field(key).is_some(), "{}: {element} has no {key}", field.name);
        }
    }
}

#[test]
fn lists_are_merged_as_upstream_marks_say() {
    let at = |resource, path: &str| {
        path.split('.').fold(Place::root(resource).unwrap(), |place, step| {
            if step == "*" { place.element().unwrap() } else { place.member(step).unwrap() }
        })
    };
    let ports = at(SERVICE, "spec.ports");
    assert_eq!(ports.merge_key(), Some("port"));
    assert_eq!(ports.list_rule(), ListRule::Map(&["port".to_owned(), "protocol".to_owned()]));
    assert_eq!(at(SERVICE, "status.conditions").merge_key(), Some("type"));
    assert_eq!(at(SERVICE, "metadata.finalizers").list_rule(), ListRule::Set);
    assert_eq!(at(SERVICE, "spec.externalIPs").list_rule(), ListRule::Atomic);
    assert_eq!(at(POD, "spec.containers.*.env").merge_key(), Some("name"));
    assert_eq!(at(POD, "spec.containers").list_rule(), ListRule::Map(&["name".to_owned()]));
    assert!(at(SERVICE, "spec.selector").is_atomic() && !at(SERVICE, "metadata.labels").is_atomic());
    assert!(at(SERVICE, "metadata.labels.anything").member("x").is_none());
}

#[test]
fn numbers_are_different_within_a_type() {
    for of in types().values() {
        let mut numbers: Vec<u32> =
            of.fields.iter().map(|field| field.number).filter(|number| *number > 0).collect();
        let known = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), known, "{}", of.name);
    }
}
