//! `mainstay replay`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use mainstay_agent::replay::{Extent, Replay, ReplayedTurn, replay};

use crate::output::{self, Form};

/// A cell of the table is no wider than this; `-o json` shows all.
const WIDEST: usize = 100;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The recording that `mainstay run --record FILE` wrote
    file: PathBuf,
    /// Replay what can be read of a recording that was cut or damaged
    #[arg(long)]
    partial: bool,
    /// The form of the answer [default: a table]
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// Replays, and prints what the core ordered and told. An error where it says something else than was recorded.
pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let extent = if args.partial { Extent::UpToDamage } else { Extent::Whole };
    let found = replay(&args.file, extent)?;
    match args.output {
        Some(form) => output::print(form, &found)?,
        None => write!(io::stdout(), "{}", page(&found))?,
    }
    if found.version != env!("CARGO_PKG_VERSION") {
        let (theirs, ours) = (&found.version, env!("CARGO_PKG_VERSION"));
        crate::complain(&format!("recorded by version {theirs}, replayed by {ours}"));
    }
    if let Some(difference) = &found.difference {
        anyhow::bail!(
            "line {} differs from what was recorded:\n{}",
            difference.line,
            difference.text.trim_end()
        );
    }
    Ok(())
}

fn page(found: &Replay) -> String {
    let rows: Vec<_> = found.turns.iter().flat_map(rows).collect();
    let end = found.end.as_deref().unwrap_or("it was cut");
    let verdict =
        if found.difference.is_some() { "a difference in the last" } else { "same effects and events" };
    let table = output::table(["LINE", "SECONDS", "INPUT", "ANSWER"], &rows);
    format!("{table}\n{} turns replayed, {verdict}; the recording ends because: {end}\n", found.replayed)
}

/// One row for each answer; the first says what to.
fn rows(turn: &ReplayedTurn) -> Vec<[String; 4]> {
    let effects = turn.effects.iter().map(|effect| shortened(&effect.to_string()));
    let events = turn.events.iter().map(|event| format!("* {event}"));
    let mut rows: Vec<_> =
        effects.chain(events).map(|answer| [String::new(), String::new(), String::new(), answer]).collect();
    if rows.is_empty() {
        rows.push(Default::default());
    }
    let name = match &turn.input {
        serde_json::Value::String(name) => name.clone(),
        other => shortened(&other.to_string()),
    };
    let [line, seconds, input, _] = &mut rows[0];
    (*line, *seconds, *input) = (turn.line.to_string(), format!("{:.3}", turn.seconds), name);
    rows
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}
