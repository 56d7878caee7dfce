//! What a reading may take away, and what it may not.

use super::super::*;
use super::world::{World, assigned, complete, name, service};

fn problem() -> Problem {
    Problem {
        kind: Kind::Service,
        name: Some("default/b".into()),
        flaw: Flaw::Unreadable { why: "torn".into() },
    }
}

fn unreadable(text: &str) -> Reading<ObjectName, Service> {
    Reading::unreadable(Some(name(text)), vec![problem()])
}

fn known() -> Known<ObjectName, Service> {
    let mut known = Known::default();
    let both = [(name("a"), service("10.0.0.1")), (name("b"), service("10.0.0.2"))];
    assert_eq!(known.replace(complete(Kind::Service, both)), vec![]);
    known
}

fn names(known: &Known<ObjectName, Service>) -> Vec<String> {
    known.iter().map(|(name, _)| name.name().to_owned()).collect()
}

fn list(extent: Extent, readings: Vec<Reading<ObjectName, Service>>) -> Listing<ObjectName, Service> {
    Listing { kind: Kind::Service, extent, readings }
}

fn a() -> Reading<ObjectName, Service> {
    Reading::read(name("a"), service("10.0.0.9"), vec![])
}

#[test]
fn a_list_takes_away_only_what_it_proves_to_be_gone() {
    let nameless = || Reading::unreadable(None, vec![problem()]);
    for (what, listing, left) in [
        ("a whole list names all there is", list(Extent::Complete, vec![a()]), vec!["a"]),
        ("half a list names what it names", list(Extent::Partial, vec![a()]), vec!["a", "b"]),
        (
            "an object that cannot be read is there",
            list(Extent::Complete, vec![a(), unreadable("b")]),
            vec!["a", "b"],
        ),
        (
            "an object without a name could be any",
            list(Extent::Complete, vec![a(), nameless()]),
            vec!["a", "b"],
        ),
        ("so also when read twice", list(Extent::Confirmed, vec![a(), nameless()]), vec!["a", "b"]),
        ("an empty list is not believed", list(Extent::Complete, vec![]), vec!["a", "b"]),
        ("an empty half of a list says nothing", list(Extent::Partial, vec![]), vec!["a", "b"]),
        ("an empty list that was read twice is", list(Extent::Confirmed, vec![]), vec![]),
    ] {
        let mut known = known();
        known.replace(listing);
        assert_eq!(names(&known), left, "{what}");
    }
}

#[test]
fn what_cannot_be_read_is_told_and_stays_as_it_was() {
    let mut known = known();
    let told = known.replace(list(Extent::Complete, vec![a(), unreadable("b")]));
    assert_eq!(told, vec![problem()]);
    assert_eq!(known.get(&name("b")), Some(&service("10.0.0.2")), "as it was");
    assert_eq!(known.get(&name("a")), Some(&service("10.0.0.9")), "as it is");
    assert_eq!(known.apply(Change::Present(unreadable("b"))), vec![problem()]);
    assert_eq!(known.get(&name("b")), Some(&service("10.0.0.2")));
    assert_eq!(known.apply(Change::Gone(name("b"))), vec![]);
    assert_eq!(names(&known), ["a"], "the API server said so");
}

#[test]
fn an_empty_list_is_told() {
    let mut known = known();
    let told = known.replace(list(Extent::Complete, vec![]));
    let flaw = Flaw::EmptyList { known: 2 };
    assert_eq!(told, vec![Problem { kind: Kind::Service, name: Some("list".into()), flaw }]);
    let mut nothing = Known::default();
    assert_eq!(nothing.replace(list(Extent::Complete, vec![])), vec![], "where nothing was, nothing is lost");
    assert!(nothing.is_listed() && nothing.is_empty());
}

