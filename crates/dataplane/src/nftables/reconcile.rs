//! From what the kernel has to what it is to have, in as little as it takes.

use super::found::Found;
use super::table::{Contents, Elements, Table};
use crate::linux::message::Request;

/// There is a table of the same name that this program did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// The messages, for one transaction, that make the kernel have `table` with these contents, or, with none, not at all.
/// None where all is so already. `found` is what there is under the table's name.
///
/// # Errors
/// [`NotOurs`]; then nothing is to be touched. Whoever wants no table there is served by that as well.
pub(crate) fn changes(
    table: &Table,
    found: Option<&Found>,
    wanted: Option<&Contents>,
) -> Result<Vec<Request>, NotOurs> {
    match (found, wanted) {
        (None, None) => Ok(Vec::new()),
        (None, Some(wanted)) => Ok(anew(table, wanted)),
        (Some(found), None) if is_ours(table, found) => Ok(vec![table.unmake()]),
        (Some(_), None) => Ok(Vec::new()),
        (Some(found), Some(_)) if !is_ours(table, found) => Err(NotOurs),
        (Some(found), Some(wanted)) if found.comments() == table.comments() => {
            Ok(difference(table, found, wanted))
        }
        (Some(_), Some(wanted)) => Ok([vec![table.unmake()], anew(table, wanted)].concat()),
    }
}

/// Whether this program made it, in this version or in another: something in it says so.
fn is_ours(table: &Table, found: &Found) -> bool {
    let comments = found.comment.iter().chain(found.rules.iter().map(|rule| &rule.comment));
    comments.into_iter().any(|comment| comment.starts_with(&format!("{} ", table.prefix())))
}

fn anew(table: &Table, wanted: &Contents) -> Vec<Request> {
    let elements = wanted.iter().flat_map(|(set, elements)| table.add(set, elements.iter()));
    table.make().into_iter().chain(elements).collect()
}

fn difference(table: &Table, found: &Found, wanted: &Contents) -> Vec<Request> {
    let none = Elements::new();
    // What leads elsewhere now is taken out and put in again.
    let of_set = |(set, wanted): (&&'static str, &Elements)| {
        let there = found.elements.get(*set).unwrap_or(&none);
        let gone = there.iter().filter(|(key, data)| wanted.get(*key) != Some(data));
        let new = wanted.iter().filter(|(key, data)| there.get(*key) != Some(data));
        [table.delete(set, gone.map(|(key, _)| key)), table.add(set, new)].concat()
    };
    wanted.iter().flat_map(of_set).collect()
}
