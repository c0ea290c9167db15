//! `nlbus doctor`: what is missing for nlbus to work here, and the command that mends it. A group of checks is a file in
//! `doctor/`: it reads its facts into a struct, and judges them apart from that, so that hosts which aren't at hand can be
//! judged in tests.
//!
//! Whether events arrive is tried with one event to `$doctor/PID`: filters that begin with a wildcard don't match topics
//! with a `$`, so that nobody hears of it who didn't ask for it by name, and the topic is deleted at once.

mod broker;
mod clock;
mod drops;
mod finding;
mod kernel;
mod look;
mod module;
mod modules_built;
mod namespaces;
mod receive_buffer;
mod trial;
mod units;

use finding::{Finding, Status};
use nlbus_subscribers::end::End;
use std::io::Write as _;

/// Find what is missing for nlbus to work here, and the command that mends it.
///
/// Exits with 0 unless there is a problem; warnings are none.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON array of objects: check, status (ok, warning, problem or skipped), what, and remedy or null.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), End> {
    let findings = examine();
    let shown = if args.json { finding::as_json(&findings) } else { finding::as_text(&findings) };
    std::io::stdout().write_all(shown.as_bytes()).map_err(End::output)?;
    match findings.iter().filter(|finding| finding.status == Status::Problem).count() {
        0 => Ok(()),
        1 => Err(End::Failed("there is 1 problem; its remedy stands below it".into())),
        many => Err(End::Failed(format!("there are {many} problems; each one's remedy stands below it"))),
    }
}

/// All checks, in the order in which one thing builds on another.
fn examine() -> Vec<Finding> {
    let module = module::Facts::read();
    let served = module.is_serving();
    let usable = served || module.is_loadable();
    let broker = broker::Facts::read(served);
    let reached = broker.reached();
    let protocol = reached.map(|info| info.protocol);
    let by_module = reached.is_some_and(|info| info.broker == nlbus::BrokerKind::Module);
    let mut findings = kernel::Facts::read().findings();
    findings.extend(module.findings());
    findings.extend(modules_built::Facts::read(usable).findings());
    findings.extend(namespaces::Facts::read(by_module).findings());
    findings.extend(broker.findings());
    if reached.is_some() {
        findings.extend(trial::Facts::read().findings());
    }
    findings.extend(receive_buffer::Facts::read().findings());
    findings.extend(drops::findings(protocol));
    findings.extend(units::Facts::read().findings());
    findings.extend(clock::findings(std::time::SystemTime::now()));
    findings
}
