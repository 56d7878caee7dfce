//! The files of the workspace, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// Every file by its path from the root, with `/` between names. Only Rust, Markdown and TOML files have their text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads the tree at `root`, build products and hidden directories aside.
    ///
    /// # Errors
    ///
    /// When a directory or a text cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        Ok(tree)
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> anyhow::Result<()> {
        for entry in
            fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if !entry.file_type()?.is_dir() {
                self.0.insert(path, text(&entry.path())?);
            } else if name != "target" && name != ".git" {
                self.read_directory(&entry.path(), &format!("{path}/"))?;
            }
        }
        Ok(())
    }

    /// A file's text; empty for a file that is none of the three kinds.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a directory with something in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty() || self.0.contains_key(path) || self.0.keys().any(|file| file.starts_with(&inside))
    }

    /// Files under `prefix` whose names end in `suffix`, with their texts.
    pub(crate) fn files(&self, prefix: &str, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(move |(path, _)| path.starts_with(prefix) && path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    let readable =
        path.extension().is_some_and(|extension| ["rs", "md", "toml"].iter().any(|e| extension == *e));
    if !readable {
        return Ok(String::new());
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `path` seen from `directory` (both from the root), with `.` and `..` worked out. `None` when it leaves the root.
pub(crate) fn join(directory: &str, path: &str) -> Option<String> {
    let mut names: Vec<&str> = directory.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => _ = names.pop()?,
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

/// The directory that a file lies in; empty for the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_paths() {
        assert_eq!(join("docs/decisions", "../ownership.md").as_deref(), Some("docs/ownership.md"));
        assert_eq!(join("", "./docs/").as_deref(), Some("docs"));
        assert_eq!(join("docs", "../../outside.md"), None);
    }
}
