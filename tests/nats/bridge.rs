//! A bridge on a host, as its users run it: by a file.

use crate::host::Host;
use crate::program::Program;
use crate::servers::Servers;
use nix::sys::signal::Signal;
use nlbus_tests::wait_for;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where its metrics are. Each host has all ports for itself.
const METRICS: u16 = 9854;

/// How long the end may take that it was asked for; systemd waits for 90 s.
const END: Duration = Duration::from_secs(30);

/// A bridge. Killed when dropped.
#[derive(Debug)]
pub struct Bridge {
    program: Program,
    file: PathBuf,
    metrics: u16,
}

/// What stands in front of the rules, and what else a test has there.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The second bridge on a host has another file, state and port.
    pub second: bool,
    /// Servers, if not all that there are.
    pub servers: Option<Vec<String>>,
}

impl Bridge {
    /// Starts one with these rules, and waits until it is ready.
    pub fn start(host: &Host, servers: &Servers, rules: &str) -> Bridge {
        let mut bridge = Bridge::start_with(host, servers, rules, &Setup::default());
        bridge.wait_ready();
        bridge
    }

    /// Starts one, and doesn't wait.
    pub fn start_with(host: &Host, servers: &Servers, rules: &str, setup: &Setup) -> Bridge {
        let (name, folder) = (&host.name, servers.folder());
        let number = if setup.second { 2 } else { 1 };
        let state = folder.join(format!("{name}-{number}.state"));
        let metrics = METRICS + number;
        let urls = setup.servers.clone().unwrap_or_else(|| servers.urls(&host.way_to_servers()));
        let text = format!(
            "host = {name:?}\nservers = {urls:?}\nstate = {state:?}\nmetrics = \"127.0.0.1:{metrics}\"\n{rules}\n"
        );
        let file = folder.join(format!("{name}-{number}.toml"));
        fs::write(&file, text).expect("to write the bridge's file");
        Bridge { program: launch(host, &file), file, metrics }
    }

    /// Starts it again, after its end.
    pub fn start_again(&mut self, host: &Host) {
        self.launch_again(host);
        self.wait_ready();
    }

    /// The same without waiting.
    pub fn launch_again(&mut self, host: &Host) {
        self.program = launch(host, &self.file);
    }

    /// Waits until it says that from now on nothing is missed.
    pub fn wait_ready(&mut self) {
        self.program.hear("ready");
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Asks for its end, which must be a good one.
    pub fn terminate(&mut self) {
        self.program.signal(Signal::SIGTERM);
        let status = self.program.wait(END);
        assert_eq!(status.code(), Some(0), "{:#?}", self.program.said());
    }

    /// Its end, which comes by itself: the status, and the lines that it said.
    pub fn ends(&mut self) -> (Option<i32>, Vec<String>) {
        let status = self.program.wait(END);
        (status.code(), self.program.said())
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The value of a metric, over all its labels.
    pub fn metric(&self, host: &Host, name: &str) -> u64 {
        let lines = self.metrics(host);
        let lines = lines.iter().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// The metrics, without words about them.
    pub fn metrics(&self, host: &Host) -> Vec<String> {
        let page = host.page(self.metrics, "/metrics");
        page.lines().filter(|line| line.starts_with("nlbus_")).map(str::to_owned).collect()
    }

    /// Waits until a metric has come to a value.
    pub fn wait_for_metric(&self, host: &Host, name: &str, value: u64) {
        wait_for(&format!("{name} {value}"), || (self.metric(host, name) >= value).then_some(()));
    }
}

fn launch(host: &Host, file: &std::path::Path) -> Program {
    host.start("nlbus-nats", &["--config".to_owned(), file.display().to_string()])
}
