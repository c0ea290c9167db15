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
    more: String,
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
        ip("link set lo up");
        let mut servers = Servers {
            running: Vec::new(),
            more: String::new(),
            namespace: present_namespace(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        servers.more = more.replace("{folder}", &servers.folder().display().to_string());
        servers.running.resize_with(count, || None);
        (0..count).for_each(|number| servers.configure(number));
        (0..count).for_each(|number| servers.start(number));
        servers
    }

    /// The folder for what a test keeps on disk.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How to reach them over an address of theirs.
    pub fn urls(&self, address: &str) -> Vec<String> {
        (0..self.running.len()).map(|number| format!("nats://{address}:{}", 4222 + number)).collect()
    }

    fn configure(&self, number: usize) {
        let (count, folder) = (self.running.len(), self.folder().display());
        let mut text = format!(
            "server_name: n{number}\nlisten: \"0.0.0.0:{}\"\njetstream {{ store_dir: \"{folder}/n{number}\" }}\n{}\n",
            4222 + number,
            self.more
        );
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
