//! Why a setting is refused: one line with the setting, its value and the remedy.

/// A setting that cannot work. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}={value:?}: {problem}; {remedy}")]
pub struct Refusal {
    /// The setting as it was written: `--port`, or `port` for the environment variable.
    pub setting: String,
    /// What it was set to.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// What is wrong with a value, before it is known whose value it is.
#[derive(Debug)]
pub struct Fault {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}
