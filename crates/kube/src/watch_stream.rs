//! A watch's body: one JSON object a line, cut anywhere by the transport. Pure.

use serde_json::Value;

/// A line longer than this is no event of ours.
const LONGEST_LINE: usize = 1 << 20;

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// The object was added or changed.
    Present(Value),
    /// The object was deleted; its last state.
    Deleted(Value),
    /// Nothing happened up to this resource version.
    Bookmark(String),
    /// The resource version is too old to watch from.
    Gone,
    /// The server ends the watch with an error.
    Error(String),
}

/// Cuts chunks into events.
#[derive(Debug)]
pub struct Lines {
    rest: Vec<u8>,
    longest: usize,
}

impl Default for Lines {
    /// For small objects: lines of 1 MiB at most.
    fn default() -> Self {
        Self::up_to(LONGEST_LINE)
    }
}

impl Lines {
    /// For lines of this many bytes at most.
    #[must_use]
    pub fn up_to(longest: usize) -> Self {
        Self { rest: Vec::new(), longest }
    }

    /// Takes a chunk in and returns the events that are complete. A line that makes no sense is an `Error` event:
    /// what follows it cannot be trusted either.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<WatchEvent> {
        self.rest.extend_from_slice(chunk);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|&byte| byte == b'\n') {
            let line = &self.rest[from..from + length];
            if !line.trim_ascii().is_empty() {
                events.push(event(line));
            }
            from += length + 1;
        }
        self.rest.drain(..from);
        if self.rest.len() > self.longest {
            self.rest = Vec::new();
            events.push(WatchEvent::Error(format!("an event longer than {} KiB", self.longest / 1024)));
        }
        events
    }
}

fn event(line: &[u8]) -> WatchEvent {
    let mut event: Value = match serde_json::from_slice(line) {
        Ok(event) => event,
        Err(error) => return WatchEvent::Error(format!("an event that is no JSON: {error}")),
    };
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => WatchEvent::Present(object),
        Some("DELETED") => WatchEvent::Deleted(object),
        Some("BOOKMARK") => WatchEvent::Bookmark(version(&object).to_owned()),
        Some("ERROR") if object["code"] == 410 => WatchEvent::Gone,
        Some("ERROR") => WatchEvent::Error(object["message"].as_str().unwrap_or("error event").to_owned()),
        other => WatchEvent::Error(format!("an event of unknown type {other:?}")),
    }
}

/// An object's, or a list's, resource version.
pub(crate) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const STREAM: &str = concat!(
        r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}"#,
        "\n\n",
        r#"{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"2"}}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"3"}}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"metadata":{"resourceVersion":"4"}}}"#,
        "\n",
        r#"{"type":"ERROR","object":{"code":410,"reason":"Expired"}}"#,
        "\n",
        r#"{"type":"ERROR","object":{"code":500,"message":"etcd is away"}}"#,
        "\n",
        r#"{"type":"MODIFIED","obj"#,
    );

    fn expected() -> Vec<WatchEvent> {
        let object = |version: &str| json!({"metadata": {"resourceVersion": version}});
        vec![
            WatchEvent::Present(object("1")),
            WatchEvent::Present(object("2")),
            WatchEvent::Bookmark("3".to_owned()),
            WatchEvent::Deleted(object("4")),
            WatchEvent::Gone,
            WatchEvent::Error("etcd is away".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_where_chunks_are_cut(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut lines, mut events, mut from) = (Lines::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([STREAM.len()]) {
                events.extend(lines.push(&STREAM.as_bytes()[from..cut]));
                from = cut;
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            Lines::default().push(&bytes);
        }
    }

    #[test]
    fn nonsense_and_endless_lines_are_errors() {
        for line in ["nonsense\n", "{}\n", "{\"type\":\"NEW\"}\n", "7\n"] {
            assert!(matches!(Lines::default().push(line.as_bytes())[..], [WatchEvent::Error(_)]), "{line:?}");
        }
        let mut lines = Lines::default();
        assert!(matches!(lines.push(&vec![b'x'; LONGEST_LINE + 1])[..], [WatchEvent::Error(_)]));
        assert!(lines.rest.is_empty());
    }
}
