//! A recording: all that a core was given, and what it answered; and how the same core answers it again.
//!
//! JSON lines. The first says what the core began with, each that follows is one turn, the last says why the recording
//! ends:
//!
//! ```text
//! {"recording":{"format":1,"version":"0.1.0","start":{"settings":{..},"found":{..},"now":81000000000,"seed":7}}}
//! {"turn":{"at":81000000000,"input":"tick","effects":[..],"events":[..]}}
//! {"end":{"reason":"the agent ended"}}
//! ```
//!
//! The core is deterministic, so the same inputs at the same moments give the same effects and events: where they do
//! not, the program differs from the one that was recorded. Reading and writing files is the agent's.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::event::Event;
use crate::input::Input;
use crate::node::{Node, Output};
use crate::settings::{Found, OnAuthorityLoss, Settings};
use crate::time::Moment;

#[cfg(test)]
mod tests;

/// The format's version: raised when an older program could misread a newer file.
pub const FORMAT: u32 = 1;

/// How much of a file's own words a message repeats, in characters.
const LONGEST_QUOTE: usize = 200;

/// No setting is longer; a core calculates with its times and does not expect them to overflow.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 86_400);

/// What a core begins with: the arguments of [`Node::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// What it was told.
    pub settings: Settings,
    /// What was found.
    pub found: Found,
    /// The moment of the start.
    pub now: Moment,
    /// What fed its jitter.
    pub seed: u64,
}

impl Start {
    /// The core as it was then.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::new(self.settings.clone(), self.found.clone(), self.now, self.seed)
    }
}

/// One input, and what the core made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When it was given.
    pub at: Moment,
    /// What was given.
    pub input: Input,
    /// The orders it gave.
    pub effects: Vec<Effect>,
    /// The things it told.
    pub events: Vec<Event>,
}

impl Turn {
    /// What a core made of an input.
    #[must_use]
    pub fn new(at: Moment, input: Input, output: Output) -> Self {
        Self { at, input, effects: output.effects, events: output.events }
    }
}

/// A recording in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The program that recorded it.
    pub version: String,
    /// What its core began with.
    pub start: Start,
    /// What happened.
    pub turns: Vec<Turn>,
    /// Why it ends; `None` if it was cut.
    pub end: Option<String>,
}

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The first.
    Recording {
        /// [`FORMAT`] of the program that wrote it.
        format: u32,
        /// That program.
        version: String,
        /// What its core began with.
        start: Box<Start>,
    },
    /// One turn.
    Turn(Turn),
    /// The last.
    End {
        /// Why there are no more, in words.
        reason: String,
    },
}

impl Line {
    /// The first line of a recording by the program `version`.
    #[must_use]
    pub fn first(version: &str, start: Start) -> Self {
        Self::Recording { format: FORMAT, version: version.to_owned(), start: Box::new(start) }
    }

    /// The line's text, with its end.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text =
            serde_json::to_string(self).expect("map keys are texts, and a string takes every write");
        text.push('\n');
        text
    }
}

/// How much of a file has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, its end included.
    Whole,
    /// What can be read before the first line that cannot.
    UpToDamage,
}

/// Why a text is no recording that can be replayed. Each names the line and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The first line is not a recording's.
    #[error("line 1: this does not begin as a recording does; give a file that mainstay run --record wrote")]
    NoRecording,
    /// Another format.
    #[error(
        "line 1: a recording of format {found}, and this program reads format {FORMAT}; replay it with Mainstay {version}"
    )]
    Format {
        /// Its format.
        found: u64,
        /// The program that wrote it.
        version: String,
    },
    /// It begins as no agent does: not with settings that one accepts.
    #[error("line 1: no agent begins with {what}; the file was changed or damaged")]
    Start {
        /// With what.
        what: &'static str,
    },
    /// A line that says nothing.
    #[error(
        "line {line}: {cause}; the file was changed or damaged, --partial replays what is before this line"
    )]
    Malformed {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// It ends before its end.
    #[error(
        "line {line}: the recording breaks off here; the agent was killed or the file was cut, --partial replays what is there"
    )]
    Truncated {
        /// The last line, from 1.
        line: usize,
    },
    /// There is more after its end.
    #[error("line {line}: the recording ended before this line; these are several recordings, split them")]
    AfterEnd {
        /// Which, from 1.
        line: usize,
    },
}

impl Recording {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// [`RecordingError`]; of [`Extent::UpToDamage`] only those of the first line.
    pub fn read(text: &str, extent: Extent) -> Result<Self, RecordingError> {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mut recording = read_first(first)?;
        let mut end_at = 1;
        for (number, line) in (2..).zip(rest.split_inclusive('\n')) {
            end_at = number;
            match recording.take_in(number, line) {
                Ok(()) => {}
                Err(_) if extent == Extent::UpToDamage => return Ok(recording),
                Err(error) => return Err(error),
            }
        }
        if recording.end.is_none() && extent == Extent::Whole {
            return Err(RecordingError::Truncated { line: end_at });
        }
        Ok(recording)
    }

