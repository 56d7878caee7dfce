//! `mainstay doctor`.

use std::io::{self, Write as _};

use clap::Args;
use mainstay_agent::admin::client::ask;
use mainstay_agent::admin::reply::{Configuration, Examination, Finding, Reply, Status, Verdict};
use mainstay_agent::config::{Precedence, SettingFlags};
use mainstay_agent::doctor::{examine, mend, settings_of};

use crate::agent::settings;
use crate::output::{Asks, print};
use crate::{DONE, FAILED, complain};

/// Which settings, where to ask, and how to answer.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    asks: Asks,
    /// Mend what is safe to mend: kernel settings of ARP and forwarding, and a state directory that is not there
    #[arg(long)]
    fix: bool,
}

/// Looks, tells, and mends if it is asked to. The exit code says whether there is a problem.
pub(crate) fn run(args: DoctorArgs) -> u8 {
    match look(args) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    }
}

fn look(args: DoctorArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status: Option<Reply<Status>> = runtime.block_on(ask(&args.asks.socket, "/v1/status")).ok();
    let agent: Option<Reply<Configuration>> = runtime.block_on(ask(&args.asks.socket, "/v1/config")).ok();
    let settings = match &agent {
        Some(agent) => settings_of(&agent.body),
        None => settings(args.settings.0, Precedence::EnvironmentFirst).map(|resolved| resolved.config),
    };
    let found = examine(&settings, status.as_ref().map(|reply| &reply.body));
    let examination = found.examination();
    let code = if is_bad(&examination) { FAILED } else { DONE };
    match args.asks.output {
        Some(form) => print(form, &Reply::from(examination))?,
        None => io::stdout().write_all(page(&examination).as_bytes())?,
    }
    if args.fix {
        mend(&found).iter().try_for_each(|line| writeln!(io::stderr(), "mainstay: {line}"))?;
    }
    Ok(code)
}

fn is_bad(examination: &Examination) -> bool {
    examination.findings.iter().any(|finding| finding.verdict == Verdict::Problem)
}

/// The worst last, where people look.
fn page(examination: &Examination) -> String {
    let mut findings: Vec<&Finding> = examination.findings.iter().collect();
    findings.sort_by_key(|finding| finding.verdict as u8);
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Fine => "✔",
            Verdict::Warning => "!",
            Verdict::Problem => "✘",
        };
        text += &format!("{mark} {:width$}  {}\n", finding.check, finding.says);
        if !finding.remedy.is_empty() {
            text += &format!("  {:width$}  → {}\n", "", finding.remedy);
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text + &match (count(Verdict::Problem), count(Verdict::Warning)) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (problems, warnings) => format!("\nProblems: {problems}, warnings: {warnings}.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_last_with_its_remedy_and_counted() {
        let finding = |check: &str, verdict, remedy: &str| Finding {
            check: check.to_owned(),
            verdict,
            says: "so".to_owned(),
            remedy: remedy.to_owned(),
        };
        let findings =
            vec![finding("link", Verdict::Problem, "plug it in"), finding("state", Verdict::Fine, "")];
        let examination = Examination { findings };
        let expected = "✔ state  so\n✘ link   so\n         → plug it in\n\nProblems: 1, warnings: 0.\n";
        assert_eq!((page(&examination).as_str(), is_bad(&examination)), (expected, true));
        assert_eq!(page(&Examination::default()), "\nAll is well.\n");
    }
}
