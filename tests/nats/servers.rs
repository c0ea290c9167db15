//! One nats-server, or a cluster of three, with JetStream on disk, in the calling thread's network namespace.

use crate::host::{ip, present_namespace};
use crate::plain::Plain;
use crate::program::Program;
use nix::sys::signal::Signal;
use nlbus_tests::wait_for;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Servers, and a folder for all that a test keeps on disk. All of it ends with the test.
#[derive(Debug)]
pub struct Servers {
    running: Vec<Option<Program>>,
    has_jetstream: bool,
    namespace: OwnedFd,
    folder: TempDir,
}

/// The program, as tests/nats/fetch has it.
fn nats_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/fetch");
        let output = Command::new(&fetch).stderr(Stdio::inherit()).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", fetch.display()));
        assert!(output.status.success(), "there is no nats-server; {} fetches it", fetch.display());
        String::from_utf8_lossy(&output.stdout).trim().into()
    })
}

impl Servers {
    /// One server.
    pub fn one() -> Servers {
        Servers::with(1, "")
    }

    /// So many, with more lines in the file of each. `{folder}` in them is the folder.
    pub fn with(count: usize, more: &str) -> Servers {
        let mut servers = Servers::none();
        servers.add(count, more);
        servers
    }

    /// One without JetStream.
    pub fn without_jetstream(more: &str) -> Servers {
        let mut servers = Servers::none();
        servers.has_jetstream = false;
        servers.add(1, more);
        servers
    }

    /// None yet, but the namespace and the folder.
    pub fn none() -> Servers {
        ip("link set lo up");
        let folder = tempfile::tempdir().expect("a folder");
        Servers { running: Vec::new(), has_jetstream: true, namespace: present_namespace(), folder }
    }

    /// Starts so many, where there were none.
    pub fn add(&mut self, count: usize, more: &str) {
        self.running.resize_with(count, || None);
        self.configure(more);
        (0..count).for_each(|number| self.start(number));
    }

    /// The folder for what a test keeps on disk.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How to reach them over an address of theirs.
    pub fn urls(&self, address: &str) -> Vec<String> {
        (0..self.running.len()).map(|number| format!("nats://{address}:{}", 4222 + number)).collect()
    }

    /// Writes their files, which they read when they start.
    pub fn configure(&mut self, more: &str) {
        let (count, folder) = (self.running.len(), self.folder().display().to_string());
        let more = more.replace("{folder}", &folder);
        for number in 0..count {
            let mut text = format!("server_name: n{number}\nlisten: \"0.0.0.0:{}\"\n{more}\n", 4222 + number);
            if self.has_jetstream {
                text += &format!("jetstream {{ store_dir: \"{folder}/n{number}\" }}\n");
            }
            if count > 1 {
                let routes: Vec<_> = (0..count).map(|other| format!("nats://127.0.0.1:{}", 6222 + other)).collect();
                text += &format!(
                    "cluster {{ name: c, listen: \"127.0.0.1:{}\", no_advertise: true, routes: [{}] }}\n",
                    6222 + number,
                    routes.join(", ")
                );
            }
            fs::write(self.file(number), text).expect("to write a server's file");
        }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder().join(format!("n{number}.conf"))
    }

    /// Starts one that isn't running.
    pub fn start(&mut self, number: usize) {
        let args = ["-c".into(), self.file(number)];
        let mut server = Program::start(&format!("nats-server n{number}"), &self.namespace, nats_server(), args);
        server.hear("Listening for client connections");
        self.running[number] = Some(server);
    }

    /// Kills one.
    pub fn kill(&mut self, number: usize) {
        self.running[number] = None;
    }

    /// Has one stand still: its sockets stay open.
    pub fn stop(&self, number: usize) {
        self.server(number).signal(Signal::SIGSTOP);
    }

    /// Has one go on.
    pub fn go_on(&self, number: usize) {
        self.server(number).signal(Signal::SIGCONT);
    }

    fn server(&self, number: usize) -> &Program {
        self.running[number].as_ref().expect("a server that runs")
    }

    /// A client of a program that knows nothing of nlbus.
    pub fn client(&self) -> Plain {
        Plain::connect(&self.urls("127.0.0.1"))
    }

    /// Waits until JetStream takes requests: a cluster elects its leader first.
    pub fn wait_for_jetstream(&self) {
        let client = self.client();
        wait_for("JetStream", || client.block(client.jetstream().query_account()).ok());
    }

    /// Which one leads a stream.
    pub fn leader_of(&self, stream: &str) -> usize {
        let client = self.client();
        wait_for("the stream's leader", || {
            let stream = client.block(client.jetstream().get_stream(stream)).ok()?;
            let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
            leader.strip_prefix('n')?.parse().ok()
        })
    }
}
