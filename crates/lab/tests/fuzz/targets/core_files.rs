//! What the core reads back: snapshots, recordings, annotations of a Lease.

use std::collections::BTreeMap;

use mainstay_core::authority::annotations::{self, Facts, Grant, Invite, Publication};
use mainstay_core::input::LeaseRecord;
use mainstay_core::names::{InstanceId, Mac, NodeName};
use mainstay_core::recording::{Extent, Recording};
use mainstay_core::snapshot::{Member, Snapshot, SnapshotError, decode, encode};

use super::bytes::{Bytes, is_one_line};

const BOOT: &str = "boot";
/// As many members as are ever written.
const MEMBERS: usize = 64;

/// The bytes as a file, and as the content below a first line that fits.
pub(super) fn snapshot(data: &[u8]) {
    if let Ok(snapshot) = decode(data, BOOT) {
        comes_back(&snapshot);
    }
    let line = format!("mainstay-snapshot 1 {} {:08x}\n", data.len(), crc32(data));
    let whole = [line.as_bytes(), data].concat();
    match decode(&whole, BOOT) {
        Ok(snapshot) => comes_back(&snapshot),
        Err(SnapshotError::Content(_) | SnapshotError::OtherBoot { .. }) => {}
        Err(error) => panic!("{error}, though the first line fits"),
    }
    if let Some((_, cut)) = whole.split_last().filter(|_| !data.is_empty()) {
        assert!(matches!(decode(cut, BOOT), Err(SnapshotError::Truncated { .. })), "a byte is missing");
    }
}

fn comes_back(snapshot: &Snapshot) {
    let bytes = encode(snapshot);
    let again = decode(&bytes, BOOT).expect("a snapshot of this boot");
    assert_eq!(again, *snapshot);
    assert_eq!(encode(&again), bytes);
}

/// CRC-32 once more, by a table of nibbles: a second opinion.
fn crc32(bytes: &[u8]) -> u32 {
    const NIBBLES: [u32; 16] = [
        0x0000_0000,
        0x1db7_1064,
        0x3b6e_20c8,
        0x26d9_30ac,
        0x76dc_4190,
        0x6b6b_51f4,
        0x4db2_6158,
        0x5005_713c,
        0xedb8_8320,
        0xf00f_9344,
        0xd6d6_a3e8,
        0xcb61_b38c,
        0x9b64_c2b0,
        0x86d3_d2d4,
        0xa00a_e278,
        0xbdbd_f21c,
    ];
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let step = |crc: u32| (crc >> 4) ^ NIBBLES[(crc & 15) as usize];
        step(step(crc ^ u32::from(*byte)))
    })
}

/// The bytes as a recording's text: read, written, replayed.
pub(super) fn recording(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (whole, part) = (Recording::read(&text, Extent::Whole), Recording::read(&text, Extent::UpToDamage));
    let lines = text.split_inclusive('\n').count().max(1);
    for error in [&whole, &part].into_iter().filter_map(|read| read.as_ref().err()) {
        let message = error.to_string();
        assert!(is_one_line(&message), "{message:?}");
        let named = message.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
        let named: usize = named.and_then(|(line, _)| line.parse().ok()).expect("an error that names a line");
        assert!((1..=lines).contains(&named), "{message}: of {lines} lines");
    }
    if let Ok(whole) = &whole {
        assert_eq!(part.as_ref().ok(), Some(whole), "damage was seen in a whole recording");
    }
    let Ok(recording) = part else { return };
    let again = Recording::read(&recording.write(), Extent::UpToDamage).expect("what was written");
    assert_eq!(again, recording);
    for replayed in recording.replay() {
        assert_eq!(replayed.differs, !replayed.difference().is_empty(), "line {}", replayed.line);
    }
}

/// The bytes as the annotations of a Lease that another wrote.
pub(super) fn annotations(data: &[u8]) {
    let mut bytes = Bytes(data);
    let me = NodeName::new("n1");
    let holder = bytes.pick(&[None, Some("n1"), Some("n2"), Some("")]).map(str::to_owned);
    let grant = Grant { holder: "n1".to_owned(), epoch: bytes.u32(), instance: InstanceId(7) };
    let mut record =
        LeaseRecord { holder, transitions: bytes.pick(&[0, 1, grant.epoch]), ..LeaseRecord::default() };
    for key in
        [annotations::GRANT, annotations::MEMBERS, annotations::INVITATION, annotations::FALSE_TAKEOVERS]
    {
        if bytes.flag() {
            record.annotations.insert(key.to_owned(), text(&mut bytes));
        }
    }
    for word in record.annotations.values().flat_map(|text| text.split('"')) {
        if let Ok(mac) = word.parse::<Mac>() {
            assert_eq!(mac.to_string(), word.to_lowercase(), "a hardware address that is written otherwise");
        }
    }
    record.annotations.insert("example.com/other".to_owned(), "kept".to_owned());
    let facts = Facts::of(&record);
    assert!(!facts.invited || facts.mainstay, "invited by one who is no Mainstay node");

    let publication = Publication {
        member: Some(Member { macs: vec![Mac([2, 0, 0, 0, 0, 1])], addresses: vec![] }),
        remembered: BTreeMap::from([(NodeName::new("n2"), Member::default())]),
        forget: vec![NodeName::new("n3")],
        invite: bytes.pick(&[Invite::Yes, Invite::No]),
        false_takeovers: bytes.optional(Bytes::u32),
        addresses: None,
    };
    let written = annotations::compose(&record.annotations, &me, Some(&grant), &publication);
    assert_eq!(annotations::compose(&written, &me, Some(&grant), &publication), written, "written twice");
    assert_eq!(written.get("example.com/other").map(String::as_str), Some("kept"));
    let ours = LeaseRecord {
        holder: Some(grant.holder.clone()),
        transitions: grant.epoch,
        annotations: written,
        ..LeaseRecord::default()
    };
    let read = Facts::of(&ours);
    assert_eq!(annotations::grant(&ours), Some(grant));
    assert_eq!((read.mainstay, read.invited), (true, publication.invite == Invite::Yes));
    assert!(read.members.len() <= facts.members.len().max(MEMBERS));
    let room = facts.members.len() < MEMBERS;
    assert!(
        !room || read.members.get(&me) == publication.member.as_ref(),
        "there is room, and we are not listed"
    );
    assert_eq!(read.false_takeovers, publication.false_takeovers.unwrap_or(facts.false_takeovers));
}

/// A longer text than [`Bytes::text`] gives: lists of members are long.
fn text(bytes: &mut Bytes<'_>) -> String {
    let length = usize::from(bytes.u16());
    let (taken, rest) = bytes.0.split_at(length.min(bytes.0.len()));
    bytes.0 = rest;
    String::from_utf8_lossy(taken).into_owned()
}
