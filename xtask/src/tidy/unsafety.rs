//! Where unsafe code may stand: nowhere but in the data plane's own Linux module and in one module of the laboratory.

use super::Complaint;
use super::metadata::{Package, Workspace};
use super::tree::{Tree, parent};

const RULE: &str = "unsafe";
const FORBID: &str = "#![forbid(unsafe_code)]";
const DENY: &str = "#![deny(unsafe_code)]";

/// Finds crate roots that do not forbid unsafe code, and unsafe code where none is allowed.
pub(crate) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Complaint> {
    workspace.members().flat_map(|package| check_package(tree, workspace, package)).collect()
}

fn check_package(tree: &Tree, workspace: &Workspace, package: &Package) -> Vec<Complaint> {
    let roots = workspace.roots(package, |kind| ["lib", "bin", "proc-macro"].contains(&kind));
    let source = format!("{}/src/", parent(&workspace.manifest(package)));
    match package.name.as_str() {
        "mainstay-dataplane" => {
            let allowed = format!("{source}linux");
            let stray = with_unsafe(tree, &source).into_iter().filter(|file| !file.starts_with(&allowed));
            let stray = stray.map(|file| misplaced(&file, "move it to crates/dataplane/src/linux/"));
            unguarded(tree, &roots, DENY).chain(stray).collect()
        }
        "mainstay-lab" if !with_unsafe(tree, &source).is_empty() => {
            let second = with_unsafe(tree, &source).into_iter().skip(1);
            let second =
                second.map(|file| misplaced(&file, "one module of the laboratory may hold it: merge them"));
            unguarded(tree, &roots, DENY).chain(second).collect()
        }
        _ => unguarded(tree, &roots, FORBID).collect(),
    }
}

/// Roots without the attribute. `forbid` is as good as `deny`, and better.
fn unguarded<'a>(
    tree: &'a Tree,
    roots: &[String],
    attribute: &'static str,
) -> impl Iterator<Item = Complaint> + use<'a> {
    let has = |root: &String| {
        let text = tree.text(root).unwrap_or_default();
        text.lines().any(|line| line == attribute || line == FORBID)
    };
    let bare: Vec<_> = roots.iter().filter(|root| !has(root)).cloned().collect();
    bare.into_iter().map(move |root| {
        let breach = format!("the crate root lacks {attribute}");
        Complaint::new(root, RULE, breach, "add the attribute below the file's opening comment")
    })
}

fn misplaced(file: &str, remedy: &str) -> Complaint {
    Complaint::new(file, RULE, "unsafe code stands where none is allowed", remedy)
}

/// Files with an unsafe block, function, trait or implementation.
fn with_unsafe(tree: &Tree, source: &str) -> Vec<String> {
    let forms = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"];
    let code = |text: &str| {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        lines.any(|line| forms.iter().any(|form| line.contains(form)))
    };
    tree.files(source, ".rs").filter(|(_, text)| code(text)).map(|(file, _)| file.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metadata::fixture;
    use super::*;

    fn files(name: &str, tree: &Tree) -> Vec<String> {
        let root = format!("lib {name}/src/lib.rs");
        let workspace = fixture(&[(name, &[], &[&root])]);
        check(tree, &workspace).into_iter().map(|complaint| complaint.file).collect()
    }

    #[test]
    fn a_root_that_does_not_forbid_is_found() {
        let good = Tree::from([("mainstay-core/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n")]);
        let bad = Tree::from([("mainstay-core/src/lib.rs", "//! x\n// #![forbid(unsafe_code)]\n")]);
        assert_eq!(files("mainstay-core", &good), [""; 0]);
        assert_eq!(files("mainstay-core", &bad), ["mainstay-core/src/lib.rs"]);
    }

    #[test]
    fn the_data_plane_has_it_below_linux_only() {
        let tree = Tree::from([
            ("mainstay-dataplane/src/lib.rs", "#![deny(unsafe_code)]\n"),
            ("mainstay-dataplane/src/linux/socket.rs", "unsafe { x() }\n"),
            ("mainstay-dataplane/src/plan.rs", "// unsafe { no }\nlet y = unsafe { x() };\n"),
        ]);
        assert_eq!(files("mainstay-dataplane", &tree), ["mainstay-dataplane/src/plan.rs"]);
    }

    #[test]
    fn the_laboratory_has_it_in_one_file() {
        let tree = Tree::from([
            ("mainstay-lab/src/lib.rs", "#![deny(unsafe_code)]\n"),
            ("mainstay-lab/src/a.rs", "unsafe { x() }\n"),
            ("mainstay-lab/src/b.rs", "unsafe fn x() {}\n"),
        ]);
        assert_eq!(files("mainstay-lab", &tree), ["mainstay-lab/src/b.rs"]);
    }
}
