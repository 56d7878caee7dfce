//! Whatever stands in an object, it comes to a reading.

use mainstay_core::intent::Reading;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::one;
use crate::convert;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["::", "0.0.0.0", "true", "Local", "FQDN", "a/b", "65536", "192.0.2.1,"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// Every place of an object, as JSON pointers.
fn places(object: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    let below: Vec<(String, &Value)> = match object {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    below.into_iter().for_each(|(key, value)| places(value, &format!("{here}/{key}"), all));
}

/// A reading is a value with its key, or has a problem of one line; it never is nothing.
fn check<K: std::fmt::Debug, T: std::fmt::Debug>(reading: Reading<K, T>) {
    let said = format!("{reading:?}");
    assert!(reading.value.is_none() || reading.key.is_some(), "{said}");
    assert!(reading.value.is_some() || reading.problems.len() == 1, "{said}");
    assert!(reading.problems.iter().all(|problem| !problem.to_string().contains('\n')), "{said}");
}

proptest! {
    #[test]
    fn whatever_stands_in_an_object_it_comes_to_a_reading(
        file in prop::sample::select(vec!["plain", "every-annotation", "slice-ending", "endpoints", "node-new"]),
        place: prop::sample::Index,
        value in any_json(),
    ) {
        let mut object = one(file);
        let mut all = vec![];
        places(&object, "", &mut all);
        *object.pointer_mut(&all[place.index(all.len())]).expect("a place of it") = value;
        check(convert::service(&object));
        check(convert::endpoint_slice(&object));
        check(convert::endpoints(&object));
        check(convert::node(&object));
    }
}
