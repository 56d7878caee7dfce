//! What the kernel has of a table.

use std::collections::BTreeMap;

use super::expression::{DATA, ELEMENT as EXPRESSION, NAME, VALUE};
use super::table::{
    ELEMENT, ELEMENT_DATA, ELEMENTS, ELEMENTS_SET, ELEMENTS_TABLE, Elements, KEY, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_TABLE, RULE_USERDATA, TABLE_NAME, TABLE_USERDATA, read_comment,
};
use super::{NEW_ELEMENTS, NEW_GENERATION, NEW_RULE, NEW_TABLE, kind};
use crate::linux::message::{Message, attributes};

/// Bytes of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `NFTA_GEN_ID`.
const GENERATION: u16 = 1;
/// `NFTA_COUNTER_PACKETS`.
const PACKETS: u16 = 2;

/// What the kernel has of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The comment on the table itself. Kernels before 5.10 keep none.
    pub(crate) comment: Option<String>,
    /// Its rules, of each chain in order.
    pub(crate) rules: Vec<FoundRule>,
    /// The elements of its sets.
    pub(crate) elements: BTreeMap<String, Elements>,
}

/// What the kernel has of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundRule {
    pub(crate) chain: String,
    pub(crate) comment: String,
    /// What it has counted, if it counts.
    pub(crate) packets: u64,
}

impl Found {
    /// Reads the answer to a question for the table called `name`; `None` if it is about something else.
    pub(crate) fn of_table(message: &Message<'_>, name: &str) -> Option<Self> {
        let fields = fields(message, NEW_TABLE, (TABLE_NAME, name))?;
        let comment = fields.get(&TABLE_USERDATA).and_then(|data| read_comment(data));
        Some(Self { comment, ..Self::default() })
    }

    /// Takes in one message of a dump of the rules of the table called `name`.
    pub(crate) fn take_rule(&mut self, message: &Message<'_>, name: &str) {
        let Some(fields) = fields(message, NEW_RULE, (RULE_TABLE, name)) else { return };
        let data = |kind| fields.get(&kind).copied().unwrap_or_default();
        self.rules.push(FoundRule {
            chain: text(data(RULE_CHAIN)),
            comment: read_comment(data(RULE_USERDATA)).unwrap_or_default(),
            packets: packets(data(RULE_EXPRESSIONS)),
        });
    }

    /// Takes in one message of a dump of the elements of a set of the table called `name`.
    pub(crate) fn take_elements(&mut self, message: &Message<'_>, name: &str) {
        let Some(fields) = fields(message, NEW_ELEMENTS, (ELEMENTS_TABLE, name)) else { return };
        let data = |kind| fields.get(&kind).copied().unwrap_or_default();
        let within =
            |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let value =
            |element, wanted| within(element, wanted).and_then(|one| within(one, VALUE)).map(<[u8]>::to_vec);
        let elements = attributes(data(ELEMENTS)).filter(|(kind, _)| *kind == ELEMENT);
        let pairs = elements.filter_map(|(_, element)| {
            Some((value(element, KEY)?, value(element, ELEMENT_DATA).unwrap_or_default()))
        });
        self.elements.entry(text(data(ELEMENTS_SET))).or_default().extend(pairs);
    }

    /// The comments of the rules of each chain, in order.
    pub(super) fn comments(&self) -> BTreeMap<String, Vec<String>> {
        let mut comments: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in &self.rules {
            comments.entry(rule.chain.clone()).or_default().push(rule.comment.clone());
        }
        comments
    }
}

/// Reads the number of the generation that the rules of the whole namespace are: each transaction makes a new one.
pub(crate) fn generation(message: &Message<'_>) -> Option<u32> {
    let body = message.body.get(HEADER..).filter(|_| message.kind == kind(NEW_GENERATION))?;
    let (_, number) = attributes(body).find(|(kind, _)| *kind == GENERATION)?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// The attributes of a message of this kind about the table called `name`.
fn fields<'a>(
    message: &Message<'a>,
    wanted: u16,
    (table, name): (u16, &str),
) -> Option<BTreeMap<u16, &'a [u8]>> {
    let body = message.body.get(HEADER..).filter(|_| message.kind == kind(wanted))?;
    let fields: BTreeMap<u16, &[u8]> = attributes(body).collect();
    fields.get(&table).is_some_and(|found| text(found) == name).then_some(fields)
}

/// What the counters among a rule's expressions say.
fn packets(expressions: &[u8]) -> u64 {
    let of = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let counted = |expression| {
        let name = of(expression, NAME).map(text)?;
        let data = of(expression, DATA).filter(|_| name == "counter")?;
        Some(u64::from_be_bytes(of(data, PACKETS)?.try_into().ok()?))
    };
    let all = attributes(expressions).filter(|(kind, _)| *kind == EXPRESSION);
    all.filter_map(|(_, expression)| counted(expression)).sum()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
