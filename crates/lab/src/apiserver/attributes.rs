//! What a request is, for the question whether it is allowed: read off method, path and query alone, so that the answer
//! does not tell whether the thing asked for exists. After kubernetes `apiserver/pkg/endpoints/request/requestinfo.go`.

use http::Method;

use super::account::Asked;
use super::request::{Query, decode};
use super::status::ApiStatus;
use super::user::UserInfo;
use serde_json::json;

/// A request as an authorizer sees it. Empty text where the request names nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) verb: String,
    pub(super) group: String,
    /// Plural; empty for a path that is no resource's.
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) path: String,
}

impl Attributes {
    pub(super) fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
            ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
            _ => {
                let verb = method.as_str().to_lowercase();
                return Self { verb, path: path.to_owned(), ..Self::default() };
            }
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, ..] if !matches!(*plural, "status" | "finalize") => {
                (*namespace, &rest[2..])
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let part = |place: usize| rest.get(place).copied().unwrap_or_default().to_owned();
        let mut attributes = Self {
            verb: verb(method).to_owned(),
            group: group.to_owned(),
            resource: part(0),
            subresource: part(2),
            namespace: namespace.to_owned(),
            name: part(1),
            path: path.to_owned(),
        };
        if attributes.name.is_empty() {
            attributes.become_collection(&Query::parse(query));
        }
        attributes
    }

    /// A request for a collection: another verb, and the name if a field selector asks for just one.
    fn become_collection(&mut self, query: &Query) {
        self.verb = match self.verb.as_str() {
            "get" if query.is_set("watch") => "watch".to_owned(),
            "get" => "list".to_owned(),
            "delete" => "deletecollection".to_owned(),
            _ => return,
        };
        let selected =
            query.text("fieldSelector").split(',').find_map(|part| part.strip_prefix("metadata.name="));
        if let Some(name) = selected {
            self.name = name.trim_start_matches('=').to_owned();
        }
    }

    /// For the account.
    pub(super) fn asked_by(&self, user: &UserInfo, allowed: bool) -> Asked {
        Asked {
            user: user.name.clone(),
            verb: self.verb.clone(),
            group: self.group.clone(),
            resource: self.combined(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            allowed,
        }
    }

    /// `leases` or `nodes/status`, as rules spell a resource.
    pub(super) fn combined(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// 403 as the real server words it, `errors.go` in `endpoints/handlers/responsewriters`.
    pub(super) fn forbidden(&self, user: &UserInfo) -> ApiStatus {
        let (who, verb) = (&user.name, &self.verb);
        if self.resource.is_empty() {
            let message = format!("forbidden: User \"{who}\" cannot {verb} path \"{}\"", self.path);
            let mut refusal = ApiStatus::new(403, "Forbidden", message);
            refusal.details = json!({});
            return refusal;
        }
        let place = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        let what = format!(
            "User \"{who}\" cannot {verb} resource \"{}\" in API group \"{}\" {place}",
            self.combined(),
            self.group
        );
        self.refusal(&what)
    }

    /// A 403 about what the request names, for this reason.
    pub(super) fn refusal(&self, why: &str) -> ApiStatus {
        let qualified = if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        };
        let name = if self.name.is_empty() { String::new() } else { format!(" \"{}\"", self.name) };
        let mut refusal = ApiStatus::new(403, "Forbidden", format!("{qualified}{name} is forbidden: {why}"));
        refusal.details = json!({ "kind": self.resource });
        for (field, value) in [("name", &self.name), ("group", &self.group)] {
            if !value.is_empty() {
                refusal.details[field] = json!(value);
            }
        }
        refusal
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_the_real_server_reads_it() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let table = [
            ("GET", format!("{lease}/a"), "", "get leases kube-system a"),
            ("GET", lease.to_owned(), "", "list leases kube-system "),
            (
                "GET",
                lease.to_owned(),
                "watch=true&fieldSelector=metadata.name%3Da",
                "watch leases kube-system a",
            ),
            ("DELETE", lease.to_owned(), "", "deletecollection leases kube-system "),
            ("POST", lease.to_owned(), "", "create leases kube-system "),
            ("PUT", "/api/v1/nodes/n1/status".to_owned(), "", "update nodes/status  n1"),
            ("GET", "/api/v1/namespaces/x".to_owned(), "", "get namespaces x x"),
            ("PUT", "/api/v1/namespaces/x/finalize".to_owned(), "", "update namespaces/finalize x x"),
            ("GET", "/apis/coordination.k8s.io/v1".to_owned(), "", "get   "),
        ];
        for (method, path, query, expected) in table {
            let seen = Attributes::of(&method.parse().unwrap(), &path, query);
            let shown = format!("{} {} {} {}", seen.verb, seen.combined(), seen.namespace, seen.name);
            assert_eq!(shown, expected, "{method} {path}?{query}");
        }
    }

    #[test]
    fn a_refusal_is_worded_as_the_real_one() {
        let user = UserInfo::authenticated("jane", &[]);
        let told = |method: &str, path: &str| {
            Attributes::of(&method.parse().unwrap(), path, "").forbidden(&user).message
        };
        assert_eq!(
            told("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/a"),
            "leases.coordination.k8s.io \"a\" is forbidden: User \"jane\" cannot get resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"kube-system\""
        );
        assert_eq!(
            told("GET", "/api/v1/nodes"),
            "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        );
        assert_eq!(told("GET", "/metrics"), "forbidden: User \"jane\" cannot get path \"/metrics\"");
    }
}
