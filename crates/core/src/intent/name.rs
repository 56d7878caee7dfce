//! The name of an object that lives in a namespace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `NAMESPACE/NAME`, neither of them empty. Ordered by namespace, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName {
    namespace: String,
    name: String,
}

/// A text that names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no object: write NAMESPACE/NAME")]
pub struct ObjectNameError(String);

impl ObjectName {
    /// The object `name` in `namespace`.
    ///
    /// # Errors
    /// One of them is empty or has a `/` in it.
    pub fn new(namespace: &str, name: &str) -> Result<Self, ObjectNameError> {
        let good = |part: &str| !part.is_empty() && !part.contains('/');
        if good(namespace) && good(name) {
            return Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        Err(ObjectNameError(format!("{namespace}/{name}")))
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name within the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object `name` beside this one.
    #[must_use]
    pub(crate) fn beside(&self, name: String) -> Self {
        Self { namespace: self.namespace.clone(), name }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| ObjectNameError(text.to_owned()))?;
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for ObjectName {
    type Error = ObjectNameError;

    fn try_from(text: String) -> Result<Self, ObjectNameError> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.to_string()
    }
}
