//! `nlbus doctor`: what is missing here for nlbus to work, and the command that mends it. Each group of checks is a file: it
//! gathers facts, and what they mean is decided apart from that, so that any machine's facts can be tried.

mod broker;
mod host;
mod module;
mod sockets;

use anstream::stdout;
use anstyle::{AnsiColor, Style};
use nlbus_subscribers::end::End;
use nlbus_subscribers::text::Escaped;
use serde::Serialize;
use std::io::Write;

/// Say what is missing for nlbus to work here, each with the command that mends it. Exit status 1 if anything is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and could be better or may once be trouble.
    Warning,
    /// Something doesn't work.
    Problem,
    /// It can't be told.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    pub status: Status,
    /// What is so.
    pub what: String,
    /// What to do about it: a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, what: what.into(), remedy: None }
    }

    pub fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, status: Status::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, status: Status::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub fn skipped(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, status: Status::Skipped, what: what.into(), remedy: None }
    }
}

pub fn run(args: &Args) -> Result<(), End> {
    let broker = broker::Facts::gather()?;
    let host = host::Facts::gather();
    let mut findings = vec![broker.answers()];
    findings.extend(host.findings(broker.kind()));
    findings.extend(module::Facts::gather().findings(broker.kind().is_some()));
    findings.extend(sockets::findings(broker.protocol()));
    let mut out = stdout().lock();
    for finding in &findings {
        let written = if args.json { as_json(&mut out, finding) } else { as_text(&mut out, finding) };
        written.map_err(End::output)?;
    }
    match findings.iter().filter(|finding| finding.status == Status::Problem).count() {
        0 => Ok(()),
        1 => Err(End::Failed("there is 1 problem; mend it as said above".into())),
        count => Err(End::Failed(format!("there are {count} problems; mend them as said above"))),
    }
}

fn as_json(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, finding)?;
    writeln!(out)
}

/// Coloured where that is a terminal and nobody minds; a stream that isn't one leaves the colours out.
fn as_text(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let (word, colour) = match finding.status {
        Status::Ok => ("ok", AnsiColor::Green),
        Status::Warning => ("warning", AnsiColor::Yellow),
        Status::Problem => ("problem", AnsiColor::Red),
        Status::Skipped => ("skipped", AnsiColor::BrightBlack),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let what = Escaped::text(finding.what.as_bytes());
    writeln!(out, "{style}{word:<8}{style:#} {:<10} {what}", finding.check)?;
    match &finding.remedy {
        Some(remedy) => writeln!(out, "{:20}{}", "", Escaped::text(remedy.as_bytes())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_remedy_another() {
        let said = |finding: &Finding| {
            let mut out = anstream::StripStream::new(Vec::new());
            as_text(&mut out, finding).unwrap();
            String::from_utf8(out.into_inner()).unwrap()
        };
        assert_eq!(said(&Finding::ok("kernel", "6.1")), "ok       kernel     6.1\n");
        let problem = Finding::problem("broker", "none", "nlbus broker");
        assert_eq!(said(&problem), "problem  broker     none\n                    nlbus broker\n");
        let mut json = Vec::new();
        as_json(&mut json, &problem).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"check\":\"broker\",\"status\":\"problem\",\"what\":\"none\",\"remedy\":\"nlbus broker\"}\n"
        );
    }
}