    fn take_in(&mut self, number: usize, line: &str) -> Result<(), RecordingError> {
        if self.end.is_some() {
            return Err(RecordingError::AfterEnd { line: number });
        }
        if !line.ends_with('\n') {
            return Err(RecordingError::Truncated { line: number });
        }
        let malformed = |cause: String| RecordingError::Malformed { line: number, cause };
        match serde_json::from_str(line).map_err(|error| malformed(in_its_line(&error)))? {
            Line::Recording { .. } => return Err(malformed("a recording begins inside another".to_owned())),
            Line::Turn(turn) => self.turns.push(turn),
            Line::End { reason } => self.end = Some(reason),
        }
        Ok(())
    }

    /// The file's text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = Line::first(&self.version, self.start.clone()).encode();
        for turn in &self.turns {
            text += &Line::Turn(turn.clone()).encode();
        }
        if let Some(reason) = &self.end {
            text += &Line::End { reason: reason.clone() }.encode();
        }
        text
    }

    /// Gives the same core the same inputs, turn by turn, up to the first that it answers otherwise.
    pub fn replay(&self) -> impl Iterator<Item = Replayed<'_>> {
        let mut node = self.start.node();
        let mut differed = false;
        (2..).zip(&self.turns).map_while(move |(line, turn)| {
            if differed {
                return None;
            }
            let output = node.handle(turn.at, &turn.input);
            differed = output.effects != turn.effects || output.events != turn.events;
            Some(Replayed { line, turn, output, differs: differed })
        })
    }
}

/// One turn replayed.
#[derive(Clone, Debug)]
pub struct Replayed<'a> {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What was recorded.
    pub turn: &'a Turn,
    /// What the core says now.
    pub output: Output,
    /// Whether that is something else.
    pub differs: bool,
}

impl Replayed<'_> {
    /// What was recorded and what is said now, in lines for people; empty if both are the same.
    #[must_use]
    pub fn difference(&self) -> String {
        let mut text = String::new();
        side_by_side(&mut text, "effect", &self.turn.effects, &self.output.effects);
        side_by_side(&mut text, "event", &self.turn.events, &self.output.events);
        text
    }
}

fn side_by_side<T: PartialEq + Serialize>(text: &mut String, what: &str, recorded: &[T], replayed: &[T]) {
    for index in 0..recorded.len().max(replayed.len()) {
        let (one, other) = (recorded.get(index), replayed.get(index));
        if one == other {
            continue;
        }
        let show = |side: Option<&T>| side.and_then(|side| serde_json::to_string(side).ok());
        for (side, value) in [("recorded", show(one)), ("replayed", show(other))] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {what} {} {side}: {}", index + 1, value.as_deref().unwrap_or("none"));
        }
    }
}

fn read_first(line: &str) -> Result<Recording, RecordingError> {
    let any: serde_json::Value = serde_json::from_str(line).map_err(|_| RecordingError::NoRecording)?;
    let found = any["recording"]["format"].as_u64().ok_or(RecordingError::NoRecording)?;
    if found != u64::from(FORMAT) {
        let version = any["recording"]["version"].as_str().unwrap_or("of that format");
        return Err(RecordingError::Format { found, version: shown(version) });
    }
    match serde_json::from_value(any) {
        Ok(Line::Recording { version, start, .. }) => {
            check_settings(&start.settings)?;
            Ok(Recording { version, start: *start, turns: Vec::new(), end: None })
        }
        Ok(_) => Err(RecordingError::NoRecording),
        Err(error) => Err(RecordingError::Malformed { line: 1, cause: in_its_line(&error) }),
    }
}

/// A core believes its settings, for an agent checks them; a file's were checked by nobody.
fn check_settings(settings: &Settings) -> Result<(), RecordingError> {
    let release_after = match settings.on_authority_loss {
        OnAuthorityLoss::Hold => Duration::ZERO,
        OnAuthorityLoss::ReleaseAfter(after) => after,
    };
    let (lease, detection) = (settings.lease, settings.detection);
    let times = [lease.duration, lease.renew_deadline, lease.retry_period, detection.interval];
    let others = [settings.lifetime, settings.restart_grace, release_after];
    let refuse = |what| Err(RecordingError::Start { what });
    match () {
        () if settings.vips.is_empty() => refuse("a claim without an address"),
        () if times.iter().chain(&others).any(|time| *time > LONGEST_TIME) => refuse("a time of years"),
        () => Ok(()),
    }
}

/// What is wrong with a line, without the library's count of lines, which is always the first.
fn in_its_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    shown(text.rsplit_once(" at line ").map_or(&*text, |(cause, _)| cause))
}

/// A file's own words as part of a message: not longer than a line is, and without what a terminal would obey.
fn shown(words: &str) -> String {
    words.chars().take(LONGEST_QUOTE).map(|c| if c.is_control() { '?' } else { c }).collect()
}
