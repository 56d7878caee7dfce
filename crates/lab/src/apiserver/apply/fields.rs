//! Sets of field paths, and their form in `managedFields`: FieldsV1, as kubernetes structured-merge-diff writes it
//! (`fieldpath/serialize.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// One step of a path. Values are kept as JSON text: they are compared and written, never computed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field, or an entry of a map.
    Field(String),
    /// An element of a list of objects, by its key fields in order of their names.
    Key(Vec<(String, String)>),
    /// An element of a set.
    Value(String),
}

impl Step {
    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Key(fields) => {
                let parts = fields.iter().map(|(name, value)| format!("{}:{value}", json!(name)));
                format!("k:{{{}}}", parts.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "v" => Some(Self::Value(serde_json::from_str::<Value>(rest).ok()?.to_string())),
            "k" => {
                let fields: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::Key(fields.into_iter().map(|(name, value)| (name, value.to_string())).collect()))
            }
            _ => None,
        }
    }
}

/// A path from the root of an object.
pub(super) type Path = Vec<Step>;

/// The path as messages have it: `.spec.ports[port=80,protocol="TCP"].nodePort`.
pub(super) fn shown(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        // A String takes every write.
        let _ = match step {
            Step::Field(name) => write!(text, ".{name}"),
            Step::Value(value) => write!(text, "[={value}]"),
            Step::Key(fields) => {
                let parts: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(text, "[{}]", parts.join(","))
            }
        };
    }
    text
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(pub(super) BTreeSet<Path>);

impl FieldSet {
    /// Whether the path or something below it is in the set.
    pub(super) fn reaches(&self, path: &[Step]) -> bool {
        self.0.range(path.to_vec()..).next().is_some_and(|found| found.starts_with(path))
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    pub(super) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// FieldsV1: a tree, with `.` where a path that others pass through is a member itself.
    pub(super) fn to_json(&self) -> Value {
        let mut root = Map::new();
        for path in &self.0 {
            let passes = self.0.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
            let mut node = &mut root;
            for step in path {
                let slot = node.entry(step.written()).or_insert_with(|| json!({}));
                let Value::Object(inner) = slot else { unreachable!("every node is made an object") };
                node = inner;
            }
            if passes {
                node.insert(".".to_owned(), json!({}));
            }
        }
        Value::Object(root)
    }

    /// Reads FieldsV1; none for what is not.
    pub(super) fn from_json(tree: &Value) -> Option<Self> {
        let mut set = Self::default();
        set.read(tree.as_object()?, &mut Vec::new())?;
        Some(set)
    }

    fn read(&mut self, node: &Map<String, Value>, path: &mut Path) -> Option<()> {
        for (name, below) in node {
            if name == "." {
                self.0.insert(path.clone());
                continue;
            }
            let below = below.as_object()?;
            path.push(Step::read(name)?);
            if below.is_empty() {
                self.0.insert(path.clone());
            }
            self.read(below, path)?;
            path.pop();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_and_read_back() {
        let tree = json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} }, "f:finalizers": { "v:\"a.b/c\"": {} } },
            "f:spec": { "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {} } } },
        });
        let set = FieldSet::from_json(&tree).unwrap();
        assert_eq!(set.to_json(), tree);
        let shown: Vec<String> = set.0.iter().map(|path| shown(path)).collect();
        assert!(shown.contains(&".spec.ports[port=80,protocol=\"TCP\"].port".to_owned()), "{shown:?}");
        assert!(shown.contains(&".metadata.finalizers[=\"a.b/c\"]".to_owned()), "{shown:?}");
        assert_eq!(FieldSet::from_json(&json!({ "x:a": {} })), None);
    }

    #[test]
    fn a_set_reaches_what_lies_on_the_way_to_its_members() {
        let set = FieldSet::from_json(&json!({ "f:a": { "f:b": {} } })).unwrap();
        let at = |names: &[&str]| names.iter().map(|name| Step::Field((*name).to_owned())).collect::<Path>();
        assert!(set.reaches(&at(&["a"])) && set.reaches(&at(&["a", "b"])));
        assert!(!set.reaches(&at(&["b"])) && !set.reaches(&at(&["a", "b", "c"])));
    }
}
