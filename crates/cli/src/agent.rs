//! `mainstay run` and `mainstay manager`.

use std::collections::BTreeMap;

use mainstay_agent::Ending;
use mainstay_agent::config::{Host, Layer, Layers, Precedence, Refusal, Resolved, read_file, resolve};

use crate::{DONE, FAILED, REFUSED, complain};

/// Runs the agent to its end.
pub(crate) fn run(flags: Layer, precedence: Precedence) -> u8 {
    let resolved = match settings(flags, precedence) {
        Ok(resolved) => resolved,
        Err(refusal) => {
            complain(&refusal.to_string());
            return REFUSED;
        }
    };
    match mainstay_agent::run(resolved) {
        Ok(Ending::Stopped) => DONE,
        Ok(Ending::Overdue | Ending::Aborted) => FAILED,
        Err(error) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    }
}

/// What flags, environment and a configuration file say, on this host.
pub(crate) fn settings(flags: Layer, precedence: Precedence) -> Result<Resolved, Refusal> {
    let mut layers = Layers::new(flags, &environment());
    read_file(&mut layers, precedence)?;
    resolve(layers, precedence, &Host::read())
}

/// All variables that are text; no setting is anything else.
fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
