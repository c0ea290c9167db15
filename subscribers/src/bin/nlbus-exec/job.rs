//! One command for one event: its environment, its standard input, its end.

use crate::groups::{self, PATIENCE};
use crossbeam_channel::{Sender, bounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nlbus::Event;
use nlbus_subscribers::event_json::content_name;
use rustix::process::{PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How often to look whether a group is empty, which nothing tells of.
const LOOK: Duration = Duration::from_millis(50);

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
struct Job {
    child: Child,
    pidfd: OwnedFd,
    timeout: Option<Duration>,
}

/// Starts a command for an event. Its outcome is told when it has ended.
///
/// # Errors
/// When it can't be started. Then nothing of it has run, and [`is_passing`] says whether to try again.
pub fn start(
    command: &[OsString],
    event: &Event,
    timeout: Option<Duration>,
    outcomes: Sender<Outcome>,
) -> io::Result<()> {
    // The thread first: once the command runs, it must not fail any more.
    let (hand_over, job) = bounded::<Job>(1);
    let (topic, seq) = (event.topic().to_owned(), event.seq());
    let wait = move || {
        let Ok(job) = job.recv() else { return };
        let failure = job.wait().unwrap_or_else(|error| Some(format!("can't be waited for: {error}")));
        // Nobody listens any more where the program has ended first.
        let _ = outcomes.send(Outcome { topic, seq, failure });
    };
    thread::Builder::new().name("job".into()).spawn(wait)?;
    let job = Job::spawn(command, event, timeout)?;
    // The thread waits for it.
    let _ = hand_over.send(job);
    Ok(())
}

/// Whether what stops a command from being started will pass: there are too many files or processes, or too little
/// memory.
pub fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::EMFILE, Errno::ENFILE, Errno::EAGAIN, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|number| passing.contains(&Errno::from_raw(number)))
}

impl Job {
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
        // Given back once the command runs, so that a descriptor is left to watch it with.
        let reserve = memfd_create(c"reserve", MFdFlags::MFD_CLOEXEC)?;
        let mut child = groups::spawn(&mut process)?;
        drop((process, reserve));
        match pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Job { child, pidfd, timeout }),
            Err(error) => {
                groups::kill(&child);
                groups::forget(&child);
                let _ = child.wait();
                // It has begun, so it is not for another try, whatever the number says.
                Err(io::Error::other(format!("it can't be watched: {error}")))
            }
        }
    }

    /// Waits for its end; what went wrong.
    fn wait(mut self) -> io::Result<Option<String>> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let in_time = self.has_ended_by(deadline)?;
        if !in_time || groups::are_ending() {
            self.end_group(in_time)?;
        }
        // Before it is reaped: from then on its number may be another process's.
        groups::forget(&self.child);
        let status = self.child.wait()?;
        Ok(match in_time {
            true => failure(status),
            false => Some(format!("took longer than {:?} and was ended", self.timeout.unwrap_or_default())),
        })
    }

    /// Ends the whole group, for a shell ends at SIGTERM at once and leaves what it runs behind. All have the same time
    /// to put things in order.
    fn end_group(&self, has_ended: bool) -> io::Result<()> {
        if !has_ended {
            groups::terminate(&self.child);
        }
        let deadline = Instant::now() + PATIENCE;
        self.has_ended_by(Some(deadline))?;
        while Instant::now() < deadline && groups::has_others(&self.child) {
            thread::sleep(LOOK);
        }
        groups::kill(&self.child);
        self.has_ended_by(None).map(drop)
    }

    fn has_ended_by(&self, deadline: Option<Instant>) -> io::Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout =
                left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) if left.is_none_or(|left| !left.is_zero()) => {}
                Ok(count) => return Ok(count > 0),
            }
        }
    }
}

fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("failed with status {code}")),
        (None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or_default())),
    }
}
