//! The processes that the director starts: what they say, and their ends. None of them outlives the demo.

use crate::report::{self, Report};
use crate::{Role, Stage};
use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde::Serialize;
use std::io::{self, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Instant;

/// How often to look whether something that reports nothing still lives.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// What a child said; `None` when it closed its output.
type Said = (Role, io::Result<Option<Report>>);

/// The children.
#[derive(Debug)]
pub struct Team {
    members: Vec<Member>,
    reports: Receiver<Said>,
    reporter: Sender<Said>,
}

#[derive(Debug)]
struct Member {
    role: Role,
    child: Child,
    stdin: ChildStdin,
}

impl Team {
    pub fn new() -> Team {
        let (reporter, reports) = unbounded();
        Team { members: Vec::new(), reports, reporter }
    }

    /// Starts this program in a role.
    pub fn start(&mut self, role: Role, stage: &Stage) -> anyhow::Result<()> {
        let broker = stage.broker.to_possible_value().context("every broker has a name")?;
        let program = std::env::current_exe().context("can't find this program")?;
        let mut child = Command::new(program)
            .args(["--broker", broker.get_name(), "--seconds", &stage.seconds.to_string()])
            .args(["--port", &stage.port.to_string(), role.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start this program again")?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else { bail!("a child has no pipes") };
        self.members.push(Member { role, child, stdin });
        let reporter = self.reporter.clone();
        thread::Builder::new().name(role.name().into()).spawn(move || listen(role, stdout, &reporter))?;
        Ok(())
    }

    /// Says something to a child.
    pub fn tell(&mut self, role: Role, message: &impl Serialize) -> anyhow::Result<()> {
        let member = self.members.iter_mut().find(|member| member.role == role).context("no such child")?;
        report::say(&mut member.stdin, message).with_context(|| format!("can't talk to '{}'", role.name()))
    }

    /// Waits until each of these has reported once. `watch` is asked now and then whether there is still a point in it.
    pub fn hear<T>(
        &mut self,
        roles: &[Role],
        deadline: Instant,
        mut watch: impl FnMut() -> anyhow::Result<()>,
        mut read: impl FnMut(Report) -> Option<T>,
    ) -> anyhow::Result<Vec<(Role, T)>> {
        let mut heard: Vec<(Role, T)> = Vec::new();
        while heard.len() < roles.len() {
            watch()?;
            let (role, report) = match self.reports.recv_timeout(LOOK) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => continue,
                Err(_) => {
                    let silent = roles.iter().filter(|role| heard.iter().all(|(other, _)| other != *role));
                    let silent: Vec<_> = silent.map(|role| role.name()).collect();
                    bail!("no word from {} in time", silent.join(", "));
                }
            };
            match report.with_context(|| format!("can't understand '{}'", role.name()))? {
                Some(report) => match read(report) {
                    Some(value) if roles.contains(&role) => heard.push((role, value)),
                    _ => bail!("'{}' said something out of turn", role.name()),
                },
                // A publisher that has published goes; nobody else does.
                None if !roles.contains(&role) || heard.iter().any(|(other, _)| *other == role) => self.ended(role)?,
                None => {
                    self.ended(role)?;
                    bail!("'{}' ended too early", role.name());
                }
            }
        }
        Ok(heard)
    }

    /// Waits for the ends of all.
    pub fn dismiss(mut self, deadline: Instant) -> anyhow::Result<()> {
        while !self.members.is_empty() {
            match self.reports.recv_deadline(deadline) {
                Ok((role, Ok(None))) => self.ended(role)?,
                Ok((role, _)) => bail!("'{}' said something out of turn", role.name()),
                Err(_) => bail!("'{}' doesn't end", self.members[0].role.name()),
            }
        }
        Ok(())
    }

    /// A child has closed its output: its end must be a good one.
    fn ended(&mut self, role: Role) -> anyhow::Result<()> {
        let at = self.members.iter().position(|member| member.role == role).context("no such child")?;
        let mut member = self.members.swap_remove(at);
        match member.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(anyhow!("'{}' failed: {status}", role.name())),
        }
    }
}

/// A child whose standard input ends ends itself; this is for one that hangs.
impl Drop for Team {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn listen(role: Role, stdout: ChildStdout, reporter: &Sender<Said>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let report = report::hear(&mut stdout);
        let last = !matches!(report, Ok(Some(_)));
        if reporter.send((role, report)).is_err() || last {
            return;
        }
    }
}
