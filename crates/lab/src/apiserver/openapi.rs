//! OpenAPI, made from the shapes of the kinds: version 2 (JSON and protobuf) and version 3, as kubectl reads them for
//! `explain`, `apply` and validation.
//!
//! The definitions are whole. Of the paths there is what clients look for: PATCH with `dryRun` and `fieldValidation`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::resource::{RESOURCES, Resource};
use super::schema::{Field, Kind, Type, name_of, types};

mod protobuf;
#[cfg(test)]
mod tests;

/// Parameters of PATCH that tell a client what the server can do.
const PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

/// Which of the two versions a definition is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Two,
    Three,
}

/// `/openapi/v2`.
pub(super) fn v2() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| document_v2().to_string());
    &TEXT
}

/// `/openapi/v2` in protobuf, the only form that older clients ask for.
pub(super) fn v2_protobuf() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| protobuf::document(&document_v2()));
    &BYTES
}

/// `/openapi/v3`: where the document of each group version is.
pub(super) fn v3_root() -> Value {
    let paths = V3.iter().map(|(path, text)| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let url = format!("/openapi/v3/{path}?hash={:016X}", hasher.finish());
        (path.clone(), json!({ "serverRelativeURL": url }))
    });
    json!({ "paths": paths.collect::<Map<_, _>>() })
}

/// `/openapi/v3/api/v1` and the others, by what follows `/openapi/v3/`.
pub(super) fn v3(path: &str) -> Option<&'static str> {
    V3.get(path).map(String::as_str)
}

static V3: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let paths: BTreeSet<String> = RESOURCES.iter().map(group_path).collect();
    paths.into_iter().map(|path| (path.clone(), document_v3(&path).to_string())).collect()
});

/// `api/v1` or `apis/GROUP/v1`.
fn group_path(resource: &Resource) -> String {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", resource.api_version())
}

fn document_v2() -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": "v1.33.0" },
        "paths": paths(RESOURCES.iter()),
        "definitions": definitions(types().keys().cloned().collect(), Version::Two),
    })
}

fn document_v3(path: &str) -> Value {
    let members = || RESOURCES.iter().filter(|resource| group_path(resource) == path);
    let names = closure(members().map(name_of).collect());
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1.33.0" },
        "paths": paths(members()),
        "components": { "schemas": definitions(names, Version::Three) },
    })
}

/// The types that these lead to, and they.
fn closure(mut open: Vec<String>) -> BTreeSet<String> {
    fn struct_of(kind: &Kind) -> Option<&String> {
        match kind {
            Kind::Struct(name) => Some(name),
            Kind::List(inner) | Kind::Map(inner) => struct_of(inner),
            _ => None,
        }
    }
    let mut known = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(of) = types().get(&name).filter(|_| known.insert(name)) else { continue };
        open.extend(of.fields.iter().filter_map(|field| struct_of(&field.kind)).cloned());
    }
    known
}

fn paths<'a>(resources: impl Iterator<Item = &'a Resource>) -> Value {
    let parameter =
        |name: &&str| json!({ "name": name, "in": "query", "type": "string", "uniqueItems": true });
    let parameters: Vec<Value> = PARAMETERS.iter().map(parameter).collect();
    let path = |resource: &Resource| {
        let operation = json!({
            "description": format!("partially update the specified {}", resource.kind),
            "operationId": format!("patch{}", resource.kind),
            "parameters": parameters,
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind_of(resource),
        });
        (format!("{}/{{name}}", resource.path("{namespace}")), json!({ "patch": operation }))
    };
    Value::Object(resources.map(path).collect())
}

fn kind_of(resource: &Resource) -> Value {
    json!({ "group": resource.group, "kind": resource.kind, "version": resource.version })
}

