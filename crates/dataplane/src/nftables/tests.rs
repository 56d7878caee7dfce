//! Tables and a model of the kernel that takes in their messages.

use proptest::prelude::*;

use super::*;
use crate::linux::message::{Message, attributes, messages};

fn table(comment: &'static str) -> Table {
    let first = Register(0);
    let does = vec![
        Expression::Load { what: Load::Family, to: first },
        Expression::Compare { at: first, by: Comparison::Equal, value: vec![2] },
        Expression::Load { what: Load::Payload { of: Header::Network, offset: 16, length: 4 }, to: first },
        Expression::Find { at: first, set: "some" },
        Expression::Count,
        Expression::End(Verdict::Drop),
    ];
    let rules = vec![Rule { comment, does }];
    Table {
        family: INET,
        name: "test-table",
        sets: vec![Set { name: "some", fields: vec![FieldType::Ipv4], leads_to: vec![] }],
        chains: vec![Chain { name: "first", hook: Some(HOOK), rules }],
    }
}

const HOOK: Hook = Hook { purpose: Purpose::Filter, number: 0, priority: -150 };

fn contents(keys: &[u8]) -> Contents {
    [("some", keys.iter().map(|key| (vec![10, 0, 0, *key], Vec::new())).collect())].into()
}

/// A kernel with at most one table.
#[derive(Clone, Debug, Default)]
struct Kernel(Option<Found>);

impl Kernel {
    /// As the kernel: what is there is not there twice, and what is not there cannot be deleted.
    fn carry_out(&mut self, requests: &[Request], name: &str) {
        let bytes: Vec<u8> = requests.iter().flat_map(|one| one.clone().finish(1)).collect();
        for message in messages(&bytes) {
            self.take(&message, name);
        }
    }

    fn take(&mut self, message: &Message<'_>, name: &str) {
        const NEW: [u16; 2] = [SUBSYSTEM << 8 | NEW_TABLE, SUBSYSTEM << 8 | DELETE_TABLE];
        match message.kind {
            kind if kind == NEW[0] => {
                assert!(self.0.is_none(), "there is one");
                self.0 = Some(Found::of_table(message, name).expect("a name"));
            }
            kind if kind == NEW[1] => drop(self.0.take().expect("there is one")),
            _ => {
                let found = self.0.as_mut().expect("a table");
                found.take_rule(message, name);
                found.take_elements(message, name);
                self.delete(message, name);
            }
        }
    }

    fn delete(&mut self, message: &Message<'_>, name: &str) {
        if message.kind != kind(DELETE_ELEMENTS) {
            return;
        }
        let (mut gone, mut as_new) = (Found::default(), *message);
        as_new.kind = kind(NEW_ELEMENTS);
        gone.take_elements(&as_new, name);
        let there = self.0.as_mut().expect("a table");
        for (set, keys) in gone.elements {
            let elements = there.elements.get_mut(&set).expect("a set");
            keys.keys().for_each(|key| assert!(elements.remove(key).is_some(), "no such element"));
        }
    }

    fn elements(&self) -> Elements {
        self.0.as_ref().and_then(|found| found.elements.get("some").cloned()).unwrap_or_default()
    }
}

fn kinds(requests: &[Request]) -> Vec<u16> {
    let bytes: Vec<u8> = requests.iter().flat_map(|one| one.clone().finish(1)).collect();
    messages(&bytes).map(|message| message.kind & 0xff).collect()
}

#[test]
fn a_table_is_made_as_a_whole_changed_by_its_difference_and_taken_away() {
    let (table, mut kernel) = (table("drop"), Kernel::default());
    let ask = |kernel: &Kernel, wanted: Option<&Contents>| {
        changes(&table, kernel.0.as_ref(), wanted).expect("it is ours")
    };
    assert_eq!(kinds(&ask(&kernel, None)), [] as [u16; 0]);
    let made = ask(&kernel, Some(&contents(&[1, 2])));
    assert_eq!(kinds(&made), [NEW_TABLE, NEW_SET, NEW_CHAIN, NEW_RULE, NEW_ELEMENTS]);
    kernel.carry_out(&made, table.name);
    assert_eq!(ask(&kernel, Some(&contents(&[1, 2]))), []);
    let changed = ask(&kernel, Some(&contents(&[2, 3])));
    assert_eq!(kinds(&changed), [DELETE_ELEMENTS, NEW_ELEMENTS]);
    kernel.carry_out(&changed, table.name);
    assert_eq!(kernel.elements(), contents(&[2, 3])["some"]);
    assert_eq!(kinds(&ask(&kernel, None)), [DELETE_TABLE]);
}

#[test]
fn another_form_is_replaced_and_a_rule_that_is_missing_is_made_again() {
    let (old, new) = (table("one"), table("other"));
    let mut kernel = Kernel::default();
    kernel.carry_out(&changes(&old, None, Some(&contents(&[1]))).expect("nothing is there"), old.name);
    let replaced = [DELETE_TABLE, NEW_TABLE, NEW_SET, NEW_CHAIN, NEW_RULE, NEW_ELEMENTS];
    let ask = |kernel: &Kernel| changes(&new, kernel.0.as_ref(), Some(&contents(&[1]))).expect("it is ours");
    assert_eq!(kinds(&ask(&kernel)), replaced);
    kernel.carry_out(&ask(&kernel), new.name);
    assert_eq!(ask(&kernel), []);
    kernel.0.as_mut().expect("a table").rules.clear();
    assert_eq!(kinds(&ask(&kernel)), replaced);
}

