//! Role-based access control from the Role, ClusterRole, RoleBinding and ClusterRoleBinding objects in the store.
//!
//! After kubernetes `plugin/pkg/auth/authorizer/rbac` and `pkg/apis/rbac/v1/evaluation_helpers.go`: rules only ever
//! allow, a request is allowed as soon as one rule of one role bound to the user covers it, and members of
//! `system:masters` are not asked.

use std::sync::Arc;

use serde_json::{Value, json};

use super::attributes::Attributes;
use super::resource::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use super::store::{Store, Target};
use super::user::UserInfo;

pub(super) mod bootstrap;

#[cfg(test)]
mod tests;

/// Whether `user` may do this.
pub(super) fn allows(store: &Store, user: &UserInfo, attributes: &Attributes) -> bool {
    user.is_administrator() || reason(store, user, attributes).is_some()
}

/// Why `user` may do this by a role, in the words of `SubjectAccessReview`; none where no role allows it.
pub(super) fn reason(store: &Store, user: &UserInfo, attributes: &Attributes) -> Option<String> {
    grants(store, user, &attributes.namespace).into_iter().find_map(|grant| {
        let allows = items(&grant.role["rules"]).iter().any(|rule| covers(rule, attributes));
        allows.then(|| format!("RBAC: allowed by {}", grant.told()))
    })
}

/// A binding that binds the user, and the role it is of.
struct Grant {
    binding: Arc<Value>,
    role: Arc<Value>,
    subject: Value,
}

impl Grant {
    /// `RoleBinding "name/namespace" of Role "name" to User "name"`.
    fn told(&self) -> String {
        let shown = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (metadata, role) = (&self.binding["metadata"], &self.binding["roleRef"]);
        let (kind, name) = match shown(&metadata["namespace"]) {
            namespace if namespace.is_empty() => ("ClusterRoleBinding", shown(&metadata["name"])),
            namespace => ("RoleBinding", format!("{}/{namespace}", shown(&metadata["name"]))),
        };
        let subject = match shown(&self.subject["namespace"]) {
            namespace if namespace.is_empty() => shown(&self.subject["name"]),
            namespace => format!("{}/{namespace}", shown(&self.subject["name"])),
        };
        let (of, named, to) = (shown(&role["kind"]), shown(&role["name"]), shown(&self.subject["kind"]));
        format!("{kind} {name:?} of {of} {named:?} to {to} {subject:?}")
    }
}

/// What binds the user to something in `namespace` (empty: cluster-wide only).
fn grants(store: &Store, user: &UserInfo, namespace: &str) -> Vec<Grant> {
    let cluster = store.of_kind(CLUSTER_ROLE_BINDING, "");
    let local = if namespace.is_empty() { Vec::new() } else { store.of_kind(ROLE_BINDING, namespace) };
    let grant = |binding: Arc<Value>| {
        let subject = subject(&binding, user)?.clone();
        Some(Grant { role: role_of(store, &binding)?, subject, binding })
    };
    cluster.into_iter().chain(local).filter_map(grant).collect()
}

/// Every rule that binds the user to something in `namespace` (empty: cluster-wide only).
pub(super) fn rules_of(store: &Store, user: &UserInfo, namespace: &str) -> Vec<Value> {
    let grants = grants(store, user, namespace);
    grants.iter().flat_map(|grant| items(&grant.role["rules"]).to_vec()).collect()
}

/// The role a binding refers to; a binding to a role that does not exist grants nothing.
pub(super) fn role_of(store: &Store, binding: &Value) -> Option<Arc<Value>> {
    let reference = &binding["roleRef"];
    let name = reference["name"].as_str()?;
    let namespace = binding["metadata"]["namespace"].as_str().unwrap_or_default();
    let target = match reference["kind"].as_str()? {
        "ClusterRole" => Target::new(CLUSTER_ROLE, "", name),
        "Role" if !namespace.is_empty() => Target::new(ROLE, namespace, name),
        _ => return None,
    };
    store.get(&target).ok()
}

/// The one of a binding's subjects that is this user.
fn subject<'a>(binding: &'a Value, user: &UserInfo) -> Option<&'a Value> {
    let own = &binding["metadata"]["namespace"];
    items(&binding["subjects"]).iter().find(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => user.name == name,
            Some("Group") => user.is_in(name),
            Some("ServiceAccount") => {
                let namespace =
                    subject["namespace"].as_str().filter(|given| !given.is_empty()).or(own.as_str());
                namespace
                    .is_some_and(|namespace| user.name == format!("system:serviceaccount:{namespace}:{name}"))
            }
            _ => false,
        }
    })
}

/// Whether one rule allows the request.
fn covers(rule: &Value, attributes: &Attributes) -> bool {
    let has = |field: &str, wanted: &str| lists(&rule[field], "*") || lists(&rule[field], wanted);
    if !has("verbs", &attributes.verb) {
        return false;
    }
    if attributes.resource.is_empty() {
        let path = attributes.path.as_str();
        return texts(&rule["nonResourceURLs"]).any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == pattern,
        });
    }
    let resource = has("resources", &attributes.combined())
        || (!attributes.subresource.is_empty()
            && lists(&rule["resources"], &format!("*/{}", attributes.subresource)));
    let named = items(&rule["resourceNames"]).is_empty() || lists(&rule["resourceNames"], &attributes.name);
    resource && named && has("apiGroups", &attributes.group)
}

/// The rules of a role that `user` does not hold: whoever writes a role or binds one may not hand out more than they
/// have (kubernetes `pkg/registry/rbac/escalation_check.go`).
pub(super) fn not_held(store: &Store, user: &UserInfo, namespace: &str, rules: &[Value]) -> Vec<Value> {
    let held = rules_of(store, user, namespace);
    let single = |rule: &Value| split(rule).iter().all(|one| held.iter().any(|held| includes(held, one)));
    rules.iter().filter(|rule| !user.is_administrator() && !single(rule)).cloned().collect()
}

/// A rule as rules of one verb and one resource (or path) each.
fn split(rule: &Value) -> Vec<Value> {
    let mut single = Vec::new();
    for verb in texts(&rule["verbs"]) {
        for path in texts(&rule["nonResourceURLs"]) {
            single.push(json!({ "verbs": [verb], "nonResourceURLs": [path] }));
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                single.push(json!({
                    "verbs": [verb], "apiGroups": [group], "resources": [resource],
                    "resourceNames": rule["resourceNames"],
                }));
            }
        }
    }
    single
}

/// Whether a held rule grants all that a rule of one verb and one resource does.
fn includes(held: &Value, single: &Value) -> bool {
    let has = |field: &str| {
        texts(&single[field]).all(|wanted| lists(&held[field], "*") || lists(&held[field], wanted))
    };
    let paths = texts(&single["nonResourceURLs"]).all(|wanted| {
        texts(&held["nonResourceURLs"]).any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => wanted.starts_with(prefix),
            None => wanted == pattern,
        })
    });
    let (wanted, held_names) = (items(&single["resourceNames"]), items(&held["resourceNames"]));
    let named =
        held_names.is_empty() || (!wanted.is_empty() && wanted.iter().all(|name| held_names.contains(name)));
    has("verbs") && has("apiGroups") && has("resources") && paths && named
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).iter().filter_map(Value::as_str)
}

fn lists(value: &Value, wanted: &str) -> bool {
    texts(value).any(|one| one == wanted)
}
