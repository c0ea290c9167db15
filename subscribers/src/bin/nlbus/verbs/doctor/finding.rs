//! What a check found, and how that is written.

use nlbus_subscribers::text::Escaped;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    pub status: Status,
    pub what: String,
    /// A shell line that mends it; of a warning or a problem.
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// It works, and not as well as it could.
    Warning,
    /// It doesn't work.
    Problem,
    /// It couldn't be looked at, or there was nothing to look at.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Problem => "problem",
            Status::Skipped => "skipped",
        }
    }
}

impl Finding {
    pub fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, what: what.into(), remedy: None }
    }

    pub fn skipped(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, status: Status::Skipped, what: why.into(), remedy: None }
    }

    pub fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, status: Status::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { status: Status::Problem, ..Finding::warning(check, what, remedy) }
    }
}

/// The keys are a promise to scripts.
pub fn as_json(findings: &[Finding]) -> String {
    let object = |finding: &Finding| {
        let Finding { check, status, what, remedy } = finding;
        json!({"check": check, "status": status.name(), "what": what, "remedy": remedy})
    };
    format!("{}\n", findings.iter().map(object).collect::<Value>())
}

/// A line a finding, and one more for its remedy.
pub fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, status, what, remedy } in findings {
        let _ = writeln!(text, "{:<8} {check:<18} {}", status.name(), Escaped::text(what.as_bytes()));
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "{:<8} {:<18} {}", "", "remedy:", Escaped::text(remedy.as_bytes()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_say_the_same() {
        let findings = [Finding::ok("clock", "it goes"), Finding::problem("broker", "none\nat all", "nlbus broker &")];
        assert_eq!(
            as_text(&findings),
            "ok       clock              it goes\n\
             problem  broker             none\\nat all\n\
             \x20        remedy:            nlbus broker &\n"
        );
        assert_eq!(
            as_json(&findings),
            "[{\"check\":\"clock\",\"status\":\"ok\",\"what\":\"it goes\",\"remedy\":null},\
             {\"check\":\"broker\",\"status\":\"problem\",\"what\":\"none\\nat all\",\"remedy\":\"nlbus broker &\"}]\n"
        );
    }
}
