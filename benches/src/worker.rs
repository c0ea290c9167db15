//! A process of a run that is no server: how it is started, told to go on, and heard.

use crate::system::{Cell, System, end_with_parent, part};
use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A publisher or subscriber.
pub struct Worker {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: std::path::PathBuf,
}

impl Worker {
    /// Starts this program as one.
    pub fn start(role: &str, system: &dyn System, run: &Cell) -> Result<Worker> {
        let name = format!("{role} {}", run.index);
        let stderr = run.path(&format!("{role}-{}.log", run.index));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).args(part(system.name(), run)).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&stderr)?).current_dir(&run.dir);
        end_with_parent(&mut command);
        let mut child = command.spawn().context("start this program again")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a pipe")?;
        Ok(Worker { name, child, stdin, stdout: BufReader::new(stdout), stderr })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("it was told to end")?;
        writeln!(stdin, "{line}").map_err(|error| self.failed(&error.to_string()))
    }

    /// Waits for the line that begins with `word`. `alive` says whether to go on waiting.
    pub fn expect(&mut self, word: &str, mut alive: impl FnMut() -> bool) -> Result<String> {
        while !self.stdout.buffer().contains(&b'\n') {
            let mut fds = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(50u8))? > 0 {
                break;
            }
            if !alive() {
                return Err(self.failed(&format!("didn't get to '{word}'")));
            }
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        match line.trim_end().strip_prefix(word) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(self.failed("ended")),
        }
    }

    /// An error with what it said last.
    pub fn failed(&self, what: &str) -> anyhow::Error {
        let log = fs::read_to_string(&self.stderr).unwrap_or_default();
        // What follows is where in the program it was.
        let log = log.split("Stack backtrace").next().unwrap_or_default();
        let last: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).take(4).collect();
        anyhow!("{} {what}: {}", self.name, last.join(" "))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
