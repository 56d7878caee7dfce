//! Manifests: YAML files of several objects, as `kubectl create -f` takes them.

use serde_json::Value;

use super::resource;
use super::status::ApiStatus;
use super::store::Store;

/// Why a manifest's objects are not all there.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no YAML.
    #[error("the manifest is no YAML: {0}")]
    Yaml(String),
    /// An object is of a kind the server does not know.
    #[error("the manifest holds a {kind} of {api_version}, which the server does not know")]
    Kind {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
    /// The store refused an object.
    #[error("the manifest's {kind} {name} is refused: {status}")]
    Refused {
        /// `kind`.
        kind: String,
        /// `metadata.name`.
        name: String,
        /// The refusal.
        status: Box<ApiStatus>,
    },
}

/// Creates every object of a manifest, in order.
pub(super) fn create_all(store: &Store, yaml: &str) -> Result<(), ManifestError> {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|wrong| ManifestError::Yaml(wrong.to_string()))?;
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (name, namespace) = (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
        let resource = resource::of_kind(&api_version, &kind);
        let resource = resource.ok_or_else(|| ManifestError::Kind { api_version, kind: kind.clone() })?;
        let created = store.create(resource, &namespace, object);
        created.map_err(|status| ManifestError::Refused { kind, name, status: Box::new(status) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::{CONFIG_MAP, StoreOptions, Target};

    #[test]
    fn every_object_of_a_manifest_is_created() {
        let store = Store::new(StoreOptions::default());
        let one = |name: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{a: \"1\"}}\n"
            )
        };
        create_all(&store, &format!("# why\n{}---\n{}", one("a"), one("b"))).unwrap();
        assert_eq!(store.get(&Target::new(CONFIG_MAP, "default", "b")).unwrap()["data"]["a"], "1");
        assert!(matches!(create_all(&store, &one("a")), Err(ManifestError::Refused { .. })));
        assert!(matches!(
            create_all(&store, "apiVersion: v1\nkind: Secret\n"),
            Err(ManifestError::Kind { .. })
        ));
        assert!(matches!(create_all(&store, "a: [b"), Err(ManifestError::Yaml(_))));
    }
}
