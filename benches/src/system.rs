//! What is measured: a way to get events from one publishing process to many subscribing ones.

use crate::shape::Shape;
use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::any::Any;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// One system in one variant.
pub trait System {
    /// Unique, and what `SYSTEMS=` selects by.
    fn name(&self) -> &'static str;

    /// Whose variants are compared together: "ZeroMQ". "nlbus" is ours, "floor" is no peer.
    fn peer(&self) -> &'static str;

    /// Client, transport and what is tuned, in a line.
    fn about(&self) -> &'static str;

    /// Whether its subscribers sleep while nothing comes.
    fn sleeps(&self) -> bool {
        true
    }

    /// Why it can't run here.
    fn absent(&self) -> Option<String> {
        None
    }

    /// How many events the publisher may be ahead of the slowest subscriber: what the system keeps without dropping.
    fn window(&self, cell: &Cell) -> u64 {
        cell.events_in(8 << 20).min(16_384)
    }

    /// Starts what serves publisher and subscribers, and returns when it answers.
    fn serve(&self, _run: &Cell) -> Result<Vec<Server>> {
        Ok(Vec::new())
    }

    /// Processes besides those of the run that do its work: the module's thread.
    fn others(&self) -> Vec<Pid> {
        Vec::new()
    }

    /// Runs as a server, in a process of its own that [`Server::of_ours`] started.
    fn be_server(&self, _run: &Cell, _ready: &mut dyn FnMut()) -> Result<()> {
        bail!("{} has no server of its own", self.name())
    }

    /// Removes what a run left outside of its folder.
    fn clear(&self, _run: &Cell) {}

    /// Called before any subscriber starts.
    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>>;

    /// Called when the publisher is there. Subscribed when it returns, as far as the system can tell.
    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>>;
}

pub trait Publisher {
    fn send(&mut self, payload: &[u8]) -> Result<()>;

    /// Lets nothing wait in this process any longer. Called where the publisher waits, and after each event when
    /// latency is measured.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether a subscriber goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    On,
    End,
}

/// Takes an event. Some systems call it on a thread of theirs.
pub type Sink = Box<dyn FnMut(&[u8]) -> Go + Send>;

pub trait Subscriber {
    /// Hands each event to `sink` until that says it was the last one.
    fn receive(&mut self, sink: Sink) -> Result<()>;
}

/// Size and number of subscribers of a run, and where it happens.
#[derive(Debug, Clone)]
pub struct Cell {
    /// A folder of the run's own, for sockets and configuration.
    pub dir: PathBuf,
    /// Bytes of an event's payload.
    pub size: usize,
    pub subs: usize,
    pub shape: Shape,
    /// Which of the subscribers this process is.
    pub index: usize,
}

impl Cell {
    /// One that has no place yet.
    pub fn new(size: usize, subs: usize, shape: Shape) -> Cell {
        Cell { dir: PathBuf::new(), size, subs, shape, index: 0 }
    }

    /// How often each event is delivered.
    pub fn fanout(&self) -> u64 {
        (self.subs * self.shape.matching) as u64
    }

    /// How many events fit into so many bytes, with some overhead each.
    pub fn events_in(&self, bytes: usize) -> u64 {
        (bytes / (self.size + 192)).max(4) as u64
    }

    /// A socket or file of the run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The same as an address: `scheme` + path.
    pub fn address(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}{}", self.path(name).display())
    }
}

/// A process that serves, and ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// What it needs us to keep: the connection that it takes its orders from.
    held: Option<Box<dyn Any>>,
}

impl Server {
    /// Starts it, with its output in a file of the run's folder.
    pub fn start(run: &Cell, command: &mut Command) -> Result<Server> {
        Server::start_with(run, command, Stdio::null())
    }

    /// The same with something else as its standard input.
    pub fn start_with(run: &Cell, command: &mut Command, stdin: Stdio) -> Result<Server> {
        let log = File::create(run.path("server.log"))?;
        command.stdin(stdin).stdout(log.try_clone()?).stderr(log);
        end_with_parent(command);
        let child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Server { child, held: None })
    }

    /// Keeps something as long as the server.
    #[cfg(any(feature = "dbus", feature = "sd-bus"))]
    pub fn holding(self, held: impl Any) -> Server {
        let mut server = self;
        server.held = Some(Box::new(held));
        server
    }

    /// This program as a server of `system`.
    pub fn of_ours(system: &str, run: &Cell) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("server").args(part(system, run));
        let server = Server::start(run, &mut command)?;
        server.wait_for(run, || run.path("served").exists())
    }

    /// Waits until it answers.
    pub fn wait_for(mut self, run: &Cell, answers: impl Fn() -> bool) -> Result<Server> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !answers() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!("the server {}{}", if ended.is_some() { "ended" } else { "doesn't answer" }, log_end(run));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Waits until somebody listens at a Unix socket.
    pub fn wait_for_socket(self, run: &Cell, path: &Path) -> Result<Server> {
        self.wait_for(run, || std::os::unix::net::UnixStream::connect(path).is_ok())
    }

    /// Waits until somebody listens at a port of this host.
    #[cfg(feature = "nats")]
    pub fn wait_for_port(self, run: &Cell, port: u16) -> Result<Server> {
        self.wait_for(run, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is our child and not yet waited for, so that the number is still its own.
        let _ = kill(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        self.held = None;
    }
}

/// The arguments by which this program finds its part in a run.
pub fn part(system: &str, run: &Cell) -> Vec<std::ffi::OsString> {
    let numbers = [run.size, run.subs, run.index].map(|number| number.to_string().into());
    let place = [system.into(), run.dir.clone().into_os_string()];
    place.into_iter().chain(numbers).chain([run.shape.to_string().into()]).collect()
}

/// The kernel ends the process when its parent ends, however that happens: no run leaves anything behind.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec it makes one system call, which is async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

/// The last line that the server said.
pub fn log_end(run: &Cell) -> String {
    let log = std::fs::read_to_string(run.path("server.log")).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!("; the server's last word: {line}"))
}

/// A server's program: out of the cache that benches/fetch fills, else as it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let cached = std::env::var_os("NLBUS_BENCH_PEERS").map(|peers| Path::new(&peers).join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join(name));
    cached.into_iter().chain(installed).find(|program| program.is_file())
}

/// Why a server's program isn't there.
pub fn without(name: &str) -> Option<String> {
    let reason =
        || format!("{name} is neither installed nor in the cache ({})", env_or("NLBUS_BENCH_REASON", "benches/fetch"));
    program(name).is_none().then(reason)
}

fn env_or(name: &str, otherwise: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.into())
}