#[test]
fn a_table_that_says_nothing_of_us_is_not_touched() {
    let table = table("drop");
    let rule = |comment: &str| FoundRule { chain: "first".into(), comment: comment.into(), packets: 0 };
    let foreign = Found {
        comment: Some("my own".into()),
        rules: vec![rule("test-tables are good")],
        ..Found::default()
    };
    assert_eq!(changes(&table, Some(&foreign), Some(&contents(&[1]))), Err(NotOurs));
    assert_eq!(changes(&table, Some(&foreign), None), Ok(vec![]));
    // Where the kernel keeps no comment of tables, those of the rules say so.
    let ours = Found { comment: None, rules: vec![rule("test-table 12345678: drop")], ..Found::default() };
    assert_eq!(changes(&table, Some(&ours), None).map(|all| kinds(&all)), Ok(vec![DELETE_TABLE]));
}

#[test]
fn a_transaction_is_bracketed_and_its_last_message_is_acknowledged() {
    let made = transaction(vec![request(INET, NEW_TABLE, 0), request(INET, NEW_RULE, libc::NLM_F_CREATE)]);
    let bytes: Vec<Vec<u8>> = made.into_iter().map(|one| one.finish(7)).collect();
    let kind = |one: &Vec<u8>| u16::from_ne_bytes([one[4], one[5]]);
    assert_eq!(bytes.iter().map(kind).collect::<Vec<_>>(), [16, 0x0a00, 0x0a06, 17]);
    let acknowledged = |one: &Vec<u8>| one[6] & 4 != 0;
    assert_eq!(bytes.iter().map(acknowledged).collect::<Vec<_>>(), [false, false, true, false]);
    assert_eq!(bytes[0][16..], [0, 0, 0, 10], "the subsystem is the bracket's resource");
    assert_eq!(bytes[1][16..], [1, 0, 0, 0], "the family inet");
}

#[test]
fn a_counter_is_read_from_among_other_expressions() {
    let table = table("drop");
    let rule = table.make().pop().expect("a rule").finish(1);
    // The kernel's word has the packets where ours has zero: `counter`, its bytes, and its packets behind them.
    let at = rule.windows(8).position(|part| part == b"counter\0").expect("a counter");
    let mut told = rule.clone();
    told[at + 8 + 4 + 4 + 8 + 4 + 7] = 42;
    let read = |bytes: &[u8]| {
        let mut found = Found::default();
        messages(bytes).for_each(|message| found.take_rule(&message, table.name));
        found.rules.iter().map(|rule| rule.packets).collect::<Vec<_>>()
    };
    assert_eq!((read(&rule), read(&told)), (vec![0], vec![42]));
}

/// The attribute's length has 16 bits.
#[test]
fn many_elements_are_told_in_several_messages_and_none_is_lost() {
    let table = table("drop");
    let keys: Elements = (0..10_000_u32).map(|key| (key.to_be_bytes().to_vec(), Vec::new())).collect();
    let mut kernel = Kernel::default();
    let made = changes(&table, None, Some(&[("some", keys.clone())].into())).expect("nothing is there");
    assert!(made.iter().all(|one| one.clone().finish(1).len() < 40_000));
    kernel.carry_out(&made, table.name);
    assert_eq!(kernel.elements(), keys);
}

/// In a map, what leads elsewhere than it did is put in anew, and all else stays.
#[test]
fn an_element_that_leads_elsewhere_is_replaced() {
    let set = Set {
        name: "some",
        fields: vec![FieldType::Number],
        leads_to: vec![FieldType::Ipv4, FieldType::Port],
    };
    let table = Table { sets: vec![set], ..table("drop") };
    let leads = |to: [u8; 2]| {
        let element = |(key, host)| (vec![key, 0, 0, 0], vec![10, 0, 0, host, 25, 43, 0, 0]);
        Contents::from([("some", (0..).zip(to).map(element).collect())])
    };
    let mut kernel = Kernel::default();
    kernel.carry_out(&changes(&table, None, Some(&leads([1, 2]))).expect("nothing is there"), table.name);
    assert_eq!(kernel.elements(), leads([1, 2])["some"]);
    let made = changes(&table, kernel.0.as_ref(), Some(&leads([1, 3]))).expect("it is ours");
    assert_eq!(kinds(&made), [DELETE_ELEMENTS, NEW_ELEMENTS]);
    assert!(made.iter().all(|one| one.clone().finish(1).len() < 120), "one element each");
    kernel.carry_out(&made, table.name);
    assert_eq!(kernel.elements(), leads([1, 3])["some"]);
}

proptest! {
    /// Whatever was there, it is as wanted afterwards, and then nothing is left to do.
    #[test]
    fn it_is_as_wanted_afterwards(steps in proptest::collection::vec(
        proptest::option::of(proptest::collection::vec(0_u8..8, 0..6)), 1..8,
    )) {
        let (table, mut kernel) = (table("drop"), Kernel::default());
        for step in steps {
            let wanted = step.as_deref().map(contents);
            let made = changes(&table, kernel.0.as_ref(), wanted.as_ref()).expect("it is ours");
            kernel.carry_out(&made, table.name);
            prop_assert_eq!(kernel.0.is_some(), wanted.is_some());
            prop_assert_eq!(kernel.elements(), wanted.as_ref().map(|all| all["some"].clone()).unwrap_or_default());
            prop_assert_eq!(changes(&table, kernel.0.as_ref(), wanted.as_ref()), Ok(vec![]));
        }
    }

    /// Whatever the bytes: reading them ends, and takes no more from them than is there.
    #[test]
    fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut found = Found::default();
        for message in messages(&bytes) {
            found.take_rule(&message, "");
            found.take_elements(&message, "");
            let _ = (Found::of_table(&message, ""), generation(&message));
        }
        prop_assert!(found.rules.len() + found.elements.len() <= bytes.len());
        prop_assert!(attributes(&bytes).count() <= bytes.len());
    }
}
