use super::*;

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(target) => found.push(target.to_owned()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn resolves(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        // Names have no characters that a pointer escapes.
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    resolves(&document_v2());
    for path in V3.keys() {
        resolves(&document_v3(path));
    }
}

#[test]
fn every_kind_is_found_by_its_group_version_kind() {
    for resource in RESOURCES {
        let document: Value = serde_json::from_str(v3(&group_path(resource)).unwrap()).unwrap();
        let definition = &document["components"]["schemas"][full_name(&name_of(resource))];
        assert_eq!(definition["x-kubernetes-group-version-kind"], json!([kind_of(resource)]));
    }
}

#[test]
fn lists_say_how_they_are_merged() {
    let document = document_v2();
    let ports = &document["definitions"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    let volumes = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
}

#[test]
fn the_root_names_every_document() {
    let root = v3_root();
    for resource in RESOURCES {
        let url = root["paths"][group_path(resource)]["serverRelativeURL"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("/openapi/v3/{}?hash=", group_path(resource))), "{url}");
    }
    assert!(
        v3("apis/none/v1").is_none() && v2().contains("\"swagger\":\"2.0\"") && v2_protobuf().len() > 10_000
    );
}
