//! A conversation with an API server, written down: what was asked of a real one, and what it answered.
//!
//! [`script`] says what to ask; [`converse`] asks it of any server; [`normalise`] takes out what differs from run to run
//! and keeps how it hangs together; [`compare`] says where two conversations differ. A recording of a real server is
//! committed, and the embedded one is held to it: what differs is listed with a reason, or the test fails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::apiserver::client::{Answer, ApiClient, Watching};

pub mod compare;
pub mod normalise;
pub mod script;
mod servers;

pub use servers::{OnEmbedded, OnReal};

/// How long an answer, or the next event of a watch, may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// One thing to ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in the script.
    pub step: String,
    /// Who asks.
    pub user: User,
    /// An HTTP method; `WATCH`, a GET that reads `events` events; or `FORGET`, which makes the server forget what was.
    pub method: String,
    /// Path and query. `${STEP/POINTER}` stands for what a JSON pointer finds in an earlier answer's body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media: String,
    /// `Accept`, where it is not JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accept: String,
    /// The body, with the same stand-ins as the path.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// How many events a watch has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    /// A member of `system:masters`.
    Admin,
    /// A user named `reader`, who is granted what the script grants them.
    Reader,
    /// With a token that nobody gave out.
    Stranger,
    /// Without a token.
    Anonymous,
}

/// A step and its answer, normalised: a line of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What was asked.
    #[serde(flatten)]
    pub step: Step,
    /// What was answered: `code`, `type` and `body`, or `events` of a watch.
    pub answer: Value,
}

/// A server to talk to.
pub trait Server {
    /// A client for a user.
    fn client(&self, user: User) -> ApiClient;
    /// Makes the server forget every revision but the present one.
    fn forget(&mut self) -> impl Future<Output = Result<()>>;
}

/// Asks everything, in order, and writes down the answers.
///
/// # Errors
/// When no answer comes to a step.
pub async fn converse(steps: &[Step], server: &mut impl Server) -> Result<Vec<Line>> {
    let mut bodies = BTreeMap::new();
    let mut lines = Vec::new();
    for step in steps {
        let asked = filled(step, &bodies)?;
        let answer = timeout(PATIENCE, answer(&asked, server));
        let answer = answer.await.with_context(|| format!("{}: no answer in {PATIENCE:?}", step.step))?;
        let answer = answer.with_context(|| step.step.clone())?;
        bodies.insert(step.step.clone(), answer["body"].clone());
        lines.push(Line { step: step.clone(), answer });
    }
    normalise::normalise(&mut lines);
    Ok(lines)
}

async fn answer(step: &Step, server: &mut impl Server) -> Result<Value> {
    let mut client = server.client(step.user);
    if !step.accept.is_empty() {
        client = client.accepting(&step.accept);
    }
    match step.method.as_str() {
        "FORGET" => server.forget().await.map(|()| Value::Null),
        "WATCH" => events(&mut client.watch(&step.path).await?, step.events).await,
        method => {
            let body = (!step.media.is_empty()).then_some((step.media.as_str(), &step.body));
            Ok(written(client.send(method, &step.path, body).await?))
        }
    }
}

fn written(answer: Answer) -> Value {
    let media = answer.headers.get("content-type").and_then(|media| media.to_str().ok()).unwrap_or_default();
    let warnings: Vec<_> =
        answer.headers.get_all("warning").iter().filter_map(|text| text.to_str().ok()).collect();
    let mut written = json!({ "code": answer.code, "type": media, "body": answer.body });
    if !warnings.is_empty() {
        written["warnings"] = json!(warnings);
    }
    written
}

/// Reads that many events, or until the watch ends. One that is refused has its answer for an event.
async fn events(watch: &mut Watching, count: usize) -> Result<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        match watch.next().await? {
            Some(event) => events.push(event),
            None => break,
        }
    }
    Ok(json!({ "code": watch.code(), "events": events }))
}

/// The step with its stand-ins filled in.
fn filled(step: &Step, bodies: &BTreeMap<String, Value>) -> Result<Step> {
    let mut asked = step.clone();
    asked.path = fill(&step.path, bodies)?;
    fill_value(&mut asked.body, bodies)?;
    Ok(asked)
}

fn fill_value(value: &mut Value, bodies: &BTreeMap<String, Value>) -> Result<()> {
    match value {
        Value::String(text) => *text = fill(text, bodies)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_value(item, bodies))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill_value(field, bodies))?,
        _ => {}
    }
    Ok(())
}

fn fill(text: &str, bodies: &BTreeMap<String, Value>) -> Result<String> {
    let Some((before, rest)) = text.split_once("${") else { return Ok(text.to_owned()) };
    let (name, after) = rest.split_once('}').with_context(|| format!("{text}: no end of a stand-in"))?;
    let (step, pointer) = name.split_once('/').unwrap_or((name, ""));
    let body = bodies.get(step).with_context(|| format!("{text}: no step {step} before"))?;
    let found = body.pointer(&format!("/{pointer}")).and_then(Value::as_str);
    // What the other server did not give is empty here: the difference shows where it was missing.
    Ok(format!("{before}{}{}", found.unwrap_or_default(), fill(after, bodies)?))
}

/// Reads a transcript: a line of JSON each.
///
/// # Errors
/// When a line is none.
pub fn read(text: &str) -> Result<Vec<Line>> {
    let line = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("transcript, line {}", number + 1_usize))
    };
    text.lines().enumerate().map(line).collect()
}

/// Writes a transcript.
///
/// # Errors
/// Never in practice: everything in it is JSON.
pub fn write(lines: &[Line]) -> Result<String> {
    let lines: Vec<String> = lines.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_filled_from_earlier_answers() {
        let bodies = BTreeMap::from([("made".to_owned(), json!({"metadata": {"uid": "u1"}}))]);
        assert_eq!(fill("a/${made/metadata/uid}/${made/metadata/uid}?b", &bodies).unwrap(), "a/u1/u1?b");
        assert_eq!(fill("no stand-in", &bodies).unwrap(), "no stand-in");
        assert_eq!(fill("${made/metadata/none}", &bodies).unwrap(), "");
        assert!(fill("${never/metadata}", &bodies).is_err());
        assert!(fill("${made", &bodies).is_err());
    }

    #[test]
    fn a_transcript_is_read_as_it_was_written() {
        let steps = script::all();
        let lines: Vec<Line> =
            steps.into_iter().map(|step| Line { step, answer: json!({"code": 200}) }).collect();
        assert_eq!(read(&write(&lines).unwrap()).unwrap(), lines);
        assert!(read("{}\n").is_err());
    }
}
