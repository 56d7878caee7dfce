//! Reads a recording and replays it, for `mainstay replay`.

use std::path::Path;

use anyhow::Context as _;
pub use mainstay_core::recording::Extent;
use mainstay_core::recording::{Recording, Replayed};
use serde::Serialize;

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// The program that recorded.
    pub version: String,
    /// Why the recording ends; `None` if it was cut.
    pub end: Option<String>,
    /// The turns that ordered or told something, and the first that differs.
    pub turns: Vec<ReplayedTurn>,
    /// How many turns were replayed.
    pub replayed: usize,
    /// The first difference; then nothing after it was replayed.
    pub difference: Option<Difference>,
}

/// One turn that ordered or told something.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayedTurn {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Since the start of the recording.
    pub seconds: f64,
    /// What was given.
    pub input: serde_json::Value,
    /// What it ordered.
    pub effects: Vec<serde_json::Value>,
    /// What it told, in words.
    pub events: Vec<String>,
}

/// Where the core says something else than was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The line in the file, from 1.
    pub line: usize,
    /// What was recorded and what is said now.
    pub text: String,
}

/// Replays the recording in the file at `path`.
///
/// # Errors
/// When it cannot be read, or is no recording: the file, the line and the remedy.
pub fn replay(path: &Path, extent: Extent) -> anyhow::Result<Replay> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let recording = Recording::read(&text, extent).with_context(|| path.display().to_string())?;
    let mut replay = Replay {
        version: recording.version.clone(),
        end: recording.end.clone(),
        turns: Vec::new(),
        replayed: 0,
        difference: None,
    };
    for replayed in recording.replay() {
        replay.replayed += 1;
        if replayed.differs {
            replay.difference = Some(Difference { line: replayed.line, text: replayed.difference() });
        }
        let speaks = !replayed.output.effects.is_empty() || !replayed.output.events.is_empty();
        if speaks || replayed.differs {
            replay.turns.push(turn(&recording, &replayed)?);
        }
    }
    Ok(replay)
}

fn turn(recording: &Recording, replayed: &Replayed<'_>) -> anyhow::Result<ReplayedTurn> {
    let effects = replayed.output.effects.iter().map(serde_json::to_value);
    Ok(ReplayedTurn {
        line: replayed.line,
        seconds: replayed.turn.at.since(recording.start.now).as_secs_f64(),
        input: serde_json::to_value(&replayed.turn.input)?,
        effects: effects.collect::<Result<_, _>>()?,
        events: replayed.output.events.iter().map(ToString::to_string).collect(),
    })
}
