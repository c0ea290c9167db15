//! Processes that play a role in a test: the test binary itself, started again with the role's name in the
//! environment. They talk in lines: what a role prints reaches the test, what the test says reaches the role's standard
//! input. A role ends at the latest with the test that started it.

use crate::{Args, Place, Role, patience, roles};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

const ROLE: &str = "NLBUS_SUITE_ROLE";

/// A process that plays a role. Killed when dropped.
#[derive(Debug)]
pub struct Child {
    role: String,
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// Starts a process in the calling thread's network namespace.
    pub(crate) fn start(place: Place, role: &str, args: &[String]) -> Child {
        // Not by its path: the process may be one that can't reach it.
        let mut process = Command::new("/proc/self/exe")
            .args(args)
            .env(ROLE, role)
            .env(Place::ENV, place.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start a {role}: {error}"));
        let output = process.stdout.take().map(BufReader::new);
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = output.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let input = process.stdin.take();
        Child { role: role.into(), process, input, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// When there is none after [`patience`], or it has ended.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(patience()) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the {} said nothing for {:?}", self.role, patience()),
            Err(RecvTimeoutError::Disconnected) => panic!("the {} ended: {:?}", self.role, self.process.wait()),
        }
    }

    /// Waits until it prints just this.
    ///
    /// # Panics
    /// When it prints anything else.
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line, "said by the {}", self.role);
    }

    /// Says a line to it.
    ///
    /// # Panics
    /// When it doesn't listen.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap_or_else(|| panic!("the {} was told that all is said", self.role));
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("the {} doesn't listen: {error}", self.role));
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal)
            .unwrap_or_else(|errno| panic!("{signal} to {}: {errno}", self.role));
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn end(&mut self) -> ExitStatus {
        self.input = None;
        self.process.wait().unwrap_or_else(|error| panic!("wait for the {}: {error}", self.role))
    }

    /// Closes its standard input and waits for its end, which must be a good one.
    ///
    /// # Panics
    /// When it failed.
    pub fn end_well(mut self) {
        let status = self.end();
        assert!(status.success(), "the {} ended with {status}", self.role);
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Plays the role that this process was started for, if it was.
pub(crate) fn play(roles: &[(&str, Role)]) -> bool {
    let Ok(name) = env::var(ROLE) else { return false };
    // A test that ends leaves nobody behind.
    set_pdeathsig(Signal::SIGKILL).expect("to die with the test");
    let role = roles::COMMON.iter().chain(roles).find(|(known, _)| *known == name);
    let (_, role) = role.unwrap_or_else(|| panic!("no role {name}"));
    role(Place::from_env(), &Args::new(env::args().skip(1)));
    true
}
