//! `mainstay doctor`: what on this host, or of what the agent meets, keeps a VIP from doing its work, and what to do about it.
//!
//! It looks at the host by itself, so it can be asked before an agent runs; an agent that runs is asked for its settings and
//! for what it met. Nothing is changed, but by [`mend`] where somebody asks for that.

mod host;
mod met;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::admin::reply::{Configuration, Examination, Finding, Status, Verdict};
use crate::config::{Config, Host, Layer, Layers, Origin, Precedence, Refusal, resolve};

/// What can be mended by writing this there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// A kernel's setting, or a directory to be made.
    path: PathBuf,
    /// `None` makes a directory.
    value: Option<&'static str>,
}

/// Everything that was found, with what can be mended.
#[derive(Debug, Default)]
pub struct Found(Vec<(Finding, Vec<Fix>)>);

impl Found {
    fn fine(&mut self, check: &str, says: impl Into<String>) {
        self.add(Verdict::Fine, (check, says.into()), String::new(), Vec::new());
    }

    fn warn(&mut self, check: &str, says: impl Into<String>, remedy: impl Into<String>) {
        self.add(Verdict::Warning, (check, says.into()), remedy.into(), Vec::new());
    }

    fn wrong(&mut self, check: &str, says: impl Into<String>, remedy: impl Into<String>) {
        self.add(Verdict::Problem, (check, says.into()), remedy.into(), Vec::new());
    }

    fn add(&mut self, verdict: Verdict, (check, says): (&str, String), remedy: String, fixes: Vec<Fix>) {
        self.0.push((Finding { check: check.to_owned(), verdict, says, remedy }, fixes));
    }

    /// What was found, without more.
    #[must_use]
    pub fn examination(&self) -> Examination {
        Examination { findings: self.0.iter().map(|(finding, _)| finding.clone()).collect() }
    }
}

/// The settings of an agent that runs, as this process would read them.
///
/// # Errors
/// [`Refusal`], as at a start.
pub fn settings_of(agent: &Configuration) -> Result<Config, Refusal> {
    let written = |origin: Origin| matches!(origin, Origin::Flag | Origin::Environment | Origin::File);
    let said = agent.settings.iter().filter(|one| written(one.origin));
    let variables: BTreeMap<String, String> =
        said.map(|one| (one.setting.clone(), one.value.clone())).collect();
    let layers = Layers::new(Layer::default(), &variables);
    resolve(layers, Precedence::EnvironmentFirst, &Host::read()).map(|resolved| resolved.config)
}

/// Looks at everything. `status` is what an agent that runs says of itself. Blocks for a moment.
#[must_use]
pub fn examine(settings: &Result<Config, Refusal>, status: Option<&Status>) -> Found {
    let mut found = Found::default();
    match settings {
        Ok(config) => {
            let vips =
                if config.vips.is_empty() { "no address".to_owned() } else { host::listed(&config.vips) };
            found.fine("settings", format!("{vips} on {}, as node {}", config.interface, config.node));
            host::look(config, status.is_some(), &mut found);
        }
        Err(refusal) => found.wrong(
            "settings",
            format!("{}={:?}: {}", refusal.setting, refusal.value, refusal.problem),
            refusal.remedy.clone(),
        ),
    }
    host::look_for_others(&mut found);
    match status {
        Some(status) => met::look(status, &mut found),
        None => found.warn(
            "agent",
            "no agent answers on this node",
            "start one (mainstay run), or name its socket (--socket)",
        ),
    }
    found
}

/// Mends what is safe to mend: what was done, a line for each.
#[must_use]
pub fn mend(found: &Found) -> Vec<String> {
    let fixes =
        found.0.iter().filter(|(finding, _)| finding.verdict != Verdict::Fine).flat_map(|(_, fixes)| fixes);
    fixes.map(mend_one).collect()
}

fn mend_one(fix: &Fix) -> String {
    let path = fix.path.display();
    let (what, done) = match fix.value {
        Some(value) => (format!("wrote {value} to {path}"), fs::write(&fix.path, value)),
        None => (format!("made the directory {path}"), fs::create_dir_all(&fix.path)),
    };
    match done {
        Ok(()) => what,
        Err(error) => format!("could not: {what}: {error}"),
    }
}
