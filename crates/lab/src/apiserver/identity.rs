//! What the server makes up for an object: UIDs, name suffixes and time stamps.

use std::hash::{BuildHasher, Hasher, RandomState};

use jiff::Timestamp;

/// A version 4 UUID (RFC 9562). `RandomState` is seeded by the system, and each is new.
pub(super) fn unique_id() -> String {
    let (high, low) = (random(), random());
    let (high, low) = ((high & !0xf000) | 0x4000, (low & !(0b11 << 62)) | (0b10 << 62));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Five letters out of those the real name generator uses: no vowels, nothing that looks alike.
pub(super) fn random_suffix() -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = random();
    let mut letter = || {
        let chosen = bits % 27;
        bits /= 27;
        usize::try_from(chosen).map_or('b', |place| char::from(LETTERS[place]))
    };
    (0..5).map(|_| letter()).collect()
}

/// Now, in whole seconds, as `metav1.Time` is written.
pub(super) fn now_text() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same, this many seconds from now.
pub(super) fn seconds_from_now(seconds: u64) -> String {
    let later =
        Timestamp::now() + jiff::SignedDuration::from_secs(seconds.try_into().unwrap_or(i64::MAX >> 32));
    later.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random secret of 128 bits, in hex.
pub(super) fn random_token() -> String {
    format!("{:016x}{:016x}", random(), random())
}

fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u8(0);
    hasher.finish()
}
