use super::*;
use crate::apiserver::{CONFIG_MAP, SERVICE};

fn manager(name: &str) -> Manager {
    Manager { name: name.to_owned(), subresource: "" }
}

fn applied(resource: &Resource, live: &Value, config: &Value, who: &str) -> Result<Value, ApiStatus> {
    apply(resource, live, config, &manager(who), OnConflict::Refuse)
}

fn empty() -> Value {
    json!({ "metadata": { "name": "a" } })
}

/// What a manager owns, as FieldsV1.
fn owned(object: &Value, who: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .find(|entry| entry["manager"] == who)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn data(entries: Value) -> Value {
    json!({ "metadata": { "name": "a" }, "data": entries })
}

#[test]
fn an_apply_owns_what_it_says() {
    let config = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a", "labels": { "x": "1" } },
        "spec": { "ports": [{ "port": 80, "name": "http" }], "selector": { "app": "x" }, "type": "NodePort" },
    });
    let object = applied(SERVICE, &empty(), &config, "one").unwrap();
    assert_eq!(
        owned(&object, "one"),
        json!({
            "f:metadata": { "f:labels": { "f:x": {} } },
            "f:spec": {
                "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {}, "f:port": {} } },
                "f:selector": {}, "f:type": {},
            },
        })
    );
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!((&entry["operation"], &entry["apiVersion"]), (&json!("Apply"), &json!("v1")));
}

#[test]
fn what_is_no_longer_said_goes_unless_another_says_it() {
    let first = applied(CONFIG_MAP, &empty(), &data(json!({ "a": "1", "b": "1", "c": "1" })), "one").unwrap();
    let both = applied(CONFIG_MAP, &first, &data(json!({ "b": "1" })), "two").unwrap();
    let fewer = applied(CONFIG_MAP, &both, &data(json!({ "c": "1" })), "one").unwrap();
    assert_eq!(fewer["data"], json!({ "b": "1", "c": "1" }));
    assert_eq!(owned(&fewer, "one"), json!({ "f:data": { "f:c": {} } }));
    assert_eq!(owned(&fewer, "two"), json!({ "f:data": { "f:b": {} } }));
}

#[test]
fn another_value_of_anothers_field_is_a_conflict() {
    let first = applied(CONFIG_MAP, &empty(), &data(json!({ "a": "1", "b": "1" })), "one").unwrap();
    let refusal = applied(CONFIG_MAP, &first, &data(json!({ "a": "2" })), "two").unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (409, "Conflict"));
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    assert_eq!(refusal.details["causes"][0]["field"], ".data.a");
    let more = applied(CONFIG_MAP, &first, &data(json!({ "a": "2", "b": "2" })), "two").unwrap_err();
    assert_eq!(more.message, "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b");
    let forced =
        apply(CONFIG_MAP, &first, &data(json!({ "a": "2" })), &manager("two"), OnConflict::Take).unwrap();
    assert_eq!(forced["data"], json!({ "a": "2", "b": "1" }));
    assert_eq!(owned(&forced, "one"), json!({ "f:data": { "f:b": {} } }));
}

#[test]
fn the_same_value_is_shared() {
    let first = applied(CONFIG_MAP, &empty(), &data(json!({ "a": "1" })), "one").unwrap();
    let second = applied(CONFIG_MAP, &first, &data(json!({ "a": "1" })), "two").unwrap();
    assert_eq!(owned(&second, "one"), owned(&second, "two"));
    let again = applied(CONFIG_MAP, &second, &data(json!({ "a": "1" })), "two").unwrap();
    assert_eq!(again, second);
}

#[test]
fn an_update_takes_what_it_changes() {
    let first = applied(CONFIG_MAP, &empty(), &data(json!({ "a": "1", "b": "1" })), "one").unwrap();
    let mut next = first.clone();
    next["data"] = json!({ "a": "2", "n": "1" });
    account(CONFIG_MAP, &first, &mut next, &manager("editor"));
    assert_eq!(owned(&next, "editor"), json!({ "f:data": { "f:a": {}, "f:n": {} } }));
    assert_eq!(owned(&next, "one"), Value::Null);
    let refusal = applied(CONFIG_MAP, &next, &data(json!({ "a": "1" })), "one").unwrap_err();
    assert!(refusal.message.contains("conflict with \"editor\" using v1 at "), "{}", refusal.message);
}

#[test]
fn a_creation_owns_maps_and_elements_with_what_is_in_them() {
    let mut object = json!({
        "metadata": { "name": "a", "labels": { "x": "1" }, "uid": "u", "finalizers": ["f/f"] },
        "spec": { "ports": [{ "port": 80, "protocol": "TCP" }] },
    });
    account(SERVICE, &json!({}), &mut object, &manager("kubectl"));
    assert_eq!(
        owned(&object, "kubectl"),
        json!({
            "f:metadata": { "f:labels": { ".": {}, "f:x": {} }, "f:finalizers": { ".": {}, "v:\"f/f\"": {} } },
            "f:spec": { "f:ports": { ".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {}, "f:protocol": {} } } },
        })
    );
}

#[test]
fn elements_are_merged_by_key_and_removed_by_key() {
    let ports = |ports: Value| json!({ "metadata": { "name": "a" }, "spec": { "ports": ports } });
    let one = ports(json!([{ "port": 80, "protocol": "TCP" }, { "port": 443, "protocol": "TCP" }]));
    let first = applied(SERVICE, &empty(), &one, "one").unwrap();
    let two = ports(json!([{ "port": 80, "protocol": "UDP", "name": "dns" }]));
    let both = applied(SERVICE, &first, &two, "two").unwrap();
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 3);
    let fewer = applied(SERVICE, &both, &ports(json!([{ "port": 443, "protocol": "TCP" }])), "one").unwrap();
    let mut left: Vec<_> = fewer["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (port["port"].clone(), port["protocol"].clone()))
        .collect();
    left.sort_by_key(|(port, _)| port.as_i64());
    assert_eq!(left, [(json!(80), json!("UDP")), (json!(443), json!("TCP"))]);
}

#[test]
fn managed_fields_can_be_forgotten() {
    let first = applied(CONFIG_MAP, &empty(), &data(json!({ "a": "1" })), "one").unwrap();
    let mut next = first.clone();
    next["metadata"]["managedFields"] = json!([{}]);
    account(CONFIG_MAP, &first, &mut next, &manager("editor"));
    assert!(next["metadata"].get("managedFields").is_none());
}