#[test]
fn nothing_is_decided_until_all_was_listed() {
    let mut intent = Intent::default();
    intent.services.replace(list(Extent::Partial, vec![a()]));
    intent.nodes.replace(complete(Kind::Node, []));
    let error = decide(&intent, &crate::ipam::Pools::default(), &Rules::default()).unwrap_err();
    assert_eq!(error.kinds, [Kind::Service, Kind::EndpointSlice]);
    let text = "Service, EndpointSlice not listed yet: wait for the first complete list of each";
    assert_eq!(error.to_string(), text);
    assert!(World::new(&[]).0.complete().is_ok());
}

#[test]
fn a_problem_is_one_line_with_the_object_and_the_remedy() {
    let value = |field: &str, value: &str, expected: &str| Flaw::Value {
        field: field.into(),
        value: value.into(),
        expected: expected.into(),
    };
    let of = |flaw| Problem { kind: Kind::Service, name: Some("default/web".into()), flaw }.to_string();
    assert_eq!(
        of(value("spec.ports[0].port", "0", "a number from 1 to 65535")),
        r#"Service default/web: spec.ports[0].port="0" is not understood: write a number from 1 to 65535; what was known of it stays in force"#
    );
    let nameless = Problem { kind: Kind::Node, name: None, flaw: Flaw::Nameless }.to_string();
    assert!(nameless.starts_with("Node (without a name): it has no name"), "{nameless}");
}

/// A Service that was made anew under its name has nothing of the old one's; and one that can be read in no part but its
/// addresses has those, as long as nothing more is known.
#[test]
fn what_was_made_anew_and_cannot_be_read_has_nothing_of_the_old() {
    let read = |uid: &str| Reading::read(name("b"), service("10.0.0.2"), vec![]).of_uid(Some(uid.into()));
    let torn = |uid: Option<&str>| unreadable("b").of_uid(uid.map(str::to_owned));
    let rest = || Service { unreadable: true, ..assigned("10.0.0.9") };
    let (old, saved) = (Some(service("10.0.0.2")), Some(rest()));
    for (what, before, now, expected) in [
        ("the same", Some(read("1")), torn(Some("1")), old.clone()),
        ("the same, with a rest", Some(read("1")), torn(Some("1")).or_rest(Some(rest())), old.clone()),
        ("another", Some(read("1")), torn(Some("2")), None),
        ("another, with a rest", Some(read("1")), torn(Some("2")).or_rest(Some(rest())), saved.clone()),
        ("it does not say which", Some(read("1")), torn(None).or_rest(Some(rest())), old),
        ("nothing was known", None, torn(Some("1")), None),
        ("nothing was known, with a rest", None, torn(Some("1")).or_rest(Some(rest())), saved),
    ] {
        let mut known = Known::default();
        before.map(|before| known.apply(Change::Present(before)));
        assert_eq!(known.apply(Change::Present(now)), vec![problem()]);
        assert_eq!(known.get(&name("b")).cloned(), expected, "{what}");
    }
    // A rest gives way to a later rest, and to a reading; and a list is no different.
    let mut known = Known::default();
    let with = |address: &str| torn(Some("1")).or_rest(Some(assigned(address)));
    for address in ["10.0.0.8", "10.0.0.9"] {
        known.replace(list(Extent::Complete, vec![with(address)]));
        assert_eq!(known.get(&name("b")), Some(&assigned(address)));
    }
    known.apply(Change::Present(read("1")));
    known.replace(list(Extent::Complete, vec![with("10.0.0.7")]));
    assert_eq!(known.get(&name("b")), Some(&service("10.0.0.2")));
    assert_eq!((known.uid(&name("b")), known.uid(&name("c"))), (Some("1"), None));
}

#[test]
fn what_cannot_be_read_keeps_its_addresses_from_others() {
    let pools = super::world::pools(&[("range-global", "10.0.0.1-10.0.0.2")]);
    let rest = Service { unreadable: true, created: 200, ..assigned("10.0.0.1") };
    let world = World::new(&[]).service("torn", rest).service("web", service(""));
    let decisions = world.decide_with(&pools);
    assert_eq!(decisions.not_ours[&name("torn")], NotOurs::Unreadable);
    assert_eq!(decisions.grants[&name("web")][0].address.to_string(), "10.0.0.2");
}
