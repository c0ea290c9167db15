//! Programs that run in the network namespace of a host or of the servers: started, listened to, and ended with the test.

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlbus_tests::patience;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, process};

/// Says which namespace to enter before the program is started.
const NAMESPACE: &str = "NLBUS_NATS_NAMESPACE";

/// Lines that a failing test prints of each program.
const LAST_WORDS: usize = 25;

/// Becomes another program, if this process was started for that: between fork and exec a thread of a test couldn't enter a
/// namespace without unsafe code.
pub fn become_one() {
    let Some(namespace) = env::var_os(NAMESPACE) else { return };
    // Of the thread that started this one, so of the test. It stays across exec.
    set_pdeathsig(Signal::SIGKILL).expect("to die with the test");
    setns(File::open(namespace).expect("the namespace"), CloneFlags::CLONE_NEWNET).expect("to enter it");
    let mut words = env::args_os().skip(1);
    let program = words.next().expect("a program");
    let error = Command::new(&program).args(words).env_remove(NAMESPACE).exec();
    eprintln!("can't start {}: {error}", program.display());
    process::exit(126);
}

/// One of nlbus' programs, as it was built: beside `NLBUS_BIN`, or where cargo puts it.
pub fn of_nlbus(name: &str) -> PathBuf {
    let built = || env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("nlbus")));
    let nlbus = env::var_os("NLBUS_BIN").map(PathBuf::from).or_else(built).expect("where the programs are");
    let path = nlbus.with_file_name(name);
    assert!(path.exists(), "{} isn't there: cargo build -p nlbus-subscribers --bins", path.display());
    path
}

/// A program that runs. Killed when dropped, and at the latest when the thread ends that started it.
#[derive(Debug)]
pub struct Program {
    name: String,
    process: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
    /// How many lines [`hear`](Self::hear) has looked at.
    heard: usize,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    closed: usize,
}

fn lock(said: &(Mutex<Said>, Condvar)) -> MutexGuard<'_, Said> {
    said.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Program {
    /// Starts it in a namespace.
    pub fn start(name: &str, namespace: &OwnedFd, path: &Path, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Program {
        let namespace = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
        let mut process = Command::new("/proc/self/exe")
            .arg(path)
            .args(args)
            .env(NAMESPACE, namespace)
            .env_remove("NLBUS_BROKER")
            .env_remove("NLBUS_PORT")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let said = Arc::default();
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|pipe| Box::new(pipe) as _),
            process.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let readers = pipes.into_iter().flatten().map(|pipe| {
            let said: Arc<(Mutex<Said>, Condvar)> = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    lock(&said).lines.push(String::from_utf8_lossy(&line).into_owned());
                    said.1.notify_all();
                }
                lock(&said).closed += 1;
                said.1.notify_all();
            })
        });
        let readers = readers.collect();
        Program { name: name.into(), process, said, readers, heard: 0 }
    }

    /// The next line, of those that nobody has waited for, which has these words in it.
    ///
    /// # Panics
    /// When there is none.
    pub fn hear(&mut self, words: &str) -> String {
        let deadline = Instant::now() + patience();
        let mut said = lock(&self.said);
        loop {
            while self.heard < said.lines.len() {
                self.heard += 1;
                if said.lines[self.heard - 1].contains(words) {
                    return said.lines[self.heard - 1].clone();
                }
            }
            assert!(said.closed < 2, "{} ended, and never said '{words}': {:#?}", self.name, said.lines);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} never said '{words}': {:#?}", self.name, said.lines);
            said = self.said.1.wait_timeout(said, left).map_or_else(|error| error.into_inner().0, |(said, _)| said);
        }
    }

    /// All that it has said.
    pub fn said(&self) -> Vec<String> {
        lock(&self.said).lines.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id() as i32);
        kill(pid, signal).unwrap_or_else(|errno| panic!("{signal} to {}: {errno}", self.name));
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
    }

    /// Waits for its end, of which it has been told.
    ///
    /// # Panics
    /// When it goes on after `time`.
    pub fn wait(&mut self, time: Duration) -> ExitStatus {
        let ended = self.ended(time);
        ended.unwrap_or_else(|| panic!("{} didn't end within {time:?}: {:#?}", self.name, self.said()))
    }

    /// Waits for its end, which comes within this time, or `None`.
    pub fn ended(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("to wait for a child") {
                self.readers.drain(..).for_each(|reader| drop(reader.join()));
                return Some(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Whether it runs still.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that is stopped, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let said = self.said();
            let last = said.iter().skip(said.len().saturating_sub(LAST_WORDS)).map(|line| format!("    {line}\n"));
            eprintln!("  last words of {}:\n{}", self.name, last.collect::<String>());
        }
    }
}
