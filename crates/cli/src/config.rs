//! `mainstay config`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mainstay_agent::admin::reply::Reply;
use mainstay_agent::config::{CheckReport, CheckedPart, CheckedSetting, check, reference};

use crate::output::{Form, print, table};
use crate::{DONE, FAILED, REFUSED, complain};

#[derive(Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what becomes of every setting of a kube-vip manifest, or of a configuration file
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Print the reference of all settings, in Markdown
    Reference,
}

const CHECK_HELP: &str = "\
Reads Pods, DaemonSets and other objects with containers, several documents in a file, and YAML files for
`mainstay run --config`. Touches nothing but the file; what depends on the host is checked when the agent starts.

Exit code 0: every setting is known, and works, is accepted, or asks for nothing. 1: one is refused, unknown, or asks
for what is not done yet. 2: the file cannot be read.

  mainstay config check /etc/kubernetes/manifests/kube-vip.yaml";

#[derive(Args)]
struct CheckArgs {
    /// The file; - is standard input
    file: PathBuf,
    /// The form of the answer [default: tables]
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// Runs the command; the exit code says what was found.
pub(crate) fn run(args: &ConfigArgs) -> u8 {
    let result = match &args.command {
        Command::Check(args) => run_check(args),
        Command::Reference => write!(io::stdout(), "{}", reference()).map(|()| DONE).map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        FAILED
    })
}

fn run_check(args: &CheckArgs) -> anyhow::Result<u8> {
    let name = args.file.display().to_string();
    let text = match read(args) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!(
                "{name}: it cannot be read: {error}; name a YAML file that this user may read"
            ));
            return Ok(REFUSED);
        }
    };
    let report = match check(&name, &text) {
        Ok(report) => report,
        Err(unreadable) => {
            complain(&unreadable.to_string());
            return Ok(REFUSED);
        }
    };
    let code = if report.is_fine() { DONE } else { FAILED };
    match args.output {
        Some(form) => print(form, &Reply::from(report))?,
        // What a file says may be anything; a terminal would obey it.
        None => {
            write!(io::stdout(), "{}", page(&report).replace(|c: char| c.is_control() && c != '\n', "?"))?
        }
    }
    Ok(code)
}

fn read(args: &CheckArgs) -> io::Result<String> {
    if args.file.as_os_str() == "-" {
        io::read_to_string(io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    }
}

fn page(report: &CheckReport) -> String {
    let parts = report.parts.iter().map(part).collect::<Vec<_>>().join("\n");
    let without = report.without_settings.iter().map(|name| format!("{name}: no settings in it\n"));
    let verdict =
        match report.parts.iter().flat_map(|part| &part.settings).filter(|setting| !setting.fine).count() {
            _ if report.parts.is_empty() => "Nothing to check.".to_owned(),
            0 if report.is_fine() => "All is well.".to_owned(),
            0 => "An agent would not start with this.".to_owned(),
            1 => "One setting needs a look.".to_owned(),
            several => format!("{several} settings need a look."),
        };
    format!("{parts}{}\n{verdict}\n", without.collect::<String>())
}

fn part(part: &CheckedPart) -> String {
    let rows: Vec<_> = part.settings.iter().map(row).collect();
    let mut text =
        format!("{}\n{}", part.name, table(["", "SETTING", "VALUE", "IN FORCE", "VERDICT", "NOTE"], &rows));
    for problem in &part.problems {
        text += &format!("✘ {problem}\n");
    }
    for remark in &part.remarks {
        text += &format!("- {remark}\n");
    }
    text
}

fn row(setting: &CheckedSetting) -> [String; 6] {
    let mark = if setting.fine { "✔" } else { "✘" };
    let cells = [&setting.name, &setting.value, &setting.effective, &setting.verdict, &setting.note];
    let [name, value, effective, verdict, note] = cells.map(|cell| cell.replace(char::is_control, "?"));
    [mark.to_owned(), name, value, effective, verdict, note]
}
