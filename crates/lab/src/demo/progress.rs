//! Tells the person at the terminal what is happening: one line for each phase, kept up to date.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a line is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);
/// So wide is a line at most: longer ones would wrap and stay.
const WIDTH: usize = 118;

/// The terminal, or a log.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: Terminal,
    drawn: Option<Instant>,
    phase: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Live,
    Plain,
}

impl Progress {
    /// Live on a terminal, plain lines elsewhere. It speaks on stderr.
    #[must_use]
    pub(super) fn new() -> Self {
        let live = std::io::stderr().is_terminal();
        Self {
            terminal: if live { Terminal::Live } else { Terminal::Plain },
            drawn: None,
            phase: String::new(),
        }
    }

    /// A phase begins.
    pub(super) fn begin(&mut self, name: &str, words: &str) {
        self.drawn = None;
        name.clone_into(&mut self.phase);
        match self.terminal {
            Terminal::Live => self.draw(&format!("\u{25b8} {name:<18} {words}")),
            Terminal::Plain => say(&format!("> {name:<18} {words}\n")),
        }
    }

    /// The phase goes on.
    pub(super) fn update(&mut self, line: impl FnOnce() -> String) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if self.terminal == Terminal::Live && due {
            self.drawn = Some(Instant::now());
            self.draw(&format!("\u{25b8} {:<18} {}", self.phase, line()));
        }
    }

    /// The phase is over.
    pub(super) fn end(&mut self, line: &str) {
        match self.terminal {
            Terminal::Live => {
                self.draw(line);
                say("\n");
            }
            Terminal::Plain => say(&format!("  {line}\n")),
        }
    }

    fn draw(&self, line: &str) {
        let cut: String = line.chars().take(WIDTH).collect();
        say(&format!("\r\u{1b}[2K{cut}"));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// To stderr. Nobody can be told when that fails.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
