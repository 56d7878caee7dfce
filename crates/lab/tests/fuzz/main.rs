//! The fuzz targets on a stable compiler: over the kept inputs, and over changes of them.
//!
//! `MAINSTAY_FUZZ_CASES` says how many changes each target gets. A failing input is shrunk and printed as a line of the
//! corpus: mend the parser, and add the line.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};

mod targets;

use targets::{TARGETS, Target};

/// Changes of kept inputs that each target gets.
const CASES: u32 = 1_000;

fn corpus_file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/corpus/{}.txt", target.name))
}

/// The kept inputs, one a line, in the escapes of Rust's byte strings.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let path = corpus_file(target);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let input = |(line, text): (usize, &str)| {
        unescaped(text).unwrap_or_else(|| panic!("{}: line {}: no escaped bytes", path.display(), line + 1))
    };
    text.lines().enumerate().map(input).collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digit =
                        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                    digit(rest.next()?)? << 4 | digit(rest.next()?)?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(bytes)
}

#[test]
fn what_is_kept_reads_back() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(unescaped(&bytes.escape_ascii().to_string()), Some(bytes));
    assert_eq!(unescaped(r"\x4"), None);
}

/// A corpus that no target reads would look like a test.
#[test]
fn every_corpus_has_a_target() {
    for entry in std::fs::read_dir(corpus_file(&TARGETS[0]).parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            TARGETS.iter().any(|target| corpus_file(target).ends_with(path.file_name().unwrap())),
            "{path:?}"
        );
    }
}

/// Fails with what each target said, so that one does not hide another.
fn all_hold(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} of {} targets fail:\n{}",
        failures.len(),
        TARGETS.len(),
        failures.join("\n")
    );
}

fn fails_when_kept(target: &Target) -> Option<String> {
    let inputs = corpus(target);
    if inputs.is_empty() {
        return Some(format!("{} has no corpus", target.name));
    }
    let fails = |input: &&Vec<u8>| std::panic::catch_unwind(|| (target.check)(input)).is_err();
    let line = inputs.iter().position(|input| fails(&input))? + 1;
    Some(format!("{}: line {line} of its corpus, for the reason above", target.name))
}

#[test]
fn kept_inputs_hold() {
    all_hold(&TARGETS.iter().filter_map(fails_when_kept).collect::<Vec<_>>());
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    /// What is there once more, somewhere else.
    Repeat(Index, Index, u8),
    /// From another input.
    Graft(Index, Index, Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1..20_u8).prop_map(|(at, length)| Change::Remove(at, length)),
        (place(), place(), 1..60_u8).prop_map(|(from, to, length)| Change::Repeat(from, to, length)),
        (place(), place(), place(), 1..60_u8)
            .prop_map(|(other, from, to, length)| Change::Graft(other, from, to, length)),
    ]
}

/// `change` made to `input`; `kept` is where grafts come from.
fn changed(mut input: Vec<u8>, change: &Change, kept: &[Vec<u8>]) -> Vec<u8> {
    let at = |place: &Index, bytes: &[u8]| place.index(bytes.len() + 1);
    let piece = |from: &Index, length: u8, of: &[u8]| -> Vec<u8> {
        of.iter().skip(at(from, of)).take(usize::from(length)).copied().collect()
    };
    let insert = |place: &Index, bytes: Vec<u8>, input: &mut Vec<u8>| {
        let place = at(place, input);
        input.splice(place..place, bytes);
    };
    match change {
        Change::Set(..) | Change::Flip(..) | Change::Remove(..) if input.is_empty() => {}
        Change::Set(place, byte) => {
            let place = place.index(input.len());
            input[place] = *byte;
        }
        Change::Flip(place, bit) => {
            let place = place.index(input.len());
            input[place] ^= 1 << bit;
        }
        Change::Remove(place, length) => {
            let place = place.index(input.len());
            input.drain(place..(place + usize::from(*length)).min(input.len()));
        }
        Change::Insert(place, bytes) => insert(place, bytes.clone(), &mut input),
        Change::Repeat(from, to, length) => insert(to, piece(from, *length, &input), &mut input),
        Change::Graft(other, from, to, length) => {
            insert(to, piece(from, *length, &kept[other.index(kept.len())]), &mut input)
        }
    }
    input
}

fn cases() -> u32 {
    static CASES_ASKED: OnceLock<u32> = OnceLock::new();
    *CASES_ASKED.get_or_init(|| {
        std::env::var("MAINSTAY_FUZZ_CASES")
            .ok()
            .map_or(CASES, |text| text.parse().expect("MAINSTAY_FUZZ_CASES=NUMBER"))
    })
}

fn fails_when_changed(target: &Target) -> Option<String> {
    let kept = corpus(target);
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let inputs = (any::<Index>(), vec(change(), 0..8)).prop_map(|(which, changes)| {
        let input = which.get(&kept).clone();
        changes.iter().fold(input, |input, change| changed(input, change, &kept))
    });
    let done = TestRunner::new(config).run(&inputs, |input| {
        (target.check)(&input);
        Ok(())
    });
    match done {
        Ok(()) => None,
        Err(TestError::Fail(reason, input)) => Some(format!(
            "{name}: {reason}\nthe input, for fuzz/corpus/{name}.txt:\n{}",
            input.escape_ascii(),
            name = target.name,
        )),
        Err(abort) => Some(format!("{}: {abort}", target.name)),
    }
}

#[test]
fn changed_inputs_hold() {
    all_hold(&TARGETS.iter().filter_map(fails_when_changed).collect::<Vec<_>>());
}
