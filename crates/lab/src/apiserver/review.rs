//! Questions about access, asked by POST and never stored: `kubectl auth can-i`, `kubectl auth whoami`.

use serde_json::{Value, json};

use super::access::Access;
use super::apply::{Manager, account_as};
use super::attributes::Attributes;
use super::decode::blank_of;
use super::rbac;
use super::resource::Scope;
use super::status::ApiStatus;
use super::store::Store;
use super::user::UserInfo;

/// One kind of question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Review {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) scope: Scope,
}

/// Every kind of question.
#[rustfmt::skip]
pub(super) static REVIEWS: &[Review] = &[
    Review { group: "authorization.k8s.io", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", scope: Scope::Cluster },
    Review { group: "authorization.k8s.io", plural: "selfsubjectrulesreviews", kind: "SelfSubjectRulesReview", scope: Scope::Cluster },
    Review { group: "authorization.k8s.io", plural: "subjectaccessreviews", kind: "SubjectAccessReview", scope: Scope::Cluster },
    Review { group: "authorization.k8s.io", plural: "localsubjectaccessreviews", kind: "LocalSubjectAccessReview", scope: Scope::Namespaced },
    Review { group: "authentication.k8s.io", plural: "selfsubjectreviews", kind: "SelfSubjectReview", scope: Scope::Cluster },
    Review { group: "authentication.k8s.io", plural: "tokenreviews", kind: "TokenReview", scope: Scope::Cluster },
];

impl Review {
    /// The full name of its type in the table of shapes.
    pub(super) fn type_name(&self) -> String {
        format!("{}.v1.{}", self.group.split('.').next().unwrap_or_default(), self.kind)
    }
}

/// The kind of question a request asks, if it asks one.
pub(super) fn find(attributes: &Attributes) -> Option<&'static Review> {
    let asked = |review: &&Review| review.group == attributes.group && review.plural == attributes.resource;
    REVIEWS.iter().find(asked).filter(|_| attributes.verb == "create" && attributes.subresource.is_empty())
}

/// Answers the question in `body`, asked by `user` with a client of this name.
///
/// # Errors
/// 400 or 422 for what is no such question.
pub(super) fn answer(
    review: &Review,
    (store, access): (&Store, &Access),
    (user, client): (&UserInfo, &str),
    mut body: Value,
) -> Result<Value, ApiStatus> {
    if !body.is_object() || body.get("kind").is_some_and(|kind| kind != review.kind) {
        return Err(ApiStatus::bad_request(format!("the body is no {}", review.kind)));
    }
    body["kind"] = json!(review.kind);
    body["apiVersion"] = json!(format!("{}/v1", review.group));
    body["metadata"] = json!({ "creationTimestamp": null });
    let manager = Manager { name: client.to_owned(), subresource: "" };
    let (type_name, version) = (review.type_name(), format!("{}/v1", review.group));
    account_as((&type_name, &version), &blank_of(&type_name), &mut body, &manager);
    let spec = body["spec"].clone();
    body["status"] = match review.kind {
        "SelfSubjectReview" => json!({ "userInfo": user.to_json() }),
        "TokenReview" => token_review(access, &spec),
        "SelfSubjectRulesReview" => rules(store, user, &spec)?,
        "SelfSubjectAccessReview" => decision(store, user, &attributes(&spec)?),
        _ => decision(store, &subject(&spec)?, &attributes(&spec)?),
    };
    Ok(body)
}

fn decision(store: &Store, user: &UserInfo, attributes: &Attributes) -> Value {
    let by_role = rbac::reason(store, user, attributes);
    let mut status = json!({ "allowed": user.is_administrator() || by_role.is_some() });
    if let Some(reason) = by_role.filter(|_| !user.is_administrator()) {
        status["reason"] = json!(reason);
    }
    status
}

