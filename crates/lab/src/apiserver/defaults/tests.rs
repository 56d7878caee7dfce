use super::*;

fn filled(resource: &'static Resource, mut object: Value) -> Value {
    fill(resource, &mut object);
    object
}

#[test]
fn a_service_is_filled_in() {
    let object = json!({ "metadata": {}, "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }, { "port": 53, "protocol": "UDP", "targetPort": "dns" }] } });
    let spec = filled(SERVICE, object)["spec"].clone();
    assert_eq!(spec["ports"][0], json!({ "port": 80, "protocol": "TCP", "targetPort": 80 }));
    assert_eq!(spec["ports"][1], json!({ "port": 53, "protocol": "UDP", "targetPort": "dns" }));
    assert_eq!(
        (&spec["externalTrafficPolicy"], &spec["sessionAffinity"]),
        (&json!("Cluster"), &json!("None"))
    );
    let plain = filled(SERVICE, json!({ "metadata": {} }));
    assert_eq!(
        plain["spec"],
        json!({ "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster" })
    );
}

#[test]
fn a_pod_is_filled_in() {
    let pod = filled(
        POD,
        json!({ "metadata": {}, "spec": { "containers": [{ "name": "a", "image": "x/y:1", "ports": [{ "containerPort": 1 }] }] } }),
    );
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        (&container["imagePullPolicy"], &container["ports"][0]["protocol"]),
        (&json!("IfNotPresent"), &json!("TCP"))
    );
    assert!(pod["spec"].get("initContainers").is_none());
}

#[test]
fn a_namespace_is_labelled_with_its_name() {
    let object = filled(NAMESPACE, json!({ "metadata": { "name": "a" } }));
    assert_eq!(object["metadata"]["labels"], json!({ "kubernetes.io/metadata.name": "a" }));
    assert_eq!(object["status"]["phase"], "Active");
}

#[test]
fn what_has_no_lists_gets_none() {
    for resource in [ENDPOINTS, ENDPOINT_SLICE, ROLE_BINDING] {
        let object = filled(resource, json!({ "metadata": {} }));
        assert!(object.as_object().unwrap().values().all(|value| !value.is_array()), "{object}");
    }
}
