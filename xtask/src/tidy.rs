//! What the compiler cannot check. Each check is a pure function from the tree to complaints, and has a test that
//! shows it complain.

mod arrows;
mod links;
mod manifests;
mod metadata;
mod modules;
mod tree;
mod unsafety;

use std::fmt;
use std::path::Path;

use metadata::Workspace;
use tree::Tree;

/// One breach: where, of what rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    file: String,
    rule: &'static str,
    breach: String,
    remedy: String,
}

impl Complaint {
    fn new(
        file: impl Into<String>,
        rule: &'static str,
        breach: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), rule, breach: breach.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.file, self.rule, self.breach, self.remedy)
    }
}

/// Every breach in the workspace at `root`, in order of file.
///
/// # Errors
///
/// When the tree cannot be read or `cargo metadata` fails.
pub(crate) fn complaints(root: &Path) -> anyhow::Result<Vec<Complaint>> {
    let tree = Tree::read(root)?;
    let workspace = Workspace::read(root)?;
    let mut complaints = [
        arrows::check(&tree, &workspace),
        links::check(&tree),
        manifests::check_lints(&tree, &workspace),
        manifests::check_bans(&tree),
        manifests::check_reasons(&tree, &workspace),
        modules::check(&tree, &workspace),
        unsafety::check(&tree, &workspace),
    ]
    .concat();
    complaints.sort();
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let complaints = super::complaints(&crate::root().unwrap()).unwrap();
        let text: Vec<_> = complaints.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "\n{}", text.join("\n"));
    }
}
