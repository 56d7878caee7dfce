//! Who may depend on whom: the table in ARCHITECTURE.md against what cargo says.

use std::collections::BTreeMap;

use super::Complaint;
use super::metadata::{Package, Workspace};
use super::tree::Tree;

const RULE: &str = "arrows";
const TABLE: &str = "ARCHITECTURE.md";
const HEADER: &str = "| uses →";

/// Columns that stand for crates of others.
const OTHERS: [(&str, &[&str]); 3] = [
    ("tokio", &["tokio"]),
    ("kube-rs", &["kube", "kube-client", "kube-core", "kube-runtime", "k8s-openapi"]),
    (
        "netlink",
        &["rtnetlink", "netlink-proto", "netlink-sys", "netlink-packet-core", "netlink-packet-route"],
    ),
];

/// What a cell of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrow {
    /// `–`: the crate itself.
    Itself,
    /// May depend on it.
    Yes,
    /// May depend on it with a feature only.
    Optional,
    /// Its tests may depend on it.
    Tests,
    /// Comes to depend on it through another crate, and may not name it.
    Through,
    /// Must not come to depend on it at all.
    No,
}

impl Arrow {
    fn parse(cell: &str) -> Option<Self> {
        Some(match cell {
            "–" => Self::Itself,
            "yes" => Self::Yes,
            "optional" => Self::Optional,
            "tests" => Self::Tests,
            "through" => Self::Through,
            "no" => Self::No,
            _ => return None,
        })
    }
}

type Table = BTreeMap<String, Vec<(String, Arrow)>>;

/// Compares the two.
pub(crate) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Complaint> {
    let table = match parse(tree.text(TABLE).unwrap_or_default()) {
        Ok(table) => table,
        Err(complaint) => return vec![complaint],
    };
    let ours = workspace.members().filter(|package| package.name != "xtask");
    ours.flat_map(|package| match table.get(&package.name) {
        Some(row) => row.iter().filter_map(|cell| breach(workspace, package, cell)).collect(),
        None => vec![no_row(package)],
    })
    .collect()
}

fn no_row(package: &Package) -> Complaint {
    let breach = format!("the table of arrows has no row for {}", package.name);
    Complaint::new(TABLE, RULE, breach, "add the row, and a decision record for a new crate")
}

fn breach(workspace: &Workspace, package: &Package, (column, arrow): &(String, Arrow)) -> Option<Complaint> {
    let own = [column.as_str()];
    let names = OTHERS.iter().find(|(name, _)| name == column).map_or(&own[..], |(_, names)| names);
    let declared =
        || package.dependencies.iter().filter(|dependency| names.contains(&dependency.name.as_str()));
    let way = || workspace.way(package, names).map(|way| way.join(" → "));
    let only_dev = || declared().any(super::metadata::Dependency::is_dev).then(|| "in its tests".to_owned());
    let (found, said) = match arrow {
        Arrow::Itself | Arrow::Yes => return None,
        Arrow::Optional => {
            (declared().any(|d| !d.optional && !d.is_dev()).then(|| "always".to_owned()), "optional")
        }
        Arrow::Tests => (way(), "tests"),
        Arrow::Through => (declared().next().map(|_| "by name".to_owned()), "through"),
        Arrow::No => (way().or_else(only_dev), "no"),
    };
    let breach =
        format!("{} depends on {column} ({}), the table in {TABLE} says \"{said}\"", package.name, found?);
    Some(Complaint::new(
        workspace.manifest(package),
        RULE,
        breach,
        "remove the dependency; what needs it belongs in another crate",
    ))
}

fn parse(text: &str) -> Result<Table, Complaint> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(HEADER));
    let header = cells(lines.next().ok_or_else(|| unreadable("it has no table of arrows"))?);
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| parse_row(&header, &cells(line))).collect()
}

fn parse_row(header: &[&str], row: &[&str]) -> Result<(String, Vec<(String, Arrow)>), Complaint> {
    let name = package_name(row.first().unwrap_or(&""));
    if row.len() != header.len() {
        return Err(unreadable(&format!("the row of {name} has {} cells of {}", row.len(), header.len())));
    }
    let arrows = header.iter().zip(row).skip(1).map(|(column, cell)| {
        let arrow = Arrow::parse(cell).ok_or_else(|| unreadable(&format!("{name}: what is \"{cell}\"?")))?;
        Ok((package_name(column), arrow))
    });
    Ok((name.clone(), arrows.collect::<Result<_, _>>()?))
}

fn unreadable(breach: &str) -> Complaint {
    let remedy = format!(
        "write a table that begins with \"{HEADER}\" and says yes, no, optional, tests, through or –"
    );
    Complaint::new(TABLE, RULE, breach, remedy)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// `core` is `mainstay-core`, `cli` is `mainstay`; crates of others have their own names.
fn package_name(name: &str) -> String {
    match name {
        "cli" => "mainstay".to_owned(),
        other if OTHERS.iter().any(|(name, _)| *name == other) => other.to_owned(),
        other => format!("mainstay-{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata::fixture;
    use super::*;

    fn said(cell: &str, dependencies: &[&str]) -> Vec<String> {
        let table =
            format!("# x\n\n| uses → | core | tokio |\n|---|---|---|\n| core | – | {cell} |\n\nend\n");
        let tree = Tree::from([("ARCHITECTURE.md", table.as_str())]);
        let members: [(&str, &[&str], &[&str]); 3] = [
            ("mainstay-core", dependencies, &["lib core/src/lib.rs"]),
            ("middle", &["tokio"], &[]),
            ("tokio", &[], &[]),
        ];
        check(&tree, &fixture(&members)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_forbidden_arrow_is_named_with_its_way() {
        let complaint = "mainstay-core/Cargo.toml: arrows: mainstay-core depends on tokio (mainstay-core → middle → \
                         tokio), the table in ARCHITECTURE.md says \"no\"; remove the dependency; what needs it \
                         belongs in another crate";
        assert_eq!(said("no", &["middle"]), [complaint]);
    }

    #[test]
    fn each_word_of_the_table_forbids_what_it_says() {
        let cases: [(&str, &[&str], usize); 13] = [
            ("yes", &["tokio"], 0),
            ("no", &[], 0),
            ("no", &["tokio"], 1),
            ("no", &["dev:tokio"], 1),
            ("no", &["optional:tokio"], 1),
            ("tests", &["dev:tokio"], 0),
            ("tests", &["tokio"], 1),
            ("tests", &["middle"], 1),
            ("optional", &["optional:tokio"], 0),
            ("optional", &["tokio"], 1),
            ("through", &["middle"], 0),
            ("through", &["middle", "tokio"], 1),
            ("perhaps", &[], 1),
        ];
        for (cell, dependencies, complaints) in cases {
            assert_eq!(said(cell, dependencies).len(), complaints, "{cell} {dependencies:?}");
        }
    }

    #[test]
    fn a_crate_without_a_row_and_a_file_without_a_table_are_noticed() {
        let workspace = fixture(&[("mainstay-new", &[], &["lib new/src/lib.rs"])]);
        let table = Tree::from([("ARCHITECTURE.md", "| uses → | core |\n|---|---|\n| core | – |\n")]);
        assert_eq!(check(&table, &workspace).len(), 1);
        assert_eq!(check(&Tree::from([("ARCHITECTURE.md", "no table")]), &workspace).len(), 1);
    }
}
