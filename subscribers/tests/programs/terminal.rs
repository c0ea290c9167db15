//! A terminal of a test's own: a pseudo-terminal, and what a program has drawn on it.

use crate::host::Host;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal, and the program that has it.
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
    /// How it was before.
    settings: String,
    sane: Termios,
}

impl Terminal {
    /// Starts `nlbus` with these arguments on a terminal of so many columns and lines.
    pub fn start(host: &Host, args: &[&str], columns: u16, lines: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(Path::new(&name)).unwrap();
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(lines, columns, 0)));
        let (mut output, seen) = (master.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO says that nobody has the other end open any more.
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                seen.lock().unwrap().process(&buffer[..read]);
            }
        });
        let end = || Stdio::from(slave.try_clone().unwrap());
        let sane = tcgetattr(&slave).unwrap();
        let settings = format!("{sane:?}");
        set_size(&master, columns, lines);
        let mut command = host.command("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_nlbus")]).args(args).env("TERM", "xterm-256color");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid is needed: util-linux");
        Terminal { master, slave: slave.into(), screen, child, settings, sane }
    }

    /// What is on it now.
    pub fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until it shows something, and returns all that it shows.
    pub fn shows(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let contents = self.contents();
            if is_there(&contents) {
                return contents;
            }
            assert!(start.elapsed() < PATIENCE, "no {what} in:\n{contents}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types something.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Gives it another size.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(lines, columns);
        set_size(&self.master, columns, lines);
    }

    /// Sends the program a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Whether the program was stopped.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    }

    /// Whether it is as it was before the program began: its settings, its screen, its cursor.
    pub fn is_as_before(&self) -> bool {
        let screen = self.screen.lock().unwrap();
        let screen = screen.screen();
        self.is_sane() && !screen.alternate_screen() && !screen.hide_cursor()
    }

    /// Sets it as it was before the program began, as a shell does that gets it back.
    pub fn make_sane(&self) {
        tcsetattr(&self.slave, OptionalActions::Now, &self.sane).unwrap();
    }

    /// Whether it is set as it was.
    pub fn is_sane(&self) -> bool {
        format!("{:?}", tcgetattr(self.slave.as_fd()).unwrap()) == self.settings
    }

    /// Waits for the program's end.
    pub fn end(mut self) -> (ExitStatus, bool, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it didn't end:\n{}", self.contents());
            thread::sleep(Duration::from_millis(5));
        };
        // What it wrote last is still to be read.
        while !self.is_as_before() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        (status, self.is_as_before(), self.contents())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, columns: u16, lines: u16) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