fn definitions(names: BTreeSet<String>, version: Version) -> Value {
    let mut all = Map::new();
    for of in names.iter().filter_map(|name| types().get(name)) {
        all.insert(full_name(&of.name), definition(of, version));
    }
    for (kind, content) in [
        (Kind::Time, json!({ "type": "string", "format": "date-time" })),
        (Kind::MicroTime, json!({ "type": "string", "format": "date-time" })),
        (Kind::Quantity, json!({ "type": "string" })),
        (Kind::IntOrString, json!({ "type": "string", "format": "int-or-string" })),
        (Kind::Fields, json!({ "type": "object" })),
    ] {
        if let Some(name) = named_scalar(&kind) {
            all.insert(name.to_owned(), content);
        }
    }
    Value::Object(all)
}

/// `io.k8s.api.core.v1.Service`, as upstream names its Go packages.
fn full_name(name: &str) -> String {
    match name.strip_prefix("meta.") {
        Some(rest) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
        None => format!("io.k8s.api.{name}"),
    }
}

fn named_scalar(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Time => Some("io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
        Kind::MicroTime => Some("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"),
        Kind::Fields => Some("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"),
        Kind::Quantity => Some("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        Kind::IntOrString => Some("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
        _ => None,
    }
}

fn definition(of: &Type, version: Version) -> Value {
    let mut properties: Map<String, Value> =
        of.fields.iter().map(|field| (field.name.clone(), property(field, version))).collect();
    if of.is_object {
        properties.insert(
            "apiVersion".to_owned(),
            json!({ "type": "string", "description": "The version of this form of the object." }),
        );
        properties.insert(
            "kind".to_owned(),
            json!({ "type": "string", "description": "What kind of object this is." }),
        );
    }
    let mut definition = json!({ "type": "object", "properties": properties });
    if !of.about.is_empty() {
        definition["description"] = json!(of.about);
    }
    let required: Vec<&str> =
        of.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    if !required.is_empty() {
        definition["required"] = json!(required);
    }
    if of.atomic {
        definition["x-kubernetes-map-type"] = json!("atomic");
    }
    let served: Vec<Value> =
        RESOURCES.iter().filter(|resource| name_of(resource) == of.name).map(kind_of).collect();
    if !served.is_empty() {
        definition["x-kubernetes-group-version-kind"] = json!(served);
    }
    definition
}

fn property(field: &Field, version: Version) -> Value {
    let mut property = schema(&field.kind, version);
    if property.get("$ref").is_some() && version == Version::Three {
        // Beside a reference nothing else is read.
        property = json!({ "allOf": [property] });
    }
    if !field.about.is_empty() {
        property["description"] = json!(field.about);
    }
    let strategies: Vec<&str> =
        [field.merge.as_ref().map(|_| "merge"), field.retain_keys.then_some("retainKeys")]
            .into_iter()
            .flatten()
            .collect();
    if !strategies.is_empty() {
        property["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
    }
    if let Some(key) = field.merge.as_ref().filter(|key| !key.is_empty()) {
        property["x-kubernetes-patch-merge-key"] = json!(key);
    }
    match (&field.kind, field) {
        (Kind::List(_), Field { atomic: true, .. }) => property["x-kubernetes-list-type"] = json!("atomic"),
        (Kind::List(_), Field { set: true, .. }) => property["x-kubernetes-list-type"] = json!("set"),
        (Kind::List(_), Field { keys, .. }) if !keys.is_empty() => {
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(keys);
        }
        (_, Field { atomic: true, .. }) => property["x-kubernetes-map-type"] = json!("atomic"),
        _ => {}
    }
    property
}

fn schema(kind: &Kind, version: Version) -> Value {
    let root = match version {
        Version::Two => "#/definitions/",
        Version::Three => "#/components/schemas/",
    };
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Int64 => json!({ "type": "integer", "format": "int64" }),
        Kind::Struct(name) => json!({ "$ref": format!("{root}{}", full_name(name)) }),
        Kind::List(inner) => json!({ "type": "array", "items": schema(inner, version) }),
        Kind::Map(inner) => json!({ "type": "object", "additionalProperties": schema(inner, version) }),
        named => json!({ "$ref": format!("{root}{}", named_scalar(named).unwrap_or_default()) }),
    }
}
