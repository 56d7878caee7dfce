//! `mainstay explain`.

use std::io::{self, Write as _};

use clap::Args;
use mainstay_agent::admin::client::ask;
use mainstay_agent::admin::reply::{Explanation, Reply};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::output::{Asks, print};

/// What to explain, where to ask, and how to answer.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// A claim (control-plane), an address, an API server behind the VIP (its address or node), or a Service
    /// (NAMESPACE/NAME); the first claim when absent
    #[arg(value_name = "WHAT", default_value = "", hide_default_value = true)]
    about: String,
    #[command(flatten)]
    asks: Asks,
}

/// Asks the agent and shows what it says.
pub(crate) fn show(args: &ExplainArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = format!("/v1/explain?about={}", utf8_percent_encode(&args.about, NON_ALPHANUMERIC));
    let reply: Reply<Explanation> = runtime.block_on(ask(&args.asks.socket, &path))?;
    match args.asks.output {
        Some(form) => print(form, &reply),
        None => Ok(io::stdout().write_all(text(&reply.body).as_bytes())?),
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation { about, conclusion, because, would_change } = explanation;
    let width = because.iter().map(|reason| reason.source.chars().count()).max().unwrap_or_default();
    let mut text = format!("{about}\n  {conclusion}\n");
    let mut before = "";
    for (at, reason) in because.iter().enumerate() {
        // A source that says more than one thing is named once.
        let source = if reason.source == before { "" } else { &reason.source };
        before = &reason.source;
        text += &format!("{}  {source:width$}  {}\n", if at == 0 { "\n" } else { "" }, reason.says);
    }
    if !would_change.is_empty() {
        text += "\nWhat would change it:\n";
    }
    would_change.iter().for_each(|change| text += &format!("  - {change}\n"));
    text
}

#[cfg(test)]
mod tests {
    use mainstay_agent::admin::reply::Reason;

    use super::*;

    #[test]
    fn reasons_line_up_and_a_source_is_named_once() {
        let reason = |source: &str, says: &str| Reason { source: source.to_owned(), says: says.to_owned() };
        let explanation = Explanation {
            about: "control-plane (10.0.0.9)".to_owned(),
            conclusion: "n1 holds it".to_owned(),
            because: vec![reason("the wire", "heard"), reason("lately", "one"), reason("lately", "two")],
            would_change: vec!["a death".to_owned()],
        };
        let expected = "control-plane (10.0.0.9)\n  n1 holds it\n\n  the wire  heard\n  lately    one\n            two\n\nWhat would change it:\n  - a death\n";
        assert_eq!(text(&explanation), expected);
    }
}
