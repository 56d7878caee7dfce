//! On real files.

use std::fs;
use std::path::PathBuf;

use mainstay_core::names::InstanceId;
use mainstay_core::snapshot::{Snapshot, SnapshotError};

use super::{LoadError, Store, Writer};
use crate::testing::Scratch;

const FILE: &str = "snapshot.json";
const TEMPORARY: &str = "snapshot.json.new";

const BOOT: &str = "8e1c0f5a-0000-4000-8000-000000000001";

fn snapshot(instance: u64) -> Snapshot {
    let instance = InstanceId(instance);
    Snapshot {
        names: Default::default(),
        cluster: None,
        boot_id: BOOT.into(),
        instance,
        claims: Default::default(),
        api_servers: vec!["https://a".into()],
    }
}

fn store(scratch: &Scratch) -> (Store, PathBuf) {
    let dir = scratch.path().join("state");
    (Store::new(&dir, FILE), dir)
}

#[test]
fn what_was_saved_is_loaded_and_nothing_else_is_left() {
    let scratch = Scratch::new("store");
    let (store, dir) = store(&scratch);
    assert!(matches!(store.load(BOOT), Err(LoadError::Missing(_))));
    store.save(&snapshot(1)).unwrap();
    store.save(&snapshot(2)).unwrap();
    assert_eq!(store.load(BOOT).unwrap(), snapshot(2));
    assert!(!dir.join(TEMPORARY).exists());
}

#[test]
fn a_file_that_cannot_be_believed_says_why() {
    let scratch = Scratch::new("store");
    let (store, dir) = store(&scratch);
    store.save(&snapshot(1)).unwrap();
    let whole = fs::read(dir.join(FILE)).unwrap();
    for length in 0..whole.len() {
        fs::write(dir.join(FILE), &whole[..length]).unwrap();
        assert!(matches!(store.load(BOOT), Err(LoadError::Unusable { .. })), "cut to {length} bytes");
    }
    fs::write(dir.join(FILE), &whole).unwrap();
    let other = store.load("another").unwrap_err();
    assert!(matches!(&other, LoadError::Unusable { cause: SnapshotError::OtherBoot { .. }, .. }), "{other}");
    fs::remove_file(dir.join(FILE)).unwrap();
    fs::create_dir(dir.join(FILE)).unwrap();
    assert!(matches!(store.load(BOOT), Err(LoadError::Unreadable { .. })));
}

#[test]
fn a_half_written_file_does_not_hide_the_whole_one() {
    let scratch = Scratch::new("store");
    let (store, dir) = store(&scratch);
    store.save(&snapshot(1)).unwrap();
    fs::write(dir.join(TEMPORARY), b"half").unwrap();
    assert_eq!(store.load(BOOT).unwrap(), snapshot(1));
    store.save(&snapshot(2)).unwrap();
    assert_eq!(store.load(BOOT).unwrap(), snapshot(2));
}

#[test]
fn only_changes_are_written() {
    let scratch = Scratch::new("store");
    let (store, _) = store(&scratch);
    let (giver, writer) = Writer::start(store.clone(), Some(snapshot(1))).unwrap();
    giver.give(snapshot(1));
    let tally = writer.tally.clone();
    drop(giver);
    writer.join();
    assert_eq!(tally.read().writes, 0);
    assert!(matches!(store.load(BOOT), Err(LoadError::Missing(_))), "the file was not made again");

    let (giver, writer) = Writer::start(store.clone(), Some(snapshot(1))).unwrap();
    let tally = writer.tally.clone();
    giver.give(snapshot(2));
    drop(giver);
    writer.join();
    assert_eq!((tally.read().writes, store.load(BOOT).unwrap()), (1, snapshot(2)));
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_survived() {
    let scratch = Scratch::new("store");
    // A file in the directory's place stops root too, as a read-only mount does.
    let dir = scratch.path().join("state");
    fs::write(&dir, b"").unwrap();
    let (giver, writer) = Writer::start(Store::new(&dir, FILE), None).unwrap();
    let tally = writer.tally.clone();
    giver.give(snapshot(1));
    drop(giver);
    writer.join();
    let written = tally.read();
    assert_eq!((written.writes, written.errors), (0, 1));
    assert!(written.failing.is_some());
}
