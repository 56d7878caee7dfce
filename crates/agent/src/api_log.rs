//! One line in the log for each change of an API server's state, however often it is asked in between. Pure: time is an
//! argument.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use mainstay_kube::{ErrorClass, ServerKind, ServerState, ServerStatus};

/// Between two lines about one server: what changes more often than that is told as it is then.
const PAUSE: Duration = Duration::from_secs(10);

/// How a server does, in as few words as count as a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Answers,
    Fails(ErrorClass),
}

/// What was told of one server.
#[derive(Debug)]
struct Told {
    word: Word,
    at: Instant,
    latest: Word,
    /// Changes that were not told.
    changes: u32,
    /// Failures in a row, as long as it fails.
    failures: u32,
    has_answered: bool,
}

/// What was told of all of them.
#[derive(Debug, Default)]
pub(crate) struct ApiLog(BTreeMap<String, Told>);

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) loud: Loud,
    pub(crate) text: String,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loud {
    Info,
    Warning,
}

impl ApiLog {
    /// What is to be told now.
    pub(crate) fn take(&mut self, now: Instant, servers: &[ServerStatus]) -> Vec<Line> {
        self.0.retain(|url, _| servers.iter().any(|server| server.url == *url));
        servers.iter().filter_map(|server| self.line(now, server)).collect()
    }

    /// When something may have to be told that was held back.
    pub(crate) fn next(&self) -> Option<Instant> {
        let held_back = self.0.values().filter(|told| told.latest != told.word);
        held_back.map(|told| told.at + PAUSE).min()
    }

    fn line(&mut self, now: Instant, server: &ServerStatus) -> Option<Line> {
        let word = word(server)?;
        let Some(told) = self.0.get_mut(&server.url) else {
            let told = Told {
                word,
                at: now,
                latest: word,
                changes: 0,
                failures: server.failures_in_a_row,
                has_answered: word == Word::Answers,
            };
            let line = Line { loud: loudness(server, &told), text: text(server, word, &told) };
            self.0.insert(server.url.clone(), told);
            return Some(line);
        };
        told.changes += u32::from(told.latest != word);
        told.latest = word;
        if word != Word::Answers {
            told.failures = server.failures_in_a_row;
        }
        if told.word == word || now < told.at + PAUSE {
            return None;
        }
        let line = Line { loud: loudness(server, told), text: text(server, word, told) };
        (told.word, told.at, told.changes) = (word, now, 0);
        told.has_answered |= word == Word::Answers;
        Some(line)
    }
}

fn word(server: &ServerStatus) -> Option<Word> {
    match (server.state, &server.last_error) {
        (ServerState::Untried, _) => None,
        (ServerState::Failing, Some(trouble)) => Some(Word::Fails(trouble.class)),
        _ => Some(Word::Answers),
    }
}

/// Where there is no API server on this host, the local one has never answered: nobody needs to look.
fn loudness(server: &ServerStatus, told: &Told) -> Loud {
    let expected = server.kind == ServerKind::Local && !told.has_answered;
    if told.latest == Word::Answers || expected { Loud::Info } else { Loud::Warning }
}

fn text(server: &ServerStatus, word: Word, told: &Told) -> String {
    let often = if told.changes > 1 { format!(" (changed {} times)", told.changes) } else { String::new() };
    match (word, &server.last_error) {
        (Word::Fails(class), Some(trouble)) => {
            format!(
                "{} fails ({}): {}; what is held stays held{often}",
                Name(server),
                class.word(),
                trouble.text
            )
        }
        _ if told.failures > 0 => {
            format!("{} answers again, after {} failures{often}", Name(server), told.failures)
        }
        _ => format!("{} answers{often}", Name(server)),
    }
}

/// `the API server https://10.0.0.1:6443 (learned)`
pub(crate) struct Name<'a>(pub(crate) &'a ServerStatus);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server {} ({})", self.0.url, kind(self.0.kind))
    }
}

/// The word for where a server is known from.
pub(crate) fn kind(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Local => "local",
        ServerKind::Configured => "configured",
        ServerKind::Learned => "learned",
    }
}

/// The word for how a server does.
pub(crate) fn state(state: ServerState) -> &'static str {
    match state {
        ServerState::Untried => "untried",
        ServerState::Answering => "answering",
        ServerState::Failing => "failing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::api_server;

    fn failing(class: ErrorClass, failures: u32) -> ServerStatus {
        api_server(Some((class, failures)))
    }

    fn answering() -> ServerStatus {
        api_server(None)
    }

    #[test]
    fn a_change_is_one_line_and_its_repetition_none() {
        let begin = Instant::now();
        let mut log = ApiLog::default();
        let mut said = |seconds: u64, server: ServerStatus| {
            let lines = log.take(begin + Duration::from_secs(seconds), &[server]);
            lines.into_iter().map(|line| (line.loud, line.text)).next()
        };
        let name = "the API server https://10.0.0.1:6443 (configured)";
        let untried = ServerStatus { state: ServerState::Untried, ..answering() };
        assert_eq!(said(0, untried), None);
        assert_eq!(said(1, answering()), Some((Loud::Info, format!("{name} answers"))));
        assert_eq!(said(2, answering()), None);
        let words = |class: &str| format!("{name} fails ({class}): no luck; what is held stays held");
        let timeout = |failures| failing(ErrorClass::Timeout, failures);
        assert_eq!(said(20, timeout(1)), Some((Loud::Warning, words("timeout"))));
        for failures in 2..50 {
            assert_eq!(said(20 + u64::from(failures), timeout(failures)), None);
        }
        let refused = failing(ErrorClass::Connect, 50);
        assert_eq!(said(80, refused), Some((Loud::Warning, words("connect"))), "another kind is a change");
        let again = format!("{name} answers again, after 50 failures");
        assert_eq!(said(100, answering()), Some((Loud::Info, again)));
    }

    #[test]
    fn a_server_that_comes_and_goes_is_told_of_once_in_a_while_as_it_is_then() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut log = ApiLog::default();
        assert_eq!(log.take(at(0), &[answering()]).len(), 1);
        let overloaded = failing(ErrorClass::Overloaded, 1);
        for second in 1..8 {
            let server = if second % 2 == 0 { answering() } else { overloaded.clone() };
            assert_eq!(log.take(at(second), &[server]), []);
        }
        assert_eq!(log.next(), Some(at(10)));
        let lines = log.take(at(10), std::slice::from_ref(&overloaded));
        assert!(lines[0].text.ends_with("(changed 7 times)"), "{lines:?}");
        assert_eq!((lines.len(), log.next()), (1, None));
    }

    #[test]
    fn a_host_without_an_api_server_is_no_warning() {
        let local = |server| ServerStatus { kind: ServerKind::Local, ..server };
        let begin = Instant::now();
        let mut log = ApiLog::default();
        let mut loud =
            |seconds: u64, server| log.take(begin + Duration::from_secs(seconds), &[server])[0].loud;
        assert_eq!(loud(0, local(failing(ErrorClass::Connect, 1))), Loud::Info);
        assert_eq!(loud(20, local(answering())), Loud::Info);
        assert_eq!(loud(40, local(failing(ErrorClass::Connect, 1))), Loud::Warning, "it had one");
    }
}
