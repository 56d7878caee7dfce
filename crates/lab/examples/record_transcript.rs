//! Records what a real API server answers: `KUBEBUILDER_ASSETS=DIR cargo run -p mainstay-lab --example
//! record_transcript`. Writes `crates/lab/transcripts/kubernetes-VERSION.jsonl`, which is committed.

#![expect(clippy::print_stdout, reason = "a program that says what it did")]

use std::path::Path;

use anyhow::{Result, anyhow};
use mainstay_lab::apiserver::real::assets;
use mainstay_lab::transcript::{OnReal, Server, User, converse, script, write};

fn main() -> Result<()> {
    let mut server = OnReal::start(&assets().map_err(|reason| anyhow!(reason))?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (version, lines) = runtime.block_on(async {
        let version = server.client(User::Admin).get("/version").await?.body;
        anyhow::Ok((version, converse(&script::all(), &mut server).await?))
    })?;
    let version = version["gitVersion"].as_str().unwrap_or_default().trim_start_matches('v').to_owned();
    let file = format!("kubernetes-{version}.jsonl");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(file);
    std::fs::write(&path, write(&lines)?)?;
    println!("{} answers in {}", lines.len(), path.display());
    Ok(())
}
