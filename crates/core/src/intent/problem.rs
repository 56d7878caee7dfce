//! What is wrong with an object that was read: typed, so that it can be told on the object itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of objects that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Endpoints, the older kind (`enable_endpoints`).
    Endpoints,
    /// `v1` Node.
    Node,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Node => "Node",
        })
    }
}

/// One thing that is wrong with one object, or with a list of them. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[error("{kind} {}: {flaw}", .name.as_deref().unwrap_or("(without a name)"))]
pub struct Problem {
    /// What it is.
    pub kind: Kind,
    /// Its name, as `kubectl` takes it with its namespace in front; `None` where it has none.
    pub name: Option<String>,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// The object has no name or no namespace.
    #[error("it has no name and namespace of its own; nothing that was known is given up for it")]
    Nameless,
    /// The object does not have the form of its kind.
    #[error("it cannot be read ({why}); what was known of it stays in force")]
    Unreadable {
        /// What the parser said.
        why: String,
    },
    /// A list that was not empty is empty all of a sudden.
    #[error(
        "the list is empty, and {known} were known; they stay in force until a second reading says the same"
    )]
    EmptyList {
        /// How many objects were known.
        known: usize,
    },
    /// A field or annotation that the object cannot do without.
    #[error("{field}={value:?} is not understood: write {expected}; what was known of it stays in force")]
    Value {
        /// The field or annotation.
        field: String,
        /// What it says.
        value: String,
        /// What it could say.
        expected: String,
    },
    /// The object lists a part of what there is: an Endpoints object has room for 1,000 addresses.
    #[error(
        "it was truncated, and endpoints are missing from it: unset enable_endpoints, so that slices are read"
    )]
    Truncated,
    /// A field or annotation that the object can do without.
    #[error("{field}={value:?} counts as not set: write {expected}")]
    Remark {
        /// The field or annotation.
        field: String,
        /// What it says.
        value: String,
        /// What it could say.
        expected: String,
    },
}
