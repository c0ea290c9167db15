//! A bus of its own for each test: a real broker at a free port, and the real command.

use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead, BufReader, Write};
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where one test's broker is.
pub struct Host {
    port: u32,
}

/// Runs a test on a bus of its own. Joining groups takes `CAP_NET_ADMIN`; without it, the test runs in a user and
/// network namespace.
pub fn on_a_host<T: FnOnce(&Host)>(test: T) {
    if !may_join() {
        return in_a_namespace(std::any::type_name::<T>());
    }
    static TESTS: AtomicU32 = AtomicU32::new(0);
    // Below 2^31 and above the process ids: the kernel gives such a port to nobody unasked.
    let port = 0x4000_0000 + std::process::id() % (1 << 22) * 128 + TESTS.fetch_add(1, Ordering::Relaxed) * 2;
    test(&Host { port });
}

/// Runs a test on a bus of its own, in a network namespace of its own, where it may change the network.
pub fn in_a_network_of_its_own<T: FnOnce(&Host) + Send>(test: T) {
    if !may_join() {
        return in_a_namespace(std::any::type_name::<T>());
    }
    let run = || {
        // Of this thread, and of the processes that it starts.
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        on_a_host(test);
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic));
}

/// Whether bit 12, `CAP_NET_ADMIN`, is effective.
fn may_join() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(caps.trim(), 16).unwrap() & 1 << 12 != 0
}

/// Runs this test alone, by the name that its closure's type has, where this user has that capability.
fn in_a_namespace(closure: &str) {
    // The crate's name comes first, and closures last.
    let name = closure.split_once("::").and_then(|(_, path)| path.split("::{{closure}}").next()).unwrap();
    let test = std::env::current_exe().unwrap();
    let unshared = Command::new("unshare").arg("-Urn").arg(test).args(["--exact", name]).output();
    let unshared = unshared.expect("unshare(1) is needed where this user lacks CAP_NET_ADMIN");
    assert!(unshared.status.success(), "in a namespace: {}", String::from_utf8_lossy(&unshared.stdout));
}

impl Host {
    /// A broker that is ready.
    pub fn broker(&self) -> Running {
        let mut broker = self.nlbus(&["broker"]);
        assert!(broker.next_line().starts_with("ready at port "));
        broker
    }

    /// `nlbus` with these arguments.
    pub fn nlbus(&self, args: &[&str]) -> Running {
        self.nlbus_with(args, &[])
    }

    /// With other variables in its environment, too.
    pub fn nlbus_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_nlbus"));
        command.args(args).envs(variables.iter().copied());
        Running::start(command.stdin(Stdio::null()), args)
    }

    /// `nlbus` with these arguments and this standard input.
    pub fn nlbus_reads(&self, args: &[&str], input: Vec<u8>) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_nlbus"));
        let mut running = Running::start(command.args(args).stdin(Stdio::piped()), args);
        let mut stdin = running.child.stdin.take().unwrap();
        // A command that fails early closes its end.
        thread::spawn(move || drop(stdin.write_all(&input)));
        running
    }

    /// `nlbus sub` with these arguments, once it says that nothing can be missed any more.
    pub fn sub(&self, args: &[&str]) -> Running {
        let mut sub = self.nlbus(&[&["sub"], args].concat());
        assert_eq!(sub.next_note(), "subscribed");
        sub
    }

    /// One of the other programs, by the path that `env!("CARGO_BIN_EXE_…")` has, once it logs that it is ready.
    pub fn service(&self, program: &str, args: &[&str]) -> Running {
        let mut service =
            Running::start(self.command(program).args(args).stdin(Stdio::null()), &[&[program], args].concat());
        while !service.next_note().ends_with("ready") {}
        service
    }

    /// A command that finds this broker by its environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("NLBUS_PORT", self.port.to_string()).env("NLBUS_BROKER", "user");
        command
    }

    /// A connection of the test itself.
    pub fn connect(&self) -> nlbus::Bus {
        nlbus::Bus::builder().broker(nlbus::Choice::User).port(self.port).connect().unwrap()
    }

    /// A line of shell, in which `nlbus` is the command.
    pub fn shell(&self, line: &str) -> Running {
        let mut command = self.command("sh");
        command.args(["-c", &format!("nlbus() {{ '{}' \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_nlbus"))]);
        Running::start(command.stdin(Stdio::null()), &[line])
    }
}

/// A command that runs. It is killed if the test ends before it.
pub struct Running {
    child: Child,
    name: String,
    output: Receiver<String>,
    notes: Receiver<String>,
    seen: Vec<String>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    /// Exit status; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Lines of standard output that nobody has taken.
    pub output: Vec<String>,
    /// Lines of standard error that nobody has taken.
    pub notes: Vec<String>,
}

impl Running {
    pub fn start(command: &mut Command, args: &[&str]) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        let notes = lines(child.stderr.take().unwrap());
        Running { child, name: args.join(" "), output, notes, seen: Vec::new() }
    }

    /// Its next line on standard output.
    pub fn next_line(&mut self) -> String {
        let line = self.output.recv_timeout(PATIENCE);
        self.saw(line, "printed nothing")
    }

    /// Its next line on standard error.
    pub fn next_note(&mut self) -> String {
        let note = self.notes.recv_timeout(PATIENCE);
        self.saw(note, "said nothing on standard error")
    }

    fn saw(&mut self, line: Result<String, RecvTimeoutError>, what: &str) -> String {
        let Ok(line) = line else {
            let rest: Vec<_> = self.output.try_iter().chain(self.notes.try_iter()).collect();
            panic!("'{}' {what}; before: {:?}; on the other stream: {rest:?}", self.name, self.seen)
        };
        self.seen.push(line.clone());
        line
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let output = until_closed(&self.output, deadline);
        let notes = until_closed(&self.notes, deadline);
        let ended = |status: ExitStatus| Ended { code: status.code(), output, notes };
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return ended(status);
            }
            thread::yield_now();
        }
        self.child.kill().unwrap();
        panic!("'{}' didn't end: {:?}", self.name, ended(self.child.wait().unwrap()))
    }

    /// Waits for its end with status 0 and returns its output.
    pub fn succeeds(self) -> Vec<String> {
        let name = self.name.clone();
        let ended = self.end();
        assert_eq!(ended.code, Some(0), "'{name}': {ended:?}");
        ended.output
    }

    /// Waits for its end with this status and returns the one line on standard error.
    pub fn fails(self, code: i32) -> String {
        let name = self.name.clone();
        let mut ended = self.end();
        assert_eq!((ended.code, ended.notes.len()), (Some(code), 1), "'{name}': {ended:?}");
        ended.notes.remove(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread that reads a pipe's lines, so that nobody waits for the test to read.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn until_closed(lines: &Receiver<String>, deadline: Instant) -> Vec<String> {
    let left = || deadline.saturating_duration_since(Instant::now());
    std::iter::from_fn(|| lines.recv_timeout(left()).ok()).collect()
}