/// `resourceAttributes` or `nonResourceAttributes`; exactly one of them.
fn attributes(spec: &Value) -> Result<Attributes, ApiStatus> {
    let text = |part: &Value, field: &str| part[field].as_str().unwrap_or_default().to_owned();
    match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
        (Value::Null, Value::Object(_)) => {
            let part = &spec["nonResourceAttributes"];
            Ok(Attributes { verb: text(part, "verb"), path: text(part, "path"), ..Attributes::default() })
        }
        (part @ Value::Object(_), Value::Null) => Ok(Attributes {
            verb: text(part, "verb"),
            group: text(part, "group"),
            resource: text(part, "resource"),
            subresource: text(part, "subresource"),
            namespace: text(part, "namespace"),
            name: text(part, "name"),
            path: String::new(),
        }),
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(ApiStatus::new(422, "Invalid", why))
        }
    }
}

fn subject(spec: &Value) -> Result<UserInfo, ApiStatus> {
    let name = spec["user"].as_str().unwrap_or_default().to_owned();
    let groups: Vec<String> = serde_json::from_value(spec["groups"].clone()).unwrap_or_default();
    if name.is_empty() && groups.is_empty() {
        return Err(ApiStatus::new(422, "Invalid", "at least one of user or group must be specified"));
    }
    Ok(UserInfo { name, groups })
}

fn token_review(access: &Access, spec: &Value) -> Value {
    match access.user_of(spec["token"].as_str().unwrap_or_default()) {
        Some(user) => json!({ "authenticated": true, "user": user.to_json() }),
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    }
}

fn rules(store: &Store, user: &UserInfo, spec: &Value) -> Result<Value, ApiStatus> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiStatus::bad_request("no namespace on request"));
    }
    let mut held = rbac::rules_of(store, user, namespace);
    if user.is_administrator() {
        held = vec![
            json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }),
            json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }),
        ];
    }
    let (paths, resources): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|rule| rule.get("nonResourceURLs").is_some());
    Ok(json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::StoreOptions;

    fn ask(kind: &str, user: &UserInfo, spec: Value) -> Result<Value, ApiStatus> {
        let store = Store::new(StoreOptions::default());
        rbac::bootstrap::fill(&store);
        let review = REVIEWS.iter().find(|review| review.kind == kind).unwrap();
        let access = Access::of(vec!["secret".to_owned()]);
        answer(review, (&store, &access), (user, "test"), json!({ "spec": spec }))
            .map(|body| body["status"].clone())
    }

    #[test]
    fn can_i_is_answered_by_the_rules() {
        let jane = UserInfo::authenticated("jane", &[]);
        let pods =
            json!({ "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": "default" } });
        let health = json!({ "nonResourceAttributes": { "verb": "get", "path": "/readyz" } });
        assert_eq!(ask("SelfSubjectAccessReview", &jane, pods.clone()).unwrap()["allowed"], false);
        assert_eq!(ask("SelfSubjectAccessReview", &jane, health).unwrap()["allowed"], true);
        assert_eq!(ask("SelfSubjectAccessReview", &jane, json!({})).unwrap_err().code, 422);
        let mut other = pods;
        other["groups"] = json!(["system:masters"]);
        assert_eq!(ask("SubjectAccessReview", &jane, other).unwrap()["allowed"], true);
    }

    #[test]
    fn who_am_i_and_whose_is_this_token() {
        let jane = UserInfo::authenticated("jane", &["ops"]);
        assert_eq!(ask("SelfSubjectReview", &jane, json!({})).unwrap()["userInfo"]["username"], "jane");
        assert_eq!(ask("TokenReview", &jane, json!({ "token": "secret" })).unwrap()["authenticated"], true);
        assert!(
            ask("TokenReview", &jane, json!({ "token": "other" })).unwrap().get("authenticated").is_none()
        );
    }

    #[test]
    fn the_rules_are_listed() {
        let root = ask(
            "SelfSubjectRulesReview",
            &UserInfo::administrator("root"),
            json!({ "namespace": "default" }),
        );
        assert_eq!(root.unwrap()["resourceRules"][0]["verbs"], json!(["*"]));
        let jane = ask(
            "SelfSubjectRulesReview",
            &UserInfo::authenticated("jane", &[]),
            json!({ "namespace": "default" }),
        );
        assert_eq!(jane.unwrap()["resourceRules"].as_array().unwrap().len(), 2);
    }
}
