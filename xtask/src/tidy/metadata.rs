//! What cargo knows of the workspace: packages, targets, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The workspace as `cargo metadata` prints it, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Workspace {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    workspace_root: String,
    resolve: Resolve,
}

/// One package.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    /// Its name.
    pub(crate) name: String,
    manifest_path: String,
    /// What it declares that it depends on.
    pub(crate) dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

/// One declared dependency.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package depended on.
    pub(crate) name: String,
    kind: Option<String>,
    /// Only with a feature.
    pub(crate) optional: bool,
}

impl Dependency {
    /// Whether only tests, examples and benchmarks see it.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Clone, Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Clone, Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Workspace {
    /// Asks cargo, without touching the network: whatever a build for this host needed is there already.
    ///
    /// # Errors
    ///
    /// When cargo or rustc cannot be run, or print something else than they used to.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let host = host(root)?;
        let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &host];
        let printed = output(Command::new(cargo).args(arguments).current_dir(root))?;
        serde_json::from_str(&printed).context("cargo metadata printed something unexpected")
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// A package's manifest, from the root.
    pub(crate) fn manifest(&self, package: &Package) -> String {
        self.relative(&package.manifest_path)
    }

    /// The root files of a package's targets of the kinds that `wanted` accepts, from the workspace's root.
    pub(crate) fn roots(&self, package: &Package, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let targets = package.targets.iter().filter(|target| target.kind.iter().any(|kind| wanted(kind)));
        targets.map(|target| self.relative(&target.src_path)).collect()
    }

    fn relative(&self, path: &str) -> String {
        path.strip_prefix(&self.workspace_root).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    /// The shortest way, by names, on which `package` comes to depend on one of `names` other than in its tests.
    pub(crate) fn way<'a>(&'a self, package: &'a Package, names: &[&str]) -> Option<Vec<&'a str>> {
        let edges: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([package.id.as_str()]);
        while let Some(id) = queue.pop_front() {
            if id != package.id && names.contains(&self.name(id)) {
                return Some(self.way_back(id, &came_from));
            }
            for edge in edges.get(id).into_iter().flat_map(|node| &node.deps).filter(|edge| edge.is_real()) {
                if edge.pkg != package.id && !came_from.contains_key(edge.pkg.as_str()) {
                    came_from.insert(&edge.pkg, id);
                    queue.push_back(&edge.pkg);
                }
            }
        }
        None
    }

    fn way_back<'a>(&'a self, to: &'a str, came_from: &BTreeMap<&'a str, &'a str>) -> Vec<&'a str> {
        let mut way: Vec<&str> = std::iter::successors(Some(to), |id| came_from.get(id).copied())
            .map(|id| self.name(id))
            .collect();
        way.reverse();
        way
    }

    fn name(&self, id: &str) -> &str {
        self.packages.iter().find(|package| package.id == id).map_or("", |package| &package.name)
    }
}

impl Edge {
    fn is_real(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

fn host(root: &Path) -> anyhow::Result<String> {
    let printed = output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let host = printed.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A made-up workspace in `/w`: for each member its name, its declared dependencies (`dev:` and `optional:` before
/// the name where it applies), and its targets as `kind path`.
#[cfg(test)]
pub(crate) fn fixture(members: &[(&str, &[&str], &[&str])]) -> Workspace {
    use serde_json::json;
    let packages = members.iter().map(|(name, dependencies, targets)| {
        let dependencies = dependencies.iter().map(|text| {
            let (kind, name) = text.split_once(':').unwrap_or(("", text));
            json!({"name": name, "kind": (kind == "dev").then_some("dev"), "optional": kind == "optional"})
        });
        let targets = targets.iter().map(|target| {
            let (kind, path) = target.split_once(' ').unwrap();
            json!({"kind": [kind], "src_path": format!("/w/{path}")})
        });
        json!({
            "id": name, "name": name, "manifest_path": format!("/w/{name}/Cargo.toml"),
            "dependencies": dependencies.collect::<Vec<_>>(), "targets": targets.collect::<Vec<_>>(),
        })
    });
    let nodes = members.iter().map(|(name, dependencies, _)| {
        let deps = dependencies.iter().map(|text| {
            let (kind, name) = text.split_once(':').unwrap_or(("", text));
            json!({"pkg": name, "dep_kinds": [{"kind": (kind == "dev").then_some("dev")}]})
        });
        json!({"id": name, "deps": deps.collect::<Vec<_>>()})
    });
    let ours = members.iter().filter(|(.., targets)| !targets.is_empty());
    serde_json::from_value(json!({
        "packages": packages.collect::<Vec<_>>(),
        "workspace_members": ours.map(|(name, ..)| name).collect::<Vec<_>>(),
        "workspace_root": "/w",
        "resolve": {"nodes": nodes.collect::<Vec<_>>()},
    }))
    .unwrap()
}
