//! The state of nlbus's systemd units.

use super::finding::Finding;
use super::look::{self, Fact, as_root};
use std::path::Path;

pub struct Facts {
    /// Whether systemd is this host's init (sd_booted(3)).
    pub is_booted: bool,
    /// A line a unit: its name, and whether it is loaded, active, and how.
    pub units: Fact<String>,
}

impl Facts {
    pub fn read() -> Facts {
        let is_booted = Path::new("/run/systemd/system").exists();
        let list = ["list-units", "--all", "--plain", "--no-legend", "--no-pager", "nlbus*"];
        let units = if is_booted { look::output("systemctl", &list) } else { Ok(String::new()) };
        Facts { is_booted, units }
    }

    pub fn findings(&self) -> Vec<Finding> {
        let check = "systemd units";
        match &self.units {
            _ if !self.is_booted => vec![Finding::skipped(check, "systemd doesn't run here")],
            Err(why) => vec![Finding::skipped(check, why)],
            Ok(units) => {
                let units: Vec<Vec<&str>> = units.lines().map(|line| line.split_whitespace().collect()).collect();
                let named = |state: &str| -> Vec<&str> {
                    units
                        .iter()
                        .filter(|unit| unit.get(2) == Some(&state))
                        .filter_map(|unit| unit.first().copied())
                        .collect()
                };
                let failed: Vec<Finding> = named("failed").into_iter().map(failed).collect();
                match (failed.is_empty(), named("active")) {
                    (false, _) => failed,
                    (true, active) if active.is_empty() => vec![Finding::skipped(check, "none of nlbus's is active")],
                    (true, active) => vec![Finding::ok(check, format!("active: {}", active.join(", ")))],
                }
            }
        }
    }
}

fn failed(unit: &str) -> Finding {
    Finding::warning(
        "systemd units",
        format!("{unit} has failed; journalctl -u {unit} says why"),
        as_root(&format!("systemctl restart {unit}")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn units_that_failed_are_named() {
        let of = |units: Fact<&str>| Facts { is_booted: true, units: units.map(str::to_owned) }.findings();
        let log = "nlbus-log.service loaded active running nlbus events to a file\n";
        assert_eq!(of(Ok(log))[0].what, "active: nlbus-log.service");
        let findings = of(Ok(&format!("{log}nlbus-exec@x.service loaded failed failed nlbus events to x\n")));
        assert_eq!((findings.len(), findings[0].status), (1, Status::Warning), "{findings:?}");
        assert!(findings[0].remedy.as_deref().unwrap().contains("systemctl restart nlbus-exec@x.service"));
        assert_eq!(of(Ok(""))[0].status, Status::Skipped);
        assert_eq!(of(Err("no bus".into()))[0].status, Status::Skipped);
        assert_eq!(Facts { is_booted: false, units: Ok(String::new()) }.findings()[0].status, Status::Skipped);
    }
}
