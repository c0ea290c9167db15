//! A host: a network namespace with a user broker of its own, joined with the servers' namespace by a cable that can be
//! pulled.

use crate::program::{Program, of_nlbus};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nlbus::{Bus, Choice};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

/// What the histories of all topics of a host's broker may keep: enough for whatever waits here.
const HISTORY: &str = "512MiB";

/// A host. It ends with the test.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    number: u32,
    namespace: OwnedFd,
    broker: Option<Program>,
}

/// The calling thread's network namespace.
pub fn present_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").expect("the network namespace").into()
}

/// ip(8) in the calling thread's namespace.
pub fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap_or_else(|error| panic!("ip: {error}"));
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Host {
    /// Makes one, whose cable leads to the calling thread's namespace, which is the servers'.
    pub fn new(name: &str, number: u32) -> Host {
        let namespace = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
                present_namespace()
            });
            made.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        let path = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
        ip(&format!("link add h{number} type veth peer name eth0 netns {path}"));
        ip(&format!("addr add 10.9.{number}.1/24 dev h{number}"));
        ip(&format!("link set h{number} up"));
        let mut host = Host { name: name.into(), number, namespace, broker: None };
        host.run(|| {
            ip("link set lo up");
            ip(&format!("addr add 10.9.{number}.2/24 dev eth0"));
            ip("link set eth0 up");
        });
        host.start_broker();
        host
    }

    /// The address of the servers, as seen from here.
    pub fn way_to_servers(&self) -> String {
        format!("10.9.{}.1", self.number)
    }

    /// Runs something in a thread that is in this host's namespace, and waits for its end.
    pub fn run<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let run = || {
            setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("to enter the host's namespace");
            run()
        };
        thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts a program here.
    pub fn start(&self, program: &str, args: &[String]) -> Program {
        Program::start(&format!("{program} on {}", self.name), &self.namespace, &of_nlbus(program), args)
    }

    /// A connection to this host's bus. Its thread is in this host's namespace; who uses it needn't be.
    pub fn connect(&self) -> Bus {
        self.run(|| Bus::builder().broker(Choice::User).connect()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the broker, which isn't running.
    pub fn start_broker(&mut self) {
        let args = ["broker", "--history", HISTORY].map(str::to_owned);
        let mut broker = self.start("nlbus", &args);
        broker.hear("ready at port");
        self.broker = Some(broker);
    }

    /// Kills the broker.
    pub fn kill_broker(&mut self) {
        self.broker = None;
    }

    /// Has the broker stand still, or go on.
    pub fn pause_broker(&self, stands_still: bool) {
        let broker = self.broker.as_ref().expect("a broker");
        broker.signal(if stands_still { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Pulls the cable, or puts it in again.
    pub fn cable(&self, is_in: bool) {
        ip(&format!("link set h{} {}", self.number, if is_in { "up" } else { "down" }));
    }

    /// A page of a web server here.
    pub fn page(&self, port: u16, path: &str) -> String {
        self.run(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the web server");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("to ask");
            let mut page = String::new();
            stream.read_to_string(&mut page).expect("an answer");
            page
        })
    }
}
