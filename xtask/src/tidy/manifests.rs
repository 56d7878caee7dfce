//! Manifests and lint settings: each crate takes the workspace's lints, each `clippy.toml` repeats the root's bans,
//! each dependency has its reason written down.

use std::collections::BTreeSet;

use super::Complaint;
use super::metadata::Workspace;
use super::tree::Tree;

/// Finds crates that do not inherit the workspace's lints.
pub(crate) fn check_lints(tree: &Tree, workspace: &Workspace) -> Vec<Complaint> {
    let manifests = workspace.members().map(|package| workspace.manifest(package));
    let bare = manifests.filter(|manifest| !inherits_lints(tree.text(manifest).unwrap_or_default()));
    let breach = "the crate does not take the workspace's lints";
    bare.map(|manifest| Complaint::new(manifest, "lints", breach, "add [lints] with workspace = true"))
        .collect()
}

fn inherits_lints(manifest: &str) -> bool {
    let section = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    section.take_while(|line| !line.starts_with('[')).any(|line| line.replace(' ', "") == "workspace=true")
}

/// Finds bans of the root's `clippy.toml` that a crate's own leaves out: it replaces the root's.
pub(crate) fn check_bans(tree: &Tree) -> Vec<Complaint> {
    let bans: Vec<_> = banned(tree.text("clippy.toml").unwrap_or_default()).collect();
    let own = tree.files("crates/", "/clippy.toml");
    own.flat_map(|(file, text)| {
        let missing = bans.iter().filter(move |ban| !banned(text).any(|own| own == **ban));
        missing.map(move |ban| lifted(file, ban))
    })
    .collect()
}

fn lifted(file: &str, ban: &str) -> Complaint {
    let breach = format!("{ban} is banned in the root's clippy.toml, which this file replaces");
    Complaint::new(file, "bans", breach, "repeat the ban here")
}

fn banned(settings: &str) -> impl Iterator<Item = &str> {
    settings.lines().filter_map(|line| line.trim().strip_prefix("{ path = \"")?.split('"').next())
}

const REASONS: &str = "docs/dependencies.md";

/// Finds crates of others that no table of `docs/dependencies.md` names.
pub(crate) fn check_reasons(tree: &Tree, workspace: &Workspace) -> Vec<Complaint> {
    let tables = tree.text(REASONS).unwrap_or_default().lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<_> = tables
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(',').map(str::trim))
        .collect();
    let used: BTreeSet<_> =
        workspace.members().flat_map(|package| &package.dependencies).map(|d| &d.name).collect();
    let foreign =
        used.into_iter().filter(|name| !name.starts_with("mainstay-") && !named.contains(name.as_str()));
    foreign.map(|name| unexplained(name)).collect()
}

fn unexplained(name: &str) -> Complaint {
    let breach = format!("the dependency {name} stands in no table");
    Complaint::new(
        REASONS,
        "dependencies",
        breach,
        "say what it is for and what else was looked at, or drop it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::metadata::fixture;
    use super::*;

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let tree = Tree::from([
            (
                "good/Cargo.toml",
                "[package]\nname = \"good\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n",
            ),
            ("bad/Cargo.toml", "[package]\nversion.workspace = true\n[lints]\n[x]\nworkspace = true\n"),
        ]);
        let workspace = fixture(&[("good", &[], &["lib a"]), ("bad", &[], &["lib b"])]);
        let files: Vec<_> =
            check_lints(&tree, &workspace).into_iter().map(|complaint| complaint.file).collect();
        assert_eq!(files, ["bad/Cargo.toml"]);
    }

    #[test]
    fn a_ban_that_is_not_repeated_is_found() {
        let tree = Tree::from([
            (
                "clippy.toml",
                "x = [\n    { path = \"std::a\", reason = \"r\" },\n    { path = \"std::b\" },\n]\n",
            ),
            ("crates/core/clippy.toml", "x = [\n    { path = \"std::b\" },\n    { path = \"std::c\" },\n]\n"),
        ]);
        let breaches: Vec<_> = check_bans(&tree).iter().map(ToString::to_string).collect();
        let complaint = "crates/core/clippy.toml: bans: std::a is banned in the root's clippy.toml, which this file \
                         replaces; repeat the ban here";
        assert_eq!(breaches, [complaint]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let tree = Tree::from([(
            "docs/dependencies.md",
            "tokio\n| crate | why |\n|---|---|\n| hyper, http | x |\n",
        )]);
        let dependencies: &[&str] = &["http", "dev:tokio", "mainstay-core"];
        let workspace = fixture(&[("mainstay-kube", dependencies, &["lib a"]), ("http", &[], &[])]);
        let breaches: Vec<_> = check_reasons(&tree, &workspace).into_iter().map(|c| c.breach).collect();
        assert_eq!(breaches, ["the dependency tokio stands in no table"]);
    }
}
