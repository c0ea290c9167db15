//! One command for one event: its environment, its standard input, its end.

use crossbeam_channel::Sender;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nlbus::Event;
use nlbus_subscribers::end::End;
use nlbus_subscribers::event_json::content_name;
use rustix::process::{PidfdFlags, pidfd_open};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Between SIGTERM and SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Process groups of the commands that run.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub topic: String,
    pub seq: u64,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Job {
    child: Child,
    pidfd: OwnedFd,
    timeout: Option<Duration>,
}

impl Job {
    /// Starts a command for an event. Its outcome is told when it has ended.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(
        command: &[OsString],
        event: Event,
        timeout: Option<Duration>,
        outcomes: Sender<Outcome>,
    ) -> Result<(), End> {
        let name = command[0].to_string_lossy().into_owned();
        let failed = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "; install it, or give its path",
                io::ErrorKind::PermissionDenied => "; make it executable",
                _ => "",
            };
            End::Failed(format!("can't run {name}: {error}{remedy}"))
        };
        let job = Job::spawn(command, &event, timeout).map_err(failed)?;
        let (topic, seq) = (event.topic().to_owned(), event.seq());
        let wait = move || {
            let failure = job.wait().unwrap_or_else(|error| Some(format!("can't be waited for: {error}")));
            // Nobody listens any more where the program has ended first.
            let _ = outcomes.send(Outcome { topic, seq, failure });
        };
        thread::Builder::new().name("job".into()).spawn(wait).map(drop).map_err(failed)
    }

    fn spawn(command: &[OsString], event: &Event, timeout: Option<Duration>) -> io::Result<Job> {
        // Not a pipe: a command that doesn't read its input stops nobody, and one that ends early breaks nothing.
        let mut input = File::from(memfd_create(c"payload", MFdFlags::MFD_CLOEXEC)?);
        input.write_all(event.payload())?;
        input.rewind()?;
        let sender = event.sender();
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).stdin(input).process_group(0);
        process.env("NLBUS_TOPIC", event.topic()).env("NLBUS_CONTENT", content_name(event.content()));
        process.env("NLBUS_ORIGIN", if sender.kernel { "kernel" } else { "user" });
        for (name, value) in [
            ("NLBUS_SEQ", event.seq()),
            ("NLBUS_TIME_NS", event.time_ns()),
            ("NLBUS_PORTID", sender.portid.into()),
            ("NLBUS_PID", sender.pid.into()),
            ("NLBUS_UID", sender.uid.into()),
        ] {
            process.env(name, value.to_string());
        }
        let child = process.spawn()?;
        running().insert(child.id() as i32);
        let pid = rustix::process::Pid::from_child(&child);
        Ok(Job { child, pidfd: pidfd_open(pid, PidfdFlags::empty())?, timeout })
    }

    /// Waits for its end; what went wrong.
    fn wait(mut self) -> io::Result<Option<String>> {
        let in_time = self.has_ended(self.timeout)?;
        if !in_time {
            self.signal(Signal::SIGTERM);
            if !self.has_ended(Some(PATIENCE))? {
                self.signal(Signal::SIGKILL);
                self.has_ended(None)?;
            }
        }
        // Before it is reaped: from then on its number may be another process's.
        running().remove(&(self.child.id() as i32));
        let status = self.child.wait()?;
        Ok(match in_time {
            true => failure(status),
            false => Some(format!("took longer than {:?} and was ended", self.timeout.unwrap_or_default())),
        })
    }

    fn has_ended(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        loop {
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                count => return Ok(count? > 0),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It may just have ended.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }
}

/// Ends all commands that run: SIGTERM, and after a while SIGKILL.
pub fn end_all() {
    signal_all(Signal::SIGTERM);
    let _ = thread::Builder::new().name("end".into()).spawn(|| {
        thread::sleep(PATIENCE);
        signal_all(Signal::SIGKILL);
    });
}

fn signal_all(signal: Signal) {
    for group in running().iter() {
        let _ = killpg(Pid::from_raw(*group), signal);
    }
}

fn running() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("failed with status {code}")),
        (None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or_default())),
    }
}
