//! What to ask: some three hundred requests, for everything that an agent, `kubectl` or client-go lives by.

use serde_json::{Value, json};

use super::{Step, User};

mod access;
mod applies;
mod changes;
mod kinds;
mod leases;
mod lists;

/// The namespace of everything here.
const NAMESPACE: &str = "transcript";
/// Its Leases.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/transcript/leases";
/// Its objects of the core group.
const CORE: &str = "/api/v1/namespaces/transcript";

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// The whole script, in order.
#[must_use]
pub fn all() -> Vec<Step> {
    let mut script = Script(Vec::new());
    access::namespaces(&mut script);
    leases::all(&mut script);
    applies::all(&mut script);
    lists::all(&mut script);
    kinds::all(&mut script);
    changes::all(&mut script);
    access::all(&mut script);
    access::the_end(&mut script);
    script.0
}

/// A script in the making.
struct Script(Vec<Step>);

impl Script {
    fn push(&mut self, name: &str, method: &str, path: &str) -> &mut Step {
        self.0.push(Step {
            step: name.to_owned(),
            user: User::Admin,
            method: method.to_owned(),
            path: path.to_owned(),
            media: String::new(),
            accept: String::new(),
            body: Value::Null,
            events: 0,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn get(&mut self, name: &str, path: &str) -> &mut Step {
        self.push(name, "GET", path)
    }

    fn table(&mut self, name: &str, path: &str) {
        self.push(name, "GET", path).accept = TABLE.to_owned();
    }

    fn create(&mut self, name: &str, path: &str, body: Value) -> &mut Step {
        self.send(name, "POST", path, (JSON, body))
    }

    fn update(&mut self, name: &str, path: &str, body: Value) -> &mut Step {
        self.send(name, "PUT", path, (JSON, body))
    }

    fn merge(&mut self, name: &str, path: &str, body: Value) -> &mut Step {
        self.send(name, "PATCH", path, (MERGE, body))
    }

    fn strategic(&mut self, name: &str, path: &str, body: Value) -> &mut Step {
        self.send(name, "PATCH", path, (STRATEGIC, body))
    }

    fn delete(&mut self, name: &str, path: &str, options: Value) -> &mut Step {
        self.send(name, "DELETE", path, (JSON, options))
    }

    fn watch(&mut self, name: &str, path: &str, events: usize) -> &mut Step {
        let step = self.push(name, "WATCH", path);
        step.events = events;
        step
    }

    fn send(&mut self, name: &str, method: &str, path: &str, (media, body): (&str, Value)) -> &mut Step {
        let step = self.push(name, method, path);
        (step.media, step.body) = (media.to_owned(), body);
        step
    }
}

/// A Lease of this name and holder.
fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:04:05.000000Z",
        },
    })
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// `object` with `more` in its metadata.
fn with_metadata(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        object["metadata"][name] = value.clone();
    }
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let steps = all();
        let names: BTreeSet<&str> = steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(names.len(), steps.len());
        assert!(steps.len() > 100, "{}", steps.len());
    }
}
