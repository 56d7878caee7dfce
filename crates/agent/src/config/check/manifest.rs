//! Finds the containers of a manifest, and what each is given.

use serde_json::{Map, Value};

/// What is of interest in an object of a manifest.
#[derive(Debug)]
pub(super) enum Part {
    /// A container that runs kube-vip or Mainstay.
    Container(Container),
    /// An object without settings, by kind and name.
    Other(String),
}

/// A container's settings as the manifest has them.
#[derive(Debug)]
pub(super) struct Container {
    /// `Pod kube-system/kube-vip, container kube-vip`.
    pub(super) name: String,
    /// The environment in its order.
    pub(super) environment: Vec<(String, Written)>,
    /// The arguments, those of `command` after the program included.
    pub(super) arguments: Vec<String>,
    /// Whole maps of variables that are elsewhere: `ConfigMap kube-vip`.
    pub(super) elsewhere: Vec<String>,
    /// What Kubernetes would refuse: values that are no texts.
    pub(super) problems: Vec<String>,
}

/// A variable's value.
#[derive(Debug)]
pub(super) enum Written {
    /// As written.
    Here(String),
    /// As written, but for the `$(NAME)` in it, which the kubelet replaces by another variable's value.
    Composed(String),
    /// Known only where the Pod runs: `the Pod's field spec.nodeName`.
    There(String),
}

/// The parts of an object.
pub(super) fn parts(object: &Map<String, Value>) -> Vec<Part> {
    if let Some(items) = object.get("items").and_then(Value::as_array) {
        return items.iter().filter_map(Value::as_object).flat_map(parts).collect();
    }
    let name = object_name(object);
    let containers: Vec<_> = containers(object).collect();
    let alone = containers.len() == 1;
    let ours =
        containers.into_iter().filter(|container| (alone || is_ours(container)) && !is_cousin(container));
    let parts: Vec<_> = ours.map(|found| Part::Container(container(&name, found))).collect();
    if parts.is_empty() { vec![Part::Other(name)] } else { parts }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn object_name(object: &Map<String, Value>) -> String {
    let field =
        |path: &str| object.get("metadata").map_or_else(String::new, |metadata| text(&metadata[path]));
    let kind = object.get("kind").map(text).unwrap_or_default();
    match field("namespace") {
        namespace if namespace.is_empty() => format!("{kind} {}", field("name")),
        namespace => format!("{kind} {namespace}/{}", field("name")),
    }
}

/// Those of a Pod, or of what makes Pods of a template.
fn containers(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let spec = object.get("spec");
    let template = spec.map(|spec| &spec["template"]["spec"]).filter(|template| template.is_object());
    let containers = template.or(spec).and_then(|spec| spec["containers"].as_array());
    containers.into_iter().flatten()
}

/// Among several containers of a Pod, ours is told by its name or image.
fn is_ours(container: &Value) -> bool {
    let named = |field: &str| {
        let text = text(&container[field]);
        text.contains("kube-vip") || text.contains("mainstay")
    };
    named("name") || named("image")
}

/// kube-vip's cloud provider gives Services their addresses; its settings are others.
fn is_cousin(container: &Value) -> bool {
    ["name", "image"].iter().any(|field| text(&container[*field]).contains("kube-vip-cloud-provider"))
}

/// Kubernetes takes texts alone, and refuses the whole object for one `value: true`.
fn no_texts(environment: &[Value], arguments: &[Value]) -> Vec<String> {
    let is_text = |value: &Value| value.is_null() || value.is_string();
    let values = environment.iter().filter(|entry| !is_text(&entry["value"]));
    let values =
        values.map(|entry| format!("env {}: its value is no text; put it in quotes", text(&entry["name"])));
    let arguments = arguments.iter().enumerate().filter(|(_, argument)| !is_text(argument));
    let arguments =
        arguments.map(|(index, _)| format!("argument {}: it is no text; put it in quotes", index + 1));
    values.chain(arguments).collect()
}

fn container(object: &str, container: &Value) -> Container {
    let list = |field: &str| container[field].as_array().cloned().unwrap_or_default();
    let arguments: Vec<_> = list("command").into_iter().skip(1).chain(list("args")).collect();
    let environment = list("env");
    Container {
        name: format!("{object}, container {}", text(&container["name"])),
        problems: no_texts(&environment, &arguments),
        environment: environment.iter().map(|entry| (text(&entry["name"]), written(entry))).collect(),
        arguments: arguments.iter().map(scalar).collect(),
        elsewhere: list("envFrom").iter().map(elsewhere).collect(),
    }
}

/// The text of a scalar, although Kubernetes takes texts alone.
fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn written(entry: &Value) -> Written {
    let from = &entry["valueFrom"];
    if !from.is_object() {
        let text = scalar(&entry["value"]);
        return if text.contains("$(") { Written::Composed(text) } else { Written::Here(text) };
    }
    let field = |name: &str| Some(&from[name]).filter(|source| source.is_object());
    let key_of = |kind: &str, reference: &Value| {
        format!("key {} of {kind} {}", text(&reference["key"]), text(&reference["name"]))
    };
    let source = None
        .or_else(|| field("fieldRef").map(|field| format!("the Pod's field {}", text(&field["fieldPath"]))))
        .or_else(|| field("configMapKeyRef").map(|reference| key_of("ConfigMap", reference)))
        .or_else(|| field("secretKeyRef").map(|reference| key_of("Secret", reference)))
        .or_else(|| {
            field("resourceFieldRef").map(|field| format!("the container's {}", text(&field["resource"])))
        });
    Written::There(source.unwrap_or_else(|| "an unknown source".to_owned()))
}

fn elsewhere(source: &Value) -> String {
    let named = |field: &str, kind: &str| {
        source[field]
            .as_object()
            .map(|reference| format!("{kind} {}", reference.get("name").map(text).unwrap_or_default()))
    };
    named("configMapRef", "ConfigMap")
        .or_else(|| named("secretRef", "Secret"))
        .unwrap_or_else(|| "an unknown source".to_owned())
}
