//! Feeds the target that `MAINSTAY_FUZZ_TARGET` names with what libFuzzer makes up. The targets themselves, and what
//! they assert, are those of `cargo test`: `crates/lab/tests/fuzz/targets`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/lab/tests/fuzz/targets/mod.rs"]
mod targets;

use targets::{TARGETS, Target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let asked = std::env::var("MAINSTAY_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    let found = TARGETS.iter().find(|target| target.name == asked);
    found.unwrap_or_else(|| panic!("MAINSTAY_FUZZ_TARGET={asked:?}: one of {}", names.join(", ")))
});

fuzz_target!(|data: &[u8]| (TARGET.check)(data));
