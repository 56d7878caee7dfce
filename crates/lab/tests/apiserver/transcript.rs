//! The embedded server is held to what a real one answered: `crates/lab/transcripts`.

use std::path::{Path, PathBuf};

use mainstay_lab::transcript::compare::{differences, judge, known};
use mainstay_lab::transcript::{OnEmbedded, converse, read, script, write};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(name)
}

/// Names a file to which the embedded server's side of the conversation is written.
const KEEP: &str = "MAINSTAY_KEEP_TRANSCRIPT";

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_server_answers_as_the_real_one_did() {
    let real = read(&std::fs::read_to_string(file("kubernetes-1.20.2.jsonl")).unwrap()).unwrap();
    let asked: Vec<_> = real.iter().map(|line| line.step.clone()).collect();
    assert!(asked == script::all(), "the script has changed since: record it again on a real server");
    let mut server = OnEmbedded::start().unwrap();
    let ours = converse(&asked, &mut server).await.unwrap_or_else(|failed| panic!("{failed:#}"));
    if let Some(path) = std::env::var_os(KEEP) {
        std::fs::write(path, write(&ours).unwrap()).unwrap();
    }
    let known = known(&std::fs::read_to_string(file("known-differences.jsonl")).unwrap()).unwrap();
    let verdict = judge(differences(&real, &ours), &known);
    assert!(verdict.unknown.is_empty() && verdict.obsolete.is_empty(), "{verdict}");
}
