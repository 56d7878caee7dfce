//! Every Rust file belongs to some crate: a file that no `mod` names is never compiled, and so never wrong.

use std::collections::BTreeSet;

use super::Complaint;
use super::metadata::Workspace;
use super::tree::{Tree, join, parent};

/// Finds Rust files in `crates/` and `xtask/` that no target of cargo reaches.
pub(crate) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Complaint> {
    let roots = workspace.members().flat_map(|package| workspace.roots(package, |_| true));
    let mut reached = BTreeSet::new();
    for root in roots {
        reach(tree, &root, Names::Beside, &mut reached);
    }
    let files = tree.files("crates/", ".rs").chain(tree.files("xtask/", ".rs"));
    files.filter(|(path, _)| !reached.contains(*path)).map(|(path, _)| orphan(path)).collect()
}

fn orphan(path: &str) -> Complaint {
    let remedy = "name it with `mod` in its parent's file, or delete it";
    Complaint::new(path, "orphan", "no crate compiles this file", remedy)
}

/// Where a file's modules lie.
#[derive(Clone, Copy)]
enum Names {
    /// In the file's own directory: a crate root's, and those of a `mod.rs`.
    Beside,
    /// In a directory named as the file.
    Below,
}

fn reach(tree: &Tree, file: &str, names: Names, reached: &mut BTreeSet<String>) {
    let Some(text) = tree.text(file) else { return };
    if !reached.insert(file.to_owned()) {
        return;
    }
    let directory = match names {
        Names::Beside => parent(file).to_owned(),
        Names::Below => file.trim_end_matches(".rs").to_owned(),
    };
    for module in modules(text) {
        let (path, names) = match &module {
            Module::Named(name) if tree.has(&format!("{directory}/{name}/mod.rs")) => {
                (join(&directory, &format!("{name}/mod.rs")), Names::Beside)
            }
            Module::Named(name) => (join(&directory, &format!("{name}.rs")), Names::Below),
            Module::At(path) => (join(parent(file), path), Names::Beside),
        };
        if let Some(path) = path {
            reach(tree, &path, names, reached);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Module {
    /// `mod name;`
    Named(String),
    /// `#[path = "..."] mod name;` or `include!("...")`
    At(String),
}

/// The files that a file names, found line by line: rustfmt puts each item on a line of its own.
fn modules(text: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[path") || line.starts_with("include!(") {
            path = line.split('"').nth(1).map(str::to_owned);
        }
        let named = module_name(line).map(str::to_owned);
        if line.starts_with("include!(") || named.is_some() {
            modules.extend(path.take().map(Module::At).or(named.map(Module::Named)));
        }
    }
    modules
}

/// `name` of `mod name;`, whatever its visibility.
fn module_name(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let visibility = before.trim();
    (visibility.is_empty() || visibility.starts_with("pub")).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::super::metadata::fixture;
    use super::*;

    #[test]
    fn an_orphan_is_found_and_reached_files_are_not() {
        let tree = Tree::from([
            ("crates/a/src/lib.rs", "pub mod one;\n#[path = \"odd/place.rs\"]\nmod two;\nmod three;\n"),
            ("crates/a/src/one.rs", "pub(crate) mod deep;\n// mod commented;\n#[cfg(test)]\nmod tests;\n"),
            ("crates/a/src/one/deep.rs", ""),
            ("crates/a/src/one/tests.rs", ""),
            ("crates/a/src/one/commented.rs", ""),
            ("crates/a/src/odd/place.rs", ""),
            ("crates/a/src/three/mod.rs", "mod beside;\ninclude!(\"table.rs\");"),
            ("crates/a/src/three/beside.rs", ""),
            ("crates/a/src/three/table.rs", ""),
            ("crates/a/src/forgotten.rs", ""),
            ("crates/a/tests/run.rs", "mod common;"),
            ("crates/a/tests/common/mod.rs", ""),
        ]);
        let targets: &[&str] = &["lib crates/a/src/lib.rs", "test crates/a/tests/run.rs"];
        let complaints = check(&tree, &fixture(&[("a", &[], targets)]));
        let files: Vec<_> = complaints.iter().map(|complaint| complaint.file.as_str()).collect();
        assert_eq!(files, ["crates/a/src/forgotten.rs", "crates/a/src/one/commented.rs"]);
    }
}
