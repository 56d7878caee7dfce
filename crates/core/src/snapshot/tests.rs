//! A snapshot comes back whole or not at all.

use proptest::prelude::*;

use super::*;

const BOOT: &str = "6f1c2b7e-8f0e-4f4e-9d0b-0c7a5c3f1d2a";

fn snapshot() -> Snapshot {
    let member = Member {
        macs: vec![Mac([2, 0, 0x5e, 0x10, 0, 1])],
        addresses: vec!["192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")],
    };
    let memory = ClaimMemory {
        uid: "0b8f6c1e".to_owned(),
        held: true,
        members: BTreeMap::from([(NodeName::new("node-1"), member)]),
        ..ClaimMemory::default()
    };
    Snapshot {
        names: BTreeMap::new(),
        cluster: None,
        boot_id: BOOT.to_owned(),
        instance: InstanceId(u64::MAX),
        claims: BTreeMap::from([(ClaimId::control_plane(), memory)]),
        api_servers: vec!["https://192.0.2.1:6443".to_owned()],
    }
}

#[test]
fn round_trips() {
    assert_eq!(decode(&encode(&snapshot()), BOOT).expect("whole"), snapshot());
}

/// As it was written before claims remembered what is optional now.
#[test]
fn one_of_an_older_program_is_read() {
    let claim = r#"{"uid":"0b8f6c1e","epoch":7,"held":true,"members":{}}"#;
    let content = format!(
        r#"{{"boot_id":"{BOOT}","instance":1,"claims":{{"control-plane":{claim}}},"api_servers":[]}}"#
    );
    let bytes = [first_line(content.as_bytes()).as_bytes(), content.as_bytes()].concat();
    let memory = ClaimMemory { uid: "0b8f6c1e".to_owned(), epoch: 7, held: true, ..ClaimMemory::default() };
    let read = decode(&bytes, BOOT).expect("whole");
    assert_eq!(read.claims[&ClaimId::control_plane()], memory);
    assert_eq!(encode(&read), bytes, "and what there is nothing of is not written");
}

/// The check value that CRC catalogues publish for CRC-32/ISO-HDLC.
#[test]
fn checksum_matches_the_published_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn every_truncation_is_told_as_such() {
    let whole = encode(&snapshot());
    for length in 0..whole.len() {
        let refused = decode(&whole[..length], BOOT);
        assert!(matches!(refused, Err(SnapshotError::Truncated { .. })), "{length} bytes: {refused:?}");
    }
}

#[test]
fn another_version_is_told_as_such() {
    let newer = String::from_utf8(encode(&snapshot())).expect("text").replacen(" 1 ", " 2 ", 1);
    assert!(matches!(decode(newer.as_bytes(), BOOT), Err(SnapshotError::Version { found: 2 })));
}

#[test]
fn another_boot_is_told_as_such() {
    let names = BTreeMap::from([("api.example.com".to_owned(), vec![Vip::from([192, 0, 2, 9])])]);
    let snapshot = Snapshot { names: names.clone(), ..snapshot() };
    let error = decode(&encode(&snapshot), "another").expect_err("another boot");
    assert_eq!(
        error.to_string(),
        format!("the snapshot is of boot {BOOT}, this is boot another; starting without it")
    );
    let kept = match error {
        SnapshotError::OtherBoot { lasting, .. } => Some(lasting.names),
        _ => None,
    };
    assert_eq!(kept, Some(names), "a reboot changes no DNS");
}

#[test]
fn sound_bytes_that_are_no_snapshot_are_told_as_such() {
    let content = b"{\"boot_id\":1}";
    let bytes = [first_line(content).as_bytes(), content].concat();
    assert!(matches!(decode(&bytes, BOOT), Err(SnapshotError::Content(_))));
}

proptest! {
    #[test]
    fn every_changed_byte_is_noticed(at: prop::sample::Index, flip in 1_u8..) {
        let mut bytes = encode(&snapshot());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(&bytes, BOOT).is_err(), "byte {at} changed by {flip:#x} was not noticed");
    }

    #[test]
    fn anything_appended_is_noticed(tail in prop::collection::vec(any::<u8>(), 1..20)) {
        let bytes = [encode(&snapshot()), tail].concat();
        prop_assert!(decode(&bytes, BOOT).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes, BOOT).is_err());
    }
}
