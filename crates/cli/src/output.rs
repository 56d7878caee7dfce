//! Which agent is asked, and forms of output for programs and for people.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One JSON object
    Json,
    /// A YAML document
    Yaml,
}

/// Which agent is asked, and how the answer is written.
#[derive(Args)]
pub(crate) struct Asks {
    /// The agent's admin socket
    #[arg(
        long,
        env = "MAINSTAY_ADMIN_SOCKET",
        default_value = "/run/mainstay/agent.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,
    /// The form of the answer; for people when absent
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Form>,
}

/// Writes `answer` to stdout.
pub(crate) fn print(form: Form, answer: &impl Serialize) -> anyhow::Result<()> {
    let text = match form {
        Form::Json => serde_json::to_string_pretty(answer)?,
        Form::Yaml => serde_saphyr::to_string(answer)?,
    };
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}

/// Rows under headings, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    line(headings) + &body.collect::<String>()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "long cell".to_owned()], ["bbbb".to_owned(), String::new()]];
        assert_eq!(super::table(["X", "YY"], &rows), "X     YY\na     long cell\nbbbb\n");
    }
}
