//! Links between documents: each relative one leads to a file or directory of the tree.

use super::Complaint;
use super::tree::{Tree, join, parent};

/// Finds relative links in Markdown files that lead nowhere.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    tree.files("", ".md").flat_map(|(file, text)| broken(tree, file, text)).collect()
}

fn broken<'a>(tree: &'a Tree, file: &'a str, text: &'a str) -> impl Iterator<Item = Complaint> + 'a {
    prose(text)
        .flat_map(|(number, line)| targets(&line).map(move |target| (number, target)).collect::<Vec<_>>())
        .filter(move |(_, target)| !leads_somewhere(tree, file, target))
        .map(move |(number, target)| {
            let breach = format!("line {number} links to {target}, which does not exist");
            Complaint::new(file, "links", breach, "correct the link, or write the file")
        })
}

/// The lines with their numbers, without code: neither fenced blocks nor what stands between backticks.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let outside = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        (!fenced && !fence).then_some((index + 1, outside))
    })
}

/// The targets of `[text](target)`, `![text](target)` and `[name]: target` that are neither addresses on the web nor
/// places in the same file.
fn targets(line: &str) -> impl Iterator<Item = String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let named =
        line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
    let paths = inline.chain(named).map(|target| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains(':')).map(str::to_owned)
}

fn leads_somewhere(tree: &Tree, file: &str, target: &str) -> bool {
    let path = match target.strip_prefix('/') {
        Some(from_root) => join("", from_root),
        None => join(parent(file), target),
    };
    path.is_some_and(|path| tree.has(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_are_found_and_others_are_not() {
        let text = "[a](other.md) ![b](../picture.svg) [c](other.md#place) [d](#here) [e](https://example.org/x.md)\n\
                    `[code](absent.md)`\n```text\n[fenced](absent.md)\n```\n[f](.) [g](absent.md \"title\")\n\
                    [h]: gone.md\n[i](../../outside.md)\n";
        let tree = Tree::from([("docs/page.md", text), ("docs/other.md", ""), ("picture.svg", "")]);
        let breaches: Vec<_> = check(&tree).into_iter().map(|complaint| complaint.breach).collect();
        assert_eq!(
            breaches,
            [
                "line 6 links to absent.md, which does not exist",
                "line 7 links to gone.md, which does not exist",
                "line 8 links to ../../outside.md, which does not exist",
            ]
        );
    }
}
